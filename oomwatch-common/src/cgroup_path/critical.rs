//! Services that a node cannot do without: a kill there concerns every pod of the node.

/// Without `.service`, or as Talos and OpenRC name them.
const CRITICAL: &[&[u8]] = &[
    // Kubernetes and the distributions that run it as one process
    b"kubelet",
    b"kubelite",
    b"kube-proxy",
    b"k3s",
    b"k3s-agent",
    b"k0scontroller",
    b"k0sworker",
    b"rke2-agent",
    b"rke2-server",
    b"microshift",
    b"etcd",
    // container runtimes
    b"containerd",
    b"host-containerd",
    b"cri-docker",
    b"crio",
    b"docker",
    b"dockerd",
    b"runtime",
    // the host
    b"init",
    b"machined",
    b"apid",
    b"dbus",
    b"dbus-broker",
    b"NetworkManager",
    b"ovs-vswitchd",
    b"ovsdb-server",
    b"systemd-journald",
    b"systemd-logind",
    b"systemd-networkd",
    b"systemd-oomd",
    b"systemd-resolved",
    b"systemd-udevd",
];

/// `kubelet.service`, `kubelet`, `snap.microk8s.daemon-kubelite.service`
pub(super) fn is_node_critical(unit: &[u8]) -> bool {
    let name = unit.strip_suffix(b".service").unwrap_or(unit);
    let snap = |name: &[u8]| {
        let program = name.strip_prefix(b"snap.")?.rsplit(|&byte| byte == b'.').next()?.to_vec();
        Some(program.strip_prefix(b"daemon-").map_or(program.clone(), <[u8]>::to_vec))
    };
    let program = snap(name);
    let name = program.as_deref().unwrap_or(name);
    CRITICAL.contains(&name)
}
