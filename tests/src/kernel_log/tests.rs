//! The parser over captured logs (tests/fixtures/kmsg) and over lines made to mislead it.

use super::{Counter, Header, Killed, LoggedIncident, Summary, incidents};
use crate::kmsg::Record;

fn captured(log: &str) -> Vec<LoggedIncident> {
    incidents(&log.lines().filter_map(|line| Record::parse(line.as_bytes())).collect::<Vec<_>>())
}

macro_rules! fixture {
    ($name:literal) => {
        captured(include_str!(concat!("../../fixtures/kmsg/", $name, ".kmsg")))
    };
}

#[test]
fn a_kill_at_a_v1_limit_is_read_whole() {
    let expected = LoggedIncident {
        header: Some(Header { trigger_comm: b"hog".to_vec(), gfp_mask: 0xcc0, order: 0, oom_score_adj: 0 }),
        trigger_tid: Some(97),
        memory: Some(Counter { usage_kib: 32768, limit_kib: 32768 }),
        swap: Some(Counter { usage_kib: 32768, limit_kib: 9_007_199_254_740_988 }),
        summary: Some(Summary {
            constraint: "CONSTRAINT_MEMCG".to_owned(),
            oom_memcg: Some(b"/docker/abc123".to_vec()),
            task_memcg: b"/docker/abc123".to_vec(),
            task: b"hog".to_vec(),
            pid: 97,
            uid: 0,
        }),
        group: false,
        killed: vec![Killed {
            message: "Memory cgroup out of memory".to_owned(),
            tid: 97,
            comm: b"hog".to_vec(),
            total_vm_kib: 33844,
            rss_anon_kib: 32412,
            rss_file_kib: 4,
            rss_shmem_kib: 700,
            uid: 0,
            pgtables_kib: 100,
            oom_score_adj: 0,
        }],
    };
    assert_eq!(fixture!("5.10.0-46-cloud-amd64-v1"), [expected]);
}

#[test]
fn every_capture_has_its_incidents_and_victims() {
    let table = [
        ("group", fixture!("6.1.0-56-cloud-amd64-v2group"), vec![(4, vec![111, 101, 102])]),
        ("nest", fixture!("6.1.0-56-cloud-amd64-v2nest"), vec![(1, vec![115])]),
        ("zombie leader", fixture!("6.1.0-56-cloud-amd64-v2zleader"), vec![(1, vec![109])]),
        ("global", fixture!("7.2.13+deb14-cloud-amd64-global"), vec![(1, vec![115]), (1, vec![117])]),
    ];
    for (name, incidents, expected) in table {
        let seen: Vec<_> = incidents
            .iter()
            .map(|incident| {
                (incident.killed.len(), incident.victims().iter().map(|victim| victim.tid).collect())
            })
            .collect();
        assert_eq!(seen, expected, "{name}");
        assert!(
            incidents.iter().all(|incident| incident.summary.is_some() && incident.trigger_tid.is_some()),
            "{name}"
        );
    }
}

#[test]
fn a_node_wide_kill_has_no_owner() {
    let incidents = fixture!("7.2.13+deb14-cloud-amd64-global");
    let summary = incidents[0].summary.as_ref().unwrap();
    assert_eq!((summary.constraint.as_str(), &summary.oom_memcg), ("CONSTRAINT_NONE", &None));
    assert_eq!(summary.task_memcg, b"/");
    assert_eq!(incidents[0].header.as_ref().unwrap().gfp_mask, 0x0014_0dca);
}

#[test]
fn kills_whose_headers_were_held_back_are_each_there() {
    let incidents = fixture!("6.1.0-56-cloud-amd64-v2rate");
    assert_eq!(incidents.len(), 31);
    assert_eq!(incidents.iter().filter(|incident| incident.header.is_some()).count(), 11);
    assert!(incidents.iter().all(|incident| incident.killed.len() == 1));
}

#[test]
fn names_of_the_victims_choosing_mislead_nobody() {
    let killed = Killed::parse(
        b"Memory cgroup out of memory: Killed process 7 (a) (b \"c,d=e) total-vm:1kB, anon-rss:2kB, \
          file-rss:3kB, shmem-rss:4kB, UID:5 pgtables:6kB oom_score_adj:-7",
    );
    let killed = killed.unwrap();
    assert_eq!((killed.tid, killed.comm.as_slice()), (7, b"a) (b \"c,d=e".as_slice()));
    assert_eq!((killed.rss_shmem_kib, killed.uid, killed.pgtables_kib, killed.oom_score_adj), (4, 5, 6, -7));

    let summary = Summary::parse(
        b"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/we ird,name=x,\
          task_memcg=/we ird,name=x/pid=1,uid=2,task=a) (b \"c,d=e,pid=9,uid=1000",
    );
    let summary = summary.unwrap();
    assert_eq!(summary.oom_memcg.unwrap(), b"/we ird,name=x");
    assert_eq!(summary.task_memcg, b"/we ird,name=x/pid=1,uid=2");
    assert_eq!((summary.task.as_slice(), summary.pid, summary.uid), (b"a) (b \"c,d=e".as_slice(), 9, 1000));

    let header = Header::parse(b"x invoked oom-killer: gfp_mask=0x1(A), order=-1, oom_score_adj=-5").unwrap();
    assert_eq!((header.order, header.oom_score_adj), (-1, -5));
}

#[test]
fn a_summary_in_two_parts_is_joined_across_another_line() {
    let record = |continues, text: &str| Record { continues, text: text.as_bytes().to_vec() };
    let incidents = incidents(&[
        record(false, "hog invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"),
        record(
            false,
            "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,task_memcg=",
        ),
        record(false, "eth0: link up"),
        record(true, "/a/b,task=hog,pid=3,uid=4"),
    ]);
    let summary = incidents[0].summary.as_ref().unwrap();
    assert_eq!((summary.task_memcg.as_slice(), summary.pid, summary.uid), (b"/a/b".as_slice(), 3, 4));
}

#[test]
fn other_lines_are_nothing() {
    for text in [
        "",
        "oom-kill:",
        "oom-kill:constraint=X,pid=1,uid=2",
        "Out of memory: Killed process",
        "memory: usage",
    ] {
        let text = text.as_bytes();
        assert_eq!(Killed::parse(text), None);
        assert_eq!(Summary::parse(text), None);
        assert_eq!(Header::parse(text), None);
        assert_eq!(Counter::parse(text, "memory: usage "), None);
    }
}
