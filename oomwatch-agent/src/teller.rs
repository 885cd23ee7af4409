//! The tellers: threads, one on each CPU, that print the line of a kill as soon as the kernel has begun it, where the
//! record of the begin says all that the line will say (`oomwatch_common::foretell`). What the report has beyond that
//! follows, to whom it is of use.
//!
//! The one on the CPU of whoever captures comes before that, because it is over so soon, and because the record's
//! process is still whole. A stdout that nobody reads holds up tellers alone.

use std::{
    collections::VecDeque,
    fs::File,
    future::pending,
    hint, io,
    os::unix::fs::FileExt as _,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver as Ended, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use jiff::Timestamp;
use oomwatch_common::{
    attribution::{Attribution, Paths},
    foretell,
    incident::Incident,
    parcel::{Piece, pieces},
    proc_text::loadavg,
    render_text::who,
    report::{Context, Report, Source},
    units::{BoottimeNs, PageSize},
};
use tokio::sync::Notify;

use crate::{
    claims::Claims,
    config::{Output, RunOptions},
    cpus::Shares,
    desk,
    foreteller::{Foreteller, Foretold, Told, foretelling},
    kubernetes::pods::Known,
    losses::{Losses, Stage},
    metrics::Metrics,
    pool::Parcel,
    printer::write_all,
    render,
    sys::{self, Priority},
};

/// Lines that may still have to be taken back.
const REMEMBERED: usize = 16;
/// From the end of the capture thread to its own.
const ENDS_WITHIN: Duration = Duration::from_millis(200);
/// `/proc/loadavg` has some 30 bytes.
const LOADAVG_BYTES: usize = 128;

/// What the teller prints by.
pub struct Telling {
    output: Output,
    /// What stays the same from one line to the next.
    context: Context,
    known: Known,
    losses: Arc<Losses>,
    metrics: Arc<Metrics>,
}

impl Telling {
    /// As the options say.
    pub fn new(
        options: &RunOptions,
        node: String,
        page_size: PageSize,
        known: Known,
        losses: Arc<Losses>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let context = Context {
            node,
            // No line shows it.
            boot_id: String::new(),
            page_size,
            realtime_at_boot: Timestamp::default(),
            source: Source::Live,
            built_at: BoottimeNs(0),
        };
        Self { output: options.output.output, context, known, losses, metrics }
    }
}

/// How lines get out.
#[derive(Default)]
pub struct Lines {
    /// The capture thread's end; `None`: nothing is printed before its report.
    pub foreteller: Option<Foreteller>,
    /// Who prints which.
    pub claims: Option<Arc<Claims>>,
    /// The threads.
    pub tellers: Tellers,
}

/// Starts the tellers, where an incident's output is a line. They end when nobody can foretell anything any more.
///
/// # Errors
/// The kernel refused an eventfd or a thread.
pub fn start(telling: Telling, options: &RunOptions) -> io::Result<Lines> {
    if !matches!(telling.output, Output::Text | Output::Bcc) {
        return Ok(Lines::default());
    }
    let incidents = usize::from(options.queue) + desk::OPEN_JOBS;
    let (foreteller, told, claims) = foretelling(incidents, Shares::of_this_process()?)?;
    let closed = Arc::new(Notify::new());
    let (end, ended) = sync_channel(1);
    let load = File::open(options.node.proc.join("loadavg")).ok();
    let teller = Teller {
        load: load.filter(|_| telling.output == Output::Bcc),
        telling,
        claims: Arc::clone(&claims),
        bytes: Vec::with_capacity(8 << 10),
        told: VecDeque::with_capacity(REMEMBERED),
        closed: Arc::clone(&closed),
    };
    let teller = Arc::new(Mutex::new(teller));
    for number in 0..told.tellers() {
        let (teller, told, end) = (Arc::clone(&teller), Arc::clone(&told), end.clone());
        let builder = thread::Builder::new().name(format!("teller-{number}"));
        builder.spawn(move || run(number, &teller, &told, end))?;
    }
    let tellers = Tellers(Some(Running { teller, closed, ended }));
    Ok(Lines { foreteller: Some(foreteller), claims: Some(claims), tellers })
}

/// The running threads, if there are any.
#[derive(Default)]
pub struct Tellers(Option<Running>);

struct Running {
    teller: Arc<Mutex<Teller>>,
    closed: Arc<Notify>,
    ended: Ended<()>,
}

impl Tellers {
    /// Makes a line that nobody sees, so that the first real one finds its code in memory. One that is to be told
    /// meanwhile waits for it, which is no longer than it takes to make its own without it.
    pub fn warm_up(&self) {
        if let Some(Running { teller, .. }) = &self.0 {
            teller.lock().unwrap_or_else(PoisonError::into_inner).warm_up();
        }
    }

    /// Comes when one finds that nobody reads stdout any more.
    pub async fn stdout_closed(&self) {
        match &self.0 {
            Some(Running { closed, .. }) => closed.notified().await,
            None => pending().await,
        }
    }

    /// Waits for their end, which a stdout that nobody reads may keep from coming.
    pub fn wait(self) {
        if let Some(Running { ended, .. }) = self.0
            && ended.recv_timeout(ENDS_WITHIN) == Err(RecvTimeoutError::Timeout)
        {
            tracing::warn!("stdout did not take all lines in time");
        }
    }
}

/// One of them; `_end` goes with it.
fn run(number: usize, teller: &Mutex<Teller>, told: &Told, _end: SyncSender<()>) {
    sys::touch_stack();
    if let Err(error) = told.shares().take(number, Priority::Capture) {
        tracing::debug!(%error, "lines are printed at normal priority, or on any CPU");
    }
    loop {
        let goes_on = told.wait(number);
        let mut teller = teller.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(next) = told.next() {
            match next {
                Foretold::Begun { incident, record } => teller.begun(incident, record),
                Foretold::NotKilled { incident } => teller.not_killed(incident),
            }
        }
        if !goes_on {
            return;
        }
    }
}

/// What they have between them, as stdout has one line after another.
struct Teller {
    telling: Telling,
    claims: Arc<Claims>,
    load: Option<File>,
    bytes: Vec<u8>,
    /// Whose end was told last, in case it does not come.
    told: VecDeque<(u64, String)>,
    closed: Arc<Notify>,
}

impl Teller {
    /// Makes the line of an example.
    fn warm_up(&mut self) {
        let incident = foretell::incident(&foretell::example(), self.telling.context.page_size);
        if let Ok(Some(incident)) = incident
            && let Some(report) = self.report(&incident)
        {
            hint::black_box(render::render(&report, self.telling.output, false));
        }
    }

    fn begun(&mut self, number: u64, record: Parcel) {
        record.copy_to(&mut self.bytes);
        drop(record);
        let record = pieces(&self.bytes).find_map(|(_, piece)| match piece {
            Piece::Record(record) => Some(record),
            _ => None,
        });
        let incident = record.map(|record| foretell::incident(record, self.telling.context.page_size));
        let Some(Ok(Some(incident))) = incident else { return };
        let Some(report) = self.report(&incident) else { return };
        if !self.claims.by_teller(number) {
            return;
        }
        let line = render::render(&report, self.telling.output, false);
        self.print(&line, Some(incident.at));
        self.told.truncate(REMEMBERED - 1);
        self.told.push_front((number, report.victims.first().map_or_else(String::new, who)));
    }

    /// `None`: its line will have more to say than is known now.
    fn report(&mut self, incident: &Incident) -> Option<Report> {
        let Telling { output, context, known, .. } = &mut self.telling;
        let paths = Paths::of_victim_alone(incident);
        // No names of pods are in bcc's line.
        let attribution = if *output == Output::Bcc { Attribution::default() } else { known.now(&paths)? };
        context.realtime_at_boot = Timestamp::from_nanosecond(sys::realtime_at_boot()).unwrap_or_default();
        let mut report = foretell::report(incident, &attribution, context);
        if *output == Output::Bcc {
            let mut text = [0; LOADAVG_BYTES];
            let read = self.load.as_ref().and_then(|file| file.read_at(&mut text, 0).ok());
            report.load = read.and_then(|len| loadavg(text.get(..len)?).ok());
        } else if !foretell::is_whole(&report) {
            return None;
        }
        Some(report)
    }

    fn not_killed(&mut self, number: u64) {
        let Some((_, who)) = self.told.iter().find(|(told, _)| *told == number) else { return };
        tracing::info!(process = who, "not killed after all: it was exiting already");
        // bcc's program does not say so either.
        if self.telling.output == Output::Text {
            let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
            let line = format!("{now} not killed after all: {who} was exiting already\n");
            self.print(&line, None);
        }
    }

    fn print(&self, line: &str, hook: Option<BoottimeNs>) {
        let Telling { metrics, losses, .. } = &self.telling;
        match write_all(line.as_bytes()) {
            Ok(()) => {
                if let Some(hook) = hook {
                    let late = sys::boottime().0.saturating_sub(hook.0);
                    metrics.reported(Duration::from_nanos(late));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.closed.notify_one(),
            Err(error) => {
                losses.count(Stage::Output);
                metrics.unwritten(u64::from(hook.is_some()));
                tracing::warn!(%error, "a line could not be written to stdout");
            }
        }
    }
}
