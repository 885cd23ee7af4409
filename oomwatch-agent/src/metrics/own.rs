//! What the agent itself takes: of its own `/proc/self`, which every pid namespace has.

use std::fs;

/// `USER_HZ` of every architecture that Linux supports for eBPF.
const TICKS_PER_SECOND: f64 = 100.0;

/// Bytes of resident memory.
pub(super) fn resident_memory() -> Option<f64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(super::float(pages.saturating_mul(rustix::param::page_size() as u64)))
}

/// Seconds of CPU time, in user mode and in the kernel.
pub(super) fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // Fields 14 and 15; the name, field 2, stands in parentheses and may itself contain any of them.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok().map(f64::from);
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// Open file descriptors.
pub(super) fn open_fds() -> Option<f64> {
    // One of them is the directory that is being read.
    let open = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u64::try_from(open).ok().map(super::float)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_sees_itself() {
        assert!(resident_memory().unwrap() > 100_000.0);
        assert!(cpu_seconds().unwrap() >= 0.0);
        let (before, _file) = (open_fds().unwrap(), fs::File::open("/dev/null").unwrap());
        assert!(before >= 3.0 && open_fds().unwrap() >= 4.0);
    }
}
