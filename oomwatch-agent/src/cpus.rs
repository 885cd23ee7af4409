//! Threads on CPUs of their own: what has to be done at once is done on the CPU that is free for it.
//!
//! A real-time thread is woken on the CPU where it last ran, whatever that does now (`select_task_rq_rt`,
//! kernel/sched/rt.c). While that one is at work in the kernel, which most kernels do not interrupt for a thread, it
//! waits, and another CPU has nothing to do. So of such a thread there is one on each CPU.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

use crate::sys::{self, Priority};

/// Of them, at the most: on more CPUs each has several.
const THREADS: usize = 8;

/// The CPUs that this process may use, shared out among threads.
#[derive(Clone, Debug)]
pub struct Shares(Vec<CpuSet>);

impl Shares {
    /// As the kernel has it now.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn of_this_process() -> io::Result<Self> {
        Ok(Self::of(&sched_getaffinity(None)?))
    }

    /// These CPUs, shared out.
    pub fn of(allowed: &CpuSet) -> Self {
        let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
        let share = |number| {
            let mut share = CpuSet::new();
            cpus.iter().skip(number).step_by(THREADS).for_each(|&cpu| share.set(cpu));
            share
        };
        Self((0..cpus.len().min(THREADS)).map(share).collect())
    }

    /// How many threads there are to be.
    pub fn threads(&self) -> usize {
        self.0.len()
    }

    /// Whether one of them has that CPU.
    pub fn have(&self, cpu: u16) -> bool {
        let cpu = usize::from(cpu);
        cpu < CpuSet::MAX_CPU && self.0.iter().any(|share| share.is_set(cpu))
    }

    /// Whether each of them has one CPU.
    pub fn are_single(&self) -> bool {
        self.0.iter().all(|share| share.count() == 1)
    }

    /// Whether that one is to be woken for CPUs with even numbers, and for those with odd ones. Where one of these
    /// would wake nobody, all are woken for both.
    pub fn sides(&self, number: usize) -> [bool; 2] {
        let has = |share: &CpuSet| {
            [0, 1].map(|side| (side..CpuSet::MAX_CPU).step_by(2).any(|cpu| share.is_set(cpu)))
        };
        let is_heard = |side| self.0.iter().any(|share| has(share).get(side) == Some(&true));
        if is_heard(0) && is_heard(1) { self.0.get(number).map_or([true; 2], has) } else { [true; 2] }
    }

    /// Which of them has the CPU that this is called on.
    pub fn here(&self) -> usize {
        let cpu = sched_getcpu();
        self.0.iter().position(|share| share.is_set(cpu)).unwrap_or(0)
    }

    /// Makes the calling thread that one.
    ///
    /// # Errors
    /// Not permitted without `CAP_SYS_NICE`, or none of these CPUs is there any more. Then it may run anywhere.
    pub fn take(&self, number: usize, priority: Priority) -> io::Result<()> {
        sys::make_realtime(priority)?;
        let share = self.0.get(number).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(sched_setaffinity(None, share)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(cpus: impl IntoIterator<Item = usize>) -> CpuSet {
        let mut set = CpuSet::new();
        cpus.into_iter().for_each(|cpu| set.set(cpu));
        set
    }

    #[test]
    fn every_cpu_has_one_thread_and_no_thread_has_all() {
        for (cpus, threads) in
            [(vec![], 0), (vec![3], 1), (vec![0, 5], 2), ((0..8).collect(), 8), ((0..20).collect(), 8)]
        {
            let shares = Shares::of(&set(cpus.iter().copied()));
            assert_eq!(shares.threads(), threads, "{cpus:?}");
            for cpu in cpus {
                assert_eq!(shares.0.iter().filter(|share| share.is_set(cpu)).count(), 1, "{cpu}");
            }
        }
        assert_eq!(Shares::of(&set(0..20)).0.first().map(CpuSet::count), Some(3));
    }

    #[test]
    fn no_side_wakes_nobody() {
        let sides = |cpus: &[usize]| {
            let shares = Shares::of(&set(cpus.iter().copied()));
            (0..shares.threads()).map(|number| shares.sides(number)).collect::<Vec<_>>()
        };
        let (even, odd, both) = ([true, false], [false, true], [true; 2]);
        assert_eq!(sides(&[0]), [both]);
        assert_eq!(sides(&[0, 1]), [even, odd]);
        assert_eq!(sides(&[2, 6, 9]), [even, even, odd]);
        assert_eq!(sides(&[1, 3]), [both, both]);
        assert_eq!(sides(&(0..16).collect::<Vec<_>>()), [even, odd, even, odd, even, odd, even, odd]);
        // The first has CPUs 0 and 9.
        assert_eq!(sides(&[0, 1, 2, 3, 4, 5, 6, 7, 9])[..2], [both, odd]);
    }

    #[test]
    fn cpus_that_the_process_may_not_use_are_nobodys() {
        let shares = Shares::of(&set([0, 5]));
        let had = [0, 1, 5, 1023, 1024, u16::MAX].map(|cpu| shares.have(cpu));
        assert_eq!(had, [true, false, true, false, false, false]);
    }

    #[test]
    fn the_thread_that_has_a_cpu_is_found_on_it() {
        let shares = Shares::of_this_process().unwrap();
        for (number, share) in shares.0.iter().enumerate() {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    sched_setaffinity(None, share).unwrap();
                    assert_eq!(shares.here(), number);
                });
            });
        }
    }
}
