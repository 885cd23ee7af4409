//! Finds the end of a command's output in what a VM writes: a marker that no command can print by chance, then the exit
//! status. Without it the command did not end, whatever else was seen.

use std::{fs::File, io::Read};

use anyhow::{Context, Result};

/// Text before the marker is the command's; the rest is `STATUS\n`.
pub(crate) struct StatusMarker {
    marker: String,
    pending: Vec<u8>,
}

/// What a piece of output amounted to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Bytes that are surely the command's own.
    pub(crate) output: Vec<u8>,
    /// The command's exit status, once it has ended.
    pub(crate) status: Option<u8>,
}

impl StatusMarker {
    /// A marker for one VM.
    pub(crate) fn new() -> Result<Self> {
        let mut random = [0_u8; 16];
        File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut random))
            .context("cannot read /dev/urandom")?;
        Ok(Self::of(format!("oomwatch-vm-{:032x}", u128::from_ne_bytes(random))))
    }

    fn of(marker: String) -> Self {
        Self { marker, pending: Vec::new() }
    }

    /// What the guest writes, followed by a space, the status and a newline.
    pub(crate) fn text(&self) -> &str {
        &self.marker
    }

    /// Takes the next bytes from the VM. Keeps back what may be the beginning of the marker.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Piece {
        self.pending.extend_from_slice(bytes);
        let marker = self.marker.as_bytes();
        let begin = (0..self.pending.len()).find(|at| {
            let rest = self.pending.get(*at..).unwrap_or_default();
            rest.starts_with(marker) || marker.starts_with(rest)
        });
        let output: Vec<u8> = self.pending.drain(..begin.unwrap_or(self.pending.len())).collect();
        Piece { output, status: self.status() }
    }

    /// What was kept back, when there will be no more.
    pub(crate) fn rest(self) -> Vec<u8> {
        self.pending
    }

    fn status(&self) -> Option<u8> {
        let tail = self.pending.strip_prefix(self.marker.as_bytes())?;
        let line = tail.strip_suffix(b"\n")?;
        str::from_utf8(line).ok()?.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&str], expected: &str, status: Option<u8>) {
        let mut marker = StatusMarker::of("END".to_owned());
        let mut output = Vec::new();
        let mut seen = None;
        for piece in pieces {
            let piece = marker.feed(piece.as_bytes());
            output.extend(piece.output);
            seen = seen.or(piece.status);
        }
        assert_eq!((String::from_utf8(output).unwrap().as_str(), seen), (expected, status), "{pieces:?}");
    }

    #[test]
    fn the_marker_is_found_wherever_the_output_is_cut() {
        check(&["hello\nEND 0\n"], "hello\n", Some(0));
        check(&["hel", "loE", "N", "D 13", "7\n"], "hello", Some(137));
        check(&["END 3\n"], "", Some(3));
    }

    #[test]
    fn output_that_only_begins_like_the_marker_is_passed_on() {
        check(&["E", "N", "ENX", "EEND 1\n"], "ENENXE", Some(1));
    }

    #[test]
    fn without_a_whole_status_line_there_is_no_status() {
        check(&["output"], "output", None);
        check(&["outputEND 1"], "output", None);
        check(&["END x\n"], "", None);
        check(&["END 300\n"], "", None);
    }
}
