//! The API over real sockets, in front of a real store and a fake agent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that fails is a test that fails")]

mod api;
mod client;
mod data;
mod dossier;
mod events;
mod fake;
mod limits;
mod pages;
mod results;
mod silences;
