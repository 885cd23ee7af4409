//! The parser of the kernel's log over every captured log, compared with tests/golden/kernel-log.txt, with the tests'
//! own parser, and with itself over the same log as plain text.
//!
//! `OOMWATCH_BLESS=1 cargo test -p oomwatch-tests --test kernel_log` writes the golden file anew.

#![cfg(test)]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use oomwatch_common::{
    ids::CgroupPath,
    incident::{Memcg, Process},
    kernel_log::{KernelLog, KmsgRecord, Logged},
    units::{Bytes, Limit, PageSize},
};
use oomwatch_tests::{kernel_log, kmsg};

fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn fixtures(extension: &str) -> Vec<PathBuf> {
    let folder = here().join("fixtures/kmsg");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|known| known == extension));
    files.sort();
    files
}

fn incidents(lines: &[u8]) -> Vec<Logged> {
    let mut log = KernelLog::new(PageSize::default(), false);
    let mut found: Vec<_> = lines.split(|&byte| byte == b'\n').filter_map(|line| log.line(line)).collect();
    found.extend(log.finish());
    assert_eq!(log.finish(), None);
    assert_eq!(log.kills(), found.iter().map(|logged| logged.kills).sum::<u64>());
    found
}

/// All that is compared, a line for an incident and one for each victim.
fn describe(found: &[Logged]) -> String {
    let mut text = String::new();
    for Logged { incident, kills, tasks, node, release, .. } in found {
        let oom = incident.oom.as_ref();
        let constraint = oom.and_then(|oom| oom.constraint).map_or("-".to_owned(), |it| format!("{it:?}"));
        write!(
            text,
            "  {constraint} order={:?} gfp={:x?}",
            oom.and_then(|it| it.order),
            oom.and_then(|it| it.gfp_mask)
        )
        .unwrap();
        write!(
            text,
            " group={} message={:?}",
            oom.is_some_and(|it| it.group),
            oom.and_then(|it| it.message.as_deref())
        )
        .unwrap();
        write!(text, " trigger={}", incident.trigger.as_ref().map_or("-".to_owned(), who)).unwrap();
        writeln!(text, " owner={}", incident.limit_owner.as_ref().map_or("-".to_owned(), memcg)).unwrap();
        write!(
            text,
            "    kills={kills} tasks={} node={}",
            tasks.len(),
            node.as_ref().map_or(0, |it| it.counts.len())
        )
        .unwrap();
        writeln!(text, " release={}", release.as_deref().unwrap_or("-")).unwrap();
        for victim in &incident.victims {
            let memory = victim.memory.unwrap_or_default();
            let kib =
                |size: Option<Bytes>| size.map_or("-".to_owned(), |Bytes(size)| (size / 1024).to_string());
            writeln!(
                text,
                "    {} vm={} anon={} file={} shmem={} swap={} pgtables={} exact={} in {}",
                who(victim),
                kib(memory.total_vm),
                kib(memory.rss_anon),
                kib(memory.rss_file),
                kib(memory.rss_shmem),
                kib(memory.swap),
                kib(memory.pgtables),
                memory.exact,
                victim.memcg.as_ref().map_or("-".to_owned(), |it| path(&it.path)),
            )
            .unwrap();
        }
        for gap in &incident.gaps {
            writeln!(text, "    gap {}: {}", gap.what, gap.why).unwrap();
        }
    }
    text
}

fn who(process: &Process) -> String {
    let number = |number: Option<u32>| number.map_or("-".to_owned(), |number| number.to_string());
    let (tgid, tid) = (number(process.tgid.map(|it| it.0)), number(process.tid.map(|it| it.0)));
    let comm =
        process.comm.as_ref().map_or("-".to_owned(), |comm| comm.as_bytes().escape_ascii().to_string());
    format!("{tgid}/{tid}({comm}) uid={} adj={:?}", number(process.uid), process.oom_score_adj)
}

fn path(path: &CgroupPath) -> String {
    path.to_bytes().escape_ascii().to_string()
}

fn memcg(memcg: &Memcg) -> String {
    let limit = |limit| match limit {
        None => "-".to_owned(),
        Some(Limit::Unlimited) => "max".to_owned(),
        Some(Limit::Bytes(Bytes(bytes))) => bytes.to_string(),
    };
    let version = memcg.v2.map_or("v?", |v2| if v2 { "v2" } else { "v1" });
    let anon = memcg.stat.as_ref().and_then(|stat| stat.size("anon"));
    format!(
        "{} {version} {:?}/{} swap {:?}/{} anon {:?} of {}",
        path(&memcg.path),
        memcg.usage.map(|it| it.0),
        limit(memcg.limit),
        memcg.swap_usage.map(|it| it.0),
        limit(memcg.swap_limit),
        anon.map(|it| it.0),
        memcg.stat.as_ref().map_or(0, |stat| stat.0.len()),
    )
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn every_captured_log_gives_the_incidents_that_are_committed() {
    let mut text = String::new();
    for file in fixtures("kmsg").into_iter().chain(fixtures("txt")) {
        writeln!(text, "{}", name(&file)).unwrap();
        text += &describe(&incidents(&fs::read(&file).unwrap()));
    }
    let golden = here().join("golden/kernel-log.txt");
    if std::env::var_os("OOMWATCH_BLESS").is_some() {
        fs::write(&golden, &text).unwrap();
    }
    let committed = fs::read_to_string(&golden).unwrap_or_default();
    let differs = text.lines().zip(committed.lines()).find(|(now, then)| now != then);
    assert!(
        text == committed,
        "OOMWATCH_BLESS=1 renews {}; the first difference: {differs:?}",
        golden.display()
    );
}

/// The tests' own parser knows the forms since 5.4.
#[test]
fn a_parser_of_other_making_finds_the_same_incidents() {
    let mut compared = 0;
    for file in fixtures("kmsg") {
        let raw = fs::read(&file).unwrap();
        if name(&file).starts_with("ubuntu-4.") {
            continue;
        }
        let records: Vec<_> = raw.split(|&byte| byte == b'\n').filter_map(kmsg::Record::parse).collect();
        let (theirs, ours) = (kernel_log::incidents(&records), incidents(&raw));
        let victims = |logged: &kernel_log::LoggedIncident| -> Vec<_> {
            logged.victims().iter().map(|killed| (killed.tid, killed.comm.clone())).collect()
        };
        // A header without a kill is none.
        let theirs: Vec<_> = theirs.iter().filter(|logged| !logged.killed.is_empty()).collect();
        assert_eq!(ours.len(), theirs.len(), "{}", name(&file));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let named =
                |victim: &Process| (victim.tid.unwrap().0, victim.comm.as_ref().unwrap().as_bytes().to_vec());
            assert_eq!(
                ours.incident.victims.iter().map(named).collect::<Vec<_>>(),
                victims(theirs),
                "{}",
                name(&file)
            );
            assert_eq!(ours.kills, theirs.killed.len() as u64);
            let owner = theirs.summary.as_ref().and_then(|summary| summary.oom_memcg.clone());
            let owned = ours.incident.limit_owner.as_ref().map(|owner| owner.path.to_bytes());
            assert_eq!(owned, owner.map(|owner| CgroupPath::parse(&owner).to_bytes()), "{}", name(&file));
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared} incidents were compared");
}

#[test]
fn the_same_log_as_plain_text_is_the_same() {
    for file in fixtures("kmsg") {
        let raw = fs::read(&file).unwrap();
        let records: Vec<_> = raw.split(|&byte| byte == b'\n').filter_map(KmsgRecord::parse).collect();
        let heads: [fn(&KmsgRecord) -> String; 4] = [
            |record| format!("[{:5}.{:06}] ", record.micros / 1_000_000, record.micros % 1_000_000),
            |record| format!("[{:5}.{:06}][  T97] ", record.micros / 1_000_000, record.micros % 1_000_000),
            |_| "Nov 21 12:00:00 node-a kernel: ".to_owned(),
            |_| String::new(),
        ];
        for head in heads {
            let mut text = Vec::new();
            for record in records.iter().filter(|record| record.is_from_kernel) {
                for line in record.text.split(|&byte| byte == b'\n') {
                    text.extend_from_slice(head(record).as_bytes());
                    text.extend_from_slice(line);
                    text.push(b'\n');
                }
            }
            let plain = |found: Vec<Logged>| -> String {
                // Records that are missing show by their numbers alone.
                let lines = describe(&found);
                lines
                    .lines()
                    .filter(|line| !line.contains("were lost"))
                    .map(|line| line.to_owned() + "\n")
                    .collect()
            };
            assert_eq!(
                plain(incidents(&text)),
                plain(incidents(&raw)),
                "{} {}",
                name(&file),
                head(&records[0])
            );
        }
    }
}

#[test]
fn cut_anywhere_a_log_breaks_nothing_and_makes_nothing_up() {
    for file in [
        "5.10.0-46-cloud-amd64-v2group.kmsg",
        "7.2.13+deb14-cloud-amd64-global.kmsg",
        "ubuntu-4.15.0-213-v1hier.kmsg",
    ] {
        let raw = fs::read(here().join("fixtures/kmsg").join(file)).unwrap();
        let whole = incidents(&raw);
        let kills = whole.iter().map(|logged| logged.kills).sum();
        let all: Vec<_> =
            whole.iter().flat_map(|logged| &logged.incident.victims).map(|victim| victim.tid).collect();
        for end in (0..raw.len()).step_by(7) {
            for part in [&raw[..end], &raw[end..]] {
                let found = incidents(part);
                assert!(found.iter().map(|logged| logged.kills).sum::<u64>() <= kills, "{file} at {end}");
                for victim in found.iter().flat_map(|logged| &logged.incident.victims) {
                    // A number may lose its first or last digits with the line.
                    let tid = victim.tid.unwrap().0.to_string();
                    assert!(
                        all.iter().flatten().any(|known| known.0.to_string().contains(&tid)),
                        "{file} at {end}"
                    );
                }
            }
        }
    }
}
