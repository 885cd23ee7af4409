//! Why this process and no other, and who used the memory beside it.

use super::paper::{Ink, Paper, bar};
use crate::{
    render_text::{short_id, short_path},
    report::{Candidate, CandidatesFrom, Consumer, Report, size},
    units::Bytes,
};

/// Candidates and consumers that are shown.
const SHOWN: usize = 10;

/// The candidates by the kernel's own ranking.
pub(super) fn candidates(paper: &mut Paper, report: &Report) {
    let Some(candidates) = report.candidates.as_ref().filter(|candidates| candidates.count > 1) else {
        return;
    };
    paper.heading(&format!("WHY THIS ONE OF {}", candidates.how_many().to_uppercase()));
    let largest = candidates.processes.iter().map(Candidate::used).max().unwrap_or_default();
    let header =
        format!("    {:<30} {:>11} {:>6} {:>9}  name", "RSS, swap and page tables", "", "adj", "badness");
    let header = paper.inked(Ink::Faint, &header);
    paper.line(&header);
    let shown = candidates.processes.iter().enumerate();
    let shown: Vec<_> =
        shown.filter(|(place, process)| *place < SHOWN || process.is_victim).take(2 * SHOWN).collect();
    for (_, process) in &shown {
        candidate(paper, process, largest);
    }
    let hidden = candidates.count.saturating_sub(u64::try_from(shown.len()).unwrap_or(u64::MAX));
    if hidden > 0 {
        paper.line(&format!("    … and {hidden} more"));
    }
    let all = size(candidates.rss_bytes);
    let mut facts = vec![format!("{all} of RSS together; what processes share counts for each")];
    facts.extend(candidates.victims_place.map(|place| format!("the victim was number {place} by badness")));
    if candidates.unkillable > 0 {
        facts.push(format!("{} cannot be killed (adj -1000)", candidates.unkillable));
    }
    if candidates.unread > 0 {
        facts.push(format!("{} were not read", candidates.unread));
    }
    if candidates.undecided > 0 {
        facts.push(format!("{} processes of the node were not looked at", candidates.undecided));
    }
    if candidates.from == CandidatesFrom::Proc {
        facts.push("read after the kill, the victims' own figures at it".to_owned());
    }
    paper.paragraph("  ", &facts.join("; "), Ink::Faint);
}

/// `  → ██████·····    64.0 MiB    992     16500  java (pid 155)`
fn candidate(paper: &mut Paper, process: &Candidate, largest: Bytes) {
    let number = |value: Option<i64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let used = process.used();
    let mark = if process.is_victim { "→" } else { " " };
    let start = format!(
        "  {mark} {} {:>11} {:>6} {:>9}  ",
        bar(used.0, largest.0),
        size(used),
        number(process.oom_score_adj.map(i64::from)),
        number(process.badness_pages),
    );
    let name = process.comm.as_deref().unwrap_or("?");
    let pid = process.tgid.map_or(String::new(), |tgid| format!(" (pid {tgid})"));
    let container = process.kubernetes.as_ref().and_then(|kubernetes| {
        let (pod, container) = (kubernetes.pod.as_deref()?, kubernetes.container.as_deref()?);
        Some(format!(" {pod}/{container}"))
    });
    let ink = if process.is_victim { Ink::Alarm } else { Ink::Plain };
    paper.paragraph(&start, &format!("{name}{pid}{}", container.unwrap_or_default()), ink);
}

/// Who used the node's memory, or that of all pods, against what was requested.
pub(super) fn consumers(paper: &mut Paper, report: &Report) {
    if report.consumers.is_empty() && report.node_shares.is_none() {
        return;
    }
    paper.heading("WHO USED THE MEMORY");
    let used = |consumer: &Consumer| consumer.usage_bytes.unwrap_or_default();
    let largest = report.consumers.iter().map(used).max().unwrap_or_default();
    if !report.consumers.is_empty() {
        let header = format!("  {:<30} {:>10} {:>11} {:>10}  by", "in use", "", "requested", "limit");
        let header = paper.inked(Ink::Faint, &header);
        paper.line(&header);
    }
    for consumer in report.consumers.iter().take(SHOWN) {
        let amount = |bytes: Option<Bytes>| bytes.map_or_else(|| "-".to_owned(), size);
        let requested = consumer.kubernetes.as_ref().and_then(|kubernetes| kubernetes.requests_bytes);
        let start = format!(
            "  {} {:>10} {:>11} {:>10}  ",
            bar(used(consumer).0, largest.0),
            amount(consumer.usage_bytes),
            amount(requested),
            amount(consumer.limit_bytes),
        );
        paper.paragraph(&start, &name(consumer), Ink::Plain);
    }
    if report.consumers.len() > SHOWN {
        paper.line(&format!("  … and {} more", report.consumers.len() - SHOWN));
    }
    let Some(shares) = report.node_shares else { return };
    let told = |parts: [(Option<Bytes>, &str); 3]| {
        let parts = parts.into_iter().filter_map(|(bytes, what)| Some(format!("{} {what}", size(bytes?))));
        parts.collect::<Vec<_>>().join(", ")
    };
    let pods = told([
        (shares.pods_usage_bytes, "in use"),
        (shares.pods_requests_bytes, "requested"),
        (shares.allocatable_bytes, "allocatable"),
    ]);
    let reserved = shares.capacity_bytes.zip(shares.allocatable_bytes);
    let reserved = reserved.map(|(Bytes(all), Bytes(pods))| Bytes(all.saturating_sub(pods)));
    let host = told([
        (shares.host_usage_bytes, "in use"),
        (reserved, "held back for it"),
        (shares.capacity_bytes, "in the whole node"),
    ]);
    for (who, what) in [("all pods", pods), ("the host", host)] {
        if !what.is_empty() {
            paper.entry(who, &what);
        }
    }
}

fn name(consumer: &Consumer) -> String {
    let pods = consumer.kubernetes.as_ref().and_then(|kubernetes| {
        let (namespace, pod) = (kubernetes.namespace.as_deref()?, kubernetes.pod.as_deref()?);
        let container =
            kubernetes.container.as_ref().map_or(String::new(), |container| format!("/{container}"));
        Some(format!("{namespace}/{pod}{container}"))
    });
    let host = || consumer.host.as_ref().and_then(|host| host.name.as_deref()).map(short_id);
    pods.or_else(host).unwrap_or_else(|| short_path(&consumer.cgroup))
}

#[cfg(test)]
mod tests {
    use super::{Candidate, CandidatesFrom, Paper, candidate, candidates};
    use crate::{
        render_page::Style,
        report::{Candidates, Report},
        units::Bytes,
    };

    #[test]
    fn the_victim_is_marked_and_what_cannot_be_killed_has_no_badness() {
        let process = Candidate {
            tgid: Some(7),
            comm: Some("db".into()),
            rss_bytes: Some(Bytes(50 << 20)),
            oom_score_adj: Some(-1000),
            ..Candidate::default()
        };
        for (is_victim, badness, expected) in [
            (false, None, "    ███████████████···············    50.0 MiB  -1000         -  db (pid 7)\n"),
            (true, Some(-5), "  → ███████████████···············    50.0 MiB  -1000        -5  db (pid 7)\n"),
        ] {
            let mut paper = Paper::new(Style::Plain);
            let process = Candidate { is_victim, badness_pages: badness, ..process.clone() };
            candidate(&mut paper, &process, Bytes(100 << 20));
            assert_eq!(paper.into_text(), expected);
        }
    }

    #[test]
    fn a_process_that_had_no_rival_needs_no_table() {
        let json = r#"{"schema":1,"id":"b-1","time":"2026-11-21T07:00:00.000000Z","boot_id":"b","node":"n",
            "probe":{"level":"kprobe"},"source":"live","scope":"node","cause":"node_exhausted",
            "victims":[{"tgid":7,"status_from":"proc"}],"findings":[],"gaps":[],
            "latency":{"hook_to_capture_us":1,"hook_to_read_us":2,"hook_to_report_us":3}}"#;
        let mut report = Report::from_json(json).unwrap();
        for (count, undecided, is_shown) in [(1, 0, false), (1, 30, false), (25, 0, true), (25, 30, true)] {
            report.candidates = Some(Candidates {
                from: CandidatesFrom::Proc,
                count,
                unread: 0,
                undecided,
                unkillable: 2,
                rss_bytes: Bytes(0),
                swap_bytes: Bytes(0),
                pgtables_bytes: Bytes(0),
                victims_place: Some(3),
                processes: vec![Candidate::default()],
            });
            let mut paper = Paper::new(Style::Plain);
            candidates(&mut paper, &report);
            let text = paper.into_text();
            let of = if undecided > 0 { "OF AT LEAST 25" } else { "OF 25" };
            assert_eq!(text.contains(&format!("WHY THIS ONE {of} PROCESSES")), is_shown, "{text}");
            let told = text.contains("30 processes of the node were not looked at");
            assert_eq!(told, is_shown && undecided > 0, "{text}");
            assert_eq!(
                text.contains("… and 24 more") && text.contains("number 3 by badness"),
                is_shown,
                "{text}"
            );
        }
    }
}
