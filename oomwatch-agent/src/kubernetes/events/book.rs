//! What is told, when, and what is folded together. No network and no clock of its own: times are given.
//!
//! An object may have [`OBJECT_BURST`] Events of its own at once, and one more each [`OBJECT_EVERY`]; what exceeds it
//! is folded into the `series` of its last Event, which is written at most each [`FOLD_EVERY`]. All objects together
//! have a limit of their own, so that a storm on a node is no storm on the API server. Nothing is lost for it: what is
//! over a limit is counted in a series or told later.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use oomwatch_common::kubernetes_event::{Notice, Regarding};
use tokio::time::Instant;

use super::{
    api::Refused,
    counts::{Counts, Outcome},
};

/// A few kills in a row are told one by one, with their own pids and sizes.
const OBJECT_BURST: u32 = 5;
/// After that a crash loop's kills: Kubernetes itself restarts a container at most each 5 min in the end.
const OBJECT_EVERY: Duration = Duration::from_mins(1);
const FOLD_EVERY: Duration = Duration::from_secs(10);
const ALL_BURST: u32 = 30;
const ALL_EVERY: Duration = Duration::from_secs(1);
/// Orders that wait for the API server.
const OUTBOX: usize = 64;
/// Objects that are remembered; pods of a node and its Node.
const OBJECTS: usize = 1024;
/// For so long after its last kill.
const REMEMBERED_FOR: Duration = Duration::from_hours(1);
/// After the API server denied it: RBAC does not change by the second.
const QUIET_FOR: Duration = Duration::from_mins(1);

/// A request that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// An Event, and where it is not the first of its kind, the series that it stands for.
    Create(Notice, Option<Series>),
    /// More in the series of an Event.
    Fold(Notice, Series),
}

impl Order {
    /// The Event.
    pub fn notice(&self) -> &Notice {
        match self {
            Self::Create(notice, _) | Self::Fold(notice, _) => notice,
        }
    }
}

/// `EventSeries` of events.k8s.io/v1
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// Kills that the Event stands for, its own among them: at least 2.
    pub count: u64,
    /// The last one's time.
    pub last: String,
    /// How many of them no request has told yet.
    pub new: u64,
}

/// A bucket that fills up again with time.
#[derive(Debug)]
struct Bucket {
    tokens: u32,
    most: u32,
    every: Duration,
    filled_at: Instant,
}

impl Bucket {
    fn new(most: u32, every: Duration, now: Instant) -> Self {
        Self { tokens: most, most, every, filled_at: now }
    }

    fn fill(&mut self, now: Instant) {
        while self.tokens < self.most && self.filled_at + self.every <= now {
            self.tokens += 1;
            self.filled_at += self.every;
        }
        if self.tokens == self.most {
            self.filled_at = now;
        }
    }

    /// When there is a token.
    fn next(&self) -> Instant {
        if self.tokens > 0 { self.filled_at } else { self.filled_at + self.every }
    }
}

struct Object {
    bucket: Bucket,
    /// The Event that further kills are folded into, and how many it stands for. It may still be on its way.
    event: Option<(Notice, u64)>,
    /// Kills that no request has told yet, the last of them.
    untold: Option<(Notice, u64)>,
    /// When its series was last written, or its first Event.
    folded_at: Instant,
    used_at: Instant,
}

/// The book.
pub struct Book {
    counts: Arc<Counts>,
    objects: BTreeMap<Regarding, Object>,
    all: Bucket,
    outbox: VecDeque<Order>,
    quiet_until: Option<Instant>,
    /// Why the last request was for nothing, in one word: a reason is said once, and its end.
    said: Option<&'static str>,
}

impl Book {
    /// An empty book.
    pub fn new(counts: Arc<Counts>, now: Instant) -> Self {
        let all = Bucket::new(ALL_BURST, ALL_EVERY, now);
        let (objects, outbox) = (BTreeMap::new(), VecDeque::new());
        Self { counts, objects, all, outbox, quiet_until: None, said: None }
    }

    /// Takes a kill.
    pub fn take(&mut self, notice: Notice, now: Instant) {
        if self.is_quiet(now) {
            self.counts.add(Outcome::Denied, 1);
            return;
        }
        if !self.objects.contains_key(&notice.regarding) && !self.make_room(now) {
            self.counts.add(Outcome::Dropped, 1);
            return;
        }
        let object = self.objects.entry(notice.regarding.clone()).or_insert_with(|| Object {
            bucket: Bucket::new(OBJECT_BURST, OBJECT_EVERY, now),
            event: None,
            untold: None,
            folded_at: now,
            used_at: now,
        });
        object.used_at = now;
        object.bucket.fill(now);
        self.all.fill(now);
        let may = object.bucket.tokens > 0 && self.all.tokens > 0 && self.outbox.len() < OUTBOX;
        if may && object.untold.is_none() {
            object.bucket.tokens -= 1;
            self.all.tokens -= 1;
            object.event = Some((notice.clone(), 1));
            self.outbox.push_back(Order::Create(notice, None));
        } else {
            let before = object.untold.take().map_or(0, |(_, kills)| kills);
            object.untold = Some((notice, before + 1));
        }
    }

    /// The next request, if one is due; `ending` makes all due.
    pub fn next(&mut self, now: Instant, ending: bool) -> Option<Order> {
        if let Some(order) = self.outbox.pop_front() {
            return Some(order);
        }
        if self.is_quiet(now) {
            return None;
        }
        self.all.fill(now);
        let all_at = self.all.next();
        // Of several that wait for the same token the one that has waited longest: else the first by name had them all.
        let waiting = self.objects.values_mut().filter(|object| object.untold.is_some());
        let object = waiting.min_by_key(|object| (object.due(all_at), object.folded_at))?;
        if !ending && object.due(all_at).is_none_or(|at| at > now) {
            return None;
        }
        let (notice, kills) = object.untold.take()?;
        object.folded_at = now;
        self.all.tokens = self.all.tokens.saturating_sub(1);
        if let Some((event, count)) = &object.event {
            let series = Series { count: count + kills, last: notice.time, new: kills };
            return Some(Order::Fold(event.clone(), series));
        }
        // Its first Event was over the limit of all.
        object.bucket.tokens = object.bucket.tokens.saturating_sub(1);
        let series = (kills > 1).then(|| Series { count: kills, last: notice.time.clone(), new: kills });
        object.event = Some((notice.clone(), 1));
        Some(Order::Create(notice, series))
    }

    /// When the next request will be due, if no kill comes.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let at = self.objects.values().filter_map(|object| object.due(self.all.next())).min()?;
        Some(at.max(now).max(self.quiet_until.unwrap_or(now)))
    }

    /// A request ended.
    pub fn delivered(&mut self, order: Order, result: Result<(), Refused>, now: Instant) {
        let (notice, series, is_new) = match order {
            Order::Create(notice, series) => (notice, series, true),
            Order::Fold(notice, series) => (notice, Some(series), false),
        };
        let kills = series.as_ref().map_or(1, |series| series.new);
        let (regarding, name) = (notice.regarding.clone(), notice.name.clone());
        let object = self.objects.get_mut(&regarding);
        let is_of_it =
            |event: &Option<(Notice, u64)>| event.as_ref().is_some_and(|(event, _)| event.name == name);
        let outcome = match result {
            Ok(()) => {
                if let (Some(object), Some(series)) = (object, &series)
                    && is_of_it(&object.event)
                {
                    object.event = Some((notice, series.count));
                }
                self.quiet_until = None;
                if self.said.take().is_some() {
                    tracing::info!("the API server takes Events again");
                }
                self.counts.add(Outcome::Created, u64::from(is_new));
                self.counts.add(Outcome::Folded, kills - u64::from(is_new));
                return;
            }
            // The Event was deleted, or has expired: a new one stands for what it did not tell.
            Err(Refused::Gone(_)) if !is_new => {
                if let Some(object) = object
                    && is_of_it(&object.event)
                {
                    object.event = None;
                    let (last, more) = object.untold.take().unwrap_or((notice, 0));
                    object.untold = Some((last, more + kills));
                }
                return;
            }
            Err(Refused::AlreadyThere) => Outcome::AlreadyTold,
            Err(Refused::Denied(why)) => {
                let cure = "grant the service account `create` and `patch` on events in the group events.k8s.io \
                            (deploy/base/rbac.yaml), or --events off";
                self.say("denied", &why, cure);
                self.quiet_until = Some(now + QUIET_FOR);
                let waiting = self.outbox.drain(..).map(|_| 1).sum();
                self.counts.add(Outcome::Denied, waiting);
                Outcome::Denied
            }
            Err(Refused::Gone(why)) => {
                tracing::debug!(%why, "an Event's object is gone");
                Outcome::Rejected
            }
            Err(Refused::Faulty(why)) => {
                self.say("faulty", &why, "report this as a bug");
                Outcome::Rejected
            }
            Err(Refused::Unreachable(why)) => {
                self.say("unreachable", &why, "check the way to the API server; reports go on without it");
                Outcome::Failed
            }
        };
        let object = self.objects.get_mut(&regarding);
        if let Some(object) = object
            && is_new
            && outcome != Outcome::AlreadyTold
            && is_of_it(&object.event)
        {
            object.event = None;
        }
        self.counts.add(outcome, kills);
    }

    fn say(&mut self, what: &'static str, why: &str, cure: &str) {
        if self.said.replace(what) != Some(what) {
            tracing::warn!(%why, %cure, "Kubernetes is not told of a kill");
        }
    }

    fn is_quiet(&self, now: Instant) -> bool {
        self.quiet_until.is_some_and(|until| now < until)
    }

    /// Whether one more object can be remembered.
    fn make_room(&mut self, now: Instant) -> bool {
        self.objects.retain(|_, object| object.untold.is_some() || now < object.used_at + REMEMBERED_FOR);
        self.objects.len() < OBJECTS
    }
}

impl Object {
    /// When what is untold may be told: the limit of all has a token at `all_at`.
    fn due(&self, all_at: Instant) -> Option<Instant> {
        self.untold.as_ref()?;
        Some(match &self.event {
            Some(_) => all_at.max(self.folded_at + FOLD_EVERY),
            None => all_at.max(self.bucket.next()),
        })
    }
}

#[cfg(test)]
mod tests;
