//! The kills, each made for real and compared with what the kernel said of it.

mod check;
mod faults;
mod group;
mod limits;
mod many;
mod node;
mod processes;
mod shutdown;
mod unkilled;

use anyhow::{Context, Result};
use oomwatch_tests::{
    bench::Bench,
    compare::{Differences, Since, with_log, with_status},
    hog::Hog,
    memcg::Memcg,
    report::{Process, Report},
    status::Status,
};

use crate::suite::{Case, Needs, Setup};

/// Every case, in order: one agent serves those of one setup in a row.
pub(crate) const CASES: &[Case] = &[
    case("a_process_at_its_containers_limit", Setup::Highest, Needs::Memcg, limits::own),
    case("a_process_at_its_pods_limit", Setup::Highest, Needs::Memcg, limits::parent),
    case("a_process_at_the_limit_of_kubepods", Setup::Highest, Needs::Memcg, limits::great_grandparent),
    case("growth_of_a_tmpfs", Setup::Highest, Needs::Memcg, limits::tmpfs),
    case("a_cgroup_with_a_hostile_name", Setup::Highest, Needs::Memcg, limits::hostile_name),
    case("the_trigger_is_not_the_victim", Setup::Highest, Needs::Memcg, processes::other_trigger),
    case("every_kind_of_memory_is_told_apart", Setup::Highest, Needs::Memcg, processes::kinds_of_memory),
    case("a_zombie_leader_whose_worker_allocates", Setup::Highest, Needs::Memcg, processes::zombie_leader),
    case("a_process_of_many_threads", Setup::Highest, Needs::Memcg, processes::threads),
    case("a_process_in_a_pid_namespace", Setup::Highest, Needs::Memcg, processes::pid_namespace),
    case("a_process_of_another_user", Setup::Highest, Needs::Memcg, processes::other_user),
    case("a_comm_that_looks_like_the_log", Setup::Highest, Needs::Memcg, processes::comm_like_the_log),
    case("a_comm_with_control_bytes", Setup::Highest, Needs::Memcg, processes::comm_with_control_bytes),
    case("the_smaller_process_by_oom_score_adj", Setup::Highest, Needs::Memcg, processes::adjusted),
    case("a_group_is_one_incident", Setup::Kprobe, Needs::V2, group::whole),
    case("a_group_set_on_the_pod", Setup::Kprobe, Needs::V2, group::on_parent),
    case("the_whole_node", Setup::Highest, Needs::Memcg, node::exhausted),
    case("an_exiting_victim_is_not_reported", Setup::Kprobe, Needs::Memcg, unkilled::already_exiting),
    case("twenty_kills_in_a_row", Setup::Highest, Needs::Memcg, many::in_a_row),
    case("check_takes_the_agents_level", Setup::Highest, Needs::Memcg, check::level),
    case("check_names_what_privileges_are_missing", Setup::Highest, Needs::Memcg, check::privileges),
    case("what_was_captured_is_reported_after_sigterm", Setup::Highest, Needs::Memcg, shutdown::drains),
    case("a_closed_stdout_ends_quietly", Setup::Highest, Needs::Memcg, shutdown::closed_stdout),
    case("fentry_a_process_at_its_containers_limit", Setup::Trampolines, Needs::Memcg, limits::own),
    case("fentry_a_group_is_one_incident", Setup::Trampolines, Needs::V2, group::whole),
    case("fentry_the_whole_node", Setup::Trampolines, Needs::Memcg, node::exhausted),
    case(
        "fentry_an_exiting_victim_is_not_reported",
        Setup::Trampolines,
        Needs::Memcg,
        unkilled::already_exiting,
    ),
    case("fault_a_clock_that_jumps", Setup::Highest, Needs::Memcg, faults::clock_that_jumps),
    case("fault_a_group_and_a_small_ring_buffer", Setup::Highest, Needs::V2, faults::small_ring_buffer),
    case("tracepoint_a_process_at_its_containers_limit", Setup::Tracepoint, Needs::Memcg, limits::own),
    case("tracepoint_every_process_of_a_group", Setup::Tracepoint, Needs::V2, group::by_tracepoint),
    case("tracepoint_the_whole_node", Setup::Tracepoint, Needs::Memcg, node::exhausted),
    // The agent beside them is one that kprobes do not concern.
    case("fault_kprobes_that_are_disarmed", Setup::Tracepoint, Needs::Memcg, faults::disarmed),
    case("fault_a_blind_probe_is_attached_again", Setup::Tracepoint, Needs::Memcg, faults::attached_again),
];

const fn case(name: &'static str, setup: Setup, needs: Needs, run: fn(&mut Bench) -> Result<()>) -> Case {
    Case { name, setup, needs, run }
}

/// A hog that stands at its stop: what the test knows of it.
pub(crate) struct Standing {
    status: Status,
    pid: u32,
}

/// Brings a hog to its next stop and reads its status there.
fn stand(hog: &mut Hog) -> Result<Standing> {
    hog.go_to_stop()?;
    Ok(Standing { status: hog.status()?, pid: hog.pid })
}

/// One process dies in `memcg` when `grower` goes on. Everything known about it is compared.
fn one_kill(
    bench: &mut Bench,
    memcg: &Memcg,
    grower: &mut Hog,
    victim: &Standing,
    since: Since,
) -> Result<Seen> {
    bench.begin()?;
    let before = memcg.oom_kills()?;
    grower.go()?;
    if grower.pid == victim.pid {
        grower.wait_for_kill()?;
    }
    let (report, logged, kernel_count) = bench.observe_one(&[victim.pid])?;
    let mut differences = Differences::default();
    with_log(&mut differences, &report, &logged, &bench.machine);
    let process = report.victims.first().cloned().context("no victim")?;
    with_status(&mut differences, &process, &victim.status, since, &bench.machine);
    differences.equal("oom_kill of /proc/vmstat", Some(1), kernel_count);
    differences.equal("oom_kill of the cgroup", Some(1), memcg.oom_kills()? - before);
    differences.equal("trigger.tgid", report.trigger.as_ref().and_then(|trigger| trigger.tgid), grower.pid);
    Ok(Seen { report, process, differences })
}

/// What was seen of one kill, and the differences so far.
struct Seen {
    report: Report,
    process: Process,
    differences: Differences,
}

impl Seen {
    /// No difference; otherwise the report is told with them.
    fn finish(self) -> Result<()> {
        self.differences.finish().with_context(|| self.report.line)
    }
}
