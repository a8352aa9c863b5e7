//! The API over real sockets, in front of a real store and a fake agent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that fails is a test that fails")]

mod api;
mod client;
mod events;
mod fake;
mod limits;
mod pages;
