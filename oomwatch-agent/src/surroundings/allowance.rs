//! How much time reading may take: in a storm of kills reports must not wait for it.

use std::time::{Duration, Instant};

/// Of all time, this share may be spent,
const SHARE: u32 = 10;
/// and what was not spent is there for later, up to this.
const AT_MOST: Duration = Duration::from_secs(1);

/// What is left to spend.
#[derive(Debug)]
pub(super) struct Allowance {
    left: Duration,
    since: Instant,
}

impl Allowance {
    /// All of it.
    pub(super) fn new(now: Instant) -> Self {
        Self { left: AT_MOST, since: now }
    }

    /// How long something may take now, of `wished`. `None`: not worth beginning.
    pub(super) fn take(&mut self, wished: Duration, now: Instant) -> Option<Duration> {
        let earned = now.saturating_duration_since(self.since) / SHARE;
        self.left = self.left.saturating_add(earned).min(AT_MOST);
        self.since = now;
        Some(self.left.min(wished)).filter(|left| *left * 2 >= wished)
    }

    /// So much was spent.
    pub(super) fn spend(&mut self, spent: Duration) {
        self.left = self.left.saturating_sub(spent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_gets_its_share_and_a_kill_after_it_the_whole() {
        let (wished, begun) = (Duration::from_millis(200), Instant::now());
        let mut allowance = Allowance::new(begun);
        let mut spent = Duration::ZERO;
        // A kill every 10 ms for a minute, each of which would take 20 ms.
        for kill in 0..6000 {
            let now = begun + Duration::from_millis(10 * kill);
            if let Some(most) = allowance.take(wished, now) {
                assert!(most <= wished);
                allowance.spend(Duration::from_millis(20));
                spent += Duration::from_millis(20);
            }
        }
        assert!(spent <= AT_MOST + Duration::from_secs(6), "{spent:?}");
        assert!(spent >= Duration::from_secs(6), "{spent:?}");
        let later = begun + Duration::from_mins(2);
        assert_eq!(allowance.take(wished, later), Some(wished));
        allowance.spend(Duration::from_hours(1));
        assert_eq!(allowance.take(wished, later), None);
    }
}
