//! Why the agent does not start: one line that says what to change, and an exit code that says of what kind.

use std::{fmt, process::ExitCode};

/// Exit codes, as sysexits.h numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An option or environment value is wrong.
    Usage,
    /// This kernel or machine cannot do it.
    NotSupported,
    /// A privilege is missing.
    NotPermitted,
    /// Something else failed.
    Failed,
}

impl Kind {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Usage => 64,
            Self::NotSupported => 69,
            Self::NotPermitted => 77,
            Self::Failed => 1,
        }
    }
}

/// A refusal to start.
#[derive(Debug)]
pub struct Refusal {
    /// Of what kind.
    pub kind: Kind,
    /// One line, lower case, that says what to change. More lines only for a verifier's log.
    pub text: String,
}

impl Refusal {
    /// An option or environment value is wrong.
    pub fn usage(text: impl Into<String>) -> Self {
        Self { kind: Kind::Usage, text: text.into() }
    }

    /// This kernel or machine cannot do it.
    pub fn not_supported(text: impl Into<String>) -> Self {
        Self { kind: Kind::NotSupported, text: text.into() }
    }

    /// A privilege is missing.
    pub fn not_permitted(text: impl Into<String>) -> Self {
        Self { kind: Kind::NotPermitted, text: text.into() }
    }

    /// Something else failed.
    pub fn failed(text: impl Into<String>) -> Self {
        Self { kind: Kind::Failed, text: text.into() }
    }

    /// What the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind.code())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}
