//! A segment of the journal, however damaged: what is whole and what is damaged together are all of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch_common::journal_line::{entries, line, lines, survey};

fuzz_target!(|data: &[u8]| {
    let survey = survey(data);
    let found: Vec<_> = entries(data, 0).collect();
    assert_eq!(survey.entries, found.len() as u64);
    let mut end = 0;
    for line in lines(data, 0) {
        assert_eq!(line.start, end, "no byte between two lines");
        end = line.end;
    }
    assert_eq!(end, data.len());
    let mut before = 0;
    for (start, end) in &survey.damaged {
        assert!(before <= *start && start < end && *end <= data.len());
        before = *end;
    }
    for (_, entry) in found {
        let again = line(entry.counts, entry.report);
        assert!(entries(again.as_bytes(), 0).count() == 1);
    }
});
