//! A report that somebody laid out over many lines (`jq .`), put together again.

/// An object of which lines have come.
#[derive(Debug, Default)]
pub(super) struct Spread {
    /// The line before this one opened an object, and nothing else stands on it.
    is_opened: bool,
    text: Vec<u8>,
    /// Brackets that are open.
    depth: usize,
}

/// A report is not longer, however it is laid out.
const LONGEST: usize = 2 << 20;

/// What came of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is of no such object.
    Other,
    /// The object goes on.
    Taken,
    /// The object is whole.
    Whole(Vec<u8>),
}

impl Spread {
    pub(super) fn step(&mut self, line: &[u8]) -> Step {
        let line = line.trim_ascii();
        if self.text.is_empty() {
            let is_first = std::mem::replace(&mut self.is_opened, line == b"{");
            if !(is_first && super::json::names_a_schema(line)) {
                return Step::Other;
            }
            self.text.push(b'{');
            self.depth = 1;
        }
        if self.text.len().saturating_add(line.len()) > LONGEST {
            *self = Self::default();
            return Step::Other;
        }
        let end = self.count(line);
        self.text.extend_from_slice(line.get(..end).unwrap_or(line));
        if self.depth > 0 {
            return Step::Taken;
        }
        Step::Whole(std::mem::take(self).text)
    }

    /// Counts brackets outside of strings, which do not go over lines. Gives where the object ends, or the line does.
    fn count(&mut self, line: &[u8]) -> usize {
        let (mut in_string, mut is_escaped) = (false, false);
        for (at, &byte) in line.iter().enumerate() {
            match byte {
                _ if std::mem::take(&mut is_escaped) => {}
                b'\\' => is_escaped = in_string,
                b'"' => in_string = !in_string,
                b'{' | b'[' if !in_string => self.depth = self.depth.saturating_add(1),
                b'}' | b']' if !in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if self.depth == 0 {
                return at + 1;
            }
        }
        line.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Spread, Step};

    fn objects(text: &str) -> Vec<String> {
        let mut spread = Spread::default();
        let step = |line: &str| match spread.step(line.as_bytes()) {
            Step::Whole(text) => Some(String::from_utf8(text).unwrap()),
            Step::Other | Step::Taken => None,
        };
        text.lines().filter_map(step).collect()
    }

    #[test]
    fn an_object_with_a_schema_is_put_together() {
        for pretty in [
            "{\n  \"schema\": 1,\n  \"a\": {\n    \"b\": [\n      \"}\\\"]{\\\\\"\n    ]\n  },\n  \"d\": []\n}",
            "{\n\t\"schema\" : 1\n}",
        ] {
            let value: serde_json::Value = serde_json::from_str(pretty).unwrap();
            let listed = format!("[\n{pretty},\n{pretty}\n]");
            let logged = format!("x\n{pretty}\n{pretty}\ny");
            for (text, count) in [(pretty, 1), (&logged, 2), (&listed, 2)] {
                let objects = objects(text);
                assert_eq!(objects.len(), count, "{text}");
                for object in objects {
                    assert_eq!(serde_json::from_str::<serde_json::Value>(&object).unwrap(), value);
                }
            }
        }
    }

    #[test]
    fn other_objects_are_left_alone() {
        for text in
            ["{\n\"schema\": \"x\"\n}", "{\n\"a\": 1,\n\"schema\": 1\n}", "\"schema\": 1", "{\n{\n}\n}"]
        {
            assert_eq!(objects(text), Vec::<String>::new(), "{text}");
        }
    }
}
