//! Whether those who scrape find the agent that is deployed: by its labels, its port's name and its port's number.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{manifests, repo::Repo};

/// Holds what is in `deploy/` for the Operator and for annotations against the DaemonSet.
pub(crate) fn check(repo: &Repo) -> Result<()> {
    let daemon_set = manifests::daemon_set(repo)?;
    let monitor = manifests::one(repo, &repo.deploy().join("prometheus"), "PodMonitor")?;
    finds(&monitor, &daemon_set).context("the PodMonitor does not find the agent")?;
    let annotated =
        manifests::one(repo, &repo.deploy().join("overlays/prometheus-annotations"), "DaemonSet")?;
    annotations_fit(&annotated).context("who goes by annotations does not find the agent")
}

fn finds(monitor: &Value, daemon_set: &Value) -> Result<()> {
    let wanted = monitor.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    let labels = daemon_set.pointer("/spec/template/metadata/labels").context("the pods have no labels")?;
    for (name, value) in wanted.filter(|wanted| !wanted.is_empty()).context("it selects no labels")? {
        ensure!(labels.get(name) == Some(value), "the pods have no label {name}: {value}");
    }
    // It selects in its own namespace, as long as it names none.
    let namespace = |of: &Value| of.pointer("/metadata/namespace").cloned();
    ensure!(namespace(monitor) == namespace(daemon_set), "it is in another namespace");
    let endpoints = monitor.pointer("/spec/podMetricsEndpoints").and_then(Value::as_array);
    for endpoint in endpoints.filter(|endpoints| !endpoints.is_empty()).context("it has no endpoint")? {
        let name = endpoint.get("port").and_then(Value::as_str).context("its endpoint has no port")?;
        ensure!(port(daemon_set, name).is_some(), "the pods have no port {name}");
    }
    Ok(())
}

fn annotations_fit(daemon_set: &Value) -> Result<()> {
    let annotations = daemon_set.pointer("/spec/template/metadata/annotations");
    let annotation = |name: &str| annotations?.get(format!("prometheus.io/{name}"))?.as_str();
    ensure!(annotation("scrape") == Some("true"), "the pods are not annotated");
    let number = port(daemon_set, "metrics").context("the pods have no port metrics")?;
    ensure!(annotation("port") == Some(number.to_string().as_str()), "the port is {number}");
    ensure!(annotation("path") == Some("/metrics"), "the path is /metrics");
    Ok(())
}

/// The number of the container's port of that name.
fn port(daemon_set: &Value, name: &str) -> Option<u64> {
    let ports = daemon_set.pointer("/spec/template/spec/containers/0/ports")?.as_array()?;
    ports.iter().find(|port| port.get("name").is_some_and(|is| is == name))?.get("containerPort")?.as_u64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn daemon_set() -> Value {
        json!({ "metadata": { "namespace": "n" }, "spec": { "template": {
            "metadata": { "labels": { "app": "a" }, "annotations": {
                "prometheus.io/scrape": "true", "prometheus.io/port": "9", "prometheus.io/path": "/metrics"
            } },
            "spec": { "containers": [{ "ports": [{ "name": "metrics", "containerPort": 9 }] }] }
        } } })
    }

    fn monitor(namespace: &str, label: &str, port: &str) -> Value {
        json!({ "metadata": { "namespace": namespace }, "spec": {
            "selector": { "matchLabels": { "app": label } }, "podMetricsEndpoints": [{ "port": port }]
        } })
    }

    #[test]
    fn a_monitor_finds_what_it_selects() {
        assert!(finds(&monitor("n", "a", "metrics"), &daemon_set()).is_ok());
        for (namespace, label, port) in [("m", "a", "metrics"), ("n", "b", "metrics"), ("n", "a", "http")] {
            let found = finds(&monitor(namespace, label, port), &daemon_set());
            assert!(found.is_err(), "{namespace} {label} {port}");
        }
        assert!(finds(&json!({}), &daemon_set()).is_err());
    }

    #[test]
    fn annotations_name_the_port() {
        assert!(annotations_fit(&daemon_set()).is_ok());
        let path = "/spec/template/metadata/annotations";
        for name in ["scrape", "port", "path"] {
            let mut other = daemon_set();
            other.pointer_mut(path).unwrap()[format!("prometheus.io/{name}")] = "8".into();
            assert!(annotations_fit(&other).is_err(), "{name}");
        }
    }
}
