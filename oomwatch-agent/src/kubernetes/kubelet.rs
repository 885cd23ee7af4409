//! The kubelet's `GET /pods`, over TLS that is verified unless it was loudly asked not to.
//!
//! A kubelet's certificate is by default signed by itself, for the node's name and no address (`cmd/kubelet/app/
//! server.go` of Kubernetes); with `serverTLSBootstrap` it is signed by the cluster. So the name that is checked is
//! the node's, and only where the certificate does not have it, the address.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use kube::{Client, Config, client::Body};
use oomwatch_common::pods::{ListReader, PodList};
use tokio::time::timeout;

use super::{failure::Failure, token::bearer};
use crate::{
    config::{KubeletChoice, KubernetesOptions, PodSource},
    refusal::Refusal,
};

/// The kubelet's port unless it was configured otherwise.
const PORT: u16 = 10250;
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// From the request to the end of the answer: a node that thrashes is slow, and a report does not wait for this.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Far more than any node's list. It is never held in memory as a whole.
const ANSWER_BYTES: u64 = 128 << 20;
/// Of an answer that is an error.
const ERROR_BYTES: usize = 4096;

/// A way to the kubelet.
pub struct Kubelet {
    url: String,
    token: Option<PathBuf>,
    /// Every way to verify its certificate, the likeliest first: by each set of certificates, for the node's name and
    /// for the address.
    clients: Vec<Client>,
    /// The one that did.
    verifying: AtomicUsize,
}

impl Kubelet {
    /// The kubelet that the options name; `None` where they name none, or where this is no pod.
    ///
    /// To be called within a tokio runtime.
    ///
    /// # Errors
    /// A [`Refusal`] for what cannot work.
    pub fn new(options: &KubernetesOptions, node: &str) -> Result<Option<Self>, Refusal> {
        let own_token = options.service_account.join("token");
        let url = match &options.kubelet {
            _ if !options.pod_sources.contains(&PodSource::Kubelet) => return Ok(None),
            KubeletChoice::Off => return Ok(None),
            KubeletChoice::Auto if options.kubelet_token.is_none() && !own_token.exists() => return Ok(None),
            KubeletChoice::Auto => match options.node_ip {
                Some(address) => format!("https://{}", std::net::SocketAddr::new(address, PORT)),
                None => format!("https://127.0.0.1:{PORT}"),
            },
            KubeletChoice::At(url) => url.clone(),
        };
        let token = options.kubelet_token.clone().or_else(|| own_token.exists().then_some(own_token));
        let mut clients = Vec::new();
        for trust in trusts(&url, options)? {
            // A node's name may be none that a certificate can have.
            clients.extend(client(&url, &trust, Some(node)));
            clients.push(client(&url, &trust, None).map_err(|error| trust.refusal(&url, &error))?);
        }
        if options.kubelet_insecure_tls {
            tracing::warn!(
                %url,
                "--kubelet-insecure-tls: whoever answers there is taken for the kubelet, and is sent the token"
            );
        }
        Ok(Some(Self { url, token, clients, verifying: AtomicUsize::new(0) }))
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The pods of the node, within some seconds.
    ///
    /// # Errors
    /// Why there is no list.
    pub async fn pods(&self) -> Result<PodList, Failure> {
        timeout(ANSWER_WITHIN, self.pods_by_any_certificate()).await.unwrap_or(Err(Failure::TimedOut))
    }

    async fn pods_by_any_certificate(&self) -> Result<PodList, Failure> {
        let begin_with = self.verifying.load(Ordering::Relaxed);
        let ways = self.clients.iter().enumerate();
        let mut refused = None;
        for (index, client) in ways.cycle().skip(begin_with).take(self.clients.len()) {
            match self.ask(client).await {
                // Of several, the reason why the likeliest did not.
                Err(failure @ Failure::Certificate(_)) => refused = refused.or(Some(failure)),
                result => {
                    self.verifying.store(index, Ordering::Relaxed);
                    return result;
                }
            }
        }
        self.verifying.store(0, Ordering::Relaxed);
        Err(refused.unwrap_or_else(|| Failure::Certificate("nothing to check it against".to_owned())))
    }

    async fn ask(&self, client: &Client) -> Result<PodList, Failure> {
        let mut request = Request::get("/pods");
        if let Some(token) = &self.token {
            let bearer =
                bearer(token).map_err(|error| Failure::Token(format!("{}: {error}", token.display())))?;
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let request = request.body(Body::empty()).map_err(|error| Failure::of(&error))?;
        let response = client.send(request).await.map_err(|error| Failure::of(&error))?;
        let (head, mut body) = response.into_parts();
        let (mut reader, mut refused, mut length) = (ListReader::default(), Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::of(&error))?;
            let Some(bytes) = frame.data_ref() else { continue };
            length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            if length > ANSWER_BYTES {
                return Err(Failure::TooLong);
            }
            if head.status == StatusCode::OK {
                reader.push(bytes).map_err(Failure::Answer)?;
            } else {
                refused.extend(bytes.iter().take(ERROR_BYTES - refused.len()));
                if refused.len() == ERROR_BYTES {
                    break;
                }
            }
        }
        if head.status == StatusCode::OK {
            reader.finish().map_err(Failure::Answer)
        } else {
            Err(Failure::status(head.status, &refused))
        }
    }
}

/// What a certificate is checked against.
enum Trust {
    /// Nothing: whoever answers is believed.
    Anyone,
    /// The certificates in this file.
    File(PathBuf),
}

impl Trust {
    fn refusal(&self, url: &str, error: &kube::Error) -> Refusal {
        Refusal::usage(match self {
            Self::File(file) => format!("certificates of {}: {}", file.display(), Failure::of(error)),
            Self::Anyone => format!("--kubelet {url}: {error}"),
        })
    }
}

fn trusts(url: &str, options: &KubernetesOptions) -> Result<Vec<Trust>, Refusal> {
    if options.kubelet_insecure_tls || url.starts_with("http:") {
        return Ok(vec![Trust::Anyone]);
    }
    let own_ca = Some(options.service_account.join("ca.crt")).filter(|ca| ca.exists());
    let trusts: Vec<Trust> = options.kubelet_ca.iter().cloned().chain(own_ca).map(Trust::File).collect();
    if trusts.is_empty() {
        let text =
            format!("--kubelet {url}: nothing to check its certificate against: give --kubelet-ca FILE");
        return Err(Refusal::usage(text));
    }
    Ok(trusts)
}

fn client(url: &str, trust: &Trust, server_name: Option<&str>) -> Result<Client, kube::Error> {
    let uri = url.parse().map_err(|error: http::uri::InvalidUri| kube::Error::HttpError(error.into()))?;
    let mut config = Config::new(uri);
    config.connect_timeout = Some(CONNECT_WITHIN);
    config.default_retry = false;
    config.tls_server_name = server_name.map(str::to_owned);
    // Else the certificates of the system are looked for, and a container from scratch has none.
    config.root_cert = Some(Vec::new());
    match trust {
        Trust::Anyone => config.accept_invalid_certs = true,
        Trust::File(file) => config.root_cert_file = Some(file.clone()),
    }
    Client::try_from(config)
}
