//! Incidents counted and scraped, in all three formats.

use std::{path::Path, sync::Arc, time::Duration};

use jiff::SignedDuration;
use oomwatch_common::{
    capture::Capture,
    pods::{Pod, PodContainer},
    report::{Report, Workload},
    units::BoottimeNs,
};

use super::*;
use crate::config::{BacklogChoice, JournalOptions};

fn metrics(most: u16) -> Metrics {
    let options = MetricsOptions { metrics_containers: most, metrics_grace_minutes: 30 };
    let journal = JournalOptions {
        journal: None,
        journal_max_mib: 1,
        journal_max_age: SignedDuration::from_hours(1),
        backlog: BacklogChoice::Off,
    };
    let sources = Sources {
        proc: Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/proc/6.18-v1"),
        losses: Arc::default(),
        progress: Arc::default(),
        kubelet: None,
        events: None,
        history: Arc::new(History::open(&journal).unwrap()),
        health: Arc::default(),
        http: Arc::default(),
    };
    Metrics::new(&options, sources)
}

fn minutes(minutes: u64) -> BoottimeNs {
    BoottimeNs(minutes * 60_000_000_000)
}

fn pod(name: &str) -> Pod {
    let container = PodContainer { name: "app".to_owned(), ..PodContainer::default() };
    Pod {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        workload: Some(Workload { kind: "Deployment".to_owned(), name: "web".to_owned() }),
        containers: vec![container],
        ..Pod::default()
    }
}

fn report(pod: &str, scope: &str, victims: usize) -> Report {
    let victims =
        vec![r#"{"tgid":7,"status_from":"kernel","rss":{"anon_bytes":4194304,"exact":true}}"#; victims];
    let json = format!(
        r#"{{"schema":1,"id":"b-1","time":"2026-11-21T07:00:00Z","boot_id":"b","node":"n","probe":{{"level":"kprobe"}},
            "source":"live","scope":"{scope}","cause":"container_limit","victims":[{}],"findings":[],"gaps":[],
            "latency":{{"hook_to_capture_us":1,"hook_to_read_us":1,"hook_to_report_us":1}},
            "kubernetes":{{"names_from":"kubelet","namespace":"shop","pod":"{pod}","container":"app",
            "pod_uid":"u-{pod}","container_id":"c-{pod}"}}}}"#,
        victims.join(",")
    );
    serde_json::from_str(&json).unwrap()
}

fn scraped(metrics: &Metrics, format: Format) -> String {
    String::from_utf8_lossy(&metrics.encode(format).unwrap()).into_owned()
}

/// The value of the one sample with this name and these parts of labels.
fn value(metrics: &Metrics, name: &str, labels: &[&str]) -> Option<f64> {
    let text = scraped(metrics, Format::Text);
    let mut found = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    let value = found.next()?.rsplit_once(' ')?.1.parse().ok();
    assert_eq!(found.next(), None, "{name} {labels:?} is not one sample");
    value
}

const KILLS: &str = "oomwatch_oom_kills_total";

#[test]
fn a_container_counts_from_zero_and_a_kill_raises_its_scope_alone() {
    let metrics = metrics(100);
    metrics.see([pod("web-0"), pod("web-1")].iter(), minutes(0));
    for scope in ["container", "pod", "qos", "kubepods", "node"] {
        assert_eq!(value(&metrics, KILLS, &["web-0", &format!("scope=\"{scope}\"")]), Some(0.0), "{scope}");
    }
    assert_eq!(value(&metrics, "oomwatch_last_oom_timestamp_seconds", &["web-0"]), None);
    metrics.count(&report("web-0", "pod", 3), &Capture::default(), minutes(1));
    assert_eq!(value(&metrics, KILLS, &["web-0", "scope=\"pod\""]), Some(3.0));
    assert_eq!(value(&metrics, KILLS, &["web-0", "scope=\"container\""]), Some(0.0));
    assert_eq!(value(&metrics, KILLS, &["web-1", "scope=\"pod\""]), Some(0.0));
    let labels =
        r#"{namespace="shop",pod="web-0",container="app",workload_kind="Deployment",workload="web"}"#;
    let at = value(&metrics, "oomwatch_last_oom_timestamp_seconds", &[labels]);
    assert_eq!(at, Some(1_795_244_400.0));
    assert_eq!(value(&metrics, "oomwatch_oom_incidents_total", &["container_limit"]), Some(1.0));
    assert_eq!(value(&metrics, "oomwatch_oom_incidents_total", &["sysrq"]), Some(0.0));
    assert_eq!(value(&metrics, "oomwatch_victim_memory_bytes_sum", &[]), Some(3.0 * 4_194_304.0));
    // A group without the kernel's word for it is one of several victims; the kernel counts its first one twice.
    assert_eq!(value(&metrics, "oomwatch_probe_oom_kills_total", &[]), Some(4.0));
}

#[test]
fn the_first_kill_in_a_pod_without_a_name_is_an_increase_too() {
    let metrics = metrics(100);
    for scope in ["container", "pod", "qos", "kubepods"] {
        let labels = ["namespace=\"\"", "pod=\"\"", &format!("scope=\"{scope}\"")];
        assert_eq!(value(&metrics, KILLS, &labels), Some(0.0), "{scope}");
        let mut nameless = report("web-0", scope, 1);
        let kubernetes = nameless.kubernetes.as_mut().unwrap();
        (kubernetes.namespace, kubernetes.pod, kubernetes.container) = (None, None, None);
        metrics.count(&nameless, &Capture::default(), minutes(1));
        assert_eq!(value(&metrics, KILLS, &labels), Some(1.0), "{scope}");
    }
}

#[test]
fn series_stay_for_a_while_after_the_pod_and_come_back_at_zero() {
    let metrics = metrics(100);
    metrics.see([pod("web-0"), pod("web-1")].iter(), minutes(0));
    metrics.count(&report("web-0", "container", 1), &Capture::default(), minutes(1));
    metrics.see([].iter(), minutes(2));
    metrics.see([].iter(), minutes(11));
    assert_eq!(value(&metrics, KILLS, &["web-1", "scope=\"container\""]), Some(0.0));
    metrics.see([].iter(), minutes(12));
    assert_eq!(value(&metrics, KILLS, &["web-1", "scope=\"container\""]), None, "it never had a kill");
    metrics.see([].iter(), minutes(31));
    assert_eq!(value(&metrics, KILLS, &["web-0", "scope=\"container\""]), Some(1.0));
    metrics.see([].iter(), minutes(32));
    assert_eq!(value(&metrics, KILLS, &["web-0", "scope=\"container\""]), None);
    metrics.see([pod("web-0")].iter(), minutes(33));
    assert_eq!(value(&metrics, KILLS, &["web-0", "scope=\"container\""]), Some(0.0));
}

#[test]
fn series_are_bounded_and_no_kill_is_lost_for_it() {
    let metrics = metrics(2);
    metrics.see([pod("a"), pod("b"), pod("c")].iter(), minutes(0));
    assert_eq!(value(&metrics, "oomwatch_containers", &[]), Some(2.0));
    assert_eq!(value(&metrics, "oomwatch_containers_dropped_total", &[]), Some(1.0));
    metrics.see([pod("a"), pod("b"), pod("c")].iter(), minutes(0));
    assert_eq!(value(&metrics, "oomwatch_containers_dropped_total", &[]), Some(1.0), "it is the same one");
    let others = ["namespace=\"_other\"", "scope=\"container\""];
    assert_eq!(value(&metrics, KILLS, &others), Some(0.0), "born at 1 it would be no increase");
    metrics.count(&report("c", "container", 2), &Capture::default(), minutes(1));
    assert_eq!(value(&metrics, KILLS, &others), Some(2.0));
    // A pod that has gone leaves for one that comes.
    metrics.see([pod("b"), pod("d")].iter(), minutes(2));
    assert_eq!(value(&metrics, KILLS, &["pod=\"d\"", "scope=\"container\""]), Some(0.0));
    assert_eq!(value(&metrics, KILLS, &["pod=\"a\"", "scope=\"container\""]), None);
}

#[test]
fn totals_go_on_after_a_restart() {
    let before = metrics(100);
    let counted = [
        before.count(&report("web-0", "container", 2), &Capture::default(), minutes(1)),
        before.count(&report("web-0", "container", 1), &Capture::default(), minutes(2)),
        before.count(&report("web-0", "node", 1), &Capture::default(), minutes(3)),
    ];
    let after = metrics(100);
    for counted in &counted {
        after.values.restore(counted, minutes(0));
    }
    after.values.restore("{}", minutes(0));
    // The kills are long ago, so the series waits for its pod.
    after.see([pod("web-0")].iter(), minutes(1));
    assert_eq!(value(&after, KILLS, &["web-0", "scope=\"container\""]), Some(3.0));
    assert_eq!(value(&after, KILLS, &["web-0", "scope=\"node\""]), Some(1.0));
    assert_eq!(value(&after, KILLS, &["web-0", "scope=\"pod\""]), Some(0.0));
    assert_eq!(value(&after, "oomwatch_oom_incidents_total", &["container_limit"]), Some(3.0));
    after.count(&report("web-0", "container", 1), &Capture::default(), minutes(2));
    assert_eq!(value(&after, KILLS, &["web-0", "scope=\"container\""]), Some(4.0));
}

#[test]
fn each_format_has_what_it_can_have() {
    let metrics = metrics(100);
    let mut hostile = report("web-0", "container", 1);
    hostile.kubernetes.as_mut().unwrap().pod = Some("we\"b".to_owned());
    metrics.count(&hostile, &Capture::default(), minutes(1));
    metrics.reported(Duration::from_millis(3));
    let openmetrics = scraped(&metrics, Format::OpenMetrics);
    assert!(openmetrics.ends_with("# EOF\n"));
    assert!(openmetrics.contains("} 1 # {incident_id=\"b-1\"} 1"), "{openmetrics}");
    assert!(openmetrics.contains("# TYPE oomwatch_oom_kills counter\n"));
    assert!(openmetrics.contains(r#"pod="we\"b""#));
    let classic = scraped(&metrics, Format::Text);
    assert!(!classic.contains("EOF") && !classic.contains("incident_id"));
    assert!(classic.contains("# TYPE oomwatch_oom_kills_total counter\n"));
    let protobuf = metrics.encode(Format::Protobuf).unwrap();
    assert!(protobuf.windows(24).any(|bytes| bytes == b"oomwatch_oom_kills_total"));
    assert!(!openmetrics.contains("{}"), "{openmetrics}");
    for metric in table::METRICS {
        assert!(classic.contains(&format!("# TYPE {} {}\n", metric.name, kind(metric))), "{}", metric.name);
    }
}

fn kind(metric: &table::Described) -> &'static str {
    match metric.kind {
        table::Kind::Counter => "counter",
        table::Kind::Gauge => "gauge",
        table::Kind::Histogram => "histogram",
    }
}

fn markdown() -> String {
    let row = |metric: &table::Described| {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {} | {} | {} |\n", metric.name, kind(metric), labels.join(", "), metric.help)
    };
    let rows: String = table::METRICS.iter().map(row).collect();
    format!("| metric | type | labels | what it says |\n| --- | --- | --- | --- |\n{rows}")
}

/// Run with OOMWATCH_BLESS=1 to write it anew.
#[test]
fn the_table_in_readme_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (begin, end) =
        ("<!-- metrics: made of metrics/table.rs by `cargo xtask bless` -->\n", "<!-- metrics end -->\n");
    let (before, rest) = readme.split_once(begin).unwrap();
    let (is, after) = rest.split_once(end).unwrap();
    let table = markdown();
    if std::env::var_os("OOMWATCH_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, format!("{before}{begin}{table}{end}{after}")).unwrap();
    } else {
        assert_eq!(is, table, "README.md has another table: run `cargo xtask bless`");
    }
}
