//! What the end-to-end tests are made of: real OOM kills, what the kernel says of them, what the agent says of them,
//! and the comparison of the two.
//!
//! Both the guest program (`oomwatch-guest`, which runs in the VMs) and `tests/host.rs` are written with it. It knows
//! the agent only from outside: a binary with options, lines of JSON, signals and exit codes.

#![forbid(unsafe_code)]

pub mod agent;
pub mod bench;
pub mod check;
pub mod compare;
pub mod deadline;
pub mod deployment;
pub mod escaped;
pub mod full;
pub mod here;
pub mod hog;
pub mod http;
pub mod kernel_log;
pub mod kmsg;
pub mod lines;
pub mod machine;
pub mod memcg;
pub mod peers;
#[cfg(feature = "standin")]
pub mod prometheus;
pub mod rate_limit;
pub mod report;
pub mod rig;
#[cfg(feature = "standin")]
pub mod scraping;
pub mod standin;
pub mod status;
pub mod storm;
pub mod trial;
