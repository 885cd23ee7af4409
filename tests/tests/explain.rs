//! `oomwatch explain` as its users have it: every captured log, what people do to logs, and what cannot be read. No
//! privilege is needed.
//!
//! `cargo xtask bless` writes the golden files anew.

#![cfg(test)]

mod explain {
    mod captured;
    mod expected;
    mod files;
    mod golden;
    mod shared;
}
