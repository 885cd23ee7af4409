//! The pods of the node, from a real kubelet's captured answers: their cgroups, and the names of their log files.

use std::{fs, io::ErrorKind, os::unix::fs::symlink, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;

/// What the stand-in of the kubelet answers, of a node with the systemd driver.
pub(crate) const KUBELETS: &str = "api-multi-t2.json";
/// What it does not, so that names come from the log files; of a node with the cgroupfs driver.
const UNKNOWN_TO_KUBELET: &str = "static-cgroupfs-t1.json";

/// A container of a pod.
#[derive(Debug)]
pub(crate) struct NodesPod {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) container: String,
    /// As the runtime has it.
    pub(crate) id: String,
    uid: String,
    qos: String,
}

/// Every container that has an id.
pub(crate) fn read(folder: &Path) -> Result<Vec<NodesPod>> {
    let mut pods = Vec::new();
    for name in [KUBELETS, UNKNOWN_TO_KUBELET] {
        let file = folder.join(name);
        let answer = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let list: Value =
            serde_json::from_slice(&answer).with_context(|| format!("{} is not JSON", file.display()))?;
        for pod in array(&list, "/items") {
            for container in array(pod, "/status/containerStatuses") {
                let Some(id) = container.pointer("/containerID").and_then(Value::as_str) else { continue };
                pods.push(NodesPod {
                    namespace: text(pod, "/metadata/namespace")?,
                    pod: text(pod, "/metadata/name")?,
                    container: text(container, "/name")?,
                    id: id.trim_start_matches("containerd://").to_owned(),
                    uid: text(pod, "/metadata/uid")?,
                    qos: text(pod, "/status/qosClass")?.to_lowercase(),
                });
            }
        }
    }
    Ok(pods)
}

fn array<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: &Value, path: &str) -> Result<String> {
    let text = value.pointer(path).and_then(Value::as_str);
    text.map(str::to_owned).with_context(|| format!("a pod without {path}"))
}

impl NodesPod {
    /// As the systemd driver names it (k/k pkg/kubelet/cm/cgroup_manager_linux.go, containerd `getCgroupsPath`).
    pub(crate) fn cgroup_of_systemd(&self) -> String {
        let uid = self.uid.replace('-', "_");
        let (slice, name) = match self.qos.as_str() {
            "guaranteed" => (String::new(), "kubepods".to_owned()),
            qos => (format!("/kubepods-{qos}.slice"), format!("kubepods-{qos}")),
        };
        format!("/kubepods.slice{slice}/{name}-pod{uid}.slice/cri-containerd-{}.scope", self.id)
    }

    /// As the cgroupfs driver does.
    pub(crate) fn cgroup_of_cgroupfs(&self) -> String {
        let qos = if self.qos == "guaranteed" { String::new() } else { format!("/{}", self.qos) };
        format!("/kubepods{qos}/pod{}/{}", self.uid, self.id)
    }

    /// What the kubelet lays below /var/log for it.
    pub(crate) fn write_log_names(&self, var_log: &Path) -> Result<()> {
        let Self { namespace, pod, container, id, uid, .. } = self;
        let folder = var_log.join("pods").join(format!("{namespace}_{pod}_{uid}")).join(container);
        let links = var_log.join("containers");
        for folder in [&folder, &links] {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        match symlink(folder.join("0.log"), links.join(format!("{pod}_{namespace}_{container}-{id}.log"))) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(error).context("cannot make a link")
            }
            _ => Ok(()),
        }
    }
}
