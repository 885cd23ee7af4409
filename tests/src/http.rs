//! A small HTTP client, and one that means no good.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result};

/// How long a well-meaning client waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// `200`
    pub status: u16,
    /// All header lines.
    pub head: String,
    /// What follows them.
    pub body: String,
}

/// Asks once, on a connection of its own, and in HTTP/1.0, which has no chunks. `headers` are whole lines.
///
/// # Errors
/// No connection, or no whole answer in time.
pub fn get(server: SocketAddr, path: &str, headers: &[&str]) -> Result<Answer> {
    let mut stream = connect(server)?;
    let mut request = format!("GET {path} HTTP/1.0\r\nHost: {server}\r\n");
    for header in headers {
        request.extend([header, "\r\n"]);
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).context("the server took no request")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("the server did not answer in time")?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer:?}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("no status: {head}"))?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// Connects.
///
/// # Errors
/// Nobody listens, or too many do.
pub fn connect(server: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, PATIENCE).context("no connection")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The value of the one sample with this name and these parts of labels; `None` where there is none.
pub fn sample(metrics: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let line =
        metrics.lines().filter(of_name).find(|line| labels.iter().all(|label| line.contains(label)))?;
    // An exemplar follows the value.
    let sample = line.split(" # ").next().unwrap_or(line);
    sample.rsplit_once(' ')?.1.parse().ok()
}
