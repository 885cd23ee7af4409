//! Options of the HTTP server.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use clap::{Args, ValueEnum};

/// Where metrics and incidents are served.
#[derive(Args, Clone, Debug)]
pub struct HttpOptions {
    /// Serve /metrics, /healthz, /readyz and /api/v1/incidents at this address: `[::]:9977` (IPv4 too),
    /// `127.0.0.1:9977`, or `:9977` for all addresses [default: nothing is served]
    #[arg(long, env = "OOMWATCH_LISTEN", value_parser = address, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Who may read incidents over HTTP. They have command lines, which may hold secrets
    #[arg(long, env = "OOMWATCH_API", value_enum, default_value_t = ApiChoice::Local)]
    pub api: ApiChoice,
}

/// Who may read incidents over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ApiChoice {
    /// Who asks from the same host or pod, as `kubectl port-forward` does
    Local,
    /// Everybody who can reach the address
    All,
    /// Nobody
    Off,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text.strip_prefix(':').and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port));
    }
    text.parse().map_err(|_| "not an address and port like [::]:9977, 127.0.0.1:9977 or :9977".to_owned())
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn an_address_has_a_port() {
        for (text, expected) in [
            (":9977", "[::]:9977"),
            ("[::1]:0", "[::1]:0"),
            ("127.0.0.1:9977", "127.0.0.1:9977"),
            ("", ""),
            ("9977", ""),
            ("localhost:9977", ""),
            ("127.0.0.1", ""),
            (":99999", ""),
        ] {
            let is = address(text).map_or(String::new(), |address| address.to_string());
            assert_eq!(is, expected, "{text}");
        }
    }
}
