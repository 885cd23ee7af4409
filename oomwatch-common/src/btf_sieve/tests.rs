//! The sieve against BTF of real kernels, in pieces of any size.

use std::{cell::Cell, convert::Infallible};

use super::*;
use crate::{btf::Btf, kernel_layout::resolve};

const KERNELS: &[&[u8]] = &[
    include_bytes!("../../../tests/fixtures/btf/5.10.0-32-cloud-amd64.btf"),
    include_bytes!("../../../tests/fixtures/btf/6.1.0-57-cloud-amd64.btf"),
    include_bytes!("../../../tests/fixtures/btf/6.12.118+deb13-cloud-amd64.btf"),
    include_bytes!("../../../tests/fixtures/btf/7.2.13+deb14-cloud-amd64.btf"),
    include_bytes!("../../../tests/fixtures/btf/6.1.0-57-cloud-arm64.btf"),
];

impl Source for &[u8] {
    type Error = Infallible;

    fn read_at(&self, at: u64, bytes: &mut [u8]) -> Result<usize, Infallible> {
        let rest = self.get(usize::try_from(at).unwrap()..).unwrap_or_default();
        let len = rest.len().min(bytes.len());
        bytes[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

/// The blob with one more name, of that length, behind all others.
fn with_long_name(blob: &[u8], len: usize) -> Vec<u8> {
    let word = |at: usize| u32::from_ne_bytes(blob[at..at + 4].try_into().unwrap());
    let (offset, strings) = (word(16), word(20));
    let more = u32::try_from(len + 1).unwrap();
    let mut longer = blob.to_vec();
    longer[20..24].copy_from_slice(&(strings + more).to_ne_bytes());
    longer.truncate(24 + (offset + strings) as usize);
    longer.extend(vec![b'x'; len]);
    longer.push(0);
    longer
}

#[test]
fn the_layout_is_that_of_the_whole_blob() {
    for (number, blob) in KERNELS.iter().enumerate() {
        let whole = resolve(&Btf::parse(blob).unwrap()).unwrap();
        for depth in [Depth::UntilFound, Depth::All] {
            let small = sift(blob, depth).unwrap();
            assert_eq!(resolve(&Btf::parse(&small).unwrap()).unwrap(), whole, "{number}");
            assert!(small.len() <= blob.len(), "{number}: {} of {}", small.len(), blob.len());
        }
    }
}

#[test]
fn a_name_that_no_window_holds_is_passed_over() {
    for len in [WINDOW - 1, WINDOW, 3 * WINDOW + 7] {
        let blob = with_long_name(KERNELS[1], len);
        let small = sift(&blob.as_slice(), Depth::All).unwrap();
        assert_eq!(small, sift(&KERNELS[1], Depth::All).unwrap(), "{len}");
    }
}

#[test]
fn what_is_cut_short_is_refused() {
    let blob = KERNELS[2];
    for len in [0, 1, 23, 24, 100, blob.len() / 2, blob.len() - 1] {
        assert_eq!(sift(&&blob[..len], Depth::All), Err(SieveError::Btf(BtfError::Truncated)), "{len}");
    }
    assert_eq!(sift(&&[0_u8; 100][..], Depth::All), Err(SieveError::Btf(BtfError::NotBtf)));
}

#[test]
fn an_error_of_the_source_is_told() {
    struct Broken;
    impl Source for Broken {
        type Error = &'static str;

        fn read_at(&self, _: u64, _: &mut [u8]) -> Result<usize, &'static str> {
            Err("no")
        }
    }
    assert_eq!(sift(&Broken, Depth::All), Err(SieveError::Source("no")));
}

/// A kernel's excerpt with types and names behind it that nobody asks for.
#[test]
fn what_comes_after_the_last_that_is_wanted_is_not_read() {
    struct Counted<'a>(&'a [u8], Cell<u64>);
    impl Source for Counted<'_> {
        type Error = Infallible;

        fn read_at(&self, at: u64, bytes: &mut [u8]) -> Result<usize, Infallible> {
            let read = self.0.read_at(at, bytes)?;
            self.1.set(self.1.get().max(at + read as u64));
            Ok(read)
        }
    }
    let blob = with_long_name(KERNELS[1], 8 * WINDOW);
    let end_of = |depth| {
        let source = Counted(&blob, Cell::new(0));
        let small = sift(&source, depth).unwrap();
        (source.1.get(), resolve(&Btf::parse(&small).unwrap()).unwrap())
    };
    let (soon, all) = (end_of(Depth::UntilFound), end_of(Depth::All));
    assert_eq!(soon.1, all.1);
    assert_eq!(all.0, blob.len() as u64);
    assert!(soon.0 < all.0 - 6 * WINDOW as u64, "{} of {}", soon.0, all.0);
}

#[test]
fn every_zero_is_found_wherever_it_lies() {
    for bytes in [&[][..], &[0], &[1, 0, 0, 128, 255, 0, 1, 1, 1, 0, 7], &[0; 17], &[0x80; 9]] {
        let expected: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] == 0).collect();
        assert_eq!(zeros(bytes).collect::<Vec<_>>(), expected, "{bytes:?}");
    }
}
