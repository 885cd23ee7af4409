//! Kubernetes: pods are learnt of from the kubelet, and the API server is told of kills.

pub mod events;
pub mod failure;
pub mod kubelet;
pub mod log_names;
mod new_pods;
pub mod outcomes;
pub mod pods;
mod token;
