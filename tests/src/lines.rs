//! The lines of a pipe, read by a thread of their own so that waiting for one can end.

use std::{
    io::{BufRead, BufReader, Read},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

/// What waiting for a line came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A line, without its end.
    Line(String),
    /// The writer closed the pipe.
    End,
    /// Neither, within the time given.
    Nothing,
}

/// The lines of one pipe. Bytes that are not UTF-8 are replaced: whoever compares bytes escapes them first.
#[derive(Debug)]
pub struct Lines(Receiver<String>);

impl Lines {
    /// Begins to read.
    pub fn of(pipe: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n') {
                let Ok(line) = line else { break };
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        Self(receiver)
    }

    /// The next line, waited for at most so long.
    pub fn next(&self, limit: Duration) -> Next {
        match self.0.recv_timeout(limit) {
            Ok(line) => Next::Line(line),
            Err(RecvTimeoutError::Disconnected) => Next::End,
            Err(RecvTimeoutError::Timeout) => Next::Nothing,
        }
    }

    /// What has come by now.
    pub fn ready(&self) -> Vec<String> {
        self.0.try_iter().collect()
    }
}
