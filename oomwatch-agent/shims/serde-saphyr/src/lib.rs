//! What kube and xtask call of `serde-saphyr`, on the same parser, granit-parser.
//!
//! That crate makes a whole reader of events for each structure that is read, 0.5 MiB for those of a kubeconfig; here
//! a document becomes a tree first, which any structure is read from. Not here: writing, included files, excerpts of
//! the document in errors, which say the way to the value instead.

mod compose;
mod error;
mod node;
mod read;
#[cfg(test)]
mod tests;

use std::str;

use serde_core::de::DeserializeOwned;

pub use self::error::Error;
use self::{compose::documents, node::Node};

/// Reads each document but the empty ones.
///
/// # Errors
/// It is no YAML, or a document is no `T`.
pub fn from_multiple<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, Error> {
    documents(text)?.into_iter().filter(|document| !document.is_null()).map(T::deserialize).collect()
}

/// Reads the only document.
///
/// # Errors
/// It is no YAML, there are several, or it is no `T`.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let mut documents = documents(text)?;
    let document = documents.pop().unwrap_or_else(Node::null);
    if documents.is_empty() { T::deserialize(document) } else { Err(Error::new("more than one document")) }
}

/// Reads the only document.
///
/// # Errors
/// It is no text, no YAML, there are several documents, or it is no `T`.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    from_str(str::from_utf8(bytes).map_err(Error::new)?)
}
