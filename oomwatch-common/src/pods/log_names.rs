//! Names of pods and containers, from the names of their log directories: what the node says without any permission.
//!
//! `/var/log/pods/NAMESPACE_POD_UID/CONTAINER/` and `/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log`, a link
//! (k8s.io/kubernetes pkg/kubelet/kuberuntime/{helpers,legacy}.go). No part has a `_` but the uid of a static pod,
//! which a manifest may choose. The second is cut so that it fits into a file name, before the id.

/// A pod's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodLogs<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's name.
    pub pod: &'a str,
    /// The pod's uid, as its cgroups are named.
    pub uid: &'a str,
}

/// A container's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerLog<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's name.
    pub pod: &'a str,
    /// The container's name.
    pub container: &'a str,
    /// The container's id.
    pub id: &'a str,
}

/// Reads the name of a directory in `/var/log/pods`.
pub fn pod_logs(name: &str) -> Option<PodLogs<'_>> {
    let (namespace, rest) = name.split_once('_')?;
    let (pod, uid) = rest.split_once('_')?;
    let whole = is_name(namespace) && is_name(pod) && !uid.is_empty();
    whole.then_some(PodLogs { namespace, pod, uid })
}

/// Reads the name of a link in `/var/log/containers`.
pub fn container_log(name: &str) -> Option<ContainerLog<'_>> {
    let stem = name.strip_suffix(".log")?;
    let (names, id) = stem.split_at_checked(stem.len().checked_sub(64)?)?;
    let names = names.strip_suffix('-')?;
    let (pod, rest) = names.split_once('_')?;
    let (namespace, container) = rest.split_once('_')?;
    let is_id = id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let whole = is_id && is_name(namespace) && is_name(pod) && is_name(container);
    whole.then_some(ContainerLog { namespace, pod, container, id })
}

/// What Kubernetes admits as the name of a namespace, a pod or a container.
fn is_name(name: &str) -> bool {
    let admitted =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    !name.is_empty() && name.bytes().all(admitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_log_directories() {
        let uid = "9d1f7b3e-b2f2-4cdf-afae-de4f2c5c7d3e";
        let name = format!("default_n-burst_{uid}");
        assert_eq!(pod_logs(&name), Some(PodLogs { namespace: "default", pod: "n-burst", uid }));
        let chosen = pod_logs("kube-system_etcd-n1_my_own_uid").map(|logs| logs.uid);
        assert_eq!(chosen, Some("my_own_uid"));
        for wrong in
            ["", "default", "default_n-burst", "default_n-burst_", "_a_b", "a__b", "A_b_c", "a_b\n_c"]
        {
            assert_eq!(pod_logs(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_of_container_links() {
        let id = "4e1123f458ebbe74d6defe84e886121644e5ee7b0fcd82c63b41d605aab4f3ab";
        let name = format!("n-burst_default_hog-1-{id}.log");
        let expected = ContainerLog { namespace: "default", pod: "n-burst", container: "hog-1", id };
        assert_eq!(container_log(&name), Some(expected));
        let cut = format!("{}_ns_c-{}", "a".repeat(200), id.get(..40).unwrap());
        for wrong in
            ["", ".log", &format!("{id}.log"), &format!("a_b-{id}.log"), &format!("a_b_c-{id}"), &cut]
        {
            assert_eq!(container_log(wrong), None, "{wrong}");
        }
    }
}
