//! The reporter: an incident with what was read for it → a report, told to everybody who wants to know.

use std::{future::ready, hint, io, path::PathBuf, pin::pin, sync::Arc};

use jiff::Timestamp;
use oomwatch_common::{
    attribution::{Attribution, Paths},
    capture::Capture,
    incident::{Incident, ProbeLevel},
    recurrence::Recurrence,
    report::{Report, Source},
    surroundings::Surroundings,
    units::{BoottimeNs, PageSize},
    wanted::Wanted,
};

use crate::{
    claims::Claims,
    config::{OutputOptions, RunOptions},
    exits::Exits,
    health::Busy,
    history::{History, Kept},
    job::Caught,
    kmsg::FromLog,
    kubernetes::{events::Emitter, pods::Pods},
    losses::Losses,
    metrics::Metrics,
    pace::Pace,
    printer::{Printer, StdoutClosed},
    queue::Receiver,
    record::{self, Circumstances},
    recurring,
    relief::Relief,
    render,
    sources::Roots,
    surroundings::{Reader, completed},
    sys::{self, OutOfReserve},
    unpack::Captured,
};

/// Whom a live incident is told to, besides whoever reads stdout.
pub struct Audience {
    /// Who knows whose the processes are.
    pub pods: Pods,
    /// Who tells Kubernetes.
    pub events: Option<Emitter>,
    /// Who keeps it.
    pub history: Arc<History>,
    /// Who counts.
    pub metrics: Arc<Metrics>,
    /// Who knows when there is memory again.
    pub relief: Relief,
    /// Who watches victims end.
    pub exits: Exits,
    /// Who wants to know that this goes on.
    pub busy: Arc<Busy>,
    /// Where incidents of the kernel's log come from; `None`: none will.
    pub logged: Option<Receiver<FromLog>>,
}

/// Prints reports.
pub struct Publisher {
    printer: Printer,
    output: OutputOptions,
    coloured: bool,
    /// Live: what stays the same from one report to the next. Replayed: all of it.
    circumstances: Circumstances,
    /// Live.
    audience: Option<Audience>,
    /// Live: who reads what was around an incident.
    surroundings: Option<Reader>,
    /// Who has printed their lines already; `None`: nobody.
    claims: Option<Arc<Claims>>,
    pace: Pace,
    /// Who was hit before.
    recurrence: Recurrence,
    record_to: Option<PathBuf>,
}

/// An incident, by the way that it came.
enum Arrived {
    Caught(Caught),
    Logged(Box<FromLog>),
}

/// Events are made of incidents that are younger.
const OLDEST_EVENT_NS: u64 = 600_000_000_000;

/// Why publishing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The capture thread ended, and all that it gave is out.
    Drained,
    /// Nobody reads stdout any more.
    StdoutClosed,
}

impl Publisher {
    /// Publishes live incidents.
    pub fn live(options: &RunOptions, node: String, page_size: PageSize, audience: Audience) -> Self {
        let circumstances = Circumstances {
            node,
            boot_id: sys::boot_id(&options.node.proc),
            page_size: page_size.get().0,
            realtime_at_boot_ns: 0,
            taken_at_ns: 0,
            done_at_ns: 0,
            reported_at_ns: 0,
            attribution: None,
            surroundings: None,
        };
        let roots = Roots::new(&options.node.proc, &options.node.cgroup);
        let surroundings = Reader::new(roots, audience.relief);
        Self {
            printer: Printer::new(Some(Arc::clone(&audience.metrics))),
            recurrence: recurring::since_start(&audience.history),
            audience: Some(audience),
            surroundings: Some(surroundings),
            record_to: options.record_to.clone(),
            ..Self::replayed(&options.output, circumstances)
        }
    }

    /// Publishes recorded incidents.
    pub fn replayed(output: &OutputOptions, circumstances: Circumstances) -> Self {
        Self {
            printer: Printer::new(None),
            output: output.clone(),
            coloured: output.color.wanted(&io::stdout()),
            circumstances,
            audience: None,
            surroundings: None,
            claims: None,
            pace: Pace::fixed(),
            recurrence: Recurrence::new(Timestamp::UNIX_EPOCH),
            record_to: None,
        }
    }

    /// Of the lines that somebody else claims, none is printed.
    pub fn print_what_is_left(&mut self, claims: Option<Arc<Claims>>) {
        if claims.is_some() {
            self.pace = Pace::adapted(sys::be_preferred);
        }
        self.claims = claims;
    }

    /// Makes a report that nobody sees, so that the code and the memory that the first real one needs are there: on an
    /// exhausted node they would be read from disk and waited for.
    pub fn warm_up(&mut self, captured: &Captured) {
        let page_size = PageSize::new(self.circumstances.page_size).unwrap_or_default();
        let paths = Paths::new(&captured.incident, &captured.capture, page_size);
        let attribution = Attribution::new(&paths, &[], "");
        let wanted = Wanted::new(&captured.incident, &captured.capture, page_size);
        if let Some(reader) = &mut self.surroundings {
            reader.stand_at(wanted.vantage);
        }
        let around = Surroundings::default();
        let report = render::report(captured, Source::Live, &self.circumstances, &attribution, &around);
        hint::black_box(render::render(&report, self.output.output, self.coloured));
        hint::black_box(report.to_json().ok());
    }

    /// Until there are no more incidents, or nobody reads them.
    pub async fn publish_all(&mut self, incidents: &mut Receiver<Caught>, losses: &Losses) -> Ended {
        let page_size = PageSize::new(self.circumstances.page_size).unwrap_or_default();
        loop {
            let arrived = if let Some(caught) = incidents.try_recv() {
                Arrived::Caught(caught)
            } else {
                // Nothing is behind the reports that wait, so they go out now.
                if self.printer.print(losses).await.is_err() {
                    return Ended::StdoutClosed;
                }
                if let Some(audience) = &self.audience {
                    audience.busy.rests();
                }
                let Some(arrived) = self.next(incidents).await else { return Ended::Drained };
                arrived
            };
            let (captured, source, logged) = match arrived {
                Arrived::Caught(caught) => {
                    (Captured::new(caught, page_size), Source::Live, Surroundings::default())
                }
                Arrived::Logged(logged) => (Some(logged.captured), logged.source, logged.around),
            };
            let Some(captured) = captured else { continue };
            self.pace.keep(incidents.is_crowded());
            let hook = captured.incident.at;
            let live = self.audience.as_ref().filter(|_| source == Source::Live);
            let ran_out = live.is_some_and(|audience| audience.relief.concerns(&captured.incident));
            let _reserve = ran_out.then(OutOfReserve::begin);
            if let Some(audience) = &self.audience {
                audience.busy.begins(sys::boottime());
                if source == Source::Live {
                    audience.relief.wait(&captured.incident).await;
                    audience.exits.watch(&captured.incident);
                }
            }
            let Ok(report) = self.report(&captured, source, logged, incidents, losses).await else {
                return Ended::StdoutClosed;
            };
            if let Some(audience) = &self.audience {
                audience.tell(&report, &captured.capture, hook).await;
            }
            if self.is_printed(&captured.incident, source) {
                continue;
            }
            let text = render::render(&report, self.output.output, self.coloured);
            // How late a report of the past is says nothing.
            let asked_for = (source == Source::Live).then_some(hook);
            self.printer.add(&text, asked_for, report.victims.len());
            if self.printer.has_enough() && self.printer.print(losses).await.is_err() {
                return Ended::StdoutClosed;
            }
        }
    }

    /// Whether the teller has printed its line.
    fn is_printed(&self, incident: &Incident, source: Source) -> bool {
        let is_of_probe = source == Source::Live && incident.level != ProbeLevel::Kmsg;
        self.claims.as_ref().is_some_and(|claims| is_of_probe && !claims.by_reporter(incident.number))
    }

    /// At the end: who tells Kubernetes may have something left.
    pub fn take_events(&mut self) -> Option<Emitter> {
        self.audience.as_mut()?.events.take()
    }

    /// What comes next, by either way. `None`: there will be nothing.
    async fn next(&mut self, incidents: &mut Receiver<Caught>) -> Option<Arrived> {
        loop {
            let logged = self.audience.as_mut().and_then(|audience| audience.logged.as_mut());
            let Some(logged) = logged else { return next(incidents).await.map(Arrived::Caught) };
            tokio::select! {
                biased;
                caught = next(incidents) => {
                    // The end; what the log gave before it is still to be told.
                    return caught.map(Arrived::Caught).or_else(|| logged.try_recv().map(Box::new).map(Arrived::Logged));
                }
                found = next(logged) => match found {
                    Some(found) => return Some(Arrived::Logged(Box::new(found))),
                    None => self.audience.as_mut()?.logged = None,
                },
            }
        }
    }

    async fn report(
        &mut self,
        captured: &Captured,
        source: Source,
        logged: Surroundings,
        behind: &Receiver<Caught>,
        losses: &Losses,
    ) -> Result<Report, StdoutClosed> {
        let mut circumstances = self.circumstances.clone();
        let page_size = PageSize::new(circumstances.page_size).unwrap_or_default();
        let paths = Paths::new(&captured.incident, &captured.capture, page_size);
        let Some(Audience { pods, .. }) = &mut self.audience else {
            let recorded = circumstances.attribution.take();
            let attribution = recorded.unwrap_or_else(|| Attribution::new(&paths, &[], "not recorded"));
            let around = circumstances.surroundings.take().unwrap_or_default();
            return Ok(render::report(captured, source, &circumstances, &attribution, &around));
        };
        // What waits behind a report must not be lost for the sake of a name.
        let in_a_hurry = || behind.is_pressing();
        // Of the past there is nothing to be read any more.
        let reader = self.surroundings.as_ref().filter(|_| source == Source::Live);
        let reading = reader.map(|reader| {
            let wanted = Wanted::new(&captured.incident, &captured.capture, page_size);
            reader.begin(wanted, in_a_hurry())
        });
        let attribution = {
            let mut asking = pin!(pods.attribute(&paths, captured.incident.at, in_a_hurry));
            tokio::select! {
                biased;
                attribution = &mut asking => attribution,
                () = ready(()) => {
                    // Whoever has all names does not wait for one that lacks some.
                    self.printer.print(losses).await?;
                    asking.await
                }
            }
        };
        let read = match reading {
            Some(reading) => reading.end().await,
            None => Surroundings::default(),
        };
        let mut around = completed(logged, read);
        pods.name(&mut around);
        circumstances.realtime_at_boot_ns = sys::realtime_at_boot();
        around.repeats =
            recurring::note(&mut self.recurrence, &captured.incident, &attribution, &circumstances);
        circumstances.taken_at_ns = captured.capture.taken_at.0;
        circumstances.done_at_ns = captured.capture.done_at.0;
        circumstances.reported_at_ns = sys::boottime().0;
        // The log's incidents have no records that could be kept.
        if let Some(dir) = self.record_to.as_ref().filter(|_| captured.incident.level != ProbeLevel::Kmsg) {
            circumstances.attribution = Some(attribution.clone());
            circumstances.surroundings = Some(around.clone());
            if let Err(error) = record::write(dir, captured, &circumstances) {
                tracing::warn!(%error, "an incident could not be recorded");
            }
        }
        Ok(render::report(captured, source, &circumstances, &attribution, &around))
    }
}

/// The next that is in a queue; `None`: there will be none.
async fn next<T>(incidents: &mut Receiver<T>) -> Option<T> {
    incidents.recv().await.unwrap_or_else(|error| {
        tracing::error!(%error, "the queue to the reporter cannot be waited for");
        None
    })
}

impl Audience {
    async fn tell(&self, report: &Report, capture: &Capture, at: BoottimeNs) {
        if let Some(events) = &self.events {
            // Nobody looks at Events for what is long past, and Kubernetes forgets them within the hour.
            let is_young = sys::boottime().0.saturating_sub(at.0) < OLDEST_EVENT_NS;
            if is_young {
                events.tell(report);
            }
        }
        let counts = self.metrics.count(report, capture, sys::boottime());
        match report.to_json() {
            Ok(report) => self.history.keep(Kept { report, counts }).await,
            Err(error) => tracing::error!(%error, "a report could not be made into JSON"),
        }
    }
}
