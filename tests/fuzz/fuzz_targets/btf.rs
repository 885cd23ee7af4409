//! BTF, as a kernel or `--btf FILE` has it: sifted, parsed, the layout resolved from it, and cut to an excerpt that is
//! BTF again. That an excerpt resolves to the same is for blobs that a compiler made: of two types of one name either
//! may be taken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch_common::{
    btf::Btf,
    btf_excerpt::excerpt,
    btf_sieve::{self, Depth},
    kernel_layout::resolve,
};

struct Bytes<'a>(&'a [u8]);

impl btf_sieve::Source for Bytes<'_> {
    type Error = ();

    fn read_at(&self, at: u64, bytes: &mut [u8]) -> Result<usize, ()> {
        let rest = usize::try_from(at).ok().and_then(|at| self.0.get(at..)).unwrap_or_default();
        let len = rest.len().min(bytes.len());
        bytes[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

fuzz_target!(|data: &[u8]| {
    for depth in [Depth::UntilFound, Depth::All] {
        if let Ok(small) = btf_sieve::sift(&Bytes(data), depth) {
            drop(resolve(&Btf::parse(&small).expect("what is sifted is BTF")));
        }
    }
    let Ok(btf) = Btf::parse(data) else { return };
    drop(resolve(&btf));
    if let Ok(small) = excerpt(data) {
        drop(resolve(&Btf::parse(&small).expect("an excerpt is BTF")));
    }
});
