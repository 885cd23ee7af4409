//! How often the same container was hit within the last hour. It has no clock: incidents bring their times.

use std::collections::{HashMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use crate::report::{Kubernetes, Repeats};

/// How far back incidents count: the back-off between two starts of a container ends at 5 minutes.
pub const WINDOW: SignedDuration = SignedDuration::from_hours(1);
/// Containers that are remembered, those that were hit last.
const REMEMBERED: usize = 1024;
/// Incidents of each, the last. With more within the hour, fewer seconds are told of.
const INCIDENTS: usize = 128;

/// Who was hit when.
#[derive(Clone, Debug)]
pub struct Recurrence {
    /// What happened before is not known.
    known_since: Timestamp,
    hit: HashMap<String, Hits>,
    turn: u64,
}

#[derive(Clone, Debug, Default)]
struct Hits {
    /// In their order.
    times: VecDeque<Timestamp>,
    /// Earlier ones were forgotten for want of room.
    is_cut: bool,
    last_turn: u64,
}

/// What stays the same when a container is hit again: its name in its workload, else its pod, else, outside of pods,
/// the cgroup. `None` where nothing is known of it.
pub fn same(kubernetes: Option<&Kubernetes>, cgroup: Option<&str>) -> Option<String> {
    let Some(kubernetes) = kubernetes else { return cgroup.map(|cgroup| format!("cgroup {cgroup}")) };
    let container = kubernetes.container.as_deref().unwrap_or_default();
    match (&kubernetes.namespace, &kubernetes.workload, &kubernetes.pod, &kubernetes.pod_uid) {
        (Some(namespace), Some(workload), ..) => {
            Some(format!("{namespace}/{}/{}/{container}", workload.kind, workload.name))
        }
        (Some(namespace), None, Some(pod), _) => Some(format!("{namespace}/{pod}/{container}")),
        (.., Some(uid)) => Some(format!("pod {uid} {container}")),
        _ => kubernetes.container_id.as_ref().map(|id| format!("container {id}")),
    }
}

impl Recurrence {
    /// Nothing is known of before `known_since`.
    pub fn new(known_since: Timestamp) -> Self {
        Self { known_since, hit: HashMap::new(), turn: 0 }
    }

    /// Notes an incident of whoever [`same`] names, and tells how often there was one within the hour that ends with
    /// it. `None` for the first.
    pub fn note(&mut self, same: &str, at: Timestamp) -> Option<Repeats> {
        self.turn += 1;
        if !self.hit.contains_key(same) && self.hit.len() >= REMEMBERED {
            let oldest = self.hit.iter().min_by_key(|(_, hits)| hits.last_turn).map(|(same, _)| same.clone());
            oldest.and_then(|oldest| self.hit.remove(&oldest));
        }
        let hits = self.hit.entry(same.to_owned()).or_default();
        hits.last_turn = self.turn;
        // The log's incidents of before may come behind the probe's.
        let place = hits.times.partition_point(|time| *time <= at);
        hits.times.insert(place, at);
        let newest = hits.times.back().copied().unwrap_or(at);
        while hits.times.front().is_some_and(|time| newest.duration_since(*time) > WINDOW) {
            hits.times.pop_front();
            // What is kept goes back further than the hour again.
            hits.is_cut = false;
        }
        if hits.times.len() > INCIDENTS {
            hits.times.pop_front();
            hits.is_cut = true;
        }
        let is_within = |time: &&Timestamp| **time <= at && at.duration_since(**time) <= WINDOW;
        let within: Vec<Timestamp> = hits.times.iter().filter(is_within).copied().collect();
        let first = within.first().copied()?;
        let since = if hits.is_cut { self.known_since.max(first) } else { self.known_since };
        let window = at.duration_since(since.min(first)).min(WINDOW);
        let count = u64::try_from(within.len()).ok().filter(|count| *count > 1)?;
        let seconds = |duration: SignedDuration| u64::try_from(duration.as_secs()).ok();
        Some(Repeats {
            count,
            window_seconds: seconds(window)?,
            first_time: Some(format!("{first:.6}")),
            mean_interval_seconds: seconds(at.duration_since(first)).map(|all| all / (count - 1)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Workload;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_763_700_000 + seconds).unwrap()
    }

    fn told(repeats: Option<Repeats>) -> Option<(u64, u64, Option<u64>)> {
        repeats.map(|repeats| (repeats.count, repeats.window_seconds, repeats.mean_interval_seconds))
    }

    #[test]
    fn kills_of_the_same_within_the_hour_are_counted() {
        let mut recurrence = Recurrence::new(at(-100_000));
        assert_eq!(recurrence.note("a", at(0)), None);
        assert_eq!(recurrence.note("b", at(1)), None);
        assert_eq!(told(recurrence.note("a", at(600))), Some((2, 3600, Some(600))));
        let third = recurrence.note("a", at(3600)).unwrap();
        assert_eq!(third.first_time, Some(format!("{:.6}", at(0))));
        assert_eq!(told(Some(third)), Some((3, 3600, Some(1800))));
        assert_eq!(
            told(recurrence.note("a", at(3601))),
            Some((3, 3600, Some(1500))),
            "the first is long ago"
        );
        assert_eq!(recurrence.note("a", at(9000)), None);
        // From the log, behind: it is one of the past, and none of it was after it.
        assert_eq!(told(recurrence.note("a", at(8990))), None);
        assert_eq!(told(recurrence.note("a", at(9010))), Some((3, 3600, Some(10))));
    }

    #[test]
    fn what_is_not_known_is_not_part_of_the_window() {
        let mut recurrence = Recurrence::new(at(0));
        recurrence.note("a", at(10));
        assert_eq!(told(recurrence.note("a", at(70))), Some((2, 70, Some(60))));
        // The log told of one that was before the agent.
        recurrence.note("a", at(-30));
        assert_eq!(told(recurrence.note("a", at(80))), Some((4, 110, Some(36))));
    }

    #[test]
    fn a_storm_and_many_containers_take_bounded_memory() {
        let mut recurrence = Recurrence::new(at(-100_000));
        let mut last = None;
        for second in 0..1000 {
            last = recurrence.note("storm", at(second));
        }
        assert_eq!(told(last), Some((128, 127, Some(1))), "not more seconds than incidents are known of");
        for other in 0..5000 {
            recurrence.note(&format!("other-{other}"), at(1000));
            recurrence.note("storm", at(1000));
        }
        assert_eq!(recurrence.hit.len(), REMEMBERED);
        assert!(recurrence.hit.values().all(|hits| hits.times.len() <= INCIDENTS));
        assert_eq!(told(recurrence.note("other-4990", at(1010))), Some((2, 3600, Some(10))));
        assert_eq!(recurrence.note("other-1", at(1010)), None, "it was forgotten");
        recurrence.note("storm", at(9000));
        assert_eq!(told(recurrence.note("storm", at(9060))), Some((2, 3600, Some(60))));
    }

    #[test]
    fn a_container_stays_the_same_in_another_pod_of_its_workload() {
        let workload = Workload { kind: "Deployment".to_owned(), name: "web".to_owned() };
        let named = Kubernetes {
            namespace: Some("shop".to_owned()),
            pod: Some("web-1".to_owned()),
            pod_uid: Some("u1".to_owned()),
            container: Some("app".to_owned()),
            workload: Some(workload),
            ..Kubernetes::default()
        };
        let same = |kubernetes: &Kubernetes| same(Some(kubernetes), Some("/x")).unwrap();
        assert_eq!(same(&named), "shop/Deployment/web/app");
        let bare = Kubernetes { workload: None, ..named.clone() };
        assert_eq!(same(&bare), "shop/web-1/app");
        let nameless = Kubernetes { namespace: None, container: None, ..bare };
        assert_eq!(same(&nameless), "pod u1 ");
        assert_eq!(super::same(None, Some("/system.slice/a")).as_deref(), Some("cgroup /system.slice/a"));
        assert_eq!(super::same(None, None), None);
    }
}
