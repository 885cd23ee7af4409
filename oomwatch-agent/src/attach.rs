//! Takes the highest level that works on this kernel, and knows why not a higher one.

use std::{
    path::Path,
    thread::{self, JoinHandle},
};

use oomwatch_common::{kernel_layout::Resolved, units::PageSize};

use crate::{
    config::{DEFAULT_BTF, NodeOptions, ProbeChoice},
    preflight,
    probe::{self, AttachError, How, Loaded, Loader, Probe, Settings},
    proof,
    refusal::{Kind, Refusal},
    sys,
};

/// How often the layout is held against this process before it is said to be wrong: the process is made ready
/// meanwhile, so that its memory comes and goes.
const PROOFS: u32 = 4;

/// How the kernel is watched.
pub enum Watch<L> {
    /// By a probe in it; and the log, if it was opened.
    Probe(Box<Probe>, Result<L, Refusal>),
    /// By its log, and why not by a probe; `None`: as was asked for.
    Log(L, Option<String>),
}

/// What takes time and depends on no option: begun before they are parsed.
pub struct Ahead {
    loader: Loader<'static>,
    resolved: JoinHandle<Result<Resolved, Refusal>>,
    features: JoinHandle<()>,
}

impl Ahead {
    /// Begins with it. To be called while there are no other threads.
    pub fn begin() -> Self {
        // Both threads allocate, so how memory is asked for comes before them; and up to 5.10 what BPF takes counts as
        // locked.
        sys::return_large_allocations();
        sys::raise_locked_memory_limit();
        let loader = Loader::new();
        let resolved = thread::spawn(|| probe::resolve(Path::new(DEFAULT_BTF)));
        Self { loader, resolved, features: thread::spawn(probe::look_ahead) }
    }

    /// Waits for it. The layout is that of the kernel whose BTF this is.
    fn end(self, btf: &Path) -> (Loader<'static>, Result<Resolved, Refusal>) {
        // Where one panicked, which nothing is known to make it do, what it would have found is found here.
        self.features.join().ok();
        let resolved = self.resolved.join().ok().filter(|_| btf == Path::new(DEFAULT_BTF));
        (self.loader, resolved.unwrap_or_else(|| probe::resolve(btf)))
    }
}

/// Attaches a probe, or, where this kernel cannot have one, takes its log. `log`: that, opened. The rest is as for
/// [`attach`].
///
/// # Errors
/// A [`Refusal`] that says what to change.
pub fn watch<L>(
    options: &NodeOptions,
    page_size: PageSize,
    log: Result<L, Refusal>,
    ahead: Ahead,
    proved: impl Fn(&[u8]),
) -> Result<Watch<L>, Refusal> {
    if options.probe == ProbeChoice::Kmsg {
        return Ok(Watch::Log(log?, None));
    }
    match (attach(options, page_size, ahead, proved), log) {
        (Ok(probe), log) => Ok(Watch::Probe(Box::new(probe), log)),
        // What is only not permitted is to be permitted.
        (Err(refusal), Ok(log))
            if options.probe == ProbeChoice::Auto && refusal.kind == Kind::NotSupported =>
        {
            Ok(Watch::Log(log, Some(refusal.text)))
        }
        (Err(refusal), _) => Err(refusal),
    }
}

/// Loads, proves and attaches. To be called on the process's first thread: the proof compares with `/proc/self`.
/// `proved` is shown the record that proves the layout, before anything is attached.
///
/// # Errors
/// A [`Refusal`] that says what to change.
pub fn attach(
    options: &NodeOptions,
    page_size: PageSize,
    ahead: Ahead,
    proved: impl Fn(&[u8]),
) -> Result<Probe, Refusal> {
    preflight::check(&options.proc)?;
    let page_bytes = u32::try_from(page_size.get().0).unwrap_or(4096);
    let (mut loader, resolved): (Loader<'_>, _) = ahead.end(&options.btf);
    let resolved = resolved?;
    let settings = Settings {
        resolved: &resolved,
        // The kernel wants a multiple of the page size, which may be 64 KiB.
        ring_bytes: options.ring_buffer_kib.saturating_mul(1024).max(page_bytes),
        page_bytes,
        proc: &options.proc,
        possible_cpus: sys::possible_cpus(),
    };
    let mut load = |how| -> Result<Loaded, Refusal> {
        let mut loaded = probe::load(&mut loader, &settings, how)?;
        let mut proofs = 1;
        while let Err(refusal) = proof::check(&loaded.proof, &options.proc, page_size) {
            if proofs == PROOFS {
                return Err(refusal);
            }
            loaded.prove_again()?;
            proofs += 1;
        }
        proved(&loaded.proof.record);
        Ok(loaded)
    };
    if options.probe == ProbeChoice::Tracepoint {
        return load(How::Tracepoint)?.attach().map_err(|error| error.refusal);
    }
    let failed = match load(How::Kprobes { kill_hook: true })?.attach() {
        Ok(probe) => return Ok(probe),
        // Inlined into its caller: then the tracepoint tells the victims.
        Err(error) if error.unavailable && error.hook == probe::KILL_ONE => {
            match load(How::Kprobes { kill_hook: false })?.attach() {
                Ok(probe) => return Ok(probe),
                Err(error) => error,
            }
        }
        Err(error) => error,
    };
    let why = why(&failed);
    if let Ok(mut probe) = load(How::Trampolines { btf: options.btf.clone() })?.attach() {
        probe.why_trampolines = Some(why);
        return Ok(probe);
    }
    if options.probe == ProbeChoice::Kprobe {
        return Err(Refusal { text: format!("{why}; --probe auto takes what there is"), ..failed.refusal });
    }
    let mut probe = load(How::Tracepoint)?.attach().map_err(|error| error.refusal)?;
    probe.why_not_higher = Some(why);
    Ok(probe)
}

fn why(error: &AttachError) -> String {
    if error.unavailable {
        format!("no kprobe on {}: this kernel is built without kprobes, or without this function", error.hook)
    } else {
        error.refusal.text.clone()
    }
}
