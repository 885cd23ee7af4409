//! What the kernel side, the agent and the tests share.
//!
//! Without features this crate is `no_std` and holds only the contract between the eBPF program and the agent:
//! [`record`] (what comes out of the ring buffer), [`layout`] (where the running kernel keeps what the program
//! reads) and [`counters`] (what the program counts).
//!
//! Feature `analysis` adds the pure core: values in, values out. It does no I/O, has no clock, reads no
//! environment, is not async and does not log; `clippy.toml` beside this crate bans all of it.

#![cfg_attr(not(feature = "analysis"), no_std)]
#![forbid(unsafe_code)]

pub mod counters;
pub mod layout;
pub mod record;

#[cfg(feature = "analysis")]
pub mod assemble;
#[cfg(feature = "analysis")]
pub mod attribution;
#[cfg(feature = "analysis")]
pub mod btf;
#[cfg(feature = "analysis")]
pub mod btf_excerpt;
#[cfg(feature = "analysis")]
pub mod btf_sieve;
#[cfg(feature = "analysis")]
pub mod capture;
#[cfg(feature = "analysis")]
pub mod cgroup_path;
#[cfg(feature = "analysis")]
pub mod decode;
#[cfg(feature = "analysis")]
pub mod diagnose;
#[cfg(feature = "analysis")]
pub mod domain;
#[cfg(feature = "analysis")]
pub mod escape;
#[cfg(feature = "analysis")]
pub mod foretell;
#[cfg(feature = "analysis")]
pub mod ids;
#[cfg(feature = "analysis")]
pub mod incident;
#[cfg(feature = "analysis")]
pub mod journal_line;
#[cfg(feature = "analysis")]
pub mod kernel_layout;
#[cfg(feature = "analysis")]
pub mod kernel_log;
#[cfg(feature = "analysis")]
pub mod kubernetes_event;
#[cfg(feature = "analysis")]
pub mod memcg_text;
#[cfg(feature = "analysis")]
pub mod outline;
#[cfg(feature = "analysis")]
pub mod parcel;
#[cfg(feature = "analysis")]
pub mod peek;
#[cfg(feature = "analysis")]
pub mod pods;
#[cfg(feature = "analysis")]
pub mod proc_text;
#[cfg(feature = "analysis")]
pub mod query;
#[cfg(feature = "analysis")]
pub mod recurrence;
#[cfg(feature = "analysis")]
pub mod render_bcc;
#[cfg(feature = "analysis")]
pub mod render_page;
#[cfg(feature = "analysis")]
pub mod render_table;
#[cfg(feature = "analysis")]
pub mod render_text;
#[cfg(feature = "analysis")]
pub mod report;
#[cfg(feature = "analysis")]
pub mod saved_log;
#[cfg(feature = "analysis")]
pub mod scope;
#[cfg(feature = "analysis")]
pub mod snapshot;
#[cfg(feature = "analysis")]
pub mod surroundings;
#[cfg(feature = "analysis")]
pub mod units;
#[cfg(feature = "analysis")]
pub mod wanted;
