//! What Kubernetes makes, and what only looks like it.

use super::{at, check, fill, spell_candidate, spell_kind};
use crate::{cgroup_path::place, ids::CgroupPath};

#[test]
fn both_drivers_every_class_every_runtime() {
    for (class, qos) in [("", "guaranteed"), ("burstable", "burstable"), ("besteffort", "besteffort")] {
        for (name, role, runtime) in [
            ("cri-containerd-ID", "container", "containerd"),
            ("crio-ID", "container", "cri-o"),
            ("docker-ID", "container", "docker"),
            ("libpod-ID", "container", "podman"),
            ("crio-conmon-ID", "monitor", "cri-o"),
            ("libpod-conmon-ID", "monitor", "podman"),
            ("kata_ID", "sandbox", "kata"),
        ] {
            let dashed = if class.is_empty() { String::new() } else { format!("-{class}") };
            let slice = if class.is_empty() { String::new() } else { format!("/kubepods{dashed}.slice") };
            let directory = if class.is_empty() { String::new() } else { format!("/{class}") };
            for root in
                ["", "/docker/ID2", "/system.slice/docker-ID2.scope", "/lxc.payload.n1", "/a b", "/x.slice"]
            {
                for below in ["", "/container", "/exec", "/init.scope", "/system.slice/a.service", "/pod/x"] {
                    let expected = fill(&format!("pod UID {qos} {role} ID {runtime}"));
                    for path in [
                        format!(
                            "{root}/kubepods.slice{slice}/kubepods{dashed}-podU_ID.slice/{name}.scope{below}"
                        ),
                        format!(
                            "{root}/kubelet.slice/kubelet-kubepods{dashed}-podU_ID.slice/{name}.scope{below}"
                        ),
                        format!("{root}/kubepods{directory}/podUID/{name}{below}"),
                        format!("{root}/kubelet/kubepods{directory}/podUID/{name}{below}"),
                    ] {
                        let path = fill(&path);
                        assert_eq!(spell_kind(&at(&path).kind), expected, "{path}");
                    }
                }
            }
        }
    }
}

#[test]
fn other_shapes_of_pods() {
    check(&[
        // containerd and dockerd with the cgroupfs driver
        ("/kubepods/burstable/podUID/ID", "pod UID burstable container ID ?"),
        // one name: kubelet with systemd's driver, the runtime without; also where systemd is not containerd's parent
        (
            "/system.slice/kubepods-podU_ID.slice:cri-containerd:ID",
            "pod UID guaranteed container ID containerd",
        ),
        ("/kubelet-kubepods-besteffort-podU_ID.slice:crio:ID/sub", "pod UID besteffort container ID cri-o"),
        ("/kubepods-podU_ID.slice:new-runtime:ID", "pod UID guaranteed container ID ?"),
        ("/kubepods-podU_ID.slice:cri-containerd:", "pod UID guaranteed container ? containerd"),
        ("/kubepods-podU_ID.slice:", "pod UID guaranteed container ? ?"),
        // a runtime that is not listed
        ("/kubepods.slice/kubepods-podU_ID.slice/isulad-ID.scope", "pod UID guaranteed container ID ?"),
        // static pods
        (
            "/kubepods.slice/kubepods-burstable-pod9729a196c4723b60ab401eaff722982d.slice/crio-ID.scope",
            "pod 9729a196c4723b60ab401eaff722982d burstable container ID cri-o",
        ),
        ("/kubepods/podkube-proxy_1.a/ID", "pod kube-proxy_1.a guaranteed container ID ?"),
        ("/kubepods.slice/kubepods-podkube_proxy.slice", "pod kube-proxy guaranteed"),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podburstable.slice",
            "pod burstable burstable",
        ),
        // without `kubepods` above: a uid must be one
        ("/system.slice/podUID/ID", "pod UID ? container ID ?"),
        ("/system.slice/my-podU_ID.slice/crio-ID.scope", "pod UID ? container ID cri-o"),
        ("/system.slice/podU_ID.slice", "pod UID ?"),
        ("/a/besteffort/podUID", "pod UID besteffort"),
        ("/user.slice/besteffort-podU_ID.slice", "pod UID besteffort"),
        // escaped dashes
        (
            r"/kubepods.slice/kubepods-pod87c52d60\x2dfefd\x2d45a9\x2da420\x2d895256fc03b5.slice",
            "pod UID guaranteed",
        ),
        // seen from a cgroup namespace
        ("/../../podUID/ID", "pod UID ? container ID ?"),
        ("/../../burstable/podUID/ID", "pod UID burstable container ID ?"),
        ("/../../../kubepods-burstable-podU_ID.slice/crio-ID.scope", "pod UID burstable container ID cri-o"),
        ("/../crio-ID.scope/sub", "container ID cri-o"),
        ("/../ID", "container ID ?"),
        // gone before it was looked at
        ("/kubepods/podUID/ID (deleted)", "pod UID guaranteed container ID ?"),
        ("/kubepods.slice/kubepods-podU_ID.slice (deleted)", "pod UID guaranteed"),
        // a container whose name is not made of an id
        ("/kubepods/pod1/c1", "pod 1 guaranteed container ? ?"),
        ("/kubepods/pod1/cri-containerd-abc.scope", "pod 1 guaranteed container abc containerd"),
        // the kubelet's levels
        ("/kubepods", "kubepods"),
        ("/a/b/kubepods", "kubepods"),
        ("/kubelet.slice/kubelet-kubepods.slice", "kubepods"),
        ("/kubepods/besteffort", "qos besteffort"),
        ("/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice", "qos burstable"),
        // Kata's, outside
        ("/kata_overhead/ID", "overhead ID kata"),
        ("/system.slice/kata_overhead-ID.scope", "overhead ID kata"),
    ]);
}

#[test]
fn what_only_looks_like_a_pod_is_none() {
    check(&[
        ("/podman", "other"),
        ("/pod", "other"),
        ("/kubepods/pod", "other"),
        ("/kubepods.slice/kubepods-pod.slice", "slice kubepods-pod.slice"),
        ("/pod1/c1", "other"),
        ("/burstable", "other"),
        ("/kubepods/kubepods/x", "other"),
        ("/kubepods/pod\u{1b}[2J/x", "other"),
        ("/kubepods/podbücher/x", "other"),
        ("/machine.slice/machine-libpod_pod_ID.slice", "slice machine-libpod_pod_ID.slice"),
        ("/machine.slice/machine-libpod_pod_ID.slice/libpod-ID2.scope", "container ID2 podman"),
        ("/libpod_parent/ID", "other"),
        ("/libpod_parent/ID/libpod-ID2", "container ID2 podman"),
        ("/system.slice/kubepods.service", "service kubepods.service"),
        ("/system.slice/xpodU_ID.slice", "slice xpodU_ID.slice"),
        ("/pod87c52d60-fefd-45a9-a420-895256fc03bg", "other"),
        ("/pod87c52d60_fefd_45a9_a420_895256fc03b5", "other"),
    ]);
}

#[test]
fn nested_pods_and_containers_are_all_candidates_deepest_first() {
    for (path, expected) in [
        (
            "/docker/ID2/kubelet.slice/kubelet-kubepods-podU_ID.slice/cri-containerd-ID.scope/init",
            &["pod UID guaranteed container ID containerd @5", "container ID2 docker @2"][..],
        ),
        // kind in a pod
        (
            "/kubepods/burstable/podUID/ID/kubelet/kubepods/besteffort/podUID2/ID2",
            &["pod UID2 besteffort container ID2 ? @9", "pod UID burstable container ID ? @4"],
        ),
        // docker in a pod
        (
            "/kubepods/podUID/ID/docker/ID2/x",
            &["container ID2 docker @5", "pod UID guaranteed container ID ? @3"],
        ),
        // a pod's own cgroup below another's container
        (
            "/kubepods/podUID/ID/kubepods/podUID2",
            &["pod UID2 guaranteed @5", "pod UID guaranteed container ID ? @3"],
        ),
        ("/../../kubepods/podUID/ID", &["pod UID guaranteed container ID ? @5"]),
        ("/system.slice/docker-ID.scope/system.slice/kubelet.service", &["container ID docker @2"]),
        ("/system.slice/a.service", &[]),
    ] {
        let path = fill(path);
        let expected: Vec<_> = expected.iter().map(|line| fill(line)).collect();
        let found: Vec<_> = at(&path).candidates.iter().map(spell_candidate).collect();
        assert_eq!(found, expected, "{path}");
    }
}

#[test]
fn without_a_nested_pod_the_kind_is_the_outer_pods_container() {
    check(&[
        ("/kubepods/podUID/ID/docker/ID2/x", "pod UID guaranteed container ID ?"),
        ("/kubepods/podUID/ID/kubepods", "pod UID guaranteed container ID ?"),
        ("/kubepods/podUID/ID/system.slice/containerd.service", "pod UID guaranteed container ID ?"),
    ]);
}

#[test]
fn a_path_whose_upper_end_is_missing_claims_no_class_and_no_root() {
    let kind = |text: &str| {
        let path = CgroupPath { truncated: true, ..CgroupPath::parse(fill(text).as_bytes()) };
        spell_kind(&place(&path).kind)
    };
    assert_eq!(kind("/"), "other");
    assert_eq!(kind("/init"), "other");
    assert_eq!(kind("/init.scope"), "other");
    assert_eq!(kind("/podUID/ID"), fill("pod UID ? container ID ?"));
    assert_eq!(kind("/kubepods-burstable-podU_ID.slice"), fill("pod UID burstable"));
}
