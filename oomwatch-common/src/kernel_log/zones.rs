//! The lines of a node-wide header on one memory node or zone (`show_free_areas`, mm/page_alloc.c, later
//! mm/show_mem.c; `hugetlb_show_meminfo`, mm/hugetlb.c).

use super::{
    memory::NodeMemory,
    text::{after_key, leading, split},
};
use crate::{
    proc_text::words,
    report::Zone,
    units::{Bytes, Kib},
};

/// Zones kept: a machine of 16 memory nodes has 5 of each.
const MOST_ZONES: usize = 80;
/// The kernel's buddy allocator has no larger orders.
const MOST_ORDERS: usize = 16;

impl NodeMemory {
    /// `Node 0 …`: of the node itself, its huge pages, a zone's watermarks, a zone's free blocks.
    pub(super) fn add_zone(&mut self, text: &[u8]) -> Option<()> {
        let (node, rest) = leading(text.strip_prefix(b"Node ")?)?;
        let rest = rest.strip_prefix(b" ")?;
        let kib = |key: &str| after_key(rest, key).map(|kib| Bytes::from(Kib(kib)));
        if rest.starts_with(b"active_anon:") {
            if let Some(stack) = kib(" kernel_stack:") {
                let sum = self.kernel_stack.unwrap_or_default();
                self.kernel_stack = Some(Bytes(sum.0.saturating_add(stack.0)));
            }
            return Some(());
        }
        if rest.starts_with(b"hugepages_total=") {
            let count: u64 = after_key(rest, "hugepages_total=")?;
            let size = kib(" hugepages_size=")?;
            let sum = self.hugetlb.unwrap_or_default().0;
            self.hugetlb = Some(Bytes(sum.saturating_add(count.saturating_mul(size.0))));
            return Some(());
        }
        if let Some((name, blocks)) = split(rest, ": ").filter(|(name, _)| is_name(name)) {
            let counted = words(blocks).filter_map(|word| leading::<u64>(split(word, "*").map(|_| word)?));
            let free_blocks = counted.map(|(count, _)| count).take(MOST_ORDERS).collect();
            self.zone(node, name)?.free_blocks = free_blocks;
            return Some(());
        }
        let (name, _) = split(rest, " free:").filter(|(name, _)| is_name(name))?;
        let zone = self.zone(node, name)?;
        zone.free_bytes = kib(" free:");
        zone.min_bytes = kib(" min:");
        zone.low_bytes = kib(" low:");
        zone.high_bytes = kib(" high:");
        Some(())
    }

    fn zone(&mut self, node: u32, name: &[u8]) -> Option<&mut Zone> {
        let name = std::str::from_utf8(name).ok()?;
        let known = self.zones.iter().position(|zone| zone.node == node && zone.zone == name);
        if known.is_none() && self.zones.len() >= MOST_ZONES {
            return None;
        }
        if known.is_none() {
            self.zones.push(Zone { node, zone: name.to_owned(), ..Zone::default() });
        }
        let at = known.or_else(|| self.zones.len().checked_sub(1))?;
        self.zones.get_mut(at)
    }
}

/// `DMA32`
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= 16 && name.iter().all(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use crate::{kernel_log::NodeMemory, units::Bytes};

    #[test]
    fn zones_have_watermarks_and_free_blocks() {
        let mut node = NodeMemory::default();
        for line in [
            "Node 0 active_anon:18300kB inactive_anon:5kB kernel_stack:6384kB all_unreclaimable? yes",
            "Node 1 active_anon:18300kB kernel_stack:16kB",
            "Node 0 DMA free:1500kB boost:0kB min:28kB low:40kB high:52kB reserved_highatomic:0KB active_anon:0kB",
            "lowmem_reserve[]: 0 456 456 456 456",
            "Node 0 DMA32 free:2kB min:3kB low:4kB high:5kB",
            "Node 0 DMA: 3*4kB (U) 2*8kB (UM) 0*16kB 1*32kB (M) = 1500kB",
            "Node 0 hugepages_total=3 hugepages_free=0 hugepages_surp=0 hugepages_size=2048kB",
            "Node 0 hugepages_total=1 hugepages_free=0 hugepages_surp=0 hugepages_size=1048576kB",
        ] {
            node.add(line.as_bytes());
        }
        let kib = |kib: u64| Some(Bytes(kib * 1024));
        assert_eq!((node.kernel_stack, node.hugetlb), (kib(6400), kib(3 * 2048 + 1_048_576)));
        let [dma, dma32] = node.zones.as_slice() else { panic!("{:?}", node.zones) };
        assert_eq!(
            (dma.free_bytes, dma.min_bytes, dma.low_bytes, dma.high_bytes),
            (kib(1500), kib(28), kib(40), kib(52))
        );
        assert_eq!(dma.free_blocks, [3, 2, 0, 1]);
        assert_eq!((dma32.zone.as_str(), dma32.min_bytes), ("DMA32", kib(3)));
    }
}
