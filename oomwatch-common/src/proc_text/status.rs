//! `/proc/PID/status` (fs/proc/array.c, fs/proc/task_mmu.c of 6.12). A zombie has no `Vm…` lines at all.

use serde::{Deserialize, Serialize};

use super::{
    Malformed,
    lines::{kib, number, whole_lines, words},
};
use crate::{escape::escape, units::Bytes};

macro_rules! status {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $key:literal by $parse:path,)*) => {
        /// What `/proc/PID/status` said while the process lived. Field names are the kernel's in snake case, with the
        /// unit at the end.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Status {
            $(
                #[doc = concat!("`", $key, "`. ")]
                $(#[$doc])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
        }

        impl Status {
            fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Malformed> {
                $(if key == $key.as_bytes() { self.$field = Some($parse(value)?); return Ok(()); })*
                Ok(())
            }
        }
    };
}

status! {
    /// Name of the thread, escaped.
    name: String = "Name" by name,
    /// File mode mask, octal as the kernel writes it.
    umask: String = "Umask" by text,
    /// State letter and word: `S (sleeping)`.
    state: String = "State" by text,
    /// Process id.
    tgid: u32 = "Tgid" by one,
    /// Thread id.
    pid: u32 = "Pid" by one,
    /// Process id of the real parent; 0 where it lies outside the reader's pid namespace.
    ppid: u32 = "PPid" by one,
    /// Process id of a debugger, else 0.
    tracer_pid: u32 = "TracerPid" by one,
    /// User ids, in the reader's user namespace.
    uid: Ids = "Uid" by ids,
    /// Group ids.
    gid: Ids = "Gid" by ids,
    /// Thread ids, one for each pid namespace, the reader's first.
    nspid: Vec<u32> = "NSpid" by list,
    /// Highest address space so far.
    vm_peak_bytes: Bytes = "VmPeak" by kib,
    /// Address space.
    vm_size_bytes: Bytes = "VmSize" by kib,
    /// Locked.
    vm_lck_bytes: Bytes = "VmLck" by kib,
    /// Pinned.
    vm_pin_bytes: Bytes = "VmPin" by kib,
    /// Highest RSS so far.
    vm_hwm_bytes: Bytes = "VmHWM" by kib,
    /// RSS: the sum of the three below.
    vm_rss_bytes: Bytes = "VmRSS" by kib,
    /// Anonymous memory.
    rss_anon_bytes: Bytes = "RssAnon" by kib,
    /// Mapped files.
    rss_file_bytes: Bytes = "RssFile" by kib,
    /// Shared memory and tmpfs.
    rss_shmem_bytes: Bytes = "RssShmem" by kib,
    /// Address space of data.
    vm_data_bytes: Bytes = "VmData" by kib,
    /// Address space of the first thread's stack.
    vm_stk_bytes: Bytes = "VmStk" by kib,
    /// Address space of program text.
    vm_exe_bytes: Bytes = "VmExe" by kib,
    /// Address space of libraries.
    vm_lib_bytes: Bytes = "VmLib" by kib,
    /// Page tables.
    vm_pte_bytes: Bytes = "VmPTE" by kib,
    /// Swapped out, shared memory not counted.
    vm_swap_bytes: Bytes = "VmSwap" by kib,
    /// Huge pages of hugetlbfs: not part of RSS.
    hugetlb_pages_bytes: Bytes = "HugetlbPages" by kib,
    /// Threads.
    threads: u32 = "Threads" by one,
    /// 1: setuid programs give no more rights.
    no_new_privs: u32 = "NoNewPrivs" by one,
    /// 0: off, 1: strict, 2: filter.
    seccomp: u32 = "Seccomp" by one,
    /// CPUs that it may run on.
    cpus_allowed_list: String = "Cpus_allowed_list" by text,
    /// Memory nodes that its cpuset allows it.
    mems_allowed_list: String = "Mems_allowed_list" by text,
    /// Times it gave up the CPU.
    voluntary_ctxt_switches: u64 = "voluntary_ctxt_switches" by one,
    /// Times the CPU was taken from it.
    nonvoluntary_ctxt_switches: u64 = "nonvoluntary_ctxt_switches" by one,
}

/// User or group ids of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// Whose process it is.
    pub real: u32,
    /// Whose rights it has.
    pub effective: u32,
    /// Whose rights it may take back.
    pub saved: u32,
    /// Whose rights it has on files.
    pub filesystem: u32,
}

/// Reads the text.
///
/// # Errors
/// It has no whole `Name:` line, or a known line is not as it ought to be.
pub fn status(text: &[u8]) -> Result<Status, Malformed> {
    let mut status = Status::default();
    for line in whole_lines(text) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (key, value) = line.split_at(colon);
        status.set(key, value.get(1..).unwrap_or_default())?;
    }
    if status.name.is_none() { Err(Malformed) } else { Ok(status) }
}

/// The kernel writes `\n` for a line end and `\\` for a backslash (`proc_task_name`).
fn name(value: &[u8]) -> Result<String, Malformed> {
    let value = value.strip_prefix(b"\t").ok_or(Malformed)?;
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.iter().copied();
    while let Some(byte) = rest.next() {
        if byte == b'\\' {
            match rest.next() {
                Some(b'n') => bytes.push(b'\n'),
                Some(b'\\') => bytes.push(b'\\'),
                _ => return Err(Malformed),
            }
        } else {
            bytes.push(byte);
        }
    }
    Ok(escape(&bytes))
}

fn text(value: &[u8]) -> Result<String, Malformed> {
    let value = value.trim_ascii();
    if value.is_empty() { Err(Malformed) } else { Ok(escape(value)) }
}

fn one<T: std::str::FromStr>(value: &[u8]) -> Result<T, Malformed> {
    number(value.trim_ascii())
}

fn list(value: &[u8]) -> Result<Vec<u32>, Malformed> {
    words(value).map(number).collect()
}

fn ids(value: &[u8]) -> Result<Ids, Malformed> {
    match list(value)?.as_slice() {
        &[real, effective, saved, filesystem] => Ok(Ids { real, effective, saved, filesystem }),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::{Ids, Status, status};
    use crate::units::Bytes;

    const TEXT: &[u8] = include_bytes!("../../../tests/fixtures/proc/6.18-v1/status");

    #[test]
    fn a_real_status_is_read_in_bytes() {
        let status = status(TEXT).unwrap();
        assert_eq!(status.name.as_deref(), Some("ingest-worker"));
        assert_eq!(status.state.as_deref(), Some("S (sleeping)"));
        assert_eq!(status.vm_rss_bytes, Some(Bytes(49_864 * 1024)));
        assert_eq!(status.rss_anon_bytes, Some(Bytes(41_020 * 1024)));
        assert_eq!(status.rss_shmem_bytes, Some(Bytes(8192 * 1024)));
        assert_eq!(status.vm_pte_bytes, Some(Bytes(132 * 1024)));
        assert_eq!(status.uid, Some(Ids { real: 0, effective: 0, saved: 0, filesystem: 0 }));
        assert_eq!(status.nspid.as_deref(), Some([29382].as_slice()));
        assert_eq!((status.threads, status.nonvoluntary_ctxt_switches), (Some(1), Some(5)));
    }

    #[test]
    fn cut_anywhere_it_says_nothing_that_the_whole_does_not_say() {
        let whole = serde_json::to_value(status(TEXT).unwrap()).unwrap();
        let mut values = 0;
        for end in 0..TEXT.len() {
            let Ok(cut) = status(&TEXT[..end]) else { continue };
            for (name, value) in serde_json::to_value(cut).unwrap().as_object().unwrap() {
                assert_eq!(whole.get(name), Some(value), "cut at {end}");
                values += 1;
            }
        }
        assert!(values > 1000, "{values}");
    }

    #[test]
    fn a_zombie_has_no_memory_lines() {
        let zombie = status(b"Name:\thog\nState:\tZ (zombie)\nTgid:\t162\nThreads:\t2\n").unwrap();
        assert_eq!((zombie.tgid, zombie.vm_rss_bytes), (Some(162), None));
    }

    #[test]
    fn a_name_cannot_forge_lines_or_terminal_commands() {
        let forged = status(b"Name:\ta\\nVmRSS:\t1 kB\\\\\x1b\nTgid:\t7\n").unwrap();
        assert_eq!(
            forged,
            Status { name: Some(r"a\x0aVmRSS:\x091 kB\\\x1b".into()), tgid: Some(7), ..Status::default() }
        );
    }

    #[test]
    fn known_lines_with_wrong_values_are_malformed() {
        for line in
            ["VmRSS:\t12", "VmRSS:\t12 MB", "VmRSS:\t-1 kB", "Uid:\t0 0 0", "Threads:\tmany", "Name:x"]
        {
            assert!(status(format!("Name:\thog\n{line}\n").as_bytes()).is_err(), "{line}");
        }
        for text in ["", "\n", "Tgid:\t1\n", "Name:\thog"] {
            assert!(status(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
