//! `oomwatch check` with what a pod of the DaemonSet has: a service account, a kubelet and an API server over TLS, and
//! its options in the environment.

use std::{env, path::Path, time::Duration};

use anyhow::{Result, ensure};
use oomwatch_tests::{
    agent::command,
    check::Checked,
    here::{binary, is_root},
    standin::Standin,
};

const LOADS: &str = "loads a probe";
/// All questions to servers that never answer, and then some.
const PATIENTLY: Duration = Duration::from_secs(15);

fn standin(name: &str) -> Result<Standin> {
    let dir = env::temp_dir().join(format!("oomwatch-check-{}-{name}", std::process::id()));
    Standin::start(Path::new(env!("CARGO_BIN_EXE_oomwatch-standin")), dir)
}

/// The check as `kubectl exec` runs it, for a node of this name.
fn check(standin: &Standin, node: &str) -> Result<Checked> {
    let file = |name: &str| standin.dir.join(name);
    let read = |name: &str| std::fs::read_to_string(file(name));
    let api = read("api/address")?;
    let (host, port) = api.rsplit_once(':').unwrap_or((&api, ""));
    let mut command = command(&binary()?);
    command.args(["check", "--output", "json"]).env("OOMWATCH_NODE_NAME", node);
    command.env("OOMWATCH_KUBELET", format!("https://{}", read("kubelet/address")?));
    command.env("OOMWATCH_KUBELET_CA", file("kubelet/ca.crt"));
    command.env("OOMWATCH_SERVICE_ACCOUNT", file("serviceaccount"));
    command.env("OOMWATCH_VAR_LOG", file("no-logs"));
    command.env("KUBERNETES_SERVICE_HOST", host).env("KUBERNETES_SERVICE_PORT", port);
    Checked::of(&mut command)
}

#[test]
fn where_all_is_right_it_says_so() -> Result<()> {
    if !is_root(LOADS)? {
        return Ok(());
    }
    let standin = standin("right")?;
    let checked = check(&standin, standin.node)?;
    checked.expect_code(0)?;
    for name in ["node_name", "kubelet", "events"] {
        checked.expect(name, "ok")?;
    }
    // There are no log files to fall back on, and nodes/proxy is not granted.
    checked.expect("log_files", "degraded")?;
    ensure!(checked.line("nodes_proxy").is_err(), "{}", checked.text);
    // It asks, and leaves nothing behind.
    ensure!(standin.events("default")?.is_empty(), "an Event was made");
    ensure!(standin.requests("kubelet").iter().all(|request| request.starts_with("GET /pods ")));
    Ok(())
}

#[test]
fn a_certificate_for_another_name_or_of_another_ca_is_told_apart() -> Result<()> {
    if !is_root(LOADS)? {
        return Ok(());
    }
    let standin = standin("certificate")?;
    let other = check(&standin, "another-node")?;
    other.expect("kubelet", "degraded")?;
    ensure!(other.line("kubelet")?.to_string().contains("--node-name"), "{}", other.text);
    let cluster = std::fs::read_to_string(standin.dir.join("serviceaccount/ca.crt"))?;
    standin.set("kubelet/ca.crt", &cluster)?;
    let unknown = check(&standin, standin.node)?;
    unknown.expect("kubelet", "degraded")?;
    ensure!(unknown.line("kubelet")?.to_string().contains("--kubelet-ca"), "{}", unknown.text);
    Ok(())
}

#[test]
fn rights_that_are_missing_and_one_too_many_are_named() -> Result<()> {
    if !is_root(LOADS)? {
        return Ok(());
    }
    let standin = standin("rights")?;
    standin.set("kubelet/mode", "403")?;
    standin.set("api/allowed", "create\nget\n")?;
    let checked = check(&standin, standin.node)?;
    checked.expect_code(0)?;
    for (name, says) in [("kubelet", "nodes/pods"), ("events", "not patched"), ("nodes_proxy", "old-kubelet")]
    {
        checked.expect(name, "degraded")?;
        ensure!(
            checked.line(name)?.to_string().contains(says),
            "{name} does not say {says:?}: {}",
            checked.text
        );
    }
    Ok(())
}

#[test]
fn servers_that_never_answer_do_not_hold_it() -> Result<()> {
    if !is_root(LOADS)? {
        return Ok(());
    }
    let standin = standin("silent")?;
    for mode in ["hang", "drip", "close", "garbage", "401"] {
        standin.set("kubelet/mode", mode)?;
        standin.set("api/mode", if mode == "drip" { "hang" } else { mode })?;
        let checked = check(&standin, standin.node)?;
        checked.expect_code(0)?;
        checked.expect("kubelet", "degraded")?;
        checked.expect("events", "degraded")?;
        ensure!(checked.took < PATIENTLY, "{mode}: took {:?}", checked.took);
    }
    Ok(())
}
