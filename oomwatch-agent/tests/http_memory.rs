//! Clients that ask for much and read nothing must not get the agent killed: its pod has 64 MiB.
//!
//! What is allocated is counted: a body that is held for a client is heap. The kernel's buffers come on top, and are
//! bounded for each connection.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, which clippy takes for one only where #[test] stands"
)]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    thread::sleep,
    time::Duration,
};

use jiff::SignedDuration;
use oomwatch_agent::{
    config::{ApiChoice, BacklogChoice, HttpOptions, JournalOptions, MetricsOptions},
    health::Health,
    history::{History, Kept},
    http::{Counts, Replied, Served, bind, serve},
    metrics::{Metrics, Sources},
};
use oomwatch_common::{
    pods::{Pod, PodContainer},
    units::BoottimeNs,
};
use peak_alloc::PeakAlloc;
use tokio::runtime;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const CLIENTS: usize = 64;
/// As many as have series of their own by default.
const CONTAINERS: u16 = 4096;
const BOUND: usize = 40 << 20;

fn pods() -> Vec<Pod> {
    let container = |number| PodContainer { name: format!("container-{number}"), ..PodContainer::default() };
    let pod = Pod {
        namespace: "a-namespace-of-some-length".to_owned(),
        name: "a-service-6d4cf56db6-abcde".to_owned(),
        containers: (0..CONTAINERS).map(container).collect(),
        ..Pod::default()
    };
    vec![pod]
}

fn start() -> (SocketAddr, Arc<Counts>) {
    let listener = bind(&HttpOptions { listen: Some("127.0.0.1:0".parse().unwrap()), api: ApiChoice::Local });
    let listener = listener.unwrap().unwrap();
    let address = listener.address().unwrap();
    let journal = JournalOptions {
        journal: None,
        journal_max_mib: 1,
        journal_max_age: SignedDuration::from_hours(1),
        backlog: BacklogChoice::Off,
    };
    let history = Arc::new(History::open(&journal).unwrap());
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for number in 0..1000 {
        let report = format!(r#"{{"id":"b-{number}","filler":"{}"}}"#, "x".repeat(1000));
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
    let options = MetricsOptions { metrics_containers: CONTAINERS, metrics_grace_minutes: 10 };
    let metrics = Arc::new(Metrics::new(&options, sources));
    metrics.see(pods().iter(), BoottimeNs(0));
    let served = Served { metrics, health, history, api: ApiChoice::Local, counts: Arc::clone(&counts) };
    serve(listener, served).unwrap();
    (address, counts)
}

#[test]
fn clients_that_do_not_read_do_not_fill_the_memory() {
    let (server, counts) = start();
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    let mut clients = Vec::new();
    let answered = || {
        let outcomes = [Replied::Ok, Replied::Unavailable];
        outcomes.iter().map(|outcome| counts.replied.get(*outcome)).sum::<u64>()
    };
    for path in ["/metrics", "/api/v1/incidents?limit=1000"] {
        let begun = answered();
        for _ in 0..CLIENTS {
            let mut client = TcpStream::connect(server).unwrap();
            client.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
            clients.push(client);
        }
        while answered() < begun + u64::try_from(CLIENTS).unwrap() {
            sleep(Duration::from_millis(20));
        }
    }
    let grown = ALLOCATED.peak_usage() - before;
    println!("{} KiB at most", grown / 1024);
    assert!(grown < BOUND, "{grown} bytes");
    drop(clients);
    let mut client = TcpStream::connect(server).unwrap();
    client.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.len() > 2 << 20, "{} bytes", answer.len());
}
