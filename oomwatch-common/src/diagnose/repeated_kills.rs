//! The same container was killed before.

use super::{Confidence, Facts, Finding, Refinement, evidence::EvidenceList};

pub(super) fn repeated_kills(facts: &Facts<'_>) -> Option<Finding> {
    let repeats = facts.report.repeats.as_ref().filter(|repeats| repeats.count > 1)?;
    let mut evidence = EvidenceList::default();
    evidence.count("kills", repeats.count, "incidents", "oomwatch");
    evidence.count("window", repeats.window_seconds, "seconds", "oomwatch");
    let interval = repeats.mean_interval_seconds.map_or(String::new(), |interval| {
        evidence.count("mean_interval", interval, "seconds", "oomwatch");
        match interval {
            0 => ", less than a second apart".to_owned(),
            _ => format!(", one each {} on average", duration(interval)),
        }
    });
    let restarts =
        facts.kubernetes().and_then(|kubernetes| kubernetes.restarts).filter(|restarts| *restarts > 0);
    if let Some(restarts) = restarts {
        evidence.count("restarts", u64::from(restarts), "restarts", "kubelet");
    }
    let text = format!(
        "It is kill {} of this container within {}{interval}: a loop of kills and restarts, not an accident.",
        repeats.count,
        duration(repeats.window_seconds),
    );
    let advice = vec![
        "Kills at even intervals speak for the same work, or the same growth, each time: the interval is how \
         long the container takes to reach its limit."
            .to_owned(),
    ];
    Some(Finding::refining(Refinement::RepeatedKills, Confidence::Certain, text, evidence, advice))
}

/// `90 s`, `12 min`, `6 h`
fn duration(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}
