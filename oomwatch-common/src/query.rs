//! Which incidents are asked for: `oomwatch events` and `GET /api/v1/incidents` understand the same words.

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, Unit};
use serde::Deserialize;

use crate::{
    diagnose::{Reason, ReasonSet},
    report::Report,
    scope::Scope,
};

/// What of an incident must fit. What is `None` fits always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The pod's name.
    pub pod: Option<String>,
    /// The container's name.
    pub container: Option<String>,
    /// A finding is of it: the cause, or what refines that.
    pub cause: Option<Reason>,
    /// What hit its limit.
    pub scope: Option<Scope>,
}

/// What of a report can be asked for: read off its JSON without the rest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Header {
    /// [`Report::id`]
    pub id: String,
    /// [`Report::time`]
    pub time: Timestamp,
    /// [`Report::scope`]
    pub scope: Scope,
    /// Causes of [`Report::findings`]
    #[serde(default)]
    pub findings: ReasonSet,
    /// The first victim's pod and container.
    #[serde(default)]
    pub kubernetes: Names,
}

/// Names of a pod and a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Names {
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The pod's name.
    pub pod: Option<String>,
    /// The container's name.
    pub container: Option<String>,
}

impl Filter {
    /// Whether an incident is one of those that are asked for.
    pub fn fits(&self, header: &Header) -> bool {
        let named = |asked: &Option<String>, is: &Option<String>| asked.is_none() || asked == is;
        self.since.is_none_or(|since| header.time >= since)
            && self.until.is_none_or(|until| header.time < until)
            && named(&self.namespace, &header.kubernetes.namespace)
            && named(&self.pod, &header.kubernetes.pod)
            && named(&self.container, &header.kubernetes.container)
            && self.cause.is_none_or(|cause| header.findings.contains(cause))
            && self.scope.is_none_or(|scope| header.scope == scope)
    }
}

impl Header {
    /// `None` where the report's time is no time.
    pub fn of(report: &Report) -> Option<Self> {
        let names = report.kubernetes.as_ref().map_or_else(Names::default, |kubernetes| Names {
            namespace: kubernetes.namespace.clone(),
            pod: kubernetes.pod.clone(),
            container: kubernetes.container.clone(),
        });
        Some(Self {
            id: report.id.clone(),
            time: report.time.parse().ok()?,
            scope: report.scope,
            findings: report.findings.iter().map(|finding| finding.cause.name()).collect(),
            kubernetes: names,
        })
    }
}

/// A point in time: `2026-11-21T07:00:00Z`, or how long ago: `2h`, `1h 30m`, `7d` (of 24 hours).
///
/// # Errors
/// A line that says what was expected.
pub fn point_in_time(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    duration(text)
        .and_then(|ago| now.checked_sub(ago).ok())
        .ok_or_else(|| format!("{text:?} is neither a time (2026-11-21T07:00:00Z) nor how long ago (2h, 7d)"))
}

/// `90s`, `2h`, `7d`. `None` for anything else, and for what is not positive.
pub fn duration(text: &str) -> Option<SignedDuration> {
    let span: Span = text.trim().parse().ok()?;
    let seconds = span.total((Unit::Second, SpanRelativeTo::days_are_24_hours())).ok()?;
    let duration = SignedDuration::try_from_secs_f64(seconds).ok()?;
    duration.is_positive().then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::{Cause, Refinement};

    fn header(json: &str) -> Header {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_is_asked_for_fits() {
        let shop = header(
            r#"{"id":"b-1","time":"2026-11-21T07:00:00.5Z","scope":"container",
               "findings":[{"cause":"container_limit"},{"cause":"child_killed"}],
               "kubernetes":{"namespace":"shop","pod":"web-0","container":"app","pod_uid":"u"}}"#,
        );
        let node = header(
            r#"{"id":"b-2","time":"2026-11-21T08:00:00Z","scope":"node","findings":[{"cause":"node_exhausted"}]}"#,
        );
        let at = |text: &str| Some(text.parse().unwrap());
        let cause = |reason| Filter { cause: Some(reason), ..Filter::default() };
        let table: &[(Filter, bool, bool)] = &[
            (Filter::default(), true, true),
            (Filter { namespace: Some("shop".into()), ..Filter::default() }, true, false),
            (Filter { pod: Some("web".into()), ..Filter::default() }, false, false),
            (Filter { container: Some("app".into()), ..Filter::default() }, true, false),
            (cause(Reason::Cause(Cause::NodeExhausted)), false, true),
            (cause(Reason::Refinement(Refinement::ChildKilled)), true, false),
            (Filter { scope: Some(Scope::Container), ..Filter::default() }, true, false),
            (Filter { since: at("2026-11-21T07:00:00.5Z"), ..Filter::default() }, true, true),
            (Filter { until: at("2026-11-21T07:00:00.5Z"), ..Filter::default() }, false, false),
        ];
        for (filter, first, second) in table {
            assert_eq!((filter.fits(&shop), filter.fits(&node)), (*first, *second), "{filter:?}");
        }
    }

    #[test]
    fn times_are_points_or_ages() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2h", Some("2026-11-21T10:00:00Z")),
            ("7d", Some("2026-11-14T12:00:00Z")),
            ("1h 30m", Some("2026-11-21T10:30:00Z")),
            ("90s", Some("2026-11-21T11:58:30Z")),
            ("2026-11-21T07:00:00Z", Some("2026-11-21T07:00:00Z")),
            ("2026-11-21T07:00:00+02:00", Some("2026-11-21T05:00:00Z")),
            ("", None),
            ("2", None),
            ("-2h", None),
            ("0s", None),
            ("yesterday", None),
            ("99999999999d", None),
        ] {
            let is = point_in_time(text, now);
            assert_eq!(is.ok(), expected.map(|time| time.parse().unwrap()), "{text}");
        }
    }
}
