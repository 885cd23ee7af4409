//! A peer that runs.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::{Line, Peer, Status};
use crate::{agent, storm::StatusCaptured};

/// bcc compiles its program with the headers of the kernel, which takes an emulated CPU half a minute.
const START: Duration = Duration::from_mins(5);
const COMPLAINTS_KEPT: usize = 4096;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What its lines came to.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Victims, each with when its line was read, in nanoseconds of `CLOCK_MONOTONIC`.
    pub kills: Vec<(u32, u64)>,
    /// What it said to have lost.
    pub lost: u64,
    /// Of those victims.
    pub status: StatusCaptured,
    /// The beginning of what it wrote to stderr.
    pub complaints: String,
}

/// Killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    kills: Arc<AtomicU64>,
    reader: Option<JoinHandle<Said>>,
    complaints: Option<JoinHandle<Complaints>>,
}

impl Running {
    /// Starts it and waits until it says that it watches. Returns how long that took.
    ///
    /// # Errors
    /// It is not installed, or ends or stays silent.
    pub fn start(peer: Peer, status: Status, folder: &Path) -> Result<(Self, Duration)> {
        let by_reader = status == Status::Read && peer == Peer::Libbpf;
        Self::spawn(peer.name(), peer.command(status, folder)?, Line::parse, by_reader)
    }

    /// oomwatch, read in the same way.
    ///
    /// # Errors
    /// It ends or stays silent.
    pub fn oomwatch(binary: &Path, args: &[&str]) -> Result<(Self, Duration)> {
        let mut command = agent::command(binary);
        command.arg("run").args(args);
        Self::spawn("oomwatch", command, Line::of_oomwatch, false)
    }

    fn spawn(
        name: &str,
        mut command: Command,
        parse: fn(&str) -> Line,
        by_reader: bool,
    ) -> Result<(Self, Duration)> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let begun = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let (stdout, stderr) = child.stdout.take().zip(child.stderr.take()).context("no pipes")?;
        let (ready, is_ready) = mpsc::channel();
        let kills = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&kills);
        let also_ready = ready.clone();
        let reader = thread::spawn(move || read(stdout, parse, by_reader, &seen, &ready));
        let complaints = thread::spawn(move || complaints(stderr, parse, &also_ready));
        let mut running = Self { child, kills, reader: Some(reader), complaints: Some(complaints) };
        let ready_at = running.wait_until_ready(&is_ready, name)?;
        Ok((running, ready_at.saturating_duration_since(begun)))
    }

    fn wait_until_ready(&mut self, ready: &Receiver<Instant>, name: &str) -> Result<Instant> {
        let begun = Instant::now();
        while begun.elapsed() < START {
            match ready.recv_timeout(LOOK_EVERY) {
                Ok(at) => return Ok(at),
                Err(RecvTimeoutError::Timeout) if self.child.try_wait()?.is_none() => {}
                Err(_) => break,
            }
        }
        self.child.kill().ok();
        let complaints = self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        bail!("{name} did not get ready: {}", complaints.text)
    }

    /// Its pid.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has named that many victims, or names no more for `silence`.
    ///
    /// # Errors
    /// It ended.
    pub fn wait_for(&mut self, kills: u64, silence: Duration) -> Result<()> {
        let (mut last, mut since) = (0, Instant::now());
        while last < kills && since.elapsed() < silence {
            thread::sleep(LOOK_EVERY);
            ensure!(self.child.try_wait()?.is_none(), "it ended by itself");
            let now = self.kills.load(Ordering::Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// It is gone, or what read it is.
    pub fn stop(mut self) -> Result<Said> {
        self.child.kill()?;
        self.child.wait()?;
        let mut said = self.reader.take().and_then(|thread| thread.join().ok()).context("its reader died")?;
        let complaints = self.complaints.take().and_then(|thread| thread.join().ok());
        let complaints = complaints.context("the reader of its complaints died")?;
        said.lost += complaints.lost;
        said.complaints = complaints.text;
        Ok(said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Dead already is as good.
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

/// What came by stderr.
#[derive(Debug, Default)]
struct Complaints {
    lost: u64,
    text: String,
}

fn complaints(pipe: impl Read, parse: fn(&str) -> Line, ready: &Sender<Instant>) -> Complaints {
    let mut complaints = Complaints::default();
    for line in BufReader::new(pipe).lines().map_while(Result::ok) {
        match parse(&line) {
            // Whoever waited for it may have given up.
            Line::Ready => ready.send(Instant::now()).unwrap_or_default(),
            Line::Lost(count) => complaints.lost += count,
            _ if complaints.text.len() < COMPLAINTS_KEPT => complaints.text.extend(["\n    ", &line]),
            _ => {}
        }
    }
    complaints
}

fn read(
    pipe: impl Read,
    parse: fn(&str) -> Line,
    read_status: bool,
    seen: &AtomicU64,
    ready: &Sender<Instant>,
) -> Said {
    let mut said = Said::default();
    for line in BufReader::new(pipe).lines().map_while(Result::ok) {
        let now = clock_gettime(ClockId::Monotonic);
        let line = parse(&line);
        if let (Line::Kill(pid), true) = (line, read_status) {
            // Before anything else: this is the race.
            said.status.count(has_memory(pid));
        }
        match line {
            Line::Ready => ready.send(Instant::now()).unwrap_or_default(),
            Line::Status { alive } => said.status.count(alive),
            Line::Kill(pid) => {
                said.kills.push((pid, nanoseconds(now)));
                seen.fetch_add(1, Ordering::Relaxed);
            }
            Line::Lost(count) => said.lost += count,
            Line::Other => {}
        }
    }
    said
}

fn has_memory(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|text| text.contains("VmRSS:"))
}

fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
