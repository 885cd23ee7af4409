//! Options about Kubernetes: where pods are learnt of, and who is told.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

/// How the kubelet and the API server are reached.
#[derive(Args, Clone, Debug)]
pub struct KubernetesOptions {
    /// Where the kubelet is: `https://HOST:PORT`, `off` (no names of pods at all), or `auto`: port 10250 of
    /// --node-ip, where there is a service account's token
    #[arg(long, env = "OOMWATCH_KUBELET", default_value = "auto", value_parser = kubelet_choice,
        value_name = "auto|off|URL")]
    pub kubelet: KubeletChoice,
    /// Where the names of pods come from, in this order: the kubelet's list, the names of the node's log files
    #[arg(long, env = "OOMWATCH_POD_SOURCES", value_enum, value_delimiter = ',',
        default_values_t = [PodSource::Kubelet, PodSource::Logs], value_name = "LIST")]
    pub pod_sources: Vec<PodSource>,
    /// Address of this node, by which the kubelet is reached [default: 127.0.0.1]
    #[arg(long, env = "OOMWATCH_NODE_IP", value_name = "ADDRESS")]
    pub node_ip: Option<IpAddr>,
    /// Certificates (PEM) that the kubelet's is checked against [default: the service account's ca.crt]
    #[arg(long, env = "OOMWATCH_KUBELET_CA", value_name = "FILE")]
    pub kubelet_ca: Option<PathBuf>,
    /// Bearer token for the kubelet, read anew as it rotates [default: the service account's]
    #[arg(long, env = "OOMWATCH_KUBELET_TOKEN", value_name = "FILE")]
    pub kubelet_token: Option<PathBuf>,
    /// Do not check who answers as the kubelet: whoever can take its address is given the token
    #[arg(long, env = "OOMWATCH_KUBELET_INSECURE_TLS")]
    pub kubelet_insecure_tls: bool,
    /// How often the kubelet's list is fetched when nothing happens, seconds
    #[arg(long, env = "OOMWATCH_KUBELET_POLL_SECONDS", default_value_t = 60,
        value_parser = clap::value_parser!(u32).range(1..=86_400), value_name = "SECONDS")]
    pub kubelet_poll_seconds: u32,
    /// How long a report may wait for the names of its pod, from the kill on, milliseconds
    #[arg(long, env = "OOMWATCH_REPORT_DEADLINE_MS", default_value_t = 2000,
        value_parser = clap::value_parser!(u32).range(0..=60_000), value_name = "MS")]
    pub report_deadline_ms: u32,
    /// Where the host's /var/log is mounted: pods/ and containers/ in it tell names where the kubelet does not
    #[arg(long, env = "OOMWATCH_VAR_LOG", default_value = "/var/log", value_name = "DIR")]
    pub var_log: PathBuf,
    /// Tell Kubernetes of each kill by an Event on the pod, or on the Node; `auto` does where there is a way to the
    /// API server
    #[arg(long, env = "OOMWATCH_EVENTS", value_enum, default_value_t = EventsChoice::Auto)]
    pub events: EventsChoice,
    /// How the API server is reached, by any login but an auth-provider with a token-key [default: the pod's service
    /// account]
    #[arg(long, env = "OOMWATCH_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Where the service account's token and ca.crt are
    #[arg(
        long,
        env = "OOMWATCH_SERVICE_ACCOUNT",
        value_name = "DIR",
        default_value = "/var/run/secrets/kubernetes.io/serviceaccount"
    )]
    pub service_account: PathBuf,
}

impl KubernetesOptions {
    /// How long a report may wait.
    pub fn report_deadline(&self) -> Duration {
        Duration::from_millis(self.report_deadline_ms.into())
    }

    /// The time between two fetches when nothing happens.
    pub fn kubelet_poll(&self) -> Duration {
        Duration::from_secs(self.kubelet_poll_seconds.into())
    }
}

/// Where the kubelet is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubeletChoice {
    /// Where this is a pod: on its node.
    Auto,
    /// Not asked, and no names of pods at all.
    Off,
    /// There.
    At(String),
}

/// A source of the names of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PodSource {
    /// GET /pods
    Kubelet,
    /// Names below /var/log/pods and /var/log/containers
    Logs,
}

/// Whether Kubernetes is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EventsChoice {
    /// Where there is a way to the API server
    Auto,
    /// Yes; the start fails where there is no way to the API server
    On,
    /// No
    Off,
}

fn kubelet_choice(text: &str) -> Result<KubeletChoice, String> {
    match text {
        "auto" => Ok(KubeletChoice::Auto),
        "off" => Ok(KubeletChoice::Off),
        url => {
            let uri: http::Uri = url.parse().map_err(|error| format!("not a URL: {error}"))?;
            match uri.scheme_str() {
                Some("https" | "http") if uri.host().is_some_and(|host| !host.is_empty()) => {
                    Ok(KubeletChoice::At(url.trim_end_matches('/').to_owned()))
                }
                _ => Err("neither auto, off, nor https://HOST:PORT".to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelet_is_auto_off_or_a_url() {
        let at = |url: &str| Ok(KubeletChoice::At(url.to_owned()));
        assert_eq!(kubelet_choice("auto"), Ok(KubeletChoice::Auto));
        assert_eq!(kubelet_choice("off"), Ok(KubeletChoice::Off));
        assert_eq!(kubelet_choice("https://10.0.0.1:10250/"), at("https://10.0.0.1:10250"));
        assert_eq!(kubelet_choice("https://[fd00::1]:10250"), at("https://[fd00::1]:10250"));
        for wrong in ["", "no", "10.0.0.1:10250", "https://", "ftp://10.0.0.1", "https://a b"] {
            assert!(kubelet_choice(wrong).is_err(), "{wrong}");
        }
    }
}
