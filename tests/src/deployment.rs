//! The DaemonSet of `deploy/` as a node runs it: read from the rendered manifest, never typed again, so that what is
//! tested is what users apply.
//!
//! The kubelet's and the CRI plugin's part is played by [`oci`]; containerd, runc and the image are the real ones.

pub mod containerd;
pub mod oci;
pub mod pod;
