//! Runs one command on a chosen kernel, in QEMU, and tells how it ended.
//!
//! Two serial lines: the kernel's console goes to a file, the command's output to this process. A VM never outlives its
//! time limit, nor xtask. It has no network.

use std::{
    env, fs,
    io::Read,
    path::{Path, PathBuf},
    process::{self, Child, ChildStdout, Command, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    guest_init::{HOST_TAG, HostRoot, Init},
    host_root::FileServer,
    initramfs::{self, GuestFile},
    kernels::{Cgroup, Kernel},
    repo::Repo,
    run,
    status_marker::StatusMarker,
};

/// Without `no_timer_check` an emulated machine under load now and then panics at boot; without the trusted CPU it
/// waits for entropy. A panic ends the VM, as it reboots at once and QEMU is told not to.
const KERNEL_ARGUMENTS: &str =
    "console=ttyS0 quiet panic=-1 no_timer_check random.trust_cpu=on log_buf_len=1M";
const CONSOLE_LINES_SHOWN: usize = 20;

/// What the guest's root file system is.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Root {
    /// busybox and the files that were named
    Initramfs,
    /// This machine's files, read-only below a layer in memory
    Host,
}

/// How the guest's instructions are executed.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Accel {
    /// Emulation: slower, works everywhere
    Tcg,
    /// The processor's own, where /dev/kvm works
    Kvm,
}

/// A machine to boot.
pub(crate) struct Machine<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) cgroup: Cgroup,
    pub(crate) root: Root,
    pub(crate) accel: Accel,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    /// More arguments for the kernel.
    pub(crate) append: &'a str,
    pub(crate) timeout: Duration,
    pub(crate) files: Vec<GuestFile>,
}

impl Machine<'_> {
    /// Runs `command`, passes its output (stdout and stderr are one) to `output` as it comes, and returns its exit
    /// status. Every way in which the command did not come to an end is an error.
    pub(crate) fn run(
        &self,
        repo: &Repo,
        command: &[String],
        output: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<u8> {
        let folder = Folder::create(repo)?;
        let mut marker = StatusMarker::new()?;
        let here = env::current_dir().context("cannot tell the current folder")?;
        let host = (self.root == Root::Host).then(|| HostRoot {
            folder: &here,
            files: self.files.iter().map(|file| file.guest.as_str()).collect(),
        });
        let init = Init { cgroup: self.cgroup, marker: marker.text(), host };
        let archive = initramfs::build(self.kernel, &init, command, &self.files)?;
        let initrd = folder.path.join("initramfs");
        fs::write(&initrd, archive).with_context(|| format!("cannot write {}", initrd.display()))?;
        let server = match self.root {
            Root::Host => Some(FileServer::start(&folder.path, dies_with_xtask)?),
            Root::Initramfs => None,
        };
        let console = folder.path.join("console");
        let mut qemu = Qemu::start(self.command_line(&initrd, &console, server.as_ref()))?;

        let deadline = Instant::now() + self.timeout;
        let what_went_wrong = loop {
            match qemu.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => {
                    let piece = marker.feed(&bytes);
                    output(&piece.output)?;
                    if let Some(status) = piece.status {
                        return Ok(status);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    break format!(
                        "was stopped after {} s, its time limit (--timeout)",
                        self.timeout.as_secs()
                    );
                }
                Err(RecvTimeoutError::Disconnected) => {
                    break "ended before the command did: a panic, or QEMU gave up".to_owned();
                }
            }
        };
        output(&marker.rest())?;
        let complaint = qemu.complaint();
        bail!(
            "the VM ({}) {what_went_wrong}. {complaint}Its console:\n{}",
            self.kernel.label,
            telling_lines(&fs::read(&console).unwrap_or_default())
        );
    }

    fn command_line(&self, initrd: &Path, console: &Path, server: Option<&FileServer>) -> Command {
        let program = run::on_path("qemu-system-x86_64").unwrap_or_else(|| "qemu-system-x86_64".into());
        let mut qemu = dies_with_xtask(&program);
        match self.accel {
            // Emulated CMPXCHG16B is slow and the kernel's slab allocator would use it all the time.
            Accel::Tcg => qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max,-cx16"]),
            Accel::Kvm => qemu.args(["-accel", "kvm", "-cpu", "host"]),
        };
        qemu.args(["-m", &self.memory_mib.to_string(), "-smp", &self.cpus.to_string()])
            .args(["-nodefaults", "-no-user-config", "-no-reboot", "-nic", "none"])
            .args(["-display", "none", "-monitor", "none"])
            .args(["-serial", &format!("file:{}", console.display())])
            .args(["-chardev", "stdio,id=command,signal=off", "-serial", "chardev:command"])
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", format!("{KERNEL_ARGUMENTS} {}", self.append).trim_end()]);
        if let Some(server) = server {
            // The file server reads and writes the guest's memory directly.
            let memory = format!("memory-backend-memfd,id=memory,size={}M,share=on", self.memory_mib);
            qemu.args(["-object", &memory, "-machine", "memory-backend=memory"])
                .args(["-chardev", &format!("socket,id=files,path={}", server.socket().display())])
                .args(["-device", &format!("vhost-user-fs-pci,chardev=files,tag={HOST_TAG}")]);
        }
        qemu
    }
}

/// A running QEMU; dropping it ends it.
struct Qemu {
    process: Child,
    output: Receiver<Vec<u8>>,
}

impl Qemu {
    fn start(mut command: Command) -> Result<Self> {
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start QEMU")?;
        let stdout = process.stdout.take().context("QEMU's output is not a pipe")?;
        Ok(Self { process, output: pieces(stdout) })
    }

    /// What QEMU itself said; for when the VM went wrong, as it ends it.
    fn complaint(&mut self) -> String {
        self.process.kill().ok();
        let mut text = String::new();
        if let Some(stderr) = &mut self.process.stderr {
            // Nothing said and nothing readable come to the same here.
            stderr.read_to_string(&mut text).ok();
        }
        if text.trim().is_empty() { String::new() } else { format!("QEMU says: {}. ", text.trim()) }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// From the panic on, if there was one, because the end of a long trace says less; else the end.
fn telling_lines(console: &[u8]) -> String {
    let text = String::from_utf8_lossy(console);
    let lines: Vec<&str> = text.lines().collect();
    let panic = lines.iter().position(|line| line.contains("Kernel panic") || line.contains("BUG: "));
    let begin = panic.unwrap_or(lines.len().saturating_sub(CONSOLE_LINES_SHOWN));
    lines.split_at(begin).1.iter().take(CONSOLE_LINES_SHOWN).copied().collect::<Vec<_>>().join("\n")
}

fn pieces(mut stdout: ChildStdout) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(length @ 1..) = stdout.read(&mut buffer) {
            let piece = buffer.get(..length).unwrap_or_default().to_vec();
            if sender.send(piece).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A command whose process is killed by the kernel when xtask ends, however it ends.
fn dies_with_xtask(program: &Path) -> Command {
    match run::on_path("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// A VM's own folder below `target/vm`, gone with it.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn create(repo: &Repo) -> Result<Self> {
        static VMS: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", process::id(), VMS.fetch_add(1, Ordering::Relaxed));
        let path = repo.vms().join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_shown_from_its_first_line() {
        let trace = "[1.0] trace\r\n".repeat(30);
        let boot = "[0.1] boot\r\n".repeat(30);
        let panic = telling_lines(format!("{boot}[1.0] Kernel panic - not syncing: x\r\n{trace}").as_bytes());
        assert!(panic.starts_with("[1.0] Kernel panic - not syncing: x\n[1.0] trace\n"), "{panic}");
        assert_eq!(panic.lines().count(), CONSOLE_LINES_SHOWN);
        assert_eq!(telling_lines(format!("{trace}{boot}").as_bytes()).lines().last(), Some("[0.1] boot"));
        assert_eq!(telling_lines(b""), "");
    }
}
