//! Other programs that watch OOM kills, as Debian packages them, started and read as oomwatch is.
//!
//! None of them reads the victim's `/proc/PID/status`. For a comparison they are changed as articles about them do it:
//! bcc's reads it in its callback, by a changed copy in a temporary folder; of libbpf-tools' the lines are read, and
//! the file as soon as there is one.

mod bench;
mod bpf;
mod line;
mod running;
mod single;
mod storm;
mod trace;

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

pub use self::{
    bench::{Compared, PeerBench, Phase, Turn},
    line::{Line, kill},
    running::{Running, Said},
    storm::{PeerStorm, Raced},
};

/// A peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// libbpf-tools' `oomkill`
    Libbpf,
    /// bpftrace's `oomkill.bt`
    Bpftrace,
    /// bcc's `oomkill`
    Bcc,
    /// A line of bpftrace on the tracepoint: for kernels without kprobes.
    Mark,
}

/// Who reads the victim's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nobody.
    Unread,
    /// The program itself, in its callback (bcc), or the reader of its lines.
    Read,
}

impl Peer {
    /// What hooks the function.
    pub const KPROBES: [Self; 3] = [Self::Libbpf, Self::Bpftrace, Self::Bcc];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Libbpf => "libbpf-tools oomkill",
            Self::Bpftrace => "bpftrace oomkill.bt",
            Self::Bcc => "bcc oomkill",
            Self::Mark => "bpftrace on mark_victim",
        }
    }

    /// What starts it, so that each line leaves it at once, as on a terminal. A changed copy goes to `folder`.
    ///
    /// # Errors
    /// It is not installed, or is not what is to be changed.
    pub fn command(self, status: Status, folder: &Path) -> Result<Command> {
        let path = Path::new(match self {
            Self::Libbpf => "/usr/sbin/oomkill",
            Self::Bpftrace => "/usr/sbin/oomkill.bt",
            Self::Bcc => "/usr/sbin/oomkill-bpfcc",
            Self::Mark => "/usr/bin/bpftrace",
        });
        ensure!(path.exists(), "{} is not installed: {} is not there", self.name(), path.display());
        let mut command;
        match self {
            Self::Libbpf => {
                command = Command::new("stdbuf");
                command.arg("-oL").arg(path);
            }
            Self::Bpftrace => {
                command = Command::new("bpftrace");
                command.args(["-B", "line"]).arg(path);
            }
            Self::Mark => {
                command = Command::new(path);
                command.args(["-B", "line", "-e", MARK]);
            }
            Self::Bcc => {
                command = Command::new("/usr/bin/python3");
                command.arg("-u").arg(if status == Status::Read {
                    changed(path, folder)?
                } else {
                    path.into()
                });
            }
        }
        Ok(command)
    }
}

/// What can be had without kprobes, in the words of the others.
const MARK: &str = r#"BEGIN { printf("Tracing mark_victim\n"); }
tracepoint:oom:mark_victim { time("%H:%M:%S "); printf("OOM kill of PID %d\n", args->pid); }"#;

/// bcc's program with the victim's status read first of all in its callback.
fn changed(path: &Path, folder: &Path) -> Result<PathBuf> {
    const CALLBACK: &str = "    event = b[\"events\"].event(data)\n";
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (before, after) =
        text.split_once(CALLBACK).context("bcc's oomkill is not the one that is changed")?;
    let copy = folder.join("oomkill-bpfcc");
    let reading = format!(
        "    try:\n        with open(\"/proc/%d/status\" % event.tpid) as status:\n            \
         alive = \"VmRSS:\" in status.read()\n    except OSError:\n        alive = False\n    \
         print(\"{} %s %d\" % (\"{}\" if alive else \"{}\", event.tpid))\n",
        line::STATUS,
        line::ALIVE,
        line::GONE,
    );
    fs::write(&copy, format!("{before}{CALLBACK}{reading}{after}"))
        .with_context(|| format!("cannot write {}", copy.display()))?;
    Ok(copy)
}

/// Puts a kernel's headers, unpacked below `unpacked`, where bcc looks for them: Debian's packages have links to
/// `/usr/src`.
///
/// # Errors
/// There are others already, or the file system is read-only.
pub fn install_headers(unpacked: &Path) -> Result<()> {
    for place in ["lib/modules", "usr/lib/modules", "usr/src"] {
        let Ok(entries) = fs::read_dir(unpacked.join(place)) else { continue };
        let to = Path::new("/").join(place);
        fs::create_dir_all(&to).with_context(|| format!("cannot create {}", to.display()))?;
        for entry in entries {
            let entry = entry.context("cannot list the headers")?;
            let link = to.join(entry.file_name());
            symlink(entry.path(), &link).with_context(|| format!("cannot link {}", link.display()))?;
        }
    }
    Ok(())
}
