//! The other side of the agent's sockets: a database that takes everything, and a web server that can fall silent.
//!
//! Each is a process of its own, so that its processor time and memory are not the agent's.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

use crate::prepare::Place;

/// As the first argument: be a server.
pub(crate) const ARGUMENT: &str = "__serve";
const LOCAL: &str = "127.0.0.1:0";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";
const TAKEN: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
/// Requests of probes are far smaller.
const MAX_REQUEST: usize = 4096;

/// What a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Answers 204 to everything.
    Sink,
    /// Three ports: plain, plain until it is told to hang, and TLS.
    Web,
}

/// A server in a process of its own, which ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    stdin: ChildStdin,
    addresses: Vec<String>,
}

impl Server {
    pub(crate) fn start(kind: Kind, place: &Place) -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped());
        match kind {
            Kind::Sink => command.arg("sink"),
            Kind::Web => command.arg("web").args(place.certificate()),
        };
        let mut child = command.spawn()?;
        let (stdin, stdout) = child.stdin.take().zip(child.stdout.take()).context("the server has no pipes")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(Self { child, stdin, addresses: line.split_whitespace().map(str::to_owned).collect() })
    }

    /// Host and port of one of its ports.
    pub(crate) fn address(&self, number: usize) -> Result<&str> {
        self.addresses.get(number).map(String::as_str).context("the server did not begin")
    }

    /// From now on the second port accepts, and never answers.
    pub(crate) fn hang(&mut self) -> Result<()> {
        Ok(writeln!(self.stdin, "hang")?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is gone already, then.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The whole life of a server's process.
pub(crate) fn serve(arguments: &[String]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["sink"] => runtime.block_on(sink()),
        ["web", certificate, key] => {
            let acceptor = acceptor(fs::read(certificate)?, fs::read(key)?)?;
            runtime.block_on(web(acceptor))
        }
        _ => bail!("no such server"),
    }
}

async fn sink() -> Result<()> {
    let listener = TcpListener::bind(LOCAL).await?;
    announce(&[&listener])?;
    accept(listener, |stream| async move { take(stream).await.unwrap_or_default() }).await
}

/// Reads one request after another, by their lengths.
async fn take(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (read, mut write) = stream.split();
    let mut read = tokio::io::BufReader::with_capacity(256 << 10, read);
    let (mut line, mut length) = (String::new(), 0);
    while read.read_line(&mut line).await? > 0 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line == "\r\n" {
            tokio::io::copy_buf(&mut (&mut read).take(length), &mut tokio::io::sink()).await?;
            write.write_all(TAKEN).await?;
        }
        line.clear();
    }
    Ok(())
}

async fn web(acceptor: TlsAcceptor) -> Result<()> {
    let (plain, moody, secure) =
        (TcpListener::bind(LOCAL).await?, TcpListener::bind(LOCAL).await?, TcpListener::bind(LOCAL).await?);
    announce(&[&plain, &moody, &secure])?;
    let hanging = Arc::new(AtomicBool::new(false));
    let told = hanging.clone();
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines() {
            told.store(true, Ordering::Relaxed);
        }
    });
    let plain = accept(plain, |stream| async move { answer(stream).await.unwrap_or_default() });
    let moody = accept(moody, move |stream| {
        let hang = hanging.load(Ordering::Relaxed);
        async move { if hang { wait(stream).await } else { answer(stream).await.unwrap_or_default() } }
    });
    let secure = accept(secure, move |stream| {
        let acceptor = acceptor.clone();
        async move {
            stream.set_nodelay(true).ok();
            if let Ok(session) = acceptor.accept(stream).await {
                answer(session).await.unwrap_or_default();
            }
        }
    });
    tokio::try_join!(plain, moody, secure).map(|_| ())
}

async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    serve: impl Fn(TcpStream) -> F,
) -> Result<()> {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                open.spawn(serve(accepted?.0));
            }
            Some(_) = open.join_next() => {}
        }
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut request = Vec::with_capacity(MAX_REQUEST);
    while !request.ends_with(b"\r\n\r\n") {
        if request.len() >= MAX_REQUEST || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(ANSWER).await?;
    stream.flush().await?;
    // Until the other side has closed, so that it is the one whose port stays behind.
    stream.read_buf(&mut request).await.map(drop)
}

/// Reads until the other side gives up, and says nothing.
async fn wait(mut stream: TcpStream) {
    let mut sink = [0; 256];
    while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
}

fn acceptor(certificate: Vec<u8>, key: Vec<u8>) -> Result<TlsAcceptor> {
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let key = PrivateKeyDer::try_from(key).map_err(|why| anyhow::anyhow!("the key is none: {why}"))?;
    let config = config.with_no_client_auth().with_single_cert(vec![CertificateDer::from(certificate)], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn announce(listeners: &[&TcpListener]) -> Result<()> {
    let addresses: Vec<String> =
        listeners.iter().map(|listener| Ok(listener.local_addr()?.to_string())).collect::<std::io::Result<_>>()?;
    println!("{}", addresses.join(" "));
    Ok(())
}
