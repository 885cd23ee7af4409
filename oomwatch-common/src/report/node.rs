//! Who had the node's memory, and what came before: what a report knows beside its own processes and cgroups.

use serde::{Deserialize, Serialize};

use super::{Host, Kubernetes};
use crate::units::Bytes;

/// A container, a pod or a part of the host, and what it used. Absent: not read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consumer {
    /// Path of its memory cgroup, escaped.
    pub cgroup: String,
    /// Its pod and container, with request and limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Kubernetes>,
    /// What of the host it is, outside of all pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// Memory charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_bytes: Option<Bytes>,
    /// Usage less `inactive_file`: what `kubectl top` shows, and what the kubelet evicts by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_set_bytes: Option<Bytes>,
    /// Anonymous memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anon_bytes: Option<Bytes>,
    /// Page cache, shared memory included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<Bytes>,
    /// Shared memory and tmpfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shmem_bytes: Option<Bytes>,
    /// Its own limit, as the kernel has it. Absent also where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<Bytes>,
}

/// How the node's memory was shared between pods and host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeShares {
    /// All memory of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<Bytes>,
    /// What of it pods may use together: the limit of kubepods, where the kubelet sets one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocatable_bytes: Option<Bytes>,
    /// What all pods used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods_usage_bytes: Option<Bytes>,
    /// What all pods requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods_requests_bytes: Option<Bytes>,
    /// What all other cgroups used: services, sessions, containers of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_usage_bytes: Option<Bytes>,
}

/// OOM kills of the same container, or of the same container of other pods of its workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeats {
    /// Incidents within the window, this one included.
    pub count: u64,
    /// How far back they were counted, seconds.
    pub window_seconds: u64,
    /// The first of them: RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_time: Option<String>,
    /// Time from one to the next, on average, seconds. Absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_interval_seconds: Option<u64>,
}

/// A cache of the kernel's own objects (`/proc/slabinfo`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlabCache {
    /// Its name, escaped: `dentry`, `kmalloc-512`.
    pub name: String,
    /// What it holds.
    pub size_bytes: Bytes,
    /// Objects in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<u64>,
}

/// A zone of a memory node: below `min` only few allocations are served (`/proc/zoneinfo`, `show_free_areas`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// Memory node.
    pub node: u32,
    /// `DMA`, `DMA32`, `Normal`, `Movable`, …
    pub zone: String,
    /// Free memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<Bytes>,
    /// Watermark `min`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_bytes: Option<Bytes>,
    /// Watermark `low`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_bytes: Option<Bytes>,
    /// Watermark `high`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_bytes: Option<Bytes>,
    /// Free blocks of 2^0, 2^1, … contiguous pages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub free_blocks: Vec<u64>,
}
