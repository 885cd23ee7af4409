//! The API server: Events of `events.k8s.io/v1`, and whether one may make them. `DIR/api/mode` is one of
//!
//! `ok` · `401` `403` `404` `409` `422` `500` `503` · `429` (Retry-After: 1) · `terminating` (a 403 that is not about
//! rights) · `hang` · `slow MS` · `close` · `garbage`; `MODE N` holds for N requests.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{events, files::Folder, http::Exchange};

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const TERMINATING: &str = "events \"x\" is forbidden: unable to create new content in namespace shop because it is \
                           being terminated";

/// A status and what stands in the answer.
type Answered = (u16, Value);

pub(crate) fn answer(folder: &Folder, exchange: Exchange<'_>) -> Result<()> {
    let mode = folder.mode("api");
    let mode: Vec<&str> = mode.iter().map(String::as_str).collect();
    if let ["hang" | "close" | "garbage"] = mode.as_slice() {
        folder.note("api", &format!("{} {} {}", exchange.method, exchange.path, mode.concat()));
    }
    let (status, body) = match mode.as_slice() {
        ["hang"] => return exchange.hang(),
        ["close"] => return exchange.break_off(),
        ["garbage"] => return exchange.answer(200, "<html>"),
        ["slow", milliseconds] => {
            sleep(Duration::from_millis(milliseconds.parse()?));
            handle(folder, &exchange)
        }
        ["terminating"] => failure(403, "Forbidden", TERMINATING),
        [status] if status.parse::<u16>().is_ok() => failure(status.parse()?, "Told", "as it was told to"),
        _ => handle(folder, &exchange),
    };
    folder.note("api", &format!("{} {} {status}", exchange.method, exchange.path));
    let retry = if status == 429 { "Retry-After: 1\r\n" } else { "" };
    exchange.answer_with(status, retry, &body.to_string())
}

fn handle(folder: &Folder, exchange: &Exchange<'_>) -> Answered {
    if !folder.is_permitted(exchange.authorization.as_deref()) {
        return failure(401, "Unauthorized", "Unauthorized");
    }
    let body = serde_json::from_slice(&exchange.body).unwrap_or(Value::Null);
    let verb = match exchange.method.as_str() {
        "POST" => "create",
        "PATCH" => "patch",
        _ => "get",
    };
    if exchange.path == REVIEWS {
        let verb = body.pointer("/spec/resourceAttributes/verb").and_then(Value::as_str).unwrap_or_default();
        return (
            201,
            json!({ "kind": "SelfSubjectAccessReview", "status": { "allowed": may(folder, verb) } }),
        );
    }
    let Some(rest) = exchange.path.strip_prefix(EVENTS) else {
        return failure(404, "NotFound", "the server could not find the requested resource");
    };
    if !may(folder, verb) {
        let text = format!("events.events.k8s.io is forbidden: User \"x\" cannot {verb} resource \"events\"");
        return failure(403, "Forbidden", &text);
    }
    let parts: Vec<&str> = rest.split('/').collect();
    match (verb, parts.as_slice()) {
        ("create", [namespace, "events"]) => create(folder, namespace, body),
        ("patch", [namespace, "events", name]) => {
            if exchange.content_type.as_deref() != Some("application/merge-patch+json") {
                return failure(
                    415,
                    "UnsupportedMediaType",
                    "the body of the request was in an unknown format",
                );
            }
            patch(folder, namespace, name, &body)
        }
        _ => failure(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ),
    }
}

fn create(folder: &Folder, namespace: &str, mut event: Value) -> Answered {
    if let Err(fault) = events::check(&event, namespace, folder.path("api/old").exists()) {
        return failure(422, "Invalid", &format!("Event is invalid: {fault}"));
    }
    let name = event.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    folder.alone(|| {
        let file = file(folder, namespace, &name);
        if file.exists() {
            return failure(409, "AlreadyExists", &format!("events \"{name}\" already exists"));
        }
        if let Some(metadata) = event.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("resourceVersion".to_owned(), json!("1"));
        }
        keep(folder, &file, &event);
        (201, event)
    })
}

fn patch(folder: &Folder, namespace: &str, name: &str, patch: &Value) -> Answered {
    folder.alone(|| {
        let file = file(folder, namespace, name);
        let kept = fs::read(&file).ok().and_then(|kept| serde_json::from_slice::<Value>(&kept).ok());
        let Some(mut event) = kept else {
            return failure(404, "NotFound", &format!("events \"{name}\" not found"));
        };
        if let Err(fault) = events::merge(&mut event, patch) {
            return failure(422, "Invalid", &format!("Event is invalid: {fault}"));
        }
        keep(folder, &file, &event);
        (200, event)
    })
}

fn keep(folder: &Folder, file: &Path, event: &Value) {
    if let Some(namespace) = file.parent() {
        drop(fs::create_dir_all(namespace));
    }
    // In one step: whoever looks meanwhile finds no half of it. Where it fails, the test does not find its Event.
    let partial = folder.path("api/partial");
    drop(fs::write(&partial, event.to_string()).and_then(|()| fs::rename(&partial, file)));
}

fn file(folder: &Folder, namespace: &str, name: &str) -> PathBuf {
    folder.path("api/events").join(namespace).join(format!("{name}.json"))
}

fn may(folder: &Folder, verb: &str) -> bool {
    let allowed = folder.read("api/allowed").unwrap_or_else(|| "create\npatch\n".to_owned());
    allowed.lines().any(|allowed| allowed == verb)
}

fn failure(status: u16, reason: &str, message: &str) -> Answered {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": status,
    });
    (status, body)
}
