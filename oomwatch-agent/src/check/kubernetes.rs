//! Kubernetes: whether the names of pods will be known.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{ANSWER_WITHIN, Line, Look};
use crate::{
    config::{KubeletChoice, PodSource},
    kubernetes::{failure::Failure, log_names},
};

/// The node's name, which stands in every report and which the kubelet's certificate is for.
pub(super) fn node_name(look: &Look<'_>) -> Vec<Line> {
    let is_pod = look.options.kubernetes.service_account.join("token").exists();
    vec![judge_name(look.options.node.node_name.as_deref(), &look.node, is_pod)]
}

fn judge_name(given: Option<&str>, taken: &str, is_pod: bool) -> Line {
    match given {
        Some(name) => Line::ok("node_name", format!("{name}, as was given")),
        None if is_pod => Line::degraded(
            "node_name",
            format!(
                "{taken}, the host name of this pod: reports may name no node, and the kubelet's certificate another"
            ),
            "set OOMWATCH_NODE_NAME from the field spec.nodeName",
        ),
        None => Line::ok("node_name", format!("{taken}, the host's")),
    }
}

/// The kubelet: reachable, trusted, and willing.
pub(super) fn kubelet(look: &Look<'_>) -> Vec<Line> {
    let options = &look.options.kubernetes;
    let line = match &look.kubelet {
        Err(refusal) => Line::refused("kubelet", refusal),
        Ok(None) => Line::not_applicable("kubelet", why_not_asked(&options.kubelet, &options.pod_sources)),
        Ok(Some(kubelet)) => {
            let begun = Instant::now();
            let answer = look.runtime.block_on(async { timeout(ANSWER_WITHIN, kubelet.pods()).await });
            let answer =
                answer.unwrap_or(Err(Failure::TimedOut)).map(|list| (list.pods.len(), list.malformed));
            judge_kubelet(&answer, kubelet.url(), begun.elapsed(), options.kubelet_insecure_tls)
        }
    };
    vec![line]
}

fn why_not_asked(choice: &KubeletChoice, sources: &[PodSource]) -> &'static str {
    match choice {
        KubeletChoice::Off => "not asked, by --kubelet off: reports name pods by uid, containers by id",
        _ if !sources.contains(&PodSource::Kubelet) => "not asked: it is not among --pod-sources",
        _ => {
            "not asked: there is no service account's token here, so this is no pod; --kubelet and --kubelet-token \
              name one"
        }
    }
}

fn judge_kubelet(
    answer: &Result<(usize, usize), Failure>,
    url: &str,
    took: Duration,
    insecure: bool,
) -> Line {
    match answer {
        Ok((pods, malformed)) => {
            let text = format!("{url}: {pods} pods, in {} ms", took.as_millis());
            if *malformed > 0 {
                Line::degraded(
                    "kubelet",
                    format!("{text}; {malformed} more cannot be read: they have no names"),
                    "report this as a bug, with the kubelet's version",
                )
            } else if insecure {
                Line::degraded(
                    "kubelet",
                    format!(
                        "{text}; its certificate is not checked: whoever takes its address is sent the token"
                    ),
                    "--kubelet-ca instead of --kubelet-insecure-tls",
                )
            } else {
                Line::ok("kubelet", text)
            }
        }
        Err(failure) => Line::degraded("kubelet", format!("{url}: {failure}"), failure.cure()),
    }
}

/// The names of log files, from which names come where the kubelet does not answer.
pub(super) fn log_files(look: &Look<'_>) -> Vec<Line> {
    let options = &look.options.kubernetes;
    let dir = options.var_log.display();
    let line = if options.kubelet == KubeletChoice::Off || !options.pod_sources.contains(&PodSource::Logs) {
        Line::not_applicable("log_files", "not read, as was asked for")
    } else if log_names::exist(&options.var_log) {
        match log_names::read(&options.var_log) {
            Ok(index) => Line::ok("log_files", format!("{dir}: names of {} pods", index.pods_known())),
            Err(error) => Line::degraded(
                "log_files",
                format!("{dir}: {error}: no names where the kubelet does not answer"),
                "let the agent read it: in a pod as uid 0",
            ),
        }
    } else if matches!(look.kubelet, Ok(Some(_))) {
        Line::degraded(
            "log_files",
            format!("{dir} has neither pods nor containers: no names where the kubelet does not answer"),
            "mount the host's /var/log (hostPath, read-only) and name it by --var-log",
        )
    } else {
        Line::not_applicable("log_files", format!("{dir} has neither pods nor containers: no kubelet's node"))
    };
    vec![line]
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::{super::State, *};

    #[test]
    fn a_pod_needs_to_be_told_its_nodes_name() {
        assert_eq!(judge_name(Some("a"), "a", true).state, State::Ok);
        assert_eq!(judge_name(None, "b", false).state, State::Ok);
        let line = judge_name(None, "oomwatch-x7k2p", true);
        assert!(line.state == State::Degraded && line.text.starts_with("oomwatch-x7k2p"), "{line:?}");
    }

    #[test]
    fn whatever_the_kubelet_does_oomwatch_works_with_less() {
        let judge =
            |answer, insecure| judge_kubelet(&answer, "https://h", Duration::from_millis(12), insecure);
        assert_eq!(judge(Ok((23, 0)), false), Line::ok("kubelet", "https://h: 23 pods, in 12 ms"));
        assert_eq!(judge(Ok((23, 0)), true).state, State::Degraded);
        assert!(judge(Ok((23, 2)), false).text.contains("2 more"));
        for (failure, cured_by) in [
            (Failure::Status(StatusCode::FORBIDDEN, String::new()), "nodes/pods"),
            (Failure::Status(StatusCode::UNAUTHORIZED, String::new()), "token"),
            (Failure::TimedOut, "--node-ip"),
        ] {
            let line = judge(Err(failure), false);
            assert_eq!(line.state, State::Degraded, "{line:?}");
            assert!(line.cure.as_deref().unwrap().contains(cured_by), "{line:?}");
        }
    }

    #[test]
    fn why_nobody_is_asked_is_told() {
        let both = [PodSource::Kubelet, PodSource::Logs];
        assert!(why_not_asked(&KubeletChoice::Off, &both).contains("--kubelet off"));
        assert!(why_not_asked(&KubeletChoice::Auto, &[PodSource::Logs]).contains("--pod-sources"));
        assert!(why_not_asked(&KubeletChoice::Auto, &both).contains("token"));
    }
}
