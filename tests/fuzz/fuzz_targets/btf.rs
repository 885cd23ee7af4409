//! BTF, as a kernel or `--btf FILE` has it: parsed, the layout resolved from it, and cut to an excerpt that is BTF
//! again. That an excerpt resolves to the same is for blobs that a compiler made: of two types of one name either may
//! be taken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch_common::{btf::Btf, btf_excerpt::excerpt, kernel_layout::resolve};

fuzz_target!(|data: &[u8]| {
    let Ok(btf) = Btf::parse(data) else { return };
    drop(resolve(&btf));
    if let Ok(small) = excerpt(data) {
        drop(resolve(&Btf::parse(&small).expect("an excerpt is BTF")));
    }
});
