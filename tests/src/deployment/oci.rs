//! From a pod's container to the OCI runtime's configuration: what the kubelet and containerd's CRI plugin do.
//!
//! The specification that is changed here is containerd's own for the image, with the seccomp profile that it has for
//! these capabilities. What CRI leaves out of it, or adds, is said at each place (internal/cri/server/
//! container_create_linux.go and internal/cri/opts of containerd).

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::pod::{Container, PodSpec, VolumeMount};

/// Where Kubernetes mounts the service account (k/k plugin/pkg/admission/serviceaccount).
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Of node-critical pods, whatever their QoS class (k/k pkg/kubelet/qos/policy.go).
const NODE_CRITICAL_OOM_SCORE_ADJ: i32 = -997;

/// What the manifest leaves to the node.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its address.
    pub address: &'a str,
    /// The root file system: the image, mounted.
    pub rootfs: &'a Path,
    /// The container's cgroup.
    pub cgroup: &'a str,
    /// Where its pods find the API server: address and port.
    pub api_server: (&'a str, &'a str),
    /// The pod's network namespace.
    pub network: &'a Path,
    /// The files of the service account.
    pub service_account: &'a Path,
}

/// Makes the runtime's configuration out of containerd's own, `base`.
///
/// # Errors
/// The manifest has something that nothing here answers to.
pub fn configuration(
    mut base: Value,
    pod: &PodSpec,
    container: &Container,
    node: &Node<'_>,
) -> Result<Value> {
    let security = &container.security_context;
    ensure!(!security.privileged, "privileged is not what is deployed");
    ensure!(pod.host_users && !pod.host_network, "user namespaces and the host's network are not followed");
    ensure!(security.seccomp_profile.kind == "RuntimeDefault", "another seccomp profile is not followed");
    ensure!(security.capabilities.drop == ["ALL"], "capabilities are to be dropped all");
    ensure!(
        pod.priority_class_name == "system-node-critical",
        "oom_score_adj of other classes is not followed"
    );
    let entry_point = base.pointer("/process/args/0").cloned().context("the image has no entry point")?;
    let args: Vec<Value> =
        [entry_point].into_iter().chain(container.args.iter().map(|arg| json!(arg))).collect();
    let inherited = base.pointer("/process/env").and_then(Value::as_array).cloned().unwrap_or_default();
    let own = variables(container, node)?;
    let env: Vec<Value> = inherited.into_iter().chain(own.into_iter().map(Value::String)).collect();
    let capabilities = capabilities(container);
    let limits = &container.resources.limits;
    let (cpus, memory) = (limits.milli_cpus()?, limits.memory()?);
    let changes = [
        ("/process/args", json!(args)),
        ("/process/env", json!(env)),
        ("/process/user", json!({ "uid": security.run_as_user, "gid": security.run_as_group })),
        (
            "/process/capabilities",
            json!({ "bounding": capabilities, "effective": capabilities, "permitted": capabilities }),
        ),
        ("/process/noNewPrivileges", json!(!security.allow_privilege_escalation)),
        ("/process/oomScoreAdj", json!(NODE_CRITICAL_OOM_SCORE_ADJ)),
        // CRI leaves the limits of containerd itself.
        ("/process/rlimits", json!([])),
        ("/root", json!({ "path": node.rootfs, "readonly": security.read_only_root_filesystem })),
        ("/mounts", json!(mounts(&base, pod, container, node)?)),
        ("/linux/cgroupsPath", json!(node.cgroup)),
        ("/linux/namespaces", json!(namespaces(pod, node))),
        ("/linux/resources/memory", json!({ "limit": memory, "swap": memory })),
        // The time that the limit grants is a real processor's. An emulated one does some thirtieth of that work in
        // it, and with the quota the start alone would take a minute; the shares stay.
        ("/linux/resources/cpu", json!({ "shares": cpus * 1024 / 1000 })),
    ];
    for (path, value) in changes {
        set(&mut base, path, value)?;
    }
    Ok(base)
}

/// The capabilities of the container by their whole names.
pub fn capabilities(container: &Container) -> Vec<String> {
    container.security_context.capabilities.add.iter().map(|name| format!("CAP_{name}")).collect()
}

fn set(base: &mut Value, path: &str, value: Value) -> Result<()> {
    let (parent, name) = path.rsplit_once('/').unwrap_or_default();
    let parent = base.pointer_mut(parent).and_then(Value::as_object_mut);
    parent
        .with_context(|| format!("containerd's specification has no place for {path}"))?
        .insert(name.to_owned(), value);
    Ok(())
}

fn variables(container: &Container, node: &Node<'_>) -> Result<Vec<String>> {
    // Every container has these, whatever its enableServiceLinks (k/k pkg/kubelet/kubelet_pods.go).
    let mut variables = vec![
        format!("KUBERNETES_SERVICE_HOST={}", node.api_server.0),
        format!("KUBERNETES_SERVICE_PORT={}", node.api_server.1),
    ];
    for variable in &container.env {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), None) => value.as_str(),
            (None, Some(from)) => match from.field_ref.field_path.as_str() {
                "spec.nodeName" => node.name,
                "status.hostIP" => node.address,
                other => bail!("the field {other} is not followed"),
            },
            _ => bail!("{} has not one value", variable.name),
        };
        variables.push(format!("{}={value}", variable.name));
    }
    Ok(variables)
}

fn mounts(base: &Value, pod: &PodSpec, container: &Container, node: &Node<'_>) -> Result<Vec<Value>> {
    let usual = base.get("mounts").and_then(Value::as_array).context("no mounts")?;
    // CRI has no tmpfs at /run, and shows the container its own cgroup.
    let mut mounts: Vec<Value> = usual
        .iter()
        .filter(|mount| mount.pointer("/destination").is_none_or(|place| place != "/run"))
        .cloned()
        .collect();
    mounts.push(json!({
        "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
    }));
    for mount in &container.volume_mounts {
        let VolumeMount { name, mount_path, read_only } = mount;
        let volume = pod.volumes.iter().find(|volume| volume.name == *name);
        let host = &volume.with_context(|| format!("no volume {name}"))?.host_path;
        match host.kind.as_str() {
            "Directory" => ensure!(Path::new(&host.path).is_dir(), "{} is not there", host.path),
            "DirectoryOrCreate" => {
                fs::create_dir_all(&host.path).with_context(|| format!("cannot make {}", host.path))?;
            }
            other => bail!("hostPath of type {other} is not followed"),
        }
        mounts.push(bind(&host.path, mount_path, *read_only));
    }
    if pod.automount_service_account_token {
        mounts.push(bind(&node.service_account.to_string_lossy(), SERVICE_ACCOUNT, true));
    }
    Ok(mounts)
}

fn bind(source: &str, destination: &str, read_only: bool) -> Value {
    let write = if read_only { "ro" } else { "rw" };
    json!({ "destination": destination, "type": "bind", "source": source, "options": ["rbind", "rprivate", write] })
}

fn namespaces(pod: &PodSpec, node: &Node<'_>) -> Vec<Value> {
    let mut namespaces: Vec<Value> =
        ["ipc", "uts", "mount", "cgroup"].iter().map(|kind| json!({ "type": kind })).collect();
    if !pod.host_pid {
        namespaces.push(json!({ "type": "pid" }));
    }
    namespaces.push(json!({ "type": "network", "path": node.network }));
    namespaces
}
