//! When a pod comes to the node: the kubelet makes its directory of logs before it starts it.
//!
//! So its list is asked for soon after, and not at the next slow poll: a container's counters are then there at 0
//! before it can be killed, and a kill's report need not wait for its names.

use std::{future::pending, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::inotify,
    io::{Result, read},
};
use tokio::io::unix::AsyncFd;

/// Watches for new pods.
pub(super) struct NewPods(Option<AsyncFd<OwnedFd>>);

impl NewPods {
    /// Watches `pods/` below the directory of logs, within a tokio runtime. Where that is not possible none ever come.
    pub(super) fn watch(var_log: &Path) -> Self {
        let pods = var_log.join("pods");
        let watched = open(&pods).map_err(std::io::Error::from).and_then(register);
        Self(match watched {
            Ok(watched) => Some(watched),
            Err(error) => {
                let pods = pods.display();
                tracing::debug!(%pods, %error, "not watched: a new pod is known at the next poll of the kubelet");
                None
            }
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        while let Some(watched) = &self.0 {
            let Ok(mut ready) = watched.readable().await else { break };
            // What came does not matter: the kubelet's list tells.
            let mut events = [0; 4096];
            match ready.try_io(|inotify| Ok(read(inotify, &mut events)?)) {
                Ok(Ok(1..)) => return,
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_would_block) => {}
                Ok(Ok(_) | Err(_)) => break,
            }
        }
        self.0 = None;
        pending::<()>().await;
    }
}

#[expect(
    deprecated,
    reason = "unsound for types that give away another descriptor than they close; OwnedFd cannot"
)]
fn register(inotify: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(inotify)
}

fn open(pods: &Path) -> Result<OwnedFd> {
    let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&inotify, pods, inotify::WatchFlags::CREATE | inotify::WatchFlags::ONLYDIR)?;
    Ok(inotify)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_new_pod_is_noticed_and_nothing_else() {
        let var_log = tempfile::tempdir().unwrap();
        fs::create_dir(var_log.path().join("pods")).unwrap();
        let mut new_pods = NewPods::watch(var_log.path());
        let while_nothing = Duration::from_millis(50);
        assert!(timeout(while_nothing, new_pods.next()).await.is_err());
        fs::create_dir(var_log.path().join("pods/shop_web-0_uid")).unwrap();
        new_pods.next().await;
        assert!(timeout(while_nothing, new_pods.next()).await.is_err());
        let mut nowhere = NewPods::watch(&var_log.path().join("absent"));
        assert!(timeout(while_nothing, nowhere.next()).await.is_err());
    }
}
