//! A relay between an agent and its InfluxDB, which can be told to stop in the middle of something.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Where the next write stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The server has half of the body; the rest never comes.
    InsideBody,
    /// The server has taken all of it; its answer never reaches the agent.
    BeforeAnswer,
}

/// Relays connections from `address` until it is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    held: Receiver<Hold>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    armed: Mutex<Option<Hold>>,
    tell: SyncSender<Hold>,
    /// Bodies that the server got whole, with whether they are compressed.
    bodies: Mutex<Vec<(bool, Vec<u8>)>>,
    end: AtomicBool,
}

/// The head of a request, as it came.
struct Head {
    bytes: Vec<u8>,
    length: usize,
    compressed: bool,
}

impl Relay {
    pub(crate) fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (tell, held) = sync_channel(1);
        let (armed, bodies, end) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { to, armed, tell, bodies, end });
        let accepting = shared.clone();
        let accept = move || {
            for client in listener.incoming() {
                if accepting.end.load(Ordering::SeqCst) {
                    return;
                }
                let (client, shared) = (client.expect("connections are accepted"), accepting.clone());
                // A thread ends with its connection; an error is one end's going away.
                std::thread::spawn(move || drop(shared.connection(client)));
            }
        };
        Self { address, shared, held, listener: Some(std::thread::spawn(accept)) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops the next write there, and returns while it is stopped: then the agent has to die.
    pub(crate) fn hold_next(&self, hold: Hold) {
        *self.shared.armed.lock().expect("no thread panicked") = Some(hold);
        let held = self.held.recv_timeout(crate::support::DEADLINE).expect("the agent writes");
        assert_eq!(held, hold);
    }

    /// Looks at every line that the server got whole: how many there were, and how many of these came again. A line
    /// that came again with other content fails the test.
    pub(crate) fn lines(&self) -> (usize, usize) {
        let bodies = self.shared.bodies.lock().expect("no thread panicked");
        let (mut known, mut again) = (HashMap::new(), 0);
        for (compressed, body) in bodies.iter() {
            let mut text = String::new();
            match compressed {
                true => flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut text),
                false => (&body[..]).read_to_string(&mut text),
            }
            .expect("a body is text");
            for line in text.lines() {
                if let Some(before) = known.insert(identity(line), line.to_owned()) {
                    assert_eq!(before, line, "a line came again with other content");
                    again += 1;
                }
            }
        }
        (known.len() + again, again)
    }
}

/// Measurement, tags and time: what makes a line replace another.
fn identity(line: &str) -> (String, String) {
    let end_of_key = line.match_indices(' ').map(|(at, _)| at).find(|at| !line[..*at].ends_with('\\'));
    let key = end_of_key.map_or(line, |at| &line[..at]);
    (key.to_owned(), line.rsplit(' ').next().unwrap_or_default().to_owned())
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(listener) = self.listener.take() {
            drop(listener.join());
        }
    }
}

impl Shared {
    fn connection(self: Arc<Self>, client: TcpStream) -> std::io::Result<()> {
        // Without a server the client sees its connection close.
        let mut server = TcpStream::connect(self.to)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let silent = Arc::new(AtomicBool::new(false));
        let answers = (server.try_clone()?, client.try_clone()?, silent.clone(), self.clone());
        let back = std::thread::spawn(move || {
            let (from, to, silent, shared) = answers;
            // An error is one end's going away.
            drop(shared.answers(&from, &to, &silent));
            drop(to.shutdown(Shutdown::Both));
        });
        let result = self.requests(&mut BufReader::new(client), &mut server, &silent);
        drop(server.shutdown(Shutdown::Both));
        drop(back.join());
        result
    }

    fn requests(
        &self,
        client: &mut BufReader<TcpStream>,
        server: &mut TcpStream,
        silent: &AtomicBool,
    ) -> std::io::Result<()> {
        while let Some(head) = read_head(client)? {
            let hold = if head.length > 1 { self.armed.lock().expect("no thread panicked").take() } else { None };
            silent.store(hold == Some(Hold::BeforeAnswer), Ordering::SeqCst);
            server.write_all(&head.bytes)?;
            if hold == Some(Hold::InsideBody) {
                let mut half = vec![0; head.length / 2];
                client.read_exact(&mut half)?;
                server.write_all(&half)?;
                self.tell.send(Hold::InsideBody).expect("the test waits for it");
                // What still comes goes nowhere; this ends with the agent.
                return std::io::copy(client, &mut std::io::sink()).map(drop);
            }
            let mut body = vec![0; head.length];
            client.read_exact(&mut body)?;
            server.write_all(&body)?;
            self.bodies.lock().expect("no thread panicked").push((head.compressed, body));
        }
        Ok(())
    }

    fn answers(&self, mut from: &TcpStream, mut to: &TcpStream, silent: &AtomicBool) -> std::io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let length = from.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            if silent.load(Ordering::SeqCst) {
                self.tell.send(Hold::BeforeAnswer).expect("the test waits for it");
                // This ends with the agent, after which the other thread ends the connection to the server.
                return std::io::copy(&mut from, &mut std::io::sink()).map(drop);
            }
            to.write_all(&buffer[..length])?;
        }
    }
}

/// None when the client has closed.
fn read_head(client: &mut BufReader<TcpStream>) -> std::io::Result<Option<Head>> {
    let mut head = Head { bytes: Vec::new(), length: 0, compressed: false };
    loop {
        let begin = head.bytes.len();
        if client.read_until(b'\n', &mut head.bytes)? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&head.bytes[begin..]).to_ascii_lowercase();
        match line.trim_end().split_once(':') {
            Some(("content-length", value)) => head.length = value.trim().parse().unwrap_or(0),
            Some(("content-encoding", value)) => head.compressed = value.trim() == "gzip",
            Some(_) => {}
            None if line.trim_end().is_empty() => return Ok(Some(head)),
            None => {}
        }
    }
}
