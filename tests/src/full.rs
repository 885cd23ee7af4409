//! The agent with all that it may be asked to do on a node: a kubelet that lists 110 pods, metrics, journal, HTTP.

use std::{env, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::{
    agent::Agent,
    http,
    lines::{Lines, Next},
    machine::Machine,
    memcg::Hierarchy,
    standin::Standin,
    status::Status,
    storm::Kills,
};

/// As many as the kubelet allows on a node by default.
const PODS: usize = 110;
const CAPTURED: &str = include_str!("../fixtures/kubelet/api-multi-t2.json");
/// No report for so long means that none will come any more.
const SILENCE: Duration = Duration::from_secs(10);
const WITHIN: Duration = Duration::from_mins(10);
/// Prometheus asks this often while the kills are made, at the least.
const SCRAPES: usize = 3;

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Full {
    /// Kills by the kernel's count.
    pub kills: u64,
    /// Reports.
    pub reports: u64,
    /// Containers that the metrics have series of.
    pub containers: u64,
    /// `VmHWM`, bytes.
    pub peak_bytes: u64,
}

/// Starts it, makes the kills, and looks at its memory.
///
/// # Errors
/// Something does not start, a kill cannot be made, or the agent does not know its pods.
pub fn run(agent: &Path, program: &Path, standin: &Path, kills: u64) -> Result<Full> {
    let dir = env::temp_dir().join(format!("oomwatch-full-{}", std::process::id()));
    let standin = Standin::start(standin, dir)?;
    standin.set("pods.json", &list_of(PODS)?)?;
    let journal = standin.dir.join("journal").display().to_string();
    let mut arguments = standin.options()?;
    // Without kprobes trampolines are tried, for which all of the kernel's BTF is read: 17 MiB at the start alone,
    // which no node with kprobes has.
    let has_kprobes = Path::new("/sys/bus/event_source/devices/kprobe").exists();
    let level = if has_kprobes { "auto" } else { "tracepoint" };
    let rest = ["--output", "json", "--listen", "127.0.0.1:0", "--backlog", "off", "--journal", &journal];
    arguments.extend(["--probe", level].map(str::to_owned));
    arguments.extend(rest.map(str::to_owned));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut agent = Agent::start(agent, &arguments)?;
    let reports = Lines::of(agent.take_stdout()?);
    let address = agent.address()?;
    let scrape = || -> Result<String> { Ok(http::get(address, "/metrics", &[])?.body) };
    let (mut made, mut metrics) = (0, String::new());
    for _ in 0..SCRAPES {
        let mut some = Kills::prepare(
            &Machine::this()?,
            &Hierarchy::mounted()?,
            program,
            kills.div_ceil(SCRAPES as u64),
        )?;
        made += some.make(WITHIN)?.kernel;
        metrics = scrape()?;
    }
    let mut reported = 0;
    while reported < made && matches!(reports.next(SILENCE), Next::Line(_)) {
        reported += 1;
    }
    // A gauge: `12.0`.
    let containers = metrics
        .lines()
        .find_map(|line| line.strip_prefix("oomwatch_containers ")?.split('.').next()?.parse().ok());
    let containers: u64 = containers.context("the metrics do not say how many containers there are")?;
    ensure!(containers >= PODS as u64, "the agent knows {containers} containers");
    let peak_bytes = Status::of_process(agent.id())?.bytes("VmHWM").context("no VmHWM")?;
    agent.terminate()?;
    let (status, _) = agent.wait()?;
    ensure!(status.success(), "the agent ended with {status}. {}", agent.log());
    drop(fs::remove_dir_all(&standin.dir));
    Ok(Full { kills: made, reports: reported, containers, peak_bytes })
}

/// The captured pods over and over, each time with other names and ids.
fn list_of(pods: usize) -> Result<String> {
    let mut list: Value = serde_json::from_str(CAPTURED)?;
    let captured = list.get("items").and_then(Value::as_array).cloned().context("the list has no items")?;
    let copies = captured.iter().cycle().take(pods).enumerate().map(|(number, pod)| another(pod, number));
    let items: Vec<Value> = copies.collect::<Result<_>>()?;
    list.as_object_mut().context("the list is no object")?.insert("items".to_owned(), items.into());
    Ok(list.to_string())
}

/// Ids end in hexadecimal digits, and any will do.
fn another(pod: &Value, number: usize) -> Result<Value> {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let (name, uid) = text("/metadata/name").zip(text("/metadata/uid")).context("a pod without a name")?;
    let mut all = pod.to_string().replace(&uid, &renumbered(&uid, number));
    all = all.replace(&format!("\"{name}\""), &format!("\"{name}-{number}\""));
    let ids: Vec<String> = all
        .split('"')
        .filter_map(|word| word.split_once("://").map(|(_, id)| id))
        .filter(|id| id.len() == 64)
        .map(str::to_owned)
        .collect();
    for id in ids {
        all = all.replace(&id, &renumbered(&id, number));
    }
    Ok(serde_json::from_str(&all)?)
}

fn renumbered(id: &str, number: usize) -> String {
    let kept = id.len().saturating_sub(4);
    format!("{}{number:04x}", id.get(..kept).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_of_the_pods_is_another() {
        let list: Value = serde_json::from_str(&list_of(PODS).unwrap()).unwrap();
        let uids: BTreeSet<_> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pod| pod["metadata"]["uid"].as_str().unwrap())
            .collect();
        assert_eq!(uids.len(), PODS);
    }
}
