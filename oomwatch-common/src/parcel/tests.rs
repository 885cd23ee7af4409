//! Pieces in, pieces out; and what is made of them.

use super::*;
use crate::decode::tests::{begin, end, killed, task, victim};

fn packed(pieces: &[Piece<'_>]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| [&piece.head()[..], piece.contents()].concat()).collect()
}

fn source<'a>(subject: Subject, file: &'static str, read: Result<&'a [u8], Outcome>) -> Piece<'a> {
    let (outcome, contents) =
        read.map_or_else(|outcome| (outcome, &[][..]), |contents| (Outcome::Read, contents));
    Piece::Source { subject, file, outcome, truncated: contents.len() == 3, contents }
}

#[test]
fn every_source_with_every_outcome_comes_out_as_it_went_in() {
    let process = Subject::Process(Tgid(u32::MAX - 1));
    let cgroup = Subject::Cgroup(CgroupId(u64::MAX - 1));
    let files = [
        (process, PROCESS_FILES),
        (cgroup, CGROUP_V2_FILES),
        (cgroup, CGROUP_V1_FILES),
        (Subject::Node, NODE_FILES),
    ];
    for (subject, names) in files {
        for &file in names {
            for outcome in Outcome::ALL {
                let read = if outcome == Outcome::Read { Ok(&b"abc"[..]) } else { Err(outcome) };
                let one = [source(subject, file, read), Piece::Record(b"x"), Piece::Forget(Tgid(7))];
                let bytes = packed(&one);
                let told: Vec<_> = pieces(&bytes).collect();
                assert_eq!(told.iter().map(|(_, piece)| *piece).collect::<Vec<_>>(), one);
                assert_eq!(told[0].0, HEAD_LEN);
            }
        }
    }
}

#[test]
fn cut_anywhere_or_garbled_it_ends_at_what_is_no_piece() {
    let whole = packed(&[source(Subject::Node, "vmstat", Ok(b"oom_kill 1\n")), Piece::Record(b"abc")]);
    for end in 0..whole.len() {
        assert!(pieces(&whole[..end]).count() < 2);
    }
    for at in 0..whole.len() {
        let mut garbled = whole.clone();
        garbled[at] = 0xff;
        let (_, capture) = open(garbled, PageSize::default());
        assert!(capture.sources.len() <= 2);
    }
}

#[test]
fn records_and_files_become_an_incident_and_its_capture() {
    let (hog, process) = (task(10, b"hog"), Subject::Process(Tgid(10)));
    let records = [begin(1, hog), victim(1, hog), killed(1, 10, 10), end(1)];
    let bytes = packed(&[
        Piece::Record(&records[0]),
        source(process, "status", Ok(b"Name:\thog\n")),
        source(process, "exe", Err(Outcome::Denied)),
        Piece::Record(&records[1]),
        Piece::Record(&records[2]),
        source(Subject::Node, "loadavg", Ok(b"1")),
        Piece::Record(&records[3]),
    ]);
    let (incident, capture) = open(bytes.clone(), PageSize::default());
    assert_eq!(incident.unwrap().victims[0].tgid, Some(Tgid(10)));
    assert_eq!(capture.contents(process, "status"), Some(&b"Name:\thog\n"[..]));
    assert_eq!(capture.contents(Subject::Node, "loadavg"), Some(&b"1"[..]));
    assert_eq!(capture.source(process, "exe").unwrap().outcome, Outcome::Denied);
    let forgotten = [bytes, packed(&[Piece::Forget(Tgid(10))])].concat();
    let (incident, capture) = open(forgotten, PageSize::default());
    assert!(incident.is_some() && capture.contents(process, "status").is_none());
    assert_eq!(capture.source(process, "status").unwrap().outcome, Outcome::Gone);
    assert_eq!(open(packed(&[Piece::Record(&end(1))]), PageSize::default()).0, None, "nothing was killed");
}
