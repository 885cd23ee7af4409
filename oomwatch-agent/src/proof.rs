//! The proof of the layout: what the eBPF program reads of the agent's own task against what `/proc/self` says.
//!
//! Offsets that are wrong give plausible numbers, so nothing that they give is believed before this.

use std::{fs, path::Path};

use oomwatch_common::{
    decode::{Body, decode},
    ids::CgroupPath,
    incident::Process,
    units::{Bytes, PageSize},
};

use crate::refusal::Refusal;

/// Compares the record of the program `prove` with `/proc/self`, both of the calling thread, which must be the
/// process's first.
///
/// # Errors
/// Names the first field that differs.
pub fn check(record: &[u8], proc: &Path, page_size: PageSize) -> Result<(), Refusal> {
    let decoded =
        decode(record, page_size).map_err(|error| Refusal::failed(format!("the layout's proof: {error}")))?;
    let Body::Proof(process) = decoded.body else {
        return Err(Refusal::failed("the layout's proof: another record came first"));
    };
    differences(&process, proc).map_or(Ok(()), |difference| Err(Refusal::not_supported(difference)))
}

fn differences(process: &Process, proc: &Path) -> Option<String> {
    let status = fs::read_to_string(proc.join("self/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_ascii_whitespace().next().map(str::to_owned)
    };
    let number = |name: &str| field(name).and_then(|text| text.parse::<u64>().ok());
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
        // The process goes on between the two reads, if little: allow it 1 MiB.
        let own = number(name).map(|kib| kib * 1024);
        read.zip(own).is_none_or(|(Bytes(read), own)| read.abs_diff(own) <= 1 << 20)
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
        ("rss_stat", close(memory.rss_anon, "RssAnon") && close(memory.rss_file, "RssFile")),
        ("cgroups", is_own_cgroup(process, &file("cgroup"))),
    ];
    fields.iter().find(|(_, right)| !right).map(|(name, _)| {
        format!(
            "the layout read from BTF does not fit the running kernel: {name} differs from /proc/self; is --btf \
             that of this kernel?"
        )
    })
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
