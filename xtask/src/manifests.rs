//! What lies in `deploy/`: rendered as `kubectl apply -k` renders it, and held against the API of each Kubernetes
//! release. A field that a release does not know is an error: the API server would leave it out, or refuse it.

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    alerts,
    needs::{self, Part},
    repo::Repo,
    run, say,
    setup::setup,
};

/// Of all releases that the validator knows, in steps: the oldest, one of the middle, the first whose kubelets know
/// nodes/pods, and the newest.
const RELEASES: [&str; 4] = ["1.25", "1.29", "1.33", "1.37"];

/// What users apply.
pub(crate) fn folders(repo: &Repo) -> Result<Vec<PathBuf>> {
    let overlays = repo.deploy().join("overlays");
    let entries = fs::read_dir(&overlays).with_context(|| format!("cannot read {}", overlays.display()))?;
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders.insert(0, repo.deploy());
    folders.extend(["prometheus", "grafana"].map(|name| repo.deploy().join(name)));
    Ok(folders)
}

/// Checks every folder, the alerts and the dashboard.
pub(crate) fn check_all(repo: &Repo) -> Result<ExitCode> {
    setup(repo, &[Part::Manifests, Part::Prometheus])?;
    for folder in folders(repo)? {
        check(repo, &folder)?;
        say::progress(&format!("manifests: {} fits Kubernetes {}", folder.display(), RELEASES.join(", ")));
    }
    alerts::check(repo)?;
    say::progress("manifests: alerts and dashboard are right");
    Ok(ExitCode::SUCCESS)
}

/// Renders one folder and holds it against every release; but not what only the Prometheus Operator knows.
pub(crate) fn check(repo: &Repo, folder: &PathBuf) -> Result<()> {
    let known = documents(&render(repo, folder)?)?.into_iter().filter(|document| !is_of_operator(document));
    let text = known.map(|document| document.to_string()).collect::<Vec<_>>().join("\n---\n");
    if text.is_empty() {
        return Ok(());
    }
    let place = repo.target().join("deploy");
    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let file = place.join(format!("{name}.yaml"));
    fs::write(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
    for release in RELEASES {
        let validator = repo.python().join("bin/kubernetes-validate");
        run::read(
            Command::new(validator).args(["--kubernetes-version", release, "--strict", "--quiet"]).arg(&file),
        )
        .with_context(|| format!("{name} does not fit Kubernetes {release}"))?;
    }
    Ok(())
}

/// The DaemonSet of the base, as users apply it.
pub(crate) fn daemon_set(repo: &Repo) -> Result<Value> {
    one(repo, &repo.deploy(), "DaemonSet")
}

/// The first object of a kind in a folder, as users apply it.
pub(crate) fn one(repo: &Repo, folder: &PathBuf, kind: &str) -> Result<Value> {
    let documents = documents(&render(repo, folder)?)?;
    let found = documents.into_iter().find(|document| document.get("kind").is_some_and(|is| is == kind));
    found.with_context(|| format!("{} has no {kind}", folder.display()))
}

fn is_of_operator(document: &Value) -> bool {
    let version = document.get("apiVersion").and_then(Value::as_str);
    version.is_some_and(|version| version.starts_with("monitoring.coreos.com/"))
}

fn render(repo: &Repo, folder: &PathBuf) -> Result<String> {
    let kustomize = needs::kustomize(repo).context("there is no kustomize: run `cargo xtask setup`")?;
    run::read(Command::new(kustomize).arg("build").arg(folder))
}

fn documents(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).context("the rendered manifests are no YAML")?;
    if documents.is_empty() {
        bail!("nothing was rendered");
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::{documents, is_of_operator};

    #[test]
    fn manifests_are_read_one_by_one() {
        let read = documents("kind: A\n---\nkind: B\nspec: {ports: [1, \"2\"]}\n").unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[1]["spec"]["ports"], serde_json::json!([1, "2"]));
        assert!(documents("").is_err());
    }

    #[test]
    fn what_the_operator_brings_is_told_from_what_kubernetes_knows() {
        for (version, expected) in [("monitoring.coreos.com/v1", true), ("v1", false), ("apps/v1", false)] {
            assert_eq!(is_of_operator(&serde_json::json!({ "apiVersion": version })), expected, "{version}");
        }
    }
}
