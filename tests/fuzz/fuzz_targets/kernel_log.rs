//! The kernel's log, as `/dev/kmsg` has it or as somebody saved it: no line is an error, each "Killed process" is of
//! one incident, and no name makes up a process.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch_common::{kernel_log::KernelLog, units::PageSize};

fuzz_target!(|data: &[u8]| {
    let mut log = KernelLog::new(PageSize::default(), false);
    let mut kills = 0;
    let mut incidents: Vec<_> = data.split(|&byte| byte == b'\n').filter_map(|line| log.line(line)).collect();
    incidents.extend(log.finish());
    assert!(log.finish().is_none() && !log.is_pending());
    for logged in incidents {
        assert!(!logged.incident.victims.is_empty(), "an incident without a victim");
        assert!(logged.incident.victims.len() as u64 <= logged.kills, "a process that no line names");
        kills += logged.kills;
    }
    assert_eq!(log.kills(), kills);
});
