//! Recorded incidents: what is foretold of them is what the report says, byte for byte.

use jiff::Timestamp;
use serde_json::Value;
use zerocopy::FromBytes as _;

use super::*;
use crate::{attribution::Paths, peek::peek, render_text::text, report::Source};

/// A recording's records, its circumstances, and the line of its report.
macro_rules! recording {
    ($name:literal) => {
        (
            $name,
            include_bytes!(concat!("../../../tests/fixtures/replay/", $name, "/records")).as_slice(),
            include_str!(concat!("../../../tests/fixtures/replay/", $name, "/context.json")),
            include_str!(concat!("../../../tests/golden/replay-", $name, ".txt")),
        )
    };
}

type Recording = (&'static str, &'static [u8], &'static str, &'static str);

/// What each is, tests/fixtures/replay/README.md says; whether its line is foretold; if not, why.
const RECORDINGS: [(Recording, Result<(), &str>); 14] = [
    (recording!("container_limit"), Ok(())),
    (recording!("group_kill"), Err("record")),
    (recording!("node_wide"), Err("record")),
    (recording!("tracepoint_v1"), Ok(())),
    (recording!("dirty"), Ok(())),
    (recording!("dirty_writer"), Err("line")),
    (recording!("hugepages"), Err("record")),
    (recording!("leftover"), Err("line")),
    (recording!("mempolicy"), Err("record")),
    (recording!("pipes"), Err("line")),
    (recording!("processes"), Err("line")),
    (recording!("slab_node"), Err("record")),
    (recording!("tmpfs_node"), Err("record")),
    (recording!("volume"), Err("line")),
];

fn first(records: &[u8]) -> &[u8] {
    let (length, rest) = records.split_first_chunk().unwrap();
    &rest[..u32::from_le_bytes(*length) as usize]
}

fn foretold(raw: &[u8], circumstances: &str) -> Result<String, &'static str> {
    if !is_foretold(&peek(raw).unwrap()) {
        return Err("record");
    }
    let circumstances: Value = serde_json::from_str(circumstances).unwrap();
    let page_size = PageSize::new(circumstances["page_size"].as_u64().unwrap()).unwrap();
    let realtime = circumstances["realtime_at_boot_ns"].as_i64().unwrap();
    let incident = incident(raw, page_size).unwrap().unwrap();
    let attribution = Attribution::new(&Paths::of_victim_alone(&incident), &[], "");
    let context = Context {
        node: "node-a".to_owned(),
        boot_id: String::new(),
        page_size,
        realtime_at_boot: Timestamp::from_nanosecond(realtime.into()).unwrap(),
        source: Source::Live,
        built_at: incident.at,
    };
    let report = report(&incident, &attribution, &context);
    if is_whole(&report) { Ok(text(&report) + "\n") } else { Err("line") }
}

#[test]
fn the_example_is_foretold() {
    let circumstances = r#"{"page_size": 4096, "realtime_at_boot_ns": 0}"#;
    assert_eq!(
        foretold(&example(), circumstances).unwrap(),
        "1970-01-01T00:00:00Z OOM kill: oomwatch (pid 2, uid 1) in /system.slice/oomwatch.service: 800 KiB anon + \
         4 KiB file of a 1.0 MiB limit; cgroup limit reached (outside Kubernetes); triggered by itself\n"
    );
}

#[test]
fn what_is_foretold_is_what_the_report_says() {
    for ((name, records, circumstances, line), expected) in RECORDINGS {
        let foretold = foretold(first(records), circumstances);
        match (&foretold, expected) {
            (Ok(foretold), Ok(())) => assert_eq!(foretold, line, "{name}"),
            (Err(why), Err(expected)) => assert_eq!(*why, expected, "{name}"),
            _ => panic!("{name}: {foretold:?}, and {expected:?} was expected"),
        }
    }
}

#[test]
fn what_is_certain_by_the_record_is_foretold() {
    let mut certain = Vec::new();
    for ((name, records, circumstances, _), _) in RECORDINGS {
        let record = peek(first(records)).unwrap();
        if is_foretold(&record) && is_certain(&record) {
            assert!(foretold(first(records), circumstances).is_ok(), "{name}");
            certain.push(name);
        }
    }
    assert_eq!(certain, ["container_limit", "dirty"]);
}

#[test]
fn nothing_is_certain_that_the_line_may_name_something_else_for() {
    type Change = fn(&mut wire::Begin);
    let changes: [(&str, Change, bool); 6] = [
        ("the example", |_| {}, true),
        ("half of it is other memory", |begin| begin.chosen.rss_anon = begin.limit_owner.usage / 2, false),
        ("its memory was not read", |begin| begin.chosen.rss_anon = wire::UNREAD_U64, false),
        ("the usage was not read", |begin| begin.limit_owner.usage = wire::UNREAD_U64, false),
        ("a path too long", |begin| begin.limit_owner.flags |= wire::MEMCG_TRUNCATED, false),
        ("no cgroup's limit", |begin| begin.oom.constraint = 0, false),
    ];
    for (name, change, expected) in changes {
        let raw = example();
        let (mut begin, path) = wire::Begin::read_from_prefix(&raw).unwrap();
        change(&mut begin);
        let raw = [begin.as_bytes(), path].concat();
        assert_eq!(is_certain(&peek(&raw).unwrap()), expected, "{name}");
    }
}

#[test]
fn who_is_exiting_already_is_not_foretold() {
    let (_, records, ..) = RECORDINGS[0].0;
    let mut raw = first(records).to_vec();
    let flags = core::mem::offset_of!(crate::record::Begin, chosen)
        + core::mem::offset_of!(crate::record::Task, flags);
    assert!(is_foretold(&peek(&raw).unwrap()));
    raw[flags] |= u8::try_from(crate::record::TASK_EXITING).unwrap();
    assert!(!is_foretold(&peek(&raw).unwrap()));
}

#[test]
fn later_records_and_damaged_ones_foretell_nothing() {
    let (_, records, ..) = RECORDINGS[0].0;
    let raw = first(records);
    let killed = first(&records[4 + raw.len()..]);
    assert!(!is_foretold(&peek(killed).unwrap()));
    assert_eq!(incident(killed, PageSize::default()), Ok(None));
    assert!(incident(&raw[..100], PageSize::default()).is_err());
}
