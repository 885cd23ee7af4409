//! The same incident, however it is wrapped, torn and surrounded.

use super::{Found, Scanner};
use crate::report::Report;

/// What a kernel printed of a kill in a group, a line each.
const LOG: &[&str] = &[
    "hog invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=7",
    "CPU: 0 UID: 0 PID: 97 Comm: hog Not tainted 6.12.117 #1",
    "memory: usage 32768kB, limit 32768kB, failcnt 21",
    "Memory cgroup stats for /kubepods/pod1/c1:",
    "anon 33386496",
    "file 4096",
    "Tasks state (memory values in pages):",
    "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
    "[     97]     0    97     2115     2069   102400        0             7 hog",
    "[     98]     0    98     2115     2069   102400        0             7 hog",
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/kubepods/pod1/c1,\
     task_memcg=/kubepods/pod1/c1,task=hog,pid=97,uid=0",
    "Memory cgroup out of memory: Killed process 97 (hog) total-vm:33840kB, anon-rss:32388kB, file-rss:4kB, \
     shmem-rss:700kB, UID:0 pgtables:100kB oom_score_adj:7",
    "Tasks in /kubepods/pod1/c1 are going to be killed due to memory.oom.group set",
    "Memory cgroup out of memory: Killed process 98 (hog) total-vm:33840kB, anon-rss:32388kB, file-rss:4kB, \
     shmem-rss:700kB, UID:0 pgtables:100kB oom_score_adj:7",
];

/// Reads a log in pieces of this many bytes.
fn scan(log: &[u8], piece: usize) -> (Vec<Found>, u64) {
    let (mut scanner, mut found) = (Scanner::default(), Vec::new());
    let mut rest = log;
    while !rest.is_empty() {
        let room = scanner.room();
        let length = rest.len().min(piece).min(room.len());
        room[..length].copy_from_slice(&rest[..length]);
        rest = &rest[length..];
        scanner.filled(length, &mut |one| found.push(one));
    }
    let lines = scanner.end(&mut |one| found.push(one));
    (found, lines)
}

fn reports(log: &[u8]) -> Vec<Report> {
    let of = |found: &Found| match found {
        Found::Incident(logged) => Report::of_log(logged, &[], "unknown"),
        Found::Report(json) => Report::from_json(json).unwrap(),
    };
    scan(log, 64 << 10).0.iter().map(of).collect()
}

/// What must be the same in every wrapping.
fn essence(report: &Report) -> String {
    let victims: Vec<_> =
        report.victims.iter().map(|it| (it.tgid, it.comm.clone(), it.rss, it.pgtables_bytes)).collect();
    let owner = report
        .limit_owner
        .as_ref()
        .map(|it| (it.cgroup.clone(), it.usage_bytes, it.limit_bytes, it.stat.clone()));
    format!("{:?} {victims:?} {owner:?} {:?} {:?}", report.cause, report.candidates, report.trigger)
}

fn each(wrap: impl Fn(&str) -> String) -> String {
    LOG.iter().map(|line| wrap(line)).collect::<Vec<_>>().concat()
}

fn lines(head: &str) -> String {
    each(|line| format!("{head}{line}\n"))
}

fn json_lines(wrap: impl Fn(&str) -> serde_json::Value) -> String {
    each(|text| {
        wrap(text).to_string()
            + "
"
    })
}

fn number_of(line: &str) -> usize {
    LOG.iter().position(|known| *known == line).unwrap()
}

/// A wrapping's name, the log in it, and what it tells of time, node and boot.
fn wrapped() -> Vec<(&'static str, String, [&'static str; 3])> {
    let time = "2026-11-21T12:00:00.000000Z";
    let boot = "0f3c9f5e-5d1b-4a7f-8e1d-2c3b4a596877";
    let journal = |text: &str| {
        serde_json::json!({"__REALTIME_TIMESTAMP": "1795262400000000", "_SOURCE_MONOTONIC_TIMESTAMP": "12345678",
            "_HOSTNAME": "node-a", "_BOOT_ID": "0f3c9f5e5d1b4a7f8e1d2c3b4a596877", "_TRANSPORT": "kernel",
            "SYSLOG_IDENTIFIER": "kernel", "PRIORITY": "6", "MESSAGE": text})
    };
    let as_bytes = |text: &str| {
        let mut entry = journal(text);
        entry["MESSAGE"] = text.bytes().map(u64::from).collect();
        entry
    };
    let export = each(|line| {
        format!(
            "__CURSOR=s=1\n__REALTIME_TIMESTAMP=1795262400000000\n_BOOT_ID=0f3c9f5e5d1b4a7f8e1d2c3b4a596877\n\
             _TRANSPORT=kernel\nPRIORITY=6\nMESSAGE={line}\n_HOSTNAME=node-a\n\
             _SOURCE_MONOTONIC_TIMESTAMP=12345678\n\n"
        )
    });
    let records = each(|line| format!("6,{},12345678,-;{line}\n SUBSYSTEM=x\n", 300 + number_of(line)));
    let coloured = each(|line| {
        let (first, rest) = line.split_at(4);
        format!("\x1b[32m[   12.345678] \x1b[0m\x1b[33m{first}\x1b[0m{rest}\n")
    });
    let pretty = each(|line| format!("{{\n\t\"PRIORITY\" : \"6\",\n\t\"MESSAGE\" : \"{line}\"\n}}\n"));
    vec![
        ("bare", lines(""), ["", "", ""]),
        ("dmesg", lines("[   12.345678] "), ["", "", ""]),
        ("dmesg --color", coloured, ["", "", ""]),
        ("dmesg -T", lines("[Sat Nov 21 12:00:00 2026] "), ["", "", ""]),
        ("dmesg of another language", lines("[六 11月 21 12:00:00 2026] "), ["", "", ""]),
        ("dmesg iso", lines("2026-11-21T12:00:00,000000+00:00 "), [time, "", ""]),
        ("raw", lines("<4>[   12.345678] "), ["", "", ""]),
        ("kmsg", records, ["", "", ""]),
        ("messages", lines("Nov 21 12:00:00 node-a kernel: [   12.345678] "), ["", "node-a", ""]),
        ("short-iso", lines("2026-11-21T13:00:00+0100 node-a kernel: "), [time, "node-a", ""]),
        ("short-full", lines("Sat 2026-11-21 12:00:00 UTC node-a kernel: "), [time, "node-a", ""]),
        ("rfc 5424", lines("<4>1 2026-11-21T12:00:00Z node-a kernel - - - "), [time, "node-a", ""]),
        ("journal json", json_lines(journal), [time, "node-a", boot]),
        ("journal json of bytes", json_lines(as_bytes), [time, "node-a", boot]),
        ("journal json-pretty", pretty, ["", "", ""]),
        ("journal export", export, [time, "node-a", boot]),
        (
            "docker",
            json_lines(|text| {
                serde_json::json!({"log": format!("[   12.345678] {text}\n"), "stream": "stdout",
            "time": "2026-11-22T00:00:00Z"})
            }),
            ["", "", ""],
        ),
        ("cri", lines("2026-11-22T00:00:00.123456789Z stdout F [   12.345678] "), ["", "", ""]),
        ("kubectl logs --prefix", lines("[pod/a-b/c] [   12.345678] "), ["", "", ""]),
        (
            "log service",
            json_lines(|text| {
                serde_json::json!({"jsonPayload": {"MESSAGE": text, "_HOSTNAME": "node-a"},
            "timestamp": "2026-11-21T12:00:00Z"})
            }),
            ["", "node-a", ""],
        ),
        ("quoted", lines("> > [   12.345678] "), ["", "", ""]),
        ("indented", lines("    [   12.345678] "), ["", "", ""]),
        ("dmesg -d", lines("[   12.345678 <    0.000001>] "), ["", "", ""]),
        ("with the thread", lines("[   12.345678] [  T97] "), ["", "", ""]),
        (
            "talosctl dmesg",
            lines("node-a: kern: warning: [2026-11-21T12:00:00.000000Z]: "),
            [time, "node-a", ""],
        ),
        // None of these is known by name.
        ("busybox", lines("Nov 21 12:00:00 node-a kern.warn kernel: "), ["", "", ""]),
        ("logcat", lines("11-21 12:00:00.123     0     0 W kernel  : "), ["", "", ""]),
        ("grep -H", lines("/var/log/messages.1:Nov 21 12:00:00 node-a kernel: "), ["", "", ""]),
        ("a table", each(|line| format!("| `[   12.345678] {line}` |\n")), ["", "", ""]),
        ("csv", each(|line| format!("\"2026-11-21 12:00:00\",\"[   12.345678] {line}\"\n")), ["", "", ""]),
        ("html", each(|line| format!("[   12.345678] {line}<br>\n")), ["", "", ""]),
        (
            "broken into lines by mail",
            lines("[   12.345678] ")
                .replace(",cpuset", ",\ncpuset")
                .replace(",task=", ",\n  task=")
                .replace(") total-vm:33840kB, ", ")\n  total-vm:33840kB,\n"),
            ["", "", ""],
        ),
        ("padded", each(|line| format!("[   12.345678] {line}   \n")), ["", "", ""]),
        ("windows", lines("[   12.345678] ").replace('\n', "\r\n"), ["", "", ""]),
    ]
}

#[test]
fn however_it_is_wrapped_it_is_the_same_incident() {
    let expected = essence(&reports(lines("").as_bytes())[0]);
    assert!(expected.contains("33386496") && expected.contains("ContainerLimit"), "{expected}");
    for (name, log, [time, node, boot_id]) in wrapped() {
        let reports = reports(log.as_bytes());
        assert_eq!(reports.len(), 1, "{name}");
        assert_eq!(essence(&reports[0]), expected, "{name}");
        let told = [&reports[0].time, &reports[0].node, &reports[0].boot_id].map(String::as_str);
        assert_eq!(told, [time, node, boot_id], "{name}");
    }
}

/// Whoever reads the node's figures takes every line for one of them.
#[test]
fn a_node_that_ran_out_is_told_in_any_wrapping_twice() {
    let log = [
        "hog invoked oom-killer: gfp_mask=0x140dca(GFP_HIGHUSER_MOVABLE), order=0, oom_score_adj=0",
        "Mem-Info:",
        "active_anon:73 inactive_anon:158484 free:8550",
        "182985 pages RAM",
        "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/,task=hog,\
         pid=153,uid=0",
        "Out of memory: Killed process 153 (hog) total-vm:650292kB, anon-rss:649216kB, file-rss:0kB, shmem-rss:576kB, \
         UID:0 pgtables:1312kB oom_score_adj:0",
    ];
    let told = |head: &str, tail: &str| -> Vec<String> {
        let line = |text: &&str| format!("{head}{text}{tail}\n");
        let log: String = log.iter().chain(&log).map(line).collect();
        reports(log.as_bytes())
            .iter()
            .map(|report| format!("{} {:?}", essence(report), report.node_memory))
            .collect()
    };
    let expected = told("", "");
    assert_eq!(expected.len(), 2);
    assert!(
        expected[0].contains("NodeExhausted") && expected[0].contains("mem_free_bytes: Some"),
        "{expected:?}"
    );
    for (head, tail) in [
        ("Nov 21 12:00:00 node-a kern.warn kernel: ", ""),
        ("11-21 12:00:00.123     0     0 W kernel  : ", ""),
        ("/var/log/messages.1:Nov 21 12:00:00 node-a kernel: ", ""),
        ("10.0.0.1: kern: warning: [2026-11-21T12:00:00.1Z]: ", "   "),
        ("\"2026-11-21 12:00:00\",\"[   12.345678] ", "\""),
        ("| `[   12.345678] ", "` |"),
    ] {
        assert_eq!(told(head, tail), expected, "{head}");
    }
}

#[test]
fn an_incident_has_the_same_id_wherever_its_clock_is_known() {
    let ids = |names: &[&str]| -> Vec<String> {
        let named = wrapped().into_iter().filter(|(name, ..)| names.contains(name));
        named.map(|(_, log, _)| reports(log.as_bytes())[0].id.clone()).collect()
    };
    let by_clock =
        ids(&["dmesg", "dmesg --color", "raw", "kmsg", "messages", "docker", "cri", "quoted", "windows"]);
    assert_eq!(by_clock.len(), 9);
    assert!(by_clock.iter().all(|id| *id == by_clock[0] && id.ends_with("-12345678000")), "{by_clock:?}");
    // With its boot's id it is the agent's own.
    let by_boot = ids(&["journal json", "journal export"]);
    assert_eq!(by_boot, ["0f3c9f5e-5d1b-4a7f-8e1d-2c3b4a596877-12345678000"; 2]);
    // Without any clock the same victims may be another incident's.
    let twice = reports((lines("") + &lines("")).as_bytes());
    assert_ne!(twice[0].id, twice[1].id);
}

#[test]
fn forms_may_change_within_a_log_and_others_lines_come_between() {
    let mut log = Vec::new();
    for (_, wrapped, _) in wrapped() {
        for line in wrapped.lines() {
            log.extend_from_slice(line.as_bytes());
            log.push(b'\n');
        }
        log.extend_from_slice("Nov 21 12:00:00 node-a app[1]: Killed process 5 (x)\n\u{fffd}\n\n".as_bytes());
    }
    assert_eq!(reports(&log).len(), wrapped().len());
    for between in
        ["Nov 21 12:00:00 node-a sshd[7]: x\n", "usb 1-1: new device\n", "\n", "{\"a\":1}\n", "\x1b[31m\n"]
    {
        let log = each(|line| format!("{line}\n{between}"));
        assert_eq!(
            essence(&reports(log.as_bytes())[0]),
            essence(&reports(lines("").as_bytes())[0]),
            "{between}"
        );
    }
}

#[test]
fn machines_that_share_a_log_do_not_share_an_incident() {
    let log = each(|line| {
        ["a", "b", "c"].map(|host| format!("Nov 21 12:00:00 node-{host} kernel: {line}\n")).concat()
    });
    let mut nodes: Vec<_> =
        reports(log.as_bytes()).into_iter().map(|report| (report.node.clone(), essence(&report))).collect();
    nodes.sort();
    let expected = essence(&reports(lines("").as_bytes())[0]);
    assert_eq!(nodes, ["node-a", "node-b", "node-c"].map(|node| (node.to_owned(), expected.clone())));
}

#[test]
fn what_lies_far_apart_is_found_whatever_the_pieces() {
    let filler = "Nov 21 12:00:00 node-a app[1]: nothing of interest\n".repeat(7000);
    let log = format!("{filler}{}{filler}{}", lines("[    1.000000] "), lines("[    2.000000] "));
    let all = log.lines().count() as u64;
    for piece in [7, 4096, 100_003, 1 << 20] {
        let (found, lines) = scan(log.as_bytes(), piece);
        let at: Vec<_> = found
            .iter()
            .map(|found| match found {
                Found::Incident(logged) => logged.line,
                Found::Report(_) => None,
            })
            .collect();
        assert_eq!(at, [Some(7001), Some(14001 + LOG.len() as u64)], "pieces of {piece}");
        assert_eq!(lines, all, "pieces of {piece}");
    }
}

#[test]
fn what_is_left_of_an_incident_is_one() {
    let whole = &reports(lines("").as_bytes())[0];
    let last = LOG.len() - 1;
    // First line, line behind the last, processes, whether the limit's owner is known.
    for (from, to, victims, owner) in [
        (1, last + 1, 2, true),
        (10, last + 1, 2, true),
        (11, last + 1, 2, false),
        (0, 11, 1, true),
        (10, 11, 1, true),
        (last, last + 1, 1, false),
        (0, 10, 0, false),
        (3, 10, 0, false),
    ] {
        let part = LOG[from..to].join("\n");
        let reports = reports(part.as_bytes());
        assert_eq!(reports.len(), usize::from(victims > 0), "{from}..{to}");
        let Some(report) = reports.first() else { continue };
        assert_eq!((report.victims.len(), report.limit_owner.is_some()), (victims, owner), "{from}..{to}");
        assert_eq!(report.victims[0].tid, whole.victims[0].tid.filter(|_| from < last).or(Some(98)));
    }
    // Searched for a word.
    for (word, victims) in [("oom-kill", 1), ("Killed process", 1), ("oom", 2), ("ill", 2)] {
        let part = each(|line| if line.contains(word) { format!("{line}\n") } else { String::new() });
        let reports = reports(part.as_bytes());
        assert!(!reports.is_empty() && reports[0].victims.len() >= victims, "{word}: {}", reports.len());
    }
}

#[test]
fn reports_of_ours_are_found_in_any_wrapping() {
    let json = reports(lines("").as_bytes())[0].to_json().unwrap();
    let docker = serde_json::json!({"log": format!("{json}\n"), "stream": "stdout"}).to_string();
    for line in
        [json.clone(), docker, format!("2026-11-22T00:00:00.1Z stdout F {json}"), format!("> {json}\r")]
    {
        let found = scan(format!("x\n{line}\ny\n").as_bytes(), 1000).0;
        assert_eq!(found, [Found::Report(json.clone())], "{line}");
    }
}

#[test]
fn reports_that_were_laid_out_over_lines_are_found() {
    let json = reports(lines("").as_bytes())[0].to_json().unwrap();
    let spread = serde_json::to_string_pretty(&Report::from_json(&json).unwrap()).unwrap();
    let filler = "Nov 21 12:00:00 node-a app[1]: nothing of interest\n".repeat(7000);
    for log in
        [spread.clone(), format!("[\n{spread},\n{spread}\n]"), format!("{filler}{spread}\n{filler}{spread}")]
    {
        let count = log.matches("\"schema\"").count();
        for piece in [1000, 1 << 20] {
            let found = scan(log.as_bytes(), piece).0;
            assert_eq!(found.len(), count, "pieces of {piece}");
            for found in found {
                let Found::Report(found) = found else { panic!("{found:?}") };
                assert_eq!(Report::from_json(&found).unwrap(), Report::from_json(&json).unwrap());
            }
        }
    }
}

#[test]
fn what_kubectl_shows_of_a_kernel_monitor_is_a_kill() {
    let line = "  Warning  OOMKilling  3m  kernel-monitor  Memory cgroup out of memory: Killed process 97 (a b) \
                total-vm:753508kB, anon-rss:58776kB, file-rss:29400kB, shmem-rss:0kB, UID:0 pgtables:288kB \
                oom_score_adj:999";
    let report = &reports(line.as_bytes())[0];
    let victim = &report.victims[0];
    assert_eq!((victim.comm.as_deref(), victim.oom_score_adj), (Some("a b"), Some(999)));
    // Another program's line in a syslog file may be anybody's.
    let line = line.replace("kernel-monitor", "");
    assert!(reports(format!("Nov 21 12:00:00 node-a app: {line}").as_bytes()).is_empty());
}

#[test]
fn no_line_is_too_long_and_no_byte_breaks_anything() {
    let long = "x".repeat(5 << 20);
    let json = format!("{{\"MESSAGE\":\"{long}\n");
    for log in [
        format!("{long}\n{}", lines("")),
        format!("{long}invoked oom-killer: gfp_mask=0x{long}\n{}", lines("")),
        format!("{json}{}", lines("")),
        format!("oom-kill:{long}\n{}\n", lines("")),
    ] {
        assert_eq!(scan(log.as_bytes(), 64 << 10).0.len(), 1);
    }
    for (_, log, _) in wrapped() {
        let bytes = log.as_bytes();
        for at in (0..bytes.len()).step_by(41) {
            let mut broken = bytes.to_vec();
            for (offset, byte) in [0_u8, 0xff, b'\n', b'"', 0x1b].into_iter().enumerate() {
                if let Some(place) = broken.get_mut(at + offset) {
                    *place = byte;
                }
            }
            scan(&broken, 997);
        }
    }
}
