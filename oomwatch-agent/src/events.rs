//! `oomwatch events`: what happened, from a journal or a running agent, and then what happens.
//!
//! The newest come last, as in a log. It follows by asking again, which a rotation, a removed journal and a restart of
//! the agent do not disturb: a cursor outlives them.

mod api;
mod print;
mod source;

use std::{
    collections::HashSet,
    io::{self, Write as _},
    time::Duration,
};

use jiff::Timestamp;
use oomwatch_common::query::{Filter, Header};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use self::{
    print::Printer,
    source::{Asked, Source},
};
use crate::{
    config::{EventsOptions, LogLevel},
    history::Order,
    log,
    refusal::Refusal,
};

/// How often it is asked what is new.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// Bytes of reports that are kept to be printed the other way round. In a pod they are the agent's.
const MOST_KEPT: usize = 4 << 20;

/// Why it ended before all was printed.
enum Ended {
    /// Nobody reads stdout any more: whoever did has seen enough.
    StdoutClosed,
    /// It failed.
    Failed(Refusal),
}

/// Prints incidents, and follows where that is asked for.
///
/// # Errors
/// There is nothing to read from, it cannot be read, or stdout cannot be written.
pub fn events(options: &EventsOptions) -> Result<(), Refusal> {
    log::init(LogLevel::Warn);
    let filter = filter(options)?;
    let source = Source::of(options)?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Refusal::failed(format!("starting the async runtime: {error}")))?;
    let shown = async {
        let mut printer = Printer::new(options);
        if !options.follow {
            return show(&source, &filter, options, &mut printer).await.map(|_| ());
        }
        let catch =
            |kind| signal(kind).map_err(|error| Refusal::failed(format!("catching signals: {error}")));
        let (mut interrupt, mut terminate) =
            (catch(SignalKind::interrupt())?, catch(SignalKind::terminate())?);
        tokio::select! {
            followed = follow(&source, &filter, options, &mut printer) => followed,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        }
    };
    match runtime.block_on(shown) {
        Ok(()) | Err(Ended::StdoutClosed) => Ok(()),
        Err(Ended::Failed(refusal)) => Err(refusal),
    }
}

/// Prints the newest that fit; gives their ids. They are found from the newest back and printed the other way round:
/// a few are kept for that, many are read once more, from where the oldest of them was found.
async fn show(
    source: &Source,
    filter: &Filter,
    options: &EventsOptions,
    printer: &mut Printer,
) -> Result<HashSet<String>, Ended> {
    let wanted = usize::try_from(options.limit).unwrap_or(usize::MAX);
    let (mut found, mut kept, mut cursor) = (0, Some(Vec::new()), None);
    loop {
        let asked = Asked { filter, order: Order::NewestFirst, limit: wanted - found, cursor: cursor.take() };
        let mut page = source.page(&asked).await.map_err(Refusal::failed)?;
        page.reports.truncate(wanted - found);
        let is_empty = page.reports.is_empty();
        found += page.reports.len();
        if let Some(kept) = &mut kept {
            kept.append(&mut page.reports);
        }
        kept = kept.filter(|kept| kept.iter().map(String::len).sum::<usize>() <= MOST_KEPT);
        cursor = page.next;
        if cursor.is_none() || is_empty || found >= wanted {
            break;
        }
    }
    if found == 0 {
        let fitting = if *filter == Filter::default() { "" } else { " that fit" };
        let then = if options.follow { "; waiting for the next" } else { "" };
        tell(&format!("no OOM kills{fitting} in {source}{then}"));
    }
    let mut shown = HashSet::new();
    let mut show_some = |reports: Vec<String>, printer: &mut Printer| -> io::Result<()> {
        printer.begin(&reports)?;
        printer.print(&reports)?;
        shown.extend(reports.iter().filter_map(|report| id(report)));
        Ok(())
    };
    if let Some(mut kept) = kept {
        kept.reverse();
        show_some(kept, printer)?;
        return Ok(shown);
    }
    while found > 0 {
        let asked = Asked { filter, order: Order::OldestFirst, limit: found, cursor: cursor.take() };
        let page = source.page(&asked).await.map_err(Refusal::failed)?;
        // Some left meanwhile.
        if page.reports.is_empty() {
            break;
        }
        found = found.saturating_sub(page.reports.len());
        show_some(page.reports, printer)?;
        cursor = page.next;
    }
    Ok(shown)
}

/// Prints the newest, then what comes. What comes between the two is printed once.
async fn follow(
    source: &Source,
    filter: &Filter,
    options: &EventsOptions,
    printer: &mut Printer,
) -> Result<(), Ended> {
    // Nothing happened after the end of time, so this page is empty and ends where the journal does.
    let none = Filter { since: Some(Timestamp::MAX), ..Filter::default() };
    let asked = Asked { filter: &none, order: Order::OldestFirst, limit: 1, cursor: None };
    let mut cursor = source.page(&asked).await.map_err(Refusal::failed)?.next;
    let shown = show(source, filter, options, printer).await?;
    let mut out_of_reach = false;
    loop {
        let asked = Asked { filter, order: Order::OldestFirst, limit: 100, cursor: cursor.clone() };
        match source.page(&asked).await {
            Ok(page) => {
                if std::mem::take(&mut out_of_reach) {
                    tell(&format!("{source} can be read again"));
                }
                let may_have_more = !page.reports.is_empty();
                let new: Vec<String> = page
                    .reports
                    .into_iter()
                    .filter(|report| id(report).is_none_or(|id| !shown.contains(&id)))
                    .collect();
                printer.print(&new)?;
                cursor = page.next.or(cursor);
                if may_have_more {
                    continue;
                }
            }
            Err(error) if !out_of_reach => {
                out_of_reach = true;
                tell(&format!("{error}; trying again"));
            }
            Err(_) => {}
        }
        if is_closed(&io::stdout()) {
            return Err(Ended::StdoutClosed);
        }
        sleep(POLL_EVERY).await;
    }
}

fn filter(options: &EventsOptions) -> Result<Filter, Refusal> {
    let (mut namespace, mut pod) = (options.namespace.clone(), options.pod.clone());
    if let Some((of_pod, name)) = options.pod.as_ref().and_then(|pod| pod.split_once('/')) {
        if namespace.as_ref().is_some_and(|namespace| namespace != of_pod) {
            return Err(Refusal::usage("--namespace and --pod name different namespaces: give one of them"));
        }
        (namespace, pod) = (Some(of_pod.to_owned()), Some(name.to_owned()));
    }
    Ok(Filter {
        since: options.since,
        until: options.until,
        namespace,
        pod,
        container: options.container.clone(),
        cause: options.cause,
        scope: None,
    })
}

fn id(report: &str) -> Option<String> {
    serde_json::from_str(report).ok().map(|header: Header| header.id)
}

/// Says something that is no incident.
fn tell(text: &str) {
    // stderr may be closed, and there is nowhere else to say so.
    writeln!(io::stderr(), "oomwatch: {text}").unwrap_or_default();
}

/// Whether nobody reads a pipe any more.
fn is_closed(stream: &impl std::os::fd::AsFd) -> bool {
    let mut polled = [PollFd::new(stream, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&now)).is_ok()
        && polled.iter().any(|one| one.revents().intersects(PollFlags::ERR | PollFlags::NVAL))
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Self::Failed(refusal)
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::StdoutClosed,
            _ => Self::Failed(Refusal::failed(format!("writing to stdout: {error}"))),
        }
    }
}
