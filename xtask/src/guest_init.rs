//! The first process of a VM: a shell script that mounts what a Linux system has mounted, runs one command, says how it
//! ended, and stops. Its own complaints go to the console; the command's output has a serial line to itself.
//!
//! With the host's files as root there are two scripts: one that mounts them, from the initramfs, and then the usual
//! one.

use std::path::Path;

use crate::{arch::Board, kernels::Cgroup};

/// Where the VM's own files lie when the root is the host's.
pub(crate) const HOST_FOLDER: &str = "/run/oomwatch-vm";
/// The tag under which QEMU offers the host's files.
pub(crate) const HOST_TAG: &str = "host";

/// What differs between two VMs.
pub(crate) struct Init<'a> {
    pub(crate) cgroup: Cgroup,
    pub(crate) board: &'static Board,
    pub(crate) marker: &'a str,
    /// Set when the root is the host's.
    pub(crate) host: Option<HostRoot<'a>>,
}

/// What the usual script has to do about the host's files.
pub(crate) struct HostRoot<'a> {
    /// The folder to start the command in.
    pub(crate) folder: &'a Path,
    /// Where to put the files that came along, which lie in the VM's own folder by their number in this list.
    pub(crate) files: Vec<&'a str>,
}

impl HostRoot<'_> {
    /// One by one and by full path, so that a link of the host's, such as that from /bin to /usr/bin, is followed.
    fn script(&self) -> String {
        let copies: Vec<String> = (0..)
            .zip(&self.files)
            .map(|(number, path): (u32, _)| {
                let folder = path.rsplit_once('/').map_or("/", |(folder, _)| folder);
                let (folder, path) = (quoted(&format!("{folder}/")), quoted(path));
                format!("$bb mkdir -p {folder}\nmust $bb cp -a {HOST_FOLDER}/files/{number} {path}\n")
            })
            .collect();
        format!("{}cd {}\n", copies.concat(), quoted(&self.folder.to_string_lossy()))
    }
}

/// The script that runs the command `command`, itself a script at the path `command` beside busybox.
pub(crate) fn init(init: &Init<'_>) -> String {
    // The host's own shell where there is one: busybox's takes its own applets before the programs on PATH.
    let (own, shell, path) = match init.host {
        Some(_) => (HOST_FOLDER, "/bin/sh", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        None => ("/bin", "$bb sh", "/bin"),
    };
    let cgroup = match init.cgroup {
        Cgroup::V1 => CGROUP_V1,
        Cgroup::V2 => CGROUP_V2,
    };
    let place = init.host.as_ref().map_or_else(|| MEMORY_MOUNTS.to_owned(), HostRoot::script);
    // Init holds the serial line open itself: when the last process that has it open is one that was killed, the kernel
    // throws away what is still to be sent. In the background, because a shell that waits in the foreground adds its
    // own "Killed". Whatever the command left running is ended before the marker is written, and then init waits for
    // the host to pull the plug, so that nothing is in a buffer when the machine goes.
    let Board { console, output, .. } = init.board;
    format!(
        "#!/bin/busybox sh\nbb={own}/busybox\nconsole=/dev/{console}\noutput=/dev/{output}\n\
         export PATH={path} HOME=/root\n{MUST}{BASE_MOUNTS}{cgroup}{place}\
         exec 3> $output\n{shell} {own}/command >&3 2>&3 3>&- &\nwait $!\nstatus=$?\nkill -KILL -1\n\
         echo \"{} $status\" >&3\n$bb sleep 20\n$bb poweroff -f\n",
        init.marker
    )
}

/// The script that makes the host's files the root, read-only below a layer in memory, and goes on with the usual one.
pub(crate) fn host_init(board: &Board) -> String {
    format!(
        "#!/bin/busybox sh\nbb=/bin/busybox\n{MUST}\
         $bb mount -t devtmpfs dev /dev\nexec < /dev/null > /dev/{} 2>&1\n\
         for module in /modules/*; do $bb insmod $module || echo \"cannot load $module\"; done\n\
         must $bb mount -t virtiofs -o ro {HOST_TAG} /lower\n\
         must $bb mount -t tmpfs upper /upper\n\
         must $bb mkdir /upper/files /upper/work\n\
         must $bb mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work root /newroot\n\
         must $bb mount -t tmpfs run /newroot/run\n\
         must $bb cp -a /host-run /newroot{HOST_FOLDER}\n\
         must $bb mount --move /dev /newroot/dev\n\
         exec $bb switch_root /newroot {HOST_FOLDER}/busybox sh {HOST_FOLDER}/init\n\
         $bb poweroff -f\n",
        board.console
    )
}

/// The script that becomes the command.
pub(crate) fn command(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("exec {}\n", words.join(" "))
}

/// In single quotes a shell leaves everything alone but the single quote.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

const MUST: &str = "must() { \"$@\" || { echo \"oomwatch-vm: failed: $*\"; $bb poweroff -f; }; }\n";

/// Raw mode keeps the terminal layer from writing CR LF for each newline.
const BASE_MOUNTS: &str = "\
$bb test -c $output || $bb mount -t devtmpfs dev /dev
exec < /dev/null > $console 2>&1
must $bb mount -t proc proc /proc
must $bb mount -t sysfs sys /sys
must $bb mkdir -p /dev/pts /dev/shm
must $bb mount -t devpts devpts /dev/pts
must $bb mount -t tmpfs shm /dev/shm
must $bb mount -t debugfs debug /sys/kernel/debug
must $bb mount -t tracefs trace /sys/kernel/tracing
must $bb mount -t bpf bpf /sys/fs/bpf
must $bb stty -F $output raw -echo
$bb ip link set lo up
$bb hostname oomwatch-vm
";

/// Without `cpuset`: where no other cgroup has it, as on a node that is up some always has, the kernel patches its page
/// allocator whenever the first one comes and the last one goes (`cpusets_enabled_key`), and an emulator of several
/// CPUs can keep the breakpoint by which that is done, for good: 5.10 then hangs in `get_page_from_freelist`.
const CGROUP_V2: &str = "\
must $bb mount -t cgroup2 cgroup /sys/fs/cgroup
for controller in memory pids cpu io; do
    echo +$controller > /sys/fs/cgroup/cgroup.subtree_control
done
$bb grep -q memory /sys/fs/cgroup/cgroup.subtree_control || must false 'no memory controller in cgroup v2'
";

/// Each controller by itself, and beside them a v2 hierarchy without controllers: what distributions with v1 have.
const CGROUP_V1: &str = "\
must $bb mount -t tmpfs cgroup /sys/fs/cgroup
while read controller rest; do
    case $controller in '#'*) continue;; esac
    $bb mkdir /sys/fs/cgroup/$controller
    $bb mount -t cgroup -o $controller $controller /sys/fs/cgroup/$controller
done < /proc/cgroups
$bb test -e /sys/fs/cgroup/memory/memory.usage_in_bytes || must false 'no memory controller in cgroup v1'
test ! -e /sys/fs/cgroup/memory/memory.use_hierarchy || echo 1 > /sys/fs/cgroup/memory/memory.use_hierarchy
$bb mkdir /sys/fs/cgroup/unified
$bb mount -t cgroup2 unified /sys/fs/cgroup/unified
";

const MEMORY_MOUNTS: &str = "must $bb mount -t tmpfs tmp /tmp\nmust $bb mount -t tmpfs run /run\n";

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::{arch::Arch, run};

    #[test]
    fn a_command_reaches_the_guest_word_for_word() {
        let words = ["printf", "%s|", "a b", "it's", "$HOME", "", "*", "new\nline"].map(str::to_owned);
        let output = run::read(Command::new("sh").args(["-c", &command(&words)])).unwrap();
        assert_eq!(output, "a b|it's|$HOME||*|new\nline|");
    }

    #[test]
    fn every_script_is_one_that_a_shell_can_read() {
        let board = Arch::HOST.board();
        for cgroup in [Cgroup::V1, Cgroup::V2] {
            for host_root in [false, true] {
                let folder = Path::new("/it's here");
                let host = host_root.then(|| HostRoot { folder, files: vec!["/bin/it's", "/a"] });
                let script = init(&Init { cgroup, board, marker: "END", host });
                run::read(Command::new("sh").args(["-n", "-c", &script])).unwrap();
            }
        }
        run::read(Command::new("sh").args(["-n", "-c", &host_init(board)])).unwrap();
    }
}
