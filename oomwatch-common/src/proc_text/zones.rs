//! `/proc/zoneinfo` and `/proc/buddyinfo` (mm/vmstat.c of 6.12): free memory against the watermarks, zone by zone, and
//! in blocks of which size it is free.

use super::{
    Malformed,
    lines::{number, whole_lines, words},
};
use crate::{
    escape::escape,
    report::Zone,
    units::{Bytes, PageSize, Pages},
};

/// Zones read of one file: no machine has so many.
const ZONES: usize = 4096;

/// Reads `/proc/zoneinfo`. Zones that manage no memory are left out.
///
/// # Errors
/// It has no whole zone, or a known line is not a number of pages.
pub fn zoneinfo(text: &[u8], page_size: PageSize) -> Result<Vec<Zone>, Malformed> {
    let mut zones: Vec<Zone> = Vec::new();
    let (mut is_found, mut has_memory) = (false, Vec::new());
    for line in whole_lines(text) {
        if line.starts_with(b"Node ") {
            is_found = true;
            let (zone, _) = head(line).ok_or(Malformed)?;
            if zones.len() < ZONES {
                zones.push(zone);
            }
            continue;
        }
        let (Some(zone), mut words) = (zones.last_mut(), words(line)) else { continue };
        let pages = |word: Option<&[u8]>| Ok(Some(page_size.bytes(Pages(number(word.ok_or(Malformed)?)?))));
        match words.next() {
            Some(b"pages") if words.next() == Some(b"free") => zone.free_bytes = pages(words.next())?,
            Some(b"min") => zone.min_bytes = pages(words.next())?,
            Some(b"low") => zone.low_bytes = pages(words.next())?,
            Some(b"high") if zone.high_bytes.is_none() => zone.high_bytes = pages(words.next())?,
            Some(b"managed") => has_memory.push(pages(words.next())? > Some(Bytes(0))),
            _ => {}
        }
    }
    // One that was cut before that line is left out as well.
    let mut has_memory = has_memory.into_iter();
    zones.retain(|_| has_memory.next() == Some(true));
    if is_found { Ok(zones) } else { Err(Malformed) }
}

/// Adds what `/proc/buddyinfo` says of them to `zones`.
///
/// # Errors
/// It has no whole line, or a line is not a zone and numbers of blocks.
pub fn add_buddyinfo(zones: &mut Vec<Zone>, text: &[u8]) -> Result<(), Malformed> {
    let mut is_found = false;
    for line in whole_lines(text).take(ZONES) {
        is_found = true;
        let (head, counts) = head(line).ok_or(Malformed)?;
        let free_blocks: Vec<u64> = counts.map(number).collect::<Result<_, _>>()?;
        match zones.iter_mut().find(|zone| zone.node == head.node && zone.zone == head.zone) {
            Some(zone) => zone.free_blocks = free_blocks,
            None => zones.push(Zone { free_blocks, ..head }),
        }
    }
    if is_found { Ok(()) } else { Err(Malformed) }
}

/// `Node 0, zone   Normal`, and the words after it.
fn head(line: &[u8]) -> Option<(Zone, impl Iterator<Item = &[u8]>)> {
    let mut words = words(line);
    let (Some(b"Node"), Some(node), Some(b"zone"), Some(name)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return None;
    };
    let node = number(node.strip_suffix(b",")?).ok()?;
    Some((Zone { node, zone: escape(name), ..Zone::default() }, words))
}

#[cfg(test)]
mod tests {
    use super::{add_buddyinfo, zoneinfo};
    use crate::{
        report::Zone,
        units::{Bytes, PageSize},
    };

    const ZONES: &[u8] = include_bytes!("../../../tests/fixtures/proc/6.18-v1/zoneinfo");
    const BLOCKS: &[u8] = include_bytes!("../../../tests/fixtures/proc/6.18-v1/buddyinfo");

    #[test]
    fn zones_of_a_real_node_have_their_watermarks_and_blocks() {
        let mut zones = zoneinfo(ZONES, PageSize::default()).unwrap();
        add_buddyinfo(&mut zones, BLOCKS).unwrap();
        let pages = |pages: u64| Some(Bytes(pages * 4096));
        let dma = Zone {
            node: 0,
            zone: "DMA".to_owned(),
            free_bytes: pages(3840),
            min_bytes: pages(10),
            low_bytes: pages(13),
            high_bytes: pages(16),
            free_blocks: vec![0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 3],
        };
        let names: Vec<&str> = zones.iter().map(|zone| zone.zone.as_str()).collect();
        assert_eq!((names, &zones[0]), (vec!["DMA", "DMA32", "Normal"], &dma));
        // The lists of single CPUs have a `high` too.
        assert!(zones.iter().all(|zone| zone.high_bytes < zone.free_bytes), "{zones:?}");
    }

    #[test]
    fn blocks_alone_and_what_is_neither() {
        let mut zones = Vec::new();
        add_buddyinfo(&mut zones, b"Node 1, zone Normal 5 0 1\nNode 1, zo").unwrap();
        assert_eq!((zones.len(), zones[0].node, zones[0].free_blocks.as_slice()), (1, 1, &[5, 0, 1][..]));
        for text in ["", "Node 0, zone", "Node 0 zone DMA\n", "Node 0, zone DMA x\n"] {
            assert!(add_buddyinfo(&mut zones, text.as_bytes()).is_err(), "{text:?}");
        }
        for text in ["", "pages free 1\n", "Node 0, zone DMA\n min\n", "Node 0, zone DMA\n pages free x\n"] {
            assert!(zoneinfo(text.as_bytes(), PageSize::default()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn cut_anywhere_zones_say_nothing_that_the_whole_does_not_say() {
        let whole = zoneinfo(ZONES, PageSize::default()).unwrap();
        for end in 0..ZONES.len() {
            let Ok(cut) = zoneinfo(&ZONES[..end], PageSize::default()) else { continue };
            for zone in &cut {
                let whole = whole.iter().find(|whole| whole.zone == zone.zone).unwrap();
                assert_eq!(zone, whole, "cut at {end}");
            }
        }
    }
}
