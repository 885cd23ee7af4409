//! Trees of captured files, laid out as a node's are: who is found in them, and what is said of what is not.

use std::{fs, os::unix::fs::symlink, path::Path};

use oomwatch_common::{
    domain::Domain,
    ids::CgroupPath,
    report::{CandidatesFrom, Consumer},
    surroundings::{Task, Tasks},
    units::{Bytes, PageSize},
};

use super::*;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures");
const CONTAINER: &str = "6f7066ff5d9d4d090ef46e2471a431d08bb5b269f25f5ba9758b2cdb44e8c0d3";

struct Node {
    dir: tempfile::TempDir,
    v2: bool,
}

impl Node {
    fn new(v2: bool) -> Self {
        let node = Self { dir: tempfile::tempdir().unwrap(), v2 };
        node.write(if v2 { "cgroup/cgroup.controllers" } else { "cgroup/memory/memory.stat" }, "");
        node.write(if v2 { "cgroup/x" } else { "cgroup/memory/release_agent" }, "");
        for file in ["zoneinfo", "buddyinfo", "slabinfo"] {
            let text = fs::read_to_string(Path::new(FIXTURES).join("proc/6.18-v1").join(file)).unwrap();
            node.write(&format!("proc/{file}"), &text);
        }
        node
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A process of so many MiB, as a captured `status` says it, in a cgroup as `/proc` shows it.
    fn process(&self, tgid: u32, mebibytes: u64, adjustment: i16, cgroup: &str) {
        let status = fs::read_to_string(Path::new(FIXTURES).join("proc/6.12-pod/status")).unwrap();
        let lines = status.lines().map(|line| match line.split_once(':') {
            Some(("Name", _)) => format!("Name:\tp{tgid}"),
            Some(("Tgid", _)) => format!("Tgid:\t{tgid}"),
            Some(("VmRSS", _)) => format!("VmRSS:\t{} kB", mebibytes << 10),
            _ => line.to_owned(),
        });
        let status: Vec<String> = lines.collect();
        self.write(&format!("proc/{tgid}/status"), &format!("{}\n", status.join("\n")));
        self.write(&format!("proc/{tgid}/oom_score_adj"), &format!("{adjustment}\n"));
        let hierarchy = if self.v2 { "0::" } else { "4:memory:" };
        self.write(&format!("proc/{tgid}/cgroup"), &format!("{hierarchy}{cgroup}\n"));
    }

    /// A cgroup with an account, and processes in it.
    fn cgroup(&self, path: &str, mebibytes: u64, members: &[u32]) {
        let members: Vec<String> = members.iter().map(u32::to_string).collect();
        let (root, usage, stat) = if self.v2 {
            ("cgroup", "memory.current", "cgroup/6.12-v2/memory.stat")
        } else {
            ("cgroup/memory", "memory.usage_in_bytes", "cgroup/6.18-v1/memory.stat")
        };
        let stat = fs::read_to_string(Path::new(FIXTURES).join(stat)).unwrap();
        let lines = stat.lines().map(|line| match line.split_once(' ') {
            Some((name, _)) if name.ends_with("inactive_file") => format!("{name} 1048576"),
            _ => line.to_owned(),
        });
        let stat = lines.collect::<Vec<_>>().join("\n") + "\n";
        self.write(&format!("{root}{path}/cgroup.procs"), &members.join("\n"));
        self.write(&format!("{root}{path}/{usage}"), &format!("{}\n", mebibytes << 20));
        self.write(&format!("{root}{path}/memory.stat"), &stat);
    }

    fn limit(&self, path: &str, text: &str) {
        let (root, limit) =
            if self.v2 { ("cgroup", "memory.max") } else { ("cgroup/memory", "memory.limit_in_bytes") };
        self.write(&format!("{root}{path}/{limit}"), text);
    }

    fn roots(&self) -> Roots {
        Roots::new(&self.dir.path().join("proc"), &self.dir.path().join("cgroup"))
    }

    fn read(&self, wanted: &Wanted) -> Surroundings {
        read(&self.roots(), wanted, Duration::from_mins(1), None)
    }
}

fn path(text: &str) -> CgroupPath {
    CgroupPath::parse(text.as_bytes())
}

fn wanted(domain: Domain) -> Wanted {
    let node_wide = domain == Domain::Node;
    Wanted {
        domain,
        totalpages: Some(1_000_000),
        vantage: Some(Vantage::default()),
        consumers: node_wide,
        charged_to: CgroupPath::default(),
        zones: node_wide,
        slab: node_wide,
        capacity: Some(Bytes(8 << 30)),
        page_size: PageSize::default(),
    }
}

fn of_cgroup(at: &str, v2: bool) -> Wanted {
    wanted(Domain::Cgroup { path: path(at), v2: Some(v2) })
}

fn numbers(surroundings: &Surroundings) -> Vec<u32> {
    let rows = surroundings.tasks.iter().flat_map(|tasks| &tasks.rows);
    rows.filter_map(|row| row.tgid).collect()
}

#[test]
fn processes_below_the_limit_are_found_and_ranked_as_the_kernel_does() {
    for v2 in [true, false] {
        let node = Node::new(v2);
        node.cgroup("/kubepods/podA", 100, &[]);
        node.cgroup("/kubepods/podA/c1", 60, &[11, 12, 13, 99]);
        node.cgroup("/kubepods/podA/c1/below", 10, &[14]);
        node.cgroup("/kubepods/podA/c2", 30, &[15, 1]);
        node.cgroup("/kubepods/podB/c1", 30, &[16]);
        node.process(11, 20, 0, "/kubepods/podA/c1");
        node.process(12, 40, 0, "/kubepods/podA/c1");
        node.process(13, 300, -1000, "/kubepods/podA/c1");
        node.process(14, 4, 999, "/kubepods/podA/c1/below");
        node.process(15, 30, 0, "/kubepods/podA/c2");
        node.process(16, 900, 0, "/kubepods/podB/c1");
        // A zombie has no memory to give, and PID 1 is never killed.
        node.write("proc/99/status", "Name:\tgone\nTgid:\t99\n");
        node.process(1, 50, 0, "/kubepods/podA/c2");
        let around = node.read(&of_cgroup("/kubepods/podA", v2));
        assert_eq!(around.gaps, []);
        assert_eq!(numbers(&around), [14, 12, 15, 11, 13]);
        let tasks = around.tasks.unwrap();
        let expected = Task {
            tgid: Some(14),
            tid: None,
            comm: Some("p14".to_owned()),
            uid: Some(0),
            rss: Some(Bytes(4 << 20)),
            swap: Some(Bytes(0)),
            pgtables: tasks.rows[0].pgtables,
            total_vm: tasks.rows[0].total_vm,
            oom_score_adj: Some(999),
            cgroup: Some("/kubepods/podA/c1/below".to_owned()),
            kubernetes: None,
        };
        assert_eq!((tasks.count, &tasks.rows[0]), (5, &expected));
        assert!(expected.pgtables > Some(Bytes(0)) && expected.total_vm > Some(Bytes(0)));
    }
}

/// A DaemonSet without hostPID has the host's `/proc` mounted, but its own pid namespace: the kernel then lists other
/// processes of a cgroup as 0, or not at all.
#[test]
fn in_a_pid_namespace_of_its_own_the_agent_finds_them_by_their_cgroups() {
    let node = Node::new(true);
    symlink("4000000000", node.dir.path().join("proc/self")).unwrap();
    node.cgroup("/kubepods/podA/c1", 60, &[0, 0]);
    node.process(11, 20, 0, "/../../podA/c1");
    node.process(12, 40, 0, "/../../podA/c1/below");
    node.process(16, 900, 0, "/../../podB/c1");
    node.process(17, 900, 0, "/../../../system.slice/kubelet.service");
    let mut wanted = of_cgroup("/kubepods/podA", true);
    // The agent's own.
    wanted.vantage = Vantage::new(&path("/kubepods/podZ/agent"), &path("/"));
    let around = node.read(&wanted);
    assert_eq!((numbers(&around), around.gaps), (vec![12, 11], vec![]));
    let cgroups: Vec<_> = around.tasks.unwrap().rows.into_iter().filter_map(|row| row.cgroup).collect();
    assert_eq!(cgroups, ["/kubepods/podA/c1/below", "/kubepods/podA/c1"]);
    wanted.vantage = None;
    let around = node.read(&wanted);
    assert_eq!(around.tasks, None);
    assert!(around.gaps[0].why.contains("cgroup namespace"), "{:?}", around.gaps);
}

/// Seen in a slow VM: of a container of one process a report said that it had 47, all those of the node.
#[test]
fn processes_of_the_node_that_were_not_looked_at_are_not_the_containers() {
    let node = Node::new(true);
    symlink("4000000000", node.dir.path().join("proc/self")).unwrap();
    node.cgroup("/a", 60, &[0]);
    node.process(11, 20, 0, "/../a");
    node.process(12, 900, 0, "/../b");
    let mut of_a = of_cgroup("/a", true);
    of_a.vantage = Vantage::new(&path("/agent"), &path("/"));
    for wanted in [of_a, wanted(Domain::Node)] {
        // PID 1 and the kernel's own threads are no candidates either.
        let all = fs::read_dir(node.dir.path().join("proc")).unwrap().flatten();
        let all = all.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()).count();
        let around = read(&node.roots(), &wanted, Duration::ZERO, None);
        let tasks = around.tasks.unwrap();
        assert_eq!((tasks.count, tasks.undecided, tasks.rows.len()), (0, all as u64, 0));
        assert!(around.gaps[0].why.starts_with(&format!("cut: {all} of the node's")), "{:?}", around.gaps);
    }
}

#[test]
fn what_cannot_be_listed_or_takes_too_long_is_a_gap() {
    let node = Node::new(true);
    for (domain, why) in [
        (Domain::Unknown, "not known"),
        (Domain::Nodemask, "nobody lists"),
        (Domain::Cgroup { path: path("/gone"), v2: Some(true) }, "gone"),
        (Domain::Cgroup { path: path("/a"), v2: Some(false) }, "cannot be found"),
    ] {
        let around = node.read(&wanted(domain));
        assert_eq!(around.tasks, None);
        assert!(around.gaps[0].what == "candidates" && around.gaps[0].why.contains(why), "{:?}", around.gaps);
    }
    node.cgroup("/a", 60, &[11, 12]);
    node.process(11, 20, 0, "/a");
    node.process(12, 20, 0, "/a");
    let around = read(&node.roots(), &of_cgroup("/a", true), Duration::ZERO, None);
    let tasks = around.tasks.unwrap();
    assert_eq!((tasks.count, tasks.rows.len()), (2, 0));
    assert!(around.gaps[0].why.starts_with("cut: 2 "), "{:?}", around.gaps);
}

#[test]
fn more_processes_than_are_read_are_counted() {
    let node = Node::new(true);
    let last = u32::try_from(processes::MOST).unwrap() + 110;
    node.cgroup("/a", 60, &(11..=last).collect::<Vec<_>>());
    for tgid in 11..=last {
        node.process(tgid, 1, 0, "/a");
    }
    let wanted = of_cgroup("/a", true);
    let mut gaps = Vec::new();
    let until = Until::new(Duration::from_mins(1), None);
    let tasks = processes::read_tasks(&node.roots(), &wanted, until, &mut gaps).unwrap();
    assert_eq!((tasks.count, tasks.rows.len()), (u64::from(last - 10), processes::MOST));
    assert!(gaps[0].why.starts_with("cut: 100 "), "{gaps:?}");
}

/// Both versions, both drivers of the kubelet, and a node that is a container of another.
#[test]
fn consumers_are_containers_and_what_the_host_has_beside_them() {
    let slice = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podAA.slice";
    let scope = format!("{slice}/cri-containerd-{CONTAINER}.scope");
    for (v2, pods, container, below) in [
        (true, "/kubepods.slice", scope.clone(), format!("{scope}/init")),
        (false, "/kubepods", format!("/kubepods/besteffort/podA/{CONTAINER}"), String::new()),
        (
            true,
            "/docker/9e1ff/kubelet.slice/kubelet-kubepods.slice",
            format!(
                "/docker/9e1ff/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podAA.slice/\
                 cri-containerd-{CONTAINER}.scope"
            ),
            String::new(),
        ),
    ] {
        let node = Node::new(v2);
        node.cgroup(&container, 300, &[]);
        if !below.is_empty() {
            node.cgroup(&below, 299, &[]);
        }
        let top = |path: &str| format!("/{}", path.split('/').nth(1).unwrap());
        node.cgroup(pods, 400, &[]);
        node.cgroup(&top(pods), 400, &[]);
        node.limit(pods, "1073741824\n");
        node.limit(&container, "536870912\n");
        // A pod of which only its volumes are left.
        let empty = format!("{pods}/pod0b1e6f1d-3a47-4d1e-9c55-0b7e6f1d2a3c");
        node.cgroup(&empty, 100, &[]);
        node.cgroup("/system.slice", 200, &[]);
        node.cgroup("/system.slice/kubelet.service", 150, &[]);
        node.cgroup("/system.slice/sshd.service", 50, &[]);
        node.cgroup("/user.slice", 20, &[]);
        node.cgroup("/mine", 10, &[]);
        node.cgroup("/mine/below", 9, &[]);
        let around = node.read(&wanted(Domain::Node));
        let seen: Vec<_> = around
            .consumers
            .iter()
            .map(|consumer| (consumer.cgroup.as_str(), consumer.usage_bytes.unwrap().0 >> 20))
            .collect();
        assert_eq!(
            seen,
            [
                (container.as_str(), 300),
                ("/system.slice/kubelet.service", 150),
                (empty.as_str(), 100),
                ("/system.slice/sshd.service", 50),
                ("/user.slice", 20),
                ("/mine", 10),
            ]
        );
        let Consumer { limit_bytes, working_set_bytes, anon_bytes, shmem_bytes, .. } = around.consumers[0];
        assert_eq!(limit_bytes, Some(Bytes(512 << 20)));
        assert!(working_set_bytes == Some(Bytes(299 << 20)) && anon_bytes > Some(Bytes(1 << 20)));
        assert!(shmem_bytes.is_some());
        assert_eq!(around.consumers[1].host.as_ref().unwrap().name.as_deref(), Some("kubelet.service"));
        assert_eq!(around.consumers[4].limit_bytes, None);
        let shares = around.node_shares.unwrap();
        assert_eq!(
            (shares.capacity_bytes, shares.allocatable_bytes),
            (Some(Bytes(8 << 30)), Some(Bytes(1 << 30)))
        );
        assert_eq!(
            (shares.pods_usage_bytes, shares.host_usage_bytes),
            (Some(Bytes(400 << 20)), Some(Bytes(230 << 20)))
        );
        assert_eq!((around.zones.len(), around.slab.len()), (3, SLABS));
        assert_eq!(around.zones[0].free_blocks.len(), 11);
        // Nobody but PID 1 and kernel threads runs on it.
        assert_eq!((around.tasks.unwrap().count, around.gaps), (0, vec![]));

        // The limit of all pods: what is not in it had no part in that.
        let mut of_pods = wanted(Domain::Cgroup { path: path(pods), v2: Some(v2) });
        (of_pods.consumers, of_pods.charged_to) = (true, path(pods));
        let around = node.read(&of_pods);
        assert_eq!(around.consumers.len(), 2);
        assert_eq!(around.node_shares.unwrap().host_usage_bytes, Some(Bytes(230 << 20)));
    }
}

#[test]
fn of_a_hierarchy_that_is_seen_in_part_the_whole_is_not_told() {
    let node = Node::new(true);
    node.write("cgroup/cgroup.type", "domain\n");
    node.cgroup("/a", 10, &[]);
    let around = node.read(&wanted(Domain::Node));
    assert_eq!((around.consumers.len(), around.node_shares.unwrap().host_usage_bytes), (1, None));
    assert!(around.gaps[0].why.contains("this container's own cgroup"), "{:?}", around.gaps);
    let late = read(&node.roots(), &wanted(Domain::Node), Duration::ZERO, None);
    assert!(
        late.gaps.iter().any(|gap| gap.what == "consumers" && gap.why.starts_with("cut")),
        "{:?}",
        late.gaps
    );
}

#[tokio::test]
async fn a_storm_gets_a_gap_and_no_delay() {
    let node = Node::new(true);
    node.cgroup("/a", 10, &[11]);
    node.process(11, 20, 0, "/a");
    let reader = Reader::new(node.roots(), Relief::default());
    let wanted = of_cgroup("/a", true);
    assert_eq!(numbers(&reader.begin(wanted.clone(), false).end().await), [11]);
    let why = |around: Surroundings| around.gaps[0].why.clone();
    assert!(why(reader.begin(wanted.clone(), true).end().await).contains("are waiting"));
    let refused = {
        let _reading = reader.allowance.lock().unwrap();
        reader.begin(wanted.clone(), false)
    };
    assert!(why(refused.end().await).contains("earlier incident"));
    reader.allowance.lock().unwrap().spend(Duration::from_mins(1));
    assert!(why(reader.begin(wanted, false).end().await).contains("come faster"));
}

/// Each file asks for a page, and on a node without one that costs another process its life.
#[test]
fn while_the_node_has_no_memory_no_further_file_is_read() {
    let node = Node::new(true);
    node.cgroup("/a", 10, &[11]);
    node.process(11, 20, 0, "/a");
    for (relief, expected) in [(Relief::default(), 1), (Relief::never(), 0)] {
        let around = read(&node.roots(), &wanted(Domain::Node), Duration::from_mins(1), Some(relief));
        assert_eq!(around.tasks.map_or(0, |tasks| tasks.rows.len()), expected);
    }
}

#[test]
fn the_logs_own_table_is_of_the_moment_and_comes_first() {
    let gap = |what: &str| Gap { what: what.to_owned(), why: "not read".to_owned() };
    let of = |from, count| Some(Tasks { from, count, undecided: 0, rows: Vec::new() });
    let read = Surroundings {
        tasks: of(CandidatesFrom::Proc, 1),
        gaps: vec![gap("candidates"), gap("consumers")],
        ..Surroundings::default()
    };
    let logged = Surroundings { tasks: of(CandidatesFrom::KernelLog, 3), ..Surroundings::default() };
    let both = completed(logged, read.clone());
    assert_eq!((both.tasks, both.gaps), (of(CandidatesFrom::KernelLog, 3), vec![gap("consumers")]));
    assert_eq!(completed(Surroundings::default(), read.clone()), read);
}
