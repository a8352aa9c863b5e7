//! A TCP connection to the first address that answers.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::failure::{Failure, code, phase};

/// Tries the addresses in order. Each gets an equal share of the time that is left, so that one black hole does not
/// hide the others. `peer` is the address that is being, or was last, dialled.
pub(crate) async fn dial(
    addresses: &[SocketAddr],
    deadline: Instant,
    peer: &mut Option<SocketAddr>,
) -> Result<TcpStream, Failure> {
    let mut last = Failure::new(code::RESOLVE, phase::CONNECT, "there is no address to connect to");
    for (index, address) in addresses.iter().enumerate() {
        *peer = Some(*address);
        let now = Instant::now();
        let left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let until = now + deadline.saturating_duration_since(now) / left;
        match timeout_at(until, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // The request goes out in few writes and nothing follows: waiting to fill a packet only adds delay.
                stream.set_nodelay(true).map_err(|error| failed(&error, *address))?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = failed(&error, *address),
            Err(_) => {
                last =
                    Failure::new(code::TIMEOUT, phase::CONNECT, format!("connecting to {address}: no answer in time"));
            }
        }
    }
    if addresses.len() > 1 {
        last.message = format!("{} (the last of {} addresses)", last.message, addresses.len());
    }
    Err(last)
}

fn failed(error: &std::io::Error, address: SocketAddr) -> Failure {
    Failure::socket(error, phase::CONNECT, format_args!("connecting to {address}"))
}
