//! The node's pods, kept by a task of their own; a report waits for it, a bounded time, only where a name is missing.
//!
//! The kubelet is asked slowly, soon after a new pod's logs appear, and at once when somebody misses a pod; never twice
//! at a time, and never within a second of its last answer, however many miss one.

use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::Duration};

use oomwatch_common::{
    attribution::{Attribution, Paths, PodSource, name},
    pods::PodIndex,
    report::NamesFrom,
    surroundings::Surroundings,
    units::BoottimeNs,
};
use tokio::{
    sync::{Notify, watch},
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use super::{
    failure::Failure,
    kubelet::Kubelet,
    log_names,
    new_pods::NewPods,
    outcomes::{Outcome, Outcomes},
};
use crate::{
    config::{KubeletChoice, KubernetesOptions, PodSource as SourceChoice},
    refusal::Refusal,
    sys,
};

/// Between the end of one answer and the next question.
const FLOOR: Duration = Duration::from_secs(1);
/// The same where only new pods are the reason: on a node that starts some each second the kubelet has enough to do.
const NEW_PODS_FLOOR: Duration = Duration::from_secs(5);
/// How often a waiting report looks whether others wait behind it.
const LOOK_BEHIND: Duration = Duration::from_millis(50);
/// What the names of log files may cost a report whose deadline is over.
const GRACE: Duration = Duration::from_millis(100);
/// Pods that the kubelet does not know, of which one does not ask again for a while: a sibling node's, on a machine
/// that several nodes share.
const STRANGERS: usize = 64;
const STRANGE_FOR: Duration = Duration::from_secs(30);

/// What is known of the node's pods, and who may be asked.
pub struct Pods {
    kubelet: Option<Asking>,
    logs: Option<PathBuf>,
    known: Known,
    deadline: Duration,
    why_nobody: &'static str,
    strangers: VecDeque<(String, Instant)>,
}

struct Asking {
    state: watch::Receiver<Arc<State>>,
    wanted: Arc<Notify>,
    outcomes: Arc<Outcomes>,
    task: JoinHandle<()>,
}

/// What the kubelet has told of the node's pods: nobody is asked.
#[derive(Clone)]
pub struct Known {
    state: Option<watch::Receiver<Arc<State>>>,
    order: Vec<SourceChoice>,
    /// There is nobody who may know more.
    is_all: bool,
}

impl Known {
    /// Whose an incident's processes are; `None` where a name is missing that somebody may still tell.
    pub fn now(&self, paths: &Paths) -> Option<Attribution> {
        let known = self.look(paths, None, "");
        (self.is_all || known.is_complete()).then_some(known)
    }

    /// Whether nobody will ever tell more than is known now.
    pub fn is_all(&self) -> bool {
        self.is_all
    }

    fn look(&self, paths: &Paths, logs: Option<&PodIndex>, why: &str) -> Attribution {
        let state = self.state();
        let source = |choice: &SourceChoice| match choice {
            SourceChoice::Kubelet => {
                state.as_ref().map(|state| PodSource { from: NamesFrom::Kubelet, index: &state.index })
            }
            SourceChoice::Logs => logs.map(|index| PodSource { from: NamesFrom::Logs, index }),
        };
        let sources: Vec<PodSource<'_>> = self.order.iter().filter_map(source).collect();
        Attribution::new(paths, &sources, why)
    }

    fn state(&self) -> Option<Arc<State>> {
        self.state.as_ref().map(|state| Arc::clone(&state.borrow()))
    }
}

/// The kubelet's lists, as they come.
pub struct Lists(watch::Receiver<Arc<State>>);

impl Lists {
    /// Waits for the next answer and hands over the pods that are there. False: no more will come.
    pub async fn next(&mut self, take: impl FnOnce(&PodIndex)) -> bool {
        if self.0.changed().await.is_err() {
            return false;
        }
        let state = Arc::clone(&self.0.borrow_and_update());
        // After a failure nobody knows whether they still are there.
        if state.failure.is_none() {
            take(&state.index);
        }
        true
    }
}

/// What the task knows.
#[derive(Default)]
struct State {
    index: PodIndex,
    /// When the last question was put.
    asked_at: Option<Instant>,
    failure: Option<Failure>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pods {
    /// Begins to learn of pods, within a tokio runtime.
    ///
    /// # Errors
    /// A [`Refusal`] for options that cannot work.
    pub fn start(options: &KubernetesOptions, node: &str) -> Result<Self, Refusal> {
        let is_off = options.kubelet == KubeletChoice::Off;
        let kubelet = Kubelet::new(options, node)?;
        let wants_logs = !is_off && options.pod_sources.contains(&SourceChoice::Logs);
        let logs = (wants_logs && log_names::exist(&options.var_log)).then(|| options.var_log.clone());
        match (&kubelet, &logs) {
            (Some(kubelet), _) => tracing::info!(url = kubelet.url(), "names of pods come from the kubelet"),
            (None, Some(logs)) => {
                let logs = logs.display();
                tracing::info!(%logs, "names of pods come from the names of their log files alone");
            }
            (None, None) => tracing::debug!("names of pods come from nobody"),
        }
        let kubelet = kubelet
            .map(|kubelet| Asking::start(kubelet, options.kubelet_poll(), NewPods::watch(&options.var_log)));
        Ok(Self {
            known: Known {
                state: kubelet.as_ref().map(|asking| asking.state.clone()),
                order: options.pod_sources.clone(),
                is_all: kubelet.is_none() && logs.is_none(),
            },
            kubelet,
            logs,
            deadline: options.report_deadline(),
            why_nobody: if is_off { "not asked for: --kubelet off" } else { "there is no kubelet to ask" },
            strangers: VecDeque::new(),
        })
    }

    /// How the kubelet answered so far.
    pub fn outcomes(&self) -> Option<Arc<Outcomes>> {
        self.kubelet.as_ref().map(|asking| Arc::clone(&asking.outcomes))
    }

    /// What is known at any time, for whoever cannot wait.
    pub fn known(&self) -> Known {
        self.known.clone()
    }

    /// Each list of pods that the kubelet gives, from now on.
    pub fn lists(&self) -> Option<Lists> {
        self.kubelet.as_ref().map(|asking| Lists(asking.state.clone()))
    }

    /// Whose an incident's processes are. Waits until the deadline after the hook at the latest, and only where a name
    /// is missing, the kubelet may still tell it, and nobody is in a hurry.
    pub async fn attribute(
        &mut self,
        paths: &Paths,
        hook: BoottimeNs,
        in_a_hurry: impl Fn() -> bool,
    ) -> Attribution {
        let since_hook = Duration::from_nanos(sys::boottime().0.saturating_sub(hook.0));
        let (now, left) = (Instant::now(), self.deadline.saturating_sub(since_hook));
        let first = self.known.look(paths, None, "");
        if first.is_complete() {
            return first;
        }
        let logs = self.logs.clone().map(|var_log| spawn_blocking(move || log_names::read(&var_log)));
        let why = match &mut self.kubelet {
            None => self.why_nobody.to_owned(),
            Some(_) if is_strange(&mut self.strangers, &first) => NOT_LISTED.to_owned(),
            Some(asking) => {
                let waited = wait(asking, paths, now, now + left, in_a_hurry).await;
                if waited.is_strange {
                    remember(&mut self.strangers, &first);
                }
                waited.why(self.deadline)
            }
        };
        let names = match logs {
            Some(logs) => timeout_at(Instant::max(now + left, Instant::now() + GRACE), logs).await,
            None => return self.known.look(paths, None, &why),
        };
        let (names, why) = match names {
            Ok(Ok(Ok(names))) => (Some(names), why),
            Ok(Ok(Err(error))) => (None, format!("{why}; names of log files: {error}")),
            _ => (None, format!("{why}; the names of log files were not read in time")),
        };
        self.known.look(paths, names.as_ref(), &why)
    }

    /// Gives names to what was around an incident, as far as the kubelet has told them already.
    pub fn name(&self, surroundings: &mut Surroundings) {
        let state = self.known.state();
        let known = state.as_ref().map(|state| PodSource { from: NamesFrom::Kubelet, index: &state.index });
        name(surroundings, known.as_slice());
    }
}

const NOT_LISTED: &str = "the kubelet does not list it";

/// How waiting for the kubelet ended.
struct Waited {
    end: End,
    /// The kubelet answered, and does not know the pod.
    is_strange: bool,
}

enum End {
    Told,
    NotListed,
    Failed(Failure),
    NoAnswer,
    Hurried,
}

impl Waited {
    fn why(&self, deadline: Duration) -> String {
        match &self.end {
            End::Told | End::NotListed => NOT_LISTED.to_owned(),
            End::Failed(failure) => failure.to_string(),
            End::NoAnswer => {
                format!("timed out: the kubelet has not answered within {} ms", deadline.as_millis())
            }
            End::Hurried => "not waited for: further incidents are waiting".to_owned(),
        }
    }
}

async fn wait(
    asking: &mut Asking,
    paths: &Paths,
    since: Instant,
    until: Instant,
    in_a_hurry: impl Fn() -> bool,
) -> Waited {
    let mut has_answered = false;
    loop {
        let state = Arc::clone(&asking.state.borrow_and_update());
        let source = PodSource { from: NamesFrom::Kubelet, index: &state.index };
        let attribution = Attribution::new(paths, &[source], "");
        let knows_pod = attribution.victim.as_ref().is_none_or(|victim| victim.kubernetes.pod.is_some());
        let is_fresh = state.asked_at.is_some_and(|asked_at| asked_at + FLOOR > since);
        let failure = state.failure.clone().filter(|_| is_fresh);
        has_answered |= is_fresh && failure.is_none();
        let ended = |end| Waited { end, is_strange: has_answered && !knows_pod };
        if attribution.is_complete() {
            return ended(End::Told);
        }
        if let Some(failure) = failure.clone().filter(|failure| !failure.may_pass()) {
            return ended(End::Failed(failure));
        }
        if in_a_hurry() {
            return ended(failure.map_or(End::Hurried, End::Failed));
        }
        asking.wanted.notify_one();
        let changed =
            async { while timeout(LOOK_BEHIND, asking.state.changed()).await.is_err() && !in_a_hurry() {} };
        if timeout_at(until, changed).await.is_err() {
            return ended(match failure {
                Some(failure) => End::Failed(failure),
                None if has_answered => End::NotListed,
                None => End::NoAnswer,
            });
        }
    }
}

/// The uid that a path names and nobody knows.
fn stranger(attribution: &Attribution) -> Option<&str> {
    let kubernetes = &attribution.victim.as_ref()?.kubernetes;
    kubernetes.pod_uid.as_deref().filter(|_| kubernetes.pod.is_none())
}

fn is_strange(strangers: &mut VecDeque<(String, Instant)>, attribution: &Attribution) -> bool {
    let now = Instant::now();
    strangers.retain(|(_, since)| now.duration_since(*since) < STRANGE_FOR);
    stranger(attribution).is_some_and(|uid| strangers.iter().any(|(strange, _)| strange == uid))
}

fn remember(strangers: &mut VecDeque<(String, Instant)>, attribution: &Attribution) {
    if let Some(uid) = stranger(attribution) {
        strangers.truncate(STRANGERS - 1);
        strangers.push_front((uid.to_owned(), Instant::now()));
    }
}

impl Asking {
    fn start(kubelet: Kubelet, poll: Duration, new_pods: NewPods) -> Self {
        let (sender, state) = watch::channel(Arc::new(State::default()));
        let (wanted, outcomes) = (Arc::new(Notify::new()), Arc::new(Outcomes::default()));
        let task =
            tokio::spawn(ask(kubelet, poll, new_pods, sender, Arc::clone(&wanted), Arc::clone(&outcomes)));
        Self { state, wanted, outcomes, task }
    }
}

async fn ask(
    kubelet: Kubelet,
    poll: Duration,
    mut new_pods: NewPods,
    state: watch::Sender<Arc<State>>,
    wanted: Arc<Notify>,
    outcomes: Arc<Outcomes>,
) {
    let mut said = None;
    loop {
        let asked_at = Some(Instant::now());
        let answer = kubelet.pods().await;
        let outcome = answer.as_ref().map_or_else(Failure::outcome, |_| Outcome::Answered);
        outcomes.count(outcome);
        let before = Arc::clone(&state.borrow());
        let now_known = match answer {
            Ok(list) => {
                if said.is_some_and(|said| said != outcome) {
                    tracing::info!(pods = list.pods.len(), "the kubelet answers again");
                }
                if list.malformed > 0 {
                    tracing::debug!(pods = list.malformed, "pods of the kubelet's list could not be read");
                }
                State { index: before.index.updated(list.pods, sys::boottime()), asked_at, failure: None }
            }
            Err(failure) => {
                if said != Some(outcome) {
                    let cure = failure.cure();
                    tracing::warn!(url = kubelet.url(), %failure, %cure, "reports will lack names of pods");
                }
                State { index: before.index.clone(), asked_at, failure: Some(failure) }
            }
        };
        said = Some(outcome);
        state.send_replace(Arc::new(now_known));
        let answered_at = Instant::now();
        sleep(FLOOR).await;
        let new_pod = async {
            new_pods.next().await;
            sleep_until(answered_at + NEW_PODS_FLOOR).await;
        };
        tokio::select! {
            () = wanted.notified() => {}
            () = new_pod => {}
            () = sleep_until(answered_at + poll) => {}
        }
    }
}

#[cfg(test)]
mod tests;
