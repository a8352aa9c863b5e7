//! Between the exported interface and an author's [`Check`]: settings, schema, and panics that can be read.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;

use crate::bindings::exports::roundsman::check::check as exported;
use crate::{Check, Describe, Fault, context};

/// What [`plugin!`](crate::plugin) exports for a [`Check`].
pub struct Entry<T>(PhantomData<T>);

impl<T> fmt::Debug for Entry<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entry")
    }
}

#[derive(Serialize)]
struct Description {
    #[serde(flatten)]
    own: Describe,
    settings: schemars::Schema,
}

/// What the plugin's `describe` returns, as JSON. Also for native tests.
pub fn describe<T: Check>() -> String {
    let description = Description { own: T::describe(), settings: schemars::schema_for!(T::Settings) };
    serde_json::to_string(&description).expect("a description has only text keys")
}

/// Reads and checks settings as the host hands them over, as JSON. Also for native tests.
///
/// # Errors
/// A fault `settings` that names the place, for instance `expect.status[1]`.
pub fn settings<T: Check>(json: &str) -> Result<T::Settings, Fault> {
    let settings = read(json)?;
    T::validate(&settings)?;
    Ok(settings)
}

fn read<S: serde::de::DeserializeOwned>(json: &str) -> Result<S, Fault> {
    let mut from = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut from).map_err(|error| {
        let place = match error.path().to_string().as_str() {
            "." => String::new(),
            path => format!("`{path}`: "),
        };
        // The text is what the host made of the operator's YAML: line and column of the JSON mean nothing to anybody.
        let reason = error.inner().to_string();
        let reason = reason.rsplit_once(" at line ").map_or(reason.as_str(), |(reason, _)| reason);
        Fault::settings(format!("{place}{reason}"))
    })
}

impl<T: Check> exported::Guest for Entry<T> {
    fn describe() -> String {
        explain_panics();
        describe::<T>()
    }

    fn validate(json: String) -> Result<(), exported::Fault> {
        explain_panics();
        settings::<T>(&json).map(drop).map_err(Into::into)
    }

    fn run() -> Result<exported::Outcome, exported::Fault> {
        explain_panics();
        let settings = read(&context::settings())?;
        Ok(T::run(&settings)?.into())
    }
}

/// One line on standard error, where the host looks for the reason of a trap: `panicked at src/lib.rs:12: message`.
fn explain_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("no message");
        match panic.location() {
            Some(place) => eprintln!("panicked at {}:{}: {message}", place.file(), place.line()),
            None => eprintln!("panicked: {message}"),
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(rename = "list")]
        _list: Vec<Inner>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[serde(rename = "number")]
        _number: u8,
    }

    #[test]
    fn faults_name_the_place() {
        for (json, message) in [
            ("{}", "missing field `list`"),
            (
                r#"{"list":[{"number":1},{"number":300}]}"#,
                "`list[1].number`: invalid value: integer `300`, expected u8",
            ),
            (r#"{"list":[{"nimber":1}]}"#, "`list[0].nimber`: unknown field `nimber`, expected `number`"),
            (r#"{"list":1}"#, "`list`: invalid type: integer `1`, expected a sequence"),
        ] {
            assert_eq!(read::<Outer>(json).unwrap_err(), Fault::settings(message), "{json}");
        }
    }
}
