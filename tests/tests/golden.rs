//! Reports of real kills in every output, compared with the files in tests/golden.
//!
//! `OOMWATCH_BLESS=1 cargo test -p oomwatch-tests --test golden` writes them anew: read the difference before it is
//! committed. Where the inputs are from: tests/fixtures/README.md.

#![cfg(test)]

mod golden {
    mod build;
    mod cases;
    mod checks;
}
