//! `/proc/PID/cgroup`: which cgroup a process is in, as the reader's cgroup namespace shows it.
//!
//! The probe's own path is from the real root and to be preferred; this one is for where the probe has none.

use super::{
    Malformed,
    lines::{number, whole_lines},
};
use crate::ids::CgroupPath;

/// The path in the hierarchy that accounts memory, and whether that is cgroup v2: the line of the v1 `memory`
/// controller where there is one, else the `0::` line. `None` where the text has neither.
///
/// # Errors
/// A line is not `ID:CONTROLLERS:PATH`.
pub fn memory_cgroup(text: &[u8]) -> Result<Option<(CgroupPath, bool)>, Malformed> {
    let mut found = None;
    for line in whole_lines(text) {
        // The path may itself hold colons, but no line end: the kernel refuses such a name (cgroup_mkdir,
        // kernel/cgroup/cgroup.c), and it escapes nothing here.
        let mut fields = line.splitn(3, |&byte| byte == b':');
        let (id, controllers, path) = (fields.next(), fields.next(), fields.next());
        let (Some(id), Some(controllers), Some(path)) = (id, controllers, path) else {
            return Err(Malformed);
        };
        let id: u32 = number(id)?;
        let path = CgroupPath::parse(path);
        if controllers.split(|&byte| byte == b',').any(|controller| controller == b"memory") {
            return Ok(Some((path, false)));
        }
        if id == 0 && controllers.is_empty() {
            found = Some((path, true));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::memory_cgroup;
    use crate::ids::CgroupPath;

    const TEXT: &[u8] = include_bytes!("../../../tests/fixtures/proc/6.18-v1/cgroup");

    #[test]
    fn the_hierarchy_that_accounts_memory_is_found() {
        let table: &[(&[u8], &str, bool)] = &[
            (TEXT, "/oomwatch-test", false),
            (b"0::/kubepods/burstable/pod1/c1\n", "/kubepods/burstable/pod1/c1", true),
            (b"0::/\n", "/", true),
            (b"0::/we ird:name=x\n", "/we ird:name=x", true),
            (b"3:cpuset,memory:/a\n0::/b\n", "/a", false),
            (b"0::/b\n3:memory:/a\n", "/a", false),
            (b"1:name=memory:/x\n0::/b\n", "/b", true),
            (b"0::/two\\012lines\n", "/two\\012lines", true),
            (b"0::/gone (deleted)\n", "/gone (deleted)", true),
        ];
        for (text, path, v2) in table {
            assert_eq!(memory_cgroup(text), Ok(Some((CgroupPath::parse(path.as_bytes()), *v2))), "{text:?}");
        }
        assert_eq!(memory_cgroup(b"5:pids:/a\n"), Ok(None));
    }

    #[test]
    fn cut_anywhere_it_is_a_whole_line_or_nothing() {
        for end in 0..TEXT.len() {
            if let Ok(Some((path, _))) = memory_cgroup(&TEXT[..end]) {
                assert_eq!(path.to_bytes(), b"/oomwatch-test", "cut at {end}");
            }
        }
    }

    #[test]
    fn what_is_no_cgroup_line_is_malformed() {
        for text in ["\n", "0:/a\n", "x::/a\n", "memory\n"] {
            assert!(memory_cgroup(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
