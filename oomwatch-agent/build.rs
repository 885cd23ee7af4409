//! Hands the eBPF object, which another toolchain builds, to the compiler.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=OOMWATCH_EBPF_OBJECT");
    let object = env::var_os("OOMWATCH_EBPF_OBJECT").map_or_else(
        || {
            PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default())
                .join("../target/ebpf/oomwatch-ebpf.o")
        },
        PathBuf::from,
    );
    println!("cargo::rerun-if-changed={}", object.display());
    if !object.is_file() {
        println!(
            "cargo::error=there is no eBPF object at {}: run `cargo xtask build`, which makes it",
            object.display()
        );
    }
    println!("cargo::rustc-env=OOMWATCH_EBPF_OBJECT={}", object.display());
}
