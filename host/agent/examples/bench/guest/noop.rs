//! The guest of the floor: a Rust component whose run does nothing at all.

wit_bindgen::generate!({ path: "../../../../../wit", world: "roundsman:plugin/plugin", generate_all });

use exports::roundsman::check::check::{Fault, Guest, Outcome};
use roundsman::check::types::Status;

struct Noop;

impl Guest for Noop {
    fn describe() -> String {
        r#"{"version":"0.1.0","summary":"Does nothing.","settings":{"type":"object"},"series":[],"example":""}"#
            .to_owned()
    }

    fn validate(_settings: String) -> Result<(), Fault> {
        Ok(())
    }

    fn run() -> Result<Outcome, Fault> {
        Ok(Outcome { status: Status::Ok, summary: String::new() })
    }
}

export!(Noop);
