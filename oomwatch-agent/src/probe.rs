//! The probe: load the eBPF program with this kernel's layout, prove it, attach it, hand out its ring buffer.
//!
//! Only this file and those below `probe/` import aya. They decide nothing about meaning: records leave as bytes.

mod hooks;
mod wakes;

use std::{
    fmt, fs, io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel, include_bytes_aligned,
    maps::{Array, MapData, RingBuf},
    programs::{Program, ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun as _},
};
use oomwatch_common::{
    btf::Btf,
    btf_sieve::{self, Depth, SieveError},
    counters::{PROBE_COUNTERS, ProbeCounter},
    incident::ProbeLevel,
    kernel_layout::{self, Resolved},
};
use zerocopy::IntoBytes as _;

use self::{
    hooks::PROVE,
    wakes::{BELLS, Wakes},
};
pub use self::{
    hooks::{AttachError, Hooks, How, KILL_ONE},
    wakes::{Bell, Unawaited},
};
use crate::{proof::Proof, refusal::Refusal, symbols, sys};

/// The object that `cargo xtask build` makes of oomwatch-ebpf.
static OBJECT: &[u8] = include_bytes_aligned!(env!("OOMWATCH_EBPF_OBJECT"));

/// Globals of the programs that are maps of their own, by the names of their sections.
const COUNTERS: &str = ".bss.counters";
const PER_CPU_OFFSET: &str = ".bss.per_cpu";

/// A loaded and attached probe. Dropping it detaches, unless somebody else holds its hooks.
pub struct Probe {
    hooks: Arc<Mutex<Hooks>>,
    ring: RingBuf<MapData>,
    wakes: Wakes,
    counters: Counters,
    #[cfg(feature = "debug-log")]
    log: Option<aya_log::EbpfLogger<&'static dyn log::Log>>,
    /// Which hooks are in place.
    pub level: ProbeLevel,
    /// Each kill is counted as the kernel counts it; otherwise each victim.
    pub counts_as_the_kernel: bool,
    /// Why not a higher level, where there is one.
    pub why_not_higher: Option<String>,
    /// Why trampolines were taken and not kprobes.
    pub why_trampolines: Option<String>,
    /// Fields that this kernel does not have.
    pub absent: Vec<&'static str>,
    /// The record that proved the layout: the agent's own process.
    pub proof: Vec<u8>,
    /// Why RSS will not be exact, where it will not.
    pub rss_inexact: Option<&'static str>,
}

/// Who loads the programs.
pub struct Loader<'a>(EbpfLoader<'a>);

impl Loader<'_> {
    /// To be made while there are no other threads that open files: for a moment it has this process open none, because
    /// a new loader parses all of the kernel's BTF of its own accord, 11 MiB then, for relocations that a Rust object
    /// does not have, and before it can be told not to.
    pub fn new() -> Self {
        Self(sys::without_files(EbpfLoader::new))
    }
}

impl Default for Loader<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// What the probe is loaded with.
pub struct Settings<'a> {
    /// Where this kernel keeps what is read, from [`resolve`].
    pub resolved: &'a Resolved,
    /// Bytes of the ring buffer: a power of two that is a multiple of the page size.
    pub ring_bytes: u32,
    /// `/proc`, for kallsyms.
    pub proc: &'a Path,
    /// Bytes of a page.
    pub page_bytes: u32,
    /// Number of possible CPUs.
    pub possible_cpus: u32,
}

/// A program loaded for one level, not yet attached.
pub struct Loaded {
    ebpf: Ebpf,
    how: How,
    ring: RingBuf<MapData>,
    wakes: Wakes,
    counters: Counters,
    proc: PathBuf,
    absent: Vec<&'static str>,
    /// What the program `prove` read of the calling process.
    pub proof: Proof,
    rss_inexact: Option<&'static str>,
}

impl Probe {
    /// Bytes of the next record, if there is one.
    pub fn next_record(&mut self) -> Option<impl std::ops::Deref<Target = [u8]> + '_> {
        self.ring.next()
    }

    /// Prints what the programs have logged since.
    #[cfg(feature = "debug-log")]
    pub fn flush_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    /// What rings when there is a record: that of CPUs with even numbers, and that of those with odd ones. For a begin
    /// and a victim it is that of the others than the one on which the kernel kills, for an end that of this one.
    pub fn bells(&self) -> Arc<[Bell; 2]> {
        self.wakes.bells()
    }

    /// By which the probe is told whose end wakes nobody.
    pub fn unawaited(&self) -> &Arc<Unawaited> {
        self.wakes.unawaited()
    }

    /// The hooks, to be attached again by whoever finds them blind.
    pub fn hooks(&self) -> Arc<Mutex<Hooks>> {
        Arc::clone(&self.hooks)
    }

    /// The kernel side's counters, to be read from any thread.
    pub fn counters(&self) -> Counters {
        self.counters.clone()
    }
}

/// What the kernel side counts about itself.
#[derive(Clone)]
pub struct Counters(Arc<Array<MapData, [u64; PROBE_COUNTERS]>>);

impl Counters {
    /// One of them; `None` where the kernel does not tell.
    pub fn get(&self, counter: ProbeCounter) -> Option<u64> {
        self.0.get(&0, 0).ok()?.get(counter as usize).copied()
    }
}

/// Loads the programs and runs the one that reads the caller's own task; its record is the first in the ring buffer.
///
/// # Errors
/// A [`Refusal`] that names the cause, as far as the machine tells it.
pub fn load<'a>(loader: &mut Loader<'a>, settings: &'a Settings<'a>, how: How) -> Result<Loaded, Refusal> {
    let Resolved { layout, absent } = settings.resolved;
    let percpu = layout.counts_rss_per_cpu();
    let mut ebpf = loader
        .0
        .btf(None)
        .verifier_log_level(VerifierLogLevel::default())
        .override_global("LAYOUT", layout.as_bytes(), true)
        .override_global("POSSIBLE_CPUS", settings.possible_cpus.as_bytes(), true)
        .map_max_entries("RECORDS", settings.ring_bytes)
        .map_max_entries(BELLS[0], settings.page_bytes)
        .map_max_entries(BELLS[1], settings.page_bytes)
        .load(OBJECT)
        .map_err(|error| refuse("load the eBPF maps", &error))?;
    let records =
        ebpf.take_map("RECORDS").ok_or_else(|| Refusal::failed("the eBPF object has no ring buffer"))?;
    let mut ring = RingBuf::try_from(records).map_err(|error| refuse("map the ring buffer", &error))?;
    let wakes = Wakes::of(&mut ebpf, settings.page_bytes)?;
    let counters =
        ebpf.take_map(COUNTERS).ok_or_else(|| Refusal::failed("the eBPF object has no counters"))?;
    let counters = Array::try_from(counters).map_err(|error| refuse("read the counters", &error))?;
    let counters = Counters(Arc::new(counters));

    let per_cpu_offset = if percpu { symbols::address(settings.proc, "__per_cpu_offset") } else { 0 };
    let address =
        ebpf.map_mut(PER_CPU_OFFSET).ok_or_else(|| Refusal::failed("the eBPF object lacks a map"))?;
    Array::try_from(address)
        .and_then(|mut address| address.set(0, per_cpu_offset, 0))
        .map_err(|error| refuse("tell the probe an address", &error))?;
    load_ahead(&mut ebpf, &how);
    let proof = prove(&mut ebpf, &mut ring, settings.proc)?;
    let rss_inexact = match (percpu, per_cpu_offset) {
        (false, _) => {
            Some("up to 6.1 the kernel leaves what the last 64 faults of each thread mapped out of the count")
        }
        (true, 0) => {
            Some("__per_cpu_offset is not in /proc/kallsyms (CONFIG_KALLSYMS_ALL, CAP_SYSLOG, kptr_restrict)")
        }
        (true, _) => None,
    };
    let (proc, absent) = (settings.proc.to_owned(), absent.clone());
    Ok(Loaded { ebpf, how, ring, wakes, counters, proc, absent, proof, rss_inexact })
}

/// What the program `prove` reads of the calling process, and what that says of itself just before.
fn prove(ebpf: &mut Ebpf, ring: &mut RingBuf<MapData>, proc: &Path) -> Result<Proof, Refusal> {
    let prove = program::<RawTracePoint>(ebpf, PROVE)?;
    loaded(prove.load()).map_err(|error| refuse("load the eBPF program", &error))?;
    let status_before = fs::read_to_string(proc.join("self/status")).unwrap_or_default();
    prove
        .test_run(RawTracePointRunOptions::new())
        .map_err(|error| refuse("run the eBPF program that proves the layout", &error))?;
    let record = ring.next().map(|record| record.to_vec());
    let missing = || Refusal::failed("the eBPF program ran, but its record did not arrive");
    Ok(Proof { record: record.ok_or_else(missing)?, status_before })
}

impl Loaded {
    /// Has the proof made once more.
    ///
    /// # Errors
    /// As for [`load`].
    pub fn prove_again(&mut self) -> Result<(), Refusal> {
        self.proof = prove(&mut self.ebpf, &mut self.ring, &self.proc)?;
        Ok(())
    }

    /// Attaches it.
    ///
    /// # Errors
    /// Which hook, and whether this kernel does not have it.
    #[cfg_attr(not(feature = "debug-log"), expect(unused_mut, reason = "only the log needs it"))]
    pub fn attach(mut self) -> Result<Probe, AttachError> {
        #[cfg(feature = "debug-log")]
        let log = aya_log::EbpfLogger::init(&mut self.ebpf).ok();
        let (level, counts_as_the_kernel) = (self.how.level(), self.how.counts_as_the_kernel());
        let hooks = Hooks::attach(self.ebpf, self.counters.clone(), &self.proc, self.how)?;
        Ok(Probe {
            hooks: Arc::new(Mutex::new(hooks)),
            ring: self.ring,
            wakes: self.wakes,
            counters: self.counters,
            #[cfg(feature = "debug-log")]
            log,
            level,
            counts_as_the_kernel,
            why_not_higher: None,
            why_trampolines: None,
            absent: self.absent,
            proof: self.proof.record,
            rss_inexact: self.rss_inexact,
        })
    }
}

/// Has the kernel verify the programs, the longest beside all others: it takes privileged ones one by one no more
/// (since 5.2). What it finds fault with it will say again when a program is attached.
fn load_ahead(ebpf: &mut Ebpf, how: &How) {
    let load = |name: &str, program: &mut Program| {
        let done = match program {
            Program::KProbe(program) => program.load(),
            Program::RawTracePoint(program) => program.load(),
            _ => Ok(()),
        };
        if let Err(error) = done {
            tracing::debug!(name, %error, "a program was not loaded ahead");
        }
    };
    let programs = ebpf.programs_mut().filter(|(name, _)| how.programs().contains(name));
    let (longest, others): (Vec<_>, Vec<_>) =
        programs.partition(|(name, _)| how.programs().first() == Some(name));
    thread::scope(|scope| {
        for (name, program) in longest {
            scope.spawn(move || load(name, program));
        }
        for (name, program) in others {
            load(name, program);
        }
    });
}

/// Loaded ahead is as good.
fn loaded(done: Result<(), ProgramError>) -> Result<(), ProgramError> {
    match done {
        Err(ProgramError::AlreadyLoaded) => Ok(()),
        done => done,
    }
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, Refusal>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program>,
{
    ebpf.program_mut(name).and_then(|program| program.try_into().ok()).ok_or_else(|| {
        Refusal::failed(format!("the eBPF object has no program {name}: it is of another build"))
    })
}

/// The layout of the running kernel.
///
/// # Errors
/// There is no BTF, or it is not a kernel's.
pub fn resolve(btf: &Path) -> Result<Resolved, Refusal> {
    let unsupported =
        |error: &dyn fmt::Display| Refusal::not_supported(format!("{}: {error}", btf.display()));
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Refusal::not_supported(format!(
            "this kernel has no BTF at {}: it needs CONFIG_DEBUG_INFO_BTF=y, or --btf FILE with its very own",
            btf.display()
        )),
        io::ErrorKind::PermissionDenied => {
            Refusal::not_permitted(format!("reading {} is not permitted: run as root", btf.display()))
        }
        _ => Refusal::failed(format!("reading {}: {error}", btf.display())),
    };
    let file = fs::File::open(btf).map_err(unreadable)?;
    let pieces = Pieces(file);
    let resolve = |depth| {
        let small = btf_sieve::sift(&pieces, depth).map_err(|error| match error {
            SieveError::Source(error) => unreadable(error),
            SieveError::Btf(error) => unsupported(&error),
        })?;
        let parsed = Btf::parse(&small).map_err(|error| unsupported(&error))?;
        kernel_layout::resolve(&parsed).map_err(|error| unsupported(&error))
    };
    match resolve(Depth::UntilFound) {
        Ok(resolved) if resolved.absent.is_empty() => Ok(resolved),
        _ => resolve(Depth::All),
    }
}

/// Has it found out what this kernel can do with BPF, which takes some twenty calls and is asked for when something is
/// loaded. To be called by a thread that has nothing else to do until then.
pub fn look_ahead() {
    aya::features();
}

/// A file that is read piece by piece.
struct Pieces(fs::File);

impl btf_sieve::Source for Pieces {
    type Error = io::Error;

    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, at.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

/// The operating system's error behind one of aya's, if there is one.
fn os_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error);
        }
        next = error.source();
    }
    None
}

/// Turns an error of aya into a refusal: the cause, as far as the machine tells it, then the chain.
fn refuse(doing: &str, error: &(dyn std::error::Error + 'static)) -> Refusal {
    let text = crate::preflight::chain(error);
    crate::preflight::explain(doing, &text, os_error(error).and_then(io::Error::raw_os_error))
}

/// Whether this kernel has BPF ring buffers (5.8).
pub fn has_ring_buffer() -> Option<bool> {
    aya::sys::is_map_supported(aya::maps::MapType::RingBuf).ok()
}

#[cfg(test)]
mod tests;
