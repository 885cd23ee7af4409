//! A stand-in kubelet and API server (`oomwatch-standin`) beside the agent; `bin/standin/main.rs` tells what it does.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A running stand-in; killed when dropped, its folder with it.
#[derive(Debug)]
pub struct Standin {
    child: Child,
    /// What it reads and writes.
    pub dir: PathBuf,
    /// The node whose kubelet it is.
    pub node: &'static str,
}

impl Standin {
    /// Starts it with an empty folder.
    ///
    /// # Errors
    /// It does not say that it is ready.
    pub fn start(binary: &Path, dir: PathBuf) -> Result<Self> {
        drop(fs::remove_dir_all(&dir));
        let node = "rignode";
        let mut command = Command::new(binary);
        command.args(["--name", node, "--dir"]).arg(&dir).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {}", binary.display()))?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("the stand-in has no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line.starts_with("ready "), "the stand-in is not ready: {line:?}");
        Ok(Self { child, dir, node })
    }

    /// The options by which the agent finds it.
    ///
    /// # Errors
    /// Its folder cannot be read.
    pub fn options(&self) -> Result<Vec<String>> {
        let file = |file: &str| self.dir.join(file).display().to_string();
        let kubelet = fs::read_to_string(self.dir.join("kubelet/address"))?;
        Ok([
            ["--node-name".to_owned(), self.node.to_owned()],
            ["--kubelet".to_owned(), format!("https://{kubelet}")],
            ["--kubelet-ca".to_owned(), file("kubelet/ca.crt")],
            ["--service-account".to_owned(), file("serviceaccount")],
            ["--kubeconfig".to_owned(), file("kubeconfig")],
            ["--var-log".to_owned(), file("no-logs")],
        ]
        .concat())
    }

    /// Writes one of the files that it reads.
    ///
    /// # Errors
    /// The file system's.
    pub fn set(&self, file: &str, text: &str) -> Result<()> {
        // In one step: a request that comes meanwhile reads no half of it.
        let partial = self.dir.join("partial");
        fs::write(&partial, text)
            .and_then(|()| fs::rename(&partial, self.dir.join(file)))
            .with_context(|| file.to_owned())
    }

    /// The requests that it has had, of `kubelet` or `api`.
    pub fn requests(&self, of: &str) -> Vec<String> {
        let requests = fs::read_to_string(self.dir.join(of).join("requests")).unwrap_or_default();
        requests.lines().map(str::to_owned).collect()
    }

    /// The Events of a namespace.
    ///
    /// # Errors
    /// What is kept is not JSON.
    pub fn events(&self, namespace: &str) -> Result<Vec<Value>> {
        let Ok(entries) = fs::read_dir(self.dir.join("api/events").join(namespace)) else {
            return Ok(Vec::new());
        };
        entries.map(|entry| Ok(serde_json::from_slice(&fs::read(entry?.path())?)?)).collect()
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.dir));
    }
}
