//! Text of `/proc` → values. One file a source; bytes in, because names in them are the process's own to choose.
//!
//! Three rules hold for all of them. Lines that are not known are passed over: kernels add some with every release.
//! A last line without its line end was cut, and a cut number is a wrong number, so it is not used. A known line
//! that does not hold what it ought to makes the whole source [`Malformed`]: half-believed text is not reported.

mod cgroup;
mod cmdline;
mod lines;
mod loadavg;
mod meminfo;
mod pressure;
mod scalar;
mod slabinfo;
mod stat;
mod status;
mod vmstat;
mod zones;

pub use cgroup::memory_cgroup;
pub use cmdline::cmdline;
pub use lines::Malformed;
pub(crate) use lines::{number, whole_lines, words};
pub use loadavg::{Load, loadavg};
pub use meminfo::{Meminfo, meminfo};
pub use pressure::{Pressure, Stall, pressure};
pub use scalar::{single_number, single_signed};
pub use slabinfo::slabinfo;
pub use stat::start_ticks;
pub use status::{Ids, Status, status};
pub use vmstat::{Vmstat, vmstat};
pub use zones::{add_buddyinfo, zoneinfo};
