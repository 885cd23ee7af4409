//! Clients that mean no good, while the kernel kills: capture must not notice them, and a scraper must get in.
//!
//! It prints what it measured; what it holds the agent to are counts, not times.

use std::{
    env,
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use oomwatch_tests::{
    bench::Bench,
    here::{binary, is_root},
    http::{connect, get, sample},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

const KILLS: usize = 20;
/// Send a byte now and then.
const SLOW: usize = 500;
/// At the same time, again and again.
const PARALLEL: usize = 1000;

/// Clients that go on until they are told to stop.
struct Attack {
    over: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Attack {
    fn begin(server: SocketAddr) -> Result<Self> {
        let (over, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let attacks: [fn(SocketAddr, &AtomicBool, &AtomicUsize); 3] = [slowly, all_at_once, with_garbage];
        let mut threads = Vec::new();
        for attack in attacks {
            let (over, requests) = (Arc::clone(&over), Arc::clone(&requests));
            let thread = thread::Builder::new().spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    attack(server, &over, &requests);
                }
            });
            threads.push(thread.context("no thread")?);
        }
        Ok(Self { over, requests, threads })
    }

    fn end(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // One that panicked has asked enough.
            thread.join().ok();
        }
        self.requests.load(Ordering::Relaxed)
    }
}

/// Slowloris: many requests that never end.
fn slowly(server: SocketAddr, over: &AtomicBool, requests: &AtomicUsize) {
    let mut clients = Vec::new();
    for _ in 0..SLOW {
        if let Ok(mut client) = connect(server)
            && client.write_all(b"GET /metrics HTTP/1.1\r\nX-Slow: ").is_ok()
        {
            requests.fetch_add(1, Ordering::Relaxed);
            clients.push(client);
        }
    }
    for _ in 0..20 {
        if over.load(Ordering::Relaxed) {
            return;
        }
        clients.retain_mut(|client| client.write_all(b"x").is_ok());
        sleep(Duration::from_millis(100));
    }
}

/// As many as there may be ask for the largest answer there is, and read none of it.
fn all_at_once(server: SocketAddr, over: &AtomicBool, requests: &AtomicUsize) {
    let mut clients = Vec::new();
    for _ in 0..PARALLEL {
        if over.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(mut client) = connect(server)
            && client.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").is_ok()
        {
            requests.fetch_add(1, Ordering::Relaxed);
            clients.push(client);
        }
    }
    sleep(Duration::from_millis(200));
}

fn with_garbage(server: SocketAddr, _: &AtomicBool, requests: &AtomicUsize) {
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(100_000));
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..],
        b"\0\0\0\0",
        b"PRI * HTTP/2.0\r\n\r\n",
        long.as_bytes(),
    ] {
        if let Ok(mut client) = connect(server) {
            requests.fetch_add(1, Ordering::Relaxed);
            // A server that hangs up at once is right.
            client.write_all(garbage).ok();
        }
    }
    sleep(Duration::from_millis(20));
}

/// Makes kills; how long each took from the hook to the start of its capture, in the order of length.
fn kills(bench: &mut Bench, name: &str) -> Result<Vec<u64>> {
    let mut latencies = Vec::new();
    for number in 0..KILLS {
        let memcg = bench.memcg(&format!("/oomwatch-hostile-{}/{name}{number}", std::process::id()), 16)?;
        bench.begin_within_rate_limit()?;
        let mut hog = bench.hog(&memcg, &["anon=64"])?;
        hog.go()?;
        hog.wait_for_kill()?;
        let observed = bench.observe(&[hog.pid])?;
        let report: Value = serde_json::from_str(&observed.reports.first().context("no report")?.line)?;
        latencies.push(
            report.pointer("/latency/hook_to_capture_us").and_then(Value::as_u64).context("no latency")?,
        );
    }
    latencies.sort_unstable();
    Ok(latencies)
}

#[test]
fn they_do_not_disturb_capture_and_do_not_keep_a_scraper_out() -> Result<()> {
    if !is_root("makes OOM kills")? {
        return Ok(());
    }
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    let program = PathBuf::from(env!("CARGO_BIN_EXE_oomwatch-guest"));
    let arguments = ["--output", "json", "--listen", "127.0.0.1:0"];
    let mut bench = Bench::start(&binary()?, program, &arguments, false)?;
    let server = bench.agent.address()?;
    let quiet = kills(&mut bench, "quiet")?;
    let attack = Attack::begin(server)?;
    let over = Arc::new(AtomicBool::new(false));
    let scraper = thread::spawn({
        let over = Arc::clone(&over);
        move || -> Result<(usize, Duration)> {
            let (mut scrapes, mut longest) = (0, Duration::ZERO);
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let answer = get(server, "/metrics", &[])?;
                ensure!(answer.status == 200, "{answer:?}");
                longest = longest.max(begun.elapsed());
                scrapes += 1;
                sleep(Duration::from_millis(100));
            }
            Ok((scrapes, longest))
        }
    });
    sleep(Duration::from_secs(1));
    let attacked = kills(&mut bench, "attacked")?;
    over.store(true, Ordering::Relaxed);
    let scraped = scraper.join().ok().context("the scraper panicked")?;
    let requests = attack.end();
    let (scrapes, longest) = scraped.context("a scraper was kept out")?;
    let metrics = get(server, "/metrics", &[])?.body;
    for stage in ["ring_buffer", "malformed", "queue", "output"] {
        let lost = sample(&metrics, "oomwatch_events_lost_total", &[&format!("\"{stage}\"")]);
        ensure!(lost == Some(0.0), "lost at {stage}: {lost:?}");
    }
    let memory = sample(&metrics, "process_resident_memory_bytes", &[]).context("no memory")?;
    ensure!(memory < 64.0 * 1_048_576.0, "the agent has grown to {memory} bytes");
    let middle = |latencies: &[u64]| latencies.get(latencies.len() / 2).copied();
    // Straight to the terminal: the harness would hide a print of a test that passes.
    writeln!(
        io::stderr(),
        "hook to capture, the median of {KILLS}: {:?} us quiet, {:?} us under attack; longest {:?} and {:?}; \
         {requests} hostile requests; {scrapes} scrapes, the longest {longest:?}; resident {memory} bytes",
        middle(&quiet),
        middle(&attacked),
        quiet.last(),
        attacked.last()
    )?;
    bench.stop()
}
