//! The service account's token.

use std::{fs, io, path::Path};

use http::HeaderValue;

/// `Bearer …`, from the token's file: read for each request, because it is replaced about once an hour.
///
/// # Errors
/// The file cannot be read, or holds what no header may.
pub(super) fn bearer(token: &Path) -> io::Result<HeaderValue> {
    let token = fs::read_to_string(token)?;
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(io::Error::other)?;
    bearer.set_sensitive(true);
    Ok(bearer)
}
