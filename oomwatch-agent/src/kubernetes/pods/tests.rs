//! A loopback kubelet without TLS, whose behaviour each test sets. tests/tests/kubelet.rs has the agent as a whole.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use clap::Parser as _;
use oomwatch_common::{
    capture::Capture,
    ids::CgroupPath,
    incident::{Incident, Memcg, ProbeLevel, Process},
    units::PageSize,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::{
    config::{Cli, Command},
    tally,
};

const UID: &str = "4e3b9b0a-c2ea-401c-9a5c-0c1a15523d69";
const STEADY: &str = "6f7066ff5d9d4d090ef46e2471a431d08bb5b269f25f5ba9758b2cdb44e8c0d3";
const NEW: &str = "0000000000000000000000000000000000000000000000000000000000000001";
/// Longer than anything here takes when it does not wait.
const AT_ONCE: Duration = Duration::from_millis(700);

#[derive(Clone)]
enum Answer {
    Pods(String),
    Status(&'static str),
    Never,
}

struct Loopback {
    answer: Mutex<Answer>,
    asked: AtomicUsize,
    url: String,
}

impl Loopback {
    async fn start(answer: Answer) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let loopback = Arc::new(Self { answer: Mutex::new(answer), asked: AtomicUsize::new(0), url });
        let serving = Arc::clone(&loopback);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (serving, mut request) = (Arc::clone(&serving), [0; 4096]);
                tokio::spawn(async move {
                    assert!(stream.read(&mut request).await.unwrap() > 0);
                    serving.asked.fetch_add(1, Ordering::Relaxed);
                    let answer = serving.answer.lock().unwrap().clone();
                    let (status, body) = match answer {
                        Answer::Pods(body) => ("200 OK", body),
                        Answer::Status(status) => (status, "no".to_owned()),
                        Answer::Never => std::future::pending().await,
                    };
                    let length = body.len();
                    let head =
                        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                    stream.write_all((head + &body).as_bytes()).await.unwrap();
                });
            }
        });
        loopback
    }

    fn set(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn pods(&self, more: &[&str]) -> Pods {
        let mut arguments = vec!["oomwatch", "run", "--kubelet", &self.url];
        if !more.contains(&"--var-log") {
            arguments.extend(["--var-log", "/nowhere"]);
        }
        let Command::Run(options) = Cli::try_parse_from(arguments.iter().chain(more)).unwrap().command else {
            panic!("not `run`")
        };
        Pods::start(&options.kubernetes, "node-a").unwrap()
    }
}

fn recorded() -> String {
    include_str!("../../../../tests/fixtures/kubelet/api-multi-t2.json").to_owned()
}

fn paths(path: &str) -> Paths {
    let memcg = Memcg { path: CgroupPath::parse(path.as_bytes()), ..Memcg::default() };
    let incident = Incident {
        number: 1,
        at: BoottimeNs(0),
        level: ProbeLevel::Kprobe,
        oom: None,
        trigger: None,
        victims: vec![Process { memcg: Some(memcg), ..Process::default() }],
        limit_owner: None,
        gaps: Vec::new(),
    };
    Paths::new(&incident, &Capture::default(), PageSize::default())
}

fn container(id: &str) -> Paths {
    paths(&format!("/kubepods/burstable/pod{UID}/{id}"))
}

/// `pod/container`, the reason for what is missing, and how long it took.
async fn told(pods: &mut Pods, paths: &Paths, hurry: bool) -> (String, String, Duration) {
    let begun = Instant::now();
    let attribution = pods.attribute(paths, sys::boottime(), || hurry).await;
    let victim = attribution.victim.unwrap_or_default();
    let name = |name: Option<String>| name.unwrap_or_else(|| "?".to_owned());
    let names = format!("{}/{}", name(victim.kubernetes.pod), name(victim.kubernetes.container));
    (names, victim.gaps.first().map_or(String::new(), |gap| gap.why.clone()), begun.elapsed())
}

async fn until_asked(loopback: &Loopback, pods: &Pods, times: usize) {
    let outcomes = pods.outcomes().unwrap();
    let answered =
        || <Outcome as tally::Outcome>::ALL.iter().map(|outcome| outcomes.get(*outcome)).sum::<u64>();
    while loopback.asked() < times || answered() < u64::try_from(times).unwrap() {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_is_known_is_told_at_once_and_nobody_is_asked() {
    let loopback = Loopback::start(Answer::Pods(recorded())).await;
    let mut pods = loopback.pods(&[]);
    until_asked(&loopback, &pods, 1).await;
    let (names, why, took) = told(&mut pods, &container(STEADY), false).await;
    assert_eq!((names.as_str(), why.as_str()), ("n-multi/steady", ""));
    assert!(took < AT_ONCE, "{took:?}");
    // No pod's: nothing to wait for.
    let (names, why, took) = told(&mut pods, &paths("/system.slice/kubelet.service"), false).await;
    assert_eq!((names.as_str(), why.as_str()), ("?/?", ""));
    assert!(took < AT_ONCE, "{took:?}");
    assert_eq!(loopback.asked(), 1);
}

#[tokio::test]
async fn a_container_that_has_just_been_started_is_waited_for() {
    let loopback = Loopback::start(Answer::Pods(recorded())).await;
    let mut pods = loopback.pods(&["--report-deadline-ms", "10000"]);
    until_asked(&loopback, &pods, 1).await;
    loopback.set(Answer::Pods(recorded().replace(STEADY, NEW)));
    let (names, why, took) = told(&mut pods, &container(NEW), false).await;
    assert_eq!((names.as_str(), why.as_str()), ("n-multi/steady", ""));
    assert!(took < Duration::from_secs(8), "{took:?}");
    // The old id is still known.
    assert_eq!(told(&mut pods, &container(STEADY), false).await.0, "n-multi/steady");
}

#[tokio::test]
async fn a_new_pod_is_known_before_anything_happens_to_it() {
    let loopback = Loopback::start(Answer::Pods(r#"{"kind":"PodList","items":[]}"#.to_owned())).await;
    let var_log = tempfile::tempdir().unwrap();
    std::fs::create_dir(var_log.path().join("pods")).unwrap();
    let pods =
        loopback.pods(&["--kubelet-poll-seconds", "3600", "--var-log", var_log.path().to_str().unwrap()]);
    let mut lists = pods.lists().unwrap();
    let mut number = usize::MAX;
    assert!(lists.next(|index| number = index.present().count()).await);
    assert_eq!(number, 0);
    loopback.set(Answer::Pods(recorded()));
    std::fs::create_dir(var_log.path().join("pods/default_n-multi_uid")).unwrap();
    assert!(lists.next(|index| number = index.present().count()).await);
    assert!(number > 0);
}

#[tokio::test]
async fn however_many_miss_a_pod_the_kubelet_is_asked_once_a_second() {
    let loopback = Loopback::start(Answer::Pods(recorded())).await;
    let mut pods = loopback.pods(&["--report-deadline-ms", "300"]);
    let begun = Instant::now();
    for number in 0..6 {
        let (names, why, _) = told(&mut pods, &container(&format!("{number:064x}")), false).await;
        assert_eq!(names, "n-multi/?");
        assert_eq!(why, format!("{NOT_LISTED}: one of steady, eater, side"));
    }
    let most = usize::try_from(begun.elapsed().as_secs()).unwrap() + 2;
    assert!(loopback.asked() <= most, "asked {} times in {:?}", loopback.asked(), begun.elapsed());
}

#[tokio::test]
async fn a_kubelet_that_hangs_costs_the_deadline_and_no_more() {
    let loopback = Loopback::start(Answer::Never).await;
    let mut pods = loopback.pods(&["--report-deadline-ms", "400"]);
    let (names, why, took) = told(&mut pods, &container(STEADY), false).await;
    assert_eq!(names, "?/?");
    assert_eq!(why, "timed out: the kubelet has not answered within 400 ms");
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(2), "{took:?}");
    // An incident that has waited elsewhere already.
    let begun = Instant::now();
    pods.attribute(&container(STEADY), BoottimeNs(0), || false).await;
    assert!(begun.elapsed() < AT_ONCE);
    // Others wait behind it.
    let (_, why, took) =
        told(&mut loopback.pods(&["--report-deadline-ms", "9000"]), &container(STEADY), true).await;
    assert_eq!(why, "not waited for: further incidents are waiting");
    assert!(took < AT_ONCE, "{took:?}");
}

#[tokio::test]
async fn a_kubelet_that_refuses_costs_no_time() {
    for (status, said) in [("401 Unauthorized", "401"), ("403 Forbidden", "403"), ("404 Not Found", "404")] {
        let loopback = Loopback::start(Answer::Status(status)).await;
        let mut pods = loopback.pods(&["--report-deadline-ms", "20000"]);
        let (names, why, took) = told(&mut pods, &container(STEADY), false).await;
        assert_eq!((names.as_str(), why.contains(said)), ("?/?", true), "{why}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        let (_, _, took) = told(&mut pods, &container(STEADY), false).await;
        assert!(took < AT_ONCE, "{took:?}");
    }
}

#[tokio::test]
async fn a_kubelet_that_comes_back_within_the_deadline_is_waited_for() {
    let loopback = Loopback::start(Answer::Status("503 Service Unavailable")).await;
    let mut pods = loopback.pods(&["--report-deadline-ms", "15000"]);
    until_asked(&loopback, &pods, 1).await;
    let recovering = Arc::clone(&loopback);
    tokio::spawn(async move {
        sleep(Duration::from_millis(300)).await;
        recovering.set(Answer::Pods(recorded()));
    });
    assert_eq!(told(&mut pods, &container(STEADY), false).await.0, "n-multi/steady");
    assert_eq!(pods.outcomes().unwrap().get(Outcome::OtherStatus), 1);
}

#[tokio::test]
async fn a_pod_of_another_node_is_waited_for_once() {
    let loopback = Loopback::start(Answer::Pods(recorded())).await;
    let mut pods = loopback.pods(&["--report-deadline-ms", "1500"]);
    let strange = paths("/docker/x/kubelet/kubepods/pod11111111-2222-3333-4444-555555555555/c1");
    let (_, why, _) = told(&mut pods, &strange, false).await;
    assert_eq!(why, NOT_LISTED);
    let asked = loopback.asked();
    let (_, why, took) = told(&mut pods, &strange, false).await;
    assert_eq!(why, NOT_LISTED);
    assert!(took < AT_ONCE && loopback.asked() <= asked + 1, "{took:?}");
}

#[tokio::test]
async fn names_of_log_files_help_out_and_options_order_the_sources() {
    let loopback = Loopback::start(Answer::Status("403 Forbidden")).await;
    let var_log = tempfile::tempdir().unwrap();
    let directory = format!("default_n-multi_{UID}");
    std::fs::create_dir_all(var_log.path().join("pods").join(&directory)).unwrap();
    std::fs::create_dir(var_log.path().join("containers")).unwrap();
    let link = var_log.path().join("containers").join(format!("n-multi_default_steady-{STEADY}.log"));
    std::os::unix::fs::symlink(format!("/var/log/pods/{directory}/steady/0.log"), link).unwrap();
    let var_log = var_log.path().to_str().unwrap();
    for (options, expected, asked) in [
        (&["--pod-sources", "kubelet,logs"][..], "n-multi/steady", true),
        (&["--pod-sources", "logs"], "n-multi/steady", false),
        (&["--pod-sources", "kubelet"], "?/?", true),
        (&["--kubelet", "off"], "?/?", false),
    ] {
        let before = loopback.asked();
        // A later --kubelet or --var-log would be an error: the URL is left out where the options have one.
        let url = ["--kubelet", loopback.url.as_str()];
        let base = ["oomwatch", "run", "--var-log", var_log];
        let url = if options.contains(&"off") { &[][..] } else { &url[..] };
        let arguments = base.iter().chain(url).chain(options);
        let Command::Run(run) = Cli::try_parse_from(arguments).unwrap().command else { panic!() };
        let mut pods = Pods::start(&run.kubernetes, "node-a").unwrap();
        let (names, why, _) = told(&mut pods, &container(STEADY), false).await;
        assert_eq!((names.as_str(), why.is_empty()), (expected, expected != "?/?"), "{options:?}: {why}");
        assert_eq!(loopback.asked() > before, asked, "{options:?}");
    }
}

#[tokio::test]
async fn without_kubernetes_there_is_nothing_to_wait_for() {
    let arguments = ["oomwatch", "run", "--var-log", "/nowhere", "--service-account", "/nowhere"];
    let Command::Run(options) = Cli::try_parse_from(arguments).unwrap().command else { panic!() };
    let mut pods = Pods::start(&options.kubernetes, "host").unwrap();
    assert!(pods.outcomes().is_none());
    let (names, why, took) = told(&mut pods, &container(STEADY), false).await;
    assert_eq!((names.as_str(), why.as_str()), ("?/?", "there is no kubelet to ask"));
    assert!(took < AT_ONCE, "{took:?}");
}

#[tokio::test]
async fn a_kubelet_that_cannot_be_verified_is_refused_at_the_start() {
    let arguments = ["oomwatch", "run", "--kubelet", "https://127.0.0.1:1", "--service-account", "/nowhere"];
    for (more, expected) in [
        (&[][..], "give --kubelet-ca"),
        (&["--kubelet-ca", "/nowhere/ca"], "/nowhere/ca"),
        (&["--kubelet-ca", "/etc/hostname"], "/etc/hostname"),
    ] {
        let Command::Run(options) = Cli::try_parse_from(arguments.iter().chain(more)).unwrap().command else {
            panic!()
        };
        let refusal = Pods::start(&options.kubernetes, "node-a").err().unwrap();
        assert!(refusal.text.contains(expected) && !refusal.text.contains('\n'), "{}", refusal.text);
    }
}
