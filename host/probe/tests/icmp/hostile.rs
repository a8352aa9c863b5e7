//! A host that answers echo requests in whatever way it likes.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use roundsman_probe::failure::code;
use roundsman_probe::icmp::Kind;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, ipproto, recvfrom, sendto, socket};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::network::{Mode, Network};
use crate::{all, kinds, ping, reachable};

/// Answers each request by packets from its own or its second address, behind the router.
fn answering(network: &Network, handle: impl Fn(&[u8]) -> Vec<(bool, Vec<u8>)> + Send + 'static) {
    let namespace = File::open(format!("/proc/{}/ns/net", network.far.id())).unwrap();
    let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
    thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        let own = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)).unwrap();
        let second = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)).unwrap();
        rustix::net::bind(&second, &SocketAddr::from(([10, 2, 0, 2], 0))).unwrap();
        rustix::net::bind(&own, &SocketAddr::from(([10, 2, 0, 1], 0))).unwrap();
        ready.send(()).unwrap();
        let mut packet = [0; 2048];
        loop {
            let (length, _, from) = recvfrom(&own, &mut packet[..], RecvFlags::empty()).unwrap();
            // Behind twenty bytes of IP; requests alone.
            let message = &packet[20..length];
            if message[0] != 8 {
                continue;
            }
            let to = SocketAddr::try_from(from.unwrap()).unwrap();
            for (is_own, answer) in handle(message) {
                let socket = if is_own { &own } else { &second };
                sendto(socket, &answer, SendFlags::empty(), &to).unwrap();
            }
        }
    });
    is_ready.recv().unwrap();
}

/// The answer to a request, changed, with its checksum set right.
fn reply(request: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut answer = request.to_vec();
    answer[0] = 0;
    change(&mut answer);
    answer[2..4].fill(0);
    let mut padded = answer.clone();
    padded.resize(answer.len().next_multiple_of(2), 0);
    let sum: u32 = padded.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
    answer[2..4].copy_from_slice(&folded.to_be_bytes());
    answer
}

#[tokio::test]
async fn answers_that_are_not_ours() {
    for mode in Mode::BOTH {
        if !crate::network::inside("hostile::answers_that_are_not_ours", mode) {
            continue;
        }
        let network = reachable().await;
        network.silence_far();
        answering(&network, |request| {
            let sequence = request[7];
            let wrong = [
                (true, reply(request, |a| a[8] ^= 1)),
                (true, reply(request, |a| a[7] = 77)),
                (true, reply(request, |a| a[1] = 1)),
                (true, reply(request, |a| a.truncate(12))),
                (false, reply(request, |_| ())),
            ];
            match sequence {
                // Nothing right; everything wrong and then right; right, twice.
                0 => wrong.to_vec(),
                1 => [wrong.as_slice(), &[(true, reply(request, |_| ()))]].concat(),
                _ => vec![(true, reply(request, |_| ())); 2],
            }
        });
        let exchange = ping("10.2.0.1", |echo| echo.set_timeout(Duration::from_millis(500))).await;
        assert_eq!(kinds(&exchange), ["lost", "reply", "reply"], "{exchange:?}");
        assert_eq!(exchange.duplicates, 1);
        let ignored: u32 = exchange.fact("ignored").unwrap().parse().unwrap();
        // A raw socket that is connected does not hear the second address at all.
        assert!((8..=10).contains(&ignored), "{exchange:?}");
        assert_eq!(exchange.replies[1].from, Some(IpAddr::from([10, 2, 0, 1])));
    }
}

#[tokio::test]
async fn floods_have_an_end() {
    for mode in Mode::BOTH {
        if !crate::network::inside("hostile::floods_have_an_end", mode) {
            continue;
        }
        let network = reachable().await;
        network.silence_far();
        answering(&network, |request| {
            let wrong = reply(request, |a| a[9] ^= 1);
            vec![(true, wrong); 30_000]
        });
        let exchange = ping("10.2.0.1", |echo| {
            echo.set_count(1);
            echo.set_timeout(Duration::from_secs(20));
        });
        let failed = exchange.await.result.unwrap_err();
        assert_eq!(failed.code, code::PROTOCOL, "{failed}");
        all(&ping("127.0.0.1", |_| ()).await, Kind::Reply, Some("127.0.0.1"));
    }
}
