//! The folder that says how to behave, and tells what was asked.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Mutex,
};

use anyhow::{Context as _, Result};

/// The folder.
pub(crate) struct Folder {
    dir: PathBuf,
    /// One request changes it at a time.
    lock: Mutex<()>,
}

impl Folder {
    pub(crate) fn make(dir: &Path) -> Result<Self> {
        for below in ["kubelet", "serviceaccount", "api/events"] {
            fs::create_dir_all(dir.join(below)).with_context(|| format!("{}", dir.display()))?;
        }
        Ok(Self { dir: dir.to_owned(), lock: Mutex::new(()) })
    }

    /// Everything that the agent needs to find its way.
    pub(crate) fn publish(
        &self,
        cluster_ca: &str,
        kubelet_ca: &str,
        kubelet: SocketAddr,
        api: SocketAddr,
    ) -> Result<()> {
        let token = self.dir.join("serviceaccount/token");
        if !token.exists() {
            fs::write(&token, "a-service-accounts-token")?;
        }
        let ca = self.dir.join("serviceaccount/ca.crt");
        let kubeconfig = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "standin",
            "clusters": [{"name": "standin", "cluster": {
                "server": format!("https://{api}"), "certificate-authority": ca.canonicalize().unwrap_or(ca.clone()),
            }}],
            "users": [{"name": "standin", "user": {"tokenFile": token.canonicalize()?}}],
            "contexts": [{"name": "standin", "context": {"cluster": "standin", "user": "standin"}}],
        });
        for (file, text) in [
            ("serviceaccount/ca.crt", cluster_ca.to_owned()),
            ("serviceaccount/namespace", "oomwatch".to_owned()),
            ("kubelet/ca.crt", kubelet_ca.to_owned()),
            ("kubelet/address", kubelet.to_string()),
            ("api/address", api.to_string()),
            ("kubeconfig", kubeconfig.to_string()),
        ] {
            fs::write(self.dir.join(file), text).with_context(|| file.to_owned())?;
        }
        Ok(())
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    pub(crate) fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.dir.join(file)).ok()
    }

    /// Does what changes files, alone.
    pub(crate) fn alone<T>(&self, change: impl FnOnce() -> T) -> T {
        let _guard = self.lock.lock();
        change()
    }

    /// How to behave now, in words. `WORDS N` holds for N requests, and then `ok`.
    pub(crate) fn mode(&self, of: &str) -> Vec<String> {
        let file = format!("{of}/mode");
        self.alone(|| {
            let mode = self.read(&file).unwrap_or_default();
            let mut words: Vec<String> = mode.split_whitespace().map(str::to_owned).collect();
            let is_counted = words.len() == 2 && words.first().is_some_and(|word| word != "slow");
            if let Some(left) =
                words.get(1).and_then(|count| count.parse::<u32>().ok()).filter(|_| is_counted)
            {
                words.truncate(1);
                let next =
                    if left > 1 { format!("{} {}", words.concat(), left - 1) } else { "ok".to_owned() };
                drop(fs::write(self.dir.join(&file), next));
            }
            words
        })
    }

    pub(crate) fn is_permitted(&self, authorization: Option<&str>) -> bool {
        let token = self.read("serviceaccount/token").unwrap_or_default();
        authorization.and_then(|value| value.strip_prefix("Bearer ")) == Some(token.trim())
    }

    pub(crate) fn note(&self, of: &str, line: &str) {
        self.alone(|| {
            let file = OpenOptions::new().create(true).append(true).open(self.dir.join(of).join("requests"));
            if let Ok(mut file) = file {
                drop(writeln!(file, "{line}"));
            }
        });
    }
}
