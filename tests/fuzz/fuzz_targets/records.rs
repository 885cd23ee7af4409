//! What comes out of the ring buffer: each record is decoded, then all of them are put together as the records of
//! incidents, reported and rendered. The input is a recording's file `records`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch_common::{
    attribution::{Attribution, Paths},
    decode::decode,
    outline::Outline,
    parcel::{self, Piece},
    peek::peek,
    render_bcc, render_page, render_text,
    report::{Context, Report, Source},
    surroundings::Surroundings,
    units::{BoottimeNs, PageSize},
};

fuzz_target!(|data: &[u8]| {
    let page_size = PageSize::default();
    let mut under_way: Option<(Outline, Vec<u8>)> = None;
    for bytes in records(data) {
        let peeked = peek(bytes);
        assert_eq!(
            peeked.is_ok(),
            decode(bytes, page_size).is_ok(),
            "a record for one and not for the other"
        );
        let Ok(record) = peeked else { continue };
        match &mut under_way {
            Some((outline, parcel)) if outline.takes(&record) => {
                outline.push(&record);
                add(parcel, bytes);
            }
            _ => {
                if let Some((_, parcel)) = under_way.take() {
                    report(parcel);
                }
                under_way = Outline::start(&record).map(|outline| (outline, Vec::new()));
                if let Some((_, parcel)) = &mut under_way {
                    add(parcel, bytes);
                }
            }
        }
    }
    if let Some((_, parcel)) = under_way {
        report(parcel);
    }
});

fn add(parcel: &mut Vec<u8>, record: &[u8]) {
    parcel.extend(Piece::Record(record).head());
    parcel.extend(record);
}

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

fn report(parcel: Vec<u8>) {
    let page_size = PageSize::default();
    let (Some(incident), capture) = parcel::open(parcel, page_size) else { return };
    assert!(!incident.victims.is_empty(), "an incident without a victim");
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
    let report = Report::build(&incident, &capture, &attribution, &Surroundings::default(), &context);
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
