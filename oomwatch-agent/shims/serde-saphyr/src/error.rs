//! What is wrong with a document.

use std::fmt;

use serde_core::de;

/// What is wrong, and where.
#[derive(Debug)]
pub struct Error {
    what: String,
    /// The way to the value, innermost first.
    way: Vec<String>,
}

impl Error {
    pub(crate) fn new(what: impl fmt::Display) -> Self {
        Self { what: what.to_string(), way: Vec::new() }
    }

    /// The same, of what is at `step`.
    pub(crate) fn at(mut self, step: String) -> Self {
        self.way.push(step);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.way.iter().rev().enumerate() {
            let dot = if index == 0 || step.starts_with('[') { "" } else { "." };
            write!(f, "{dot}{step}")?;
        }
        let colon = if self.way.is_empty() { "" } else { ": " };
        write!(f, "{colon}{}", self.what)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self::new(what)
    }
}
