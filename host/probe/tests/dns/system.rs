//! The node's own servers, in the order and with the patience of its configuration.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use roundsman_probe::dns::{Exchange, Query};
use roundsman_probe::failure::code;
use roundsman_probe::probe::{Options, Probe};
use roundsman_probe::resolve::Resolver;
use tokio::time::Instant;

use crate::hostile::{Server, reply};
use crate::support::{LONG, grants, skipped};
use crate::{answer, failure};

/// Asks the servers of a resolv.conf.
async fn ask_own(resolv_conf: &str, grant: &[&str], within: Duration) -> Exchange {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolv.conf");
    std::fs::write(&path, resolv_conf).unwrap();
    let resolver = Resolver::from_files(path, folder.path().join("none"));
    let probe = Probe::new(Options { resolver, ..Options::default() });
    probe.dns(&grants(grant), &Query::new("a.test", "A"), Instant::now() + within).await
}

/// Servers are at port 53 and nowhere else; on an address of loopback that is nobody's.
fn at_port_53(last: u8) -> Option<UdpSocket> {
    let address = SocketAddr::from(([127, 53, u8::try_from(std::process::id() % 251).unwrap(), last], 53));
    match UdpSocket::bind(address) {
        Ok(socket) => Some(socket),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            skipped("port 53 is for root");
            None
        }
        Err(error) => panic!("{address}: {error}"),
    }
}

#[tokio::test]
async fn servers_in_their_order() {
    let sockets = (1..=3).map_while(at_port_53).collect::<Vec<_>>();
    let Ok([failing, good, silent]) = <[UdpSocket; 3]>::try_from(sockets) else { return };
    let [failing_at, good_at, silent_at] = [&failing, &good, &silent].map(|s| s.local_addr().unwrap());
    let failing = Server::on(failing, |query| {
        vec![reply(query, |m| m.metadata.response_code = hickory_proto::op::ResponseCode::ServFail)]
    });
    let good = Server::on(good, |query| vec![reply(query, |_| ())]);
    let list = |addresses: &[SocketAddr]| -> String {
        addresses.iter().map(|address| format!("nameserver {}\n", address.ip())).collect()
    };
    let system = ["dns://system"];

    let exchange = ask_own(&list(&[good_at, failing_at]), &system, LONG).await;
    assert_eq!((exchange.fact("attempts"), exchange.peer), (Some("1"), Some(good_at)));
    assert_eq!(answer(exchange).rcode, "NOERROR");
    assert_eq!((good.asked(), failing.asked()), (1, 0));

    // Who cannot help sends us on, as the C library does; who says nothing has his share of the time.
    let exchange = ask_own(&list(&[failing_at, good_at]), &system, LONG).await;
    assert_eq!((exchange.fact("attempts"), exchange.peer), (Some("2"), Some(good_at)));
    assert_eq!(answer(exchange).rcode, "NOERROR");
    let exchange = ask_own(&list(&[silent_at, good_at]), &system, Duration::from_secs(2)).await;
    assert_eq!((exchange.fact("attempts"), exchange.peer), (Some("2"), Some(good_at)));
    assert_eq!(answer(exchange).rcode, "NOERROR");

    // None can help: the answer of one is worth more than the silence of another.
    let within = Duration::from_millis(800);
    let exchange = ask_own(&(list(&[failing_at, silent_at]) + "options attempts:1"), &system, within).await;
    assert_eq!(answer(exchange).rcode, "SERVFAIL");
    let exchange = ask_own(&list(&[silent_at]), &system, within).await;
    assert_eq!(exchange.fact("attempts"), Some("2"));
    let failed = failure(exchange);
    assert_eq!((failed.code, failed.phase), (code::TIMEOUT, "first-byte"));
    assert!(failed.message.contains("the last of 2 attempts"), "{failed}");

    let before = good.asked();
    let refused = failure(ask_own(&list(&[good_at]), &["dns://127.0.0.0/8:53"], LONG).await);
    assert_eq!(refused.code, code::DENIED);
    assert!(refused.message.contains("dns://system"), "{refused}");
    assert_eq!(good.asked(), before);
}
