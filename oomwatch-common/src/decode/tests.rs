//! Records as the probe writes them, whole, cut and garbled.

use zerocopy::IntoBytes as _;

use super::*;
use crate::{
    peek::{Tells, peek},
    record::RecordKind,
};

pub(crate) fn header(kind: RecordKind, incident: u64, size: usize) -> wire::Header {
    wire::Header {
        version: wire::WIRE_VERSION,
        kind: kind as u16,
        size: u16::try_from(size).unwrap(),
        cpu: 0,
        incident,
        boottime_ns: 1_000 + incident,
    }
}

pub(crate) fn task(tgid: u32, name: &[u8]) -> wire::Task {
    let mut comm = [0; wire::COMM_LEN];
    comm[..name.len()].copy_from_slice(name);
    wire::Task {
        start_boottime_ns: u64::from(tgid) * 10,
        total_vm: 8682,
        rss_file: 1,
        rss_anon: 8158,
        rss_shmem: 336,
        swapents: 0,
        hiwater_rss: 0,
        pgtables_bytes: 106_496,
        tgid,
        tid: tgid,
        uid: 0,
        pid_in_namespace: 1,
        parent_tgid: 1,
        flags: wire::TASK_KNOWN | wire::TASK_HAS_MM,
        oom_score_adj: -997,
        comm,
        leader_comm: comm,
        ..wire::UNREAD_TASK
    }
}

pub(crate) fn memcg(path_offset: usize, path: &[u8]) -> wire::Memcg {
    wire::Memcg {
        cgroup_id: 56,
        usage: 8192,
        max: 8192,
        watermark: 8254,
        swap_usage: 0,
        swap_max: i64::MAX.unsigned_abs() / 4096,
        reserved: 7,
        hierarchy_id: 0,
        path_offset: u32::try_from(path_offset).unwrap(),
        path_len: u32::try_from(path.len()).unwrap(),
        depth: u32::try_from(path.split(|&byte| byte == 0).count() - 1).unwrap(),
        flags: wire::MEMCG_KNOWN,
    }
}

/// A begin record of a kill in `/kubepods/pod1` by the limit of `/kubepods`.
pub(crate) fn begin(incident: u64, chosen: wire::Task) -> Vec<u8> {
    let (leaf, owner) = (b"pod1\0kubepods\0", b"kubepods\0");
    let tail = [&leaf[..], &owner[..], &leaf[..]].concat();
    let mut message = [0; wire::MESSAGE_LEN];
    message[..27].copy_from_slice(b"Memory cgroup out of memory");
    let mut levels = [wire::MemcgLevel { usage: u64::MAX, max: u64::MAX }; wire::MEMCG_LEVELS];
    levels[0] = wire::MemcgLevel { usage: 8190, max: i64::MAX.unsigned_abs() / 4096 };
    levels[1] = wire::MemcgLevel { usage: 8192, max: 8192 };
    levels[2] = wire::MemcgLevel { usage: 20_000, max: i64::MAX.unsigned_abs() / 4096 };
    let record = wire::Begin {
        header: header(RecordKind::Begin, incident, size_of::<wire::Begin>() + tail.len()),
        oom: wire::OomControl {
            totalpages: 8192,
            chosen_points: 8521,
            gfp_mask: 0xcc0,
            order: 0,
            constraint: 3,
            untold_end: 0,
            message,
        },
        trigger: task(90, b"asker"),
        chosen,
        trigger_memcg: memcg(leaf.len() + owner.len(), leaf),
        chosen_memcg: memcg(0, leaf),
        limit_owner: memcg(leaf.len(), owner),
        chosen_levels: levels,
    };
    [record.as_bytes(), &tail].concat()
}

pub(crate) fn victim(incident: u64, task: wire::Task) -> Vec<u8> {
    let path = b"pod1\0kubepods\0";
    let size = size_of::<wire::Victim>() + path.len();
    let record =
        wire::Victim { header: header(RecordKind::Victim, incident, size), task, memcg: memcg(0, path) };
    [record.as_bytes(), path].concat()
}

pub(crate) fn killed(incident: u64, tgid: u32, tid: u32) -> Vec<u8> {
    let header = header(RecordKind::Killed, incident, size_of::<wire::Killed>());
    wire::Killed { header, tgid, tid }.as_bytes().to_vec()
}

pub(crate) fn end(incident: u64) -> Vec<u8> {
    end_of(incident, 1)
}

pub(crate) fn end_of(incident: u64, killed: u32) -> Vec<u8> {
    let header = header(RecordKind::End, incident, size_of::<wire::End>());
    wire::End { header, killed, already_exiting: 0 }.as_bytes().to_vec()
}

fn decoded(bytes: &[u8]) -> Record {
    decode(bytes, PageSize::default()).unwrap()
}

#[test]
fn a_begin_gives_domain_trigger_chosen_and_paths_root_first() {
    let record = decoded(&begin(4, task(166, b"tail")));
    assert_eq!((record.incident, record.at), (4, BoottimeNs(1004)));
    let Body::Begin(begin) = record.body else { panic!("{record:?}") };
    assert_eq!(begin.oom.constraint, Some(Constraint::Memcg));
    assert_eq!(begin.oom.totalpages, Some(Pages(8192)));
    assert_eq!(begin.oom.message.as_deref(), Some("Memory cgroup out of memory"));
    assert_eq!(begin.trigger.comm, Some(Comm::new(b"asker")));
    let memory = begin.chosen.memory.unwrap();
    assert_eq!((memory.rss_anon, memory.total_vm), (Some(Bytes(8158 * 4096)), Some(Bytes(8682 * 4096))));
    assert_eq!(memory.pgtables, Some(Bytes(106_496)));
    assert_eq!(memory.hiwater_rss, Some(Bytes((8158 + 1 + 336) * 4096)), "not yet noted: the present RSS");
    let memcg = begin.chosen.memcg.unwrap();
    assert_eq!(memcg.path.to_bytes(), b"/kubepods/pod1");
    assert_eq!(memcg.swap_limit, Some(Limit::Unlimited));
    let limits: Vec<_> = memcg.levels.iter().map(|level| level.limit).collect();
    assert_eq!(
        limits,
        [Some(Limit::Unlimited), Some(Limit::Bytes(Bytes(8192 * 4096))), Some(Limit::Unlimited)],
        "leaf, kubepods, root"
    );
    assert_eq!(begin.limit_owner.unwrap().path.to_bytes(), b"/kubepods");
}

/// A process that asks at its own cgroup's limit and dies for it: what is the same is not in the record again, and what
/// another record has left there means nothing.
#[test]
fn who_asks_and_is_chosen_is_told_once() {
    let old = begin(4, wire::Task { shares_mm_with: 7, ..task(166, b"tail") });
    let (mut record, tail) = <wire::Begin as zerocopy::FromBytes>::read_from_prefix(&old).unwrap();
    record.trigger.flags = wire::TASK_AS_CHOSEN;
    for memcg in [&mut record.trigger_memcg, &mut record.limit_owner] {
        (memcg.flags, memcg.path_offset, memcg.path_len) = (wire::MEMCG_AS_CHOSEN, 1 << 20, 3);
    }
    let raw = [record.as_bytes(), tail].concat();
    let Body::Begin(begin) = decoded(&raw).body else { panic!() };
    assert_eq!(begin.chosen.shares_memory_with, Some(Tgid(7)));
    let chosen_memcg = begin.chosen.memcg.clone().unwrap();
    let once = Memcg { levels: Vec::new(), ..chosen_memcg };
    assert_eq!(begin.limit_owner.as_ref(), Some(&once));
    let same = Process { shares_memory_with: None, memcg: Some(once), ..begin.chosen.clone() };
    assert_eq!(begin.trigger, same, "whose memory it shares is said of the victim");

    let Tells::Begin { trigger, chosen, cgroup, limit_owner, .. } = peek(&raw).unwrap().tells else {
        panic!()
    };
    assert_eq!((trigger, limit_owner), (chosen, cgroup));
    assert_eq!(chosen.tgid, Some(Tgid(166)));
}

#[test]
fn what_was_not_read_is_none_and_never_a_number() {
    let path_less = wire::Victim {
        header: header(RecordKind::Victim, 1, size_of::<wire::Victim>()),
        task: wire::Task { flags: wire::TASK_KNOWN, ..wire::UNREAD_TASK },
        memcg: wire::UNREAD_MEMCG,
    };
    let Body::Victim(process) = decoded(path_less.as_bytes()).body else { panic!() };
    assert_eq!(*process, Process::default());
}

#[test]
fn who_shares_the_memory_is_known_or_nobody() {
    for (shares_mm_with, expected) in [(0, None), (7, Some(Tgid(7)))] {
        let record = decoded(&victim(1, wire::Task { shares_mm_with, ..task(5, b"x") }));
        let Body::Victim(process) = record.body else { panic!() };
        assert_eq!(process.shares_memory_with, expected);
    }
}

#[test]
fn pages_of_64_kib_are_not_taken_for_4_kib() {
    let record = decode(&victim(1, task(5, b"x")), PageSize::new(65_536).unwrap()).unwrap();
    let Body::Victim(process) = record.body else { panic!() };
    assert_eq!(process.memory.unwrap().rss_anon, Some(Bytes(8158 * 65_536)));
    // LONG_MAX / 4096 pages are more than LONG_MAX / 65536: still no limit.
    assert_eq!(process.memcg.unwrap().swap_limit, Some(Limit::Unlimited));
}

#[test]
fn a_record_that_is_cut_anywhere_is_refused() {
    for whole in [begin(1, task(9, b"x")), victim(1, task(9, b"x")), killed(1, 9, 9), end(1)] {
        for len in 0..whole.len() {
            assert!(decode(&whole[..len], PageSize::default()).is_err(), "{len} of {}", whole.len());
        }
    }
}

#[test]
fn bytes_behind_a_record_are_the_ring_buffers_padding() {
    let mut padded = victim(1, task(9, b"x"));
    let whole = decoded(&padded);
    padded.extend([0xaa; 6]);
    assert_eq!(decoded(&padded), whole);
}

#[test]
fn garbage_is_refused_or_decoded_but_never_a_panic() {
    let whole = begin(1, task(9, b"x"));
    for at in 0..whole.len() {
        for flip in [0xff, 0x80, 0x01] {
            let mut garbled = whole.clone();
            garbled[at] ^= flip;
            drop(decode(&garbled, PageSize::default()));
        }
    }
    assert_eq!(decode(&[0xff; 64], PageSize::default()), Err(DecodeError::WrongVersion(0xffff)));
}

#[test]
fn each_way_to_be_wrong_has_its_own_error() {
    let mut unknown = killed(1, 2, 3);
    unknown[2] = 99;
    assert_eq!(decode(&unknown, PageSize::default()), Err(DecodeError::UnknownKind(99)));
    let mut longer = killed(1, 2, 3);
    longer[4] = 200;
    assert_eq!(decode(&longer, PageSize::default()), Err(DecodeError::WrongSize { says: 200, len: 32 }));
    let mut far = victim(1, task(9, b"x"));
    let path_len = core::mem::offset_of!(wire::Victim, memcg) + core::mem::offset_of!(wire::Memcg, path_len);
    far[path_len] = 0xff;
    assert_eq!(decode(&far, PageSize::default()), Err(DecodeError::BadPath));
    assert_eq!(decode(b"", PageSize::default()), Err(DecodeError::TooShort { len: 0 }));
}
