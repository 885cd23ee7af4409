//! What the journal keeps of the counters beside each incident: totals, so that a start continues where the last run
//! ended. A counter that came back lower than it was would be a reset to Prometheus, and count again.

use oomwatch_common::{diagnose::Cause, scope::Scope};
use serde::{Deserialize, Serialize};

use super::containers::Key;

/// The totals after an incident, of the series that it raised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Counted {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pod: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub container: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub workload_kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub workload: String,
    pub scope: Scope,
    /// `oomwatch_oom_kills_total`
    pub kills: u64,
    /// `oomwatch_last_oom_timestamp_seconds`
    pub at: f64,
    pub cause: Cause,
    /// `oomwatch_oom_incidents_total`
    pub incidents: u64,
}

impl Counted {
    /// Whose series.
    pub(super) fn key(&self) -> Key {
        Key { namespace: self.namespace.clone(), pod: self.pod.clone(), container: self.container.clone() }
    }
}
