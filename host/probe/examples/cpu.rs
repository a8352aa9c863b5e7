//! Measures the processor time of one HTTP probe, plain and with TLS, against a server in another process.
//!
//! `cargo run --release -p roundsman-probe --example cpu [-- REQUESTS [http|https]]`

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::grants::Allow;
use roundsman_probe::grants::Grants;
use roundsman_probe::http::Request;
use roundsman_probe::probe::{Options, Probe, Roots};
use roundsman_probe::resolve::Resolver;
use rustix::time::{ClockId, clock_gettime};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tokio::time::Instant;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";

fn main() -> Result<(), Box<dyn Error>> {
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some("serve") {
        return serve();
    }
    let requests: u32 = argument.map_or(Ok(10_000), |number| number.parse())?;
    let mut server =
        Command::new(std::env::current_exe()?).arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut said = BufReader::new(server.stdout.take().ok_or("the server has no output")?);
    let mut line = || said.by_ref().lines().next().ok_or("the server ended")?.map_err(Box::<dyn Error>::from);
    let (plain, secure, root) = (line()?, line()?, line()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let only = std::env::args().nth(2).map_or(String::new(), |scheme| scheme + ":");
    let urls: Vec<String> = [plain, secure].into_iter().filter(|url| url.starts_with(&only)).collect();
    let done = runtime.block_on(measure(requests, &urls, unhex(&root)?));
    server.kill()?;
    server.wait()?;
    done
}

async fn measure(requests: u32, urls: &[String], root: Vec<u8>) -> Result<(), Box<dyn Error>> {
    let resolver = Resolver::fixed("127.0.0.1 shop.example");
    let probe = Probe::new(Options { resolver, roots: Roots::Only(vec![root.into()]), ..Options::default() });
    let network = vec!["http://shop.example:*".to_owned(), "https://shop.example:*".to_owned()];
    let grants = Grants::compile(&[], &Allow { network, ..Allow::default() }, &[9640])?;
    for url in urls {
        run(&probe, &grants, url, 100).await?;
        let (before, began) = (cpu(), Instant::now());
        run(&probe, &grants, url, requests).await?;
        let per = |total: Duration| total.as_secs_f64() * 1e6 / f64::from(requests);
        println!("{url}: {:.1} µs CPU, {:.1} µs wall per request", per(cpu() - before), per(began.elapsed()));
    }
    Ok(())
}

async fn run(probe: &Probe, grants: &Grants, url: &str, requests: u32) -> Result<(), Box<dyn Error>> {
    for _ in 0..requests {
        let request = Request::new("GET", url);
        let exchange = probe.http(grants, &request, Instant::now() + Duration::from_secs(10)).await;
        if exchange.result?.body != "ok" {
            return Err("another body".into());
        }
    }
    Ok(())
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs().try_into().unwrap_or(0))
}

/// Answers one connection after another, and ends when its parent does.
fn serve() -> Result<(), Box<dyn Error>> {
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(vec!["shop.example".to_owned()])?;
    params.is_ca = rcgen::IsCa::NoCa;
    let certificate = params.self_signed(&key)?.der().clone();
    let config = tls(certificate.clone(), &key)?;
    let (plain, secure) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    println!("http://shop.example:{}/", plain.local_addr()?.port());
    println!("https://shop.example:{}/", secure.local_addr()?.port());
    println!("{}", certificate.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    std::thread::spawn(move || plain.incoming().flatten().for_each(answer));
    std::thread::spawn(move || {
        for stream in secure.incoming().flatten() {
            // Session tickets and answer are two small writes: the second must not wait for the first's acknowledgement.
            if stream.set_nodelay(true).is_ok()
                && let Ok(session) = ServerConnection::new(config.clone())
            {
                answer(StreamOwned::<_, TcpStream>::new(session, stream));
            }
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn tls(certificate: CertificateDer<'static>, key: &rcgen::KeyPair) -> Result<Arc<ServerConfig>, Box<dyn Error>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    Ok(Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key)?))
}

fn answer(mut stream: impl Read + Write) {
    let mut buffer = [0; 4096];
    let mut length = 0;
    while !buffer[..length].ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer[length..]) {
            Ok(read) if read > 0 => length += read,
            _ => return,
        }
    }
    if stream.write_all(ANSWER).and_then(|()| stream.flush()).is_ok() {
        // Until the other side has closed, so that it is the one whose port stays behind.
        stream.read(&mut buffer).unwrap_or_default();
    }
}

fn unhex(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let digits = text.as_bytes().chunks(2).map(std::str::from_utf8);
    digits.map(|pair| Ok(u8::from_str_radix(pair?, 16)?)).collect()
}
