//! Runs one command on a chosen kernel, in QEMU, and tells how it ended.
//!
//! Two serial lines: the kernel's console goes to a file, the command's output to this process. A VM never outlives its
//! time limit, nor xtask. It has no network.

use std::{
    env,
    fs::{self, File},
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
    run, say,
    status_marker::StatusMarker,
};

/// Without the trusted CPU an emulated machine waits for entropy. A panic ends the VM, as it reboots at once and QEMU
/// is told not to.
const KERNEL_ARGUMENTS: &str = "quiet panic=-1 random.trust_cpu=on log_buf_len=1M";
const CONSOLE_LINES_SHOWN: usize = 20;
/// Boots that an emulated machine gets.
const BOOTS: u32 = 3;

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

/// How one boot ended.
enum Ended {
    /// The command came to its end.
    WithStatus(u8),
    /// It did not.
    Early { why: String, console: Vec<u8> },
    /// Nothing came of it any more.
    Silent(Duration),
}

impl Ended {
    fn status(self, kernel: &Kernel) -> Result<u8> {
        match self {
            Self::WithStatus(status) => Ok(status),
            Self::Early { why, console } => {
                bail!("the VM ({}) {why}Its console:\n{}", kernel.label, telling_lines(&console))
            }
            Self::Silent(time) => {
                bail!("the VM ({}) said nothing for {} s, and was stopped", kernel.label, time.as_secs())
            }
        }
    }
}

/// A machine to boot.
pub(crate) struct Machine<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) cgroup: Cgroup,
    pub(crate) root: Root,
    pub(crate) accel: Accel,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    /// Memory nodes, which share the memory alike; the processors too, as far as they go.
    pub(crate) nodes: u32,
    /// Size of a disk to swap to, `/dev/nvme0n1`; 0 for none.
    pub(crate) swap_mib: u32,
    /// Bytes that this disk writes in a second, at most; 0 for as many as it can.
    pub(crate) disk_bps: u32,
    /// More arguments for the kernel.
    pub(crate) append: &'a str,
    pub(crate) timeout: Duration,
    /// Where its command says again and again that it goes on: who says nothing for so long stands still.
    pub(crate) silence: Option<Duration>,
    pub(crate) files: Vec<GuestFile>,
}

impl Machine<'_> {
    /// Runs `command`, passes its output (stdout and stderr are one) to `output` as it comes, and returns its exit
    /// status. Every way in which the command did not come to an end is an error, but for one of the emulator's own,
    /// after which the machine is booted anew.
    pub(crate) fn run(
        &self,
        repo: &Repo,
        command: &[String],
        output: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<u8> {
        for _ in 1..BOOTS {
            match self.boot(repo, command, output)? {
                Ended::WithStatus(status) => return Ok(status),
                Ended::Early { console, .. } if self.accel == Accel::Tcg && is_emulators_fault(&console) => {
                    say::progress(
                        "vm: the emulator ran code that the kernel had already patched; booting anew",
                    );
                }
                Ended::Silent(time) if self.accel == Accel::Tcg => {
                    let time = time.as_secs();
                    say::progress(&format!("vm: it said nothing for {time} s, stands still; booting anew"));
                }
                early @ (Ended::Early { .. } | Ended::Silent(_)) => return early.status(self.kernel),
            }
        }
        self.boot(repo, command, output)?.status(self.kernel)
    }

    fn boot(
        &self,
        repo: &Repo,
        command: &[String],
        output: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<Ended> {
        let folder = Folder::create(repo)?;
        let mut marker = StatusMarker::new()?;
        let here = env::current_dir().context("cannot tell the current folder")?;
        let host = (self.root == Root::Host).then(|| HostRoot {
            folder: &here,
            files: self.files.iter().map(|file| file.guest.as_str()).collect(),
        });
        let init = Init { cgroup: self.cgroup, board: self.kernel.arch.board(), marker: marker.text(), host };
        let archive = initramfs::build(repo, self.kernel, &init, command, &self.files)?;
        let initrd = folder.initrd();
        fs::write(&initrd, archive).with_context(|| format!("cannot write {}", initrd.display()))?;
        if self.swap_mib > 0 {
            let disk = File::create(folder.disk()).context("cannot make the swap disk")?;
            disk.set_len(u64::from(self.swap_mib) << 20).context("cannot make the swap disk")?;
        }
        let server = match self.root {
            Root::Host => Some(FileServer::start(&folder.path, dies_with_xtask)?),
            Root::Initramfs => None,
        };
        let mut qemu = Qemu::start(self.command_line(&folder, server.as_ref()))?;

        let deadline = Instant::now() + self.timeout;
        let what_went_wrong = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match qemu.output.recv_timeout(self.silence.map_or(left, |silence| silence.min(left))) {
                Ok(bytes) => {
                    let piece = marker.feed(&bytes);
                    output(&piece.output)?;
                    if let Some(status) = piece.status {
                        return Ok(Ended::WithStatus(status));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(silence) = self.silence.filter(|silence| *silence < left) {
                        return Ok(Ended::Silent(silence));
                    }
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
        let why = format!("{what_went_wrong}. {}", qemu.complaint());
        Ok(Ended::Early { why, console: fs::read(folder.console()).unwrap_or_default() })
    }

    fn command_line(&self, folder: &Folder, server: Option<&FileServer>) -> Command {
        let board = self.kernel.arch.board();
        let program = run::on_path(board.qemu).unwrap_or_else(|| board.qemu.into());
        let mut qemu = dies_with_xtask(&program);
        match self.accel {
            Accel::Tcg => qemu.args(board.emulated),
            Accel::Kvm => qemu.args(board.native),
        };
        let arguments =
            format!("console={} {} {KERNEL_ARGUMENTS} {}", board.console, board.kernel, self.append);
        qemu.args(["-m", &self.memory_mib.to_string(), "-smp", &self.cpus.to_string()])
            .args(["-nodefaults", "-no-user-config", "-no-reboot", "-nic", "none"])
            .args(["-display", "none", "-monitor", "none"])
            .args(["-serial", &format!("file:{}", folder.console().display())])
            .args(["-chardev", "stdio,id=command,signal=off"])
            .args(board.second_line)
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(folder.initrd())
            .args(["-append", arguments.trim_end()]);
        if let Some(server) = server {
            qemu.args(["-chardev", &format!("socket,id=files,path={}", server.socket().display())])
                .args(["-device", &format!("vhost-user-fs-pci,chardev=files,tag={HOST_TAG}")]);
        }
        if self.swap_mib > 0 {
            // Of all of QEMU's disks the one whose driver is in every kernel of Debian's, and no module.
            let throttling = match self.disk_bps {
                0 => String::new(),
                bps => format!(",throttling.bps-write={bps}"),
            };
            let file = folder.disk();
            let drive =
                format!("if=none,id=swap,format=raw,cache=unsafe,file={}{throttling}", file.display());
            qemu.args(["-drive", &drive, "-device", "nvme,drive=swap,serial=swap"]);
        }
        // The file server reads and writes the guest's memory directly.
        let backend = if server.is_some() { "memory-backend-memfd,share=on" } else { "memory-backend-ram" };
        qemu.args(self.memory(backend));
        qemu
    }

    fn memory(&self, backend: &str) -> Vec<String> {
        let nodes = self.nodes.max(1);
        let mut arguments = Vec::new();
        for node in 0..nodes {
            let size = self.memory_mib / nodes;
            arguments.extend(["-object".to_owned(), format!("{backend},id=node{node},size={size}M")]);
            if nodes == 1 {
                arguments.extend(["-machine".to_owned(), format!("memory-backend=node{node}")]);
                continue;
            }
            let mut place = vec![format!("node,nodeid={node},memdev=node{node}")];
            place.extend((node..self.cpus).step_by(nodes as usize).map(|cpu| format!("cpus={cpu}")));
            arguments.extend(["-numa".to_owned(), place.join(",")]);
        }
        arguments
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

/// When Linux patches its own code it puts a breakpoint there for as long as other CPUs may be in it
/// (`text_poke_bp_batch`, arch/x86/kernel/alternative.c). Multi-threaded emulation can run that breakpoint from its
/// translation when the kernel has already taken it away, and the kernel then takes it for one of nobody's: an oops
/// that no processor and no program of ours can cause. Seen while 6.12 booted, once in eight times.
///
/// Where the kernel has kprobes in use it does not oops but goes back to run what is there now
/// (`kprobe_int3_handler`, arch/x86/kernel/kprobes/core.c), which the emulator, it seems, does not translate anew: the
/// CPU goes round for good, and nothing is printed. Seen on 6.1 after 20 minutes of `bench peers`: by their registers,
/// both CPUs were in that handler, and one of them came back to the same place in `__schedule` each time. See
/// [`Machine::silence`].
fn is_emulators_fault(console: &[u8]) -> bool {
    String::from_utf8_lossy(console).lines().any(|line| line.contains("int3: 0000 [#1]"))
}

/// From the panic on, if there was one, because the end of a long trace says less; else the end.
fn telling_lines(console: &[u8]) -> String {
    let text = String::from_utf8_lossy(console);
    let lines: Vec<&str> = text.lines().collect();
    let panic = lines
        .iter()
        .position(|line| line.contains("Kernel panic") || line.contains("Oops") || line.contains("BUG: "));
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

    fn initrd(&self) -> PathBuf {
        self.path.join("initramfs")
    }

    fn console(&self) -> PathBuf {
        self.path.join("console")
    }

    fn disk(&self) -> PathBuf {
        self.path.join("swap")
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

    #[test]
    fn only_a_stale_breakpoint_is_the_emulators_fault() {
        let breakpoint = "[    1.230939] Oops: int3: 0000 [#1] PREEMPT SMP NOPTI\n\
                          [    1.231401] RIP: 0010:sched_clock_cpu+0x9";
        assert!(is_emulators_fault(breakpoint.as_bytes()));
        for ours in [
            &b""[..],
            b"[    1.725945] BUG: kernel NULL pointer dereference, address: 0000000000000000\nOops: 0002 [#1]",
            b"Kernel panic - not syncing: System is deadlocked on memory",
        ] {
            assert!(!is_emulators_fault(ours));
        }
    }
}
