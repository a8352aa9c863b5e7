//! A server that answers as it is told, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What came in.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub method: String,
    /// With the query string.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// As it was on the wire.
    pub body: Vec<u8>,
}

/// What goes out.
#[derive(Debug, Clone)]
pub enum Reply {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// Promises more of an answer than it gives.
    Cut(u16, String),
    /// Answers after a while.
    Slow(Duration, u16),
    /// Answers no sooner than the server ends.
    Never,
}

impl Reply {
    /// Nothing but a status and a text.
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self::Answer { status, headers: Vec::new(), body: body.into() }
    }
}

impl Asked {
    /// A header, empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// The body as text, decompressed if need be.
    pub fn text(&self) -> String {
        let mut text = String::new();
        match self.header("content-encoding") {
            "gzip" => flate2::read::GzDecoder::new(&self.body[..]).read_to_string(&mut text),
            _ => (&self.body[..]).read_to_string(&mut text),
        }
        .expect("the body is text, whole");
        text
    }
}

/// The server; it ends when it is dropped.
#[derive(Debug)]
pub struct Mock {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    end: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

type Script = dyn Fn(usize, &Asked) -> Reply + Send + Sync;

impl Mock {
    /// `script` is given the number of the request, from 0, and the request.
    pub fn start(script: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with_resets(0, script)
    }

    /// The same, but the first few requests are cut off while their bodies come in: closing a socket with something
    /// unread in it resets the connection. They are remembered without their bodies.
    pub fn start_with_resets(resets: usize, script: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (asked, end) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (script, all, ended) = (Arc::<Script>::from(Box::new(script) as Box<Script>), asked.clone(), end.clone());
        let accept = move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (script, asked, end) = (script.clone(), all.clone(), ended.clone());
                let stream = stream.expect("connections are accepted");
                // A thread ends with its connection; an error is the client's end of it.
                std::thread::spawn(move || drop(converse(stream, resets, &*script, &asked, &end)));
            }
        };
        Self { address, asked, end, listener: Some(std::thread::spawn(accept)) }
    }

    /// `http://address`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that came in whole, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no thread panicked").clone()
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(listener) = self.listener.take() {
            drop(listener.join());
        }
    }
}

fn converse(
    stream: TcpStream,
    resets: usize,
    script: &Script,
    asked: &Mutex<Vec<Asked>>,
    end: &AtomicBool,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut write = stream.try_clone()?;
    let mut read = BufReader::new(stream);
    while let Some((mut request, length)) = head(&mut read)? {
        let number = asked.lock().expect("no thread panicked").len();
        if number < resets {
            asked.lock().expect("no thread panicked").push(request);
            return Ok(());
        }
        request.body = vec![0; length];
        read.read_exact(&mut request.body)?;
        let reply = script(number, &request);
        asked.lock().expect("no thread panicked").push(request);
        match reply {
            Reply::Answer { status, headers, body } => {
                let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                write!(write, "HTTP/1.1 {status} X\r\n{headers}")?;
                if status != 204 {
                    write!(write, "Content-Length: {}\r\n", body.len())?;
                }
                write!(write, "\r\n{body}")?;
            }
            Reply::Cut(status, body) => {
                return write!(write, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len() + 1_000);
            }
            Reply::Slow(wait, status) => {
                std::thread::sleep(wait);
                write!(write, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")?;
            }
            Reply::Never => {
                while !end.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The head of the next request and the length of its body; none when the client has closed.
fn head(read: &mut BufReader<TcpStream>) -> std::io::Result<Option<(Asked, usize)>> {
    let mut line = String::new();
    if read.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let mut asked =
        Asked { method: words.next().unwrap_or_default(), path: words.next().unwrap_or_default(), ..Asked::default() };
    loop {
        let mut line = String::new();
        read.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        asked.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = asked.header("content-length").parse().unwrap_or(0);
    Ok(Some((asked, length)))
}
