//! The numbers that the base rules rest on, each with where it was read.

use super::Evidence;
use crate::{
    incident::ProbeLevel,
    report::{Cgroup, FiguresFrom, Report},
    units::Bytes,
};

const KERNEL_LOG: &str = "kernel log";

/// Where what the kernel itself told is from.
pub(super) fn hook(report: &Report) -> &'static str {
    if report.probe.level == ProbeLevel::Kmsg.name() { KERNEL_LOG } else { "probe" }
}

/// A list of evidence that leaves out what was not read.
#[derive(Default)]
pub(super) struct EvidenceList(Vec<Evidence>);

impl EvidenceList {
    pub(super) fn bytes(&mut self, name: &str, value: Option<Bytes>, from: &str) {
        if let Some(Bytes(value)) = value {
            self.0.push(Evidence {
                name: name.to_owned(),
                value,
                unit: "bytes".to_owned(),
                from: from.to_owned(),
            });
        }
    }

    /// What is no size.
    pub(super) fn count(&mut self, name: &str, value: u64, unit: &str, from: &str) {
        self.0.push(Evidence { name: name.to_owned(), value, unit: unit.to_owned(), from: from.to_owned() });
    }

    /// Usage and limit of a cgroup, and what its `memory.stat` says it is made of.
    pub(super) fn cgroup(&mut self, cgroup: &Cgroup, whose: &str) {
        let files = format!("{whose} files");
        let from = match cgroup.figures_from {
            Some(FiguresFrom::Probe) => "probe",
            Some(FiguresFrom::Log) => KERNEL_LOG,
            Some(FiguresFrom::Files) | None => files.as_str(),
        };
        self.bytes("usage", cgroup.usage_bytes, from);
        self.bytes("limit", cgroup.limit_bytes, from);
        if let Some(stat) = &cgroup.stat {
            let file = format!("{whose}/memory.stat");
            let from = if cgroup.figures_from == Some(FiguresFrom::Log) { KERNEL_LOG } else { file.as_str() };
            for (name, key) in [("anon", "anon"), ("file", "file"), ("shmem", "shmem"), ("kernel", "kernel")]
            {
                self.bytes(name, stat.size(key), from);
            }
        }
    }

    /// What the victims had resident.
    pub(super) fn victims(&mut self, report: &Report) {
        let from = hook(report);
        if let [victim] = report.victims.as_slice() {
            let rss = victim.rss.unwrap_or_default();
            self.bytes("victim_rss_anon", rss.anon_bytes, from);
            self.bytes("victim_rss_file", rss.file_bytes, from);
            self.bytes("victim_rss_shmem", rss.shmem_bytes, from);
            return;
        }
        let anon = report.victims.iter().filter_map(|victim| victim.rss?.anon_bytes);
        let total =
            anon.fold(None, |sum: Option<u64>, Bytes(anon)| Some(sum.unwrap_or(0).saturating_add(anon)));
        self.bytes("victims_rss_anon", total.map(Bytes), from);
    }

    pub(super) fn done(self) -> Vec<Evidence> {
        self.0
    }
}
