//! The agent outlives what it reports: it asks the kernel to kill others first, and keeps its memory. What it may not
//! do it says once, with what to grant.

use std::{fs, io};

use oomwatch_common::proc_text::single_signed;

use crate::sys;

/// What the agent gives itself: after it come none but those that are never killed. Not -1000, with which an agent at
/// its own cgroup's limit would hang there for good, as nobody is left to be killed.
pub const ADJ: i64 = -999;
/// Up to this the kernel picks almost anybody else first. The kubelet gives -997 to a pod of class system-node-critical
/// or of QoS Guaranteed (pkg/kubelet/qos/policy.go).
pub const PROTECTED: i64 = -900;
/// What to do where it may not.
pub const CURE: &str =
    "give CAP_SYS_RESOURCE, priorityClassName: system-node-critical, or in systemd OOMScoreAdjust=-999";

const OWN: &str = "/proc/self/oom_score_adj";

/// Lowers this process's `oom_score_adj`, unless it is as low already, and says what it is then.
///
/// # Errors
/// What it is without, and why it could not be lowered: only `CAP_SYS_RESOURCE` may (`__set_oom_adj`, fs/proc/base.c).
pub fn lower_oom_score_adj() -> Result<i64, (Option<i64>, io::Error)> {
    let own = fs::read(OWN).map_err(|error| (None, error))?;
    let own = single_signed(&own).map_err(|_| (None, io::ErrorKind::InvalidData.into()))?;
    if own <= ADJ {
        return Ok(own);
    }
    fs::write(OWN, ADJ.to_string()).map_err(|error| (Some(own), error))?;
    Ok(ADJ)
}

/// Before anything else: the start takes memory too.
pub fn from_the_oom_killer() {
    match lower_oom_score_adj() {
        Ok(_) => {}
        Err((Some(adj), _)) if adj <= PROTECTED => {}
        Err((adj, error)) => {
            let cure = CURE;
            tracing::warn!(adj, %error, %cure, "oom_score_adj: the kernel may kill the agent itself");
        }
    }
}

/// Before what stays is made; of the code what is run from now on.
pub fn from_reclaim() {
    sys::forget_code();
    if let Err(error) = sys::lock_memory() {
        tracing::info!(%error, "memory is not locked, so reports may be late under pressure: give CAP_IPC_LOCK");
    }
}
