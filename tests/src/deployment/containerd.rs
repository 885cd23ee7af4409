//! A containerd of the tests' own, spoken to by its `ctr`.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::mount::{MountFlags, mount};
use serde_json::Value;

use crate::deadline::{PATIENCE, wait_for};

/// The namespace of Kubernetes' containers.
const NAMESPACE: &str = "k8s.io";

/// A running containerd with the image in it; ends when dropped.
#[derive(Debug)]
pub struct Containerd {
    process: Child,
    folder: PathBuf,
    /// The image's name, as it was imported.
    pub image: String,
    /// The image, mounted.
    pub rootfs: PathBuf,
    /// What containers have that ask for nothing.
    usual_capabilities: Vec<String>,
}

impl Containerd {
    /// Starts it below `folder` and imports the archive.
    ///
    /// # Errors
    /// It is not installed, does not start, or does not take the archive; its log is in the error.
    pub fn start(folder: &Path, archive: &Path, image: &str) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // overlayfs cannot lie on the overlayfs that a VM's root may be.
        mount("tmpfs", folder, "tmpfs", MountFlags::empty(), None).context("cannot mount a tmpfs")?;
        let log = File::create(folder.join("log")).context("cannot make containerd's log")?;
        let process = Command::new("containerd")
            .args(["--log-level", "warn", "--root"])
            .arg(folder.join("root"))
            .arg("--state")
            .arg(folder.join("state"))
            .arg("--address")
            .arg(folder.join("sock"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share containerd's log")?)
            .stderr(log)
            .spawn()
            .context("cannot start containerd")?;
        let rootfs = folder.join("rootfs");
        fs::create_dir_all(&rootfs).context("cannot make a folder for the image")?;
        let mut containerd = Self {
            process,
            folder: folder.to_owned(),
            image: image.to_owned(),
            rootfs,
            usual_capabilities: Vec::new(),
        };
        let ready = || Ok(run(containerd.ctr().arg("version")).ok().map(drop));
        wait_for("containerd", PATIENCE, ready).with_context(|| containerd.log())?;
        run(containerd.ctr().args(["images", "import"]).arg(archive)).with_context(|| containerd.log())?;
        run(containerd.ctr().args(["images", "mount", "--rw", image]).arg(&containerd.rootfs))?;
        let usual: Value = serde_json::from_slice(&run(containerd.ctr().args(["oci", "spec"]))?.stdout)?;
        let usual = usual.pointer("/process/capabilities/bounding").and_then(Value::as_array);
        containerd.usual_capabilities =
            usual.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        ensure!(!containerd.usual_capabilities.is_empty(), "ctr's own specification has no capabilities");
        Ok(containerd)
    }

    /// `ctr`, to be told what to do.
    pub fn ctr(&self) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(self.folder.join("sock")).args(["--namespace", NAMESPACE]);
        ctr
    }

    /// containerd's own specification for a container of the image with these capabilities, its seccomp profile, which
    /// depends on them, included.
    ///
    /// # Errors
    /// containerd refuses.
    pub fn specification(&self, capabilities: &[String]) -> Result<Value> {
        static CREATED: AtomicU32 = AtomicU32::new(0);
        let id = format!("specification-{}", CREATED.fetch_add(1, Ordering::Relaxed));
        let mut create = self.ctr();
        create.args(["containers", "create", "--seccomp"]);
        for dropped in &self.usual_capabilities {
            create.args(["--cap-drop", dropped]);
        }
        for added in capabilities {
            create.args(["--cap-add", added]);
        }
        run(create.args([&self.image, &id]))?;
        let specification = run(self.ctr().args(["containers", "info", "--spec", &id]))?;
        serde_json::from_slice(&specification.stdout).context("ctr's specification is not JSON")
    }

    /// The command that runs a container of this configuration, attached, to its end.
    ///
    /// # Errors
    /// The configuration cannot be written.
    pub fn run(&self, id: &str, configuration: &Value) -> Result<Command> {
        let file = self.folder.join(format!("{id}.json"));
        fs::write(&file, configuration.to_string()).context("cannot write the configuration")?;
        let mut ctr = self.ctr();
        ctr.args(["run", "--rm", "--config"]).arg(file).arg(id);
        Ok(ctr)
    }

    /// What a command says in a running container, as `kubectl exec` would run it.
    ///
    /// # Errors
    /// It fails, or there is no such container.
    pub fn exec(&self, id: &str, words: &[&str]) -> Result<String> {
        let mut exec = self.ctr();
        exec.args(["tasks", "exec", "--exec-id", "exec", id]).args(words);
        Ok(String::from_utf8_lossy(&run(&mut exec)?.stdout).into_owned())
    }

    /// Ends and removes a container, if there is one of this name.
    pub fn remove(&self, id: &str) {
        for command in [&["tasks", "delete", "--force", id][..], &["containers", "delete", id]] {
            // There is none.
            run(self.ctr().args(command)).ok();
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // Gone already is as good.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Runs a command to its end.
///
/// # Errors
/// It fails; what it said is in the error.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{command:?}: {}: {}", output.status, said.trim());
    }
    Ok(output)
}
