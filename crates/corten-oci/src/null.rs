//! Go writes an absent slice or map as `null`; a reader has to take that for empty.

use serde::{Deserialize, Deserializer};

/// For `#[serde(default, deserialize_with = "null::as_default")]`.
pub(crate) fn as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
