//! Repeated kills of the same container: what the reporter remembers of them, also over its own restart.

use jiff::{SignedDuration, Timestamp};
use oomwatch_common::{
    attribution::Attribution,
    escape::escape,
    incident::Incident,
    query::Filter,
    recurrence::{Recurrence, WINDOW, same},
    report::{Kubernetes, Repeats},
};
use serde::Deserialize;

use crate::{
    history::{History, Order, Query},
    record::Circumstances,
};

/// Pages of the history that are looked at, and incidents in each: a start must not wait for a storm of before.
const PAGES: usize = 4;
const ON_A_PAGE: usize = 128;

/// What of a kept report says who was hit when.
#[derive(Deserialize)]
struct Kept {
    time: Timestamp,
    #[serde(default)]
    kubernetes: Option<Kubernetes>,
    #[serde(default)]
    cgroup: Option<KeptCgroup>,
}

#[derive(Deserialize)]
struct KeptCgroup {
    cgroup: String,
}

/// What the history has of the last hour. Blocking; for the start.
pub fn since_start(history: &History) -> Recurrence {
    seeded(history, Timestamp::now())
}

fn seeded(history: &History, now: Timestamp) -> Recurrence {
    let begin = now.checked_sub(WINDOW).unwrap_or(now);
    let (mut kept, mut is_whole) = (Vec::new(), false);
    let mut query =
        Query { filter: Filter::default(), order: Order::NewestFirst, limit: ON_A_PAGE, cursor: None };
    for _ in 0..PAGES {
        let page = match history.page(&query) {
            Ok(page) => page,
            Err(error) => {
                tracing::debug!(%error, "what happened in the last hour is not known");
                break;
            }
        };
        let read = page.reports.iter().filter_map(|report| serde_json::from_str::<Kept>(report).ok());
        kept.extend(read.filter(|kept| kept.time <= now));
        query.cursor = page.next;
        is_whole = page.next.is_none() || kept.last().is_some_and(|oldest| oldest.time < begin);
        if is_whole {
            break;
        }
    }
    // Without a journal nobody knows what was before this start.
    let oldest = kept.last().map_or(now, |oldest| oldest.time);
    let known_since = if is_whole && history.stats().is_some() { begin } else { oldest };
    let mut recurrence = Recurrence::new(known_since);
    for kept in kept.iter().rev().filter(|kept| kept.time >= begin) {
        let cgroup = kept.cgroup.as_ref().map(|cgroup| cgroup.cgroup.as_str());
        if let Some(same) = same(kept.kubernetes.as_ref(), cgroup) {
            recurrence.note(&same, kept.time);
        }
    }
    recurrence
}

/// Notes an incident, and tells how often its victim's container was hit within the last hour.
pub fn note(
    recurrence: &mut Recurrence,
    incident: &Incident,
    attribution: &Attribution,
    circumstances: &Circumstances,
) -> Option<Repeats> {
    let kubernetes = attribution.victim.as_ref().map(|victim| &victim.kubernetes);
    let memcg = incident.victims.first().and_then(|victim| victim.memcg.as_ref());
    let cgroup = memcg.map(|memcg| escape(&memcg.path.to_bytes()));
    let booted = Timestamp::from_nanosecond(circumstances.realtime_at_boot_ns).ok()?;
    let since_boot = SignedDuration::try_from_nanos_i128(incident.at.0.into())?;
    recurrence.note(&same(kubernetes, cgroup.as_deref())?, booted.checked_add(since_boot).ok()?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;
    use crate::{
        config::{BacklogChoice, JournalOptions},
        history,
    };

    fn report(time: Timestamp, kubernetes: &str) -> history::Kept {
        let report = format!(
            r#"{{"schema":1,"id":"b-{}","time":"{time}","boot_id":"b","node":"n","probe":{{"level":"kprobe"}},
               "source":"live","scope":"container","cause":"container_limit","victims":[],"findings":[],"gaps":[],
               {kubernetes}"cgroup":{{"cgroup":"/system.slice/a.service"}},
               "latency":{{"hook_to_capture_us":1,"hook_to_read_us":1,"hook_to_report_us":1}}}}"#,
            time.as_second()
        );
        history::Kept { report: report.replace('\n', " "), counts: "{}".to_owned() }
    }

    fn options(journal: Option<&std::path::Path>) -> JournalOptions {
        JournalOptions {
            journal: journal.map(std::path::Path::to_owned),
            journal_max_mib: 8,
            journal_max_age: SignedDuration::from_hours(24),
            backlog: BacklogChoice::Off,
        }
    }

    #[tokio::test]
    async fn kills_before_a_restart_count_where_there_is_a_journal() {
        let dir = tempfile::tempdir().unwrap();
        // The journal drops what is older than a day.
        let now = Timestamp::now();
        let before = |seconds| now.checked_sub(SignedDuration::from_secs(seconds)).unwrap();
        let pod = r#""kubernetes":{"namespace":"shop","pod":"web-1","container":"app",
            "workload":{"kind":"Deployment","name":"web"}},"#;
        let history = History::open(&options(Some(dir.path()))).unwrap();
        for (seconds, kubernetes) in [(7200, pod), (1800, pod), (900, ""), (600, pod)] {
            history.keep(report(before(seconds), kubernetes)).await;
        }
        // The disk may be slow, and is not waited for then.
        while history.stats().unwrap().incidents < 4 {
            sleep(Duration::from_millis(10)).await;
        }
        let mut recurrence = seeded(&history, now);
        let again = recurrence.note("shop/Deployment/web/app", now).unwrap();
        assert_eq!((again.count, again.window_seconds, again.mean_interval_seconds), (3, 3600, Some(900)));
        assert_eq!(again.first_time, Some(format!("{:.6}", before(1800))));
        assert_eq!(recurrence.note("cgroup /system.slice/a.service", now).map(|again| again.count), Some(2));
        assert_eq!(recurrence.note("cgroup /another", now), None);

        let mut without = seeded(&History::open(&options(None)).unwrap(), now);
        assert_eq!(without.note("a", now), None);
        let soon = now.checked_add(SignedDuration::from_secs(5)).unwrap();
        assert_eq!(without.note("a", soon).map(|again| again.window_seconds), Some(5));
    }
}
