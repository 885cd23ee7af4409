//! What the node tells of its memory: pressure, swap, the kernel's own caches.

use std::{fs, io};

use oomwatch_common::{proc_text::meminfo, report::size, units::Bytes};
use rustix::io::Errno;

use super::{Line, Look};

/// Pressure stall information.
pub(super) fn pressure(look: &Look<'_>) -> Vec<Line> {
    vec![judge_pressure(&fs::read_to_string(look.proc().join("pressure/memory")))]
}

fn judge_pressure(read: &io::Result<String>) -> Line {
    match read {
        Ok(text) if text.starts_with("some ") => {
            Line::ok("psi", "on: reports say how long tasks waited for memory")
        }
        Ok(_) => Line::degraded("psi", "its file says nothing that is known", "report this as a bug"),
        // Built in and switched off: the file is missing, or there and refuses (kernel/sched/psi.c).
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) =>
        {
            Line::degraded(
                "psi",
                "off: reports do not say how long tasks waited for memory",
                "boot with psi=1 (a kernel with CONFIG_PSI=y)",
            )
        }
        Err(error) => Line::degraded("psi", format!("not readable: {error}"), "is --proc right?"),
    }
}

/// The kernel's own caches. Nothing in it needs a capability, but its mode is 0400.
pub(super) fn slabs(look: &Look<'_>) -> Vec<Line> {
    vec![judge_slabs(&fs::read(look.proc().join("slabinfo")).map(drop))]
}

fn judge_slabs(read: &io::Result<()>) -> Line {
    match read {
        Ok(()) => {
            Line::ok("slabs", "reports of a node that runs out say which caches of the kernel are large")
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Line::not_applicable("slabs", "this kernel does not list its caches (CONFIG_SLUB_DEBUG)")
        }
        Err(error) => Line::degraded(
            "slabs",
            format!("not readable: {error}; reports do not say which caches of the kernel are large"),
            "run as uid 0 of the host: in a pod runAsUser 0 and hostUsers true",
        ),
    }
}

/// Swap and zswap: information, no judgement.
pub(super) fn swap(look: &Look<'_>) -> Vec<Line> {
    let total =
        fs::read(look.proc().join("meminfo")).ok().and_then(|text| meminfo(&text).ok()?.swap_total_bytes);
    let zswap = fs::read_to_string("/sys/module/zswap/parameters/enabled").ok();
    vec![judge_swap(total, zswap.as_deref())]
}

fn judge_swap(total: Option<Bytes>, zswap: Option<&str>) -> Line {
    let zswap = if zswap.is_some_and(|enabled| enabled.starts_with(['Y', '1'])) { ", zswap on" } else { "" };
    match total {
        None => Line::degraded("swap", "/proc/meminfo cannot be read", "is --proc right?"),
        Some(Bytes(0)) => Line::ok("swap", "none"),
        Some(total) => Line::ok("swap", format!("{}{zswap}", size(total))),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn pressure_is_on_off_or_unreadable() {
        let some = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 …\n";
        for (read, state, cured_by) in [
            (Ok(some.to_owned()), State::Ok, None),
            (Ok(String::new()), State::Degraded, Some("bug")),
            (Err(io::Error::from(Errno::NOENT)), State::Degraded, Some("psi=1")),
            (Err(io::Error::from(Errno::OPNOTSUPP)), State::Degraded, Some("psi=1")),
            (Err(io::Error::from(Errno::ACCESS)), State::Degraded, Some("--proc")),
        ] {
            let line = judge_pressure(&read);
            assert_eq!(line.state, state, "{read:?}");
            assert!(
                match cured_by {
                    None => line.cure.is_none(),
                    Some(word) => line.cure.as_deref().is_some_and(|cure| cure.contains(word)),
                },
                "{line:?}"
            );
        }
    }

    #[test]
    fn slabs_are_listed_or_not_or_not_for_everybody() {
        for (read, state) in [
            (Ok(()), State::Ok),
            (Err(io::Error::from(Errno::NOENT)), State::NotApplicable),
            (Err(io::Error::from(Errno::ACCESS)), State::Degraded),
        ] {
            assert_eq!(judge_slabs(&read).state, state, "{read:?}");
        }
    }

    #[test]
    fn zswap_is_named_only_where_there_is_swap() {
        assert_eq!(judge_swap(Some(Bytes(0)), Some("Y\n")).text, "none");
        assert_eq!(judge_swap(Some(Bytes(1 << 30)), Some("Y\n")).text, "1024.0 MiB, zswap on");
        assert_eq!(judge_swap(Some(Bytes(1 << 30)), Some("N\n")).text, "1024.0 MiB");
        assert_eq!(judge_swap(None, None).state, State::Degraded);
    }
}
