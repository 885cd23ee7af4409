//! Ends of which no record came, and what the probe has noted instead.

use oomwatch_common::{outline::Outline, peek::peek, units::BoottimeNs};
use zerocopy::{Immutable, IntoBytes};

use super::Desk;

impl Desk {
    /// Whether an incident is about to be handed over whose end did not come; `all`: whatever is open is.
    pub fn lacks_an_end(&self, all: bool, now: BoottimeNs) -> bool {
        self.jobs.iter().any(|job| job.outline().kill_of_chosen().is_some() && (all || job.is_settled(now)))
    }

    /// The chosen process of that invocation is known to be killed although its end did not come.
    pub fn was_killed(&mut self, invocation: u64, now: BoottimeNs) {
        self.file_unsent(invocation, Outline::kill_of_chosen, now);
    }

    /// Whether it is time to ask the probe for an end that woke nobody, and of which it may have sent no record; `all`:
    /// there is no other time.
    pub fn lacks_an_untold_end(&self, all: bool, now: BoottimeNs) -> bool {
        self.jobs.iter().any(|job| job.unawaited(now).is_some_and(|unawaited| all || unawaited == 0))
    }

    /// That invocation is known to have killed the chosen process, and no other, although its end did not come.
    pub fn has_ended(&mut self, invocation: u64, now: BoottimeNs) {
        self.file_unsent(invocation, Outline::untold_end, now);
    }

    /// What the probe did not send is none of the records that it counts, by which the self-audit knows whether all
    /// have come.
    fn file_unsent<R: IntoBytes + Immutable>(
        &mut self,
        invocation: u64,
        unsent: impl Fn(&Outline) -> Option<R>,
        now: BoottimeNs,
    ) {
        let job = self.jobs.iter().find(|job| job.outline().number() == invocation);
        let Some(raw) = job.and_then(|job| unsent(job.outline())) else { return };
        if let Ok(record) = peek(raw.as_bytes()) {
            self.file(&record, raw.as_bytes(), now);
        }
    }
}
