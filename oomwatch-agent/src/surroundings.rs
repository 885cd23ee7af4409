//! What was around an incident: who else could have been killed, who used the memory, how the node stood.
//!
//! The capture thread reads what dies with the victim. This is what can wait some milliseconds, takes longer and asks
//! for memory: so it is read on the reporter's side of the queue, by a thread that may block, one incident at a time,
//! for a bounded time and for a bounded share of all time.

mod allowance;
mod cgroups;
mod files;
mod processes;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use oomwatch_common::{
    domain::{Domain, Vantage},
    proc_text::{add_buddyinfo, slabinfo, zoneinfo},
    report::Gap,
    surroundings::Surroundings,
    wanted::Wanted,
};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use self::allowance::Allowance;
use crate::{
    relief::Relief,
    sources::Roots,
    sys::{OutOfReserve, thread_time},
};

/// What the reads of one incident may take of a CPU: processes first, which may be gone soon, and of the rest what is
/// left.
const AT_MOST: Duration = Duration::from_millis(200);
const PROCESSES_AT_MOST: Duration = Duration::from_millis(120);
/// And this much longer, in which they do not run: where a container's CPU limit is used up, each 100 ms for the most
/// part of them.
const WAITS_AT_MOST: Duration = Duration::from_millis(200);
/// A read that does not return is not waited for any longer.
const STUCK_AFTER: Duration = Duration::from_millis(500);
/// Caches that are told of, the largest.
const SLABS: usize = 10;
/// The report's name for who could have been killed.
const CANDIDATES: &str = "candidates";
/// Longer than any `/proc/zoneinfo` but that of a machine with a thousand CPUs.
const NODE_FILE_BYTES: u64 = 1 << 20;

/// Reads what is around incidents.
pub struct Reader {
    roots: Roots,
    vantage: Option<Vantage>,
    allowance: Arc<Mutex<Allowance>>,
    relief: Relief,
}

/// When to stop reading.
#[derive(Clone, Copy, Debug)]
pub struct Until {
    /// By the clock of the thread that reads: how long it ran.
    ran: Duration,
    at: Instant,
    relief: Option<Relief>,
}

impl Until {
    /// When this thread has run for that long; on a node that has run out also when there is no memory, which each file
    /// asks for some of.
    #[must_use]
    pub fn new(most: Duration, relief: Option<Relief>) -> Self {
        Self { ran: thread_time() + most, at: Instant::now() + most + WAITS_AT_MOST, relief }
    }

    fn is_over(self) -> bool {
        thread_time() >= self.ran
            || Instant::now() >= self.at
            || self.relief.is_some_and(|relief| !relief.is_there())
    }
}

/// Surroundings that are being read.
pub struct Reading(Result<JoinHandle<Surroundings>, &'static str>);

impl Reader {
    /// Nothing has been read yet.
    pub fn new(roots: Roots, relief: Relief) -> Self {
        let allowance = Arc::new(Mutex::new(Allowance::new(Instant::now())));
        Self { roots, vantage: None, allowance, relief }
    }

    /// From where the agent sees cgroups, by its own.
    pub fn stand_at(&mut self, vantage: Option<Vantage>) {
        self.vantage = vantage;
    }

    /// Begins to read, within a tokio runtime and without waiting.
    pub fn begin(&self, mut wanted: Wanted, in_a_hurry: bool) -> Reading {
        wanted.vantage = self.vantage.clone().or(wanted.vantage);
        if in_a_hurry {
            return Reading(Err("not read: further incidents are waiting"));
        }
        // Held for as long as something is read: one that is stuck must not make others of its kind.
        let Ok(mut allowance) = self.allowance.try_lock() else {
            return Reading(Err("not read: those of an earlier incident still are"));
        };
        let Some(most) = allowance.take(AT_MOST, Instant::now()) else {
            return Reading(Err("not read: incidents come faster than this can be"));
        };
        drop(allowance);
        let (roots, allowance) = (self.roots.clone(), Arc::clone(&self.allowance));
        let relief = matches!(wanted.domain, Domain::Node | Domain::Nodemask).then_some(self.relief);
        Reading(Ok(spawn_blocking(move || {
            let mut allowance = allowance.lock().unwrap_or_else(PoisonError::into_inner);
            let _reserve = relief.map(|_| OutOfReserve::begin());
            let begun = Instant::now();
            let surroundings = read(&roots, &wanted, most, relief);
            allowance.spend(begun.elapsed());
            surroundings
        })))
    }
}

impl Reading {
    /// Waits for it, not for long.
    pub async fn end(self) -> Surroundings {
        let why = match self.0 {
            Ok(reading) => match timeout(STUCK_AFTER, reading).await {
                Ok(Ok(surroundings)) => return surroundings,
                Ok(Err(_)) => "not read: the attempt failed",
                Err(_) => "timed out",
            },
            Err(why) => why,
        };
        let gap = Gap { what: CANDIDATES.to_owned(), why: why.to_owned() };
        Surroundings { gaps: vec![gap], ..Surroundings::default() }
    }
}

/// What the kernel's log had of the moment of the kill, and for the rest what was read after it.
#[must_use]
pub fn completed(logged: Surroundings, read: Surroundings) -> Surroundings {
    let mut gaps = read.gaps;
    gaps.retain(|gap| gap.what != CANDIDATES || logged.tasks.is_none());
    Surroundings {
        tasks: logged.tasks.or(read.tasks),
        zones: if logged.zones.is_empty() { read.zones } else { logged.zones },
        node_memory: logged.node_memory,
        gaps,
        ..read
    }
}

/// Reads all that is wanted, as far as there is time.
pub fn read(roots: &Roots, wanted: &Wanted, most: Duration, relief: Option<Relief>) -> Surroundings {
    let until = Until::new(most, relief);
    let of_processes = Until::new(PROCESSES_AT_MOST.min(most), relief);
    let mut surroundings = Surroundings::default();
    let gaps = &mut surroundings.gaps;
    surroundings.tasks = processes::read_tasks(roots, wanted, of_processes, gaps);
    if wanted.consumers
        && let Some(accounts) = cgroups::read_accounts(roots, wanted, until, gaps)
    {
        surroundings.consumers = accounts.consumers;
        surroundings.node_shares = Some(accounts.shares);
    }
    let file = |name: &str| files::read(&roots.proc.join(name), NODE_FILE_BYTES);
    let mut gap = |what: &str, why: &str| gaps.push(Gap { what: what.to_owned(), why: why.to_owned() });
    if wanted.zones {
        match file("zoneinfo").map(|text| zoneinfo(&text, wanted.page_size)) {
            Some(Ok(zones)) => surroundings.zones = zones,
            Some(Err(_)) => gap("node/zoneinfo", "malformed"),
            None => gap("node/zoneinfo", "denied or gone"),
        }
        match file("buddyinfo").map(|text| add_buddyinfo(&mut surroundings.zones, &text)) {
            Some(Ok(())) => {}
            Some(Err(_)) => gap("node/buddyinfo", "malformed"),
            None => gap("node/buddyinfo", "denied or gone"),
        }
    }
    if wanted.slab {
        match file("slabinfo").map(|text| slabinfo(&text, SLABS, wanted.page_size)) {
            Some(Ok(slabs)) => surroundings.slab = slabs,
            Some(Err(_)) => gap("node/slabinfo", "malformed"),
            None => gap("node/slabinfo", "denied: only root reads it"),
        }
    }
    surroundings
}
