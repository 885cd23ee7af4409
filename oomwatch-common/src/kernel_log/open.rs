//! An invocation of which lines have come.

use super::{
    Logged, Place,
    header::{Counted, Counter, Invoked, StackHead, task_in},
    kills::{Chosen, Killed},
    memory::{NodeMemory, Stats},
    summary::{SUMMARY, Summary},
    tasks::{Columns, MOST_TASKS, TaskRow},
    text::split,
};
use crate::{
    ids::{CgroupPath, Comm, Tid},
    scope::is_of_cgroup,
    units::PageSize,
};

mod finish;

/// Kills kept of one invocation.
const MOST_KILLS: usize = 8192;
/// The kernel prints the kill right after the header, and those of a group in one go; only a slow console comes
/// between, which may need 0.2 s for a line.
const KILL_WITHIN_MICROS: u64 = 10_000_000;
const GROUP_WITHIN_MICROS: u64 = 1_000_000;

#[derive(Clone, Debug, Default)]
pub(super) struct Open {
    invoked: Option<Invoked>,
    stack: Option<StackHead>,
    cpuset: Option<Vec<u8>>,
    /// Victim's and limit owner's cgroup, as kernels without a summary print them.
    task_in: Option<(CgroupPath, CgroupPath)>,
    /// The victim's, of such a line that a pager cut.
    task_cut: Option<CgroupPath>,
    counters: Vec<(Counted, Counter)>,
    stats: Stats,
    node: Option<NodeMemory>,
    columns: Option<Columns>,
    tasks: Vec<TaskRow>,
    summary: Option<Vec<u8>>,
    choice: Option<Chosen>,
    group: bool,
    killed: Vec<Killed>,
    sharers: Vec<(Tid, Comm)>,
    /// Lines "Killed process", those of the same process too.
    kills: u64,
    /// Records were lost while it was open.
    pub(super) lost: bool,
    /// When its first line was printed, and its last.
    first_micros: Option<u64>,
    last_micros: Option<u64>,
    wall: Option<Vec<u8>>,
    host: Option<Vec<u8>>,
    boot_id: Option<Vec<u8>>,
    line: Option<u64>,
    /// No line says that the chosen process was killed.
    is_presumed: bool,
    sequences: Option<(u64, u64)>,
}

impl Open {
    pub(super) fn at(place: Place<'_>) -> Self {
        Self {
            first_micros: place.micros,
            last_micros: place.micros,
            wall: place.wall.map(<[u8]>::to_vec),
            host: place.host.map(<[u8]>::to_vec),
            boot_id: place.boot_id.map(<[u8]>::to_vec),
            line: place.line,
            sequences: place.sequence.map(|sequence| (sequence, sequence)),
            ..Self::default()
        }
    }

    pub(super) fn with_header(invoked: Invoked, place: Place<'_>) -> Self {
        Self { invoked: Some(invoked), ..Self::at(place) }
    }

    pub(super) fn with_kill(killed: Killed, place: Place<'_>) -> Self {
        Self { killed: vec![killed], kills: 1, ..Self::at(place) }
    }

    pub(super) fn with_choice(chosen: Chosen, place: Place<'_>) -> Self {
        Self { choice: Some(chosen), ..Self::at(place) }
    }

    pub(super) fn has_killed(&self) -> bool {
        !self.killed.is_empty()
    }

    /// The header's last line, but for the kill, has come.
    pub(super) fn has_summary(&self) -> bool {
        self.summary.is_some()
    }

    /// A line that only stands behind a header's first one, which may have been lost or left out.
    pub(super) fn is_of_the_end(text: &[u8]) -> bool {
        text.starts_with(SUMMARY)
            || task_in(text).is_some()
            || Counter::parse(text).is_some_and(|(counted, _)| counted == Counted::Memory)
            || Stats::is_head(text)
            || Columns::parse(text).is_some()
    }

    /// Takes the process that was chosen for one that was killed: the kernel prints whom it has chosen right before.
    pub(super) fn presume_kill(&mut self) -> bool {
        let chosen = self.choice.as_ref().map(|chosen| Killed {
            message: Some(chosen.message.clone()),
            ..Killed::of(chosen.tid, chosen.comm.clone())
        });
        let summed_up = || {
            let task = Summary::parse(self.summary.as_deref()?, |_| Vec::new())?.task?;
            let listed = self.row(task.tid).and_then(|row| row.comm.clone());
            Some(Killed { uid: Some(task.uid), ..Killed::of(task.tid, listed.unwrap_or(task.comm)) })
        };
        self.killed.extend(chosen.or_else(summed_up));
        self.is_presumed = self.has_killed();
        self.is_presumed
    }

    /// Whether "Kill process" may be of this invocation.
    pub(super) fn may_choose(&self) -> bool {
        !self.has_killed() && self.choice.is_none()
    }

    pub(super) fn chosen(&mut self, chosen: Chosen, place: Place<'_>) {
        self.choice = Some(chosen);
        self.go_on(place);
    }

    /// Whether a kill is of this invocation.
    pub(super) fn takes(&self, killed: &Killed, place: Place<'_>) -> bool {
        if !self.has_killed() {
            return self.is_within(place, KILL_WITHIN_MICROS) && self.may_kill(killed);
        }
        let is_again = self.killed.iter().any(|known| known.tid == killed.tid && known.comm == killed.comm);
        if !self.group {
            // The line between, which says that a group is killed, may have been lost.
            return is_again;
        }
        let is_listed =
            self.lost || self.tasks.is_empty() || self.tasks.len() >= MOST_TASKS || self.lists(killed.tid);
        self.is_within(place, GROUP_WITHIN_MICROS) && (is_again || is_listed)
    }

    /// A header whose kill never came, or whose kill was lost, must not be given another one's.
    fn may_kill(&self, killed: &Killed) -> bool {
        let by_cgroup = killed.message.as_deref().map(is_of_cgroup);
        let owner_is_known = self.is_memcg();
        if let (Some(by_cgroup), Some(owner_is_known)) = (by_cgroup, owner_is_known)
            && by_cgroup != owner_is_known
        {
            return false;
        }
        // Until 5.2 a child may die in place of the process that was chosen.
        if self.choice.is_some() {
            return true;
        }
        let Some(task) = self.summary(killed).and_then(|summary| summary.task) else { return true };
        task.tid == killed.tid
            || self
                .row(killed.tid)
                .map_or(self.tasks.is_empty(), |row| row.tgid.map(|tgid| tgid.0) == Some(task.tid.0))
    }

    /// Whether a cgroup's limit was hit. `None`: the header does not say.
    fn is_memcg(&self) -> Option<bool> {
        if self.task_in.is_some() || self.stats.path.is_some() {
            return Some(true);
        }
        self.node.as_ref().map(|_| false)
    }

    pub(super) fn killed(&mut self, killed: Killed, place: Place<'_>) {
        self.go_on(place);
        self.kills = self.kills.saturating_add(1);
        let is_again = self.killed.iter().any(|known| known.tid == killed.tid);
        if !is_again && self.killed.len() < MOST_KILLS {
            self.killed.push(killed);
        }
    }

    /// The line of the last kill goes on, in a log whose lines somebody broke.
    pub(super) fn kill_goes_on(&mut self, text: &[u8], place: Place<'_>) -> bool {
        let is_taken = self.killed.last_mut().is_some_and(|killed| killed.read_on(text));
        if is_taken {
            self.go_on(place);
        }
        is_taken
    }

    pub(super) fn sharer(&mut self, tid: Tid, comm: Comm, place: Place<'_>) {
        self.go_on(place);
        if self.sharers.len() < MOST_KILLS {
            self.sharers.push((tid, comm));
        }
    }

    /// A group is killed. Gives the invocation that this is of, where it is not this one.
    pub(super) fn begin_group(&mut self, place: Place<'_>) -> Option<Self> {
        if !self.group {
            self.group = true;
            self.go_on(place);
            return None;
        }
        // What was killed last belongs to the new group, unless it was killed here before.
        let first = if self.killed.len() > 1 { self.killed.pop() } else { None }?;
        self.kills = self.kills.saturating_sub(1);
        Some(Self { group: true, ..Self::with_kill(first, place) })
    }

    /// Any other line: whether it is this invocation's.
    pub(super) fn detail(&mut self, text: &[u8], place: Place<'_>, page_size: PageSize) -> bool {
        let is_taken = !self.has_killed() && self.take(text, page_size).is_some();
        if is_taken {
            self.go_on(place);
        }
        is_taken
    }

    fn take(&mut self, text: &[u8], page_size: PageSize) -> Option<()> {
        if text.starts_with(SUMMARY) {
            self.summary = Some(text.to_vec());
            return Some(());
        }
        if let Some(columns) = Columns::parse(text) {
            self.columns = Some(columns);
            return Some(());
        }
        if let Some(columns) = &self.columns {
            let row = columns.row(text, page_size)?;
            if self.tasks.len() < MOST_TASKS {
                self.tasks.push(row);
            }
            return Some(());
        }
        if self.stats.begin(text).is_some() || self.stats.add(text) {
            return Some(());
        }
        if let Some(counter) = Counter::parse(text) {
            if !self.counters.iter().any(|(counted, _)| *counted == counter.0) {
                self.counters.push(counter);
            }
            return Some(());
        }
        if let Some(paths) = task_in(text) {
            self.task_in = Some(paths);
            return Some(());
        }
        if let Some(cut) = text.strip_prefix(b"Task in /").and_then(|rest| rest.strip_suffix(b">")) {
            self.task_cut = Some(CgroupPath::parse(cut));
            return Some(());
        }
        // Some architectures had it in lower case, until 4.11.
        if text.eq_ignore_ascii_case(b"Mem-Info:") {
            self.node.get_or_insert_default();
            return Some(());
        }
        // Who shortened the log may have left out the title.
        if self.node.is_none() && text.starts_with(b"active_anon:") {
            self.node = Some(NodeMemory::default());
        }
        if let Some(node) = &mut self.node {
            node.add(text);
            return Some(());
        }
        if self.stack.is_none()
            && let Some(stack) = StackHead::parse(text)
        {
            self.stack = Some(stack);
            return Some(());
        }
        let (comm, cpuset) = split(text, " cpuset=")?;
        comm.starts_with(self.invoked.as_ref()?.comm.as_bytes())
            .then(|| self.cpuset = Some(cpuset.to_vec()))?;
        Some(())
    }

    fn go_on(&mut self, place: Place<'_>) {
        self.last_micros = place.micros.or(self.last_micros);
        if let (Some((_, last)), Some(sequence)) = (&mut self.sequences, place.sequence) {
            *last = sequence;
        }
    }

    fn is_within(&self, place: Place<'_>, most: u64) -> bool {
        match (self.last_micros, place.micros) {
            (Some(last), Some(now)) => now.saturating_sub(last) <= most,
            _ => true,
        }
    }

    fn row(&self, tid: Tid) -> Option<&TaskRow> {
        self.tasks.iter().find(|row| row.tid == Some(tid))
    }

    /// Whether the table has this thread, or its process under another thread.
    fn lists(&self, tid: Tid) -> bool {
        self.row(tid).is_some() || self.tasks.iter().any(|row| row.tgid.map(|tgid| tgid.0) == Some(tid.0))
    }

    /// The summary, read with the names that other lines have.
    fn summary(&self, killed: &Killed) -> Option<Summary> {
        let names = |tid: Tid| {
            let listed = self.row(tid).and_then(|row| row.comm.clone());
            listed.into_iter().chain((killed.tid == tid).then(|| killed.comm.clone())).collect()
        };
        Summary::parse(self.summary.as_deref()?, names)
    }

    pub(super) fn finish(self, number: u64, exact_rss: bool, page_size: PageSize) -> Logged {
        finish::logged(self, number, exact_rss, page_size)
    }
}
