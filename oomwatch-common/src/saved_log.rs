//! Kernel logs as people have them → incidents: `dmesg`, journals, syslog files, containers' logs, reports of our own,
//! all of it mixed, of any length, in bounded memory.
//!
//! Nearly all of such a log is of no interest. So it is searched for a few words, which is as fast as memory can be
//! read, and only what stands near one of them is read line by line.

mod frame;
mod json;
mod scan;
mod spread;
mod unwrap;

pub use scan::{Found, LOOKED_FOR, Scanner};

#[cfg(test)]
mod tests;
