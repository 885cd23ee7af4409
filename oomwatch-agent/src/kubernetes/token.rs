//! The service account's token.

use std::{fs, io, path::Path};

use http::{HeaderValue, header::InvalidHeaderValue};

/// `Bearer …`, from the token's file: read for each request, because it is replaced about once an hour.
///
/// # Errors
/// The file cannot be read, or holds what no header may.
pub(super) fn bearer(token: &Path) -> io::Result<HeaderValue> {
    bearer_of(&fs::read_to_string(token)?).map_err(io::Error::other)
}

/// The same, of a token.
///
/// # Errors
/// It has what no header may.
pub(super) fn bearer_of(token: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.trim()))?;
    bearer.set_sensitive(true);
    Ok(bearer)
}
