//! Who used most beyond its request, where more than one pod's memory ran out.

use super::{
    Confidence, Facts, Finding, Refinement,
    evidence::EvidenceList,
    limit::top,
    words::{consumer, quantity},
};
use crate::{
    report::{Consumer, size},
    units::Bytes,
};

pub(super) fn consumer_over_request(facts: &Facts<'_>) -> Option<Finding> {
    if facts.is_local() || facts.is_sysrq() {
        return None;
    }
    let excess = |consumer: &Consumer| {
        let request = consumer.kubernetes.as_ref()?.requests_bytes.unwrap_or_default();
        Some(consumer.usage_bytes?.0.checked_sub(request.0)?).filter(|excess| *excess > 0)
    };
    let over = facts.report.consumers.iter().filter_map(|consumer| Some((excess(consumer)?, consumer)));
    let (excess, largest) = over.max_by_key(|(excess, _)| *excess)?;
    let kubernetes = largest.kubernetes.as_ref()?;
    let usage = largest.usage_bytes?;
    let mut evidence = EvidenceList::default();
    let from = format!("{}/memory.current", largest.cgroup);
    evidence.bytes("consumer_usage", Some(usage), &from);
    evidence.bytes("consumer_working_set", largest.working_set_bytes, &from);
    evidence.bytes("consumer_request", kubernetes.requests_bytes, "kubelet");
    // Without its names nobody told of its request either.
    let is_known = kubernetes.container.is_some();
    let request = match kubernetes.requests_bytes {
        Some(request) => format!("and requested {}", size(request)),
        None if is_known => "and requested nothing".to_owned(),
        None => "and what it requested is not known".to_owned(),
    };
    let of_victim = facts.kubernetes().and_then(|victims| victims.container_id.as_ref());
    let is_victims = of_victim.is_some() && kubernetes.container_id.as_ref() == of_victim;
    let whose =
        if is_victims { " It is the victim's container." } else { " It is not the victim's container." };
    let name = consumer(largest);
    let text = format!(
        "Of all containers {name} used most beyond its request: it used {}, {request}.{whose}",
        size(usage)
    );
    let confidence = if is_known { Confidence::Likely } else { Confidence::Possible };
    let mut advice = Vec::new();
    if excess > 0 && is_known {
        let near = Bytes(largest.working_set_bytes.unwrap_or(usage).0);
        advice.push(format!(
            "Set the memory request of {name} near what it uses ({}), and give it a limit.",
            quantity(near)
        ));
    }
    advice.extend(top(kubernetes).map(|command| format!("What it uses now: {command}")));
    Some(Finding::refining(Refinement::ConsumerOverRequest, confidence, text, evidence, advice))
}
