//! What is answered to a request.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use jiff::Timestamp;
use oomwatch_common::escape::escape;
use serde_json::{json, value::RawValue};
use tokio::task::spawn_blocking;

use super::{Served, api, negotiate, room::Room};
use crate::config::ApiChoice;

const ENDPOINTS: &str = "\
oomwatch

/metrics                what Prometheus scrapes
/healthz                200 while the loops turn
/readyz                 200 once the probe is attached and proved
/api/v1/incidents       reports as JSON: ?since=2h&namespace=shop&limit=10, and more in docs/http.md
/api/v1/incidents/ID    one of them
";
const INCIDENTS: &str = "/api/v1/incidents";

pub(super) type Answer = Response<Full<Bytes>>;

/// Answers one request of `peer`.
pub(super) async fn answer(
    request: &Request<Incoming>,
    peer: IpAddr,
    served: &Arc<Served>,
    room: &Room,
) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refused.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return last(refused);
    }
    if !request.body().is_end_stream() {
        return last(text(StatusCode::BAD_REQUEST, "a request with a body\n"));
    }
    let path = request.uri().path();
    match path {
        "/" => text(StatusCode::OK, ENDPOINTS),
        "/metrics" => metrics(request, served, room),
        "/healthz" => match served.health.ailments().await {
            ailments if ailments.is_empty() => text(StatusCode::OK, "ok\n"),
            ailments => text(StatusCode::SERVICE_UNAVAILABLE, ailments.join("\n") + "\n"),
        },
        "/readyz" if served.health.is_ready() => text(StatusCode::OK, "ok\n"),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "the probe is not attached\n"),
        _ => match path.strip_prefix(INCIDENTS) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => match may_read(peer, served.api) {
                Ok(()) if rest.is_empty() => {
                    page(request.uri().query().unwrap_or_default(), served, room).await
                }
                Ok(()) => one(rest.trim_start_matches('/'), served).await,
                Err(why) => error(StatusCode::FORBIDDEN, why),
            },
            _ => text(StatusCode::NOT_FOUND, "not found; / lists what there is\n"),
        },
    }
}

/// `kubectl port-forward` and `kubectl exec` come from the pod's own loopback.
fn may_read(peer: IpAddr, api: ApiChoice) -> Result<(), &'static str> {
    match api {
        ApiChoice::All => Ok(()),
        ApiChoice::Local if peer.to_canonical().is_loopback() => Ok(()),
        ApiChoice::Local => {
            Err("incidents are told to clients of the same host or pod only: use kubectl port-forward, \
                                 or start the agent with --api all")
        }
        ApiChoice::Off => Err("the agent was started with --api off"),
    }
}

fn metrics(request: &Request<Incoming>, served: &Served, room: &Room) -> Answer {
    let accept: Vec<&str> =
        request.headers().get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = negotiate::format(Some(accept.join(",").as_str()));
    match room.exposition(format, || served.metrics.encode(format)) {
        Ok(encoded) => {
            let mut answer = of(StatusCode::OK, negotiate::content_type(format), encoded);
            answer.headers_mut().insert(header::VARY, header::HeaderValue::from_static("Accept"));
            answer
        }
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "no metrics now: other clients do not read theirs\n"),
    }
}

async fn page(query: &str, served: &Arc<Served>, room: &Room) -> Answer {
    let query = match api::query(query, Timestamp::now()) {
        Ok(query) => query,
        Err(why) => return error(StatusCode::BAD_REQUEST, &why),
    };
    let Some(place) = room.for_a_page().await else {
        let why = "other clients have not read their incidents yet: try again";
        return error(StatusCode::SERVICE_UNAVAILABLE, why);
    };
    let history = Arc::clone(&served.history);
    match spawn_blocking(move || history.page(&query)).await {
        Ok(Ok(page)) => {
            let incidents: Vec<&RawValue> =
                page.reports.iter().filter_map(|report| serde_json::from_str(report).ok()).collect();
            let mut body = json_of(&incidents);
            body.insert_str(0, "{\"incidents\":");
            if let Some(next) = page.next {
                body.extend([",\"next\":\"", &next.to_string(), "\""]);
            }
            body.push_str("}\n");
            of(StatusCode::OK, "application/json", place.holds(body))
        }
        Ok(Err(failed)) => error(StatusCode::INTERNAL_SERVER_ERROR, &failed.to_string()),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "reading incidents failed"),
    }
}

async fn one(path: &str, served: &Arc<Served>) -> Answer {
    let Some(id) = api::id(path) else { return error(StatusCode::NOT_FOUND, "that is no incident's id") };
    let (history, wanted) = (Arc::clone(&served.history), id.clone());
    match spawn_blocking(move || history.find(&wanted)).await {
        Ok(Ok(Some(report))) => of(StatusCode::OK, "application/json", report + "\n"),
        Ok(Ok(None)) => {
            let why = format!("no incident {}: it may be older than what is kept", escape(id.as_bytes()));
            error(StatusCode::NOT_FOUND, &why)
        }
        Ok(Err(failed)) => error(StatusCode::INTERNAL_SERVER_ERROR, &failed.to_string()),
        Err(_) => error(StatusCode::INTERNAL_SERVER_ERROR, "reading incidents failed"),
    }
}

fn json_of(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn error(status: StatusCode, why: &str) -> Answer {
    of(status, "application/json", json_of(&json!({ "error": why })) + "\n")
}

fn text(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Answer {
    of(status, "text/plain; charset=utf-8", text.into().into_owned())
}

fn of(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        answer.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    answer
}

/// What else the client sends is not looked at.
fn last(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    answer
}
