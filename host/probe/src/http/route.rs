//! Where a hop connects to, and what it may show there: everything that grants and secrets have to say about it.

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;

use super::Request;
use super::call::Call;
use super::hop::Hop;
use super::trace::Trace;
use crate::beneath::Found;
use crate::failure::{Failure, phase};
use crate::grants::Denied;
use crate::host::Host;
use crate::pattern::Scheme;
use crate::tls::Identity;

/// What is needed before anything is dialled.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) way: Way,
    /// For TLS.
    pub(super) identity: Identity,
    /// The header `authorization` that the host adds.
    pub(super) authorization: Option<HeaderValue>,
}

#[derive(Debug)]
pub(super) enum Way {
    /// All of them are granted.
    Addresses(Vec<SocketAddr>),
    Unix(Arc<Found>),
}

/// Looks everything up and asks everybody who may refuse.
pub(super) async fn find(hop: &Hop<'_>, call: &Call, trace: &mut Trace) -> Result<Route, Failure> {
    let secrets = shown(hop.request, call);
    // Before any question to DNS: without these there is nothing to ask for.
    for name in secrets.into_iter().flatten() {
        hop.grants.permits_secret(name)?;
    }
    let way = way(hop, call, trace, secrets).await?;
    let [client, credentials] = secrets;
    let identity = match call.url.scheme {
        Scheme::Https => hop.probe.identity(hop.grants, hop.request.authority.as_deref(), client).await?,
        _ => Identity::default(),
    };
    let authorization = match credentials {
        Some(name) => Some(authorization(hop, name).await?),
        None => None,
    };
    Ok(Route { way, identity, authorization })
}

/// Names of the secrets that this hop sends: the client certificate's and the credentials'. Only the server of the
/// request's own URL gets them.
fn shown<'a>(request: &'a Request, call: &Call) -> [Option<&'a str>; 2] {
    let client = request.client.as_deref().filter(|_| call.home && call.url.scheme == Scheme::Https);
    [client, request.credentials.as_deref().filter(|_| call.home)]
}

async fn way(hop: &Hop<'_>, call: &Call, trace: &mut Trace, secrets: [Option<&str>; 2]) -> Result<Way, Failure> {
    if let Some(path) = &hop.request.unix_socket {
        let found = hop.probe.find_socket(hop.grants, path).await?;
        for name in secrets.into_iter().flatten() {
            hop.probe.secrets().permits_socket(name)?;
        }
        return Ok(Way::Unix(found));
    }
    let scheme = call.url.scheme;
    let (host, port) = match &hop.request.connect_to {
        Some((host, port)) if call.home => (host, *port),
        _ => (&call.url.host, call.url.port),
    };
    let addresses = addresses(hop, scheme, host, port, trace).await?;
    for name in secrets.into_iter().flatten() {
        let asked = host.to_string();
        let permits = |address: &SocketAddr| hop.probe.secrets().permits_destination(name, scheme, &asked, *address);
        addresses.iter().try_for_each(permits).map_err(|denied: Denied| Failure::from(denied))?;
    }
    Ok(Way::Addresses(addresses))
}

async fn addresses(
    hop: &Hop<'_>,
    scheme: Scheme,
    host: &Host,
    port: u16,
    trace: &mut Trace,
) -> Result<Vec<SocketAddr>, Failure> {
    let named = matches!(host, Host::Name(_));
    if named {
        trace.enter(phase::RESOLVE);
    }
    let addresses = hop.grants.resolve_host(hop.probe.resolver(), scheme, host, port, hop.deadline).await?;
    if named {
        trace.pass(phase::POLICY);
    }
    hop.request.dial.choose(host, addresses)
}

async fn authorization(hop: &Hop<'_>, name: &str) -> Result<HeaderValue, Failure> {
    let value = hop.probe.secrets().bearer_or_basic(name).await?;
    let mut value = HeaderValue::try_from(value.as_str())
        .map_err(|_| Failure::invalid(format!("the secret `{name}` makes no header `authorization`")))?;
    value.set_sensitive(true);
    Ok(value)
}
