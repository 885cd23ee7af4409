//! The ranking against what real kernels reckoned.

use super::{Candidates, CandidatesFrom, badness};
use crate::{
    report::{Rss, Victim},
    surroundings::{Task, Tasks},
    units::{Bytes, PageSize, Pages},
};

const PAGE: u64 = 4096;

fn task(tgid: u32, rss: u64, pgtables: u64, adjustment: i16) -> Task {
    let bytes = |pages| Some(PageSize::default().bytes(Pages(pages)));
    Task {
        tgid: Some(tgid),
        rss: bytes(rss),
        pgtables: bytes(pgtables),
        swap: bytes(0),
        oom_score_adj: Some(adjustment),
        ..Task::default()
    }
}

fn victim(tgid: u32) -> Victim {
    Victim { tgid: Some(tgid), ..Victim::default() }
}

#[test]
fn badness_is_what_kernels_reckon() {
    let page_size = PageSize::default();
    for (rss, pgtables, adjustment, totalpages, expected) in [
        // `chosen_points` of 7.3 and of 6.12, as a probe read them.
        (146_223, 296, -500, Some(181_906), Some(56_019)),
        (8160 + 144, 26, 0, Some(8192), Some(8330)),
        (8160, 26, 0, None, Some(8186)),
        // The kernel divides first: a domain below 1000 pages leaves `oom_score_adj` without effect.
        (10, 0, 1000, Some(999), Some(10)),
        (10, 0, 1000, Some(1999), Some(1010)),
        (10, 0, -999, Some(8192), Some(10 - 999 * 8)),
        (10, 0, -1000, Some(8192), None),
        (10, 0, 5, None, None),
    ] {
        assert_eq!(badness(&task(1, rss, pgtables, adjustment), totalpages, page_size), expected);
    }
    assert_eq!(badness(&Task { rss: None, ..task(1, 0, 0, 0) }, Some(1), page_size), None);
    let swapped = Task { swap: Some(Bytes(7 * PAGE)), ..task(1, 3, 2, 0) };
    assert_eq!(badness(&swapped, None, page_size), Some(12));
}

fn candidates(rows: Vec<Task>, from: CandidatesFrom, victims: &[Victim]) -> Candidates {
    let tasks = Tasks { from, count: u64::try_from(rows.len()).unwrap(), undecided: 0, rows };
    Candidates::new(&tasks, victims, Some(100_000), PageSize::default())
}

#[test]
fn the_chosen_process_has_its_place_among_all() {
    let rows =
        vec![task(1, 5000, 10, -998), task(2, 9000, 0, 0), task(3, 100, 0, 999), task(4, 77, 0, -1000)];
    for (tgid, place) in [(3, Some(1)), (2, Some(2)), (1, Some(3)), (4, None), (5, None)] {
        let ranked = candidates(rows.clone(), CandidatesFrom::KernelLog, &[victim(tgid)]);
        assert_eq!((ranked.victims_place, ranked.count, ranked.unkillable), (place, 4, 1), "{tgid}");
        let order: Vec<_> = ranked.processes.iter().filter_map(|process| process.tgid).collect();
        assert_eq!(order, [3, 2, 1, 4]);
        assert_eq!(ranked.processes[0].badness_permille, Some(1000));
        assert_eq!((ranked.rss_bytes, ranked.pgtables_bytes), (Bytes(14_177 * PAGE), Bytes(10 * PAGE)));
    }
}

#[test]
fn equals_share_a_place() {
    let rows = vec![task(1, 50, 0, 0), task(2, 50, 0, 0), task(3, 10, 0, 0)];
    for (tgid, place) in [(1, 1), (2, 1), (3, 3)] {
        let ranked = candidates(rows.clone(), CandidatesFrom::KernelLog, &[victim(tgid)]);
        assert_eq!(ranked.victims_place, Some(place));
    }
}

#[test]
fn of_many_the_first_and_every_victim_are_shown() {
    let rows: Vec<_> = (1..=300).map(|tgid| task(tgid, u64::from(tgid), 0, 0)).collect();
    let ranked = candidates(rows, CandidatesFrom::KernelLog, &[victim(7)]);
    assert_eq!((ranked.count, ranked.processes.len(), ranked.victims_place), (300, 21, Some(294)));
    assert_eq!((ranked.processes[0].tgid, ranked.processes[20].tgid), (Some(300), Some(7)));
    assert!(ranked.processes[20].is_victim && !ranked.processes[0].is_victim);
}

#[test]
fn what_proc_showed_of_a_victim_after_its_end_is_not_believed() {
    let rss = Rss { anon_bytes: Some(Bytes(900 * PAGE)), ..Rss::default() };
    let victim = Victim { rss: Some(rss), oom_score_adj: Some(0), ..victim(7) };
    for rows in [vec![task(7, 0, 0, 0), task(8, 100, 0, 0)], vec![task(8, 100, 0, 0)]] {
        let ranked = candidates(rows.clone(), CandidatesFrom::Proc, std::slice::from_ref(&victim));
        assert_eq!((ranked.count, ranked.victims_place), (2, Some(1)));
        assert_eq!(ranked.processes[0].rss_bytes, Some(Bytes(900 * PAGE)));
        // The kernel's log is of the moment itself.
        let logged = candidates(rows, CandidatesFrom::KernelLog, std::slice::from_ref(&victim));
        assert_eq!(logged.processes[0].tgid, Some(8));
    }
}

#[test]
fn processes_that_were_not_read_are_counted() {
    let rows = vec![task(1, 5, 0, 0)];
    let tasks = Tasks { from: CandidatesFrom::Proc, count: 900, undecided: 0, rows };
    let ranked = Candidates::new(&tasks, &[], None, PageSize::default());
    assert_eq!((ranked.count, ranked.unread, ranked.victims_place), (900, 899, None));
    assert_eq!(ranked.processes[0].badness_permille, None);
}

#[test]
fn of_processes_that_were_not_looked_at_nothing_is_said() {
    for (undecided, how_many, are_all_there) in [(0, "1 process", true), (46, "at least 1 process", false)] {
        let tasks = Tasks { from: CandidatesFrom::Proc, count: 1, undecided, rows: vec![task(1, 5, 0, 0)] };
        let ranked = Candidates::new(&tasks, &[victim(1)], None, PageSize::default());
        assert_eq!((ranked.count, ranked.unread, ranked.undecided), (1, 0, undecided));
        assert_eq!((ranked.how_many().as_str(), ranked.are_all_there()), (how_many, are_all_there));
    }
}

/// Seen on 6.18: the headline named the trigger as larger than the victim, which it became by the page that it got.
#[test]
fn whoever_grew_after_the_kill_is_not_what_the_victim_was_ranked_among() {
    let rows = || vec![task(1, 5, 0, 0), task(2, 9, 0, 0), task(3, 7, 0, 0), task(4, 2, 0, 0)];
    for (from, expected, place) in [
        (CandidatesFrom::Proc, &[2][..], 1),
        // Of the moment of the kill.
        (CandidatesFrom::KernelLog, &[], 2),
    ] {
        let mut ranked = candidates(rows(), from, &[victim(3)]);
        ranked.mark_grown();
        let grown = ranked.processes.iter().filter(|process| process.has_grown);
        assert_eq!(grown.filter_map(|process| process.tgid).collect::<Vec<_>>(), expected);
        assert_eq!(ranked.victims_place, Some(place));
    }
}
