//! `/dev/kmsg`, the kernel's log, as a source of incidents: at level `kmsg` of all, at every other of those that
//! happened while the agent did not run.
//!
//! What lines mean is the core's to say (`oomwatch_common::kernel_log`). This thread is not the capture thread and not
//! written to work without memory: where the log is all there is, the victims are dead already.

mod backlog;
mod checkpoint;
mod follow;
mod logged;
mod start;

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use oomwatch_common::kernel_log::KmsgRecord;
use rustix::{
    fs::{Mode, OFlags, SeekFrom, open, seek},
    io::{Errno, read},
};

pub use self::{
    backlog::Backlog,
    follow::Telling,
    logged::FromLog,
    start::{LogBook, Told, tell_backlog, tell_beside_a_probe},
};
use crate::refusal::Refusal;

/// The kernel writes a record of at most 1024 bytes, each of which may be spelled as four, and its dictionary
/// (`CONSOLE_EXT_LOG_MAX`, 8192, in kernel/printk/internal.h).
const RECORD_BYTES: usize = 16 * 1024;

/// A reader of the log.
pub struct Kmsg {
    log: OwnedFd,
    buffer: Box<[u8]>,
    /// The beginning of a line whose end has not been read: of a pipe, not of the device.
    begun: Vec<u8>,
}

/// What the log gives.
pub enum Next {
    /// A record.
    Record(KmsgRecord),
    /// Records were overwritten before they were read.
    Overrun,
}

impl Kmsg {
    /// Opens the log, at the oldest record that it still has.
    ///
    /// # Errors
    /// It is not there, or not permitted, with what to change.
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let shown = path.display();
        let log = open(path, flags, Mode::empty()).map_err(|error| match error {
            Errno::PERM | Errno::ACCESS => Refusal::not_permitted(format!(
                "cannot read {shown}: give CAP_SYSLOG (kernel.dmesg_restrict is 1), and the device to the container"
            )),
            error => Refusal::not_supported(format!("cannot open {shown}: {error}; --kmsg names the kernel's log")),
        })?;
        Ok(Self { log, buffer: vec![0; RECORD_BYTES].into_boxed_slice(), begun: Vec::new() })
    }

    /// Leaves out all that is there already.
    ///
    /// # Errors
    /// The device does not let itself be positioned.
    pub fn skip(&mut self) -> io::Result<()> {
        match seek(&self.log, SeekFrom::End(0)) {
            // A pipe has nothing to skip.
            Ok(_) | Err(Errno::SPIPE) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives everything that there is to read. What is no record is passed over.
    ///
    /// # Errors
    /// The log fails for another reason than having no more.
    pub fn drain(&mut self, mut take: impl FnMut(Next)) -> io::Result<()> {
        loop {
            match read(&self.log, &mut *self.buffer) {
                Ok(0) | Err(Errno::AGAIN) => return Ok(()),
                Ok(len) => {
                    self.begun.extend_from_slice(self.buffer.get(..len).unwrap_or_default());
                    let whole = self.begun.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
                    for line in self.begun.get(..whole).unwrap_or_default().split(|&byte| byte == b'\n') {
                        if let Some(record) = KmsgRecord::parse(line) {
                            take(Next::Record(record));
                        }
                    }
                    self.begun.drain(..whole);
                    // No record is so long.
                    if self.begun.len() > RECORD_BYTES {
                        self.begun.clear();
                    }
                }
                Err(Errno::PIPE) => take(Next::Overrun),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Kmsg {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.log.as_fd()
    }
}

impl From<File> for Kmsg {
    fn from(file: File) -> Self {
        Self { log: file.into(), buffer: vec![0; RECORD_BYTES].into_boxed_slice(), begun: Vec::new() }
    }
}

#[cfg(test)]
mod tests;
