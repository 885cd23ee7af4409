//! Whole invocations, in the forms that the captured logs (tests/tests/kernel_log.rs) do not have, and lines made to
//! mislead.

use super::{KernelLog, KmsgRecord, Logged};
use crate::{
    incident::Constraint,
    units::{Bytes, PageSize},
};

fn lines(text: &str) -> Vec<Logged> {
    let mut log = KernelLog::new(PageSize::default(), false);
    let mut found: Vec<_> = text.lines().filter_map(|line| log.line(line.as_bytes())).collect();
    found.extend(log.finish());
    found
}

fn victims(found: &[Logged]) -> Vec<Vec<u32>> {
    found
        .iter()
        .map(|logged| logged.incident.victims.iter().map(|victim| victim.tid.unwrap().0).collect())
        .collect()
}

fn path(memcg: Option<&crate::incident::Memcg>) -> Option<String> {
    memcg.map(|memcg| String::from_utf8(memcg.path.to_bytes()).unwrap())
}

const CGROUP: &str = "Memory cgroup out of memory: Killed process";
const END: &str =
    "total-vm:4kB, anon-rss:3kB, file-rss:2kB, shmem-rss:1kB, UID:0 pgtables:4kB oom_score_adj:0";
const HEADER: &str = "hog invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n\
    CPU: 0 PID: 97 Comm: hog Not tainted 5.10.0 #1 Debian\n\
    memory: usage 32768kB, limit 32768kB, failcnt 21\n\
    swap: usage 0kB, limit 0kB, failcnt 0\n\
    Memory cgroup stats for /a:\n";

#[test]
fn rhel_6_and_7_are_read() {
    let rhel6 = "Jan  1 12:00:00 db kernel: mysqld invoked oom-killer: gfp_mask=0x201da, order=0, oom_adj=0, \
        oom_score_adj=0\n\
        Jan  1 12:00:00 db kernel: mysqld cpuset=/ mems_allowed=0\n\
        Jan  1 12:00:00 db kernel: Pid: 11724, comm: mysqld Not tainted 2.6.32-754.el6.x86_64 #1\n\
        Jan  1 12:00:00 db kernel: Mem-Info:\n\
        Jan  1 12:00:00 db kernel: active_anon:1000 inactive_anon:5 isolated_anon:0\n\
        Jan  1 12:00:00 db kernel: 262142 pages RAM\n\
        Jan  1 12:00:00 db kernel: [ pid ]   uid  tgid total_vm      rss cpu oom_adj oom_score_adj name\n\
        Jan  1 12:00:00 db sshd[1]: Killed process 1 (init) total-vm:1kB\n\
        Jan  1 12:00:00 db kernel: [11726]   498 11724   200000   150000   1       0             0 mysqld\n\
        Jan  1 12:00:00 db kernel: Out of memory: Kill process 11726 (mysqld) score 859 or sacrifice child\n\
        Jan  1 12:00:00 db kernel: Killed process 11726, UID 498, (mysqld) total-vm:800000kB, \
        anon-rss:600000kB, file-rss:12kB\n";
    let found = lines(rhel6);
    let [logged] = found.as_slice() else { panic!("{found:?}") };
    let (incident, victim) = (&logged.incident, &logged.incident.victims[0]);
    assert_eq!((victim.tgid.unwrap().0, victim.tid.unwrap().0, victim.uid), (11724, 11726, Some(498)));
    assert_eq!(victim.memory.unwrap().rss_shmem, None, "until 4.4 the file part holds it");
    assert_eq!(incident.oom.as_ref().unwrap().constraint, Some(Constraint::None));
    assert_eq!(logged.wall.as_deref(), Some("Jan  1 12:00:00"));
    assert_eq!(logged.node.as_ref().unwrap().ram.unwrap().0, 262_142);

    let rhel7 = "[1.0] java invoked oom-killer: gfp_mask=0xd0, order=0, oom_score_adj=994\n\
        [1.0] java cpuset=docker-1.scope mems_allowed=0\n\
        [1.0] CPU: 3 PID: 3170 Comm: java Not tainted 3.10.0-1160.el7.x86_64 #1\n\
        [1.0] Task in /kubepods.slice/pod1.slice/docker-1.scope killed as a result of limit of \
        /kubepods.slice/pod1.slice\n\
        [1.0] memory: usage 524288kB, limit 524288kB, failcnt 9\n\
        [1.0] memory+swap: usage 524288kB, limit 524288kB, failcnt 9\n\
        [1.0] kmem: usage 0kB, limit 9007199254740988kB, failcnt 0\n\
        [1.0] Memory cgroup stats for /kubepods.slice/pod1.slice: cache:0KB rss:8KB rss_huge:0KB swap:0KB\n\
        [1.0] Memory cgroup stats for /kubepods.slice/pod1.slice/docker-1.scope: cache:4KB rss:500000KB rss_huge:0KB\n\
        [1.0] [ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name\n\
        [1.0] [ 3161]     0  3161   123361   120000     244        0           994 java\n\
        [1.0] Memory cgroup out of memory: Kill process 3175 (java) score 1013 or sacrifice child\n\
        [1.0] Killed process 3161 (java), UID 0, total-vm:493444kB, anon-rss:480000kB, file-rss:16kB, shmem-rss:0kB\n";
    let found = lines(rhel7);
    let [logged] = found.as_slice() else { panic!("{found:?}") };
    let owner = logged.incident.limit_owner.as_ref();
    assert_eq!(path(owner).as_deref(), Some("/kubepods.slice/pod1.slice"));
    let owner = owner.unwrap();
    assert_eq!((owner.v2, owner.usage), (Some(false), Some(Bytes(524_288 * 1024))));
    assert_eq!(owner.stat.as_ref().unwrap().size("anon"), Some(Bytes(500_008 * 1024)));
    let victim = &logged.incident.victims[0];
    assert_eq!(path(victim.memcg.as_ref()).as_deref(), Some("/kubepods.slice/pod1.slice/docker-1.scope"));
    assert_eq!(victim.memory.unwrap().pgtables, Some(Bytes(244 * 4096)));
    assert_eq!(logged.incident.at.0, 1_000_000_000);
}

#[test]
fn until_5_2_the_victim_may_be_a_child_of_the_chosen_one() {
    let found = lines(&format!(
        "{HEADER}oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,\
         task_memcg=/a,task=sh,pid=10,uid=0\n\
         Memory cgroup out of memory: Kill process 10 (sh) score 5 or sacrifice child\n\
         Killed process 11 (hog) total-vm:4kB, anon-rss:3kB, file-rss:2kB, shmem-rss:1kB\n\
         Kill process 12 (hog) sharing same memory\n"
    ));
    assert_eq!(victims(&found), [[11, 12]]);
    assert_eq!(found[0].incident.victims[0].tgid.unwrap().0, 11);
    assert_eq!(found[0].kills, 1, "the kernel counts but the one");
}

#[test]
fn a_group_is_one_incident_and_its_first_victim_one() {
    let group = format!(
        "{CGROUP} 7 (a) {END}\nTasks in /g are going to be killed due to memory.oom.group set\n\
         {CGROUP} 8 (b) {END}\n{CGROUP} 7 (a) {END}\n"
    );
    // Headers left out for their rate: each group's first kill is printed before the line that says it is one.
    let next = group.replace("7 (a)", "17 (a)").replace("8 (b)", "18 (b)").replace("/g", "/h");
    let found = lines(&format!("{group}{next}"));
    assert_eq!(victims(&found), [[7, 8], [17, 18]]);
    assert_eq!(found.iter().map(|logged| logged.kills).collect::<Vec<_>>(), [3, 3]);
    assert!(found.iter().all(|logged| logged.incident.oom.as_ref().unwrap().group));
    // The line that says so was lost: the same process is still not killed twice.
    assert_eq!(victims(&lines(&format!("{CGROUP} 7 (a) {END}\n{CGROUP} 7 (a) {END}\n"))), [[7]]);
}

#[test]
fn a_kill_after_a_group_is_not_of_it() {
    let head = format!(
        "{HEADER}[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name\n\
         [      7]     0     7     8461     8279   102400        0             0 a\n\
         [      8]     0     8     8461     8279   102400        0             0 b\n"
    );
    let group = format!(
        "{CGROUP} 7 (a) {END}\nTasks in /g are going to be killed due to memory.oom.group set\n{CGROUP} 8 (b) {END}\n"
    );
    assert_eq!(victims(&lines(&format!("{head}{group}{CGROUP} 9 (c) {END}\n"))), [vec![7, 8], vec![9]]);
    let later = format!(
        "[1.0] {CGROUP} 7 (a) {END}\n[1.0] Tasks in /g are going to be killed due to memory.oom.group set\n\
        [1.0] {CGROUP} 8 (b) {END}\n[5.0] {CGROUP} 9 (c) {END}\n"
    );
    assert_eq!(victims(&lines(&later)), [vec![7, 8], vec![9]]);
}

#[test]
fn a_header_is_given_no_other_ones_kill() {
    let summary = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,\
        task_memcg=/a,task=hog,pid=97,uid=0\n";
    let table = "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name\n\
                 [     97]     0    97     8461     8279   102400        0             0 hog\n";
    // Its victim was exiting already, which kernels before 5.10 do not say.
    let found = lines(&format!("{HEADER}{table}{summary}{CGROUP} 98 (x) {END}\n"));
    assert_eq!(victims(&found), [[98]]);
    assert_eq!(found[0].incident.limit_owner, None);
    assert!(found[0].incident.gaps.iter().any(|gap| gap.what == "limit_owner"));
    // A cgroup's header, the node's kill.
    let found = lines(&format!("{HEADER}{summary}Out of memory: Killed process 97 (hog) {END}\n"));
    assert_eq!(found[0].incident.limit_owner, None);
    let found = lines(&format!("{HEADER}{summary}{CGROUP} 97 (hog) {END}\n"));
    assert_eq!(path(found[0].incident.limit_owner.as_ref()).as_deref(), Some("/a"));
}

#[test]
fn headers_without_a_kill_are_no_incident() {
    for ending in [
        "Memory cgroup out of memory and no killable processes...\n",
        "Out of memory and no killable processes...\n",
        "Memory cgroup out of memory: OOM victim 97 (hog) is already exiting. Skip killing the task\n",
        "",
    ] {
        assert_eq!(lines(&format!("{HEADER}{ending}{HEADER}{ending}")), [], "{ending}");
        let found = lines(&format!("{HEADER}{ending}{HEADER}{CGROUP} 97 (hog) {END}\n"));
        assert_eq!(victims(&found), [[97]], "{ending}");
    }
}

#[test]
fn lines_printed_in_parts_are_whole_again_though_others_come_between() {
    let deep = format!("/{}", "d".repeat(200)).repeat(6);
    let records = [
        format!("4,1,10,-;{}", HEADER.lines().next().unwrap()),
        "6,2,11,-;Memory cgroup stats for ".to_owned(),
        "6,3,11,c;/a:b".to_owned(),
        "6,4,11,c;:".to_owned(),
        "6,5,12,-;anon 4096\\x0afile 0".to_owned(),
        "6,6,12,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a:b,\
         task_memcg="
            .to_owned(),
        "6,7,12,-;usb 1-1: new device, and more".to_owned(),
        "6,8,12,c;,not of it, but printed in parts as well".replace(",not", "not"),
        format!("4,9,12,c;/a:b{deep}"),
        "4,10,12,c;,task=hog,pid=97,uid=0".to_owned(),
        format!("3,11,13,-;{CGROUP} 97 (hog) {END}"),
        "6,12,13,-;Tasks in ".to_owned(),
        "12,13,13,-;Memory cgroup out of memory: Killed process 1 (init) total-vm:4kB".to_owned(),
        "6,14,13,c;/a:b".to_owned(),
        "6,15,13,c; are going to be killed due to memory.oom.group set".to_owned(),
        format!("3,16,13,-;{CGROUP} 98 (hog) {END}"),
    ];
    let found = lines(&records.join("\n"));
    assert_eq!(victims(&found), [[97, 98]]);
    let incident = &found[0].incident;
    assert_eq!(path(incident.limit_owner.as_ref()).as_deref(), Some("/a:b"));
    assert_eq!(incident.limit_owner.as_ref().unwrap().stat.as_ref().unwrap().size("anon"), Some(Bytes(4096)));
    assert_eq!(path(incident.victims[0].memcg.as_ref()), Some(format!("/a:b{deep}")));
    assert_eq!(found[0].sequences, Some((1, 16)));
    assert_eq!(incident.gaps.iter().filter(|gap| gap.what == "victims").count(), 0);
}

#[test]
fn lost_records_are_a_gap_and_what_others_wrote_is_none() {
    let kill = |sequence: u32, priority: u32| {
        KmsgRecord::parse(format!("{priority},{sequence},5,-;{CGROUP} {sequence} (x) {END}").as_bytes())
            .unwrap()
    };
    let mut log = KernelLog::new(PageSize::default(), true);
    assert_eq!(log.record(&kill(1, 3)), None);
    assert_eq!(log.record(&kill(2, 11)), None);
    let first = log.record(&kill(3, 3)).unwrap();
    assert!(first.incident.gaps.iter().all(|gap| gap.what != "victims"), "{first:?}");
    assert!(first.incident.victims[0].memory.unwrap().exact);
    let second = log.record(&kill(9, 3)).unwrap();
    assert!(second.incident.gaps.iter().any(|gap| gap.why.contains("lost")), "{second:?}");
    assert!(log.is_pending());
    assert_eq!(log.finish().unwrap().incident.number, 3);
    assert_eq!((log.kills(), log.finish(), log.is_pending()), (3, None, false));
}

#[test]
fn no_name_makes_up_a_kill() {
    // A task's name with a line end in it: the record stays one.
    let raw = format!("3,1,5,-;{CGROUP} 7 (a\\x0aKilled proces) {END}");
    let found = lines(&raw);
    assert_eq!(victims(&found), [[7]]);
    assert_eq!(found[0].incident.victims[0].comm.as_ref().unwrap().as_bytes(), b"a\nKilled proces");
    // As text it is two lines: the first ends nowhere, the second has no number.
    let text = format!("{CGROUP} 7 (a\nKilled proces) {END}\n");
    assert_eq!(lines(&text), []);
    for line in [
        "audit: comm=\"Out of memory: Killed process 7 (a) total-vm:4kB\"",
        "Tasks in /x,Killed process 9 (a) total-vm:4kB are going to be killed due to memory.oom.group set",
        "Memory cgroup stats for /Killed process 9 (a) total-vm:4kB:",
        "oom_reaper: reaped process 9 (a), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB",
        "oom_kill_process: 12 callbacks suppressed",
        "[      7]     0     7     8461     8279   102400        0             0 Killed process",
    ] {
        assert_eq!(lines(line), [], "{line}");
    }
}

/// Ten million bytes without a line end, and a line that every search meets again and again.
#[test]
fn no_line_is_too_long_or_too_slow() {
    let mut log = KernelLog::new(PageSize::default(), false);
    assert_eq!(log.line(&vec![b'x'; 10_000_000]), None);
    for unit in [
        ",task=a",
        ",task_memcg=/",
        " invoked oom-killer: gfp_mask=0x",
        ") total-vm:",
        ": ",
        "[",
        ",pid=1,uid=",
    ] {
        let line = format!("oom-kill:constraint=CONSTRAINT_MEMCG,x,oom_memcg=/{}", unit.repeat(100_000));
        for _ in 0..20 {
            assert_eq!(log.line(line.as_bytes()), None);
        }
    }
}
