//! What guests may import: one file per interface, each mapping to `probe` or to the run itself.

#![allow(unreachable_pub, reason = "the generated bindings re-export the types of handles")]

pub(crate) mod check;
pub(crate) mod command;
pub(crate) mod connect;
pub(crate) mod dns;
mod files;
pub(crate) mod http;
pub(crate) mod icmp;
pub(crate) mod lookup;
mod noted;
pub(crate) mod system;
pub(crate) mod tcp;
pub(crate) mod udp;
mod wasi;
mod watch;

use roundsman_probe::failure::Failure;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::roundsman::{check as own, host, net};
use crate::state::RunState;

/// Links everything that any plugin may import. What a run may really touch is decided at each call, by its grants.
pub(crate) fn link(linker: &mut Linker<RunState>) -> wasmtime::Result<()> {
    type Own = HasSelf<RunState>;
    own::types::add_to_linker::<_, Own>(linker, |s| s)?;
    own::context::add_to_linker::<_, Own>(linker, |s| s)?;
    own::report::add_to_linker::<_, Own>(linker, |s| s)?;
    own::log::add_to_linker::<_, Own>(linker, |s| s)?;
    own::state::add_to_linker::<_, Own>(linker, |s| s)?;
    net::types::add_to_linker::<_, Own>(linker, |s| s)?;
    net::http::add_to_linker::<_, Own>(linker, |s| s)?;
    net::tcp::add_to_linker::<_, Own>(linker, |s| s)?;
    net::udp::add_to_linker::<_, Own>(linker, |s| s)?;
    net::dns::add_to_linker::<_, Own>(linker, |s| s)?;
    net::icmp::add_to_linker::<_, Own>(linker, |s| s)?;
    host::system::add_to_linker::<_, Own>(linker, |s| s)?;
    host::command::add_to_linker::<_, Own>(linker, |s| s)?;
    wasi::link(linker)
}

/// A failure as it stands in the story of a run: `timeout in connect: …`.
fn explain(failure: &Failure) -> String {
    format!("{} in {}: {}", failure.code, failure.phase, failure.message)
}
