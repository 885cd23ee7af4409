//! What the machine must give before anything is loaded, and the cause behind an error of the kernel that misleads.

use std::{fs, path::Path};

use rustix::system::uname;

use crate::{probe, refusal::Refusal};

// Capability numbers: include/uapi/linux/capability.h.
const CAP_SYS_ADMIN: u32 = 21;
/// To attach kprobes and to read kernel memory.
pub const CAP_PERFMON: u32 = 38;
/// To load programs and make maps.
pub const CAP_BPF: u32 = 39;

const EPERM: i32 = 1;
const EACCES: i32 = 13;
const EINVAL: i32 = 22;

/// Lines of a verifier's log that are shown: the reason stands at its end.
const VERIFIER_LINES: usize = 12;

/// Checks privileges and lockdown.
///
/// # Errors
/// A refusal that names what is missing and how to give it.
pub fn check(proc: &Path) -> Result<(), Refusal> {
    if locked_down() {
        return Err(lockdown_refusal());
    }
    let status = fs::read_to_string(proc.join("self/status")).unwrap_or_default();
    let Some(effective) = effective_capabilities(&status) else {
        return Err(Refusal::failed(format!(
            "{}/self/status has no CapEff: is --proc right?",
            proc.display()
        )));
    };
    let missing: Vec<&str> = [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")]
        .into_iter()
        .filter(|&(capability, _)| !lets_use_bpf(effective, capability))
        .map(|(_, name)| name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Refusal::not_permitted(format!(
        "{} missing: run as root, or give the capabilit{} (systemd: AmbientCapabilities=, Kubernetes: \
         securityContext.capabilities.add, by hand: setcap)",
        missing.join(" and "),
        if missing.len() == 1 { "y" } else { "ies" },
    )))
}

/// What stands behind a name in `/proc/PID/status`.
pub fn status_field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// `CapEff` of `/proc/PID/status`: a bit for each capability.
pub fn effective_capabilities(status: &str) -> Option<u64> {
    u64::from_str_radix(status_field(status, "CapEff")?, 16).ok()
}

/// Whether the kernel takes these capabilities for this one of BPF's: `CAP_SYS_ADMIN` stands for both
/// (`bpf_capable` and `perfmon_capable`, include/linux/capability.h).
pub fn lets_use_bpf(effective: u64, capability: u32) -> bool {
    has(effective, capability) || has(effective, CAP_SYS_ADMIN)
}

/// Whether a capability is among them.
pub fn has(effective: u64, capability: u32) -> bool {
    effective >> capability & 1 == 1
}

/// The error and its causes in one line, then the verifier's last lines if there is a log.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let source_text = source.to_string();
        if !text.contains(&source_text) {
            text.push_str(": ");
            text.push_str(&source_text);
        }
        next = source.source();
    }
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    if lines.len() > VERIFIER_LINES {
        lines.drain(1..lines.len() - VERIFIER_LINES);
    }
    lines.join("\n")
}

/// Says what stands behind an error of the kernel while `doing` something.
pub fn explain(doing: &str, error: &str, os_error: Option<i32>) -> Refusal {
    if os_error == Some(EPERM) {
        if locked_down() {
            return lockdown_refusal();
        }
        return Refusal::not_permitted(format!(
            "the kernel does not permit oomwatch to {doing}: CAP_BPF and CAP_PERFMON are needed, before 5.11 \
             CAP_SYS_RESOURCE too (locked memory): {error}"
        ));
    }
    if os_error == Some(EACCES)
        && let Some(level) = perf_event_paranoid().filter(|level| *level > 2)
    {
        return Refusal::not_permitted(paranoid(doing, level));
    }
    if os_error == Some(EINVAL) && probe::has_ring_buffer() == Some(false) {
        let release = uname().release().to_string_lossy().into_owned();
        return Refusal::not_supported(format!(
            "kernel {release} has no BPF ring buffer: 5.8 or newer is needed"
        ));
    }
    if is_helper_denied(error) {
        return Refusal::not_supported(
            "this kernel does not let BPF read its memory, most likely because of lockdown=confidentiality (Talos sets \
             it by default): boot with lockdown=integrity",
        );
    }
    Refusal::not_supported(format!("cannot {doing}: {error}"))
}

/// Linux itself knows levels up to 2, and asks for `CAP_PERFMON` (kernel/events/core.c). Debian and Ubuntu add one
/// above, 3 or 4, which is their default and permits `perf_event_open` to `CAP_SYS_ADMIN` only (measured on Debian's
/// 6.12).
fn perf_event_paranoid() -> Option<i32> {
    fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?.trim().parse().ok()
}

fn paranoid(doing: &str, level: i32) -> String {
    format!(
        "the kernel does not permit oomwatch to {doing}: kernel.perf_event_paranoid is {level}, at which Debian's and \
         Ubuntu's kernels ask for CAP_SYS_ADMIN: set it to 2, or give that capability"
    )
}

/// Under lockdown the verifier only says that it does not know the helper, or, since 6.12, that programs of this type
/// may not use it. In a container there is no securityfs to learn more from.
fn is_helper_denied(error: &str) -> bool {
    ["unknown func bpf_probe_read", "cannot use helper bpf_probe_read"]
        .iter()
        .any(|said| error.contains(said))
}

/// Only `confidentiality` forbids reading kernel memory and kprobes; `integrity` (Secure Boot) does not
/// (security/security.c, `LOCKDOWN_BPF_READ_KERNEL`).
fn locked_down() -> bool {
    fs::read_to_string("/sys/kernel/security/lockdown").is_ok_and(|modes| modes.contains("[confidentiality]"))
}

fn lockdown_refusal() -> Refusal {
    Refusal::not_supported(
        "kernel lockdown is in mode `confidentiality`, which forbids BPF to read kernel memory: boot with \
         lockdown=integrity or without lockdown= (see /sys/kernel/security/lockdown)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_verifier_says_under_lockdown_is_understood() {
        for (said, denied) in [
            ("85: (85) call bpf_probe_read_kernel#113; unknown func bpf_probe_read_kernel#113", true),
            ("74: (85) call bpf_probe_read#4; program of this type cannot use helper bpf_probe_read#4", true),
            ("R1 invalid mem access 'scalar'", false),
            ("unknown func bpf_ringbuf_reserve#131", false),
        ] {
            assert_eq!(is_helper_denied(said), denied, "{said}");
        }
    }
}
