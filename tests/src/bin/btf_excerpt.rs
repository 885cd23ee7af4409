//! `btf_excerpt IN OUT`: cuts the types that the resolver asks for out of a kernel's BTF; see
//! `cargo xtask btf-excerpt`.

use std::{env, fs};

use anyhow::{Context as _, bail};
use oomwatch_common::btf_excerpt::excerpt;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [from, to] = arguments.as_slice() else { bail!("usage: btf_excerpt IN OUT") };
    let blob = fs::read(from).with_context(|| format!("reading {from}"))?;
    let small = excerpt(&blob).with_context(|| format!("parsing {from}"))?;
    fs::write(to, small).with_context(|| format!("writing {to}"))
}
