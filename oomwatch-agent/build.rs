//! Hands the eBPF object, which another toolchain builds, to the compiler; and says how a release is linked.

use std::{
    env,
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

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
    wait_for(&object);
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
        if has_relr() {
            println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
        }
    }
}

/// `cargo xtask test` has all else compiled while it makes the object, and until then a lock.
fn wait_for(object: &Path) {
    if let Ok(lock) = File::open(object.with_extension("lock"))
        && let Err(error) = lock.lock_shared()
    {
        println!("cargo::warning=the eBPF object may be of an earlier build: {error}");
    }
}

/// Relocations in a bitmap, 0.4 MiB less: glibc does those of a static program since 2.36, and an earlier one dies at
/// its start. That of a cross toolchain is taken for as new as this machine's.
fn has_relr() -> bool {
    let answer = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let version = answer.ok().and_then(|answer| String::from_utf8(answer.stdout).ok());
    let minor = version.as_deref().and_then(|version| version.trim().strip_prefix("glibc 2."));
    minor.and_then(|minor| minor.parse::<u32>().ok()).is_some_and(|minor| minor >= 36)
}
