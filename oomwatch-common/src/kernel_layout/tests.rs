//! The resolver against BTF of real kernels; what it must find was read from the same blobs by bpftool.

use std::collections::BTreeMap;

use super::*;
use crate::{btf::BtfError, btf_excerpt::excerpt};

/// An excerpt of a kernel's BTF, the table of its offsets, and its column there.
const KERNELS: &[(&str, &[u8], &str)] = &[
    ("5.10.0-32-cloud-amd64", include_bytes!("../../../tests/fixtures/btf/5.10.0-32-cloud-amd64.btf"), AMD64),
    ("6.1.0-57-cloud-amd64", include_bytes!("../../../tests/fixtures/btf/6.1.0-57-cloud-amd64.btf"), AMD64),
    (
        "6.12.118+deb13-cloud-amd64",
        include_bytes!("../../../tests/fixtures/btf/6.12.118+deb13-cloud-amd64.btf"),
        AMD64,
    ),
    (
        "7.2.13+deb14-cloud-amd64",
        include_bytes!("../../../tests/fixtures/btf/7.2.13+deb14-cloud-amd64.btf"),
        AMD64,
    ),
    ("6.1.0-57-cloud-arm64", include_bytes!("../../../tests/fixtures/btf/6.1.0-57-cloud-arm64.btf"), ARM64),
];
const AMD64: &str = include_str!("../../../tests/fixtures/btf/offsets-amd64.txt");
const ARM64: &str = include_str!("../../../tests/fixtures/btf/offsets-arm64.txt");

/// `structure.member` → offset, from a column of the table.
fn offsets(kernel: &str, table: &'static str) -> BTreeMap<&'static str, u32> {
    let column = table.lines().next().unwrap().split(" | ").position(|name| name == kernel).unwrap();
    let fields = table.lines().skip(1).map(|line| line.split(" | ").collect::<Vec<_>>());
    fields.filter_map(|fields| Some((*fields.first()?, fields.get(column)?.parse().ok()?))).collect()
}

#[test]
fn every_offset_equals_what_bpftool_read() {
    for (kernel, blob, table) in KERNELS {
        let expected = offsets(kernel, table);
        let mut layout = resolve(&Btf::parse(blob).unwrap()).unwrap().layout;
        let mut compared = 0;
        for (field, name, structure, paths) in LINES {
            let found = *field(&mut layout);
            for path in *paths {
                if let Some(&offset) = expected.get(format!("{structure}.{path}").as_str()) {
                    assert_eq!(found, offset, "{kernel}: {name} ({structure}.{path})");
                    compared += 1;
                    break;
                }
            }
        }
        assert!(compared >= 35, "{kernel}: only {compared} fields stand in the table");
    }
}

#[test]
fn nothing_is_absent_in_any_of_these_kernels() {
    for (kernel, blob, _) in KERNELS {
        assert_eq!(resolve(&Btf::parse(blob).unwrap()).unwrap().absent, [""; 0], "{kernel}");
    }
}

#[test]
fn rss_counters_are_per_cpu_since_6_2_and_mark_victim_passes_the_task_by_prototype() {
    let found: Vec<_> = KERNELS
        .iter()
        .map(|(_, blob, _)| {
            let layout = resolve(&Btf::parse(blob).unwrap()).unwrap().layout;
            let (counter, parts) = (layout.mm_rss_swap, layout.mm_rss_swap_parts);
            (layout.mm_rss_file, counter, parts, layout.mark_victim_passes_task)
        })
        .collect();
    let expected = [
        (712, 728, ABSENT, 0),
        (728, 744, ABSENT, 1),
        (832, 912, 936, 1),
        (1216, 1296, 1320, 1),
        (696, 712, ABSENT, 1),
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_excerpt_of_an_excerpt_resolves_to_the_same() {
    for (kernel, blob, _) in KERNELS {
        let again = excerpt(blob).unwrap();
        assert_eq!(resolve(&Btf::parse(&again).unwrap()), resolve(&Btf::parse(blob).unwrap()), "{kernel}");
    }
}

#[test]
fn a_field_that_is_gone_is_absent_and_named() {
    let blob = KERNELS[3].1.to_vec();
    let renamed = replace(&blob, b"\0oom_group\0", b"\0moo_group\0");
    let resolved = resolve(&Btf::parse(&renamed).unwrap()).unwrap();
    assert_eq!(resolved.absent, ["memcg_oom_group"]);
    assert_eq!(resolved.layout.memcg_oom_group, ABSENT);
}

#[test]
fn a_kernel_in_which_no_victim_could_be_named_is_refused() {
    let renamed = replace(KERNELS[3].1, b"\0task_struct\0", b"\0kask_struct\0");
    let MissingFields(missing) = resolve(&Btf::parse(&renamed).unwrap()).unwrap_err();
    assert_eq!(missing, REQUIRED.to_vec());
}

#[test]
fn a_blob_that_is_cut_anywhere_is_refused_and_never_a_panic() {
    let blob = KERNELS[0].1;
    assert!(matches!(Btf::parse(b""), Err(BtfError::NotBtf)));
    assert!(matches!(Btf::parse(&[0x7f, b'E', b'L', b'F']), Err(BtfError::NotBtf)));
    for len in (2..blob.len()).step_by(97) {
        assert!(matches!(Btf::parse(&blob[..len]), Err(BtfError::Truncated)), "{len}");
    }
}

#[test]
fn garbage_inside_a_blob_is_never_a_panic() {
    let blob = KERNELS[0].1;
    for at in (24..blob.len()).step_by(61) {
        let mut garbled = blob.to_vec();
        garbled[at] ^= 0xff;
        if let Ok(btf) = Btf::parse(&garbled) {
            drop(resolve(&btf));
        }
    }
}

#[test]
fn an_excerpt_of_a_blob_with_a_dangling_reference_is_refused_or_the_same() {
    let blob = KERNELS[1].1;
    let (mut same, mut refused) = (0, 0);
    for at in (24..blob.len() - 4).step_by(4 * 31) {
        let mut dangling = blob.to_vec();
        dangling[at..at + 4].copy_from_slice(&0x00ff_ffff_u32.to_ne_bytes());
        let Some(expected) = Btf::parse(&dangling).ok().and_then(|btf| resolve(&btf).ok()) else { continue };
        match excerpt(&dangling) {
            Ok(small) => {
                let again = resolve(&Btf::parse(&small).unwrap()).unwrap();
                assert_eq!(again.layout, expected.layout, "{at}");
                same += 1;
            }
            Err(error) => {
                assert!(matches!(error, BtfError::Dangling), "{error}");
                refused += 1;
            }
        }
    }
    assert!(same > 10 && refused > 10, "{same} {refused}");
}

fn replace(blob: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = blob.windows(from.len()).position(|window| window == from).unwrap();
    let mut changed = blob.to_vec();
    changed[at..at + to.len()].copy_from_slice(to);
    changed
}

/// Found by fuzzing: each took hours, or the whole stack.
#[test]
fn types_that_contain_themselves_have_an_end() {
    let word = |value: u32| value.to_ne_bytes();
    // 1: struct "s" of three nameless members, each of its own type. 2: an array of itself.
    let mut types = [word(1), word(4 << 24 | 3), word(8)].concat();
    types.extend([word(0), word(1), word(0)].concat().repeat(3));
    types.extend([word(0), word(3 << 24), word(0), word(2), word(2), word(2)].concat());
    let strings = b"\0s\0";
    let len = |bytes: &[u8]| word(u32::try_from(bytes.len()).unwrap());
    let mut blob = [&0xeb9f_u16.to_ne_bytes()[..], &[1, 0], &word(24), &word(0), &len(&types)].concat();
    blob.extend([&len(&types)[..], &len(strings), &types, strings].concat());
    let btf = Btf::parse(&blob).unwrap();
    assert_eq!(btf.member(btf.structure("s").unwrap(), "absent"), None);
    assert_eq!(btf.size(crate::btf::TypeId(2)), None);
}
