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
    let mut zones = proc_text::zoneinfo(data, PageSize::default()).unwrap_or_default();
    // What it added before it came to what it does not know stays: no more than there are lines.
    proc_text::add_buddyinfo(&mut zones, data).ok();
    assert!(zones.len() <= 2 * data.len());
    let slabs = proc_text::slabinfo(data, 3, PageSize::default()).unwrap_or_default();
    assert!(slabs.len() <= 3 && slabs.iter().all(|slab| slab.size_bytes.0 > 0));
    for argument in proc_text::cmdline(data) {
        assert!(!argument.contains(&0), "an argument ends at NUL");
    }
});
