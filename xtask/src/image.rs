//! `cargo xtask image`: the agent in a container image, by buildah, without a daemon and without the network.
//!
//! The same agent gives the same archive, byte by byte: no time stamp in it is of the day it was built.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    arch::Arch,
    build::{self, BuildOptions},
    needs::Part,
    repo::Repo,
    run, say,
    setup::setup,
};

/// All crates of the workspace have one version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What `cargo xtask image` takes.
#[derive(clap::Args)]
pub(crate) struct ImageOptions {
    /// For nodes of this architecture: target/image/oomwatch-VERSION-ARCH.tar, where it is not this machine's own
    #[arg(long, value_enum, default_value_t = Arch::HOST)]
    arch: Arch,
}

/// Builds agent and image.
pub(crate) fn image(repo: &Repo, options: &ImageOptions) -> Result<()> {
    let arch = options.arch;
    setup(repo, &[Part::build(arch), vec![Part::Image]].concat())?;
    build::build_agent(repo, &BuildOptions::of(arch))?;
    let archive = build_image(repo, arch)?;
    say::progress(&format!("image: {} ({})", archive.display(), reference()));
    Ok(())
}

/// `NAME:TAG` in the archive, and in deploy/base: a node into which it is imported needs no registry. Without a host a
/// name would mean the default registry to the kubelet, and not what `ctr images import` calls it.
pub(crate) fn reference() -> String {
    format!("localhost/oomwatch:{VERSION}")
}

/// Puts the agent that is built into an image; the archive's path.
pub(crate) fn build_image(repo: &Repo, arch: Arch) -> Result<PathBuf> {
    let folder = repo.image_folder();
    let context = folder.join("context");
    let layout = folder.join("layout");
    for folder in [&context, &layout] {
        empty(folder)?;
    }
    fs::copy(repo.program("oomwatch", arch), context.join("oomwatch")).context("cannot copy the agent")?;
    let mut build = buildah(&folder, "bud");
    build
        .args(["--isolation", "chroot", "--timestamp", "0", "--build-arg", &format!("VERSION={VERSION}")])
        .args(["--arch", arch.debian()])
        .arg("--file")
        .arg(repo.deploy().join("Containerfile"))
        .args(["--tag", &reference()])
        .arg(&context);
    let mut push = buildah(&folder, "push");
    push.arg(reference()).arg(format!("oci:{}:{}", layout.display(), reference()));
    let mut remove = buildah(&folder, "rmi");
    remove.args(["--all", "--force"]);
    let built = run::run_logged("building the image", &repo.log("image"), &mut build)
        .and_then(|()| run::run_logged("writing its layers", &repo.log("image-push"), &mut push));
    // Without this each build would leave a layer behind.
    let removed =
        run::run_logged("removing what is not needed any more", &repo.log("image-rmi"), &mut remove);
    built.and(removed)?;
    let archive = folder.join(format!("{}.tar", arch.beside(&format!("oomwatch-{VERSION}"))));
    let partial = archive.with_extension("partial");
    run::run(
        Command::new("tar")
            .args(["--create", "--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"])
            .args(["--mode=u=rwX,go=rX", "--format=ustar", "--file"])
            .arg(&partial)
            .arg("--directory")
            .arg(&layout)
            .args(["blobs", "index.json", "oci-layout"]),
    )?;
    fs::rename(&partial, &archive).with_context(|| format!("cannot write {}", archive.display()))?;
    Ok(archive)
}

/// Storage of its own: nothing of this machine's is seen or left.
fn buildah(folder: &Path, command: &str) -> Command {
    let mut buildah = Command::new("buildah");
    buildah.arg("--root").arg(folder.join("storage")).arg("--runroot").arg(folder.join("run"));
    buildah.args(["--storage-driver", "vfs", command]);
    buildah
}

fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}
