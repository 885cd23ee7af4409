//! Memory over a node's long life: 10,000 pods come and go, then a storm of kills; all of it through the index, the
//! metrics and the book of Events, as it goes in the agent. What is allocated is counted, so nothing here is timed.
//!
//! `cargo test -p oomwatch-agent --test scale -- --nocapture` prints the figures of docs/scale.md.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test, which clippy takes for one only where #[test] stands; its figures are for docs/scale.md"
)]

use std::{collections::VecDeque, path::Path, sync::Arc, time::Duration};

use jiff::SignedDuration;
use oomwatch_agent::{
    config::{BacklogChoice, JournalOptions, MetricsOptions},
    history::History,
    kubernetes::events::{
        Counts, Outcome,
        book::{Book, Order},
    },
    metrics::{Format, Metrics, Sources},
};
use oomwatch_common::{
    capture::Capture,
    kubernetes_event::told,
    pods::{ListReader, Pod, PodIndex},
    report::{Report, Workload},
    units::BoottimeNs,
};
use peak_alloc::PeakAlloc;
use tokio::time::Instant;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

const REPORT: &str = include_str!("../../tests/golden/replay-container_limit.json");
const POD_LIST: &str = include_str!("../../tests/fixtures/kubelet/api-multi-t2.json");
/// What Kubernetes supports on a node (<https://kubernetes.io/docs/setup/best-practices/cluster-large/>).
const ON_A_NODE: usize = 110;
const CONTAINERS: usize = 2;
const PODS: usize = 10_000;
/// Pods that are replaced from one poll of the kubelet to the next.
const REPLACED: usize = 10;
const STORM: u64 = 20_000;
const MINUTE_NS: u64 = 60_000_000_000;

/// A node's agent, as far as it keeps anything.
struct Node {
    now: BoottimeNs,
    begun: Instant,
    index: PodIndex,
    metrics: Metrics,
    book: Book,
    counts: Arc<Counts>,
    requests: u64,
    pods: VecDeque<Pod>,
    made: usize,
    template: Pod,
    report: Report,
}

impl Node {
    fn new(template: Pod, report: Report) -> Self {
        let counts = Arc::new(Counts::default());
        let begun = Instant::now();
        let options = MetricsOptions { metrics_containers: 4096, metrics_grace_minutes: 60 };
        let journal = JournalOptions {
            journal: None,
            journal_max_mib: 1,
            journal_max_age: SignedDuration::from_hours(1),
            backlog: BacklogChoice::Off,
        };
        let sources = Sources {
            proc: Path::new("/proc").to_owned(),
            losses: Arc::default(),
            progress: Arc::default(),
            kubelet: Some(Arc::default()),
            events: Some(Arc::clone(&counts)),
            history: Arc::new(History::open(&journal).unwrap()),
            health: Arc::default(),
            http: Arc::default(),
        };
        Self {
            now: BoottimeNs(0),
            begun,
            index: PodIndex::default(),
            metrics: Metrics::new(&options, sources),
            book: Book::new(Arc::clone(&counts), begun),
            counts,
            requests: 0,
            pods: VecDeque::new(),
            made: 0,
            template,
            report,
        }
    }

    fn instant(&self) -> Instant {
        self.begun + Duration::from_nanos(self.now.0)
    }

    /// A new pod of a Deployment, with ids that no other has.
    fn make_pod(&mut self) {
        self.made += 1;
        let number = self.made;
        let mut pod = self.template.clone();
        pod.namespace = format!("team-{}", number % 40);
        pod.name = format!("service-{}-6d4cf56db6-{number:05}", number % 200);
        pod.uid = format!("{number:08x}-3a47-4d1e-9c55-0b7e6f1d2a3c");
        let name = format!("service-{}", number % 200);
        pod.workload = Some(Workload { kind: "Deployment".to_owned(), name });
        pod.containers.truncate(CONTAINERS);
        for (place, container) in pod.containers.iter_mut().enumerate() {
            container.ids = vec![format!("{:064x}", number * CONTAINERS + place)];
        }
        self.pods.push_back(pod);
    }

    fn poll(&mut self) {
        while self.pods.len() < ON_A_NODE {
            self.make_pod();
        }
        let pods: Vec<Pod> = self.pods.iter().cloned().collect();
        self.index = self.index.updated(pods, self.now);
        self.metrics.see(self.index.present(), self.now);
    }

    fn kill(&mut self, place: usize) {
        let pod = &self.pods[place % self.pods.len()];
        let kubernetes = self.report.kubernetes.get_or_insert_default();
        kubernetes.namespace = Some(pod.namespace.clone());
        kubernetes.pod = Some(pod.name.clone());
        kubernetes.pod_uid = Some(pod.uid.clone());
        kubernetes.container = Some(pod.containers[0].name.clone());
        kubernetes.workload.clone_from(&pod.workload);
        self.report.id = format!("5f2b1c9e-3a47-4d1e-9c55-0b7e6f1d2a3c-{}", self.now.0);
        self.metrics.count(&self.report, &Capture::default(), self.now);
        self.metrics.reported(Duration::from_millis(3));
        let now = self.instant();
        for notice in told(&self.report).notices {
            self.book.take(notice, now);
        }
        self.tell();
    }

    /// Every request that the book wants made succeeds at once.
    fn tell(&mut self) {
        let now = self.instant();
        while let Some(order) = self.book.next(now, false) {
            assert!(matches!(order, Order::Create(..) | Order::Fold(..)));
            self.requests += 1;
            self.book.delivered(order, Ok(()), now);
        }
    }

    fn scrape(&self, format: Format) -> usize {
        self.metrics.encode(format).unwrap().len()
    }
}

fn template() -> Pod {
    let mut reader = ListReader::default();
    reader.push(POD_LIST.as_bytes()).unwrap();
    let pods = reader.finish().unwrap().pods;
    let mut pod = pods.into_iter().find(|pod| pod.containers.len() >= CONTAINERS).unwrap();
    pod.mirror_uid = None;
    pod
}

fn kib(bytes: usize) -> usize {
    bytes / 1024
}

#[test]
fn churn_and_a_storm_take_bounded_memory() {
    let mut node = Node::new(template(), serde_json::from_str(REPORT).unwrap());
    let before = ALLOCATED.current_usage();
    node.poll();
    let quiet = ALLOCATED.current_usage() - before;
    let text = String::from_utf8(node.metrics.encode(Format::Text).unwrap()).unwrap();
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    println!("{ON_A_NODE} pods of {CONTAINERS} containers: {} KiB, {series} series", kib(quiet));
    for format in [Format::Text, Format::OpenMetrics, Format::Protobuf] {
        println!("a scrape of them in {format:?}: {} bytes", node.scrape(format));
    }

    // Churn: a poll a minute, ten pods replaced at each, one of the new ones killed.
    let mut after_half = 0;
    while node.made < PODS {
        node.now = BoottimeNs(node.now.0 + MINUTE_NS);
        node.pods.drain(..REPLACED);
        node.poll();
        node.kill(ON_A_NODE - 1);
        if node.made <= PODS / 2 {
            after_half = ALLOCATED.current_usage() - before;
        }
    }
    let after_all = ALLOCATED.current_usage() - before;
    println!("after {} pods {} KiB, after {PODS} {} KiB", PODS / 2, kib(after_half), kib(after_all));
    println!("a scrape then in Text: {} bytes", node.scrape(Format::Text));
    assert!(after_all <= after_half * 11 / 10, "{after_half} bytes grew to {after_all}");

    // A storm: 1,000 kills a second, over all pods.
    let requests_before = node.requests;
    ALLOCATED.reset_peak_usage();
    for number in 0..STORM {
        node.now = BoottimeNs(node.now.0 + 1_000_000);
        node.kill(usize::try_from(number).unwrap());
    }
    let peak = ALLOCATED.peak_usage() - before;
    let requests = node.requests - requests_before;
    let folded = node.counts.get(Outcome::Folded);
    println!("a storm of {STORM} kills in {} s: {} KiB at most", STORM / 1000, kib(peak));
    println!("requests to the API server meanwhile: {requests}, kills folded: {folded}");
    assert!(peak <= after_all + 2 * 1024 * 1024, "{after_all} bytes grew to {peak}");
    assert!(requests <= 30 + STORM / 1000 + 1, "{requests} requests");
}
