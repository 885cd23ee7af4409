//! Why the kubelet gave no list of pods, and what to change.

use std::{error::Error, fmt};

use http::StatusCode;
use oomwatch_common::{escape::escape_bounded, pods::ListError};

use super::outcomes::Outcome;

/// What is quoted of an answer.
const QUOTED_BYTES: usize = 200;

/// Why there is no list of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection could not be made, or broke.
    Unreachable(String),
    /// It did not end in time.
    TimedOut,
    /// The certificate is not to be trusted, or not the node's.
    Certificate(String),
    /// Another status than 200, and what stands in the answer.
    Status(StatusCode, String),
    /// The answer is no list of pods.
    Answer(ListError),
    /// The answer does not end.
    TooLong,
    /// The token's file could not be read.
    Token(String),
}

impl Failure {
    /// An error of the client.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let text = deepest(error);
        if text.contains("certificate") {
            Self::Certificate(text)
        } else if text.contains("timed out") || text.contains("deadline has elapsed") {
            Self::TimedOut
        } else {
            Self::Unreachable(text)
        }
    }

    /// An answer with another status than 200.
    pub(super) fn status(status: StatusCode, body: &[u8]) -> Self {
        let said = escape_bounded(body.trim_ascii(), QUOTED_BYTES);
        Self::Status(status, said)
    }

    /// The certificate is trusted, but has another name.
    pub(super) fn is_wrong_name(&self) -> bool {
        matches!(self, Self::Certificate(text) if text.contains("not valid for name"))
    }

    /// openssl makes such ones unless it is told otherwise; rustls takes none.
    fn is_ca_itself(&self) -> bool {
        matches!(self, Self::Certificate(text) if text.contains("CaUsedAsEndEntity"))
    }

    /// Of which kind it is.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Unreachable(_) => Outcome::Unreachable,
            Self::TimedOut => Outcome::TimedOut,
            Self::Certificate(_) => Outcome::Certificate,
            Self::Status(StatusCode::UNAUTHORIZED, _) => Outcome::Unauthorized,
            Self::Status(StatusCode::FORBIDDEN, _) => Outcome::Forbidden,
            Self::Status(StatusCode::NOT_FOUND, _) => Outcome::NotFound,
            Self::Status(..) => Outcome::OtherStatus,
            Self::Answer(_) | Self::TooLong => Outcome::Malformed,
            Self::Token(_) => Outcome::NoToken,
        }
    }

    /// Whether it may be otherwise in a second: a report still waits then.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::TimedOut | Self::Answer(ListError::Truncated) => true,
            Self::Status(status, _) => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Self::Certificate(_) | Self::Answer(_) | Self::TooLong | Self::Token(_) => false,
        }
    }

    /// What to change, for the one who reads the log.
    pub fn cure(&self) -> &'static str {
        match self.outcome() {
            Outcome::Certificate if self.is_wrong_name() => {
                "its certificate is for another name: set --node-name to the node's name as Kubernetes has it"
            }
            Outcome::Certificate if self.is_ca_itself() => {
                "the kubelet serves a CA's own certificate: give it one that is signed by the CA \
                 (tlsCertFile in its configuration)"
            }
            Outcome::Certificate => {
                "give --kubelet-ca the certificate that the kubelet's is signed by (kubelets sign their own unless \
                 serverTLSBootstrap is on), or, knowing the risk, --kubelet-insecure-tls"
            }
            Outcome::Unauthorized => {
                "the kubelet does not take this token: it must be of this cluster, and the kubelet needs \
                 authentication.webhook and the API server to check it"
            }
            Outcome::Forbidden => {
                "grant the service account `get` on nodes/pods; a kubelet before 1.33 asks for nodes/proxy \
                 (deploy/overlays/old-kubelet)"
            }
            Outcome::Malformed if self.may_pass() => {
                "the kubelet was ended while it answered: see its own log"
            }
            Outcome::NotFound | Outcome::Malformed => "what answers there is not a kubelet: check --kubelet",
            Outcome::Unreachable | Outcome::TimedOut => {
                "check --node-ip or --kubelet, and that a network policy lets the agent reach the node's port 10250"
            }
            Outcome::NoToken => "the service account's token must be mounted, or given by --kubelet-token",
            Outcome::OtherStatus | Outcome::Answered => "see the kubelet's own log",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "the kubelet is not reachable: {why}"),
            Self::TimedOut => f.write_str("the kubelet did not answer in time"),
            Self::Certificate(why) => write!(f, "the kubelet's certificate is not trusted: {why}"),
            Self::Status(status, said) if said.is_empty() => write!(f, "the kubelet answered {status}"),
            Self::Status(status, said) => write!(f, "the kubelet answered {status}: {said}"),
            Self::Answer(error) => write!(f, "the kubelet: {error}"),
            Self::TooLong => f.write_str("the kubelet's answer does not end"),
            Self::Token(why) => write!(f, "no token for the kubelet: {why}"),
        }
    }
}

impl Error for Failure {}

/// The cause behind the wrappings: `client error (Connect)` says nothing.
pub(super) fn deepest(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    let text = error.to_string();
    // rustls: ends without a farewell, and a page of its manual.
    if text.contains("close_notify") { "the connection broke".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_waited_for_and_the_rest_is_not() {
        for (failure, outcome, passes) in [
            (Failure::Unreachable("refused".to_owned()), Outcome::Unreachable, true),
            (Failure::TimedOut, Outcome::TimedOut, true),
            (Failure::Certificate("unknown issuer".to_owned()), Outcome::Certificate, false),
            (Failure::status(StatusCode::UNAUTHORIZED, b"Unauthorized"), Outcome::Unauthorized, false),
            (Failure::status(StatusCode::FORBIDDEN, b""), Outcome::Forbidden, false),
            (Failure::status(StatusCode::NOT_FOUND, b""), Outcome::NotFound, false),
            (Failure::status(StatusCode::SERVICE_UNAVAILABLE, b""), Outcome::OtherStatus, true),
            (Failure::status(StatusCode::TOO_MANY_REQUESTS, b""), Outcome::OtherStatus, true),
            (Failure::status(StatusCode::FOUND, b""), Outcome::OtherStatus, false),
            (Failure::Answer(ListError::Truncated), Outcome::Malformed, true),
            (Failure::Answer(ListError::TooMany), Outcome::Malformed, false),
            (Failure::TooLong, Outcome::Malformed, false),
            (Failure::Token("gone".to_owned()), Outcome::NoToken, false),
        ] {
            assert_eq!((failure.outcome(), failure.may_pass()), (outcome, passes), "{failure:?}");
            assert!(!failure.cure().is_empty() && !failure.to_string().contains('\n'), "{failure}");
        }
    }

    #[test]
    fn what_a_server_says_is_quoted_safely_and_not_at_length() {
        let failure =
            Failure::status(StatusCode::FORBIDDEN, format!("\u{1b}[2J{}", "a".repeat(5000)).as_bytes());
        let text = failure.to_string();
        assert!(text.contains("403 Forbidden: \\x1b[2Jaaa") && text.len() < 300, "{text}");
    }
}
