//! The hooks: the programs in their places, put there once, and again where they have gone blind.

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    programs::{FEntry, FExit, KProbe, Program, ProgramError, RawTracePoint},
};
use oomwatch_common::{counters::ProbeCounter, incident::ProbeLevel};

use super::{Counters, os_error, refuse};
use crate::refusal::Refusal;

/// The kernel function that each invocation enters.
const OOM_KILL_PROCESS: &str = "oom_kill_process";
/// The kernel function that each kill enters; since 5.0.
pub const KILL_ONE: &str = "__oom_kill_process";
/// Never attached: it has run when the layout was proved.
const PROVE: &str = "prove";
/// Attached for a moment, to the function of the same name.
const OOM_BADNESS: &str = "oom_badness";

/// By which hooks the kernel is watched.
#[derive(Clone, Debug)]
pub enum How {
    /// kprobes.
    Kprobes {
        /// Also on `__oom_kill_process`, which some kernels inline.
        kill_hook: bool,
    },
    /// The kernel's own trampolines (fentry, fexit; x86-64 since 5.5, arm64 since 6.0). They need no `perf_event_open`,
    /// which Debian's and Ubuntu's kernels permit to `CAP_SYS_ADMIN` only.
    Trampolines {
        /// The running kernel's BTF.
        btf: PathBuf,
    },
    /// The tracepoint alone.
    Tracepoint,
}

impl How {
    /// What that tells.
    pub fn level(&self) -> ProbeLevel {
        match self {
            Self::Kprobes { .. } | Self::Trampolines { .. } => ProbeLevel::Kprobe,
            Self::Tracepoint => ProbeLevel::Tracepoint,
        }
    }

    /// Whether each kill is counted as the kernel counts it, and not each victim.
    pub fn counts_as_the_kernel(&self) -> bool {
        !matches!(self, Self::Tracepoint | Self::Kprobes { kill_hook: false })
    }
}

/// Why a hook could not be put in place.
#[derive(Debug)]
pub struct AttachError {
    /// The kernel function or tracepoint.
    pub hook: &'static str,
    /// The kernel has no such function, or no kprobes.
    pub unavailable: bool,
    /// What to say.
    pub refusal: Refusal,
}

/// Programs in their hooks. Dropping it detaches.
pub struct Hooks {
    ebpf: Ebpf,
    counters: Counters,
    /// `/proc`
    proc: PathBuf,
    how: How,
}

impl Hooks {
    /// Puts the programs in place.
    ///
    /// # Errors
    /// Which hook, and whether this kernel does not have it.
    pub(super) fn attach(ebpf: Ebpf, counters: Counters, proc: &Path, how: How) -> Result<Self, AttachError> {
        let mut hooks = Self { ebpf, counters, proc: proc.to_owned(), how };
        hooks.put_in_place()?;
        Ok(hooks)
    }

    /// By which they are.
    pub fn how(&self) -> &How {
        &self.how
    }

    /// Takes all programs out of their hooks and puts them there anew. Maps, and with them all counters, stay.
    ///
    /// # Errors
    /// Which hook, and why; nothing is watched then.
    pub fn attach_again(&mut self) -> Result<(), AttachError> {
        for (_, program) in self.ebpf.programs_mut().filter(|(name, _)| *name != PROVE) {
            let unloaded = match program {
                Program::KProbe(program) => program.unload(),
                Program::RawTracePoint(program) => program.unload(),
                Program::FEntry(program) => program.unload(),
                Program::FExit(program) => program.unload(),
                _ => Ok(()),
            };
            if let Err(error) = unloaded
                && !matches!(error, ProgramError::NotLoaded)
            {
                tracing::debug!(%error, "a program could not be taken out of its hook");
            }
        }
        self.put_in_place()
    }

    fn put_in_place(&mut self) -> Result<(), AttachError> {
        match self.how.clone() {
            How::Kprobes { kill_hook } => {
                // The end first: an invocation then never has a begin without its end.
                self.kprobe("oom_kill_process_return", OOM_KILL_PROCESS)?;
                self.tracepoint("victim_marked")?;
                if kill_hook {
                    self.kprobe("oom_kill_victim", KILL_ONE)?;
                }
                self.kprobe("oom_kill_process", OOM_KILL_PROCESS)?;
                self.prove_that_kprobes_fire()
            }
            How::Trampolines { btf } => self.trampolines(&btf),
            How::Tracepoint => self.tracepoint("mark_victim"),
        }
    }

    fn kprobe(&mut self, name: &str, hook: &'static str) -> Result<(), AttachError> {
        let failed = |error: ProgramError| AttachError {
            hook,
            unavailable: is_not_found(&error),
            refusal: refuse(&format!("attach a kprobe to {hook}"), &error),
        };
        let program = self.program::<KProbe>(name, hook)?;
        program.load().map_err(failed)?;
        program.attach(hook, 0).map_err(failed)?;
        Ok(())
    }

    fn tracepoint(&mut self, name: &str) -> Result<(), AttachError> {
        let hook = "mark_victim";
        let failed = |error: ProgramError| AttachError {
            hook,
            unavailable: is_not_found(&error),
            refusal: refuse("attach to tracepoint oom/mark_victim", &error),
        };
        let program = self.program::<RawTracePoint>(name, hook)?;
        program.load().map_err(failed)?;
        program.attach(hook).map_err(failed)?;
        Ok(())
    }

    fn trampolines(&mut self, btf: &Path) -> Result<(), AttachError> {
        let failed = |hook| {
            move |error: &(dyn Error + 'static)| AttachError {
                hook,
                unavailable: false,
                refusal: refuse(&format!("attach a trampoline to {hook}"), error),
            }
        };
        let types = aya::Btf::parse_file(btf, aya::Endianness::default())
            .map_err(|error| failed(OOM_KILL_PROCESS)(&error))?;
        let end = self.program::<FExit>("oom_kill_process_fexit", OOM_KILL_PROCESS)?;
        end.load(OOM_KILL_PROCESS, &types).map_err(|error| failed(OOM_KILL_PROCESS)(&error))?;
        end.attach().map_err(|error| failed(OOM_KILL_PROCESS)(&error))?;
        self.tracepoint("victim_marked")?;
        for (name, hook) in
            [("oom_kill_victim_fentry", KILL_ONE), ("oom_kill_process_fentry", OOM_KILL_PROCESS)]
        {
            let entry = self.program::<FEntry>(name, hook)?;
            entry.load(hook, &types).map_err(|error| failed(hook)(&error))?;
            entry.attach().map_err(|error| failed(hook)(&error))?;
        }
        Ok(())
    }

    /// A kprobe can be attached and never fire: all of them are disarmed by `/sys/kernel/debug/kprobes/enabled`
    /// (kernel/kprobes.c), and those at a function's entry by `kernel.ftrace_enabled` (kernel/trace/ftrace.c). Where
    /// the kernel lacks the function that this is tried with, it stays untried.
    fn prove_that_kprobes_fire(&mut self) -> Result<(), AttachError> {
        if let Err(error) = self.kprobe(OOM_BADNESS, OOM_BADNESS) {
            tracing::debug!(why = %error.refusal, "not tried whether kprobes fire");
            return Ok(());
        }
        let before = self.counters.get(ProbeCounter::Fired);
        let read = fs::read(self.proc.join("self/oom_score"));
        let after = self.counters.get(ProbeCounter::Fired);
        if let Err(error) = self.program::<KProbe>(OOM_BADNESS, OOM_BADNESS)?.unload() {
            tracing::debug!(%error, "a kprobe that is no longer needed could not be detached");
        }
        if read.is_err() || after > before {
            return Ok(());
        }
        let refusal = Refusal::not_supported(
            "kprobes can be attached and do not fire: /sys/kernel/debug/kprobes/enabled and the sysctl \
             kernel.ftrace_enabled must be 1",
        );
        Err(AttachError { hook: OOM_KILL_PROCESS, unavailable: false, refusal })
    }

    fn program<'a, P>(&'a mut self, name: &str, hook: &'static str) -> Result<&'a mut P, AttachError>
    where
        &'a mut P: TryFrom<&'a mut Program>,
    {
        super::program(&mut self.ebpf, name).map_err(|refusal| AttachError {
            hook,
            unavailable: false,
            refusal,
        })
    }
}

fn is_not_found(error: &ProgramError) -> bool {
    os_error(error).is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}
