//! The node's kubelet and the API server, played by `oomwatch-standin` in the network namespace of the agent's pod: it
//! is not the host's, and nothing else can be reached from it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use oomwatch_tests::{
    deadline::PATIENCE,
    deployment::containerd::run,
    lines::{Lines, Next},
};
use serde_json::Value;

/// Of the node that the captured answers are from.
pub(super) const NODE: &str = "rignode";
pub(super) const ADDRESS: &str = "192.0.2.10";
pub(super) const API_PORT: &str = "6443";
/// The pod's network namespace.
pub(super) const NETWORK: &str = "/run/oomwatch-pod-network";
const KUBELET_PORT: &str = "10250";
const FOLDER: &str = "/run/oomwatch-standin";

/// The stand-in; ends when dropped.
pub(super) struct Cluster {
    process: Child,
    folder: PathBuf,
}

impl Cluster {
    /// Makes the network namespace and starts the stand-in in it. `pods` is what the kubelet answers.
    pub(super) fn start(program: &Path, pods: &Path) -> Result<Self> {
        let folder = PathBuf::from(FOLDER);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {FOLDER}"))?;
        fs::copy(pods, folder.join("pods.json"))
            .with_context(|| format!("cannot copy {}", pods.display()))?;
        File::create(NETWORK).with_context(|| format!("cannot make {NETWORK}"))?;
        let set_up = format!("busybox ip link set lo up && busybox ip addr add {ADDRESS}/32 dev lo");
        run(Command::new("unshare").arg(format!("--net={NETWORK}")).args(["sh", "-c", &set_up]))?;
        let mut process = Command::new("nsenter")
            .arg(format!("--net={NETWORK}"))
            .arg(program)
            .args(["--name", NODE, "--kubelet-signed", "--dir", FOLDER])
            .args(["--kubelet", &format!("{ADDRESS}:{KUBELET_PORT}")])
            .args(["--api", &format!("{ADDRESS}:{API_PORT}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let lines = Lines::of(process.stdout.take().context("the stand-in has no stdout")?);
        let cluster = Self { process, folder };
        let said = lines.next(PATIENCE);
        ensure!(
            matches!(&said, Next::Line(line) if line.starts_with("ready ")),
            "the stand-in says {said:?}"
        );
        Ok(cluster)
    }

    /// What is mounted into pods.
    pub(super) fn service_account(&self) -> PathBuf {
        self.folder.join("serviceaccount")
    }

    /// Whether the API server has an Event on a pod of this name.
    pub(super) fn has_event_on(&self, pod: &str) -> Result<bool> {
        let events = self.folder.join("api/events/default");
        let Ok(entries) = fs::read_dir(&events) else { return Ok(false) };
        for entry in entries.flatten() {
            let event: Value =
                serde_json::from_slice(&fs::read(entry.path())?).context("an Event that is not JSON")?;
            let text = |path| event.pointer(path).and_then(Value::as_str);
            if text("/regarding/kind") == Some("Pod") && text("/regarding/name") == Some(pod) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Gone already is as good.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
