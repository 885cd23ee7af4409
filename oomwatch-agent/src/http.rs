//! The HTTP server: a thread of its own, so that no client is felt by capture or reports, and bounds for everything.
//!
//! So many connections, headers and bytes of them, so much time; `connections.rs` says who leaves when there is no
//! place left. There is neither TLS nor a password: docs/http.md says what to do about that.

mod answer;
mod api;
mod connections;
mod counts;
mod negotiate;
mod room;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use http::StatusCode;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    runtime,
    task::yield_now,
    time::{Instant, sleep, sleep_until},
};

pub use self::counts::{Closed, Counts, Replied};
use self::{
    connections::{Connections, Flushed, Seat},
    room::Room,
};
use crate::{
    config::{ApiChoice, HttpOptions},
    health::Health,
    history::History,
    metrics::Metrics,
    refusal::Refusal,
};

/// Connections at a time.
const CONNECTIONS: usize = 64;
/// Connections that wait to be taken. One that finds no room tries again after a second.
const WAITING: i32 = 1024;
/// What the kernel holds for a client that does not read counts as the pod's memory too; it would take 4 MB for each.
const SEND_BUFFER: usize = 128 * 1024;
const HEADERS: usize = 64;
/// Bytes of all headers together.
const HEADER_BYTES: usize = 16 * 1024;
const HEADER_WITHIN: Duration = Duration::from_secs(5);
/// From a request, or from the connection, until its answer is read.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// How often a newcomer tries again where all places are needed.
const FOR_A_PLACE: Duration = Duration::from_millis(5);
/// After an `accept` that failed, for want of file descriptors say.
const PAUSE: Duration = Duration::from_millis(200);

/// What is served.
pub struct Served {
    /// `/metrics`
    pub metrics: Arc<Metrics>,
    /// `/healthz`, `/readyz`
    pub health: Arc<Health>,
    /// `/api/v1/incidents`
    pub history: Arc<History>,
    /// To whom.
    pub api: ApiChoice,
    /// How that goes.
    pub counts: Arc<Counts>,
}

/// An address that is ours.
pub struct Listener(TcpListener);

impl Listener {
    /// The address that was taken.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Takes the address that was asked for, before anything else is done; `None` where none was.
///
/// # Errors
/// A [`Refusal`]: the port is in use, the address is not this machine's, or it may not be taken.
pub fn bind(options: &HttpOptions) -> Result<Option<Listener>, Refusal> {
    let Some(address) = options.listen else { return Ok(None) };
    let bound = TcpListener::bind(address).or_else(|error| match address {
        // A kernel without IPv6.
        SocketAddr::V6(v6)
            if v6.ip().is_unspecified() && error.raw_os_error() == Some(libc::EAFNOSUPPORT) =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port()))
        }
        _ => Err(error),
    });
    let listener = bound.and_then(|listener| {
        listener.set_nonblocking(true)?;
        // A second listen() only makes the queue longer (inet_csk_listen_start is not run again; net/ipv4/af_inet.c).
        rustix::net::listen(&listener, WAITING)?;
        // Every connection inherits it.
        rustix::net::sockopt::set_socket_send_buffer_size(&listener, SEND_BUFFER)?;
        Ok(listener)
    });
    let listener = listener.map_err(|error| refusal(address, &error))?;
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!(%address, "listening");
    Ok(Some(Listener(listener)))
}

fn refusal(address: SocketAddr, error: &io::Error) -> Refusal {
    let cure = match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there: end it, or choose another port",
        io::ErrorKind::AddrNotAvailable => "that is no address of this machine",
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher one",
        _ => "choose another address",
    };
    let text = format!("--listen {address}: {error}: {cure}");
    if error.kind() == io::ErrorKind::PermissionDenied {
        Refusal::not_permitted(text)
    } else {
        Refusal::failed(text)
    }
}

/// Starts to serve. The thread ends with the process.
///
/// # Errors
/// The kernel refused a thread, or an epoll.
pub fn serve(listener: Listener, served: Served) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build()?;
    let entered = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener.0)?;
    drop(entered);
    let accept = accept(listener, Arc::new(served));
    thread::Builder::new().name("http".to_owned()).spawn(move || runtime.block_on(accept))?;
    Ok(())
}

async fn accept(listener: tokio::net::TcpListener, served: Arc<Served>) {
    let connections = Connections::new(CONNECTIONS);
    let room = Arc::new(Room::new());
    served.counts.watch(&connections);
    let mut said = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (seat, evicted) = loop {
                    match connections.enter(Instant::now()) {
                        Some(entered) => break entered,
                        None => sleep(FOR_A_PLACE).await,
                    }
                };
                if evicted {
                    served.counts.closed.count(Closed::Evicted);
                }
                tokio::spawn(serve_one(stream, peer, seat, Arc::clone(&served), Arc::clone(&room)));
                // It may have asked already, and is answered before the next one comes.
                yield_now().await;
            }
            Err(error) => {
                if !said {
                    tracing::warn!(%error, "a connection could not be taken; others will be tried");
                    said = true;
                }
                sleep(PAUSE).await;
            }
        }
    }
}

async fn serve_one(
    stream: TcpStream,
    peer: SocketAddr,
    seat: Arc<Seat>,
    served: Arc<Served>,
    room: Arc<Room>,
) {
    let service = service_fn(|request| {
        seat.asked(Instant::now());
        let (seat, served, room) = (&seat, &served, &room);
        async move {
            let answer = answer::answer(&request, peer.ip(), served, room).await;
            seat.answered();
            served.counts.replied.count(replied(answer.status()));
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WITHIN)
        .max_headers(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .half_close(true)
        .serve_connection(TokioIo::new(Flushed::new(stream, Arc::clone(&seat))), service);
    let closed = tokio::select! {
        biased;
        // Counted by who took the place.
        () = seat.must_leave() => None,
        ended = connection => match ended {
            Ok(()) => None,
            Err(error) if error.is_timeout() => Some(Closed::TimedOut),
            Err(error) if error.is_parse() => Some(Closed::Malformed),
            Err(_) => Some(Closed::Broken),
        },
        () = too_slow(&seat) => Some(Closed::TimedOut),
    };
    if let Some(closed) = closed {
        served.counts.closed.count(closed);
    }
}

/// Until too much time has passed since the last request.
async fn too_slow(seat: &Seat) {
    while let Some(active_at) = seat.active_at() {
        sleep_until(active_at + ANSWER_WITHIN).await;
        if seat.active_at() == Some(active_at) {
            break;
        }
    }
}

fn replied(status: StatusCode) -> Replied {
    match status {
        StatusCode::OK => Replied::Ok,
        StatusCode::NOT_FOUND => Replied::NotFound,
        StatusCode::FORBIDDEN => Replied::Forbidden,
        StatusCode::SERVICE_UNAVAILABLE => Replied::Unavailable,
        status if status.is_client_error() => Replied::BadRequest,
        _ => Replied::Failed,
    }
}

#[cfg(test)]
mod tests;
