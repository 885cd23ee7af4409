//! What is no pod's.

use super::check;

#[test]
fn systemds_units() {
    check(&[
        ("/system.slice/springboot.service", "service springboot.service"),
        ("/system.slice/springboot.service/worker/1", "service springboot.service"),
        ("/system.slice/springboot.service/init.scope", "service springboot.service"),
        ("/system.slice/system-getty.slice/getty@tty1.service", "service getty@tty1.service"),
        (
            r"/system.slice/systemd-cryptsetup@luks\x2d1.service",
            r"service systemd-cryptsetup@luks\x2d1.service",
        ),
        ("/system.slice/dev-hugepages.mount", "service dev-hugepages.mount"),
        ("/system.slice/run-r1.scope", "scope run-r1.scope"),
        ("/system.slice", "slice system.slice"),
        ("/a.slice/a-b.slice", "slice a-b.slice"),
        ("/a.slice/x", "other"),
        ("/init.scope", "init"),
        ("/init", "init"),
        ("/", "root"),
        ("", "root"),
        ("/..", "other"),
        ("/../init.scope", "other"),
        ("/../system.slice/a.service", "service a.service"),
        ("/garbage", "other"),
    ]);
}

#[test]
fn sessions_and_users_own_services() {
    check(&[
        ("/user.slice/user-501.slice/session-92.scope", "session 501 session-92.scope"),
        ("/user.slice/user-501.slice/session-92.scope/x", "session 501 session-92.scope"),
        ("/user.slice/user-1000.slice/user@1000.service/init.scope", "session 1000 ?"),
        ("/user.slice/user-1000.slice/user@1000.service", "session 1000 ?"),
        ("/user.slice/user-1000.slice", "session 1000 ?"),
        ("/user.slice", "slice user.slice"),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-12.scope",
            "session 1000 app-firefox-12.scope",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/docker.service",
            "service docker.service of 1000",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
            "container ID podman",
        ),
        ("/user.slice/user-99999999999.slice/session-1.scope", "session ? session-1.scope"),
    ]);
}

#[test]
fn guests_and_containers_outside_kubernetes() {
    check(&[
        ("/docker/ID", "container ID docker"),
        ("/docker/ID/init.scope", "container ID docker"),
        ("/docker/ID/init", "container ID docker"),
        ("/docker/ID/system.slice/nginx.service", "service nginx.service"),
        ("/system.slice/docker-ID.scope", "container ID docker"),
        ("/system.slice/nerdctl-ID.scope", "container ID ?"),
        ("/system.slice:docker:ID", "container ID docker"),
        ("/actions_job/ID", "container ID ?"),
        ("/ecs/0123/ID", "container ID ?"),
        ("/machine.slice/libpod-ID.scope/container", "container ID podman"),
        ("/machine.slice/libpod-conmon-ID.scope", "monitor ID podman"),
        ("/system.slice/crio-conmon-ID.scope", "monitor ID cri-o"),
        ("/system.slice/app.service/libpod-payload-ID", "container ID podman"),
        ("/libpod_parent/conmon", "monitor ? podman"),
        ("/docker/short", "other"),
        ("/system.slice/docker-short.scope", "scope docker-short.scope"),
        (r"/machine.slice/machine-qemu\x2d1\x2dweb.scope/libvirt/emulator", "machine qemu-1-web"),
        ("/lxc/mysql-primary-db/system.slice", "lxc mysql-primary-db"),
        ("/lxc/100/ns/init.scope", "lxc 100"),
        ("/lxc.payload.first/init.scope", "lxc first"),
        ("/lxc.payload.first/system.slice/mysql.service", "service mysql.service"),
        ("/lxc.monitor.first", "lxc first monitor"),
        ("/lxc", "other"),
    ]);
}

#[test]
fn what_a_node_cannot_do_without_is_marked() {
    check(&[
        ("/runtime.slice/kubelet.service", "service kubelet.service critical"),
        ("/runtime.slice/containerd.service", "service containerd.service critical"),
        ("/podruntime.slice/containerd.service", "service containerd.service critical"),
        ("/system.slice/host-containerd.service", "service host-containerd.service critical"),
        ("/system.slice/crio.service", "service crio.service critical"),
        ("/system.slice/docker.service", "service docker.service critical"),
        ("/system.slice/k3s-agent.service", "service k3s-agent.service critical"),
        ("/system.slice/systemd-journald.service", "service systemd-journald.service critical"),
        (
            "/system.slice/snap.microk8s.daemon-kubelite.service",
            "service snap.microk8s.daemon-kubelite.service critical",
        ),
        ("/system.slice/snap.docker.dockerd.service", "service snap.docker.dockerd.service critical"),
        ("/system.slice/snap.lxd.daemon.service", "service snap.lxd.daemon.service"),
        ("/podruntime/kubelet", "service kubelet critical"),
        ("/podruntime/runtime", "service runtime critical"),
        ("/system/apid", "service apid critical"),
        ("/system/trustd", "service trustd"),
        ("/podruntime/etcd/x", "service etcd critical"),
        ("/docker/ID/podruntime/kubelet", "service kubelet critical"),
        ("/docker/ID/k3s", "service k3s critical"),
        ("/openrc.k3s", "service k3s critical"),
        ("/openrc.sshd", "service sshd"),
        ("/kubelet", "service kubelet critical"),
        (
            "/system.slice/docker-ID.scope/system.slice/containerd.service",
            "service containerd.service critical",
        ),
        ("/a/podruntime/kubelet", "other"),
        ("/system.slice/kubelet-proxy.service", "service kubelet-proxy.service"),
    ]);
}
