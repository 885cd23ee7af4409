//! Where incidents are read: a journal's directory, or an agent's API.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use oomwatch_common::query::Filter;

use super::api::Api;
use crate::{
    config::EventsOptions,
    history::{Order, Query, Reader},
    refusal::Refusal,
};

/// Where packages and this project's own examples keep the journal.
const USUAL_JOURNAL: &str = "/var/lib/oomwatch";

/// Where incidents are read.
pub(super) enum Source {
    Journal(PathBuf, Reader),
    Api(Api),
}

/// What is asked for.
pub(super) struct Asked<'a> {
    pub(super) filter: &'a Filter,
    pub(super) order: Order,
    pub(super) limit: usize,
    pub(super) cursor: Option<String>,
}

/// The answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Each report's JSON.
    pub(super) reports: Vec<String>,
    pub(super) next: Option<String>,
}

impl Source {
    /// What is named, else what is there.
    pub(super) fn of(options: &EventsOptions) -> Result<Self, Refusal> {
        if let Some(url) = &options.url {
            let api = Api::at(url).map_err(|why| Refusal::usage(format!("--url {url}: {why}")))?;
            return Ok(Self::Api(api));
        }
        if let Some(dir) = &options.journal {
            if !dir.is_dir() {
                let dir = dir.display();
                return Err(Refusal::failed(format!(
                    "{dir}: there is no journal: `oomwatch run --journal DIR` keeps one; or ask an agent by --url"
                )));
            }
            return Ok(Self::journal(dir));
        }
        if let Some(address) = options.listen.as_deref().and_then(address) {
            return Ok(Self::Api(Api::of(address)));
        }
        if Path::new(USUAL_JOURNAL).is_dir() {
            return Ok(Self::journal(Path::new(USUAL_JOURNAL)));
        }
        Err(Refusal::usage(
            "nothing to read: give --journal DIR, where `oomwatch run --journal DIR` keeps incidents, or \
             --url http://HOST:PORT of a running agent",
        ))
    }

    fn journal(dir: &Path) -> Self {
        Self::Journal(dir.to_owned(), Reader::new(dir))
    }

    /// One page.
    pub(super) async fn page(&self, asked: &Asked<'_>) -> Result<Answer, String> {
        match self {
            Self::Api(api) => api.page(asked).await,
            Self::Journal(_, reader) => {
                let query = Query {
                    filter: asked.filter.clone(),
                    order: asked.order,
                    limit: asked.limit,
                    cursor: asked.cursor.as_deref().map(str::parse).transpose()?,
                };
                // Nothing else runs here that a slow disk could hold up.
                let page = reader.page(&query).map_err(|error| error.to_string())?;
                Ok(Answer { reports: page.reports, next: page.next.map(|cursor| cursor.to_string()) })
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(dir, _) => write!(f, "{}", dir.display()),
            Self::Api(api) => write!(f, "{api}"),
        }
    }
}

/// Where to reach what listens there; `None` where nothing does. What is wrong with it is for `run` to say.
fn address(listen: &str) -> Option<SocketAddr> {
    let port = listen.strip_prefix(':').unwrap_or(listen).parse::<u16>();
    let address = match port {
        Ok(port) => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        Err(_) => listen.parse().ok()?,
    };
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Some(SocketAddr::new(ip, address.port())).filter(|address| address.port() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_reached_by_loopback() {
        for (listen, expected) in [
            ("0.0.0.0:9977", Some("127.0.0.1:9977")),
            ("[::]:9977", Some("[::1]:9977")),
            (":9977", Some("127.0.0.1:9977")),
            ("9977", Some("127.0.0.1:9977")),
            ("10.0.0.5:80", Some("10.0.0.5:80")),
            ("[fd00::1]:80", Some("[fd00::1]:80")),
            ("127.0.0.1:0", None),
            ("off", None),
            ("", None),
            ("host:80", None),
        ] {
            assert_eq!(address(listen).map(|address| address.to_string()).as_deref(), expected, "{listen}");
        }
    }
}
