//! Stands where kube would have `jsonpath-rust`, and refuses.
//!
//! kube queries by it what a program prints that `auth-provider` of a kubeconfig names, with `token-key`: a login that
//! Kubernetes gave up in 1.26. The crate itself brings a parser generator, regular expressions and tables of Unicode.
//! The agent refuses such a kubeconfig before kube gets here.

use serde_json::Value;

/// What kube calls.
pub trait JsonPath {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    fn query(&self, path: &str) -> Result<Vec<&Value>, &'static str>;
}

impl JsonPath for Value {
    fn query(&self, _path: &str) -> Result<Vec<&Value>, &'static str> {
        Err("JSONPath is not built in")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_is_refused() {
        assert!(Value::from("a").query("$").is_err());
    }
}
