//! `/proc/slabinfo` 2.1 (`slabinfo_show`, mm/slab_common.c of 6.12): what the kernel's own caches hold.

use super::{
    Malformed,
    lines::{number, whole_lines, words},
};
use crate::{
    escape::escape,
    report::SlabCache,
    units::{Bytes, PageSize, Pages},
};

/// The largest caches, the largest first. Those that hold nothing are left out.
///
/// # Errors
/// It is not version 2.1, or a line is not as it ought to be.
pub fn slabinfo(text: &[u8], most: usize, page_size: PageSize) -> Result<Vec<SlabCache>, Malformed> {
    let mut lines = whole_lines(text);
    if lines.next() != Some(b"slabinfo - version: 2.1") {
        return Err(Malformed);
    }
    let mut slabs = Vec::new();
    for line in lines.filter(|line| !line.starts_with(b"#")) {
        let slab = slab(line, page_size).ok_or(Malformed)?;
        if slab.size_bytes > Bytes(0) {
            slabs.push(slab);
        }
    }
    slabs.sort_by_key(|slab| std::cmp::Reverse(slab.size_bytes));
    slabs.truncate(most);
    Ok(slabs)
}

/// `dentry 21 42 192 21 1 : tunables 0 0 0 : slabdata 2 2 0`: active objects, objects, bytes of one, objects in a
/// slab, pages of a slab; then active slabs, slabs. A module may name its cache with spaces.
fn slab(line: &[u8], page_size: PageSize) -> Option<SlabCache> {
    let words: Vec<&[u8]> = words(line).collect();
    let value = |from_end: usize| number::<u64>(words.get(words.len().checked_sub(from_end)?)?).ok();
    let (name, last) = (words.get(..words.len().checked_sub(15)?)?, words.last()?);
    number::<u64>(last).ok()?;
    let pages = value(11)?.checked_mul(value(2)?)?;
    let name = (!name.is_empty()).then(|| name.join(&b' '))?;
    Some(SlabCache {
        name: escape(&name),
        size_bytes: page_size.bytes(Pages(pages)),
        objects: Some(value(15)?),
    })
}

#[cfg(test)]
mod tests {
    use super::slabinfo;
    use crate::{
        report::SlabCache,
        units::{Bytes, PageSize},
    };

    const TEXT: &[u8] = include_bytes!("../../../tests/fixtures/proc/6.18-v1/slabinfo");

    #[test]
    fn the_largest_caches_of_a_real_node_come_first() {
        let slabs = slabinfo(TEXT, 3, PageSize::default()).unwrap();
        let of = |name: &str, bytes, objects| SlabCache {
            name: name.to_owned(),
            size_bytes: Bytes(bytes),
            objects: Some(objects),
        };
        assert_eq!(
            slabs,
            [
                of("ext4_inode_cache", 534_167_552, 456_416),
                of("buffer_head", 297_123_840, 2_432_188),
                of("radix_tree_node", 139_313_152, 237_732),
            ]
        );
        assert_eq!(slabinfo(TEXT, 0, PageSize::default()).unwrap(), []);
        let all = slabinfo(TEXT, usize::MAX, PageSize::default()).unwrap();
        assert!(all.iter().all(|slab| slab.size_bytes > Bytes(0)) && all.len() > 50, "{}", all.len());
    }

    #[test]
    fn a_name_with_spaces_and_what_is_no_slabinfo() {
        let head = "slabinfo - version: 2.1\n# name\n";
        let line = "my \x1b cache 3 4 192 21 2 : tunables 0 0 0 : slabdata 5 5 0\n";
        let read = |text: &str| slabinfo(text.as_bytes(), 9, PageSize::default());
        let expected =
            SlabCache { name: r"my \x1b cache".to_owned(), size_bytes: Bytes(40_960), objects: Some(3) };
        assert_eq!(read(&format!("{head}{line}")).unwrap(), [expected]);
        // The last line was cut.
        assert_eq!(read(&format!("{head}{line}dentry 1 2")).unwrap().len(), 1);
        for text in [
            "",
            "slabinfo - version: 2.1",
            "slabinfo - version: 3.0\n",
            &format!("{head}dentry 1 2\n"),
            &format!("{head}dentry x 4 192 21 2 : tunables 0 0 0 : slabdata 5 5 0\n")[..],
            &format!("{head}3 4 192 21 2 : tunables 0 0 0 : slabdata 5 5 0\n"),
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
