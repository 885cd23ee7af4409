//! The proof of the layout: what the eBPF program reads of the agent's own task against what `/proc/self` says.
//!
//! Offsets that are wrong give plausible numbers, so nothing that they give is believed before this.

use std::{fs, path::Path};

use oomwatch_common::{
    decode::{Body, decode},
    ids::CgroupPath,
    incident::{Process, ProcessMemory},
    units::{Bytes, PageSize},
};

use crate::{preflight::status_field, refusal::Refusal};

/// What the program `prove` and `/proc/self` say of the same process.
pub struct Proof {
    /// The program's record.
    pub record: Vec<u8>,
    /// `status`, read just before the program ran: other threads of the process go on.
    pub status_before: String,
}

/// Compares the record of the program `prove` with `/proc/self`, both of the calling thread, which must be the
/// process's first.
///
/// # Errors
/// Names the first field that differs.
pub fn check(proof: &Proof, proc: &Path, page_size: PageSize) -> Result<(), Refusal> {
    let decoded = decode(&proof.record, page_size)
        .map_err(|error| Refusal::failed(format!("the layout's proof: {error}")))?;
    let Body::Proof(process) = decoded.body else {
        return Err(Refusal::failed("the layout's proof: another record came first"));
    };
    differences(&process, &proof.status_before, proc)
        .map_or(Ok(()), |difference| Err(Refusal::not_supported(difference)))
}

fn differences(process: &Process, status_before: &str, proc: &Path) -> Option<String> {
    let status = fs::read_to_string(proc.join("self/status")).unwrap_or_default();
    let number = |name: &str| number(&status, name);
    let file = |name: &str| fs::read_to_string(proc.join("self").join(name)).unwrap_or_default();
    let stat = file("stat");
    let start_ticks = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(19)?.parse::<u64>().ok());
    let started = process.started.map(|started| started.0 / 10_000_000);
    let comm = process.comm.as_ref().map(|comm| String::from_utf8_lossy(comm.as_bytes()).into_owned());
    let own_comm = file("comm").trim_end().to_owned();

    if process.tgid.map(|tgid| u64::from(tgid.0)) != number("Tgid")
        && comm.as_deref() == Some(own_comm.as_str())
    {
        let shown = |number: Option<u64>| number.map_or("none".to_owned(), |number| number.to_string());
        return Some(format!(
            "the kernel knows this process by the number {}, {} by {}: name the host's /proc by --proc, or run in the \
             host's pid namespace (hostPID: true)",
            shown(process.tgid.map(|tgid| tgid.0.into())),
            proc.display(),
            shown(number("Tgid"))
        ));
    }
    let memory = process.memory.unwrap_or_default();
    let close = |read: Option<Bytes>, name: &str| {
        let (before, after) = (self::number(status_before, name), number(name));
        read.zip(after).is_none_or(|(read, after)| is_between(read, before.unwrap_or(after), after))
    };
    let fields = [
        ("tgid", process.tgid.map(|tgid| u64::from(tgid.0)) == number("Tgid")),
        ("pid", process.tid.map(|tid| u64::from(tid.0)) == number("Pid")),
        ("comm", comm.as_deref() == Some(own_comm.as_str())),
        ("start_boottime", started.is_some() && started == start_ticks),
        ("real_parent", process.parent_tgid.map(|tgid| u64::from(tgid.0)) == number("PPid")),
        ("real_cred.uid", process.uid.map(u64::from) == number("Uid")),
        (
            "oom_score_adj",
            process.oom_score_adj.map(|value| value.to_string())
                == Some(file("oom_score_adj").trim().to_owned()),
        ),
        ("mm", process.memory.is_some()),
        ("total_vm", close(memory.total_vm, "VmSize")),
        ("pgtables_bytes", close(memory.pgtables, "VmPTE")),
        (
            "rss_stat",
            close(memory.rss_anon, "RssAnon") && close(memory.rss_file, "RssFile")
                || are_mapped(&memory, &file("smaps_rollup")),
        ),
        ("cgroups", is_own_cgroup(process, &file("cgroup"))),
    ];
    fields.iter().find(|(_, right)| !right).map(|(name, _)| {
        format!(
            "the layout read from BTF does not fit the running kernel: {name} differs from /proc/self; is --btf \
             that of this kernel?"
        )
    })
}

/// The number behind a name in `/proc/PID/status`, or in a file like it.
fn number(status: &str, name: &str) -> Option<u64> {
    status_field(status, name)?.split_ascii_whitespace().next()?.parse().ok()
}

/// What a process may have more or less than it said of itself just now.
const SLACK: u64 = 1 << 20;

/// Whether it is a number of bytes that a process can have had on its way from one number of KiB to another.
fn is_between(Bytes(read): Bytes, before: u64, after: u64) -> bool {
    let (least, most) = (before.min(after).saturating_mul(1024), before.max(after).saturating_mul(1024));
    (least.saturating_sub(SLACK)..=most.saturating_add(SLACK)).contains(&read)
}

/// Whether RSS is that of the pages themselves, as `/proc/PID/smaps_rollup` counts them. What each CPU has counted for
/// itself, up to 2 × CPUs pages, the probe has and `status` has not, from 6.2 to 6.15 (`get_mm_counter`,
/// include/linux/mm.h).
fn are_mapped(memory: &ProcessMemory, smaps: &str) -> bool {
    let (anon, file) = (memory.rss_anon, memory.rss_file);
    let sum = anon.zip(file).map(|(Bytes(anon), Bytes(file))| Bytes(anon.saturating_add(file)));
    let is_close = |read: Option<Bytes>, name| {
        read.zip(number(smaps, name)).is_some_and(|(read, now)| is_between(read, now, now))
    };
    is_close(anon, "Anonymous") && is_close(sum, "Rss")
}

/// The kernel's path is from the root of the hierarchy; `/proc/self/cgroup` gives it from the root of the cgroup
/// namespace, so it must be the end of the kernel's.
fn is_own_cgroup(process: &Process, cgroup: &str) -> bool {
    let Some(memcg) = &process.memcg else { return true };
    let own = cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let wanted = match memcg.v2 {
            Some(false) => controllers.split(',').any(|controller| controller == "memory"),
            _ => controllers.is_empty(),
        };
        wanted.then(|| CgroupPath::parse(path.as_bytes()))
    });
    let Some(own) = own else { return true };
    if memcg.v2 == Some(false) {
        return memcg.path.components.ends_with(&own.components);
    }
    // On v2 a cgroup without a memory controller of its own is accounted to the nearest one above that has it, so
    // the kernel's path may also be shorter.
    memcg.path.components.ends_with(&own.components)
        || own.components.starts_with(&memcg.path.components)
        || own.components.first().is_some_and(|component| component == b"..")
}

#[cfg(test)]
mod tests {
    use super::{Bytes, ProcessMemory, are_mapped, is_between, number};

    /// The agent was made ready by another thread while the program and `/proc/self` were asked, and ended with
    /// "`rss_stat` differs".
    #[test]
    fn a_process_that_grows_while_it_is_looked_at_is_the_same() {
        let kib = |kib: u64| Bytes(kib * 1024);
        for (read, before, after, same) in [
            (4000, 4000, 4000, true),
            (4000, 3900, 9000, true),
            (9000, 3900, 9000, true),
            (5000, 9000, 3900, true),
            (4000, 4900, 9000, true),
            (2875, 3900, 9000, false),
            (10_025, 3900, 9000, false),
            (0, 3900, 3900, false),
        ] {
            assert_eq!(is_between(kib(read), before, after), same, "{read} of {before} to {after}");
        }
    }

    #[test]
    fn a_number_is_that_of_the_whole_name() {
        let status = "VmRSSx:\t1 kB\nVmRSS:\t  4096 kB\nUid:\t0\t1\n";
        assert_eq!(
            (number(status, "VmRSS"), number(status, "Uid"), number(status, "Rss")),
            (Some(4096), Some(0), None)
        );
    }

    /// `status` of a process whose threads ran on four of 64 CPUs.
    #[test]
    fn what_cpus_have_counted_for_themselves_is_mapped() {
        let smaps = "Rss:\t   9000 kB\nPss:\t 7000 kB\nAnonymous:\t   4000 kB\n";
        let of = |anon: u64, file: u64| ProcessMemory {
            rss_anon: Some(Bytes(anon * 1024)),
            rss_file: Some(Bytes(file * 1024)),
            ..ProcessMemory::default()
        };
        for (memory, mapped) in [
            (of(4000, 5000), true),
            (of(4500, 4600), true),
            (of(5100, 3900), false),
            (of(4000, 6100), false),
            (ProcessMemory { rss_file: None, ..of(4000, 5000) }, false),
        ] {
            assert_eq!(are_mapped(&memory, smaps), mapped, "{memory:?}");
        }
        assert!(!are_mapped(&of(0, 0), ""), "what cannot be read proves nothing");
    }
}
