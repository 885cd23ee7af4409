//! Text of a memory cgroup's files, v2 and v1 → values.
//!
//! `memory.stat` differs from kernel to kernel, so it is kept by name. Sizes are named `…_bytes`; a v1 name becomes
//! the v2 one only where both mean the same. It does not read files: [`crate::snapshot`] is given their bytes.

use std::{collections::BTreeMap, ops::Bound};

use serde::{Deserialize, Serialize};

use crate::{
    proc_text::{Malformed, number, single_number, whole_lines, words},
    units::{Bytes, Limit, PageSize},
};

/// Values kept of one file: no kernel has so many.
const VALUES: usize = 256;

/// `memory.stat`: sizes under `…_bytes`, counts under the kernel's own name. On v1 the hierarchical values
/// (`total_…`), which is what v2 counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemcgStat(pub BTreeMap<String, u64>);

impl MemcgStat {
    /// A size by its name without `_bytes`.
    pub fn size(&self, name: &str) -> Option<Bytes> {
        let from = self.0.range::<str, _>((Bound::Included(name), Bound::Unbounded));
        let mut with_prefix = from.take_while(|(key, _)| key.starts_with(name));
        let found = with_prefix.find(|(key, _)| key.strip_prefix(name) == Some("_bytes"));
        found.map(|(_, size)| Bytes(*size))
    }

    /// A count.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }
}

/// `memory.events`, or on v1 `memory.oom_control` and `memory.failcnt`: how often what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemcgEvents(pub BTreeMap<String, u64>);

/// The names in v2's `memory.stat` that are bytes (Documentation/admin-guide/cgroup-v2.rst of 7.0). Everything else
/// there is counted.
const SIZES: &[&str] = &[
    "anon",
    "file",
    "kernel",
    "kernel_stack",
    "pagetables",
    "sec_pagetables",
    "percpu",
    "sock",
    "vmalloc",
    "shmem",
    "zswap",
    "zswapped",
    "file_mapped",
    "file_dirty",
    "file_writeback",
    "swapcached",
    "anon_thp",
    "file_thp",
    "shmem_thp",
    "inactive_anon",
    "active_anon",
    "inactive_file",
    "active_file",
    "unevictable",
    "slab_reclaimable",
    "slab_unreclaimable",
    "slab",
    "hugetlb",
];

/// v1's names of sizes, and the v2 name of the same counter (`memcg1_stats` in mm/memcontrol-v1.c against
/// `memory_stats` in mm/memcontrol.c, 6.12). `swap` has no v2 name.
const V1_SIZES: &[(&str, &str)] = &[
    ("cache", "file"),
    ("rss", "anon"),
    ("rss_huge", "anon_thp"),
    ("shmem", "shmem"),
    ("mapped_file", "file_mapped"),
    ("dirty", "file_dirty"),
    ("writeback", "file_writeback"),
    ("swapcached", "swapcached"),
    ("inactive_anon", "inactive_anon"),
    ("active_anon", "active_anon"),
    ("inactive_file", "inactive_file"),
    ("active_file", "active_file"),
    ("unevictable", "unevictable"),
    ("swap", "swap"),
];

/// Reads v2's `memory.stat`.
///
/// # Errors
/// It has no `anon` line, or a line is not a name and a number.
pub fn stat_v2(text: &[u8]) -> Result<MemcgStat, Malformed> {
    let values = pairs(text)?.into_iter().map(|(name, value)| {
        let name = if SIZES.contains(&name) { format!("{name}_bytes") } else { name.to_owned() };
        (name, value)
    });
    let stat = MemcgStat(values.collect());
    if stat.size("anon").is_none() { Err(Malformed) } else { Ok(stat) }
}

/// Reads v1's `memory.stat`: of each value the hierarchical one. The cgroup's own share of it is left out.
///
/// # Errors
/// It has no `total_rss` line, or a line is not a name and a number.
pub fn stat_v1(text: &[u8]) -> Result<MemcgStat, Malformed> {
    let hierarchical = pairs(text)?.into_iter().filter_map(|(name, value)| {
        if name.starts_with("hierarchical_") {
            return Some((format!("{name}_bytes"), value));
        }
        let name = name.strip_prefix("total_")?;
        let size = V1_SIZES.iter().find(|(v1, _)| *v1 == name);
        Some((size.map_or_else(|| name.to_owned(), |(_, v2)| format!("{v2}_bytes")), value))
    });
    let stat = MemcgStat(hierarchical.collect());
    if stat.size("anon").is_none() { Err(Malformed) } else { Ok(stat) }
}

/// Reads `memory.events` or v1's `memory.oom_control`.
///
/// # Errors
/// It is empty, or a line is not a name and a number.
pub fn events(text: &[u8]) -> Result<MemcgEvents, Malformed> {
    let events: BTreeMap<_, _> =
        pairs(text)?.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    if events.is_empty() { Err(Malformed) } else { Ok(MemcgEvents(events)) }
}

/// Reads `memory.max`, `memory.high`, `memory.swap.max`: `max` is no limit.
///
/// # Errors
/// It is neither `max` nor a number.
pub fn limit_v2(text: &[u8]) -> Result<Limit, Malformed> {
    if text == b"max\n" {
        return Ok(Limit::Unlimited);
    }
    Ok(Limit::Bytes(Bytes(single_number(text)?)))
}

/// Reads `memory.limit_in_bytes` and its like: no limit is `PAGE_COUNTER_MAX` in bytes, so it depends on the size of a
/// page (9223372036854771712 with 4 KiB).
///
/// # Errors
/// It is no number.
pub fn limit_v1(text: &[u8], page_size: PageSize) -> Result<Limit, Malformed> {
    let bytes = Bytes(single_number(text)?);
    let unlimited = page_size.bytes(page_size.unlimited());
    Ok(if bytes >= unlimited { Limit::Unlimited } else { Limit::Bytes(bytes) })
}

fn pairs(text: &[u8]) -> Result<Vec<(&str, u64)>, Malformed> {
    let mut pairs = Vec::new();
    for line in whole_lines(text).take(VALUES) {
        let mut words = words(line);
        let (Some(name), Some(value), None) = (words.next(), words.next(), words.next()) else {
            return Err(Malformed);
        };
        let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
        if !name.iter().all(is_plain) {
            return Err(Malformed);
        }
        pairs.push((std::str::from_utf8(name).map_err(|_| Malformed)?, number(value)?));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::{events, limit_v1, limit_v2, stat_v1, stat_v2};
    use crate::units::{Bytes, Limit, PageSize};

    const V1: &[u8] = include_bytes!("../../tests/fixtures/cgroup/6.18-v1/memory.stat");
    const V2: &[u8] = include_bytes!("../../tests/fixtures/cgroup/6.12-v2/memory.stat");

    #[test]
    fn a_real_v2_stat_tells_sizes_from_counts() {
        let stat = stat_v2(V2).unwrap();
        assert_eq!(stat.size("anon"), Some(Bytes(33_427_456)));
        assert_eq!(stat.size("kernel"), Some(Bytes(126_976)));
        assert_eq!(stat.size("pagetables"), Some(Bytes(106_496)));
        assert_eq!(stat.count("pgfault"), Some(8176));
        assert_eq!((stat.size("pgfault"), stat.count("anon")), (None, None));
    }

    #[test]
    fn a_real_v1_stat_has_the_v2_names_where_they_mean_the_same() {
        let stat = stat_v1(V1).unwrap();
        assert_eq!(stat.size("anon"), Some(Bytes(58_515_456)));
        assert_eq!(stat.size("file"), Some(Bytes(8_388_608)));
        assert_eq!(stat.size("shmem"), Some(Bytes(8_388_608)));
        assert_eq!(stat.size("swap"), Some(Bytes(0)));
        assert_eq!(stat.size("hierarchical_memory_limit"), Some(Bytes(67_108_864)));
        assert_eq!(stat.count("pgfault"), Some(16_349));
        assert!(stat.0.keys().all(|name| !name.starts_with("total_") && !name.contains("rss")), "{stat:?}");
    }

    #[test]
    fn v1_counts_what_is_below_the_cgroup_too() {
        let stat = stat_v1(b"rss 1\ncache 2\ntotal_rss 10\ntotal_cache 20\n").unwrap();
        assert_eq!((stat.size("anon"), stat.size("file")), (Some(Bytes(10)), Some(Bytes(20))));
    }

    #[test]
    fn cut_anywhere_a_stat_says_nothing_that_the_whole_does_not_say() {
        for (read, text) in [(stat_v1 as fn(&[u8]) -> _, V1), (stat_v2, V2)] {
            let whole: super::MemcgStat = read(text).unwrap();
            for end in 0..text.len() {
                let Ok(cut) = read(&text[..end]) else { continue };
                assert!(cut.0.iter().all(|(name, value)| whole.0.get(name) == Some(value)), "cut at {end}");
            }
        }
    }

    #[test]
    fn no_limit_is_no_number() {
        let page = |bytes| PageSize::new(bytes).unwrap();
        assert_eq!(limit_v2(b"max\n"), Ok(Limit::Unlimited));
        assert_eq!(limit_v2(b"536870912\n"), Ok(Limit::Bytes(Bytes(536_870_912))));
        assert_eq!(limit_v1(b"9223372036854771712\n", page(4096)), Ok(Limit::Unlimited));
        assert_eq!(limit_v1(b"9223372036854710272\n", page(65536)), Ok(Limit::Unlimited));
        assert_eq!(limit_v1(b"67108864\n", page(4096)), Ok(Limit::Bytes(Bytes(67_108_864))));
        for text in ["", "max", "maximum\n", "-1\n", "1 2\n"] {
            assert!(limit_v2(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn events_are_kept_by_name() {
        let kept = events(b"low 0\nhigh 0\nmax 145\noom 4\noom_kill 9\noom_group_kill 4\n").unwrap();
        assert_eq!((kept.0.get("oom_kill"), kept.0.get("max")), (Some(&9), Some(&145)));
        let v1 = events(include_bytes!("../../tests/fixtures/cgroup/6.18-v1/memory.oom_control")).unwrap();
        assert_eq!(v1.0.get("under_oom"), Some(&0));
        for text in ["", "oom_kill\n", "oom_kill x\n", "a b 1\n", "\u{1b} 1\n", "oom_kill 1"] {
            assert!(events(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
