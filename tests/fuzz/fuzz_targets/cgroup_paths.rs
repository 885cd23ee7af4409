//! Cgroup paths, one a line: whose they are. What is told must stand in the path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oomwatch_common::{cgroup_path::place, escape::escape, ids::CgroupPath};

fuzz_target!(|data: &[u8]| {
    for line in data.split(|&byte| byte == b'\n') {
        let components: Vec<Vec<u8>> = line
            .split(|&byte| byte == b'/' || byte == 0)
            .filter(|part| !part.is_empty())
            .map(<[u8]>::to_vec)
            .collect();
        for truncated in [false, true] {
            let path = CgroupPath { components: components.clone(), truncated };
            let place = place(&path);
            assert_eq!(place, oomwatch_common::cgroup_path::place(&path), "it has no memory");
            assert!(!escape(&path.to_bytes()).chars().any(char::is_control));
        }
    }
});
