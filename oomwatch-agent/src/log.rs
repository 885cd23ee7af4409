//! oomwatch's own log: on stderr, coloured only on a terminal.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{config::LogLevel, sys};

/// Starts it; a second call changes nothing.
pub fn init(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(sys::wants_colour(&io::stderr()))
        .with_writer(io::stderr)
        .finish()
        // What libraries log of their own is said by us, once and with what to do about it.
        .with(Targets::new().with_target("oomwatch", level));
    if subscriber.try_init().is_err() {
        tracing::debug!("the log was already started");
    }
}
