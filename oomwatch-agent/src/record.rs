//! Recorded incidents.
