//! Pages that had not reached the disk filled the limit.

use super::{Confidence, Facts, Finding, Refinement, evidence::EvidenceList, facts::percent};
use crate::{report::size, units::Bytes};

/// From this share of the limit on, percent.
const WORTH_A_WORD: u64 = 10;
/// Every cgroup has a little of it.
const LEAST: Bytes = Bytes(4 << 20);
/// From this share of the usage on, page cache that is clean now may have been dirty then, percent.
const MUCH_CACHE: u64 = 50;

pub(super) fn dirty_page_cache(facts: &Facts<'_>) -> Option<Finding> {
    let made = facts.composition()?;
    let limit = facts.owner()?.limit_bytes.unwrap_or(made.usage);
    let is_unwritten = made.unwritten >= LEAST && percent(made.unwritten, limit) >= WORTH_A_WORD;
    let is_much = made.cache >= LEAST && made.percent(made.cache) >= MUCH_CACHE;
    if !is_unwritten && !is_much {
        return None;
    }
    let mut evidence = EvidenceList::default();
    let from = facts.stat_from();
    let stat = facts.owner().and_then(|owner| owner.stat.as_ref());
    for name in ["file_dirty", "file_writeback"] {
        evidence.bytes(name, stat.and_then(|stat| stat.size(name)), from);
    }
    evidence.bytes("page_cache", Some(made.cache), from);
    evidence.bytes("anon", Some(made.anon), from);
    let (confidence, text) = if is_unwritten {
        let text = format!(
            "{} of page cache had not reached the disk, {} % of the limit, and cannot be dropped before: it \
             was written faster than the disk takes it. The processes themselves had {}.",
            size(made.unwritten),
            percent(made.unwritten, limit),
            size(made.anon),
        );
        (Confidence::Likely, text)
    } else {
        let text = format!(
            "{} of the usage is page cache, which the kernel drops when it can. That it could not speaks for \
             pages that were being written or read when the limit was reached; {} of it was unwritten when it \
             was looked at.",
            size(made.cache),
            size(made.unwritten),
        );
        (Confidence::Possible, text)
    };
    let advice = vec![
        "Have it write more slowly or sync now and then (fdatasync, O_DIRECT), or give it a faster disk; a \
         higher limit for the time of the copy helps too."
            .to_owned(),
        "Look at the disk: iostat -x 1, and io.pressure of the cgroup.".to_owned(),
    ];
    Some(Finding::refining(Refinement::DirtyPageCache, confidence, text, evidence, advice))
}
