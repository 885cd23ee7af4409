//! Lines of JSON: `journalctl -o json`, containers' logs as docker keeps them, exports of log services, our reports.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::unwrap::{Item, Wrapping, unwrap_at};

/// Where the text is, the journal's own name first.
const TEXTS: &[&str] = &[
    "MESSAGE",
    "log",
    "message",
    "textPayload",
    "msg",
    "text",
    "line",
    "Message",
    "SyslogMessage",
    "_raw",
    "body",
];
const HOSTS: &[&str] = &["_HOSTNAME", "hostname", "host", "node_name"];

/// A line that is an object.
pub(super) fn object(line: &[u8], depth: u32) -> Item<'_> {
    if is_report(line) {
        return Item::Report(Cow::Borrowed(line.trim_ascii_end()));
    }
    let text = String::from_utf8_lossy(line);
    let Ok(object) = serde_json::from_str::<Map<String, Value>>(text.trim_end_matches([',', ' '])) else {
        return Item::Foreign;
    };
    let inner = object.get("jsonPayload").or_else(|| object.get("_source")).and_then(Value::as_object);
    let fields = |names: &[&str]| -> Option<Vec<u8>> {
        names.iter().find_map(|name| {
            inner.and_then(|inner| inner.get(*name)).or_else(|| object.get(*name)).and_then(bytes)
        })
    };
    let is_other = |name: &str| fields(&[name]).is_some_and(|value| value != b"kernel");
    if is_other("_TRANSPORT") || is_other("SYSLOG_IDENTIFIER") {
        return Item::Foreign;
    }
    let Some(text) = fields(TEXTS) else { return Item::Foreign };
    let of_a_journal = Wrapping {
        micros: fields(&["_SOURCE_MONOTONIC_TIMESTAMP"]).as_deref().and_then(number),
        wall: fields(&["__REALTIME_TIMESTAMP"]).as_deref().and_then(wall),
        host: fields(HOSTS),
        boot_id: fields(&["_BOOT_ID"]),
    };
    match unwrap_at(&text, depth) {
        Item::Text(text, wrapping) => {
            let wrapping = if wrapping == Wrapping::default() { of_a_journal } else { wrapping };
            Item::Text(Cow::Owned(text.into_owned()), wrapping)
        }
        Item::Report(json) => Item::Report(Cow::Owned(json.into_owned())),
        Item::Field(..) | Item::Foreign => Item::Foreign,
    }
}

/// `"MESSAGE" : "text",` of an object that is spread over many lines. What is none is text: a row of values, in quotes.
pub(super) fn member(line: &[u8]) -> Item<'_> {
    let text = String::from_utf8_lossy(line);
    let object = format!("{{{}}}", text.trim_end_matches([',', ' ']));
    let Ok(object) = serde_json::from_str::<Map<String, Value>>(&object) else {
        return Item::Text(Cow::Borrowed(line), Wrapping::default());
    };
    match TEXTS.iter().find_map(|name| object.get(*name).and_then(bytes)) {
        Some(text) => Item::Text(Cow::Owned(text), Wrapping::default()),
        None => Item::Foreign,
    }
}

/// Whether this is a report of ours. Its `schema` is its first field.
fn is_report(line: &[u8]) -> bool {
    line.strip_prefix(b"{").is_some_and(|rest| names_a_schema(rest.trim_ascii_start()))
}

/// `"schema": 1`
pub(super) fn names_a_schema(text: &[u8]) -> bool {
    text.strip_prefix(b"\"schema\"").is_some_and(|rest| {
        rest.trim_ascii_start()
            .strip_prefix(b":")
            .is_some_and(|rest| rest.trim_ascii_start().first().is_some_and(u8::is_ascii_digit))
    })
}

/// A text; the journal writes one that is not UTF-8 as an array of bytes.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Array(bytes) => bytes.iter().map(|byte| u8::try_from(byte.as_u64()?).ok()).collect(),
        _ => None,
    }
}

pub(super) fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Microseconds since 1970 as RFC 3339.
pub(super) fn wall(text: &[u8]) -> Option<Vec<u8>> {
    let time = Timestamp::from_microsecond(i64::try_from(number(text)?).ok()?).ok()?;
    Some(format!("{time:.6}").into_bytes())
}
