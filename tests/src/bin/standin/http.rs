//! One request and its answer: as much of HTTP/1.1 as a client of Kubernetes speaks, and answers that are none.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustls::{ServerConnection, StreamOwned};

type Stream = StreamOwned<ServerConnection, TcpStream>;

/// A request, and the way back.
pub(crate) struct Exchange<'a> {
    pub(crate) method: String,
    /// Without what follows a `?`.
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) body: Vec<u8>,
    stream: &'a mut Stream,
}

impl Exchange<'_> {
    /// Reads a request and has it answered; the connection is closed after it.
    pub(crate) fn receive(mut stream: Stream, answer: impl FnOnce(Exchange<'_>) -> Result<()>) -> Result<()> {
        let mut read = Vec::new();
        let head = loop {
            if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            ensure!(read.len() < 65_536, "no head of a request");
            let mut piece = [0; 4096];
            let length = stream.read(&mut piece)?;
            ensure!(length > 0, "no request");
            read.extend(piece.iter().take(length));
        };
        let text = String::from_utf8(read.iter().take(head).copied().collect())?;
        let mut lines = text.lines();
        let mut words = lines.next().context("no request line")?.split_whitespace();
        let method = words.next().context("no method")?.to_owned();
        let target = words.next().context("no path")?;
        let path = target.split('?').next().unwrap_or_default().to_owned();
        let header = |name: &str| {
            let named = |line: &str| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            };
            text.lines().find_map(named)
        };
        let length: usize = header("content-length").map_or(Ok(0), |length| length.parse())?;
        let mut body: Vec<u8> = read.iter().skip(head + 4).copied().collect();
        while body.len() < length {
            let mut piece = [0; 4096];
            let more = stream.read(&mut piece)?;
            ensure!(more > 0, "the body ends early");
            body.extend(piece.iter().take(more));
        }
        let (authorization, content_type) = (header("authorization"), header("content-type"));
        answer(Exchange { method, path, authorization, content_type, body, stream: &mut stream })?;
        stream.conn.send_close_notify();
        stream.flush()?;
        Ok(())
    }

    /// Answers with JSON, or whatever text.
    pub(crate) fn answer(self, status: u16, body: &str) -> Result<()> {
        self.answer_with(status, "", body)
    }

    /// As [`Self::answer`], with more header lines.
    pub(crate) fn answer_with(self, status: u16, headers: &str, body: &str) -> Result<()> {
        let head = format!(
            "HTTP/1.1 {status} Standin\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}\
             Connection: close\r\n\r\n",
            body.len()
        );
        self.write(head.as_bytes())?.write(body.as_bytes()).map(drop)
    }

    /// The head of an answer that ends where the connection does.
    pub(crate) fn begin(self) -> Result<Self> {
        self.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
    }

    /// A piece of an answer.
    pub(crate) fn write(self, bytes: &[u8]) -> Result<Self> {
        self.stream.write_all(bytes)?;
        self.stream.flush()?;
        Ok(self)
    }

    /// Ends the connection without a word of TLS.
    pub(crate) fn break_off(self) -> Result<()> {
        self.stream.sock.shutdown(std::net::Shutdown::Both)?;
        Ok(())
    }

    /// Never answers.
    pub(crate) fn hang(self) -> Result<()> {
        sleep(Duration::from_hours(1));
        self.break_off()
    }
}
