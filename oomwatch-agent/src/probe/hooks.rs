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

use super::{Counters, loaded, os_error, refuse};
use crate::refusal::Refusal;

/// The kernel function that each invocation enters.
const OOM_KILL_PROCESS: &str = "oom_kill_process";
/// The kernel function that each kill enters; since 5.0.
pub const KILL_ONE: &str = "__oom_kill_process";
/// Never attached: it has run when the layout was proved.
pub(super) const PROVE: &str = "prove";
/// A function to which a program is attached for a moment, to see whether it fires. The kernel calls it for whoever
/// reads `/proc/PID/oom_score` (fs/proc/base.c).
const OOM_BADNESS: &str = "oom_badness";
/// By a kprobe, and by a trampoline.
const FIRES: [&str; 2] = ["oom_badness", "oom_badness_fentry"];

/// By which hooks the kernel is watched.
#[derive(Clone, Debug)]
pub enum How {
    /// kprobes.
    Kprobes {
        /// Also on `__oom_kill_process`, which some kernels inline.
        kill_hook: bool,
    },
    /// The kernel's own trampolines (fentry, fexit; x86-64 since 5.5, arm64 since 6.4). They need no `perf_event_open`,
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

    /// Its programs that can be loaded before they are attached. The first takes the verifier about as long as all
    /// others.
    pub(super) fn programs(&self) -> &'static [&'static str] {
        match self {
            Self::Kprobes { kill_hook: true } => &[
                "oom_kill_process",
                PROVE,
                "oom_kill_victim",
                "victim_marked",
                "oom_kill_process_return",
                FIRES[0],
            ],
            Self::Kprobes { kill_hook: false } => {
                &["oom_kill_process", PROVE, "victim_told_and_marked", "oom_kill_process_return", FIRES[0]]
            }
            Self::Trampolines { .. } => &[PROVE],
            Self::Tracepoint => &["mark_victim", PROVE],
        }
    }

    /// Whether each kill is counted as the kernel counts it, and not each victim: that takes a hook on
    /// `__oom_kill_process`.
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
    /// Puts the programs in place, and one more, to see that they fire: [`Self::end_trial`] takes it out.
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
        self.take_out(|name| name != PROVE);
        let done = self.put_in_place();
        self.end_trial();
        done
    }

    /// Takes out of its hook what showed that hooks fire. The kernel then waits for whoever may still run it, which is
    /// longer than it took to put all of them in place; so no start waits for it.
    pub fn end_trial(&mut self) {
        self.take_out(|name| FIRES.contains(&name));
    }

    fn put_in_place(&mut self) -> Result<(), AttachError> {
        match self.how.clone() {
            How::Kprobes { kill_hook } => {
                // The end first: an invocation then never has a begin without its end.
                self.kprobe("oom_kill_process_return", OOM_KILL_PROCESS)?;
                if kill_hook {
                    self.tracepoint("victim_marked")?;
                    self.kprobe("oom_kill_victim", KILL_ONE)?;
                } else {
                    self.tracepoint("victim_told_and_marked")?;
                }
                self.kprobe("oom_kill_process", OOM_KILL_PROCESS)?;
                let tried = self.kprobe(FIRES[0], OOM_BADNESS);
                self.prove_that_it_fires(&tried)
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
        loaded(program.load()).map_err(failed)?;
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
        loaded(program.load()).map_err(failed)?;
        program.attach(hook).map_err(failed)?;
        Ok(())
    }

    fn trampolines(&mut self, btf: &Path) -> Result<(), AttachError> {
        let hook = OOM_KILL_PROCESS;
        let types = aya::Btf::parse_file(btf, aya::Endianness::default())
            .map_err(|error| trampoline_failed(hook, &error))?;
        let failed = |error: ProgramError| trampoline_failed(hook, &error);
        let end = self.program::<FExit>("oom_kill_process_fexit", hook)?;
        end.load(hook, &types).map_err(failed)?;
        end.attach().map_err(failed)?;
        self.tracepoint("victim_marked")?;
        self.trampoline_at_entry("oom_kill_victim_fentry", KILL_ONE, &types)?;
        self.trampoline_at_entry("oom_kill_process_fentry", hook, &types)?;
        let tried = self.trampoline_at_entry(FIRES[1], OOM_BADNESS, &types);
        self.prove_that_it_fires(&tried)
    }

    fn trampoline_at_entry(
        &mut self,
        name: &str,
        hook: &'static str,
        types: &aya::Btf,
    ) -> Result<(), AttachError> {
        let failed = |error: ProgramError| trampoline_failed(hook, &error);
        let entry = self.program::<FEntry>(name, hook)?;
        entry.load(hook, types).map_err(failed)?;
        entry.attach().map_err(failed)?;
        Ok(())
    }

    /// A hook can be in place and never fire: all kprobes are disarmed by `/sys/kernel/debug/kprobes/enabled`
    /// (kernel/kprobes.c), those at a function's entry and all trampolines by `kernel.ftrace_enabled`
    /// (kernel/trace/ftrace.c). So one of the same kind is made to fire; where it cannot be `tried`, no more is known.
    fn prove_that_it_fires(&mut self, tried: &Result<(), AttachError>) -> Result<(), AttachError> {
        if let Err(error) = tried {
            tracing::debug!(why = %error.refusal, "not tried whether hooks of this kind fire");
        }
        let before = self.counters.get(ProbeCounter::Fired);
        let read = fs::read(self.proc.join("self/oom_score"));
        let fired = self.counters.get(ProbeCounter::Fired) > before;
        if tried.is_err() || read.is_err() || fired {
            return Ok(());
        }
        let refusal = Refusal::not_supported(
            "hooks can be put in place and do not fire: /sys/kernel/debug/kprobes/enabled and the sysctl \
             kernel.ftrace_enabled must be 1",
        );
        Err(AttachError { hook: OOM_KILL_PROCESS, unavailable: false, refusal })
    }

    /// Takes programs out of their hooks.
    fn take_out(&mut self, which: impl Fn(&str) -> bool) {
        for (_, program) in self.ebpf.programs_mut().filter(|(name, _)| which(name)) {
            let taken = match program {
                Program::KProbe(program) => program.unload(),
                Program::RawTracePoint(program) => program.unload(),
                Program::FEntry(program) => program.unload(),
                Program::FExit(program) => program.unload(),
                _ => Ok(()),
            };
            if let Err(error) = taken
                && !matches!(error, ProgramError::NotLoaded)
            {
                tracing::debug!(%error, "a program could not be taken out of its hook");
            }
        }
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

fn trampoline_failed(hook: &'static str, error: &(dyn Error + 'static)) -> AttachError {
    AttachError {
        hook,
        unavailable: false,
        refusal: refuse(&format!("attach a trampoline to {hook}"), error),
    }
}

fn is_not_found(error: &ProgramError) -> bool {
    os_error(error).is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}
