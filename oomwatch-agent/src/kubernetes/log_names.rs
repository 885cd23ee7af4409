//! What the names of the node's log files tell of pods: read when the kubelet does not.

use std::{fs, io, path::Path};

use oomwatch_common::pods::PodIndex;

/// Names that are read of each directory: a node has some hundreds.
const MOST: usize = 20_000;

/// Whether the node has any, so that there is a point in reading them.
pub fn exist(var_log: &Path) -> bool {
    var_log.join("pods").is_dir() || var_log.join("containers").is_dir()
}

/// Reads the names. Blocks on the disk. A directory that is not there is empty.
///
/// # Errors
/// Where neither directory could be read.
pub fn read(var_log: &Path) -> io::Result<PodIndex> {
    let names = |directory: &str| -> io::Result<Vec<String>> {
        let entries = fs::read_dir(var_log.join(directory))?.take(MOST);
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
    };
    let (pods, containers) = (names("pods"), names("containers"));
    let containers = match (&pods, containers) {
        (Err(_), Err(error)) => return Err(error),
        (_, containers) => containers.unwrap_or_default(),
    };
    let pods = pods.unwrap_or_default();
    let targets: Vec<String> = containers
        .iter()
        .map(|link| {
            let target = fs::read_link(var_log.join("containers").join(link)).unwrap_or_default();
            target.to_string_lossy().into_owned()
        })
        .collect();
    let links = containers.iter().map(String::as_str).zip(targets.iter().map(String::as_str));
    Ok(PodIndex::from_logs(pods.iter().map(String::as_str), links))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use oomwatch_common::pods::Found;

    use super::*;

    #[test]
    fn names_are_read_as_the_kubelet_lays_them_out() {
        let var_log = tempfile::tempdir().unwrap();
        assert!(!exist(var_log.path()) && read(var_log.path()).is_err());
        let id = "4e1123f458ebbe74d6defe84e886121644e5ee7b0fcd82c63b41d605aab4f3ab";
        let directory = "shop_checkout-7d4b9c6f5-x2x2x_9d1f7b3e-b2f2-4cdf-afae-de4f2c5c7d3e";
        fs::create_dir_all(var_log.path().join("pods").join(directory).join("api")).unwrap();
        fs::create_dir(var_log.path().join("containers")).unwrap();
        let link = format!("checkout-7d4b9c6f5-x2x2x_shop_api-{id}.log");
        symlink(format!("/var/log/pods/{directory}/api/0.log"), var_log.path().join("containers").join(link))
            .unwrap();
        let index = read(var_log.path()).unwrap();
        let found = index.find(Some("9d1f7b3e-b2f2-4cdf-afae-de4f2c5c7d3e"), Some(id));
        assert!(matches!(found, Found::Container(pod, container)
            if pod.namespace == "shop" && pod.name == "checkout-7d4b9c6f5-x2x2x" && container.name == "api"));
    }
}
