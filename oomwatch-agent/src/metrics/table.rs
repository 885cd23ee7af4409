//! Every metric: its name as Prometheus has it, its labels, and what it says. README's table is made of this one.

/// Of what kind a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only rises, until the agent starts anew.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Classic buckets in text, native ones beside them in protobuf.
    Histogram,
}

/// Which metric: what [`super::collect`] knows how to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Id {
    OomKills,
    LastOom,
    Incidents,
    VictimMemory,
    Limit,
    ReportLatency,
    KillToExit,
    BuildInfo,
    ProbeInfo,
    Ready,
    ProbeKills,
    KernelKills,
    EventsLost,
    KillsLost,
    CaptureReads,
    Attributions,
    KubeletRequests,
    KubernetesEvents,
    QueueDepth,
    QueueCapacity,
    JournalWrites,
    JournalRemoved,
    JournalBytes,
    JournalIncidents,
    JournalWritable,
    HttpRequests,
    HttpConnections,
    HttpClosed,
    Containers,
    ContainersDropped,
    ResidentMemory,
    CpuSeconds,
    StartTime,
    OpenFds,
}

/// One metric.
#[derive(Debug)]
pub(super) struct Described {
    /// Which.
    pub id: Id,
    /// Its whole name: base units, counters end in `_total`.
    pub name: &'static str,
    /// Of what kind.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// Labels of a container's series. Never an id, a pid or a uid: they would make a new series of each restart.
pub(super) const CONTAINER_LABELS: [&str; 5] = ["namespace", "pod", "container", "workload_kind", "workload"];

const fn metric(
    id: Id,
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Described {
    Described { id, name, kind, labels, help }
}

/// All of them, in the order in which they are shown.
pub(super) const METRICS: &[Described] = &[
    metric(
        Id::OomKills,
        "oomwatch_oom_kills_total",
        Kind::Counter,
        &["namespace", "pod", "container", "workload_kind", "workload", "scope"],
        "Processes that the OOM killer killed, by their container and by what hit its limit. Empty labels: in no \
         pod, or in one whose names nobody told",
    ),
    metric(
        Id::LastOom,
        "oomwatch_last_oom_timestamp_seconds",
        Kind::Gauge,
        &CONTAINER_LABELS,
        "When a process of the container was last OOM-killed, since 1970",
    ),
    metric(
        Id::Incidents,
        "oomwatch_oom_incidents_total",
        Kind::Counter,
        &["cause"],
        "Invocations of the OOM killer that killed at least one process, by the cause of the first finding",
    ),
    metric(
        Id::VictimMemory,
        "oomwatch_victim_memory_bytes",
        Kind::Histogram,
        &[],
        "Resident memory of each victim when it was chosen: anonymous, file and shared pages",
    ),
    metric(
        Id::Limit,
        "oomwatch_limit_bytes",
        Kind::Histogram,
        &[],
        "The limit that was hit, where it was a cgroup's",
    ),
    metric(
        Id::ReportLatency,
        "oomwatch_report_latency_seconds",
        Kind::Histogram,
        &[],
        "From the hook in the kernel to the report on stdout",
    ),
    metric(
        Id::KillToExit,
        "oomwatch_kill_to_exit_seconds",
        Kind::Histogram,
        &[],
        "From the kill of a victim to its end, when its memory is free again; looked at every 5 to 100 ms",
    ),
    metric(
        Id::ProbeKills,
        "oomwatch_probe_oom_kills_total",
        Kind::Counter,
        &[],
        "Kills that the probe saw, counted as the kernel counts them: the first victim of a group kill twice",
    ),
    metric(
        Id::KernelKills,
        "oomwatch_kernel_oom_kills_total",
        Kind::Counter,
        &[],
        "The kernel's own count since the node started: oom_kill of /proc/vmstat",
    ),
    metric(
        Id::EventsLost,
        "oomwatch_events_lost_total",
        Kind::Counter,
        &["stage"],
        "What was lost on its way from the kernel to the outputs: records at ring_buffer and malformed, incidents at \
         queue, reports at output; at kernel_log, level kmsg, each time that the log was faster than its reader",
    ),
    metric(
        Id::KillsLost,
        "oomwatch_oom_kills_lost_total",
        Kind::Counter,
        &["reason"],
        "Processes that were OOM-killed and that the probe's reports lack; unseen: the kernel counted the kill and \
         the probe did not see it, record: its record was lost, queue and output: its report was",
    ),
    metric(
        Id::Ready,
        "oomwatch_ready",
        Kind::Gauge,
        &[],
        "1: the probe is attached, its layout proved, and it sees what the kernel counts",
    ),
    metric(
        Id::ProbeInfo,
        "oomwatch_probe_info",
        Kind::Gauge,
        &["level"],
        "1 for the level at which the kernel is watched",
    ),
    metric(Id::BuildInfo, "oomwatch_build_info", Kind::Gauge, &["version"], "1 for the version that runs"),
    metric(
        Id::CaptureReads,
        "oomwatch_capture_reads_total",
        Kind::Counter,
        &["outcome"],
        "Files of /proc and of cgroups that were read for incidents, by how that went",
    ),
    metric(
        Id::Attributions,
        "oomwatch_attributions_total",
        Kind::Counter,
        &["names_from"],
        "Incidents by who told the names of the victim's pod; none: nobody did, host: it was in no pod",
    ),
    metric(
        Id::KubeletRequests,
        "oomwatch_kubelet_requests_total",
        Kind::Counter,
        &["outcome"],
        "Requests for the kubelet's list of pods, by how they ended",
    ),
    metric(
        Id::KubernetesEvents,
        "oomwatch_kubernetes_events_total",
        Kind::Counter,
        &["outcome"],
        "What became of telling Kubernetes by Events: created, folded into one that was there, or not told and why",
    ),
    metric(Id::QueueDepth, "oomwatch_queue_depth", Kind::Gauge, &[], "Incidents that wait for the reporter"),
    metric(
        Id::QueueCapacity,
        "oomwatch_queue_capacity",
        Kind::Gauge,
        &[],
        "How many may wait before further ones are lost",
    ),
    metric(
        Id::JournalWrites,
        "oomwatch_journal_writes_total",
        Kind::Counter,
        &["outcome"],
        "What became of incidents that were to be kept: written, or kept in memory and why",
    ),
    metric(
        Id::JournalRemoved,
        "oomwatch_journal_removed_total",
        Kind::Counter,
        &["reason"],
        "Incidents that left the journal for their age, its size or a full disk, and damaged lines that were put \
         aside",
    ),
    metric(Id::JournalBytes, "oomwatch_journal_bytes", Kind::Gauge, &[], "Size of the journal on disk"),
    metric(
        Id::JournalIncidents,
        "oomwatch_journal_incidents",
        Kind::Gauge,
        &[],
        "Incidents in the journal on disk",
    ),
    metric(
        Id::JournalWritable,
        "oomwatch_journal_writable",
        Kind::Gauge,
        &[],
        "1: the journal can be written; 0: what comes is kept in memory. Absent without a journal",
    ),
    metric(
        Id::Containers,
        "oomwatch_containers",
        Kind::Gauge,
        &[],
        "Containers that have series of their own",
    ),
    metric(
        Id::ContainersDropped,
        "oomwatch_containers_dropped_total",
        Kind::Counter,
        &[],
        "Containers that got no series because --metrics-containers was reached; \
         their kills count for namespace _other",
    ),
    metric(
        Id::HttpRequests,
        "oomwatch_http_requests_total",
        Kind::Counter,
        &["outcome"],
        "HTTP requests, by how they were answered",
    ),
    metric(Id::HttpConnections, "oomwatch_http_connections", Kind::Gauge, &[], "Open HTTP connections"),
    metric(
        Id::HttpClosed,
        "oomwatch_http_connections_closed_total",
        Kind::Counter,
        &["reason"],
        "HTTP connections that did not end well: evicted for another, too slow, not HTTP, broken",
    ),
    metric(
        Id::ResidentMemory,
        "process_resident_memory_bytes",
        Kind::Gauge,
        &[],
        "Resident memory of the agent itself",
    ),
    metric(Id::CpuSeconds, "process_cpu_seconds_total", Kind::Counter, &[], "CPU time of the agent itself"),
    metric(
        Id::StartTime,
        "process_start_time_seconds",
        Kind::Gauge,
        &[],
        "When the agent started, since 1970",
    ),
    metric(Id::OpenFds, "process_open_fds", Kind::Gauge, &[], "File descriptors that the agent has open"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_prometheus_wants_them() {
        for metric in METRICS {
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert!(
                metric.name.starts_with("oomwatch_") || metric.name.starts_with("process_"),
                "{}",
                metric.name
            );
            assert!(!metric.help.ends_with('.'), "{}", metric.name);
            assert_eq!(
                METRICS.iter().filter(|other| other.name == metric.name).count(),
                1,
                "{}",
                metric.name
            );
            let unknowable = ["container_id", "pid", "uid", "pod_uid", "incident_id", "comm"];
            assert!(!metric.labels.iter().any(|label| unknowable.contains(label)), "{}", metric.name);
        }
    }
}
