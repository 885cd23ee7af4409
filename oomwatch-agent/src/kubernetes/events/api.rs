//! Requests to the API server about Events, tried again where that may help.

use std::{
    env,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use kube::{
    Client, Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use oomwatch_common::{escape::escape_bounded, kubernetes_event::Notice};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::book::{Order, Series};
use crate::{
    config::{EventsChoice, KubernetesOptions},
    kubernetes::{failure::deepest, token::bearer},
    refusal::Refusal,
    sys,
};

const GROUP: &str = "/apis/events.k8s.io/v1";
/// A qualified name, as the API server asks for.
const CONTROLLER: &str = "oomwatch.io/agent";
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_BYTES: usize = 64 * 1024;
/// Of what the API server says, for the log.
const QUOTED_BYTES: usize = 300;
/// The first try among them.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The crate would bring regular expressions and tables of Unicode; shims/jsonpath-rust, beside this folder, stands
/// where kube has it.
const NO_JSONPATH: &str = "its user logs in by an auth-provider with a token-key, which is JSONPath, and that is not \
    built in: kubectl has not had such logins since 1.26 either; let the user have exec, a token or a certificate";

/// Why Kubernetes was not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// An Event of this name exists: this incident has been told.
    AlreadyThere,
    /// The Event, its object or its namespace is gone.
    Gone(String),
    /// Not permitted.
    Denied(String),
    /// The API server finds fault with the Event.
    Faulty(String),
    /// No answer, or none that is one, however often it was tried.
    Unreachable(String),
}

/// A way to the API server.
pub struct Api {
    url: String,
    client: Client,
    /// Where the client does not know itself.
    token: Option<PathBuf>,
    /// It takes Events about a Node in `kube-system` only.
    is_old: AtomicBool,
}

/// How one try ended.
enum Try {
    Done(Result<Value, Refused>),
    Again(String, Option<Duration>),
}

impl Api {
    /// The API server that is to be told; `None` where nobody is, or where there is no way to one and none was asked
    /// for.
    ///
    /// To be called within a tokio runtime.
    ///
    /// # Errors
    /// A [`Refusal`] for a way that was asked for and cannot be gone.
    pub async fn wanted(options: &KubernetesOptions) -> Result<Option<Self>, Refusal> {
        if options.events == EventsChoice::Off {
            return Ok(None);
        }
        let api = Self::find(options).await?;
        if api.is_none() && options.events == EventsChoice::On {
            return Err(Refusal::usage(
                "--events on: no way to the API server: this is no pod with a service account, and there is no \
                 --kubeconfig",
            ));
        }
        Ok(api)
    }

    async fn find(options: &KubernetesOptions) -> Result<Option<Self>, Refusal> {
        let (mut config, token, from) = if let Some(path) = &options.kubeconfig {
            let from = format!("--kubeconfig {}", path.display());
            let wrong =
                |error: kube::config::KubeconfigError| Refusal::usage(format!("{from}: {}", deepest(&error)));
            let kubeconfig = Kubeconfig::read_from(path).map_err(wrong)?;
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
            let config = config.map_err(wrong)?;
            if needs_jsonpath(&config) {
                return Err(Refusal::usage(format!("{from}: {NO_JSONPATH}")));
            }
            (config, None, from)
        } else {
            let token = options.service_account.join("token");
            let address =
                env::var("KUBERNETES_SERVICE_HOST").ok().zip(env::var("KUBERNETES_SERVICE_PORT").ok());
            let Some((host, port)) = address.filter(|_| token.exists()) else { return Ok(None) };
            let from = format!("KUBERNETES_SERVICE_HOST={host} KUBERNETES_SERVICE_PORT={port}");
            let host = if host.contains(':') { format!("[{host}]") } else { host };
            let url = format!("https://{host}:{port}").parse();
            let mut config = Config::new(url.map_err(|error| Refusal::usage(format!("{from}: {error}")))?);
            config.root_cert = Some(Vec::new());
            config.root_cert_file = Some(options.service_account.join("ca.crt"));
            (config, Some(token), from)
        };
        config.connect_timeout = Some(CONNECT_WITHIN);
        config.default_retry = false;
        let url = config.cluster_url.to_string();
        let client = Client::try_from(config)
            .map_err(|error| Refusal::usage(format!("{from}: {}", deepest(&error))))?;
        Ok(Some(Self {
            url: url.trim_end_matches('/').to_owned(),
            client,
            token,
            is_old: AtomicBool::new(false),
        }))
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether whoever asks may do that, everywhere in the cluster: to a `resource`, or to a `resource/subresource`.
    ///
    /// # Errors
    /// Nobody answers, or not that.
    pub async fn may(&self, verb: &str, group: &str, resource: &str) -> Result<bool, Refused> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let attributes =
            json!({ "verb": verb, "group": group, "resource": resource, "subresource": subresource });
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": attributes },
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        match self.once(&Method::POST, path, "application/json", &review).await {
            Try::Done(answer) => {
                Ok(answer?.pointer("/status/allowed").and_then(Value::as_bool).unwrap_or(false))
            }
            Try::Again(why, _) => Err(Refused::Unreachable(why)),
        }
    }

    /// Makes a request, again where that may help.
    pub(super) async fn deliver(&self, order: &Order) -> Result<(), Refused> {
        let is_old = self.is_old.load(Ordering::Relaxed);
        match self.deliver_to(order, namespace(order.notice(), is_old)).await {
            // Kubernetes 1.20 (measured); newer ones take them in `default`, where the kubelet's own are.
            Err(Refused::Faulty(why)) if !is_old && why.contains("does not match event.namespace") => {
                self.is_old.store(true, Ordering::Relaxed);
                self.deliver_to(order, namespace(order.notice(), true)).await
            }
            result => result,
        }
    }

    async fn deliver_to(&self, order: &Order, namespace: &str) -> Result<(), Refused> {
        let (notice, method, content_type, body) = match order {
            Order::Create(notice, series) => {
                (notice, Method::POST, "application/json", event(notice, namespace, series.as_ref()))
            }
            Order::Fold(notice, series) => {
                let body = json!({ "series": written(series) });
                (notice, Method::PATCH, "application/merge-patch+json", body)
            }
        };
        if !is_name(namespace) || !is_name(&notice.name) {
            return Err(Refused::Faulty(format!("{namespace}/{} is no name", notice.name)));
        }
        let list = format!("{GROUP}/namespaces/{namespace}/events");
        let path = if method == Method::POST { list } else { format!("{list}/{}", notice.name) };
        let path = format!("{path}?fieldManager=oomwatch");
        let mut pause = FIRST_PAUSE;
        for tried in 1.. {
            match self.once(&method, &path, content_type, &body).await {
                Try::Done(result) => return result.map(drop),
                Try::Again(why, _) if tried == TRIES => return Err(Refused::Unreachable(why)),
                Try::Again(_, asked_for) => {
                    let asked_for = asked_for.unwrap_or_default().min(LONGEST_PAUSE);
                    sleep(asked_for.max(jittered(pause))).await;
                    pause *= 2;
                }
            }
        }
        Ok(())
    }

    async fn once(&self, method: &Method, path: &str, content_type: &str, body: &Value) -> Try {
        let answer = timeout(ANSWER_WITHIN, self.answer(method, path, content_type, body)).await;
        match answer.unwrap_or_else(|_| Err("it did not answer in time".to_owned())) {
            Ok((status, retry_after, body)) => judge(status, retry_after, &body, method),
            Err(why) => Try::Again(why, None),
        }
    }

    async fn answer(
        &self,
        method: &Method,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<(StatusCode, Option<Duration>, Vec<u8>), String> {
        let mut request =
            Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, content_type);
        if let Some(token) = &self.token {
            let bearer = bearer(token).map_err(|error| format!("{}: {error}", token.display()))?;
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let request = request.body(Body::from(body.to_string().into_bytes()));
        let request = request.map_err(|error| error.to_string())?;
        let response = self.client.send(request).await.map_err(|error| deepest(&error))?;
        let (head, body) = response.into_parts();
        let retry_after =
            head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body =
            Limited::new(body, ANSWER_BYTES).collect().await.map_err(|error| deepest(error.as_ref()))?;
        Ok((head.status, retry_after.map(Duration::from_secs), body.to_bytes().to_vec()))
    }
}

fn judge(status: StatusCode, retry_after: Option<Duration>, body: &[u8], method: &Method) -> Try {
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    let said = answer.as_ref().and_then(|answer| answer.get("message")?.as_str());
    let said = escape_bounded(said.map_or(body, str::as_bytes).trim_ascii(), QUOTED_BYTES);
    let why = if said.is_empty() { status.to_string() } else { format!("{status}: {said}") };
    // A namespace that is being deleted refuses what is new with the same status as RBAC does.
    let is_terminating = said.contains("being terminated");
    Try::Done(match status {
        _ if status.is_success() => match answer {
            Some(answer) => Ok(answer),
            None => return Try::Again(format!("it is no API server: {why}"), None),
        },
        StatusCode::CONFLICT if *method == Method::POST => Err(Refused::AlreadyThere),
        StatusCode::NOT_FOUND => Err(Refused::Gone(why)),
        StatusCode::FORBIDDEN if is_terminating => Err(Refused::Gone(why)),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Refused::Denied(why)),
        StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            return Try::Again(why, retry_after);
        }
        _ if status.is_server_error() => return Try::Again(why, retry_after),
        _ => Err(Refused::Faulty(why)),
    })
}

/// Whether kube would take the token out of what a program prints by JSONPath.
fn needs_jsonpath(config: &Config) -> bool {
    config.auth_info.auth_provider.as_ref().is_some_and(|login| login.config.contains_key("token-key"))
}

/// Where an Event is kept.
fn namespace(notice: &Notice, is_old: bool) -> &str {
    if is_old && notice.regarding.namespace.is_none() { "kube-system" } else { &notice.namespace }
}

/// The Event (k8s.io/api/events/v1 types.go).
fn event(notice: &Notice, namespace: &str, series: Option<&Series>) -> Value {
    let mut event = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": { "name": notice.name, "namespace": namespace },
        "eventTime": notice.time,
        "reportingController": CONTROLLER,
        "reportingInstance": notice.instance,
        "action": "Killed",
        "reason": "OOMKill",
        "regarding": notice.regarding,
        "note": notice.note,
        "type": "Warning",
    });
    if let (Some(series), Some(fields)) = (series, event.as_object_mut()) {
        fields.insert("series".to_owned(), written(series));
    }
    event
}

fn written(series: &Series) -> Value {
    json!({ "count": series.count, "lastObservedTime": series.last })
}

/// What may stand in the path of a request: a DNS subdomain.
fn is_name(name: &str) -> bool {
    let admitted =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(admitted)
}

/// Between half of it and all: the agents of a cluster must not try again as one.
fn jittered(pause: Duration) -> Duration {
    let random = u32::try_from(sys::boottime().0 % 1000).unwrap_or(0);
    pause / 2 + pause / 2000 * random
}

#[cfg(test)]
mod tests;
