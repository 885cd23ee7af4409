//! Hands the eBPF object, which another toolchain builds, to the compiler; and says how a release is linked.

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
    println!("cargo::rerun-if-changed=link.ld");
    if env::var("CARGO_CFG_TARGET_FEATURE")
        .is_ok_and(|features| features.split(',').any(|it| it == "crt-static"))
    {
        let script = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("link.ld");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
        // Relocations in a bitmap, 0.4 MiB less: glibc does those of a static program since 2.36.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
