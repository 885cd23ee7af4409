//! The files of /proc and of cgroups: the input is taken for each of them in turn, and typed as a snapshot does it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch_common::{
    capture::{
        CGROUP_V1_FILES, CGROUP_V2_FILES, Capture, NODE_FILES, Outcome, PROCESS_FILES, SourceRead, Subject,
    },
    ids::{CgroupId, Tgid},
    proc_text,
    snapshot::Snapshot,
    units::PageSize,
};

fuzz_target!(|data: &[u8]| {
    let mut capture = Capture { bytes: data.to_vec(), ..Capture::default() };
    for (subject, files) in [
        (Subject::Process(Tgid(1)), PROCESS_FILES),
        (Subject::Cgroup(CgroupId(1)), CGROUP_V2_FILES),
        (Subject::Cgroup(CgroupId(2)), CGROUP_V1_FILES),
        (Subject::Node, NODE_FILES),
    ] {
        capture.sources.extend(files.iter().map(|&file| SourceRead {
            subject,
            file,
            outcome: Outcome::Read,
            start: 0,
            len: data.len(),
            truncated: false,
        }));
    }
    let snapshot = Snapshot::new(&capture, PageSize::default());
    assert!(snapshot.missing.len() <= capture.sources.len());
    for argument in proc_text::cmdline(data) {
        assert!(!argument.contains(&0), "an argument ends at NUL");
    }
});
