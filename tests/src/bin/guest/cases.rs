//! The kills, each made for real and compared with what the kernel said of it.

mod around;
mod check;
mod faults;
mod group;
mod kmsg;
mod limits;
mod lines;
mod many;
mod node;
mod numa;
mod processes;
mod removed;
mod sharing;
mod shutdown;
mod storm;
mod survive;
mod swap;
mod unkilled;

use anyhow::{Context, Result};
use oomwatch_tests::{
    bench::Bench,
    compare::{Differences, Since, with_log, with_status},
    hog::Hog,
    kernel_log::LoggedIncident,
    memcg::Memcg,
    report::{Process, Report},
    status::Status,
};

use crate::suite::{Case, Needs, Setup};

/// Every case, in order: one agent serves those of one setup in a row.
pub(crate) const CASES: &[Case] = &[
    case("a_process_at_its_containers_limit", Setup::Highest, Needs::Memcg, limits::own),
    case("a_process_at_its_pods_limit", Setup::Highest, Needs::Memcg, limits::parent),
    case("a_process_at_the_limit_of_its_grandparent", Setup::Highest, Needs::Memcg, limits::grandparent),
    case("a_process_at_the_limit_of_kubepods", Setup::Highest, Needs::Memcg, limits::great_grandparent),
    case("growth_of_a_tmpfs", Setup::Highest, Needs::Memcg, limits::tmpfs),
    case("a_cgroup_with_a_hostile_name", Setup::Highest, Needs::Memcg, limits::hostile_name),
    case("panic_on_oom_1_leaves_cgroups_alone", Setup::Highest, Needs::Memcg, limits::panic_on_oom),
    case("a_cgroup_removed_before_the_agent_looks", Setup::Highest, Needs::Memcg, removed::at_once),
    case("the_trigger_is_not_the_victim", Setup::Highest, Needs::Memcg, processes::other_trigger),
    case("the_trigger_is_a_thread", Setup::Highest, Needs::Memcg, processes::thread_triggers),
    case("every_kind_of_memory_is_told_apart", Setup::Highest, Needs::Memcg, processes::kinds_of_memory),
    case("a_zombie_leader_whose_worker_allocates", Setup::Highest, Needs::Memcg, processes::zombie_leader),
    case("a_process_of_many_threads", Setup::Highest, Needs::Memcg, processes::threads),
    case("a_process_in_namespaces_of_its_own", Setup::Highest, Needs::Memcg, processes::namespaces),
    case("a_process_of_another_user", Setup::Highest, Needs::Memcg, processes::other_user),
    case("a_comm_that_looks_like_the_log", Setup::Highest, Needs::Memcg, processes::comm_like_the_log),
    case("a_comm_with_control_bytes", Setup::Highest, Needs::Memcg, processes::comm_with_control_bytes),
    case("the_smaller_process_by_oom_score_adj", Setup::Highest, Needs::Memcg, processes::adjusted),
    case("a_process_that_shares_its_memory", Setup::Highest, Needs::Memcg, sharing::clone_vm),
    case("a_child_of_vfork_allocates", Setup::Highest, Needs::Memcg, sharing::vfork),
    case("a_group_is_one_incident", Setup::Kprobe, Needs::V2, group::whole),
    case("a_group_set_on_the_pod", Setup::Kprobe, Needs::V2, group::on_parent),
    case("a_group_with_a_protected_process", Setup::Kprobe, Needs::V2, group::with_protected),
    case("a_group_on_the_whole_node", Setup::Kprobe, Needs::V2, group::node_wide),
    case("the_whole_node", Setup::Highest, Needs::Memcg, node::exhausted),
    case("the_allocating_task_is_killed", Setup::Highest, Needs::Memcg, node::allocating_process),
    case("the_allocating_thread_is_killed", Setup::Highest, Needs::Memcg, node::allocating_thread),
    case("sysrq_f", Setup::Highest, Needs::Memcg, node::sysrq),
    case("an_exiting_victim_is_not_reported", Setup::Kprobe, Needs::Memcg, unkilled::already_exiting),
    case("lines_are_printed_once", Setup::Highest, Needs::Memcg, lines::once),
    case("lines_name_nobody_who_is_exiting", Setup::Kprobe, Needs::Memcg, lines::none_of_the_exiting),
    case("lines_that_nobody_reads_end_it_quietly", Setup::Highest, Needs::Memcg, lines::closed_stdout),
    case("nothing_killable_is_no_incident", Setup::Highest, Needs::Memcg, unkilled::nothing_killable),
    case("around_the_smaller_by_oom_score_adj", Setup::Kprobe, Needs::Memcg, around::smaller_by_adjustment),
    case("around_the_whole_node", Setup::Kprobe, Needs::Memcg, around::consumers_of_the_node),
    case("twenty_kills_in_a_row", Setup::Highest, Needs::Memcg, many::in_a_row),
    case("survive_a_node_full_of_processes", Setup::Highest, Needs::Memcg, survive::processes),
    case("survive_a_node_full_of_tmpfs", Setup::Highest, Needs::Memcg, survive::tmpfs),
    case("a_storm_of_kills", Setup::Highest, Needs::Memcg, storm::of_many),
    case("numa_a_cpusets_nodes_are_full", Setup::Highest, Needs::TwoNodes, numa::cpuset),
    case("numa_a_memory_policys_nodes_are_full", Setup::Highest, Needs::TwoNodes, numa::mempolicy),
    case("swap_a_cgroup_fills_the_disk", Setup::Highest, Needs::SwapDisk, swap::disk),
    case("swap_a_cgroup_at_its_swap_limit", Setup::Highest, Needs::SwapLimit, swap::limit),
    case("swap_the_whole_node", Setup::Highest, Needs::SwapDisk, swap::node),
    case("check_takes_the_agents_level", Setup::Highest, Needs::Memcg, check::level),
    case("check_names_what_privileges_are_missing", Setup::Highest, Needs::Memcg, check::privileges),
    case("what_was_captured_is_reported_after_sigterm", Setup::Highest, Needs::Memcg, shutdown::drains),
    case("a_closed_stdout_ends_quietly", Setup::Highest, Needs::Memcg, shutdown::closed_stdout),
    case("fentry_a_process_at_its_containers_limit", Setup::Trampolines, Needs::Memcg, limits::own),
    case("fentry_a_zombie_leader", Setup::Trampolines, Needs::Memcg, processes::zombie_leader),
    case("fentry_a_process_that_shares_its_memory", Setup::Trampolines, Needs::Memcg, sharing::clone_vm),
    case("fentry_a_group_is_one_incident", Setup::Trampolines, Needs::V2, group::whole),
    case("fentry_the_whole_node", Setup::Trampolines, Needs::Memcg, node::exhausted),
    case("fentry_the_allocating_thread_is_killed", Setup::Trampolines, Needs::Memcg, node::allocating_thread),
    case("fentry_sysrq_f", Setup::Trampolines, Needs::Memcg, node::sysrq),
    case(
        "fentry_an_exiting_victim_is_not_reported",
        Setup::Trampolines,
        Needs::Memcg,
        unkilled::already_exiting,
    ),
    case("fault_a_clock_that_jumps", Setup::Highest, Needs::Memcg, faults::clock_that_jumps),
    case("fault_a_group_and_a_small_ring_buffer", Setup::Highest, Needs::V2, faults::small_ring_buffer),
    case("tracepoint_a_process_at_its_containers_limit", Setup::Tracepoint, Needs::Memcg, limits::own),
    case("tracepoint_a_process_at_its_pods_limit", Setup::Tracepoint, Needs::Memcg, limits::parent),
    case("tracepoint_a_zombie_leader", Setup::Tracepoint, Needs::Memcg, processes::zombie_leader),
    case("tracepoint_a_process_in_namespaces", Setup::Tracepoint, Needs::Memcg, processes::namespaces),
    case("tracepoint_every_process_of_a_group", Setup::Tracepoint, Needs::V2, group::by_tracepoint),
    case("tracepoint_the_whole_node", Setup::Tracepoint, Needs::Memcg, node::exhausted),
    case(
        "tracepoint_the_allocating_thread_is_killed",
        Setup::Tracepoint,
        Needs::Memcg,
        node::allocating_thread,
    ),
    case(
        "tracepoint_an_exiting_victim_is_not_reported",
        Setup::Tracepoint,
        Needs::Memcg,
        unkilled::already_exiting,
    ),
    case("tracepoint_nothing_killable", Setup::Tracepoint, Needs::Memcg, unkilled::nothing_killable),
    // The agent beside them is one that kprobes do not concern.
    case("fault_a_blind_probe_is_attached_again", Setup::Tracepoint, Needs::Memcg, faults::attached_again),
    case("fault_a_kill_is_found_by_the_log", Setup::Tracepoint, Needs::Memcg, faults::found_by_the_log),
    case("fault_a_kill_is_found_by_the_cgroup", Setup::Tracepoint, Needs::V2, faults::found_by_the_cgroup),
    case("fault_a_kill_is_found_by_the_clock", Setup::Tracepoint, Needs::Memcg, faults::found_by_the_clock),
    case("kmsg_a_containers_limit", Setup::Kmsg, Needs::Memcg, kmsg::container),
    case("kmsg_the_whole_node", Setup::Kmsg, Needs::Memcg, kmsg::node),
    case("kmsg_a_group", Setup::Kmsg, Needs::V2, kmsg::group),
    case("fault_kprobes_are_switched_off", Setup::Tracepoint, Needs::Memcg, faults::kprobes_off),
    // The last: not every kernel gets over it.
    case("fault_ftrace_is_switched_off", Setup::Tracepoint, Needs::Memcg, faults::ftrace_off),
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
    let trigger = grower.pid;
    one_kill_by(bench, memcg, (grower, trigger), victim, since)
}

/// The same where another process than the hog itself allocates.
fn one_kill_by(
    bench: &mut Bench,
    memcg: &Memcg,
    (grower, trigger): (&mut Hog, u32),
    victim: &Standing,
    since: Since,
) -> Result<Seen> {
    bench.begin()?;
    let before = memcg.oom_kills()?;
    grower.go()?;
    if grower.pid == victim.pid {
        grower.wait_for_kill()?;
    }
    let observed = bench.observe_one(&[victim.pid])?;
    compared(bench, (memcg, before), trigger, (victim, since), observed)
}

/// What was observed of one kill beside what is known of it.
fn compared(
    bench: &Bench,
    (memcg, before): (&Memcg, u64),
    trigger: u32,
    (victim, since): (&Standing, Since),
    (report, logged, kernel_count): (Report, LoggedIncident, u64),
) -> Result<Seen> {
    let mut differences = Differences::default();
    with_log(&mut differences, &report, &logged, &bench.machine);
    let process = report.victims.first().cloned().context("no victim")?;
    with_status(&mut differences, &process, &victim.status, since, &bench.machine);
    differences.equal("oom_kill of /proc/vmstat", Some(1), kernel_count);
    differences.equal("oom_kill of the cgroup", Some(1), memcg.oom_kills()? - before);
    differences.equal("trigger.tgid", report.trigger.as_ref().and_then(|trigger| trigger.tgid), trigger);
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
