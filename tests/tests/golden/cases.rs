//! The cases: figures of real kernel logs (fixtures/README.md).

use oomwatch_common::{
    capture::{Outcome, Subject},
    ids::{Comm, Tgid, Tid},
    incident::{Constraint, Gap, ProbeLevel, Process},
    units::{Bytes, Limit},
};

use super::build::{Case, Reader, at, incident, levels, memcg, memory, oom, process};

pub(super) fn all() -> Vec<Case> {
    vec![
        pod_group_kill(),
        node_wide(),
        system_service(),
        kubepods(),
        tracepoint_v1(),
        thread_of_a_dead_leader(),
        sysrq(),
        hostile_names(),
    ]
}

const QOS: &str = "/kubepods.slice/kubepods-burstable.slice";
const POD: &str = "kubepods-burstable-pod9d1f7b3e_b2f2_4cdf_afae_de4f2c5c7d3e.slice";
const CONTAINER: &str =
    "cri-containerd-c56b45eabb31accbc115a09366a55df93410ba7d150ee150f62bcf1533aee857.scope";

/// The plain Kubernetes case: one container, whose limit is also its pod's; the pod's cgroup trips.
fn pod_group_kill() -> Case {
    let mut owner = memcg(&format!("{QOS}/{POD}"), 611, 65_536, Some(65_536));
    let mut container = memcg(&format!("{QOS}/{POD}/{CONTAINER}"), 640, 65_392, Some(65_536));
    (owner.swap_limit, container.swap_limit) = (Some(Limit::Unlimited), Some(Limit::Unlimited));
    container.oom_group = true;
    container.levels = levels(&[
        (66_961_408, Some(67_108_864)),
        (67_108_864, Some(67_108_864)),
        (67_121_152, None),
        (67_125_248, Some(335_544_320)),
    ]);
    let victim = |pid, inside, memory| Process {
        oom_score_adj: Some(992),
        pid_in_namespace: Some(inside),
        ..process(pid, "java", memory, &container)
    };
    let victims = vec![
        victim(155, 1, memory(56_608, 49_408, 0, 6688, 148)),
        victim(158, 8, memory(3044, 1920, 0, 136, 44)),
        victim(159, 9, memory(4068, 3072, 0, 128, 48)),
        victim(160, 10, memory(5092, 4096, 0, 136, 48)),
    ];
    let mut oom = oom(Constraint::Memcg, 0xcc0, 16_384, 30_336);
    oom.group = true;
    let incident = incident(at(5.719_954), oom, victims, Some(owner));
    let capture = Reader::new(&incident)
        .process(155, "6.12-pod")
        .gone(158)
        .gone(159)
        .gone(160)
        .cgroup_v2(640, "6.12-container")
        .cgroup_v2(611, "6.12-pod")
        .node("6.12-pod")
        .done();
    Case { name: "pod-group-kill", incident, capture }
}

fn node_wide() -> Case {
    let mut root = memcg("/", 1, 0, None);
    (root.usage, root.limit, root.peak, root.swap_usage, root.swap_limit) = (None, None, None, None, None);
    let mut victim = process(251, "batch-worker", memory(339_168, 336_000, 0, 2592, 700), &root);
    victim.started = Some(at(9.07));
    let incident =
        incident(at(14.430_170), oom(Constraint::None, 0x0014_0dca, 118_643, 84_823), vec![victim], None);
    let capture = Reader::new(&incident).process(251, "6.12-node").node("6.12-node").done();
    Case { name: "node-wide", incident, capture }
}

/// The race for /proc was lost.
fn system_service() -> Case {
    let owner = memcg("/system.slice/app.service", 77, 32_768, Some(32_768));
    let mut victim = process(164, "hog", memory(33_844, 32_640, 0, 576, 104), &owner);
    victim.shares_memory_with = Some(Tgid(171));
    let incident =
        incident(at(8.670_541), oom(Constraint::Memcg, 0xcc0, 8192, 8330), vec![victim], Some(owner));
    let capture = Reader::new(&incident).gone(164).cgroup_v2(77, "6.12-v2").done();
    Case { name: "system-service", incident, capture }
}

fn kubepods() -> Case {
    let owner = memcg("/kubepods", 40, 40_960, Some(40_960));
    let mut leaf = memcg("/kubepods/pod1/c1", 42, 40_960, None);
    leaf.levels = levels(&[(41_943_040, None), (41_943_040, None), (41_943_040, Some(41_943_040))]);
    let victim = process(168, "hog", memory(42_036, 40_704, 0, 576, 120), &leaf);
    let mut trigger =
        process(171, "nginx", memory(9000, 3000, 0, 0, 60), &memcg("/kubepods/pod2/c7", 51, 2000, None));
    trigger.tid = Some(Tid(175));
    let mut incident =
        incident(at(7.430_380), oom(Constraint::Memcg, 0xcc0, 10_240, 10_350), vec![victim], Some(owner));
    incident.trigger = Some(trigger);
    let capture = Reader::new(&incident)
        .gone(168)
        .source(Subject::Process(Tgid(171)), "cmdline", Ok(b"nginx: worker process\0\0\0\0"))
        .cgroup_v2(42, "6.12-v2nest")
        .cgroup_v2(40, "6.12-v2nest")
        .node("6.12-pod")
        .done();
    Case { name: "kubepods", incident, capture }
}

/// No domain, no limit owner: only the victim and its cgroup's levels, on cgroup v1.
fn tracepoint_v1() -> Case {
    let mut cgroup = memcg("/oomwatch-test", 905, 65_536, Some(65_536));
    cgroup.v2 = Some(false);
    (cgroup.swap_usage, cgroup.swap_limit) = (Some(Bytes(67_108_864)), Some(Limit::Unlimited));
    cgroup.levels = levels(&[(67_108_864, Some(67_108_864))]);
    let mut victim = process(29_382, "ingest-worker", memory(66_280, 57_088, 544, 8192, 164), &cgroup);
    victim.started = Some(at(4_640.47));
    (victim.parent_tgid, victim.parent_comm) = (Some(Tgid(29_341)), Some(Comm::new(b"python3")));
    let mut incident =
        incident(at(4_642.503_692), oom(Constraint::Memcg, 0xcc0, 16_384, 16_500), vec![victim], None);
    (incident.level, incident.oom) = (ProbeLevel::Tracepoint, None);
    let capture =
        Reader::new(&incident).process(29_382, "6.18-v1").cgroup_v1(905, "6.18-v1").node("6.18-v1").done();
    Case { name: "tracepoint-v1", incident, capture }
}

fn thread_of_a_dead_leader() -> Case {
    let owner = memcg("/thr", 60, 32_684, Some(32_768));
    let mut victim = process(162, "hog-worker", memory(42_040, 32_384, 0, 728, 104), &owner);
    (victim.tid, victim.leader_comm) = (Some(Tid(163)), Some(Comm::new(b"hog-leader")));
    let incident =
        incident(at(6.304_249), oom(Constraint::Memcg, 0xcc0, 8192, 8304), vec![victim], Some(owner));
    let status =
        b"Name:\thog-worker\nState:\tR (running)\nTgid:\t162\nPid:\t163\nVmRSS:\t   33112 kB\nThreads:\t2\n";
    let capture = Reader::new(&incident)
        .source(Subject::Process(Tgid(162)), "status", Ok(status))
        .source(Subject::Process(Tgid(162)), "exe", Err(Outcome::Denied))
        .source(Subject::Node, "loadavg", Err(Outcome::TimedOut))
        .done();
    Case { name: "thread-of-a-dead-leader", incident, capture }
}

fn sysrq() -> Case {
    let mut root = memcg("/", 1, 0, None);
    (root.usage, root.limit, root.peak, root.swap_usage, root.swap_limit) = (None, None, None, None, None);
    let victim = process(153, "hog", memory(103_476, 102_272, 0, 576, 240), &root);
    let mut oom = oom(Constraint::None, 0xcc0, 182_964, 25_772);
    oom.order = Some(-1);
    let mut incident = incident(at(10.985_421), oom, vec![victim], None);
    incident.trigger = Some(Process {
        memory: None,
        kthread: true,
        ..process(9, "kworker/0:0", memory(0, 0, 0, 0, 0), &root)
    });
    let capture = Reader::new(&incident).gone(153).node("6.12-pod").done();
    Case { name: "sysrq", incident, capture }
}

/// Everything that a process or whoever made its cgroup can choose, chosen badly; and a record that was lost.
fn hostile_names() -> Case {
    let path = "/system.slice/two\u{1b}[2Jwords, name=x\u{202e}/".to_owned() + &"deep/".repeat(60) + "end";
    let owner = memcg(&path, 88, 20_480, Some(20_480));
    let mut victim =
        process(4_000_000_000, "a) (b \"c\n\x1b[31", memory(900_000, 19_000, 900, 0, 80), &owner);
    victim.uid = Some(100_000);
    victim.comm = Some(Comm::new(b"\xff\xfe\x07\\x41\""));
    let mut incident =
        incident(at(99.5), oom(Constraint::Memcg, 0xcc0, 5120, 5000), vec![victim], Some(owner));
    incident.gaps.push(Gap::new("victims", "the record of one victim was lost: the ring buffer was full"));
    let long = "x".repeat(3000);
    let cmdline = format!("sh\0-c\0echo \x1b]0;pwned\x07\0{long}\0");
    let capture = Reader::new(&incident)
        .source(Subject::Process(Tgid(4_000_000_000)), "cmdline", Ok(cmdline.as_bytes()))
        .source(Subject::Process(Tgid(4_000_000_000)), "exe", Ok(b"/tmp/a b\n (deleted)"))
        .source(Subject::Process(Tgid(4_000_000_000)), "status", Ok(b"Name:\tx\nVmRSS:\tmuch\n"))
        .done();
    Case { name: "hostile-names", incident, capture }
}
