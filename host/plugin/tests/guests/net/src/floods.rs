//! Ten thousand of everything.

use std::collections::BTreeMap;
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};

use roundsman_sdk::Outcome;
use roundsman_sdk::bindings::roundsman::net::tcp::Connection;
use roundsman_sdk::bindings::roundsman::net::udp::Exchange;

const MANY: usize = 10_000;

/// None: it is something else that is asked for.
pub(crate) fn run(what: &str, address: &str) -> Option<Outcome> {
    let mut held = Vec::new();
    let mut streams = Vec::new();
    let ends = match what {
        "connect-and-hold" => count(|| {
            let connection = Connection::new(address);
            let result = connection.connect().map_err(|failure| failure.code);
            // Whoever held also what failed would meet the limit of handles instead.
            result.map(|()| held.push(connection))
        }),
        "connect-and-drop" => count(|| Connection::new(address).connect().map_err(|failure| failure.code)),
        "std-connect-and-hold" => count(|| match TcpStream::connect(address) {
            Ok(stream) => {
                streams.push(stream);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }),
        "std-connect-and-drop" => count(|| TcpStream::connect(address).map(drop).map_err(|error| error.to_string())),
        "datagrams" => {
            let exchange = Exchange::new(address);
            count(|| exchange.send(b"x").map_err(|failure| failure.code))
        }
        "exchanges" => count(|| Exchange::new(address).send(b"x").map_err(|failure| failure.code)),
        "std-datagrams" => {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            count(|| socket.send_to(b"x", address).map(drop).map_err(|error| error.to_string()))
        }
        "std-look-ups" => count(|| (address, 80).to_socket_addrs().map(drop).map_err(|error| error.to_string())),
        "fill-buffers" => count(|| {
            let connection = Connection::new(address);
            connection.connect().map_err(|failure| failure.code)?;
            let result = connection.receive_until(b"\r\n", u32::MAX).map(drop).map_err(|failure| failure.code);
            held.push(connection);
            result
        }),
        _ => return None,
    };
    Some(Outcome::ok(ends))
}

/// How often each end came.
fn count(mut one: impl FnMut() -> Result<(), String>) -> String {
    let mut ends = BTreeMap::new();
    for _ in 0..MANY {
        let end = one().err().unwrap_or_else(|| "ok".to_owned());
        *ends.entry(end).or_insert(0) += 1;
    }
    let ends: Vec<_> = ends.into_iter().map(|(end, times)| format!("{times} {end}")).collect();
    ends.join(", ")
}
