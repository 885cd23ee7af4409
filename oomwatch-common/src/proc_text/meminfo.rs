//! `/proc/meminfo` (fs/proc/meminfo.c of 6.12). Its `kB` are kibibytes.

use super::{
    Malformed,
    lines::{kib, known_values, whole_lines},
};
use crate::units::Bytes;

known_values! {
    /// The node's memory. Read after the hook, so it may already show what the kill gave back.
    pub struct Meminfo of Bytes {
        mem_total_bytes = "MemTotal",
        mem_free_bytes = "MemFree",
        mem_available_bytes = "MemAvailable",
        buffers_bytes = "Buffers",
        /// Shared memory included.
        cached_bytes = "Cached",
        swap_cached_bytes = "SwapCached",
        active_bytes = "Active",
        inactive_bytes = "Inactive",
        active_anon_bytes = "Active(anon)",
        inactive_anon_bytes = "Inactive(anon)",
        active_file_bytes = "Active(file)",
        inactive_file_bytes = "Inactive(file)",
        unevictable_bytes = "Unevictable",
        mlocked_bytes = "Mlocked",
        swap_total_bytes = "SwapTotal",
        swap_free_bytes = "SwapFree",
        zswap_bytes = "Zswap",
        zswapped_bytes = "Zswapped",
        dirty_bytes = "Dirty",
        writeback_bytes = "Writeback",
        anon_pages_bytes = "AnonPages",
        mapped_bytes = "Mapped",
        /// Shared memory and tmpfs.
        shmem_bytes = "Shmem",
        kreclaimable_bytes = "KReclaimable",
        slab_bytes = "Slab",
        sreclaimable_bytes = "SReclaimable",
        sunreclaim_bytes = "SUnreclaim",
        kernel_stack_bytes = "KernelStack",
        page_tables_bytes = "PageTables",
        sec_page_tables_bytes = "SecPageTables",
        commit_limit_bytes = "CommitLimit",
        committed_as_bytes = "Committed_AS",
        vmalloc_used_bytes = "VmallocUsed",
        percpu_bytes = "Percpu",
        anon_huge_pages_bytes = "AnonHugePages",
        shmem_huge_pages_bytes = "ShmemHugePages",
        file_huge_pages_bytes = "FileHugePages",
        /// All huge pages of hugetlbfs, used or not: nothing else can use them.
        hugetlb_bytes = "Hugetlb",
    }
}

/// Reads the text.
///
/// # Errors
/// It has no whole `MemTotal:` line, or a known line is not a size in kB.
pub fn meminfo(text: &[u8]) -> Result<Meminfo, Malformed> {
    let mut meminfo = Meminfo::default();
    for line in whole_lines(text) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (key, value) = line.split_at(colon);
        if let Some(slot) = meminfo.slot(key) {
            *slot = Some(kib(value.get(1..).unwrap_or_default())?);
        }
    }
    if meminfo.mem_total_bytes.is_none() { Err(Malformed) } else { Ok(meminfo) }
}

#[cfg(test)]
mod tests {
    use super::{Meminfo, meminfo};
    use crate::units::Bytes;

    const TEXT: &[u8] = include_bytes!("../../../tests/fixtures/proc/6.18-v1/meminfo");

    #[test]
    fn a_real_meminfo_is_read_in_bytes() {
        let meminfo = meminfo(TEXT).unwrap();
        assert_eq!(meminfo.mem_total_bytes, Some(Bytes(24_684_096 * 1024)));
        assert_eq!(meminfo.inactive_anon_bytes, Some(Bytes(301_424 * 1024)));
        assert_eq!(meminfo.swap_total_bytes, Some(Bytes(0)));
        assert_eq!(meminfo.hugetlb_bytes, Some(Bytes(0)));
    }

    #[test]
    fn cut_anywhere_it_says_nothing_that_the_whole_does_not_say() {
        let whole = serde_json::to_value(meminfo(TEXT).unwrap()).unwrap();
        for end in 0..TEXT.len() {
            let Ok(cut) = meminfo(&TEXT[..end]) else { continue };
            for (name, value) in serde_json::to_value(cut).unwrap().as_object().unwrap() {
                assert_eq!(whole.get(name), Some(value), "cut at {end}");
            }
        }
    }

    #[test]
    fn what_is_no_meminfo_is_malformed() {
        for text in ["", "MemFree: 1 kB\n", "MemTotal: 1\n", "MemTotal: x kB\n", "MemTotal: 1 kB"] {
            assert!(meminfo(text.as_bytes()).is_err(), "{text:?}");
        }
        let least = meminfo(b"MemTotal: 1 kB\nNews2027: all of it\n").unwrap();
        assert_eq!(least, Meminfo { mem_total_bytes: Some(Bytes(1024)), ..Meminfo::default() });
    }
}
