//! The kernel itself, and its lockdown.

use std::{fs, io};

use rustix::system::uname;

use super::{Line, Look};

/// The oldest kernel that oomwatch is tested on.
const OLDEST: (u32, u32) = (5, 10);

/// Release and architecture.
pub(super) fn kernel(_: &Look<'_>) -> Vec<Line> {
    let name = uname();
    vec![judge_kernel(&name.release().to_string_lossy(), &name.machine().to_string_lossy())]
}

fn judge_kernel(release: &str, machine: &str) -> Line {
    let text = format!("Linux {release} on {machine}");
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < OLDEST => Line::degraded(
            "kernel",
            format!("{text}: older than {}.{}, the oldest that oomwatch is tested on", OLDEST.0, OLDEST.1),
            "update the kernel",
        ),
        _ => Line::ok("kernel", text),
    }
}

/// Whether the kernel lets root read its memory.
pub(super) fn lockdown(_: &Look<'_>) -> Vec<Line> {
    vec![judge_lockdown(fs::read_to_string("/sys/kernel/security/lockdown"))]
}

/// `[none] integrity confidentiality`: the mode in brackets is in force. Only `confidentiality` forbids kprobes and
/// reads of kernel memory (`LOCKDOWN_KPROBES`, `LOCKDOWN_BPF_READ_KERNEL`, include/linux/security.h).
fn judge_lockdown(modes: io::Result<String>) -> Line {
    let modes = match modes {
        Ok(modes) => modes,
        Err(error) => {
            let why = if error.kind() == io::ErrorKind::NotFound {
                "the kernel has none, or securityfs is not mounted".to_owned()
            } else {
                error.to_string()
            };
            return Line::not_applicable("lockdown", format!("{why}: the line `probe` tells"));
        }
    };
    match modes.split_ascii_whitespace().find(|mode| mode.starts_with('[')) {
        Some("[confidentiality]") => Line::failed(
            "lockdown",
            "mode confidentiality forbids BPF to read kernel memory",
            "boot with lockdown=integrity or without lockdown= (Talos sets confidentiality by default)",
        ),
        Some("[integrity]") => Line::ok("lockdown", "mode integrity, which does not stand in the way"),
        Some(_) => Line::ok("lockdown", "none"),
        None => Line::not_applicable("lockdown", "the file says nothing that is known"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn a_kernel_older_than_the_tested_ones_is_said_to_be() {
        for (release, state) in [
            ("5.10.0-56-cloud-amd64", State::Ok),
            ("6.18.44-fc", State::Ok),
            ("7.3-cloud-amd64", State::Ok),
            ("next", State::Ok),
            ("5.4.0-150-generic", State::Degraded),
            ("4.18.0-553.el8_10.x86_64", State::Degraded),
        ] {
            let line = judge_kernel(release, "x86_64");
            assert_eq!(line.state, state, "{release}");
            assert!(line.text.contains(release));
        }
    }

    #[test]
    fn of_lockdowns_modes_only_confidentiality_is_in_the_way() {
        for (modes, state) in [
            ("[none] integrity confidentiality\n", State::Ok),
            ("none [integrity] confidentiality\n", State::Ok),
            ("none integrity [confidentiality]\n", State::Failed),
            ("", State::NotApplicable),
        ] {
            assert_eq!(judge_lockdown(Ok(modes.to_owned())).state, state, "{modes}");
        }
        assert_eq!(judge_lockdown(Err(io::ErrorKind::NotFound.into())).state, State::NotApplicable);
    }
}
