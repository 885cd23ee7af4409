//! What is read: files and pipes of any kind, compressed or not, as a stream of UTF-8.

use std::{
    fs::File,
    io::{self, Cursor, ErrorKind, IsTerminal as _, Read},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, OFlags, fcntl_setfl, fstat},
    io::Errno,
};

use super::{compressed, utf16};

/// Something that is read once, from its beginning.
pub(super) struct Input {
    reader: Box<dyn Read>,
    /// Where more may come later, and it can be told whether something has.
    pipe: Option<OwnedFd>,
}

/// After so long without anything new, what has come is told.
const QUIET: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// More than the longest mark by which a format is known.
const HEAD: usize = 8;

impl Input {
    pub(super) fn stdin() -> io::Result<Self> {
        Self::of(File::from(io::stdin().as_fd().try_clone_to_owned()?))
    }

    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::of(File::open(path)?)
    }

    fn of(file: File) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(fstat(&file)?.st_mode);
        match kind {
            FileType::Directory => {
                Err(io::Error::new(ErrorKind::IsADirectory, "it is a directory: name its files"))
            }
            // A log that is a device, /dev/kmsg, is read to where it is now.
            FileType::CharacterDevice if !file.is_terminal() => {
                fcntl_setfl(&file, OFlags::NONBLOCK)?;
                Ok(Self { reader: Box::new(Device(file)), pipe: None })
            }
            _ => {
                let pipe = (kind != FileType::RegularFile).then(|| file.as_fd().try_clone_to_owned());
                let (head, reader) = peek(Box::new(file))?;
                let is_plain = compressed::is_plain(&head)?;
                let (head, reader) =
                    if is_plain { (head, reader) } else { peek(compressed::open(&head, reader)?)? };
                let reader = utf16::decoded(&head, reader);
                // What a decoder holds back, poll does not see.
                Ok(Self { reader, pipe: pipe.filter(|_| is_plain).transpose()? })
            }
        }
    }

    /// Whether nothing comes for a while. It waits for that long.
    pub(super) fn is_quiet(&self) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        let mut polled = [PollFd::new(pipe, PollFlags::IN)];
        poll(&mut polled, Some(&QUIET)) == Ok(0)
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

/// The first bytes, and all of it.
fn peek(mut reader: Box<dyn Read>) -> io::Result<(Vec<u8>, Box<dyn Read>)> {
    let mut head = Vec::with_capacity(HEAD);
    reader.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(Cursor::new(head).chain(reader))))
}

/// `/dev/kmsg`: a record by each read.
struct Device(File);

impl Read for Device {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                // Records were overwritten meanwhile.
                Err(error) if error.raw_os_error() == Some(Errno::PIPE.raw_os_error()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                read => return read,
            }
        }
    }
}
