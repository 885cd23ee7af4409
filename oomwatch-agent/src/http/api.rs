//! The query of `/api/v1/incidents`.

use jiff::Timestamp;
use oomwatch_common::{
    diagnose::Reason,
    query::{Filter, point_in_time},
    scope::Scope,
};
use percent_encoding::percent_decode_str;

use crate::history::{Order, Query};

/// Incidents of a page where nobody says how many.
const USUALLY: usize = 100;
const AT_MOST: usize = 1000;
const PARAMETERS: &str = "since, until, namespace, pod, container, cause, scope, order, limit, cursor";

/// Reads `since=2h&namespace=shop`.
///
/// # Errors
/// One line that says what is allowed.
pub(super) fn query(text: &str, now: Timestamp) -> Result<Query, String> {
    let mut query =
        Query { filter: Filter::default(), order: Order::NewestFirst, limit: USUALLY, cursor: None };
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let value = value.into_owned();
        match name.as_ref() {
            "since" => query.filter.since = Some(point_in_time(&value, now)?),
            "until" => query.filter.until = Some(point_in_time(&value, now)?),
            "namespace" => query.filter.namespace = Some(value),
            "pod" => query.filter.pod = Some(value),
            "container" => query.filter.container = Some(value),
            "cause" => {
                let all: Vec<_> = Reason::all().collect();
                query.filter.cause = Some(one_of("cause", &value, &all, |reason| reason.name())?);
            }
            "scope" => query.filter.scope = Some(one_of("scope", &value, &Scope::ALL, |scope| scope.name())?),
            "order" => {
                let orders = [Order::NewestFirst, Order::OldestFirst];
                query.order = one_of("order", &value, &orders, |order| match order {
                    Order::NewestFirst => "desc",
                    Order::OldestFirst => "asc",
                })?;
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=AT_MOST).contains(limit));
                query.limit = limit.ok_or_else(|| format!("limit is a number from 1 to {AT_MOST}"))?;
            }
            "cursor" => query.cursor = Some(value.parse()?),
            _ => return Err(format!("{name:?} is not known; there are {PARAMETERS}")),
        }
    }
    Ok(query)
}

fn one_of<T: Copy>(
    what: &str,
    value: &str,
    all: &[T],
    name: impl Fn(&T) -> &'static str,
) -> Result<T, String> {
    all.iter().find(|one| name(one) == value).copied().ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(name).collect();
        format!("{what} is one of {}", names.join(", "))
    })
}

/// The id behind `/api/v1/incidents/`.
pub(super) fn id(path: &str) -> Option<String> {
    let id = percent_decode_str(path).decode_utf8().ok()?;
    (!id.is_empty() && !id.contains('/')).then(|| id.into_owned())
}

#[cfg(test)]
mod tests {
    use oomwatch_common::diagnose::Cause;

    use super::*;

    #[test]
    fn a_query_is_understood_whole_or_refused() {
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let asked = query(
            "since=2h&until=2026-11-21T11:00:00%2B00:00&namespace=shop&pod=a%2Db&container=c&cause=pod_limit&scope=pod\
             &order=asc&limit=7&cursor=1-2-3",
            now,
        )
        .unwrap();
        assert_eq!(asked.filter.since, Some("2026-11-21T10:00:00Z".parse().unwrap()));
        assert_eq!(asked.filter.until, Some("2026-11-21T11:00:00Z".parse().unwrap()));
        assert_eq!(
            (asked.filter.pod.as_deref(), asked.filter.cause),
            (Some("a-b"), Some(Reason::Cause(Cause::PodLimit)))
        );
        assert_eq!((asked.order, asked.limit, asked.filter.scope), (Order::OldestFirst, 7, Some(Scope::Pod)));
        assert!(asked.cursor.is_some());
        assert_eq!(query("", now).unwrap().limit, USUALLY);
        for (wrong, named) in [
            ("since=yesterday", "since"),
            ("limit=0", "1 to 1000"),
            ("limit=1001", "1 to 1000"),
            ("limit=-1", "1 to 1000"),
            ("cause=none", "container_limit"),
            ("scope=none", "kubepods"),
            ("order=up", "desc, asc"),
            ("cursor=x", "cursor"),
            ("sinse=2h", "sinse"),
            ("=", "not known"),
        ] {
            let error = query(wrong, now).unwrap_err();
            assert!(error.contains(named) || named == "since", "{wrong}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
        assert_eq!((id("b-1").as_deref(), id("b%2D1").as_deref()), (Some("b-1"), Some("b-1")));
        assert_eq!((id(""), id("a/b"), id("%ff"), id("..%2f..")), (None, None, None, None));
    }
}
