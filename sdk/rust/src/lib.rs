//! Write a check plugin for Roundsman in Rust: implement [`Check`], call [`plugin!`].
//!
//! A plugin is one file, a WebAssembly component. Roundsman runs it in a sandbox, on a schedule, and takes what it says
//! about its target and what it measured. This page leads from nothing to records in a running agent.
//!
//! # 1. A crate that works
//!
//! ```text
//! rustup target add wasm32-wasip2
//! roundsman plugin new word && cd word
//! cargo test
//! cargo build --release --target wasm32-wasip2
//! roundsman plugin test target/wasm32-wasip2/release/word.wasm
//! ```
//!
//! `plugin new` writes a whole plugin with this SDK beside it; nothing of that needs a network. Its `src/lib.rs` is, but
//! for its tests, this:
//!
//! ```
//! use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, context, http, report};
//! use schemars::JsonSchema;
//! use serde::Deserialize;
//!
//! /// The settings: what an operator may write under `settings:`. The comments become the schema's descriptions.
//! #[derive(Debug, Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields, rename_all = "camelCase")]
//! struct Settings {
//!     /// The word that the page must contain.
//!     word: String,
//! }
//!
//! const WORD: Series = Series {
//!     name: "word",
//!     help: "How often the word stands on the page.",
//!     tags: &[],
//!     fields: &[Field::integer("count", "", "Occurrences."), Field::real("total_ms", "ms", "Time for the page.")],
//! };
//!
//! struct Word;
//!
//! impl Check for Word {
//!     type Settings = Settings;
//!
//!     fn describe() -> Describe {
//!         Describe::new(env!("CARGO_PKG_VERSION"), "Looks for a word on a page.").series(&WORD).example(EXAMPLE)
//!     }
//!
//!     fn run(settings: &Settings) -> Result<Outcome, Fault> {
//!         let url = context::target_address().ok_or_else(|| Fault::settings("the check needs a target"))?;
//!         let request = http::Request::get(&url);
//!         let page = match request.send() {
//!             Ok(page) => page,
//!             // Down, refused, timed out: an outcome. Not granted, not possible: a fault.
//!             Err(failure) => return failure.into_outcome_or_fault(),
//!         };
//!         let count = page.text().matches(&settings.word).count();
//!         let total = request.timings().total.unwrap_or_default();
//!         report::latency(total);
//!         report::Point::of(&WORD).field("count", count).field("total_ms", report::ms(total)).report()?;
//!         Ok(judge(count))
//!     }
//! }
//!
//! /// Apart from what asks the host, so that a native test can ask it anything.
//! fn judge(count: usize) -> Outcome {
//!     if count > 0 { Outcome::ok(format!("found {count} times")) } else { Outcome::critical("not found") }
//! }
//!
//! const EXAMPLE: &str = "\
//! checks:
//!   - name: word
//!     plugin: word
//!     interval: 30s
//!     timeout: 5s
//!     target: https://example.com
//!     settings: {word: Example}
//! ";
//!
//! roundsman_sdk::plugin!(Word);
//! # fn main() {}
//! ```
//!
//! Without `plugin new`: `Cargo.toml` says `crate-type = ["cdylib"]` under `[lib]`, names this crate, `serde` (with
//! `derive`) and `schemars`, and has a `[profile.release]` of `opt-level = "s"`, `lto = true`, `codegen-units = 1` and
//! `strip = true`. In `.cargo/config.toml`, because a check needs little stack and the linker's default of 1 MiB costs a
//! few microseconds in every run:
//!
//! ```toml
//! [target.wasm32-wasip2]
//! rustflags = ["-C", "link-arg=-zstack-size=65536"]
//! ```
//!
//! # 2. Against the world, without an agent
//!
//! ```text
//! roundsman probe target/wasm32-wasip2/release/word.wasm --explain --target https://example.com --settings '{"word": "Example"}'
//! ```
//!
//! runs it once and prints outcome, points and log lines; with `--explain` also which grants it used, each call with the
//! time of its phases, and how much of each limit it took.
//!
//! # 3. Into an agent
//!
//! ```text
//! cp target/wasm32-wasip2/release/word.wasm /etc/roundsman/plugins/
//! ```
//!
//! A running agent takes the file as it comes, without a restart; its stem is the plugin's name (cargo writes
//! `disk_usage.wasm` for a crate `disk-usage`: copy it as `disk-usage.wasm`). Then put a check, such as the example above,
//! into `/etc/roundsman/checks/word.yaml`, and see its records by `roundsman check show word`.
//!
//! # Outcome or fault
//!
//! An [`Outcome`] says something about the target. A target that is down, refuses, does not answer or answers wrongly is
//! [`critical`](Outcome::critical). A [`Fault`] says that the check could not be carried out, so that nothing is known
//! of the target: settings that make no sense, something that is not granted. Failures of the network know which of the
//! two they are ([`into_outcome_or_fault`](http::Failure::into_outcome_or_fault)); those of [`system`] and [`command`]
//! become faults by `?`. A panic is the plugin's own failure: its message becomes the summary of the record, and nobody
//! else notices.
//!
//! # What a plugin may touch
//!
//! [`context`], [`report`], [`log`] and [`state`], the clocks and random numbers: always. The addresses of the check's
//! targets, and what its operator wrote under `allow:`: through [`http`], [`tcp`], [`udp`], [`dns`], [`icmp`], [`system`]
//! and [`command`], or with plain `std::net` (see [`net`] for time limits) and `std::fs`. Anything else is refused with
//! the line to add. What a plugin does not use is not in its file.
//!
//! Settings that name an address, a path, a secret or a program are best marked, so that `roundsman validate` can name
//! the line that they need, before anything runs: `#[schemars(extend("x-roundsman" = {"kind": "destination"}))]`
//! (`path`, `secret`, `command`).
//!
//! Every call to the host ends a little before the run is cut, with `timeout` and the phase that hung; a run that waits by
//! itself asks [`context::budget`] how long it may.
//!
//! # What it reports
//!
//! Points of the series that `describe` declares ([`report::Point`]; a field keeps its type for ever, and its name ends
//! with its unit), the target's latency ([`report::latency`]), and, for a check that looks at many things at once, a
//! finding for each ([`report::finding`], declared by [`Describe::findings`]). All of it survives a later failure. What
//! one run has to tell the next goes into [`state`]; it is kept when the run ends in an outcome.
//!
//! # Tests
//!
//! `cargo test` covers what needs no host: settings ([`settings()`]), the description ([`describe()`], by
//! [`DESCRIBE_SCHEMA`]), points ([`report::Point::check`]) and your own judgement. Functions that ask the host panic
//! there: keep them apart from what decides.
//!
//! The rest is for `roundsman plugin test`. It runs the built file in the real sandbox with real limits and grants, and
//! answers from `tests/cases.yaml` in place of the world:
//!
//! ```yaml
//! cases:
//!   - name: a page without the word
//!     target: https://shop.example/
//!     settings: {word: basket}
//!     answers:
//!       http: [{request: "GET https://shop.example/", status: 200, body: "nothing here", timings: {connect: 3ms}}]
//!     expect:
//!       status: critical
//!       summary: not found
//!       points: [{series: word, fields: {count: 0, total_ms: 3.0}}]
//! ```
//!
//! `docs/plugins.md` of the repository has the answers of every interface.
//!
//! # Publishing
//!
//! `roundsman plugin inspect word.wasm` shows what an operator will want to know: digest, imports, the grants that it
//! needs, settings, series. `roundsman plugin keygen` makes a pair of keys once; `roundsman plugin sign word.wasm --key
//! FILE` writes `word.wasm.minisig` beside it, which belongs to the file wherever it goes.
//!
//! Absent by design: threads, asynchronous code, and any way to grant oneself something.

#[doc(hidden)]
pub mod bindings;
pub mod command;
pub mod context;
mod describe;
pub mod dns;
mod entry;
mod exchange;
pub mod exposition;
pub mod http;
pub mod icmp;
pub mod log;
pub mod net;
mod outcome;
pub mod report;
mod setting;
pub mod state;
pub mod system;
pub mod tcp;
pub mod udp;

pub use describe::{DESCRIBE_SCHEMA, Describe, Field, Series, Tag};
#[doc(hidden)]
pub use entry::Entry;
pub use entry::{describe, settings};
pub use outcome::{Fault, Outcome, Status};
#[cfg(feature = "regex")]
pub use setting::Pattern;
pub use setting::{Severity, Size, Span};

/// A check: what an author writes.
pub trait Check {
    /// What an operator may write under `settings:`. Derive `Deserialize` with `deny_unknown_fields`, so that a misspelt
    /// key is an error, and `JsonSchema`, so that the operator's editor knows it. `()` will not do; an empty struct will.
    type Settings: serde::de::DeserializeOwned + schemars::JsonSchema;

    /// What the plugin is, what it reports, and an example.
    fn describe() -> Describe;

    /// For what the type of the settings cannot say, such as whether a regular expression is one. Asked when the
    /// configuration is read; must not touch the world.
    ///
    /// # Errors
    /// A fault `settings` that names the key.
    fn validate(settings: &Self::Settings) -> Result<(), Fault> {
        let _ = settings;
        Ok(())
    }

    /// Carries out the check once. The settings have been read; whatever else there is to know is in [`context`].
    ///
    /// # Errors
    /// When nothing can be said about the target.
    fn run(settings: &Self::Settings) -> Result<Outcome, Fault>;
}

/// Makes the crate a plugin that carries out a [`Check`]. Once per crate, at its root.
#[macro_export]
macro_rules! plugin {
    ($check:ty) => {
        #[cfg(target_family = "wasm")]
        mod roundsman_plugin {
            use super::*;
            type Entry = $crate::Entry<$check>;
            $crate::bindings::export!(Entry with_types_in $crate::bindings);
        }
        // Off the sandbox there is nobody to export to: the type is checked, so that native tests find the same errors.
        #[cfg(not(target_family = "wasm"))]
        const _: fn() -> String = $crate::describe::<$check>;
    };
}
