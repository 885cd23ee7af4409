//! Whether Kubernetes can be told of kills, and whether the agent may do more than it should.

use tokio::{
    runtime::{Handle, Runtime},
    task::spawn_blocking,
    time::timeout,
};

use super::{ANSWER_WITHIN, Line, Look};
use crate::{
    config::{EventsChoice, KubernetesOptions},
    kubernetes::events::{Api, Refused},
    refusal::Refusal,
};

/// The API server that `run` would tell. A kubeconfig may name a program that gives the token, and wait for it without
/// an end, so it is read on a thread that can be left behind.
pub(super) fn way(runtime: &Runtime, options: &KubernetesOptions) -> Result<Option<Api>, Refusal> {
    let options = options.clone();
    let look = || spawn_blocking(move || Handle::current().block_on(Api::wanted(&options)));
    match runtime.block_on(async { timeout(ANSWER_WITHIN, look()).await }) {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => Err(Refusal::failed(format!("looking for the API server: {error}"))),
        Err(_) => {
            Err(Refusal::failed("looking for the API server took more than 3 s: is --kubeconfig right?"))
        }
    }
}

/// What a question about rights came to.
type Answer = Result<bool, Refused>;

fn ask(look: &Look<'_>, api: &Api, verb: &str, group: &str, resource: &str) -> Answer {
    let answer =
        look.runtime.block_on(async { timeout(ANSWER_WITHIN, api.may(verb, group, resource)).await });
    answer.unwrap_or_else(|_| Err(Refused::Unreachable("it did not answer in time".to_owned())))
}

/// Whether Events may be made, and where so, whether the agent may do more than it should.
pub(super) fn events(look: &Look<'_>) -> Vec<Line> {
    let line = match &look.api {
        Err(refusal) => Line::refused("events", refusal),
        Ok(None) if look.options.kubernetes.events == EventsChoice::Off => {
            Line::not_applicable("events", "nobody is told, by --events off")
        }
        Ok(None) => Line::not_applicable(
            "events",
            "nobody is told: this is no pod with a service account, and --kubeconfig names no API server",
        ),
        Ok(Some(api)) => {
            let may = |verb| ask(look, api, verb, "events.k8s.io", "events");
            // One that does not answer is not asked twice.
            let answer = may("create").and_then(|create| Ok((create, may("patch")?)));
            let answered = answer.is_ok();
            let mut lines = vec![judge(answer, api.url())];
            // A person's kubeconfig is not what the agent has.
            if answered && look.options.kubernetes.kubeconfig.is_none() {
                lines.extend(judge_proxy(&ask(look, api, "get", "", "nodes/proxy")));
            }
            return lines;
        }
    };
    vec![line]
}

fn judge(may: Result<(bool, bool), Refused>, url: &str) -> Line {
    let role = "apply the ClusterRole of deploy/base/rbac.yaml and its binding: create and patch on events of \
                events.k8s.io";
    match may {
        Ok((true, true)) => Line::ok("events", format!("{url}: Events may be created and patched")),
        Ok((true, false)) => Line::degraded(
            "events",
            format!("{url}: Events may be created but not patched: repeated kills are not counted in them"),
            role,
        ),
        Ok((false, _)) => {
            Line::degraded("events", format!("{url}: Events may not be created: nobody is told"), role)
        }
        Err(refused) => {
            let (why, cure) = match refused {
                Refused::Denied(why) => (why, "the service account's token must be of this cluster"),
                Refused::Gone(why) => (why, "what answers there is no API server: check --kubeconfig"),
                Refused::Faulty(why) => (why, "report this as a bug, with the API server's version"),
                Refused::AlreadyThere => ("409 Conflict".to_owned(), "report this as a bug"),
                Refused::Unreachable(why) if why.contains("no API server") => {
                    (why, "what answers there is no API server: check --kubeconfig")
                }
                Refused::Unreachable(why) if why.starts_with(|first: char| first.is_ascii_digit()) => {
                    (why, "the API server is starting or overloaded: see its own log")
                }
                Refused::Unreachable(why) => {
                    (why, "check that a network policy lets the agent reach the API server")
                }
            };
            Line::degraded("events", format!("{url}: {why}: nobody is told"), cure)
        }
    }
}

/// Said only where it is so: the agent's token is then worth more than it says.
fn judge_proxy(may: &Answer) -> Option<Line> {
    (*may == Ok(true)).then(|| {
        Line::degraded(
            "nodes_proxy",
            "get on nodes/proxy is granted: whoever has the agent's token can run commands in every container of \
             every node",
            "take it away once all kubelets are 1.33 or newer: without deploy/overlays/old-kubelet",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn rights_that_are_missing_are_named() {
        assert_eq!(judge(Ok((true, true)), "https://a").state, State::Ok);
        for (may, says, cured_by) in [
            (Ok((true, false)), "not patched", "rbac.yaml"),
            (Ok((false, true)), "not be created", "rbac.yaml"),
            (Err(Refused::Denied("401 Unauthorized".to_owned())), "401", "token"),
            (Err(Refused::Gone("404 Not Found".to_owned())), "404", "--kubeconfig"),
            (Err(Refused::Unreachable("refused".to_owned())), "refused", "network policy"),
            (Err(Refused::Unreachable("503 Service Unavailable".to_owned())), "503", "overloaded"),
            (Err(Refused::Unreachable("it is no API server: 200 OK".to_owned())), "200", "--kubeconfig"),
        ] {
            let line = judge(may, "https://a");
            assert_eq!(line.state, State::Degraded, "{line:?}");
            assert!(line.text.contains(says) && line.cure.as_deref().unwrap().contains(cured_by), "{line:?}");
        }
    }

    #[test]
    fn nodes_proxy_is_a_line_only_where_it_is_granted() {
        assert!(judge_proxy(&Ok(true)).is_some());
        assert_eq!(judge_proxy(&Ok(false)), None);
        assert_eq!(judge_proxy(&Err(Refused::Unreachable(String::new()))), None);
    }
}
