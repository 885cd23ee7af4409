//! `/dev/kmsg`: the kernel's log as records, read by the tests themselves.
//!
//! Only the device and the form of a record; what the lines mean is [`crate::kernel_log`].

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
};

use anyhow::{Context, Result};

use crate::escaped::unescape;

/// `PRINTKRB_RECORD_MAX` is 1024 and every byte may be spelled as four (kernel/printk/printk.c).
const RECORD_MAX: usize = 8192;
/// Prefixes from here on belong to facilities other than the kernel's: anybody who may write to `/dev/kmsg` makes them.
const FIRST_FOREIGN_PREFIX: u32 = 8;
const EPIPE: i32 = 32;

/// One record that the kernel itself wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Continues the one before: the flag `c`.
    pub continues: bool,
    /// The text, its `\xNN` spellings undone.
    pub text: Vec<u8>,
}

impl Record {
    /// Reads `prefix,sequence,time,flags[,…];text`, and leaves out the lines of the dictionary that may follow.
    ///
    /// `None` for what is no record, and for one that did not come from the kernel.
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let line = raw.split(|&byte| byte == b'\n').next()?;
        let semicolon = line.iter().position(|&byte| byte == b';')?;
        let (head, text) = line.split_at_checked(semicolon)?;
        let mut fields = std::str::from_utf8(head).ok()?.split(',');
        let prefix: u32 = fields.next()?.parse().ok()?;
        let flags = fields.nth(2)?;
        let text = unescape(text.strip_prefix(b";")?);
        (prefix < FIRST_FOREIGN_PREFIX).then_some(Self { continues: flags.contains('c'), text })
    }
}

/// A reader of the log, from where it was opened or last read.
#[derive(Debug)]
pub struct Kmsg(File);

impl Kmsg {
    /// Opens it behind the newest record.
    ///
    /// # Errors
    /// Not permitted: the log is for root, or `CAP_SYSLOG` where `kernel.dmesg_restrict` is set.
    pub fn open() -> Result<Self> {
        let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits())?;
        let file = OpenOptions::new().read(true).custom_flags(nonblocking).open("/dev/kmsg");
        let mut kmsg = Self(file.context("cannot open /dev/kmsg (root is needed)")?);
        kmsg.skip()?;
        Ok(kmsg)
    }

    /// Goes behind the newest record.
    ///
    /// # Errors
    /// The device does not let itself be positioned.
    pub fn skip(&mut self) -> Result<()> {
        self.0.seek(SeekFrom::End(0)).context("cannot go to the end of /dev/kmsg")?;
        Ok(())
    }

    /// Every record of the kernel since the last call.
    ///
    /// # Errors
    /// The device fails for another reason than having no more, or having lost what was not read in time.
    pub fn read(&mut self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        let mut buffer = vec![0; RECORD_MAX];
        loop {
            match self.0.read(&mut buffer) {
                Ok(len) => records.extend(buffer.get(..len).and_then(Record::parse)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(records),
                // The ring was overrun; the next read goes on with the oldest record that is left.
                Err(error)
                    if error.raw_os_error() == Some(EPIPE) || error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("cannot read /dev/kmsg"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Record;

    #[test]
    fn only_the_kernels_own_records_are_taken() {
        let table: &[(&str, Option<(bool, &str)>)] = &[
            (
                "3,400,7197438,-;Memory cgroup out of memory: Killed process 1 (hog)",
                Some((false, "Memory cgroup out of memory: Killed process 1 (hog)")),
            ),
            ("4,419,1,c;/kubepods,task=hog,pid=1,uid=0", Some((true, "/kubepods,task=hog,pid=1,uid=0"))),
            ("6,363,7188905,-,caller=T101;a;b\n SUBSYSTEM=memory\n", Some((false, "a;b"))),
            (r"6,1,2,-;a\x0ab\x5cn", Some((false, "a\nb\\n"))),
            ("12,400,1,-;Out of memory: Killed process 1 (forged)", None),
            ("8,1,1,-;forged", None),
            (" SUBSYSTEM=memory", None),
            ("", None),
            ("6,1;short", None),
        ];
        for (raw, expected) in table {
            let record = Record::parse(raw.as_bytes());
            let seen = record.as_ref().map(|record| (record.continues, record.text.as_slice()));
            assert_eq!(seen, expected.map(|(continues, text)| (continues, text.as_bytes())), "{raw}");
        }
    }
}
