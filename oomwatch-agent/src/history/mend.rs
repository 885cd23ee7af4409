//! A damaged segment, mended at the start: what is whole stays, the rest moves to a file beside it.
//!
//! ```text
//! DIR/quarantine-NUMBER.bin    the damaged bytes of incidents-NUMBER.log
//! ```
//!
//! Only a damaged segment is written, and never in place: cut at its end, or made anew and renamed over. Killed in
//! between, the next start does it again.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use oomwatch_common::journal_line::{FIRST_LINE, First, Survey, entries};

use super::reader::{numbers, segment_path, with_path};

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mended {
    /// It is whole, and may be written on: so many bytes.
    Whole(u64),
    /// It is whole, but what it holds has moved: positions in it that were told before are not to be trusted, so it is
    /// not written on.
    Rewritten(u64),
    /// Nothing in it was whole.
    Removed,
}

/// Mends what `survey` found in the `bytes` of a segment.
pub(super) fn mend(
    dir: &Path,
    number: u64,
    bytes: &[u8],
    survey: &Survey,
    most_quarantined: u64,
) -> io::Result<Mended> {
    let path = segment_path(dir, number);
    let length = bytes.len() as u64;
    if survey.damaged.is_empty() && survey.first == First::Ours {
        return Ok(Mended::Whole(length));
    }
    quarantine(dir, number, bytes, survey, most_quarantined)?;
    let done = if survey.entries == 0 {
        fs::remove_file(&path).map(|()| Mended::Removed)
    } else if let (true, Some((start, _))) =
        (survey.only_the_tail_is_damaged(bytes.len()), survey.damaged.first())
    {
        cut(&path, *start as u64)
    } else {
        rewrite(dir, &path, bytes)
    };
    done.map_err(|error| with_path(&path, &error))
}

fn cut(path: &Path, length: u64) -> io::Result<Mended> {
    let file = File::options().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_data()?;
    Ok(Mended::Whole(length))
}

fn rewrite(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<Mended> {
    let mut whole = FIRST_LINE.as_bytes().to_vec();
    for (line, _) in entries(bytes, 0) {
        whole.extend_from_slice(bytes.get(line.start..line.end).unwrap_or_default());
    }
    let aside = dir.join("mending");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(&whole)?;
    file.sync_data()?;
    fs::rename(&aside, path)?;
    File::open(dir)?.sync_all()?;
    Ok(Mended::Rewritten(whole.len() as u64))
}

/// Appends the damaged bytes to the segment's quarantine. The oldest quarantines leave to make room for it.
fn quarantine(dir: &Path, number: u64, bytes: &[u8], survey: &Survey, most: u64) -> io::Result<()> {
    let damaged: Vec<u8> = survey
        .damaged
        .iter()
        .flat_map(|(start, end)| bytes.get(*start..*end).unwrap_or_default())
        .copied()
        .collect();
    if damaged.is_empty() {
        return Ok(());
    }
    let kept = damaged.get(..usize::try_from(most).unwrap_or(usize::MAX)).unwrap_or(&damaged);
    make_room(dir, most.saturating_sub(kept.len() as u64))?;
    let path = quarantine_path(dir, number);
    let mut file = File::options().append(true).create(true).mode(0o600).open(&path)?;
    let before = file.metadata()?.len();
    if let Err(error) = file.write_all(kept).and_then(|()| file.sync_data()) {
        // It is only a copy so far; less of it is worth nothing, and its room may be.
        file.set_len(before)?;
        return Err(with_path(&path, &error));
    }
    tracing::warn!(
        lines = survey.damaged_lines,
        bytes = damaged.len(),
        not_kept = damaged.len() - kept.len(),
        whole = survey.entries,
        to = %path.display(),
        "the journal was damaged: what is whole stays, the rest was moved aside"
    );
    Ok(())
}

fn make_room(dir: &Path, most: u64) -> io::Result<()> {
    let paths: Vec<PathBuf> =
        numbers(dir, "quarantine-", ".bin")?.into_iter().map(|number| quarantine_path(dir, number)).collect();
    let mut total: u64 = paths.iter().filter_map(|path| Some(fs::metadata(path).ok()?.len())).sum();
    for path in paths {
        if total <= most {
            break;
        }
        total = total.saturating_sub(fs::metadata(&path)?.len());
        fs::remove_file(&path)?;
    }
    Ok(())
}

fn quarantine_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("quarantine-{number:020}.bin"))
}
