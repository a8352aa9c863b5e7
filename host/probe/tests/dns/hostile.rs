//! Servers that answer something else, too much, too slowly, or what cannot be read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::{Name, RecordType};
use roundsman_probe::dns::Query;
use roundsman_probe::failure::code;
use tokio::time::Instant;

use crate::support::{LONG, Server as Tcp, grants, probe, probe_with};
use crate::{answer, ask, failure};

/// Answers each datagram with those that a function makes of it, and counts them.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn new(handle: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Server {
        Server::on(UdpSocket::bind("127.0.0.1:0").unwrap(), handle)
    }

    pub(crate) fn on(socket: UdpSocket, handle: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Server {
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        thread::spawn(move || {
            let mut query = [0; 2048];
            while let Ok((length, peer)) = socket.recv_from(&mut query) {
                count.fetch_add(1, Ordering::SeqCst);
                for datagram in handle(&query[..length]) {
                    drop(socket.send_to(&datagram, peer));
                }
            }
        });
        Server { address, asked }
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The answer to a question, with nothing in it but what is changed.
pub(crate) fn reply(query: &[u8], change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::from_vec(query).unwrap();
    message.metadata.message_type = MessageType::Response;
    message.edns = None;
    change(&mut message);
    message.to_vec().unwrap()
}

/// The head and the question of an answer, and whatever follows.
fn raw(query: &[u8], counts: [u16; 3], rest: &[u8]) -> Vec<u8> {
    let mut bytes = reply(query, |_| ());
    for (index, count) in counts.iter().enumerate() {
        bytes[6 + 2 * index..8 + 2 * index].copy_from_slice(&count.to_be_bytes());
    }
    bytes.extend(rest);
    bytes
}

/// An address record of the name that was asked for.
const RECORD: &[u8] = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x07\x00\x04\xc0\x00\x02\x07";

#[tokio::test]
async fn answers_to_other_questions_are_ignored() {
    let server = Server::new(|query| {
        vec![
            reply(query, |m| m.metadata.id = m.metadata.id.wrapping_add(1)),
            reply(query, |m| m.queries[0].name = Name::from_ascii("b.test.").unwrap()),
            reply(query, |m| m.queries[0].query_type = RecordType::AAAA),
            reply(query, |m| m.metadata.message_type = MessageType::Query),
            b"\x00".to_vec(),
            Vec::new(),
            raw(query, [1, 0, 0], RECORD),
            raw(query, [0, 0, 0], b""),
        ]
    });
    let exchange = ask(server.address, "A.test", "A", |_| ()).await;
    assert_eq!((exchange.fact("ignored"), exchange.fact("attempts")), (Some("6"), Some("1")));
    assert_eq!(answer(exchange).answer[0].text, "192.0.2.7");

    let only = Server::new(|query| vec![reply(query, |m| m.metadata.id ^= 1)]);
    let exchange = ask(only.address, "a.test", "A", |query| query.set_timeout(Duration::from_millis(200))).await;
    let failed = failure(exchange);
    assert_eq!((failed.code, failed.phase), (code::TIMEOUT, "first-byte"));
    assert!(failed.message.contains("1 messages that answer something else"), "{failed}");
}

/// The question's identifier and its port are known to whoever sees it; from another address they are of no use.
#[tokio::test]
async fn answers_of_other_peers_are_never_seen() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let asked = thread::spawn(move || {
        let mut query = [0; 2048];
        let (length, peer) = socket.recv_from(&mut query).unwrap();
        let spoofed =
            raw(&query[..length], [1, 0, 0], b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x07\x00\x04\x06\x06\x06\x06");
        for other in ["127.0.0.1:0", "127.0.0.2:0"] {
            UdpSocket::bind(other).unwrap().send_to(&spoofed, peer).unwrap();
        }
        socket.send_to(&raw(&query[..length], [1, 0, 0], RECORD), peer).unwrap();
        peer.port()
    });
    let exchange = ask(address, "a.test", "A", |_| ()).await;
    assert_eq!(exchange.fact("ignored"), Some("0"));
    assert_eq!(answer(exchange).answer[0].text, "192.0.2.7");
    assert!(asked.join().unwrap() > 1024);
}

#[tokio::test]
async fn identifiers_and_ports_differ() {
    let (send, seen) = std::sync::mpsc::sync_channel(64);
    let server = Server::new(move |query| {
        send.send([query[0], query[1]]).unwrap();
        vec![reply(query, |_| ())]
    });
    for _ in 0..16 {
        answer(ask(server.address, "a.test", "A", |_| ()).await);
    }
    let ids: std::collections::BTreeSet<_> = seen.try_iter().collect();
    assert!(ids.len() > 12, "{ids:?}");
}

#[tokio::test]
async fn answers_that_nobody_can_read() {
    for (counts, rest, says) in [
        ([1, 0, 0], &b"\xc0\x23"[..], "record 1 of the section answer"),
        // The name is at 12, 8 bytes, and 4 more: this record is at 24, and its name leads to itself and to the next.
        ([1, 0, 0], b"\xc0\x18\x00\x01\x00\x01\x00\x00\x00\x07\x00\x00", "a name that makes no sense"),
        ([0, 1, 0], b"\xc0\x1a\xc0\x18\x00\x01\x00\x01\x00\x00\x00\x07\x00\x00", "section authority"),
        ([1, 0, 0], b"\xc0\x0c\x00\x02\x00\x01\x00\x00\x00\x07\x00\x02\xc0\x24", "a name that makes no sense"),
        ([2, 0, 0], RECORD, "record 2 of the section answer"),
        ([1, 0, 0], b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x07\x00\x05\xc0\x00\x02\x07\x00", "bytes behind its end"),
        ([1, 0, 0], b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x07\xff\xff\xc0\x00\x02\x07", "ends too early"),
        ([0, 0, 65535], b"", "section additional"),
    ] {
        let server = Server::new(move |query| vec![raw(query, counts, rest)]);
        let failed = failure(ask(server.address, "a.test", "A", |_| ()).await);
        assert_eq!((failed.code, failed.phase), (code::PROTOCOL, "first-byte"), "{failed}");
        assert!(failed.message.contains(says), "{failed} does not say {says}");
    }
}

#[tokio::test]
async fn nobody_listens_or_answers() {
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let failed = failure(ask(closed, "a.test", "A", |_| ()).await);
    assert_eq!((failed.code, failed.phase), (code::REFUSED, "first-byte"), "{failed}");
    let failed = failure(ask(closed, "a.test", "A", |query| query.set_transport("tcp")).await);
    assert_eq!((failed.code, failed.phase), (code::REFUSED, "connect"), "{failed}");

    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let begun = std::time::Instant::now();
    let exchange = ask(silent.local_addr().unwrap(), "a.test", "A", |query| {
        query.set_timeout(Duration::from_millis(300));
        query.set_option("attempts", "3").unwrap();
    });
    let exchange = exchange.await;
    assert_eq!(exchange.fact("attempts"), Some("3"));
    assert!(exchange.timing("first-byte").unwrap() >= Duration::from_millis(250));
    assert_eq!(failure(exchange).code, code::TIMEOUT);
    assert!(begun.elapsed() >= Duration::from_millis(290));
    silent.set_nonblocking(true).unwrap();
    let datagrams = std::iter::from_fn(|| silent.recv(&mut [0; 64]).ok()).count();
    assert_eq!(datagrams, 3);
}

/// Answers over a connection: the question is read, then the bytes are sent.
fn over_tcp(handle: impl Fn(&[u8], &mut TcpStream) + Send + Sync + 'static) -> Tcp {
    Tcp::new(move |mut stream| {
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query).unwrap();
        handle(&query, &mut stream);
    })
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

#[tokio::test]
async fn connections_that_misbehave() {
    let tcp = |server: &Tcp| {
        ask(server.address, "a.test", "A", |query| {
            query.set_transport("tcp");
            query.set_timeout(Duration::from_millis(500));
        })
    };
    // 64 KiB of records is the most that a message can be.
    let full = over_tcp(|query, stream| {
        let count = u16::try_from((65_535 - query.len()) / RECORD.len()).unwrap();
        let message = raw(query, [count, 0, 0], &RECORD.repeat(usize::from(count)));
        stream.write_all(&framed(&message)).unwrap();
    });
    let exchange = ask(full.address, "a.test", "A", |query| query.set_transport("tcp")).await;
    let found = answer(exchange);
    assert!(found.answer.len() > 4000 && found.bytes > 65_500, "{} {}", found.answer.len(), found.bytes);
    assert!(found.size() < 1 << 20, "{}", found.size());

    let others_first = over_tcp(|query, stream| {
        let other = reply(query, |m| m.metadata.id ^= 1);
        let frames = [framed(&other), framed(b""), framed(&raw(query, [1, 0, 0], RECORD))].concat();
        stream.write_all(&frames).unwrap();
    });
    let exchange = tcp(&others_first).await;
    assert_eq!(exchange.fact("ignored"), Some("2"));
    assert_eq!(answer(exchange).answer.len(), 1);

    let flood = over_tcp(|query, stream| {
        let other = framed(&reply(query, |m| m.metadata.id ^= 1));
        while stream.write_all(&other).is_ok() {}
    });
    let failed = failure(ask(flood.address, "a.test", "A", |query| query.set_transport("tcp")).await);
    assert_eq!(failed.code, code::PROTOCOL, "{failed}");

    let drip = over_tcp(|query, stream| {
        for byte in framed(&reply(query, |_| ())).repeat(1000) {
            if stream.write_all(&[byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
    });
    let exchange = tcp(&drip).await;
    assert!(exchange.timing("first-byte").is_some());
    let failed = failure(exchange);
    assert_eq!((failed.code, failed.phase), (code::TIMEOUT, "transfer"), "{failed}");

    for (bytes, phase) in [(&b""[..], "first-byte"), (b"\x00", "transfer"), (b"\xff\xffabc", "transfer")] {
        let ends = over_tcp(move |_, stream| stream.write_all(bytes).unwrap());
        let failed = failure(tcp(&ends).await);
        assert_eq!((failed.code, failed.phase), (code::CLOSED, phase), "{failed}");
    }
}

/// What is asked over UDP and truncated is asked again over TCP; if that is not there, it failed.
#[tokio::test]
async fn truncated_and_then_nothing() {
    let server = Server::new(|query| vec![reply(query, |m| m.metadata.truncation = true)]);
    let failed = failure(ask(server.address, "a.test", "A", |_| ()).await);
    assert_eq!((failed.code, failed.phase), (code::REFUSED, "connect"));
    let found = answer(ask(server.address, "a.test", "A", |query| query.set_transport("udp-only")).await);
    assert!(found.flag("tc") && found.answer.is_empty());
}

#[tokio::test]
async fn what_is_not_granted_or_makes_no_sense() {
    let server = Server::new(|query| vec![reply(query, |_| ())]);
    let at = server.address.to_string();
    let asked = |grant: &[&str], server: &str, set: &dyn Fn(&mut Query)| {
        let mut query = Query::new("a.test", "A");
        query.set_server(server);
        set(&mut query);
        let grants = grants(grant);
        let probe = probe_with("127.0.0.1 ns.test", roundsman_probe::probe::Roots::Only(Vec::new()));
        async move { failure(probe.dns(&grants, &query, Instant::now() + LONG).await) }
    };
    let nothing: &dyn Fn(&mut Query) = &|_| ();
    for (grant, server, line) in [
        (&[][..], at.clone(), format!("dns://{at}")),
        (&["udp://127.0.0.1:*", "tcp://127.0.0.1:*"], at.clone(), format!("dns://{at}")),
        (&["dns://system"], at.clone(), format!("dns://{at}")),
        (&["dns://*:*"], at.clone(), format!("dns://{at}")),
        (&[], format!("ns.test:{}", server.address.port()), format!("dns://ns.test:{}", server.address.port())),
        (&["dns://127.0.0.1:1"], "dns://system".to_owned(), "dns://system".to_owned()),
    ] {
        let denied = asked(grant, &server, nothing).await;
        assert_eq!((denied.code, denied.phase), (code::DENIED, "policy"), "{denied}");
        assert!(denied.message.contains(&line), "{denied} does not say {line}");
    }
    let granted = format!("dns://{at}");
    for (set, says) in [
        (&(|q: &mut Query| q.set_transport("quic")) as &dyn Fn(&mut Query), "no transport"),
        (&|q: &mut Query| q.set_address_family("ipv5"), "address family"),
        (&|q: &mut Query| q.set_address_family("ipv6"), "IPv6"),
        (&|q: &mut Query| *q = Query::new("a..b", "A"), "empty label"),
        (&|q: &mut Query| *q = Query::new("a", "NOPE"), "no type"),
        (&|q: &mut Query| *q = Query::new("a", "AXFR"), "no question with one answer"),
        (&|q: &mut Query| *q = Query::new(&"a".repeat(2000), "A"), "longer than"),
        (&|q: &mut Query| q.set_server("10.0.0.1:99999"), "no port"),
    ] {
        let refused = asked(&[&granted], &at, set).await;
        assert!(["invalid", "unsupported", "limit"].contains(&refused.code), "{refused:?}");
        assert!(refused.message.contains(says), "{refused} does not say {says}");
    }
    let mut query = Query::new("a", "A");
    assert_eq!(query.set_option("nsid", "1").unwrap_err().code, code::UNSUPPORTED);
    for (name, value) in [("attempts", "0"), ("attempts", "6"), ("attempts", "x"), ("checking-disabled", "1")] {
        assert_eq!(query.set_option(name, value).unwrap_err().code, code::INVALID);
    }
    assert_eq!(server.asked(), 0);
    let probe = probe();
    drop(probe.dns(&grants(&[]), &query, Instant::now() + LONG).await);
    assert_eq!((probe.stats().dns.calls(), probe.stats().dns.refusals()), (1, 1));
}
