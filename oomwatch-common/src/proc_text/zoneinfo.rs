//! `/proc/zoneinfo`: below how much free memory the kernel's zones want more.

use super::lines::{number, whole_lines, words};
use crate::units::Pages;

/// The sum of all zones' high watermarks: with less the page allocator still reclaims, and `out_of_memory` still kills
/// (`__alloc_pages_may_oom`, mm/page_alloc.c, tries once at `ALLOC_WMARK_HIGH`). `None`: the text has none.
pub fn high_watermarks(text: &[u8]) -> Option<Pages> {
    let highs = whole_lines(text).filter_map(|line| {
        let mut words = words(line);
        // The per-CPU lists have a `high:` of their own.
        if words.next()? != b"high" {
            return None;
        }
        let high = number::<u64>(words.next()?).ok()?;
        words.next().is_none().then_some(high)
    });
    highs.fold(None, |sum: Option<u64>, high| Some(sum.unwrap_or(0).saturating_add(high))).map(Pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn high_watermarks_of_all_zones() {
        let two = "Node 0, zone      DMA\n  pages free     424\n        boost    0\n        min      22\n        \
                   low      27\n        high     32\n  pagesets\n    cpu: 0\n              count: 3\n              \
                   high:  378\nNode 0, zone    DMA32\n        high     1487\n";
        for (text, expected) in [
            (two, Some(1519)),
            ("        high     32 more\n        high     nine\n", None),
            ("        high     32", None),
            ("", None),
            ("        high     18446744073709551615\n        high     2\n", Some(u64::MAX)),
        ] {
            assert_eq!(high_watermarks(text.as_bytes()), expected.map(Pages), "{text}");
        }
    }
}
