//! Scripted peers for plain sockets: a plugin's `std::net` is led to a listener of this machine that plays the talk.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::Script;
use super::talk::{Step, Talk};
use crate::failure::{Failure, code, phase};

/// How long a peer waits for what the plugin says: longer, and the two wait for one another.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which listener stands for which address.
#[derive(Debug, Default)]
pub(crate) struct Stages(Mutex<BTreeMap<SocketAddr, SocketAddr>>);

impl Script {
    /// Where a plain socket is to connect instead, once the grants have allowed the address.
    pub fn stage(self: &Arc<Self>, to: SocketAddr) -> Result<SocketAddr, Failure> {
        let address = self.name_of(to.ip()).map_or_else(|| to.to_string(), |name| format!("{name}:{}", to.port()));
        let talk = self.connect(&address)?;
        let failed = |error: std::io::Error| Failure::new(code::IO, phase::CONNECT, format!("no stage: {error}"));
        let here: IpAddr = if to.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        let listener = TcpListener::bind((here, 0)).map_err(failed)?;
        let at = listener.local_addr().map_err(failed)?;
        self.stages.0.lock().unwrap_or_else(PoisonError::into_inner).insert(at, to);
        let play = move || {
            if let Ok((stream, _)) = listener.accept() {
                play(talk, stream).ok();
            }
        };
        thread::Builder::new().name("roundsman-stage".to_owned()).spawn(play).map_err(failed)?;
        Ok(at)
    }

    /// The address for which a listener stands; any other stands for itself.
    pub fn meant(&self, at: SocketAddr) -> SocketAddr {
        self.stages.0.lock().unwrap_or_else(PoisonError::into_inner).get(&at).copied().unwrap_or(at)
    }
}

/// The whole talk, until the plugin closes its side.
fn play(mut talk: Talk, mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = [0; 4096];
    loop {
        match talk.next() {
            Some(Step::Expect(_) | Step::StartTls(_) | Step::Silence) => match stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => talk.hear(buffer.get(..count).unwrap_or_default()),
                // Nobody says more: what the peer waits for is told as what the case does not answer.
                Err(_) => return talk.say().map(drop).map_err(|failure| std::io::Error::other(failure.message)),
            },
            Some(Step::Fail(_)) => return Ok(()),
            Some(Step::Send(..)) => match talk.say() {
                Ok(bytes) => stream.write_all(&bytes)?,
                Err(_) => return Ok(()),
            },
            None => {
                stream.shutdown(Shutdown::Write)?;
                while stream.read(&mut buffer)? > 0 {}
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::exchange::Times;
    use crate::script::talk::Answer;

    #[test]
    fn a_plain_socket_meets_its_peer() {
        let dialogue = vec![Step::Expect(b"PING".into()), Step::Send(b"PONG".into(), Vec::new())];
        let answer = Answer {
            address: "db:1".into(),
            failure: None,
            dialogue,
            times: Times::default(),
            certificates: Vec::new(),
            facts: Vec::new(),
        };
        let script = Arc::new(Script { tcp: vec![answer], ..Script::default() });
        let db = SocketAddr::new(script.addresses_of("db")[0], 1);
        let at = script.stage(db).unwrap();
        assert_eq!(script.meant(at), db);
        let mut stream = TcpStream::connect(at).unwrap();
        stream.write_all(b"PING").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert_eq!(said, "PONG");
        assert_eq!(script.stage("10.0.0.7:1".parse().unwrap()).unwrap_err().code, "unsupported");
        assert_eq!(script.unanswered(), ["a connection to 10.0.0.7:1"]);
    }
}
