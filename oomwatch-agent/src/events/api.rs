//! A running agent's API: one request at a time over plain HTTP, bounded in time and size.

use std::{fmt, net::SocketAddr, time::Duration};

use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use oomwatch_common::{escape::decode_replacing, query::Filter};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{net::TcpStream, time::timeout};

use super::source::{Answer, Asked};
use crate::history::Order;

/// How long an answer may take, all of it.
const WITHIN: Duration = Duration::from_secs(10);
/// An answer is not read further. The agent's pages are about 1 MiB, or one report.
const MOST_BYTES: usize = 32 << 20;
/// The most that is asked for at a time.
const PAGE: usize = 500;
/// Of an error's text.
const MOST_SHOWN: usize = 200;

/// An agent's API.
#[derive(Debug)]
pub(super) struct Api {
    /// `HOST:PORT`, as TCP and the Host header have it.
    authority: String,
    /// What stands before the API's own paths, without a slash at its end.
    prefix: String,
}

#[derive(Deserialize)]
struct Incidents {
    incidents: Vec<Box<RawValue>>,
    next: Option<String>,
}

impl Api {
    /// By its URL.
    pub(super) fn at(url: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "not an URL of an agent: http://HOST:PORT is (TLS is not spoken)";
        let uri: Uri = url.parse().map_err(|_| EXPECTED)?;
        let authority = uri.authority().filter(|authority| !authority.host().is_empty()).ok_or(EXPECTED)?;
        if uri.scheme_str() != Some("http") || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(EXPECTED);
        }
        let authority = match authority.port() {
            Some(_) => authority.to_string(),
            None => format!("{authority}:80"),
        };
        Ok(Self { authority, prefix: uri.path().trim_end_matches('/').to_owned() })
    }

    /// By its address.
    pub(super) fn of(address: SocketAddr) -> Self {
        Self { authority: address.to_string(), prefix: String::new() }
    }

    /// One page.
    pub(super) async fn page(&self, asked: &Asked<'_>) -> Result<Answer, String> {
        let target = format!("{}/api/v1/incidents?{}", self.prefix, query(asked));
        let answer = timeout(WITHIN, self.get(&target)).await;
        let body = answer.unwrap_or_else(|_| Err(format!("no answer within {} s", WITHIN.as_secs())));
        let page = body.and_then(|body| {
            serde_json::from_slice::<Incidents>(&body)
                .map_err(|error| format!("answered what is no page: {error}"))
        });
        let page = page.map_err(|error| format!("{self}: {error}"))?;
        let reports = page.incidents.iter().map(|report| report.get().to_owned()).collect();
        Ok(Answer { reports, next: page.next })
    }

    async fn get(&self, target: &str) -> Result<Bytes, String> {
        let stream =
            TcpStream::connect(&self.authority).await.map_err(|error| format!("connecting: {error}"))?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(64 << 10)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        // It ends with the answer, or when this is dropped for want of one.
        let connection = AbortOnDrop(tokio::spawn(connection));
        let request = Request::get(target)
            .header(header::HOST, &self.authority)
            .header(header::ACCEPT, "application/json")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        drop(connection);
        let body = body.map_err(|error| format!("reading the answer: {error}"))?.to_bytes();
        if status != StatusCode::OK {
            let shown = body.get(..MOST_SHOWN).unwrap_or(&body).trim_ascii();
            return Err(format!("answered {status}: {}", decode_replacing(shown)));
        }
        Ok(body)
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.prefix)
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn query(asked: &Asked<'_>) -> String {
    // The command asks for no scope.
    let Filter { since, until, namespace, pod, container, cause, scope: _ } = asked.filter;
    let mut query = form_urlencoded::Serializer::new(String::new());
    let order = match asked.order {
        Order::NewestFirst => "desc",
        Order::OldestFirst => "asc",
    };
    query.append_pair("order", order).append_pair("limit", &asked.limit.min(PAGE).to_string());
    let pairs = [
        ("since", since.map(|time| time.to_string())),
        ("until", until.map(|time| time.to_string())),
        ("namespace", namespace.clone()),
        ("pod", pod.clone()),
        ("container", container.clone()),
        ("cause", cause.map(|cause| cause.name().to_owned())),
        ("cursor", asked.cursor.clone()),
    ];
    for (name, value) in pairs {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    query.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_named_by_a_plain_url() {
        for (url, expected) in [
            ("http://127.0.0.1:9977", "http://127.0.0.1:9977"),
            ("http://[::1]:9977/", "http://[::1]:9977"),
            ("http://node", "http://node:80"),
            ("http://node:1/oomwatch/", "http://node:1/oomwatch"),
        ] {
            assert_eq!(Api::at(url).unwrap().to_string(), expected);
        }
        for wrong in
            ["", "node:9977", "https://node", "http://", "http://u:p@node", "http://node?x=1", "http://a b"]
        {
            assert!(Api::at(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_question_is_spelled_so_that_no_name_changes_it() {
        let filter = Filter {
            since: Some("2026-11-21T07:00:00+02:00".parse().unwrap()),
            namespace: Some("a&limit=9 ü".into()),
            ..Filter::default()
        };
        let asked = Asked {
            filter: &filter,
            order: Order::OldestFirst,
            limit: 100_000,
            cursor: Some("1-2-3".into()),
        };
        assert_eq!(
            query(&asked),
            "order=asc&limit=500&since=2026-11-21T05%3A00%3A00Z&namespace=a%26limit%3D9+%C3%BC&cursor=1-2-3"
        );
    }
}
