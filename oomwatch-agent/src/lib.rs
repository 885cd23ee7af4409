//! The agent as a library, in reading order. Every file here does I/O; what is pure is in oomwatch-common.

#![deny(unsafe_code)]

pub mod check;
pub mod config;
pub mod events;
pub mod explain;
pub mod run;

pub mod alarm;
pub mod anchors;
pub mod attach;
pub mod audit;
pub mod capture;
pub mod claims;
pub mod cpus;
pub mod desk;
pub mod exits;
pub mod foreteller;
pub mod health;
pub mod history;
pub mod http;
pub mod job;
pub mod kmsg;
pub mod kubernetes;
pub mod log;
pub mod losses;
pub mod marks;
pub mod metrics;
pub mod pace;
pub mod pack;
pub mod pool;
pub mod preflight;
pub mod prepared;
pub mod printer;
pub mod probe;
pub mod progress;
pub mod proof;
pub mod protect;
pub mod publish;
pub mod queue;
pub mod record;
pub mod recurring;
pub mod refusal;
pub mod relief;
pub mod render;
pub mod replay;
pub mod sources;
pub mod surroundings;
pub mod symbols;
pub mod sys;
pub mod tally;
pub mod teller;
pub mod unpack;
