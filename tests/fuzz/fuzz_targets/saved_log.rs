//! A log that somebody saved, in any form: it says the same in whatever pieces it comes, and each incident gives a
//! report that can be printed and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch_common::{
    render_page::{Style, page},
    render_text::text,
    report::Report,
    saved_log::{Found, Scanner},
};

fuzz_target!(|data: &[u8]| {
    let whole = scan(data, usize::MAX);
    assert_eq!(scan(data, 1 + data.len() / 3), whole, "pieces");
    for found in whole {
        let report = match found {
            Found::Incident(logged) => Report::of_log(&logged, &[], "unknown"),
            Found::Report(json) => {
                let Ok(mut report) = Report::from_json(&json) else { continue };
                report.diagnose_again(&[], "unknown");
                report
            }
        };
        let is_printable = |text: &str| !text.chars().any(|c| c.is_control() && c != '\n');
        assert!(is_printable(&text(&report)) && is_printable(&page(&report, Style::Plain)));
        assert_eq!(Report::from_json(&report.to_json().unwrap()).unwrap(), report);
    }
});

fn scan(data: &[u8], piece: usize) -> Vec<Found> {
    let (mut scanner, mut all) = (Scanner::default(), Vec::new());
    let mut rest = data;
    while !rest.is_empty() {
        let room = scanner.room();
        let (now, later) = rest.split_at(rest.len().min(piece).min(room.len()));
        room[..now.len()].copy_from_slice(now);
        rest = later;
        scanner.filled(now.len(), &mut |found| all.push(found));
    }
    scanner.end(&mut |found| all.push(found));
    all
}
