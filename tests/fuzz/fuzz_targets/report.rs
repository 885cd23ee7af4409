//! A report as somebody else may have written it: read, it is what it was when it is written, and no rendering fails.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch_common::{render_bcc, render_page, render_text, report::Report};

fuzz_target!(|data: &[u8]| {
    let Ok(report) =
        std::str::from_utf8(data).map_err(drop).and_then(|text| Report::from_json(text).map_err(drop))
    else {
        return;
    };
    let json = report.to_json().unwrap();
    assert_eq!(Report::from_json(&json).unwrap().to_json().unwrap(), json);
    drop(render_text::text(&report));
    drop(render_page::page(&report, render_page::Style::Colour));
    drop(render_bcc::bcc(&report, &jiff::tz::TimeZone::UTC));
});
