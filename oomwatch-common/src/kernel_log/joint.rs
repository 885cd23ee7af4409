//! Lines that the kernel prints in parts (`pr_cont`), put together again.
//!
//! A line of more than about a thousand bytes, or one that another CPU's came into, is torn where a part ended. Parts
//! are known by what they begin with: paths, fields and fixed words.

use super::{
    header::{is_group, task_in},
    summary::{SUMMARY, is_whole},
    text::split,
};

/// A line of which only a part has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Joint(Vec<u8>);

const STATS: &[u8] = b"Memory cgroup stats for ";
const BEGINNINGS: &[&[u8]] = &[SUMMARY, b"Task in ", b"Tasks in ", STATS];
const PARTS: &[&[u8]] = &[b"/", b",", b":", b" killed as a result of limit of ", b" are going to be killed "];
/// Fields behind a comma at which somebody broke the line, as mail does.
const FIELDS: &[&[u8]] =
    &[b"nodemask=", b"cpuset=", b"mems_allowed=", b"oom_memcg=", b"global_oom,", b"task"];
/// Two paths of 4096 bytes, and the words between.
const LONGEST: usize = 12 * 1024;

impl Joint {
    /// Whether a line begins here that is not whole yet.
    pub(super) fn begins(text: &[u8]) -> bool {
        BEGINNINGS.iter().any(|beginning| text.starts_with(beginning)) && !is_complete(text)
    }

    /// Starts a line, and gives the one before if that never became whole.
    pub(super) fn start(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        let cut = self.take();
        self.0.extend_from_slice(text);
        cut
    }

    /// Whether this may go on with the line.
    pub(super) fn takes(&self, text: &[u8]) -> bool {
        let begins_with = |parts: &[&[u8]]| parts.iter().any(|part| text.starts_with(part));
        !self.0.is_empty()
            && self.0.len().saturating_add(text.len()) <= LONGEST
            && (begins_with(PARTS) || self.0.ends_with(b",") && begins_with(FIELDS))
    }

    /// Adds a part, and gives the line once it is whole.
    pub(super) fn push(&mut self, text: &[u8]) -> Option<Vec<u8>> {
        self.0.extend_from_slice(text);
        if is_complete(&self.0) { self.take() } else { None }
    }

    /// What there is of a line.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        (!self.0.is_empty()).then(|| std::mem::take(&mut self.0))
    }
}

fn is_complete(text: &[u8]) -> bool {
    if text.starts_with(SUMMARY) {
        is_whole(text)
    } else if text.starts_with(STATS) {
        text.ends_with(b":") || split(text, ": cache:").is_some()
    } else {
        // A pager cut it: nothing follows.
        text.ends_with(b">") || task_in(text).is_some() || is_group(text)
    }
}
