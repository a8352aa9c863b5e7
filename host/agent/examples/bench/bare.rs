//! What one exchange costs without an agent: a client that connects, asks and reads, and does nothing else.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::measure::cpu;

/// How often it wakes. The agent's own grid is as coarse at this interval, so caches are as cold.
const PERIOD: Duration = Duration::from_millis(4);
/// Exchanges for each time it wakes: 500 a second.
const AT_ONCE: u32 = 2;

/// Exchanges for so long with a server that answers as `servers` does; the processor time of each, in microseconds. With
/// an authority, over TLS: a full handshake, verified, as probes make it.
pub(crate) fn exchanges(address: &str, authority: Option<&Path>, length: Duration) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connector = authority.map(connector).transpose()?;
        one(address, connector.as_ref()).await?;
        let (mut count, begun, used) = (0, Instant::now(), cpu());
        let mut due = begun;
        while due.duration_since(begun) < length {
            due += PERIOD;
            tokio::time::sleep_until(due).await;
            for _ in 0..AT_ONCE {
                one(address, connector.as_ref()).await?;
                count += 1;
            }
        }
        Ok((cpu() - used).as_secs_f64() * 1e6 / f64::from(count))
    })
}

fn connector(authority: &Path) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn one(address: &str, connector: Option<&TlsConnector>) -> Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let Some(connector) = connector else { return ask(stream, address).await };
    let host = address.rsplit_once(':').context("an address without a port")?.0;
    ask(connector.connect(ServerName::try_from(host.to_owned())?, stream).await?, address).await
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, host: &str) -> Result<()> {
    stream.write_all(format!("GET / HTTP/1.1\r\nhost: {host}\r\naccept: */*\r\n\r\n").as_bytes()).await?;
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).await?;
    ensure!(answer[..length].starts_with(b"HTTP/1.1 200 "), "no answer");
    Ok(())
}
