//! HTTP/1.1 over TLS, for the kubelet and the API server: whom to trust, by what name, and who asks.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, Uri, uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};

/// A connection that is not needed for longer is closed: the next question comes within a minute, as a rule.
const KEPT: Duration = Duration::from_secs(90);

/// What the certificate of whoever answers is checked against.
#[derive(Clone, Debug)]
pub(super) enum Trust {
    /// Nothing: whoever answers is believed.
    Anyone,
    /// These certificates, PEM.
    Certificates(Vec<u8>),
    /// Those that the system trusts.
    System,
}

/// With what one proves who asks, PEM.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// The certificate, and those that it is signed by.
    pub(super) certificates: Vec<u8>,
    /// Its key.
    pub(super) key: Vec<u8>,
}

/// How a server is reached.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// `https://HOST:PORT`, or with `http:`; a path is put before all others.
    pub(super) url: Uri,
    /// Against what its certificate is checked.
    pub(super) trust: Trust,
    /// The name that its certificate must have, where that is not its address.
    pub(super) server_name: Option<String>,
    /// For servers that ask for a certificate.
    pub(super) identity: Option<Identity>,
    /// How long connecting may take.
    pub(super) connect_within: Duration,
}

/// Why there is no way, or no answer.
pub(super) type Failed = Box<dyn Error + Send + Sync>;

/// A server that can be asked.
pub(super) struct Client {
    way: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Uri,
}

impl Client {
    /// Connects to nobody yet. To be called within a tokio runtime.
    ///
    /// # Errors
    /// What was given is no certificate, key or name.
    pub(super) fn new(way: &Way) -> Result<Self, Failed> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(way.connect_within));
        http.set_nodelay(true);
        let builder = HttpsConnectorBuilder::new().with_tls_config(config(way)?).https_or_http();
        let builder = match &way.server_name {
            Some(name) => {
                let name = ServerName::try_from(name.clone())?;
                builder.with_server_name_resolver(FixedServerNameResolver::new(name))
            }
            None => builder,
        };
        let connector = builder.enable_http1().wrap_connector(http);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(KEPT)
            .pool_max_idle_per_host(1)
            .build(connector);
        Ok(Self { way: client, url: way.url.clone() })
    }

    /// Sends a request, of which the address has only path and query; gives the answer's head, its body is yet to come.
    ///
    /// # Errors
    /// There is no connection, or it broke.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failed> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", uri::PathAndQuery::as_str);
        let before = self.url.path().trim_end_matches('/');
        let mut whole = self.url.clone().into_parts();
        whole.path_and_query = Some(format!("{before}{path}").parse()?);
        head.uri = Uri::from_parts(whole)?;
        Ok(self.way.request(Request::from_parts(head, body)).await?)
    }
}

fn config(way: &Way) -> Result<ClientConfig, Failed> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match &way.trust {
        Trust::Anyone => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider))),
        Trust::Certificates(pem) => builder.with_root_certificates(roots(pem)?),
        Trust::System => builder.with_root_certificates(system_roots()?),
    };
    Ok(match &way.identity {
        Some(identity) => builder.with_client_auth_cert(
            certificates(&identity.certificates)?,
            PrivateKeyDer::from_pem_slice(&identity.key).map_err(|error| format!("no key: {error}"))?,
        )?,
        None => builder.with_no_client_auth(),
    })
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Failed> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("no certificate: {error}"))?;
    if found.is_empty() { Err("there is no certificate in it".into()) } else { Ok(found) }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, Failed> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, Failed> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    match found.errors.into_iter().next() {
        Some(error) if taken == 0 => Err(Box::new(error)),
        None if taken == 0 => Err("this system trusts no certificates: name those of the server".into()),
        _ => Ok(roots),
    }
}

/// Believes every certificate, if only it signed what was said.
struct Anyone(Arc<CryptoProvider>);

impl fmt::Debug for Anyone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Anyone")
    }
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
