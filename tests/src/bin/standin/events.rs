//! What a real API server (1.36) admits as an Event of events.k8s.io/v1, and what of it may change
//! (pkg/apis/core/validation/events.go).

use anyhow::{Result, bail, ensure};
use serde_json::Value;

fn text<'a>(event: &'a Value, pointer: &str) -> &'a str {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a new Event is admitted in a namespace. An old API server is one of 1.20.
pub(crate) fn check(event: &Value, namespace: &str, is_old: bool) -> Result<()> {
    for field in ["eventTime", "reportingController", "reportingInstance", "action", "reason", "type"] {
        ensure!(!text(event, &format!("/{field}")).is_empty(), "{field}: Required value");
    }
    for field in ["count", "firstTimestamp", "lastTimestamp", "source", "message", "involvedObject"] {
        ensure!(event.get(field).is_none(), "{field}: needs to be unset");
    }
    for (field, most) in [("note", 1024), ("action", 128), ("reason", 128), ("reportingInstance", 128)] {
        ensure!(
            text(event, &format!("/{field}")).len() <= most,
            "{field}: can have at most {most} characters"
        );
    }
    ensure!(matches!(text(event, "/type"), "Normal" | "Warning"), "type: has invalid value");
    ensure!(is_subdomain(text(event, "/metadata/name")), "metadata.name: must be a DNS subdomain");
    ensure!(
        text(event, "/metadata/namespace") == namespace,
        "metadata.namespace: is not that of the request"
    );
    if text(event, "/regarding/namespace").is_empty() {
        let is_taken = namespace == "kube-system" || namespace == "default" && !is_old;
        ensure!(is_taken, "involvedObject.namespace: Invalid value: \"\": does not match event.namespace");
    }
    let time = text(event, "/eventTime");
    ensure!(time.ends_with('Z') && time.len() == "2026-11-21T02:03:05.719954Z".len(), "eventTime: {time}");
    event.get("series").map_or(Ok(()), series)
}

fn series(series: &Value) -> Result<()> {
    ensure!(
        series.get("count").and_then(Value::as_u64).is_some_and(|count| count >= 2),
        "series.count: should be at least 2"
    );
    ensure!(!text(series, "/lastObservedTime").is_empty(), "series.lastObservedTime: Required value");
    Ok(())
}

/// A JSON merge patch; only `series` may change.
pub(crate) fn merge(event: &mut Value, patch: &Value) -> Result<()> {
    let Some(fields) = patch.as_object() else { bail!("the patch is no object") };
    for (field, value) in fields {
        ensure!(field == "series", "{field}: field is immutable");
        series(value)?;
        if let Some(event) = event.as_object_mut() {
            event.insert(field.clone(), value.clone());
        }
    }
    Ok(())
}

fn is_subdomain(name: &str) -> bool {
    let is_label = |label: &str| {
        let admitted = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(admitted) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}
