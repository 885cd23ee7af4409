//! What the agent is, beside what it does.

use std::fs;

use anyhow::{Context, Result};

use crate::{arch::Arch, image, repo::Repo, run};

/// Of the agent that is built.
pub(super) struct Sizes {
    /// The program, bytes.
    pub(super) agent: u64,
    /// Its image, an archive, bytes.
    pub(super) image: u64,
    /// Crates that are not its own.
    pub(super) crates: usize,
}

/// Builds the image, and looks.
pub(super) fn sizes(repo: &Repo) -> Result<Sizes> {
    let agent = fs::metadata(repo.agent()).context("there is no agent")?.len();
    let archive = image::build_image(repo, Arch::HOST)?;
    let image = fs::metadata(&archive).with_context(|| format!("there is no {}", archive.display()))?.len();
    let mut tree = repo.cargo();
    tree.args(["tree", "--package", "oomwatch-agent", "--edges", "normal", "--prefix", "none"]);
    let crates = crates(&run::read(tree.arg("--no-dedupe"))?);
    Ok(Sizes { agent, image, crates })
}

/// How many there are in what `cargo tree` lists, without those of this workspace.
fn crates(tree: &str) -> usize {
    // Paths of this workspace, its shims' too, have its crates' names in them.
    let mut names: Vec<&str> = tree.lines().filter(|line| !line.contains("oomwatch-")).collect();
    names.retain(|line| !line.is_empty());
    let mut names: Vec<&str> = names.into_iter().map(|line| line.trim_end_matches(" (*)")).collect();
    names.sort_unstable();
    names.dedup();
    names.len()
}

#[cfg(test)]
mod tests {
    use super::crates;

    #[test]
    fn crates_are_counted_once() {
        let tree = "oomwatch-agent v0 (/x)\nshim v1 (/x/oomwatch-agent/shims/shim)\na v1\nb v1 (*)\na v1\n\
                    oomwatch-common v0 (/y)\nb v1\n\n";
        assert_eq!(crates(tree), 2);
    }
}
