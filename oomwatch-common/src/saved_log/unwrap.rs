//! One line of a file → what the kernel printed, freed of what other programs wrapped around it.

use std::borrow::Cow;

use memchr::{memchr, memmem};

use super::json;
use crate::kernel_log::Place;

/// What a line holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// One or more lines of a log, and what their wrapping says of them.
    Text(Cow<'a, [u8]>, Wrapping),
    /// A report of our own, as JSON.
    Report(Cow<'a, [u8]>),
    /// A field of a journal's entry (`journalctl -o export`).
    Field(&'a [u8], &'a [u8]),
    /// Something other than the kernel logged it.
    Foreign,
}

/// What a line's wrapping says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wrapping {
    pub(super) micros: Option<u64>,
    pub(super) wall: Option<Vec<u8>>,
    pub(super) host: Option<Vec<u8>>,
    pub(super) boot_id: Option<Vec<u8>>,
}

impl Wrapping {
    pub(super) fn place(&self, line: u64) -> Place<'_> {
        Place {
            micros: self.micros,
            wall: self.wall.as_deref(),
            host: self.host.as_deref(),
            boot_id: self.boot_id.as_deref(),
            line: Some(line),
            ..Place::default()
        }
    }
}

/// A container's log of a container's log: no more is unwrapped.
const DEPTH: u32 = 3;
/// A time and a stream's name are not longer than this.
const LONGEST_HEAD: usize = 64;

/// Takes off what stands around the kernel's lines.
pub(super) fn unwrap(line: &[u8]) -> Item<'_> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if memchr(0x1b, line).is_some() {
        return match unwrap_at(&without_colours(line), DEPTH) {
            Item::Text(text, wrapping) => Item::Text(Cow::Owned(text.into_owned()), wrapping),
            Item::Report(json) => Item::Report(Cow::Owned(json.into_owned())),
            Item::Field(..) | Item::Foreign => Item::Foreign,
        };
    }
    unwrap_at(line, DEPTH)
}

pub(super) fn unwrap_at(line: &[u8], depth: u32) -> Item<'_> {
    let line = trim(line);
    if depth == 0 {
        return Item::Text(Cow::Borrowed(line), Wrapping::default());
    }
    match line.first() {
        Some(b'{') => return json::object(line, depth - 1),
        Some(b'"') => return json::member(line),
        _ => {}
    }
    // kubectl logs --prefix
    if let Some(rest) = line.strip_prefix(b"[pod/").and_then(|rest| after(rest, b"] ")) {
        return unwrap_at(rest, depth - 1);
    }
    if let Some(rest) = container_log(line) {
        return unwrap_at(rest, depth - 1);
    }
    match journal_field(line) {
        Some((name, value)) => Item::Field(name, value),
        None => Item::Text(Cow::Borrowed(line), Wrapping::default()),
    }
}

/// Marks of quoting, indentation, and what begins a stream.
fn trim(mut line: &[u8]) -> &[u8] {
    loop {
        let rest = line.trim_ascii_start();
        let rest = rest.strip_prefix("\u{feff}".as_bytes()).unwrap_or(rest);
        let rest = rest
            .strip_prefix(b"> ")
            .or_else(|| rest.strip_prefix(b"data: {").map(|_| rest.get(6..).unwrap_or(rest)))
            .unwrap_or(rest);
        // journalctl -o json-seq
        let rest = rest.strip_prefix(b"\x1e").unwrap_or(rest);
        if rest.len() == line.len() {
            return line;
        }
        line = rest;
    }
}

/// `2026-11-21T12:00:00.123456789Z stdout F text` (CRI). The time is of whoever printed it, and no kernel's.
fn container_log(line: &[u8]) -> Option<&[u8]> {
    if !line.first()?.is_ascii_digit() {
        return None;
    }
    let head = line.get(..LONGEST_HEAD).unwrap_or(line);
    let at = memmem::find(head, b" std")?;
    let time = line.get(..at)?;
    let rest = line.get(at + 4..)?;
    let rest = rest.strip_prefix(b"out ").or_else(|| rest.strip_prefix(b"err "))?;
    let rest = rest.strip_prefix(b"F ").or_else(|| rest.strip_prefix(b"P "))?;
    time.contains(&b'T').then_some(rest)
}

/// `_HOSTNAME=node-a`, `MESSAGE=…`
fn journal_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_of_name = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    let length = line.iter().take_while(|byte| is_of_name(byte)).count();
    let (name, rest) = line.split_at_checked(length)?;
    let value = rest.strip_prefix(b"=")?;
    (name.starts_with(b"_") || name.contains(&b'_') || name == b"MESSAGE" || name == b"PRIORITY")
        .then_some((name, value))
}

fn after<'a>(text: &'a [u8], what: &[u8]) -> Option<&'a [u8]> {
    text.get(memmem::find(text, what)?.checked_add(what.len())?..)
}

/// Without the sequences that set colours on a terminal.
fn without_colours(line: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = memchr(0x1b, rest) {
        let (before, sequence) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        kept.extend_from_slice(before);
        let parameters = sequence.strip_prefix(b"\x1b[");
        rest = match parameters {
            Some(parameters) => {
                let length = parameters.iter().take_while(|byte| !byte.is_ascii_alphabetic()).count();
                parameters.get(length + 1..).unwrap_or_default()
            }
            None => sequence.get(1..).unwrap_or_default(),
        };
    }
    kept.extend_from_slice(rest);
    kept
}
