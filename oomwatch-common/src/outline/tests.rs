//! The outline against the incident that is made of the same records, of whole recordings and of damaged ones.

use zerocopy::IntoBytes as _;

use super::*;
use crate::{
    assemble::Assembly,
    decode::{
        decode,
        tests::{begin, end, end_of, header, killed, memcg, task, victim},
    },
    peek::peek,
    record::{self as wire, RecordKind},
    units::PageSize,
};

fn outlined(records: &[&Vec<u8>]) -> Option<Outline> {
    let mut outline = Outline::start(&peek(records.first()?).unwrap())?;
    for record in records.iter().skip(1) {
        let record = peek(record).unwrap();
        assert!(outline.takes(&record), "{record:?}");
        outline.push(&record);
    }
    Some(outline)
}

/// How many processes the assembled incident has.
fn assembled(records: &[&Vec<u8>]) -> Option<u64> {
    let mut records = records.iter().map(|record| decode(record, PageSize::default()).unwrap());
    let mut assembly = Assembly::start(records.next()?)?;
    records.for_each(|record| assembly.push(record));
    Some(assembly.finish().map_or(0, |incident| incident.victims.len() as u64))
}

#[test]
fn it_counts_the_victims_of_the_incident_whichever_records_are_lost() {
    let (one, two, three) = (task(10, b"one"), task(11, b"two"), task(12, b"three"));
    let plain = vec![begin(1, one), victim(1, one), killed(1, 10, 10), end(1)];
    let group = vec![
        begin(1, one),
        victim(1, one),
        killed(1, 10, 10),
        victim(1, two),
        killed(1, 11, 11),
        victim(1, one),
        victim(1, three),
        killed(1, 12, 12),
        end_of(1, 3),
    ];
    let exiting = vec![begin(1, one), victim(1, one), end_of(1, 0)];
    let two_threads = vec![begin(1, one), victim(1, one), killed(1, 10, 10), killed(1, 10, 19), end_of(1, 2)];
    let bare = vec![begin(1, one), victim(1, one), killed(1, u32::MAX, 10), end(1)];
    for records in [plain, group, exiting, two_threads, bare] {
        for kept in 0..1_u32 << records.len() {
            let kept = |index: &usize| kept & (1 << index) != 0;
            let some: Vec<&Vec<u8>> = (0..records.len()).filter(kept).map(|index| &records[index]).collect();
            let victims = outlined(&some).map(|outline| outline.victims());
            assert_eq!(
                victims,
                assembled(&some),
                "{:?}",
                some.iter().map(|record| peek(record)).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn records_of_another_invocation_and_of_none_are_not_taken() {
    let first = begin(1, task(10, b"hog"));
    let outline = outlined(&[&first]).unwrap();
    assert!(!outline.takes(&peek(&victim(2, task(10, b"hog"))).unwrap()));
    assert!(Outline::start(&peek(&begin(0, task(10, b"hog"))).unwrap()).is_none());
    assert!(!outline.ended() && !outline.node_is_exhausted());
}

/// A mark at level tracepoint: `bare` where the kernel passes a bare pid.
fn mark(number: u64, trigger: u32, tgid: u32, group: bool, bare: bool) -> Vec<u8> {
    let path = b"pod1\0";
    let mut own = memcg(0, path);
    own.flags |= if group { wire::MEMCG_OOM_GROUP_EFFECTIVE } else { 0 };
    let mut victim = task(tgid, b"hog");
    if bare {
        (own, victim) = (wire::UNREAD_MEMCG, wire::Task { tid: tgid, ..wire::UNREAD_TASK });
    }
    let record = wire::Marked {
        header: header(RecordKind::Marked, number, size_of::<wire::Marked>() + path.len()),
        trigger: task(trigger, b"asker"),
        task: victim,
        trigger_memcg: wire::UNREAD_MEMCG,
        memcg: own,
        levels: [wire::MemcgLevel { usage: u64::MAX, max: u64::MAX }; wire::MEMCG_LEVELS],
        oom_kills: wire::UNREAD_U64,
    };
    [record.as_bytes(), path].concat()
}

#[test]
fn marks_of_a_group_belong_together_by_their_trigger() {
    let (first, second) = (mark(1, 5, 10, true, false), mark(2, 5, 11, true, false));
    let outline = outlined(&[&first, &second]).unwrap();
    assert_eq!((outline.victims(), outline.is_group(), outline.level()), (2, true, ProbeLevel::Tracepoint));
    let takes = |outline: &Outline, record: Vec<u8>| outline.takes(&peek(&record).unwrap());
    assert!(!takes(&outline, mark(3, 6, 12, true, false)), "another trigger");
    assert!(!takes(&outline, mark(3, 5, 12, false, false)), "in no group");
    assert!(takes(&outline, mark(3, 5, 12, false, true)), "of a bare pid the group cannot be read");
    let alone = outlined(&[&mark(1, 5, 10, false, false)]).unwrap();
    assert!(!takes(&alone, mark(2, 5, 11, false, false)));
}

#[test]
fn a_record_is_one_for_both_or_for_none() {
    let one = task(10, b"one");
    for whole in [begin(1, one), victim(1, one), killed(1, 10, 10), end(1), mark(1, 5, 10, true, false)] {
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut garbled = whole.clone();
                garbled[at] = value;
                let decoded = decode(&garbled, PageSize::default());
                assert_eq!(peek(&garbled).err(), decoded.err(), "byte {at} as {value}");
            }
            assert!(peek(&whole[..at]).is_err());
        }
    }
}
