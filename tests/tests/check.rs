//! `oomwatch check` on the machine that builds it: as root, as nobody, without each capability, and against a machine
//! and servers that are wrong.

use std::{
    env, fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use oomwatch_tests::{
    agent::{command, run_to_end},
    check::{Checked, each_capability},
    here::{binary, is_root},
};

/// `nobody`.
const NOBODY: u32 = 65_534;
/// The longest that two servers which never answer may take, and then some.
const PATIENTLY: Duration = Duration::from_secs(9);

/// What a probe needs.
const LOADS: &str = "loads a probe";

#[test]
fn as_root_it_says_at_which_level_kills_will_be_caught() -> Result<()> {
    if !is_root(LOADS)? {
        return Ok(());
    }
    let has_kprobes = Path::new("/sys/bus/event_source/devices/kprobe").exists();
    let checked = Checked::run(&binary()?, &[])?;
    checked.expect_code(0)?;
    checked.expect("probe", if has_kprobes { "ok" } else { "degraded" })?;
    let level = if has_kprobes { "kprobe" } else { "tracepoint" };
    ensure!(checked.document.get("level") == Some(&level.into()), "{}", checked.text);

    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/check-schema-1.json");
    let schema = serde_json::from_str(&fs::read_to_string(schema)?)?;
    let validator = jsonschema::validator_for(&schema)?;
    let errors: Vec<String> =
        validator.iter_errors(&checked.document).map(|error| error.to_string()).collect();
    ensure!(errors.is_empty(), "{errors:?}: {}", checked.text);
    Ok(())
}

#[test]
fn text_has_the_same_checks_a_line_each() -> Result<()> {
    if !is_root(LOADS)? {
        return Ok(());
    }
    let json = Checked::run(&binary()?, &[])?;
    let names: Vec<&str> = json.document["checks"]
        .as_array()
        .context("no checks")?
        .iter()
        .filter_map(|line| line["check"].as_str())
        .collect();
    // In the agent's pod this is set for `run`, which has outputs of its own.
    let ended = run_to_end(command(&binary()?).arg("check").env("OOMWATCH_OUTPUT", "bcc"))?;
    ensure!(ended.status.success() && ended.log.is_empty(), "{ended:?}");
    let lines: Vec<&str> = ended.stdout.lines().take_while(|line| !line.is_empty()).collect();
    let printed: Vec<&str> =
        lines.iter().filter_map(|line| line.get(8..)?.split_whitespace().next()).collect();
    ensure!(printed == names, "{printed:?} are not {names:?}");
    ensure!(!ended.stdout.contains('\u{1b}'), "coloured, and this is no terminal: {}", ended.stdout);
    let last = ended.stdout.lines().last().unwrap_or_default();
    ensure!(last.starts_with("OOM kills will be caught, at level "), "{last}");
    Ok(())
}

#[test]
fn nobody_is_told_what_is_missing_and_still_sees_the_rest() -> Result<()> {
    if !is_root(LOADS)? {
        return Ok(());
    }
    // Nobody may not be allowed to reach the build's folder.
    let copy = env::temp_dir().join(format!("oomwatch-check-for-nobody-{}", std::process::id()));
    fs::copy(binary()?, &copy)?;
    let checked = Checked::of(command(&copy).args(["check", "--output", "json"]).uid(NOBODY).gid(NOBODY));
    fs::remove_file(&copy)?;
    let checked = checked?;
    checked.expect_code(77)?;
    for (name, state) in
        [("probe", "failed"), ("capabilities", "failed"), ("btf", "ok"), ("kernel", "ok"), ("proc", "ok")]
    {
        checked.expect(name, state)?;
    }
    Ok(())
}

#[test]
fn each_missing_capability_is_named_with_its_cost() -> Result<()> {
    if !is_root(LOADS)? {
        return Ok(());
    }
    each_capability(Path::new(env!("CARGO_BIN_EXE_oomwatch-guest")), &binary()?)
}

#[test]
fn what_run_would_refuse_check_does_too() -> Result<()> {
    if !is_root(LOADS)? {
        return Ok(());
    }
    for (arguments, code, name) in [
        (&["--probe", "tracepoint", "--btf", "/nonexistent"][..], 69, "btf"),
        (&["--probe", "tracepoint", "--btf", "/dev/null"], 69, "btf"),
        (&["--proc", "/nonexistent"], 1, "proc"),
        (&["--kubelet", "https://127.0.0.1:1"], 64, "kubelet"),
    ] {
        let checked = Checked::run(&binary()?, arguments)?;
        checked.expect_code(code).with_context(|| format!("{arguments:?}"))?;
        checked.expect(name, "failed").with_context(|| format!("{arguments:?}"))?;
        let run = run_to_end(command(&binary()?).arg("run").args(arguments))?;
        ensure!(run.status.code() == Some(code), "run {arguments:?} ended otherwise: {run:?}");
    }
    Ok(())
}

#[test]
fn a_kubelet_that_never_answers_does_not_hold_it() -> Result<()> {
    if !is_root(LOADS)? {
        return Ok(());
    }
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("https://{}", silent.local_addr()?);
    let checked = Checked::run(&binary()?, &["--kubelet", &url, "--kubelet-insecure-tls"])?;
    checked.expect_code(0)?;
    checked.expect("kubelet", "degraded")?;
    ensure!(checked.line("kubelet")?["text"].to_string().contains("in time"), "{}", checked.text);
    ensure!(checked.took < PATIENTLY, "took {:?}", checked.took);
    Ok(())
}

/// Answers each connection with this, and closes it. `cut` bytes less than it says it will.
fn server(status: &str, body: &str, cut: usize) -> Result<String> {
    let length = body.len() + cut;
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let mut request = [0; 4096];
            if connection.read(&mut request).is_ok() {
                // Whoever hung up is not answered.
                connection.write_all(answer.as_bytes()).ok();
            }
        }
    });
    Ok(url)
}

#[test]
fn what_the_kubelet_answers_is_told_with_its_cure() -> Result<()> {
    if !is_root(LOADS)? {
        return Ok(());
    }
    let forbidden = "Forbidden (user=u, verb=get, resource=nodes, subresource(s)=[pods proxy])\x1b[2J hidden";
    let empty = r#"{"kind":"PodList","apiVersion":"v1","items":[]}"#;
    for (status, body, cut, state, says) in [
        ("401 Unauthorized", "Unauthorized", 0, "degraded", "401"),
        ("403 Forbidden", forbidden, 0, "degraded", "nodes/pods"),
        ("404 Not Found", "", 0, "degraded", "--kubelet"),
        ("200 OK", "<html>", 0, "degraded", "--kubelet"),
        ("200 OK", empty, 20, "degraded", "kubelet"),
        ("200 OK", empty, 0, "ok", "0 pods"),
    ] {
        let checked = Checked::run(&binary()?, &["--kubelet", &server(status, body, cut)?])?;
        checked.expect_code(0)?;
        checked.expect("kubelet", state)?;
        let line = checked.line("kubelet")?.to_string();
        ensure!(line.contains(says) && !line.contains("\\u001b"), "does not say {says:?}: {line}");
    }
    Ok(())
}

#[test]
fn names_of_log_files_are_counted() -> Result<()> {
    if !is_root(LOADS)? {
        return Ok(());
    }
    let var_log = env::temp_dir().join(format!("oomwatch-check-logs-{}", std::process::id()));
    fs::create_dir_all(var_log.join("pods/shop_checkout-0_9d1f7b3e-b2f2-4cdf-afae-de4f2c5c7d3e/api"))?;
    let checked = Checked::run(&binary()?, &["--var-log", &var_log.display().to_string()]);
    fs::remove_dir_all(&var_log)?;
    let checked = checked?;
    checked.expect("log_files", "ok")?;
    ensure!(checked.line("log_files")?["text"].to_string().contains("1 pods"), "{}", checked.text);
    Ok(())
}

#[test]
fn whether_events_may_be_made_is_asked_of_the_api_server() -> Result<()> {
    if !is_root(LOADS)? {
        return Ok(());
    }
    let kubeconfig = env::temp_dir().join(format!("oomwatch-check-kubeconfig-{}", std::process::id()));
    let path = kubeconfig.display().to_string();
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let silent = format!("http://{}", silent.local_addr()?);
    let allowed =
        |allowed| format!(r#"{{"kind":"SelfSubjectAccessReview","status":{{"allowed":{allowed}}}}}"#);
    for (url, state, says) in [
        (server("201 Created", &allowed(true), 0)?, "ok", "may be created and patched"),
        (server("201 Created", &allowed(false), 0)?, "degraded", "rbac.yaml"),
        (server("401 Unauthorized", "", 0)?, "degraded", "token"),
        (server("404 Not Found", "", 0)?, "degraded", "--kubeconfig"),
        (server("200 OK", "<html>", 0)?, "degraded", "no API server"),
        (silent, "degraded", "in time"),
        ("http://127.0.0.1:1".to_owned(), "degraded", "network policy"),
    ] {
        fs::write(
            &kubeconfig,
            format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
                 clusters: [{{name: c, cluster: {{server: '{url}'}}}}]\n\
                 users: [{{name: u, user: {{token: t}}}}]\n\
                 contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
            ),
        )?;
        let checked = Checked::run(&binary()?, &["--kubeconfig", &path])?;
        checked.expect_code(0)?;
        checked.expect("events", state)?;
        let line = checked.line("events")?.to_string();
        ensure!(line.contains(says), "does not say {says:?}: {line}");
        ensure!(checked.took < PATIENTLY, "took {:?}: {line}", checked.took);
    }
    fs::write(&kubeconfig, "clusters: 5")?;
    let broken = Checked::run(&binary()?, &["--kubeconfig", &path])?;
    fs::remove_file(&kubeconfig)?;
    broken.expect_code(64)?;
    broken.expect("events", "failed")?;
    // Nobody is there to be told, and that was asked for.
    Checked::run(&binary()?, &["--events", "on"])?.expect_code(64)?;
    Checked::run(&binary()?, &["--events", "off"])?.expect("events", "not_applicable")
}
