//! A report that comes back from a file or another program, which may have been given anything.

use serde_json::Value;

use super::Report;
use crate::escape::decode_replacing;

impl Report {
    /// The report of this JSON, of this version of oomwatch or another. What a report of our own escapes is escaped
    /// here again, so that it can be printed whoever wrote it.
    ///
    /// # Errors
    /// Where it is not JSON, or what it holds is no report.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        let mut value: Value = serde_json::from_str(json)?;
        make_printable(&mut value);
        serde_json::from_value(value)
    }
}

/// serde_json refuses what is nested deeper than 128 levels.
fn make_printable(value: &mut Value) {
    match value {
        Value::String(text) => *text = decode_replacing(text.as_bytes()),
        Value::Array(values) => values.iter_mut().for_each(make_printable),
        Value::Object(fields) => fields.values_mut().for_each(make_printable),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render_text::text;

    const REPORT: &str = r#"{"schema":1,"id":"b-1","time":"2026-11-21T07:00:00.000000Z","boot_id":"b","node":"n",
        "probe":{"level":"kprobe"},"source":"live","scope":"node","cause":"node_exhausted","of_the_future":{"x":[1]},
        "victims":[{"tgid":7,"comm":"a\u001b[2Jb\\x1b\u202e","status_from":"proc"}],"findings":[],"gaps":[],
        "latency":{"hook_to_capture_us":1,"hook_to_read_us":2,"hook_to_report_us":3}}"#;

    #[test]
    fn what_others_wrote_commands_no_terminal() {
        let report = Report::from_json(REPORT).unwrap();
        assert_eq!(report.victims[0].comm.as_deref(), Some("a\\x1b[2Jb\\x1b\\u{202e}"));
        assert!(!text(&report).contains(char::is_control));
    }

    #[test]
    fn what_is_no_report_is_an_error() {
        for json in ["", "{}", "[]", "null", &REPORT.replace("\"node_exhausted\"", "\"bad luck\"")] {
            assert!(Report::from_json(json).is_err(), "{json}");
        }
    }
}
