//! What comes out of the ring buffer: each record is decoded, then all of them are put together as the records of
//! incidents, reported and rendered. The input is a recording's file `records`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch_common::{
    assemble::Assembly,
    attribution::{Attribution, Paths},
    capture::Capture,
    decode::decode,
    render_bcc, render_page, render_text,
    report::{Context, Report, Source},
    units::{BoottimeNs, PageSize},
};

fuzz_target!(|data: &[u8]| {
    let page_size = PageSize::default();
    let mut open: Option<Assembly> = None;
    for bytes in records(data) {
        let Ok(record) = decode(bytes, page_size) else { continue };
        match &mut open {
            Some(assembly) if assembly.takes(&record) => assembly.push(record),
            _ => {
                if let Some(assembly) = open.take() {
                    report(assembly);
                }
                open = Assembly::start(record);
            }
        }
    }
    if let Some(assembly) = open {
        report(assembly);
    }
});

/// Each is its length, four bytes, little endian, and its bytes.
fn records(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (length, tail) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length) as usize;
        let (record, tail) = tail.split_at(length.min(tail.len()));
        rest = tail;
        Some(record)
    })
}

fn report(assembly: Assembly) {
    let Some(incident) = assembly.finish() else { return };
    assert!(!incident.victims.is_empty(), "an incident without a victim");
    let (capture, page_size) = (Capture::default(), PageSize::default());
    let context = Context {
        node: String::new(),
        boot_id: String::new(),
        page_size,
        realtime_at_boot: "2026-01-01T00:00:00Z".parse().unwrap(),
        source: Source::Live,
        built_at: BoottimeNs(0),
    };
    let paths = Paths::new(&incident, &capture, page_size);
    let attribution = Attribution::new(&paths, &[], "nobody was asked");
    let report = Report::build(&incident, &capture, &attribution, &context);
    let json = report.to_json().unwrap();
    assert_eq!(Report::from_json(&json).unwrap().to_json().unwrap(), json);
    for text in [render_text::text(&report), render_page::page(&report, render_page::Style::Plain)] {
        assert!(printable(&text), "{text:?}");
    }
    assert_eq!(render_text::text(&report).lines().count(), 1);
    drop(render_bcc::bcc(&report, &jiff_utc()));
}

fn jiff_utc() -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::UTC
}

/// Nothing that a terminal obeys.
fn printable(text: &str) -> bool {
    text.chars().all(|character| character == '\n' || !character.is_control())
}
