//! One attempt, and the word for what came of it.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use roundsman_sdk::dns::{Query, Transport};
use roundsman_sdk::http::{Failure, Request};
use roundsman_sdk::icmp::Echo;
use roundsman_sdk::tcp::Connection;
use roundsman_sdk::udp::Exchange;

/// Long enough for a peer on the same machine.
const PATIENCE: Duration = Duration::from_millis(300);

pub(crate) fn by(way: &str, host: &str, port: u16, server: &str) -> String {
    let address = format!("{host}:{port}");
    match way {
        "http" => word(Request::get(&format!("http://{address}/")).timeout(PATIENCE).send()),
        "redirect" => {
            let to: String = format!("http://{address}/").bytes().map(|byte| format!("{byte:02x}")).collect();
            word(Request::get(&format!("{server}/{to}")).max_redirects(3).timeout(PATIENCE).send())
        }
        "tcp" => word(tcp(&address)),
        "udp" => word(udp(&address)),
        "dns" => word(Query::new("a.example", "A").server(&address).transport(Transport::UdpOnly).timeout(PATIENCE).send()),
        "dns-tcp" => word(Query::new("a.example", "A").server(&address).transport(Transport::Tcp).timeout(PATIENCE).send()),
        "icmp" => word(Echo::new(host).count(1).timeout(PATIENCE).send()),
        "std-tcp" => std_word(std_tcp(&address)),
        "std-udp" => std_word(std_udp(&address)),
        _ => "no such way".to_owned(),
    }
}

fn word<T>(result: Result<T, Failure>) -> String {
    result.map_or_else(|failure| failure.code, |_| "reached".to_owned())
}

fn std_word<T>(result: std::io::Result<T>) -> String {
    result.map_or_else(|error| format!("{:?}", error.kind()), |_| "reached".to_owned())
}

fn tcp(address: &str) -> Result<Vec<u8>, Failure> {
    let connection = Connection::new(address).timeout(PATIENCE);
    connection.connect()?;
    connection.send("hello")?;
    connection.receive(64)
}

fn udp(address: &str) -> Result<(), Failure> {
    let exchange = Exchange::new(address).timeout(PATIENCE);
    exchange.send("hello")?;
    exchange.receive(64).map(drop)
}

fn std_tcp(address: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"hello")?;
    stream.read(&mut [0; 64]).map(drop)
}

/// Connected, and not: both ways of the sockets.
fn std_udp(address: &str) -> std::io::Result<()> {
    let connected = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.connect(address).and_then(|()| socket.send(b"hello")));
    let Some(to) = address.to_socket_addrs()?.next() else { return Ok(()) };
    let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    UdpSocket::bind(any)?.send_to(b"hello", to)?;
    connected.map(drop)
}
