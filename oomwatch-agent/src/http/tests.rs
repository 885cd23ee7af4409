//! The real server on loopback, and clients of all kinds.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    path::Path,
};

use jiff::SignedDuration;

use super::*;
use crate::{
    config::{BacklogChoice, JournalOptions, MetricsOptions},
    history::Kept,
    metrics::Sources,
};

const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

fn start(listen: &str, api: ApiChoice, incidents: usize) -> SocketAddr {
    let options = HttpOptions { listen: Some(listen.parse().unwrap()), api };
    let listener = bind(&options).unwrap().unwrap();
    let address = listener.0.local_addr().unwrap();
    let journal = JournalOptions {
        journal: None,
        journal_max_mib: 1,
        journal_max_age: SignedDuration::from_hours(1),
        backlog: BacklogChoice::Off,
    };
    let history = Arc::new(History::open(&journal).unwrap());
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for number in 0..incidents {
        let report = format!(
            r#"{{"schema":1,"id":"b-{number}","time":"2026-11-21T07:00:00Z","scope":"node","cause":"node_exhausted"}}"#
        );
        runtime.block_on(history.keep(Kept { report, counts: "{}".to_owned() }));
    }
    let (health, counts) = (Arc::new(Health::default()), Arc::new(Counts::default()));
    let sources = Sources {
        proc: Path::new("/proc").to_owned(),
        losses: Arc::default(),
        progress: Arc::default(),
        kubelet: None,
        events: None,
        history: Arc::clone(&history),
        health: Arc::clone(&health),
        http: Arc::clone(&counts),
    };
    let options = MetricsOptions { metrics_containers: 10, metrics_grace_minutes: 10 };
    let metrics = Arc::new(Metrics::new(&options, sources));
    serve(listener, Served { metrics, health, history, api, counts }).unwrap();
    address
}

fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// All that is answered to these bytes.
fn answered(server: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(server);
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is the server's right, where it was sent too much.
    stream.read_to_end(&mut answer).ok();
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(server: SocketAddr, path: &str) -> String {
    answered(server, format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
}

fn starts(answer: &str, with: &str) {
    assert!(answer.starts_with(with), "not {with}: {}", answer.get(..200).unwrap_or(answer));
}

#[test]
fn every_endpoint_answers() {
    let server = start("127.0.0.1:0", ApiChoice::Local, 3);
    for (path, status) in [
        ("/", "200"),
        ("/metrics", "200"),
        ("/healthz", "200"),
        ("/readyz", "503"),
        ("/api/v1/incidents", "200"),
        ("/api/v1/incidents?limit=none", "400"),
        ("/api/v1/incidents/b-1", "200"),
        ("/api/v1/incidents/b-9", "404"),
        ("/api/v1/incidentsx", "404"),
        ("/metrics/../etc/passwd", "404"),
        ("/favicon.ico", "404"),
    ] {
        starts(&get(server, path), &format!("HTTP/1.1 {status} "));
    }
    let head = answered(server, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    starts(&head, "HTTP/1.1 200 ");
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    starts(&answered(server, b"GET /metrics HTTP/1.0\r\n\r\n"), "HTTP/1.0 200 ");
    starts(
        &answered(server, b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"),
        "HTTP/1.1 405 ",
    );
    starts(&answered(server, b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"), "HTTP/1.1 400 ");
}

#[test]
fn pages_follow_each_other_without_a_gap() {
    let server = start("127.0.0.1:0", ApiChoice::Local, 5);
    let mut seen = Vec::new();
    let mut path = "/api/v1/incidents?limit=2".to_owned();
    loop {
        let answer = get(server, &path);
        let page: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        let incidents = page["incidents"].as_array().unwrap();
        seen.extend(incidents.iter().map(|incident| incident["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/incidents?limit=2&cursor={next}");
    }
    assert_eq!(seen, ["b-4", "b-3", "b-2", "b-1", "b-0"]);
}

#[test]
fn incidents_are_told_as_the_choice_says() {
    let server = start("127.0.0.1:0", ApiChoice::Off, 1);
    starts(&get(server, "/api/v1/incidents"), "HTTP/1.1 403 ");
    starts(&get(server, "/metrics"), "HTTP/1.1 200 ");
}

#[test]
fn ipv6_serves_ipv4_too() {
    let server = start("[::]:0", ApiChoice::Local, 1);
    for address in ["127.0.0.1", "::1"] {
        let server = SocketAddr::new(address.parse().unwrap(), server.port());
        starts(&get(server, "/api/v1/incidents/b-0"), "HTTP/1.1 200 ");
    }
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let server = start("127.0.0.1:0", ApiChoice::Off, 0);
    let refused = bind(&HttpOptions { listen: Some(server), api: ApiChoice::Off }).err().unwrap();
    assert!(
        refused.text.contains(&server.to_string()) && refused.text.contains("another process"),
        "{refused}"
    );
    assert!(!refused.text.contains('\n'));
}

#[test]
fn what_is_not_http_costs_only_itself() {
    let server = start("127.0.0.1:0", ApiChoice::Off, 0);
    let long_path = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000));
    let long_header = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(70_000));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100));
    for garbage in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        b"\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
          GET /x HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        long_path.as_bytes(),
        long_header.as_bytes(),
        many_headers.as_bytes(),
    ] {
        let answer = answered(server, garbage);
        assert!(!answer.contains(" 200 "), "{:?}: {answer}", String::from_utf8_lossy(garbage));
    }
    starts(&answered(server, GET), "HTTP/1.1 200 ");
}

#[test]
fn several_requests_at_once_and_half_a_connection_are_answered() {
    let server = start("127.0.0.1:0", ApiChoice::Off, 0);
    let mut stream = connect(server);
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    stream.write_all(GET).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
}

#[test]
fn clients_that_only_hold_on_do_not_keep_others_out() {
    let server = start("127.0.0.1:0", ApiChoice::Off, 0);
    let mut slow: Vec<TcpStream> = Vec::new();
    for number in 0..4 * CONNECTIONS {
        let mut stream = connect(server);
        // Some send nothing, some a part of a request, some ask and do not read.
        let part: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /metrics HTTP/1.1\r\nX-Slow: ",
            _ => b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        };
        stream.write_all(part).ok();
        slow.push(stream);
        if number % 16 == 0 {
            starts(&answered(server, GET), "HTTP/1.1 200 ");
        }
    }
    let metrics = answered(server, GET);
    let sample = |name: &str| {
        let line = metrics
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("no {name}: {metrics}"));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert!(sample("oomwatch_http_connections ") <= 64.0);
    assert!(sample("oomwatch_http_connections_closed_total{reason=\"evicted\"}") >= 128.0);
}
