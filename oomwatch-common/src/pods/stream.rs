//! A PodList as it comes in, piece by piece: one pod is held in memory at a time, never the whole answer.
//!
//! The agent must live through the OOM that it reports, and a full node's list is megabytes. What stands outside of
//! `items` is kept and read at the end, so that an answer that is no PodList, or stops in its middle, is told from one.

use std::fmt;

use serde::Deserialize;

use super::{Pod, json};

/// What an answer may have outside of its pods.
const ENVELOPE_BYTES: usize = 64 * 1024;
/// What a pod may have; etcd takes objects of 1.5 MiB.
const POD_BYTES: usize = 2 * 1024 * 1024;
/// Kubelets are made for 110 pods, and are run with some hundreds.
const PODS: usize = 10_000;
/// Kubernetes is made for 150,000 in a cluster (<https://kubernetes.io/docs/setup/best-practices/cluster-large/>).
const PODS_OF_A_CLUSTER: usize = 200_000;
/// How much of an answer that is no PodList is quoted.
const QUOTED_BYTES: usize = 80;

/// What a kubelet answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodList {
    /// The pods.
    pub pods: Vec<Pod>,
    /// Items that are no pods that could be read.
    pub malformed: usize,
}

/// Why an answer is no list of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListError {
    /// It is something else. With its beginning.
    NotAPodList(String),
    /// It ended in its middle.
    Truncated,
    /// It has more pods than any node.
    TooMany,
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPodList(beginning) => write!(f, "the answer is no PodList: {beginning}"),
            Self::Truncated => f.write_str("the answer ended in its middle"),
            Self::TooMany => write!(f, "the answer has more than {PODS} pods"),
        }
    }
}

impl std::error::Error for ListError {}

/// Takes an answer's bytes as they come.
#[derive(Debug, Default)]
pub struct ListReader {
    list: PodList,
    /// The answer without its items.
    envelope: Vec<u8>,
    /// The pod that is being received.
    pod: Vec<u8>,
    pod_is_too_long: bool,
    depth: u32,
    at: Position,
    text: Text,
    /// The string that was last read in the outermost object, and whether a `:` followed it.
    key: Vec<u8>,
    is_value: bool,
    ended: bool,
    from: From,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum From {
    #[default]
    Kubelet,
    /// What kubectl prints is taken too: lists of all kinds, and a pod alone.
    File,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Position {
    #[default]
    Envelope,
    /// In the array `items`, between two.
    Items,
    /// In one of them.
    Pod,
}

/// Whether the next byte is part of a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Text {
    #[default]
    Outside,
    Inside,
    /// After a backslash.
    Escaped,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope {
    kind: Option<String>,
    message: Option<String>,
}

impl ListReader {
    /// Of a file that somebody made of what a kubelet or `kubectl get pods -o json` said: that calls a list `List`, and
    /// prints a pod that was asked for by its name alone.
    pub fn of_a_file() -> Self {
        Self { from: From::File, ..Self::default() }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// As soon as it is clear that this is no list of pods.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ListError> {
        for (index, &byte) in bytes.iter().enumerate() {
            if self.text != Text::Outside {
                self.in_string(byte);
            } else if self.depth == 0 && !byte.is_ascii_whitespace() && (self.ended || byte != b'{') {
                self.envelope.extend(bytes.iter().skip(index).take(QUOTED_BYTES));
                return Err(self.no_pod_list());
            } else {
                self.structure(byte)?;
            }
            match self.at {
                Position::Envelope => self.envelope.push(byte),
                Position::Pod if self.pod.len() < POD_BYTES => self.pod.push(byte),
                Position::Pod => self.pod_is_too_long = true,
                Position::Items => {}
            }
            if self.envelope.len() > if self.from == From::File { POD_BYTES } else { ENVELOPE_BYTES } {
                return Err(self.no_pod_list());
            }
        }
        Ok(())
    }

    /// The whole list, when there are no more bytes.
    ///
    /// # Errors
    /// Where the answer was something else, or not all of one.
    pub fn finish(self) -> Result<PodList, ListError> {
        if !self.ended {
            let is_nothing = self.envelope.trim_ascii().is_empty();
            return Err(if is_nothing { self.no_pod_list() } else { ListError::Truncated });
        }
        let envelope: Envelope = serde_json::from_slice(&self.envelope).map_err(|_| self.no_pod_list())?;
        if envelope.kind.as_deref() == Some("PodList") {
            return Ok(self.list);
        }
        match envelope.kind.as_deref() {
            Some("List") if self.from == From::File => return Ok(self.list),
            Some("Pod") if self.from == From::File => {
                let pod = json::pod(&self.envelope).ok_or_else(|| self.no_pod_list())?;
                return Ok(PodList { pods: vec![pod], malformed: 0 });
            }
            _ => {}
        }
        Err(envelope.message.map_or_else(|| self.no_pod_list(), |message| quoted(message.as_bytes())))
    }

    fn in_string(&mut self, byte: u8) {
        self.text = match (self.text, byte) {
            (Text::Inside, b'"') => {
                self.text = Text::Outside;
                return;
            }
            (Text::Inside, b'\\') => Text::Escaped,
            _ => Text::Inside,
        };
        if self.depth == 1 && !self.is_value && self.key.len() < 16 {
            self.key.push(byte);
        }
    }

    fn structure(&mut self, byte: u8) -> Result<(), ListError> {
        match byte {
            b'"' => {
                self.text = Text::Inside;
                if self.depth == 1 && !self.is_value {
                    self.key.clear();
                }
            }
            b':' if self.depth == 1 => self.is_value = true,
            b',' if self.depth == 1 => self.is_value = false,
            b'{' | b'[' => self.open(byte),
            b'}' | b']' => self.close(byte)?,
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, byte: u8) {
        let is_items = byte == b'[' && self.depth == 1 && self.is_value && self.key == b"items";
        match self.at {
            Position::Envelope if is_items => {
                self.envelope.push(byte);
                self.at = Position::Items;
            }
            Position::Items if byte == b'{' && self.depth == 2 => self.at = Position::Pod,
            _ => {}
        }
        self.depth += 1;
    }

    fn close(&mut self, byte: u8) -> Result<(), ListError> {
        self.depth = self.depth.saturating_sub(1);
        match self.at {
            Position::Items if self.depth == 1 => self.at = Position::Envelope,
            Position::Pod if self.depth == 2 => {
                self.pod.push(byte);
                self.at = Position::Items;
                return self.take_pod();
            }
            Position::Envelope if self.depth == 0 => self.ended = true,
            _ => {}
        }
        Ok(())
    }

    fn take_pod(&mut self) -> Result<(), ListError> {
        match json::pod(&self.pod) {
            Some(pod) if !self.pod_is_too_long => self.list.pods.push(pod),
            _ => self.list.malformed += 1,
        }
        self.pod.clear();
        self.pod_is_too_long = false;
        if self.list.pods.len() + self.list.malformed
            > if self.from == From::File { PODS_OF_A_CLUSTER } else { PODS }
        {
            Err(ListError::TooMany)
        } else {
            Ok(())
        }
    }

    fn no_pod_list(&self) -> ListError {
        quoted(&self.envelope)
    }
}

fn quoted(text: &[u8]) -> ListError {
    let beginning = text.get(..QUOTED_BYTES).unwrap_or(text).trim_ascii();
    let beginning =
        if beginning.is_empty() { "it is empty".to_owned() } else { crate::escape::escape(beginning) };
    ListError::NotAPodList(beginning)
}
