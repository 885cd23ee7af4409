//! Kubernetes: pods are learnt of from the kubelet, and the API server is told of kills.
