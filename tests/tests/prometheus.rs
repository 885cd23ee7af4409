//! A real Prometheus scrapes the real agent while the kernel kills: what it is asked afterwards must be what happened.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use oomwatch_tests::{
    agent,
    deadline::{PATIENCE, wait_for},
    here::{binary, is_root},
    http::{self, sample},
    prometheus::Prometheus,
    rig::Rig,
    scraping::{WAYS, Way},
};
use serde_json::Value;

/// The container that is killed, as the first way tells of it.
const SERIES: &str =
    r#"oomwatch_oom_kills_total{job="oomwatch",namespace="default",pod="n-multi",container="steady"}"#;

/// Panels that may be without data, each for a reason: the kernel does not tell this level by whose limit it killed.
const WITHOUT_DATA: &[(&str, &str)] = &[("Limits that were hit", "oomwatch_limit_bytes")];

fn deploy(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

fn increase(selector: &str) -> String {
    format!("increase({selector}[1m])")
}

/// One test: Prometheus takes seconds to see anything, and all of this is about the same few kills.
#[test]
fn what_prometheus_is_asked_is_what_happened() -> Result<()> {
    if !is_root("makes OOM kills")? {
        return Ok(());
    }
    let journal = std::env::temp_dir().join(format!("oomwatch-journal-{}", std::process::id()));
    let more = ["--listen", "127.0.0.1:0", "--journal", journal.to_str().context("not text")?];
    let standin = Path::new(env!("CARGO_BIN_EXE_oomwatch-standin"));
    let mut rig = Rig::start(
        standin,
        Path::new(env!("CARGO_BIN_EXE_oomwatch-guest")),
        "prometheus",
        &more,
        |_| Ok(()),
    )?;
    let address = rig.bench.agent.address()?;
    let prometheus = Prometheus::start(address, &deploy("prometheus"))?;
    // Born at 0, before anything has happened.
    prometheus.wait_for(&format!("count({SERIES})"), |scopes| scopes >= 5.0)?;
    prometheus.wait_for(&format!("min(count_over_time({SERIES}[1m]))"), |scrapes| scrapes >= 3.0)?;

    let before = metrics(&mut rig)?;
    let first = rig.kill()?;
    let scope = first.pointer("/scope").and_then(Value::as_str).context("no scope")?;
    let of_scope = format!(r#"{},scope="{scope}"}}"#, SERIES.trim_end_matches('}'));
    prometheus.wait_for(&increase(&of_scope), |kills| kills > 0.9)?;
    prometheus.wait_for(&format!("count({} > 0)", increase(SERIES)), |series| (series - 1.0).abs() < 0.1)?;

    let mut ids = vec![id(&first)?];
    for _ in 0..2 {
        ids.push(id(&rig.kill()?)?);
    }
    let elsewhere = rig.kill_at(&format!("/system.slice/oomwatch-test-{}.service", std::process::id()))?;
    prometheus.wait_for(&format!("sum({SERIES})"), |kills| (kills - 3.0).abs() < 0.1)?;
    let after = metrics(&mut rig)?;
    let rose = |name| Some(sample(&after, name, &[])? - sample(&before, name, &[])?);
    let (kernel, probe) = (rose("oomwatch_kernel_oom_kills_total"), rose("oomwatch_probe_oom_kills_total"));
    ensure!(kernel == probe && probe >= Some(4.0), "the kernel counts {kernel:?}, the probe {probe:?}");

    let stored = wait_for("the exemplars", PATIENCE, || {
        Ok(Some(prometheus.exemplars(&of_scope)?).filter(|stored| !stored.is_empty()))
    })?;
    ensure!(stored.iter().all(|id| ids.contains(id)), "{stored:?} are none of {ids:?}");
    ensure!(!stored.contains(&id(&elsewhere)?), "another's: {stored:?}");

    for way in WAYS {
        every_way_tells_the_same(&prometheus, way)?;
    }
    events_are_shown(&mut rig, &ids)?;
    counts_go_on_after_sigkill(&mut rig, &prometheus, &of_scope)?;
    alerts_are_raised(&prometheus)?;
    for way in WAYS {
        panels_have_data(&prometheus, way, rig.bench.agent.level == "tracepoint")?;
    }
    rig.end()?;
    fs::remove_dir_all(journal)?;
    Ok(())
}

fn every_way_tells_the_same(prometheus: &Prometheus, way: &Way) -> Result<()> {
    let Way { job, node, .. } = way;
    // The names are the kill's, not those of the agent's pod; and the host's kills have none.
    let own = format!(r#"job="{job}",node="{node}",namespace="default",pod="n-multi",container="steady""#);
    prometheus
        .wait_for(&format!("sum(oomwatch_oom_kills_total{{{own}}})"), |kills| (kills - 3.0).abs() < 0.1)?;
    let ago = format!("time() - oomwatch_last_oom_timestamp_seconds{{{own}}}");
    prometheus.wait_for(&ago, |ago| (0.0..60.0).contains(&ago))?;
    let host = format!(r#"job="{job}",node="{node}",namespace="",pod="",container="",scope="system""#);
    prometheus.wait_for(&format!("oomwatch_oom_kills_total{{{host}}}"), |kills| kills >= 1.0)?;
    let stray = format!(r#"{{__name__=~"oomwatch_.*",job="{job}",exported_pod!=""}}"#);
    ensure!(prometheus.query(&stray)?.is_empty(), "{job}: labels of the kill were renamed");
    // Classic or native, whatever else was killed on this machine meanwhile.
    let of_job = |name: &str| format!("{name}{{job=\"{job}\"}}");
    let classic = of_job("oomwatch_victim_memory_bytes_count");
    let native = format!("histogram_count({})", of_job("oomwatch_victim_memory_bytes"));
    let victims = format!("{native} or {classic}");
    prometheus.wait_for(&victims, |victims| victims >= 4.0).map(drop)
}

/// By the agent's API, and on the way there by `oomwatch events`.
fn events_are_shown(rig: &mut Rig, ids: &[String]) -> Result<()> {
    let url = format!("http://{}", rig.bench.agent.address()?);
    let arguments =
        ["events", "--url", &url, "--pod", "default/n-multi", "--since", "5m", "--output", "json"];
    let ended = agent::run_to_end(agent::command(&binary()?).args(arguments))?;
    let shown: Result<Vec<String>> =
        ended.stdout.lines().map(|line| id(&serde_json::from_str(line)?)).collect();
    ensure!(shown? == ids, "not {ids:?}: {} {}", ended.stdout, ended.log);
    Ok(())
}

fn counts_go_on_after_sigkill(rig: &mut Rig, prometheus: &Prometheus, series: &str) -> Result<()> {
    let address = rig.bench.agent.address()?;
    rig.replace_agent("--listen", &address.to_string())?;
    rig.kill()?;
    prometheus.wait_for(series, |kills| (kills - 4.0).abs() < 0.1)?;
    prometheus.wait_for(&format!("resets({series}[5m])"), |resets| resets == 0.0)?;
    // A scrape of an agent that is not ready yet has less.
    prometheus.wait_for("sum(oomwatch_ready)", |ready| ready > 2.5)?;
    Ok(())
}

fn alerts_are_raised(prometheus: &Prometheus) -> Result<()> {
    let rules = prometheus.ask("/api/v1/rules")?;
    let groups = rules.pointer("/groups").and_then(Value::as_array).context("no rules")?;
    let rules: Vec<&Value> =
        groups.iter().filter_map(|group| group.get("rules")?.as_array()).flatten().collect();
    ensure!(rules.len() >= 7, "only {} rules", rules.len());
    for rule in rules {
        ensure!(rule.get("health").and_then(Value::as_str) == Some("ok"), "{rule}");
    }
    let labels = r#"alertname="OomwatchContainerOOMKilled",pod="n-multi",container="steady",job="oomwatch""#;
    prometheus.wait_for(&format!("count(ALERTS{{{labels}}})"), |alerts| alerts >= 1.0)?;
    Ok(())
}

/// Every expression of every panel, and every variable, with each variable as a user would choose it.
fn panels_have_data(prometheus: &Prometheus, way: &Way, is_tracepoint: bool) -> Result<()> {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(deploy("grafana/oomwatch.json"))?)?;
    let mut without = Vec::new();
    let mut targets = Vec::new();
    expressions(&dashboard, &mut targets);
    ensure!(targets.len() > 40, "only {} expressions", targets.len());
    for (panel, expression) in targets {
        let expression = substituted(&expression, way.node);
        let series = prometheus.query(&expression).with_context(|| format!("{panel}: {expression}"))?;
        let excused = |(title, of): &(&str, &str)| panel == *title && expression.contains(of);
        let is_excused = is_tracepoint && WITHOUT_DATA.iter().any(excused);
        // A quantile of nothing is not a number.
        let has_data = series.iter().any(|sample| sample.value.is_finite());
        if !has_data && !is_excused {
            without.push(format!("{panel}: {expression}"));
        }
    }
    let variables =
        dashboard.pointer("/templating/list").and_then(Value::as_array).context("no variables")?;
    for query in variables.iter().filter_map(|variable| variable.pointer("/query/query")?.as_str()) {
        let query = substituted(query, way.node);
        if prometheus.label_values(&query)?.is_empty() {
            without.push(query);
        }
    }
    ensure!(without.is_empty(), "{}: without data:\n{}", way.node, without.join("\n"));
    Ok(())
}

fn expressions(value: &Value, found: &mut Vec<(String, String)>) {
    if let (Some(title), Some(targets)) =
        (value.get("title").and_then(Value::as_str), value.get("targets").and_then(Value::as_array))
    {
        let expressions = targets.iter().filter_map(|target| target.get("expr")?.as_str());
        found.extend(expressions.map(|expression| (title.to_owned(), expression.to_owned())));
    }
    match value {
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

fn substituted(expression: &str, node: &str) -> String {
    [
        ("$__rate_interval", "5m"),
        ("$__range_s", "300"),
        ("$__range", "5m"),
        ("$namespace", "default"),
        ("$workload", ".*"),
        ("$pod", "n-multi"),
        ("$container", "steady"),
        ("$node", node),
    ]
    .iter()
    .fold(expression.to_owned(), |expression, (variable, value)| expression.replace(variable, value))
}

fn metrics(rig: &mut Rig) -> Result<String> {
    Ok(http::get(rig.bench.agent.address()?, "/metrics", &[])?.body)
}

fn id(report: &Value) -> Result<String> {
    Ok(report.pointer("/id").and_then(Value::as_str).context("no id")?.to_owned())
}
