//! A victim against its `/proc/PID/status` that the test read while it lived.

use super::{Differences, Slack};
use crate::{machine::Machine, report::Process, status::Status};

/// What the victim did between the test's read and its death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Nothing: it waited, and another process's allocation killed it. All values must still hold.
    Waited,
    /// It allocated until it was killed, so its memory grew and nothing of it shrank.
    Grew,
}

/// Compares what both have.
pub fn with_status(
    differences: &mut Differences,
    victim: &Process,
    status: &Status,
    since: Since,
    machine: &Machine,
) {
    // /proc/PID/status reads the same counters, and does not sum them on every kernel either.
    let rss = machine.unsummed();
    let sizes = [
        ("VmSize", victim.total_vm, Slack::NONE),
        ("RssAnon", victim.rss_anon, rss),
        ("RssFile", victim.rss_file, rss),
        ("RssShmem", victim.rss_shmem, rss),
        ("VmPTE", victim.pgtables, Slack::NONE),
        ("VmSwap", victim.swap, rss),
    ];
    for (name, ours, slack) in sizes {
        let Some(theirs) = status.bytes(name) else {
            differences.wrong(format!("the test's own {name} is missing from /proc/PID/status"));
            continue;
        };
        match since {
            Since::Waited => differences.close(name, ours, theirs, slack),
            // Under the pressure of the limit, pages of mapped files are dropped: the one size that may shrink.
            Since::Grew if name == "RssFile" => differences.that("RssFile is left out", ours.is_some()),
            Since::Grew => differences.no_less(name, ours, theirs, slack),
        }
    }
    let rss_of_ours = [victim.rss_anon, victim.rss_file, victim.rss_shmem].into_iter().sum::<Option<u64>>();
    let summed = Slack { bytes: 3 * rss.bytes, why: rss.why };
    match (since, status.bytes("VmRSS")) {
        (Since::Waited, Some(theirs)) => differences.close("VmRSS", rss_of_ours, theirs, summed),
        (Since::Grew, Some(_)) => {}
        (_, None) => differences.wrong("the test's own VmRSS is missing from /proc/PID/status".to_owned()),
    }
    differences.equal("Tgid", victim.tgid.map(u64::from), status.number("Tgid").unwrap_or_default());
    differences.equal("PPid", victim.parent, status.number("PPid").unwrap_or_default());
    differences.equal("Uid", victim.uid, status.number("Uid").unwrap_or_default());
    differences.equal("NSpid", victim.pid_in_namespace, status.last_number("NStgid").unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::{Since, with_status};
    use crate::{compare::Differences, machine::Machine, report::Process, status::Status};

    const STATUS: &str = "Tgid:\t7\nPPid:\t1\nUid:\t5\t5\t5\t5\nNStgid:\t7\t2\nVmSize:\t100 kB\nVmRSS:\t60 kB\n\
        RssAnon:\t40 kB\nRssFile:\t12 kB\nRssShmem:\t8 kB\nVmPTE:\t16 kB\nVmSwap:\t0 kB\n";

    fn victim() -> Process {
        Process {
            tgid: Some(7),
            uid: Some(5),
            parent: Some(1),
            pid_in_namespace: Some(2),
            total_vm: Some(100 << 10),
            rss_anon: Some(40 << 10),
            rss_file: Some(12 << 10),
            rss_shmem: Some(8 << 10),
            pgtables: Some(16 << 10),
            swap: Some(0),
            ..Process::default()
        }
    }

    fn compared(victim: &Process, since: Since) -> anyhow::Result<()> {
        let machine = Machine {
            release: String::new(),
            version: (6, 1),
            cpus: 2,
            page: 4096,
            ram: 0,
            swap: 0,
            mark_victim_passes_task: true,
        };
        let mut differences = Differences::default();
        with_status(&mut differences, victim, &Status::parse(STATUS), since, &machine);
        differences.finish()
    }

    #[test]
    fn a_victim_that_waited_has_every_value_still() {
        compared(&victim(), Since::Waited).unwrap();
        let falsehoods: [fn(&mut Process); 6] = [
            |victim| victim.total_vm = Some(101 << 10),
            |victim| victim.rss_anon = None,
            |victim| victim.pgtables = Some(20 << 10),
            |victim| victim.pid_in_namespace = Some(7),
            |victim| victim.parent = Some(3),
            |victim| victim.uid = Some(0),
        ];
        for (index, falsify) in falsehoods.iter().enumerate() {
            let mut victim = victim();
            falsify(&mut victim);
            assert!(compared(&victim, Since::Waited).is_err(), "{index}");
        }
    }

    #[test]
    fn a_victim_that_grew_has_no_less_than_before() {
        let grown =
            Process { total_vm: Some(1 << 20), rss_anon: Some(1 << 20), rss_file: Some(0), ..victim() };
        compared(&grown, Since::Grew).unwrap();
        compared(&grown, Since::Waited).unwrap_err();
        compared(&Process { rss_anon: Some(36 << 10), ..grown }, Since::Grew).unwrap_err();
    }
}
