//! `oomwatch replay`: recorded incidents through the same desk and the same reporter as live ones.
//!
//! It needs no privilege, no kernel and no clock: times are those of the recording.

use std::sync::Arc;

use oomwatch_common::units::{BoottimeNs, PageSize};
use tokio::runtime;

use crate::{
    config::{LogLevel, ReplayOptions},
    desk::{Desk, Settings},
    log,
    losses::{Losses, Stage},
    pool::Pool,
    publish::Publisher,
    queue::queue,
    record::{self, Recording},
    refusal::Refusal,
    sources::Roots,
};

/// Prints the reports of all recordings.
///
/// # Errors
/// A recording cannot be read, or nothing in it is an incident.
pub fn replay(options: &ReplayOptions) -> Result<(), Refusal> {
    log::init(LogLevel::Warn);
    let recordings = record::read(&options.dir).map_err(|error| Refusal::failed(error.to_string()))?;
    if recordings.is_empty() {
        return Err(Refusal::failed(format!(
            "{}: no recording here: `oomwatch run --record-to DIR` makes them",
            options.dir.display()
        )));
    }
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Refusal::failed(format!("starting the async runtime: {error}")))?;
    let pool = Pool::new(recordings.iter().map(|recording| recording.records.len()).max().unwrap_or(0));
    runtime.block_on(async {
        for recording in &recordings {
            replay_one(options, recording, &pool).await?;
        }
        Ok(())
    })
}

async fn replay_one(options: &ReplayOptions, recording: &Recording, pool: &Arc<Pool>) -> Result<(), Refusal> {
    let within = |text: &str| Refusal::failed(format!("{}: {text}", recording.dir.display()));
    let circumstances = &recording.circumstances;
    if PageSize::new(circumstances.page_size).is_none() {
        return Err(within("page_size is no page size"));
    }
    let losses = Arc::new(Losses::default());
    let (queue, mut incidents) =
        queue(recording.records.len()).map_err(|error| within(&error.to_string()))?;
    let settings = Settings {
        roots: Roots::new(&recording.dir.join("proc"), &recording.dir.join("cgroup")),
        deadline_ns: u64::MAX,
        // The recording holds only what was a kill.
        kernel_kills: Some(0),
    };
    let mut desk = Desk::new(&settings, Arc::clone(&losses), queue, Arc::clone(pool));
    let taken_at = BoottimeNs(circumstances.taken_at_ns);
    for raw in &recording.records {
        desk.take(raw, taken_at);
    }
    while desk.read_one(taken_at) {}
    desk.settle(true, BoottimeNs(circumstances.done_at_ns));
    drop(desk);
    if losses.get(Stage::Malformed) > 0 {
        return Err(within("records are not of this version of oomwatch, or damaged"));
    }
    let mut publisher = Publisher::replayed(&options.output, circumstances.clone());
    publisher.publish_all(&mut incidents, &losses).await;
    Ok(())
}
