//! `/proc/vmstat` (mm/vmstat.c of 6.12): the fields that tell of reclaim, swap, compaction and OOM kills.
//!
//! All but `nr_…` are counted since boot.

use super::{
    Malformed,
    lines::{known_values, number, whole_lines, words},
};

known_values! {
    /// Counts of events since boot, and numbers of pages (`nr_…`).
    pub struct Vmstat of u64 {
        /// Processes killed by the OOM killer. A group kill counts its first victim twice.
        oom_kill = "oom_kill",
        pgfault = "pgfault",
        pgmajfault = "pgmajfault",
        pgscan_kswapd = "pgscan_kswapd",
        pgscan_direct = "pgscan_direct",
        pgscan_direct_throttle = "pgscan_direct_throttle",
        pgscan_anon = "pgscan_anon",
        pgscan_file = "pgscan_file",
        pgsteal_kswapd = "pgsteal_kswapd",
        pgsteal_direct = "pgsteal_direct",
        pgsteal_anon = "pgsteal_anon",
        pgsteal_file = "pgsteal_file",
        allocstall_dma = "allocstall_dma",
        allocstall_dma32 = "allocstall_dma32",
        allocstall_normal = "allocstall_normal",
        allocstall_movable = "allocstall_movable",
        pswpin = "pswpin",
        pswpout = "pswpout",
        workingset_refault_anon = "workingset_refault_anon",
        workingset_refault_file = "workingset_refault_file",
        compact_stall = "compact_stall",
        compact_fail = "compact_fail",
        compact_success = "compact_success",
        slabs_scanned = "slabs_scanned",
        drop_slab = "drop_slab",
        nr_free_pages = "nr_free_pages",
        nr_dirty = "nr_dirty",
        nr_writeback = "nr_writeback",
        nr_mlock = "nr_mlock",
    }
}

/// Reads the text.
///
/// # Errors
/// It has none of the known fields, or one of them is no number.
pub fn vmstat(text: &[u8]) -> Result<Vmstat, Malformed> {
    let mut vmstat = Vmstat::default();
    for line in whole_lines(text) {
        let mut words = words(line);
        let Some(slot) = words.next().and_then(|key| vmstat.slot(key)) else { continue };
        *slot = Some(number(words.next().ok_or(Malformed)?)?);
    }
    if vmstat == Vmstat::default() { Err(Malformed) } else { Ok(vmstat) }
}

#[cfg(test)]
mod tests {
    use super::vmstat;

    const TEXT: &[u8] = include_bytes!("../../../tests/fixtures/proc/6.18-v1/vmstat");

    #[test]
    fn a_real_vmstat_is_read() {
        let vmstat = vmstat(TEXT).unwrap();
        let line = |key: &str| {
            let text = std::str::from_utf8(TEXT).unwrap();
            text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
        };
        assert_eq!((vmstat.oom_kill, vmstat.pgmajfault), (line("oom_kill"), line("pgmajfault")));
        assert_eq!((vmstat.nr_dirty, vmstat.pswpin), (line("nr_dirty"), line("pswpin")));
        assert!(vmstat.oom_kill.is_some() && vmstat.nr_dirty.is_some());
    }

    #[test]
    fn cut_anywhere_it_says_nothing_that_the_whole_does_not_say() {
        let whole = serde_json::to_value(vmstat(TEXT).unwrap()).unwrap();
        for end in 0..TEXT.len() {
            let Ok(cut) = vmstat(&TEXT[..end]) else { continue };
            for (name, value) in serde_json::to_value(cut).unwrap().as_object().unwrap() {
                assert_eq!(whole.get(name), Some(value), "cut at {end}");
            }
        }
    }

    #[test]
    fn what_is_no_vmstat_is_malformed() {
        for text in ["", "nr_inactive_anon 1\n", "oom_kill\n", "oom_kill x\n", "oom_kill 7"] {
            assert!(vmstat(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
