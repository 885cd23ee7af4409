//! A pod's template, as far as this project uses it. A field that is not listed here is an error: it might change how
//! the agent runs, and then this has to follow.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

/// `spec` of a pod.
#[expect(clippy::struct_excessive_bools, reason = "Kubernetes' own fields")]
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodSpec {
    /// Whether the token of the service account is mounted.
    pub automount_service_account_token: bool,
    /// Decides oom_score_adj.
    pub priority_class_name: String,
    /// No user namespace of its own.
    pub host_users: bool,
    /// The host's pid namespace.
    #[serde(rename = "hostPID")]
    pub host_pid: bool,
    /// The host's network.
    pub host_network: bool,
    /// One.
    pub containers: Vec<Container>,
    /// What can be mounted.
    pub volumes: Vec<Volume>,
    /// Only what the API server and the scheduler look at, from here on.
    #[serde(rename = "serviceAccountName")]
    _service_account_name: IgnoredAny,
    #[serde(rename = "enableServiceLinks")]
    _enable_service_links: IgnoredAny,
    #[serde(rename = "nodeSelector")]
    _node_selector: IgnoredAny,
    #[serde(rename = "tolerations")]
    _tolerations: IgnoredAny,
    #[serde(rename = "terminationGracePeriodSeconds")]
    _termination_grace_period_seconds: IgnoredAny,
}

/// A container.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Container {
    /// Its name in the pod.
    pub name: String,
    /// Name and tag.
    pub image: String,
    /// In place of the image's CMD.
    pub args: Vec<String>,
    /// Added to the environment.
    pub env: Vec<Variable>,
    /// What it may do.
    pub security_context: SecurityContext,
    /// Its limits.
    pub resources: Resources,
    /// What is mounted where.
    pub volume_mounts: Vec<VolumeMount>,
    /// What the kubelet asks the running container does not change how it runs.
    #[serde(default, rename = "ports")]
    _ports: Option<IgnoredAny>,
    #[serde(default, rename = "livenessProbe")]
    _liveness_probe: Option<IgnoredAny>,
    #[serde(default, rename = "readinessProbe")]
    _readiness_probe: Option<IgnoredAny>,
    #[serde(default, rename = "startupProbe")]
    _startup_probe: Option<IgnoredAny>,
}

/// A variable of the environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// As it stands there.
    pub value: Option<String>,
    /// Or from the pod itself.
    pub value_from: Option<ValueFrom>,
}

/// Where a variable is from.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValueFrom {
    /// A field of the pod.
    pub field_ref: FieldRef,
}

/// A field of the pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FieldRef {
    /// Like `spec.nodeName`.
    pub field_path: String,
}

/// What a container may do.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecurityContext {
    /// uid
    pub run_as_user: u32,
    /// gid
    pub run_as_group: u32,
    /// Everything: never.
    pub privileged: bool,
    /// Otherwise no_new_privs is set.
    pub allow_privilege_escalation: bool,
    /// No file of the image can be changed.
    pub read_only_root_filesystem: bool,
    /// Which system calls there are.
    pub seccomp_profile: SeccompProfile,
    /// On top of or less than the runtime's own.
    pub capabilities: Capabilities,
}

/// Which system calls there are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeccompProfile {
    /// `RuntimeDefault`
    #[serde(rename = "type")]
    pub kind: String,
}

/// Capabilities, without `CAP_`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// Added after the others were dropped.
    pub add: Vec<String>,
    /// `ALL`
    pub drop: Vec<String>,
}

/// Requests and limits.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// What the scheduler counts with.
    pub requests: Quantities,
    /// What the kernel enforces.
    pub limits: Quantities,
}

/// CPU and memory.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Quantities {
    cpu: String,
    memory: String,
}

impl Quantities {
    /// Memory, bytes.
    ///
    /// # Errors
    /// Not a number of `Mi`.
    pub fn memory(&self) -> Result<u64> {
        let mib = self.memory.strip_suffix("Mi").and_then(|number| number.parse::<u64>().ok());
        mib.map(|mib| mib << 20).with_context(|| format!("memory: {} is not in Mi", self.memory))
    }

    /// CPU, thousandths of one.
    ///
    /// # Errors
    /// Not a number of `m`.
    pub fn milli_cpus(&self) -> Result<u64> {
        let milli = self.cpu.strip_suffix('m').and_then(|number| number.parse().ok());
        milli.with_context(|| format!("cpu: {} is not in m", self.cpu))
    }
}

/// A volume.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Volume {
    /// Its name in the pod.
    pub name: String,
    /// A directory of the node.
    pub host_path: HostPath,
}

/// A directory of the node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPath {
    /// Where it is.
    pub path: String,
    /// `Directory`, or `DirectoryOrCreate`
    #[serde(rename = "type")]
    pub kind: String,
}

/// Where a volume is mounted.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeMount {
    /// The volume's name.
    pub name: String,
    /// Where in the container.
    pub mount_path: String,
    /// Whether nothing can be changed there.
    pub read_only: bool,
}

/// The pod of a DaemonSet.
///
/// # Errors
/// A field that this does not know, or more than one container.
pub fn of_daemon_set(daemon_set: &Value) -> Result<(PodSpec, Container)> {
    let spec = daemon_set.pointer("/spec/template/spec").context("the DaemonSet has no pod")?;
    let pod = PodSpec::deserialize(spec)
        .context("a DaemonSet with a field that tests/src/deployment does not follow")?;
    let [container] = pod.containers.as_slice() else {
        bail!("not one container, but {}", pod.containers.len())
    };
    let container = container.clone();
    Ok((pod, container))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::of_daemon_set;

    fn daemon_set() -> Value {
        let container = json!({
            "name": "a", "image": "a:1", "args": [], "env": [], "volumeMounts": [],
            "securityContext": {
                "runAsUser": 0, "runAsGroup": 0, "privileged": false, "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true, "seccompProfile": { "type": "RuntimeDefault" },
                "capabilities": { "add": ["BPF"], "drop": ["ALL"] },
            },
            "resources": {
                "requests": { "cpu": "100m", "memory": "64Mi" }, "limits": { "cpu": "100m", "memory": "64Mi" },
            },
        });
        json!({ "spec": { "template": { "spec": {
            "automountServiceAccountToken": true, "priorityClassName": "a", "hostUsers": true, "hostPID": false,
            "hostNetwork": false, "containers": [container], "volumes": [], "serviceAccountName": "a",
            "enableServiceLinks": false, "nodeSelector": {}, "tolerations": [], "terminationGracePeriodSeconds": 1,
        } } } })
    }

    #[test]
    fn a_field_that_nothing_follows_is_an_error() {
        let (_, container) = of_daemon_set(&daemon_set()).unwrap();
        let limits = &container.resources.limits;
        assert_eq!((limits.memory().unwrap(), limits.milli_cpus().unwrap()), (64 << 20, 100));
        for (place, field) in [
            ("/spec/template/spec", "hostIPC"),
            ("/spec/template/spec/containers/0", "command"),
            ("/spec/template/spec/containers/0/securityContext", "procMount"),
        ] {
            let mut changed = daemon_set();
            changed.pointer_mut(place).unwrap()[field] = json!(true);
            let error = format!("{:#}", of_daemon_set(&changed).unwrap_err());
            assert!(error.contains(field), "{error}");
        }
    }
}
