//! From an address to a connection, and from clear to TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::time::Instant;

use super::{Connection, MAX_DIALOGUE, Open, State, Stream};
use crate::certificate::Certificate;
use crate::connect::{Socket, dial, dial_unix};
use crate::endpoint::Endpoint;
use crate::failure::{Failure, code, phase};
use crate::grants::Grants;
use crate::host::Host;
use crate::pattern::Scheme;
use crate::probe::Probe;
use crate::sockets::Permit;
use crate::tls::{Recorder, TlsOptions, secure, server_name};

impl Connection {
    pub(super) async fn connect(
        &mut self,
        probe: &Probe,
        grants: &Grants,
        permit: Permit,
        deadline: Instant,
    ) -> Result<(), Failure> {
        match &self.state {
            State::New => {}
            State::Open(_) => return Err(Failure::invalid("it is connected already: make another connection")),
            State::Failed(_) => return self.standing().map(drop),
        }
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        self.seen.begun = Some(Instant::now());
        let endpoint = Endpoint::parse(&self.wishes.address)?;
        let (socket, in_clear) = match &endpoint {
            Endpoint::Unix(path) => {
                let found = probe.find_socket(grants, path).await?;
                self.seen.unix = Some(path.clone());
                self.course.pass(phase::CONNECT);
                (dial_unix(&found, path, deadline).await?, None)
            }
            Endpoint::Host { host, port } => {
                let (addresses, in_clear) = self.resolve(probe, grants, host, *port, deadline).await?;
                let addresses = self.wishes.dial.choose(host, addresses)?;
                let socket = match probe.script() {
                    Some(script) => {
                        self.seen.peer = addresses.first().copied();
                        let talk = script.connect(&self.wishes.address)?;
                        self.seen.told = Some(Box::new(talk.answer.clone()));
                        Socket::Scripted(Box::new(talk))
                    }
                    None => dial(&addresses, &self.wishes.dial, deadline, &mut self.seen.peer).await?,
                };
                (socket, in_clear)
            }
        };
        self.seen.connect = Some(self.course.end());
        self.seen.local = socket.local_address();
        self.state = State::Open(Box::new(Open {
            stream: Stream::Clear(socket),
            endpoint,
            in_clear,
            waiting: Some(Instant::now()),
            closed: false,
            ended: false,
            _permit: permit,
        }));
        Ok(())
    }

    /// The addresses, all of them allowed, and how much may be said to them in clear: where a line grants `tls` alone,
    /// no more than it takes to agree on it.
    async fn resolve(
        &mut self,
        probe: &Probe,
        grants: &Grants,
        host: &Host,
        port: u16,
        deadline: Instant,
    ) -> Result<(Vec<SocketAddr>, Option<usize>), Failure> {
        let named = matches!(host, Host::Name(_));
        if named {
            self.course.pass(phase::RESOLVE);
        }
        let resolver = probe.resolver();
        let found = match grants.resolve_host(resolver, Scheme::Tcp, host, port, deadline).await {
            // What is not granted as `tcp` is refused before it is looked up, if `tls` grants its name.
            Err(refused) if refused.code == code::DENIED => {
                let found = grants.resolve_host(resolver, Scheme::Tls, host, port, deadline).await;
                let as_tls = found.map(|addresses| (addresses, Some(MAX_DIALOGUE)));
                as_tls.map_err(|failure| if failure.code == code::DENIED { refused } else { failure })
            }
            found => found.map(|addresses| (addresses, None)),
        }?;
        let took = self.course.pass(phase::CONNECT);
        if named {
            self.seen.resolve = Some(took);
        }
        Ok(found)
    }

    pub(super) async fn start_tls(&mut self, probe: &Probe, grants: &Grants) -> Result<(), Failure> {
        let buffered = self.buffer.len();
        let open = self.standing()?;
        if matches!(open.stream, Stream::Tls(_)) {
            return Err(Failure::invalid("the connection speaks TLS already"));
        }
        if open.closed || open.ended {
            return Err(Failure::invalid("one side has closed the connection: there is nobody to speak TLS with"));
        }
        if buffered > 0 {
            // CVE-2011-0411: they could be anybody's, and would pass for what the peer said within TLS.
            let message = format!("the peer sent {buffered} bytes in clear beyond what was agreed on before TLS");
            return Err(Failure::new(code::PROTOCOL, phase::TLS, message));
        }
        let endpoint = open.endpoint.clone();
        let (host, address) = self.destination(&endpoint);
        if let Some(client) = &self.wishes.client {
            grants.permits_secret(client)?;
            probe.secrets().permits_destination(client, Scheme::Tls, &host, address)?;
        }
        let identity = probe.identity(grants, self.wishes.authority.as_deref(), self.wishes.client.as_deref()).await?;
        let name = match (&endpoint, self.wishes.server_name.as_deref()) {
            (Endpoint::Host { host, .. }, set) => server_name(set, host)?,
            (Endpoint::Unix(_), Some(set)) => server_name(Some(set), &Host::Address(Ipv4Addr::LOCALHOST.into()))?,
            (Endpoint::Unix(_), None) => {
                return Err(Failure::invalid("a unix socket has no name for TLS: set the server name"));
            }
        };
        let protocols: Vec<&[u8]> = self.wishes.protocols.iter().map(Vec::as_slice).collect();
        let options = TlsOptions { name, verify: self.wishes.verify, identity: &identity, protocols: &protocols };
        self.course.pass(phase::TLS);
        if probe.script().is_some() {
            return self.scripted_tls();
        }
        let recorder = Arc::new(Recorder::default());
        self.seen.recorder = recorder.clone();
        // From here on it is TLS or nothing: whatever ends the handshake, nobody goes on in clear.
        let why = "the TLS handshake did not come to its end".to_owned();
        let State::Open(mut open) = std::mem::replace(&mut self.state, State::Failed(why)) else {
            return self.standing().map(drop);
        };
        let Stream::Clear(socket) = open.stream else {
            return Err(Failure::invalid("the connection speaks TLS already"));
        };
        let (stream, facts) = secure(probe.tls(), socket, options, recorder).await?;
        self.seen.facts = facts;
        self.seen.tls = Some(self.course.end());
        open.stream = Stream::Tls(Box::new(stream));
        open.waiting = Some(Instant::now());
        self.state = State::Open(open);
        Ok(())
    }

    /// As a script says it, without a handshake.
    fn scripted_tls(&mut self) -> Result<(), Failure> {
        let Stream::Clear(Socket::Scripted(talk)) = &mut self.standing()?.stream else { return Ok(()) };
        let shown = talk.answer.certificates.iter().map(|shown| Arc::new(Certificate::told(shown))).collect();
        let result = talk.start_tls();
        self.seen.certificates = shown;
        result
    }

    /// Host and address to which a secret would go.
    pub(super) fn destination(&self, endpoint: &Endpoint) -> (String, SocketAddr) {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        match endpoint {
            Endpoint::Host { host, port } => {
                let peer = self.seen.peer.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port)));
                (host.to_string(), peer)
            }
            // No line for a network names it: a secret with destinations does not go there.
            Endpoint::Unix(path) => (path.clone(), nowhere),
        }
    }
}
