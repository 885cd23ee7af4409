//! Sequences of records as kernels send them → incidents.

use super::*;
use crate::{
    decode::{
        decode,
        tests::{begin, end, end_of, killed, task, victim},
    },
    incident::Memcg,
    record as wire,
    units::PageSize,
};

/// Feeds records of one invocation.
fn assemble(records: &[Vec<u8>]) -> Option<Incident> {
    let mut decoded = records.iter().map(|bytes| decode(bytes, PageSize::default()).unwrap());
    let mut assembly = Assembly::start(decoded.next().unwrap()).unwrap();
    for record in decoded {
        assembly.push(record);
    }
    assembly.finish()
}

fn victims(incident: &Incident) -> Vec<u32> {
    incident.victims.iter().filter_map(|victim| victim.tgid).map(|tgid| tgid.0).collect()
}

#[test]
fn a_plain_kill_is_one_incident_with_one_victim() {
    let hog = task(166, b"tail");
    let incident = assemble(&[begin(1, hog), victim(1, hog), killed(1, 166, 166), end(1)]).unwrap();
    assert_eq!(victims(&incident), [166]);
    assert_eq!(incident.gaps, []);
    assert_eq!(incident.victims[0].memcg.as_ref().unwrap().levels.len(), 3, "kept from the begin record");
}

#[test]
fn a_group_kill_goes_over_its_first_victim_twice_and_reports_it_once() {
    let (one, two, three) = (task(10, b"one"), task(11, b"two"), task(12, b"three"));
    let incident = assemble(&[
        begin(1, one),
        victim(1, one),
        killed(1, 10, 10),
        victim(1, two),
        killed(1, 11, 11),
        victim(1, one),
        victim(1, three),
        killed(1, 12, 12),
        end(1),
    ])
    .unwrap();
    assert_eq!(victims(&incident), [10, 11, 12]);
}

#[test]
fn a_victim_that_was_already_exiting_is_no_incident() {
    assert_eq!(assemble(&[begin(1, task(10, b"gone")), end_of(1, 0)]), None);
    let passed_over = [begin(1, task(10, b"gone")), victim(1, task(10, b"gone")), end_of(1, 0)];
    assert_eq!(assemble(&passed_over), None, "__oom_kill_process found no address space any more");
}

#[test]
fn a_member_of_a_group_that_was_exiting_is_not_among_the_victims() {
    let (one, two) = (task(10, b"one"), task(11, b"two"));
    let incident =
        assemble(&[begin(1, one), victim(1, one), killed(1, 10, 10), victim(1, two), end(1)]).unwrap();
    assert_eq!(victims(&incident), [10]);
}

#[test]
fn the_same_number_started_later_is_another_process() {
    let one = task(10, b"one");
    let later = wire::Task { start_boottime_ns: 999, ..one };
    let incident = assemble(&[
        begin(1, one),
        victim(1, one),
        killed(1, 10, 10),
        victim(1, later),
        killed(1, 10, 10),
        end(1),
    ]);
    assert_eq!(victims(&incident.unwrap()), [10], "the second mark confirms the first of that number");
}

#[test]
fn a_zombie_leader_is_known_by_the_thread_that_has_its_memory() {
    let process = wire::Task { tid: 163, ..task(162, b"hog-worker") };
    let incident = assemble(&[begin(1, process), victim(1, process), killed(1, 162, 163), end(1)]).unwrap();
    assert_eq!((incident.victims[0].tgid, incident.victims[0].tid), (Some(Tgid(162)), Some(Tid(163))));
}

#[test]
fn a_bare_pid_confirms_the_victim_by_its_thread() {
    let process = wire::Task { tid: 163, ..task(162, b"hog-worker") };
    let incident =
        assemble(&[begin(1, process), victim(1, process), killed(1, u32::MAX, 163), end(1)]).unwrap();
    assert_eq!(victims(&incident), [162]);
}

#[test]
fn a_lost_begin_is_a_named_gap_and_the_victim_is_still_told() {
    let hog = task(10, b"hog");
    let incident = assemble(&[victim(1, hog), killed(1, 10, 10), end(1)]).unwrap();
    assert_eq!((incident.oom.is_none(), incident.gaps.len()), (true, 1));
    assert_eq!(incident.gaps[0].what, "oom");
}

#[test]
fn a_lost_victim_is_taken_from_the_begin_if_it_was_the_chosen_one() {
    let incident = assemble(&[begin(1, task(10, b"hog")), killed(1, 10, 10), end(1)]).unwrap();
    assert_eq!(incident.victims[0].comm.as_ref().unwrap().as_bytes(), b"hog");
    let incident = assemble(&[begin(1, task(10, b"hog")), killed(1, 11, 11), end(1)]).unwrap();
    assert_eq!((victims(&incident), incident.gaps.len()), (vec![11], 1));
}

#[test]
fn a_lost_record_of_a_kill_is_made_up_for_by_the_count_at_the_end() {
    let (one, two, three) = (task(10, b"one"), task(11, b"two"), task(12, b"three"));
    let incident = assemble(&[begin(1, one), victim(1, one), end(1)]).unwrap();
    assert_eq!((victims(&incident), incident.gaps.len()), (vec![10], 0));
    let incident = assemble(&[begin(1, one), end(1)]).unwrap();
    assert_eq!((victims(&incident), incident.gaps.len()), (vec![10], 0), "the chosen one is killed first");
    let all =
        [begin(1, one), victim(1, one), killed(1, 10, 10), victim(1, two), victim(1, three), end_of(1, 3)];
    assert_eq!(victims(&assemble(&all).unwrap()), [10, 11, 12]);
    let either =
        [begin(1, one), victim(1, one), killed(1, 10, 10), victim(1, two), victim(1, three), end_of(1, 2)];
    let incident = assemble(&either).unwrap();
    assert_eq!((victims(&incident), incident.gaps.len()), (vec![10], 1), "which of the two is not known");
    assert_eq!(assemble(&[end(1)]), None, "nothing is known of it");
}

#[test]
fn a_victim_that_is_marked_by_two_of_its_threads_is_one() {
    let one = task(10, b"one");
    let twice = [begin(1, one), victim(1, one), killed(1, 10, 10), killed(1, 10, 19), end_of(1, 2)];
    let incident = assemble(&twice).unwrap();
    assert_eq!((victims(&incident), incident.gaps.len()), (vec![10], 0));
}

#[test]
fn a_lost_end_is_a_named_gap() {
    let hog = task(10, b"hog");
    let incident = assemble(&[begin(1, hog), victim(1, hog), killed(1, 10, 10)]).unwrap();
    assert_eq!(incident.gaps.len(), 1);
}

/// A mark at level tracepoint, as `decode` gives it.
fn mark(number: u64, trigger: u32, victim: Process, group: bool) -> Record {
    let trigger = Process { tgid: Some(Tgid(trigger)), tid: Some(Tid(trigger)), ..Process::default() };
    let body = Body::Marked(Box::new(Marked { trigger, victim, group }));
    Record { incident: number, at: BoottimeNs(number), body }
}

fn known(tgid: u32) -> Process {
    Process {
        tgid: Some(Tgid(tgid)),
        tid: Some(Tid(tgid)),
        started: Some(BoottimeNs(1)),
        memcg: Some(Memcg::default()),
        ..Process::default()
    }
}

#[test]
fn marks_of_a_group_are_one_incident() {
    let mut assembly = Assembly::start(mark(1, 5, known(10), true)).unwrap();
    assembly.push(mark(2, 5, known(11), true));
    assert_eq!(victims(&assembly.finish().unwrap()), [10, 11]);
}

#[test]
fn a_bare_pid_in_a_group_is_identified_by_its_status() {
    let bare = Process { tid: Some(Tid(11)), ..Process::default() };
    let mut assembly = Assembly::start(mark(1, 10, known(10), true)).unwrap();
    assembly.push(mark(2, 10, bare, false));
    assert_eq!(assembly.unidentified(), [Tid(11)]);
    let text = b"Name:\tsleep\nTgid:\t11\nPid:\t11\nPPid:\t1\nUid:\t7\t7\t7\t7\n";
    assembly.identify(Tid(11), &crate::proc_text::status(text).unwrap());
    assert_eq!(assembly.unidentified(), []);
    let incident = assembly.finish().unwrap();
    assert_eq!(victims(&incident), [10, 11]);
    assert_eq!((incident.victims[1].uid, incident.gaps.len()), (Some(7), 1));
}
