//! The ways in which `deploy/` has the agent scraped, as Prometheus gets them where Kubernetes runs it: what service
//! discovery would say of the agent's pod stands in the configuration, all else is as it is deployed.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// One way. Each has the agent on a node of its own, and scrapes another format.
#[derive(Debug)]
pub struct Way {
    /// The label `job` of what is scraped.
    pub job: &'static str,
    /// The label `node`.
    pub node: &'static str,
    format: &'static str,
    of: fn(&Path) -> Result<Value>,
}

/// All of them. Protobuf has native histograms, and where Prometheus takes those it does not take the classic ones.
pub const WAYS: &[Way] = &[
    Way { job: "oomwatch", node: "plain", format: "OpenMetricsText1.0.0", of: plain },
    Way { job: "oomwatch/oomwatch", node: "operator", format: "PrometheusProto", of: by_operator },
    Way { job: "kubernetes-pods", node: "annotated", format: "PrometheusText0.0.4", of: by_annotations },
];

/// A configuration with all ways, to scrape the agent at this address each second; JSON, which is YAML too.
///
/// # Errors
/// A file of `deploy/prometheus` is not as it should be.
pub fn configuration(agent: SocketAddr, deploy: &Path) -> Result<Value> {
    let jobs: Result<Vec<Value>> = WAYS.iter().map(|way| job(way, agent, deploy)).collect();
    Ok(json!({
        "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
        "rule_files": [deploy.join("rules.yaml")],
        "scrape_configs": jobs?,
    }))
}

fn job(way: &Way, agent: SocketAddr, deploy: &Path) -> Result<Value> {
    let mut job = (way.of)(deploy)?;
    let fields = job.as_object_mut().context("a job is no mapping")?;
    // The last two are not the agent's to scrape: a port without metrics, a pod that was evicted.
    let targets = [
        (agent.to_string(), "metrics", "Running"),
        ("127.0.0.1:1".to_owned(), "", "Running"),
        ("127.0.0.1:2".to_owned(), "metrics", "Failed"),
    ];
    let targets = targets.map(|(address, port, phase)| {
        json!({ "targets": [address], "labels": {
            "__meta_kubernetes_namespace": "oomwatch",
            "__meta_kubernetes_pod_name": "oomwatch-x7k2p",
            "__meta_kubernetes_pod_node_name": way.node,
            "__meta_kubernetes_pod_phase": phase,
            "__meta_kubernetes_pod_container_name": "oomwatch",
            "__meta_kubernetes_pod_container_port_name": port,
            "__meta_kubernetes_pod_label_app_kubernetes_io_name": "oomwatch",
            "__meta_kubernetes_pod_labelpresent_app_kubernetes_io_name": "true",
        } })
    });
    fields.remove("kubernetes_sd_configs").context("a job finds its targets otherwise")?;
    fields.insert("static_configs".to_owned(), targets.to_vec().into());
    fields.insert("scrape_interval".to_owned(), "1s".into());
    fields.insert("scrape_protocols".to_owned(), json!([way.format]));
    Ok(job)
}

fn plain(deploy: &Path) -> Result<Value> {
    let mut jobs: Vec<Value> = read(&deploy.join("scrape-config.yaml"))?;
    jobs.pop().context("scrape-config.yaml has no job")
}

/// As the Prometheus Operator translates a `PodMonitor`.
fn by_operator(deploy: &Path) -> Result<Value> {
    let monitor: Value = read(&deploy.join("podmonitor.yaml"))?;
    let text = |pointer: &str| monitor.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let endpoint = monitor.pointer("/spec/podMetricsEndpoints/0").context("no endpoint")?;
    let port = endpoint.get("port").context("no port")?;
    let name = text("/spec/selector/matchLabels/app.kubernetes.io~1name");
    let job = format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"));
    let mut rules = vec![
        json!({ "action": "keep", "regex": format!("({name});true"), "source_labels": [
            "__meta_kubernetes_pod_label_app_kubernetes_io_name",
            "__meta_kubernetes_pod_labelpresent_app_kubernetes_io_name",
        ] }),
        json!({ "action": "drop", "regex": "(Failed|Succeeded)", "source_labels": ["__meta_kubernetes_pod_phase"] }),
        json!({ "action": "keep", "regex": port, "source_labels": ["__meta_kubernetes_pod_container_port_name"] }),
        json!({ "source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace" }),
        json!({ "source_labels": ["__meta_kubernetes_pod_container_name"], "target_label": "container" }),
        json!({ "source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod" }),
        json!({ "target_label": "job", "replacement": job }),
        json!({ "target_label": "endpoint", "replacement": port }),
    ];
    let own = endpoint.get("relabelings").and_then(Value::as_array).context("no relabelings")?;
    rules.extend(own.iter().filter_map(Value::as_object).map(with_snake_case));
    Ok(json!({
        "job_name": "podMonitor/oomwatch/oomwatch/0",
        "honor_labels": endpoint.get("honorLabels").context("no honorLabels")?,
        "metrics_path": endpoint.get("path").context("no path")?,
        "kubernetes_sd_configs": [],
        "relabel_configs": rules,
    }))
}

/// As jobs that go by annotations do it: the pod's labels, and its names as those of the target.
#[expect(clippy::unnecessary_wraps, reason = "the other ways read a file")]
fn by_annotations(_: &Path) -> Result<Value> {
    let source = |source: &str, target: &str| json!({ "source_labels": [source], "target_label": target });
    Ok(json!({
        "job_name": "kubernetes-pods",
        "honor_labels": true,
        "kubernetes_sd_configs": [],
        "relabel_configs": [
            { "action": "drop", "regex": "Pending|Succeeded|Failed", "source_labels": ["__meta_kubernetes_pod_phase"] },
            { "action": "keep", "regex": ".+", "source_labels": ["__meta_kubernetes_pod_container_port_name"] },
            { "action": "labelmap", "regex": "__meta_kubernetes_pod_label_(.+)" },
            source("__meta_kubernetes_namespace", "namespace"),
            source("__meta_kubernetes_pod_name", "pod"),
            source("__meta_kubernetes_pod_container_name", "container"),
            source("__meta_kubernetes_pod_node_name", "node"),
        ],
    }))
}

fn with_snake_case(fields: &Map<String, Value>) -> Value {
    let renamed = fields.iter().map(|(name, value)| {
        let snake = name.chars().fold(String::new(), |mut snake, letter| {
            if letter.is_ascii_uppercase() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
            snake
        });
        (snake, value.clone())
    });
    Value::Object(renamed.collect())
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("{} is no YAML", path.display()))
}
