//! A small memory per check and target. Written with the record in one transaction, discarded if the run faults.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Fault;
use crate::bindings::roundsman::check::state;

/// What was stored under a key.
pub fn get(key: &str) -> Option<Vec<u8>> {
    state::get(key)
}

/// Stores bytes under a key.
///
/// # Errors
/// A fault `limit` when the key, the value or all of them together are too long.
pub fn set(key: &str, value: &[u8]) -> Result<(), Fault> {
    state::set(key, value).map_err(Fault::from)
}

/// Forgets a key.
pub fn delete(key: &str) {
    state::delete(key);
}

/// What [`save`] stored. None too, with a warning in the log, when an older version of the plugin stored something that
/// this one cannot read: a new version must not be stopped by what it finds.
pub fn load<T: DeserializeOwned>(key: &str) -> Option<T> {
    match serde_json::from_slice(&state::get(key)?) {
        Ok(value) => Some(value),
        Err(error) => {
            crate::warn!("what is stored under `{key}` cannot be read and is ignored: {error}");
            None
        }
    }
}

/// Stores a value as JSON.
///
/// # Errors
/// As [`set`]; a fault `internal` when the value is none that JSON can hold.
pub fn save<T: Serialize>(key: &str, value: &T) -> Result<(), Fault> {
    let bytes = serde_json::to_vec(value).map_err(|error| Fault::new("internal", format!("state `{key}`: {error}")))?;
    set(key, &bytes)
}
