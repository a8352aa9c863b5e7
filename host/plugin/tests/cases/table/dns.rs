//! `dns`: servers by datagram, connection and TLS that answer with what they saw of the question.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{Expected, Table, bench, is, load, part, peers};
use crate::probe_support::{Server, hold};

/// The answer to a question for `www.shop.test`: a text, and one record in each of the other sections, with words of its
/// own about why.
fn reply(query: &[u8], seen: &str) -> Vec<u8> {
    let question = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let asked = u16::from_be_bytes([query[question - 4], query[question - 3]]);
    let (rd, cd) = (query[2] & 1, (query[3] >> 4) & 1);
    // In the last record of a question, EDNS.
    let dnssec = u8::from(query[query.len() - 4] == 0x80);
    let text = format!("asked=type {asked}; rd={rd}; cd={cd}; do={dnssec}; {seen}");
    let head = [0x84 | rd, (cd << 4) | 5, 0, 1, 0, 1, 0, 1, 0, 2];
    let mut bytes = [&query[..2], &head, &query[12..question]].concat();
    bytes.extend(b"\xc0\x0c\x00\x10\x00\x01\x00\x00\x00\x07\x00");
    bytes.extend([u8::try_from(text.len() + 1).unwrap(), u8::try_from(text.len()).unwrap()]);
    bytes.extend(text.as_bytes());
    bytes.extend(b"\xc0\x10\x00\x02\x00\x01\x00\x00\x00\x08\x00\x05\x02ns\xc0\x10");
    bytes.extend(b"\x02ns\xc0\x10\x00\x01\x00\x01\x00\x00\x00\x09\x00\x04\x7f\x00\x00\x01");
    bytes.extend(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x0c\x00\x0f\x00\x08\x00\x12closed");
    bytes
}

/// By datagrams; the first so many questions are missed.
fn by_udp(deaf_to: usize) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    let count = AtomicUsize::new(0);
    thread::spawn(move || {
        let mut query = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            if number > deaf_to {
                thread::sleep(peers::THINKING);
                let seen = format!("by=udp; at={at}; question={number}");
                drop(socket.send_to(&reply(&query[..length], &seen), from));
            }
        }
    });
    at
}

/// One question and its answer, each behind its length.
fn converse(stream: &mut (impl Read + Write), seen: &str) {
    let mut length = [0; 2];
    if stream.read_exact(&mut length).is_err() {
        return;
    }
    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
    if stream.read_exact(&mut query).is_ok() {
        let answer = reply(&query, seen);
        let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
        drop(stream.write_all(&[&length, answer.as_slice()].concat()));
        drop(stream.flush());
    }
}

fn by_tcp(ip: IpAddr, port: u16) {
    Server::on(ip, port, |mut stream| {
        let seen = format!("by=tcp; from={}", peers::from(&stream));
        converse(&mut stream, &seen);
        hold(stream);
    });
}

fn by_tls(shop: &peers::Shop) -> SocketAddr {
    let config = shop.config(shop.identity("dns.internal"), b"dot", false);
    let server = Server::new(move |stream| {
        let Some(mut stream) = peers::secured(&config, stream) else { return };
        let seen = peers::seen_of(&stream.conn);
        converse(&mut stream, &seen);
        hold(stream.sock);
    });
    server.address
}

pub(super) fn tour(table: &mut Table) {
    let shop = peers::Shop::new();
    let bench = bench(shop.options());
    let (server, deaf, secured) = (by_udp(0), by_udp(1).to_string(), by_tls(&shop));
    let both = peers::on_both(TcpListener::bind);
    ["127.0.0.1", "::1"].iter().for_each(|ip| by_tcp(ip.parse().unwrap(), both));
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let plugin = load(&bench);
    let lines = ["dns://shop.example:*", "dns://both.example:*", "dns://127.0.0.1:*"];
    let thinking = i128::try_from(peers::THINKING.as_nanos()).unwrap();
    // As long as the question is, whatever else is in it.
    let question = [[0; 12].as_slice(), b"\x03www\x04shop\x04test\0\0\x10\0\x01", &[0; 11]].concat();
    let length = reply(&question, &format!("by=udp; at={server}; question=1")).len();
    table.take(
        &bench.run(&plugin, &part("dns", &[&format!("shop.example:{}", server.port())], &lines)),
        &[
            ("dns.query.constructor", is("type 16")),
            ("dns.query.set-server", is(server)),
            ("dns.query.set-recursion", is("rd 0")),
            ("dns.query.set-dnssec", is("do 1")),
            ("dns.query.set-option", is("cd 1")),
            ("dns.query.peer-address", is(server)),
            ("dns.query.timing-ns", Expected::Between(thinking, 15_000_000_000)),
            ("dns.query.fact", is("18 closed")),
            ("dns.answer.rcode", is("REFUSED")),
            ("dns.answer.flag", is(true)),
            ("dns.answer.records", is("shop.test. 8 NS ns.shop.test., ns.shop.test. 9 A 127.0.0.1")),
            ("dns.answer.bytes", is(length)),
            ("dns.query.send", is(2)),
        ],
    );
    let silent = silent.local_addr().unwrap().to_string();
    table.take(
        &bench.run(&plugin, &part("dns-more", &[&format!("both.example:{both}"), &deaf, &silent], &lines)),
        &[
            ("dns.query.set-transport", is("tcp")),
            ("dns.query.set-address-family", is("::1")),
            ("dns.query.set-option", is("unsupported")),
            ("dns.query.set-option", is(2)),
            ("dns.query.set-timeout-ns", is("timeout in first-byte")),
        ],
    );
    let run = part("dns-tls", &[&format!("shop.example:{}", secured.port())], &lines).secret("shop");
    table.take(
        &bench.run(&plugin, &run),
        &[
            ("dns.query.set-server-name", is("dns.internal")),
            ("dns.query.certificates", is("CN=dns.internal, CN=the root")),
            ("dns.query.set-certificate-authority", is("1.3 with it, certificate in tls without")),
            ("dns.query.set-verify-certificate", is("REFUSED with false, certificate in tls without")),
        ],
    );
}
