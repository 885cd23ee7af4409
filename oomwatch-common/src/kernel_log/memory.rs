//! Where the memory was, as the header prints it: a cgroup's `memory.stat`, or the node's figures.

use std::collections::BTreeMap;

use super::text::{leading, rsplit, split, with_line_ends};
use crate::{
    ids::CgroupPath,
    memcg_text::{MemcgStat, stat_v1, stat_v2},
    proc_text::words,
    report::Zone,
    units::{Bytes, Kib, Pages},
};

/// Lines kept of one block.
const MOST_LINES: usize = 512;
/// `printk` cuts a record at about a thousand bytes (`LOG_LINE_MAX`): what is longer may have been cut in its last
/// line.
const MAY_BE_CUT: usize = 900;
const LONGEST_RECORD: usize = 1024;

/// `Memory cgroup stats for /a:`, and what follows it: until 4.18 on the same line, in KiB, and one such line for each
/// cgroup below; then as one record of many lines; since 6.8 a record a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stats {
    /// The cgroup of the first of them: the one at its limit.
    pub(super) path: Option<CgroupPath>,
    lines: BTreeMap<String, u64>,
    /// The values are each cgroup's own, and were summed.
    is_summed: bool,
    /// A pager cut such a line: the sums are of less than all.
    is_cut: bool,
    /// Bytes of the lines that came one by one, and the name on the last of them.
    single: (usize, String),
}

impl Stats {
    /// Whether such a block begins here.
    pub(super) fn is_head(text: &[u8]) -> bool {
        text.starts_with(b"Memory cgroup stats for /")
    }

    /// A line that such a block begins with.
    pub(super) fn begin(&mut self, text: &[u8]) -> Option<()> {
        let rest = text
            .strip_prefix(b"Memory cgroup stats for ")
            .or_else(|| text.strip_prefix(b"Memory cgroup stats"))?;
        if let Some(path) = rest.strip_suffix(b":") {
            *self = Self {
                path: Some(CgroupPath::parse(path)).filter(|_| path.starts_with(b"/")),
                ..Self::default()
            };
            return Some(());
        }
        // The path may hold `: ` too; the figures do not.
        let (path, figures) = rsplit(rest, ": cache:").or_else(|| rsplit(rest, ": "))?;
        if self.path.is_none() {
            self.path = Some(CgroupPath::parse(path)).filter(|_| path.starts_with(b"/"));
        }
        (self.is_summed, self.is_cut) = (true, self.is_cut || figures.ends_with(b">"));
        for (index, word) in words(figures).enumerate().take(MOST_LINES) {
            // The first one's name was the anchor.
            let pair = if index == 0 && !word.contains(&b':') {
                Some((&b"cache"[..], word))
            } else {
                split(word, ":")
            };
            let Some((name, value)) = pair else { continue };
            let (Some((kib, unit)), Ok(name)) = (leading::<u64>(value), std::str::from_utf8(name)) else {
                continue;
            };
            let value = if unit == b"KB" { Bytes::from(Kib(kib)).0 } else { kib };
            let sum = self.lines.entry(name.to_owned()).or_default();
            *sum = sum.saturating_add(value);
        }
        Some(())
    }

    /// A record of the block, of one line or of many. `false` for another's.
    pub(super) fn add(&mut self, text: &[u8]) -> bool {
        if self.path.is_none() || self.is_summed {
            return false;
        }
        let text = &*with_line_ends(text);
        let mut lines: Vec<_> = text.split(|&byte| byte == b'\n').collect();
        if lines.first().is_none_or(|line| pair(line).is_none()) {
            return false;
        }
        if text.len() >= MAY_BE_CUT {
            lines.pop();
        }
        if let ([line], bytes) = (lines.as_slice(), self.single.0)
            && let Some((name, _)) = pair(line)
        {
            self.single = (bytes + line.len() + 1, name.to_owned());
        }
        for (name, value) in lines.into_iter().filter_map(pair) {
            if self.lines.len() < MOST_LINES {
                self.lines.entry(name.to_owned()).or_insert(value);
            }
        }
        true
    }

    /// As the cgroup's own file would have been read.
    pub(super) fn stat(&self) -> Option<MemcgStat> {
        use std::fmt::Write as _;
        if self.is_cut {
            return None;
        }
        let mut text = String::new();
        let prefix = if self.is_summed { "total_" } else { "" };
        // One record may have become many lines on its way through another log.
        let cut = (MAY_BE_CUT..LONGEST_RECORD).contains(&self.single.0).then_some(&self.single.1);
        for (name, value) in self.lines.iter().filter(|(name, _)| Some(*name) != cut) {
            writeln!(text, "{prefix}{name} {value}").ok()?;
        }
        stat_v2(text.as_bytes()).or_else(|_| stat_v1(text.as_bytes())).ok()
    }
}

/// `anon 33386496`
fn pair(line: &[u8]) -> Option<(&str, u64)> {
    let (name, value) = split(line, " ")?;
    let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
    let is_name = name.first().is_some_and(u8::is_ascii_lowercase) && name.iter().all(is_plain);
    let (value, b"") = leading(value)? else { return None };
    Some((std::str::from_utf8(name).ok().filter(|_| is_name)?, value))
}

/// The node's memory when a node-wide OOM was logged (`show_mem`). `None`, or not there: not printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeMemory {
    /// `active_anon`, `slab_unreclaimable`, `shmem`, …: pages of all nodes.
    pub counts: BTreeMap<String, Pages>,
    /// `N pages RAM`: all that is installed.
    pub ram: Option<Pages>,
    /// `N pages reserved`: what of it the kernel never gives out.
    pub reserved: Option<Pages>,
    /// `Total swap = NkB`
    pub swap_total: Option<Bytes>,
    /// `Free swap  = NkB`
    pub swap_free: Option<Bytes>,
    /// Stacks of all threads.
    pub kernel_stack: Option<Bytes>,
    /// All huge pages of hugetlbfs, used or not.
    pub hugetlb: Option<Bytes>,
    /// Its zones, in the kernel's order.
    pub zones: Vec<Zone>,
}

impl NodeMemory {
    /// The counters are one record of several lines, of which other logs make a line each.
    fn goes_on(&self, text: &[u8]) -> bool {
        let is_pair = |word| {
            let pair = split(word, ":").and_then(|(name, value)| Some((name, leading::<u64>(value)?.1)));
            pair.is_some_and(|(name, unit)| {
                name.first().is_some_and(u8::is_ascii_lowercase) && unit.is_empty()
            })
        };
        !self.counts.is_empty() && words(text).next().is_some() && words(text).all(is_pair)
    }

    /// A line between `Mem-Info:` and the table of tasks.
    pub(super) fn add(&mut self, text: &[u8]) {
        let text = &*with_line_ends(text);
        if self.add_zone(text).is_some() {
            return;
        }
        if text.starts_with(b"active_anon:") || text.starts_with(b"active:") || self.goes_on(text) {
            for word in words(text).take(MOST_LINES) {
                let Some((name, value)) = split(word, ":") else { continue };
                if let (Ok(name), Some((pages, b""))) = (std::str::from_utf8(name), leading(value)) {
                    self.counts.entry(name.to_owned()).or_insert(Pages(pages));
                }
            }
            return;
        }
        let pages = |unit: &str| {
            leading(text).filter(|(_, rest)| *rest == unit.as_bytes()).map(|(pages, _)| Pages(pages))
        };
        let swap = |name: &str| {
            let (kib, rest) = leading(text.strip_prefix(name.as_bytes())?.trim_ascii_start())?;
            (rest == b"kB").then(|| Bytes::from(Kib(kib)))
        };
        self.ram = self.ram.or_else(|| pages(" pages RAM"));
        self.reserved = self.reserved.or_else(|| pages(" pages reserved"));
        self.swap_total = self.swap_total.or_else(|| swap("Total swap ="));
        self.swap_free = self.swap_free.or_else(|| swap("Free swap  ="));
    }
}

#[cfg(test)]
mod tests {
    use super::{NodeMemory, Stats};
    use crate::units::{Bytes, Pages};

    #[test]
    fn the_old_lines_of_a_hierarchy_are_summed() {
        let mut stats = Stats::default();
        for line in [
            "Memory cgroup stats for /par: cache:8KB rss:4KB rss_huge:0KB mapped_file:0KB active_anon:0KB",
            "Memory cgroup stats for /par/k: x: cache:0KB rss:32604KB rss_huge:0KB mapped_file:0KB active_anon:32596KB",
        ] {
            stats.begin(line.as_bytes()).unwrap();
        }
        assert_eq!(stats.path.as_ref().unwrap().to_bytes(), b"/par");
        let stat = stats.stat().unwrap();
        assert_eq!(stat.size("anon"), Some(Bytes(32608 * 1024)));
        assert_eq!(stat.size("file"), Some(Bytes(8 * 1024)));
        assert!(!stats.add(b"anon 5"), "a block of this form has no further lines");
    }

    #[test]
    fn a_block_is_the_same_in_one_record_or_in_many() {
        let head = b"Memory cgroup stats for /a:";
        let (mut one, mut many) = (Stats::default(), Stats::default());
        for stats in [&mut one, &mut many] {
            stats.begin(head).unwrap();
        }
        assert!(one.add(b"anon 33386496\nfile 0\npgfault 12"));
        for line in ["anon 33386496", "file 0", "pgfault 12"] {
            assert!(many.add(line.as_bytes()));
        }
        assert_eq!(one.stat(), many.stat());
        assert_eq!(one.stat().unwrap().size("anon"), Some(Bytes(33_386_496)));
        for line in ["", "Tasks state (memory values in pages):", "usb 1-1: x", "Anon 5", "anon 5 6"] {
            assert!(!one.add(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn a_record_that_rsyslog_wrote_as_one_line_loses_no_figure() {
        let mut stats = Stats::default();
        stats.begin(b"Memory cgroup stats for /a:").unwrap();
        assert!(stats.add(b"anon 33386496#012file 4096#012slab 12#012"));
        let stat = stats.stat().unwrap();
        assert_eq!((stat.size("anon"), stat.size("slab")), (Some(Bytes(33_386_496)), Some(Bytes(12))));
        let mut node = NodeMemory::default();
        node.add(b"active_anon:7 isolated_anon:0#012 unstable:1#012 slab_unreclaimable:13708#012 free:5");
        for (name, pages) in
            [("isolated_anon", 0), ("unstable", 1), ("slab_unreclaimable", 13708), ("free", 5)]
        {
            assert_eq!(node.counts[name], Pages(pages), "{name}");
        }
    }

    #[test]
    fn a_number_that_the_kernel_cut_is_not_taken_for_one() {
        let mut stats = Stats::default();
        stats.begin(b"Memory cgroup stats for /a:").unwrap();
        let mut record = "anon 33386496\n".to_owned();
        record.push_str(&"file 123456789\n".repeat(60));
        record.push_str("slab 33");
        assert!(stats.add(record.as_bytes()));
        let stat = stats.stat().unwrap();
        assert_eq!((stat.size("anon"), stat.size("slab")), (Some(Bytes(33_386_496)), None));
    }

    #[test]
    fn the_nodes_figures_are_read() {
        let mut node = NodeMemory::default();
        for line in [
            "active_anon:159374 inactive_anon:0 isolated_anon:0\n active_file:3 slab_unreclaimable:2190\n free:8675",
            "Node 0 active_anon:637496kB inactive_anon:0kB",
            "1186 total pagecache pages",
            "Free swap  = 5kB",
            "Total swap = 9kB",
            "196478 pages RAM",
            "14434 pages reserved",
        ] {
            node.add(line.as_bytes());
        }
        assert_eq!(node.counts["active_anon"], Pages(159_374));
        assert_eq!(node.counts["slab_unreclaimable"], Pages(2190));
        assert_eq!((node.ram, node.reserved), (Some(Pages(196_478)), Some(Pages(14434))));
        assert_eq!((node.swap_free, node.swap_total), (Some(Bytes(5120)), Some(Bytes(9216))));
    }
}
