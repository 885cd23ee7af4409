//! The self-audit: the kernel's own count of killed processes, `oom_kill` of `/proc/vmstat`, against what the probe
//! saw, and that against what its records told.
//!
//! A kill passes the probe, the kernel's counter, the mark and the ring buffer, in this order, so one that is under way
//! stands in some counts and not yet in others. Counts are therefore compared at rest only, when nothing is in the ring
//! buffer and no incident is open, and the kernel's with a later one of the probe.
//!
//! The audit has no clock of its own: it looks when the kernel has written to its log, as it does for each kill, or,
//! where it cannot have that, when a cgroup's count has changed (`after_lines.rs`), and whenever metrics are asked for.
//! Where it can have neither it looks every 5 s.
//!
//! What neither side counts is in nobody's sum: processes that die because they share a victim's address space.

mod after_lines;
mod of_cgroups;

use std::{
    convert::Infallible,
    fs::File,
    io::Read as _,
    path::PathBuf,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use oomwatch_common::{counters::ProbeCounter, units::BoottimeNs};
use tokio::sync::Notify;

use self::{
    after_lines::{Trace, look_after_lines},
    of_cgroups::Events,
};
use crate::{
    alarm::Alarm,
    config::NodeOptions,
    health::Health,
    losses::{Losses, Stage},
    marks::oom_kills,
    probe::{Counters, Hooks, Probe},
    progress::{Lost, Progress},
    refusal::Refusal,
    sys,
};

/// How often the counts are compared where nothing tells when.
const EVERY: Duration = Duration::from_secs(5);
/// A count of the kernel is held against one of the probe that is so much later. From the one to the other a kill takes
/// microseconds, with interrupts off.
const LATER: Duration = Duration::from_millis(500);
/// As much as `/proc/vmstat` has as a rule: it is then read at once.
const VMSTAT_BYTES: usize = 8 << 10;
/// The proof of the layout was a record too, and no kill.
const PROOFS: u64 = 1;

/// The audit.
pub struct Audit {
    vmstat: PathBuf,
    /// Watched since before the kernel's count was first read.
    trace: Option<Trace>,
    counters: Counters,
    progress: Arc<Progress>,
    losses: Arc<Losses>,
    /// The probe counts each kill as the kernel does; otherwise victims.
    as_the_kernel: bool,
    books: Mutex<Books>,
    found_blind: Notify,
    /// Whoever can find lost kills elsewhere.
    found_loss: Mutex<Option<SyncSender<()>>>,
    /// Kills that found the queue full, as far as that was told.
    lost_by_queue: AtomicU64,
}

/// All counts, read at rest.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    at: BoottimeNs,
    /// By the kernel: since the node's start.
    kernel: u64,
    /// By the probe as the kernel counts, and by how much it may be more for groups.
    seen: u64,
    /// By the probe: processes, or at level tracepoint marks.
    killed: u64,
    /// Of these, by the capture thread.
    told: u64,
}

/// What is missing, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Missing {
    /// Kills that the kernel counted and the probe did not see.
    unseen: u64,
    /// Processes that the probe saw killed, and that no record told of.
    unread: u64,
    /// The probe saw no kill at all meanwhile, though there were some.
    blind: bool,
    since: BoottimeNs,
}

/// What has been accounted for.
#[derive(Debug)]
struct Books {
    /// Up to here all is accounted for.
    balanced: Counts,
    /// The last counts, which the next ones are held against.
    last: Counts,
    /// Those before.
    before: Counts,
    unread: u64,
}

impl Books {
    fn new(counts: Counts) -> Self {
        let unread = counts.killed.saturating_sub(counts.told);
        Self { balanced: counts, last: counts, before: counts, unread }
    }

    fn enter(&mut self, now: Counts) -> Option<Missing> {
        if now.at.0.saturating_sub(self.last.at.0) < u64::try_from(LATER.as_nanos()).unwrap_or(u64::MAX) {
            return None;
        }
        let last = std::mem::replace(&mut self.last, now);
        let (before, since) = (std::mem::replace(&mut self.before, last), self.balanced.at);
        let seen = now.seen.saturating_sub(self.balanced.seen);
        let unseen = last.kernel.saturating_sub(self.balanced.kernel).saturating_sub(seen);
        if (now.kernel, now.seen) == (last.kernel, last.seen) {
            // Nothing is under way: what the probe has more is forgiven, lest it hide what is lost later.
            self.balanced = now;
        } else {
            self.balanced.kernel += unseen;
        }
        let blind = unseen > 0 && last.kernel > before.kernel && now.seen == before.seen;
        let unread = now.killed.saturating_sub(now.told).saturating_sub(self.unread);
        self.unread += unread;
        (unseen + unread > 0).then_some(Missing { unseen, unread, blind, since })
    }

    /// Since then two counts were the same, so that a third one would find nothing more.
    fn is_settled(&self, since: BoottimeNs) -> bool {
        self.last.at >= since && self.balanced.at == self.last.at
    }
}

impl Audit {
    /// Begins with an attached probe: what was killed before is not its business.
    pub fn new(node: &NodeOptions, probe: &Probe, progress: Arc<Progress>, losses: Arc<Losses>) -> Self {
        let trace = Trace::log(&node.kmsg)
            .inspect_err(|error| tracing::debug!(%error, "the self-audit goes by the cgroups' counts"))
            .or_else(|_| Events::below(&node.cgroup, &node.proc).map(Trace::Cgroups))
            .inspect_err(|error| tracing::debug!(%error, "the self-audit goes by the clock"));
        let mut audit = Self {
            vmstat: node.proc.join("vmstat"),
            trace: trace.ok(),
            counters: probe.counters(),
            progress,
            losses,
            as_the_kernel: probe.counts_as_the_kernel,
            books: Mutex::new(Books::new(Counts::default())),
            found_blind: Notify::new(),
            found_loss: Mutex::new(None),
            lost_by_queue: AtomicU64::new(0),
        };
        let kernel = audit.kernel_kills().unwrap_or(0);
        let counts = Counts { at: sys::boottime(), kernel, ..Counts::default() };
        audit.books = Mutex::new(Books::new(counts));
        audit
    }

    /// Kills that the probe saw, counted as the kernel counts them; `None` where it cannot.
    pub fn seen(&self) -> Option<u64> {
        self.as_the_kernel.then(|| self.counters.get(ProbeCounter::Counted)).flatten()
    }

    /// Gives something whenever kills were lost on the way, for whoever can find them elsewhere.
    pub fn losses(&self) -> Receiver<()> {
        let (sender, receiver) = sync_channel(1);
        *self.found_loss.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    fn tell_of_loss(&self) {
        if let Some(found) = &*self.found_loss.lock().unwrap_or_else(PoisonError::into_inner) {
            // One that waits to be taken is of this loss too.
            found.try_send(()).ok();
        }
    }

    /// Compares, if all is at rest, and counts what is missing. To be called from any thread, as often as one likes.
    pub fn look(&self) {
        let Some(now) = self.counts() else { return };
        let missing = self.books.lock().unwrap_or_else(PoisonError::into_inner).enter(now);
        let by_queue = self.progress.lost.get(Lost::Queue);
        if missing.is_some() || self.lost_by_queue.swap(by_queue, Ordering::Relaxed) != by_queue {
            self.tell_of_loss();
        }
        let Some(missing) = missing else { return };
        let seconds = now.at.0.saturating_sub(missing.since.0) / 1_000_000_000;
        let lost = &self.progress.lost;
        if missing.unseen > 0 {
            lost.add(Lost::Unseen, missing.unseen);
            tracing::error!(
                kills = missing.unseen,
                within_seconds = seconds,
                "the kernel counted kills that the probe did not see"
            );
        }
        if missing.unread > 0 {
            lost.add(Lost::Record, missing.unread);
            tracing::warn!(
                kills = missing.unread,
                within_seconds = seconds,
                records_lost_ring_buffer_full = self.counters.get(ProbeCounter::RingBufferFull).unwrap_or(0),
                records_malformed = self.losses.get(Stage::Malformed),
                "records of kills were lost"
            );
        }
        if missing.blind {
            self.found_blind.notify_one();
        }
    }

    /// All counts; `None` while something is under way, or where the kernel does not tell.
    fn counts(&self) -> Option<Counts> {
        let before = self.progress.done()?;
        let kernel = self.kernel_kills()?;
        let of_probe = |counter| self.counters.get(counter);
        let (killed, seen) = if self.as_the_kernel {
            (of_probe(ProbeCounter::Killed)?, of_probe(ProbeCounter::Counted)?)
        } else {
            let marks = of_probe(ProbeCounter::Invocations)?;
            (marks, marks + before.groups)
        };
        let submitted = of_probe(ProbeCounter::Submitted)?;
        let at_rest = before.open == 0 && submitted == before.records + PROOFS;
        (at_rest && self.progress.done()? == before).then_some(Counts {
            at: sys::boottime(),
            kernel,
            seen,
            killed,
            told: before.told,
        })
    }

    fn kernel_kills(&self) -> Option<u64> {
        let mut text = Vec::with_capacity(VMSTAT_BYTES);
        File::open(&self.vmstat).ok()?.read_to_end(&mut text).ok()?;
        oom_kills(&text)
    }

    /// Looks, and says whether all that was killed before `since` is accounted for.
    fn settles(&self, since: BoottimeNs) -> bool {
        self.look();
        self.books.lock().unwrap_or_else(PoisonError::into_inner).is_settled(since)
    }

    /// Looks whenever there may be something to see.
    async fn look_in_time(&self) -> Infallible {
        let alarm = Alarm::new();
        if let Some(trace) = &self.trace {
            let error = look_after_lines(trace, &alarm, |since| self.settles(since)).await;
            tracing::warn!(%error, "nothing can be watched any more: the self-audit goes by the clock");
        }
        loop {
            alarm.after(EVERY).await;
            self.look();
        }
    }

    /// Looks, and attaches a probe again that has gone blind. Ends only where that is of no use.
    pub async fn keep(&self, hooks: &Mutex<Hooks>, health: &Health) -> Refusal {
        let mut blind_at = None;
        let mut looking = pin!(self.look_in_time());
        loop {
            tokio::select! {
                never = &mut looking => match never {},
                () = self.found_blind.notified() => {
                    health.blind(true);
                    let seen = self.counters.get(ProbeCounter::Invocations);
                    if blind_at.replace(seen) == Some(seen) {
                        return Refusal::failed(
                            "the probe sees no kill that the kernel counts, though it was attached again: is \
                             something else taking its hooks away?",
                        );
                    }
                    if let Err(refusal) = attach_again(hooks) {
                        return refusal;
                    }
                    health.blind(false);
                }
            }
        }
    }
}

fn attach_again(hooks: &Mutex<Hooks>) -> Result<(), Refusal> {
    tracing::warn!("the probe is blind: attaching it again");
    match hooks.lock().unwrap_or_else(PoisonError::into_inner).attach_again() {
        Ok(()) => {
            tracing::warn!("the probe is attached again");
            Ok(())
        }
        Err(error) => Err(Refusal::failed(format!(
            "the probe went blind and could not be attached again: {}",
            error.refusal
        ))),
    }
}

#[cfg(test)]
mod tests;
