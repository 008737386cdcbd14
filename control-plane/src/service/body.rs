//! How request bodies are read where serde's own way does not fit.

use pglens_core::Secret;
use serde::{Deserialize, Deserializer};

/// Reads a string straight into a [`Secret`].
///
/// # Errors
/// When it is no string.
pub fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret<String>, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

/// Reads a string or null into a [`Secret`].
///
/// # Errors
/// When it is neither.
pub fn optional_secret<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Secret<String>>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}

/// Reads null as the empty string, where null means "take it away" and absence means "leave it".
///
/// # Errors
/// When it is neither null nor a string.
pub fn null_is_empty<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    Ok(Some(
        Option::<String>::deserialize(deserializer)?.unwrap_or_default(),
    ))
}

/// Reads a number or null, where null means "take it away" and absence, which does not come here, means "leave it".
///
/// # Errors
/// When it is neither null nor a number.
pub fn null_is_given<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<i64>>, D::Error> {
    Option::<i64>::deserialize(deserializer).map(Some)
}
