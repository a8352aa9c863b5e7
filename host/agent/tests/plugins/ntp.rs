//! The plugin ntp against chronyd, which serves this machine's own clock, and against servers that lie.

use std::net::UdpSocket;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::bench::{Server, number, probe};
use crate::support::servers::free_address;

#[test]
fn a_real_server() {
    let folder = tempfile::tempdir().unwrap();
    let address = free_address();
    let place = folder.path().display();
    let config = format!(
        "local stratum 5\nallow 127.0.0.1\nport {}\nbindaddress 127.0.0.1\ncmdport 0\nbindcmdaddress /\npidfile {place}/pid\n",
        address.port()
    );
    std::fs::write(folder.path().join("chrony.conf"), config).unwrap();
    // -x: it does not touch the clock; -U: it need not be root; -d: it stays in the foreground.
    let Some(mut server) = Server::start("chronyd", folder, &["-x", "-U", "-u", &user(), "-d", "-f", "chrony.conf"])
    else {
        return;
    };
    let target = format!("udp://{address}");
    let ask = || probe("ntp", &json!({}), &["--target", &target, "--timeout", "2s"]);
    server.await_ready(|| ask().code == 0);
    let seen = ask();
    seen.assert("ok", "stratum 5");
    let point = seen.point("ntp");
    // It serves the clock that we compare it with.
    assert!(number(&point["offset_ms"], "Real").abs() < 50.0, "{point:?}");
    assert!(number(&point["delay_ms"], "Real") < 1_000.0, "{point:?}");
    assert_eq!((&point["stratum"], &point["leap"]), (&json!(5), &json!(0)));
    let strict = json!({"maxStratum": 4});
    probe("ntp", &strict, &["--target", &target]).assert("critical", "has stratum 5, at most 4 is expected");
}

/// Who runs this test: chronyd wants to become a user of its own, which only its package makes.
fn user() -> String {
    let output = std::process::Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Answers every question by what a function makes of it.
fn liar(answer: fn(&[u8; 48]) -> Vec<Vec<u8>>) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = format!("udp://{}", socket.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut question = [0; 48];
        while let Ok((48, from)) = socket.recv_from(&mut question) {
            for datagram in answer(&question) {
                drop(socket.send_to(&datagram, from));
            }
        }
    });
    target
}

/// A proper answer of a server whose clock is so many seconds ahead.
fn proper(question: &[u8; 48], ahead: i64) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(2_208_988_800);
    let fraction = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
    let seconds = (now.as_secs().checked_add_signed(ahead).unwrap() << 32) | fraction;
    let mut packet = vec![0; 48];
    packet[0] = (4 << 3) | 4;
    packet[1] = 1;
    packet[12..16].copy_from_slice(b"GPS\0");
    packet[24..32].copy_from_slice(&question[40..]);
    packet[32..40].copy_from_slice(&seconds.to_be_bytes());
    packet[40..].copy_from_slice(&seconds.to_be_bytes());
    packet
}

#[test]
fn clocks_that_are_wrong_and_answers_that_are_forged() {
    let ahead = liar(|question| vec![proper(question, 3_600)]);
    let seen = probe("ntp", &json!({}), &["--target", &ahead]);
    seen.assert("critical", "behind");
    assert!((number(&seen.point("ntp")["offset_ms"], "Real") - 3_600_000.0).abs() < 1_000.0);
    let forged = liar(|question| {
        let mut other = proper(question, 9_999);
        other[24] ^= 1;
        vec![other, proper(question, 0)]
    });
    // What answers another question is passed over.
    let seen = probe("ntp", &json!({"samples": 1}), &["--target", &forged]);
    seen.assert("ok", "stratum 1");
    let empty = liar(|_| vec![Vec::new()]);
    probe("ntp", &json!({"samples": 1}), &["--target", &empty]).assert("critical", "makes no sense");
    let unsynchronised = liar(|question| {
        let mut packet = proper(question, 0);
        packet[0] |= 3 << 6;
        vec![packet]
    });
    probe("ntp", &json!({}), &["--target", &unsynchronised])
        .assert("critical", "not synchronised (stratum 1, follows GPS)");
    let closed = format!("udp://{}", free_address());
    probe("ntp", &json!({}), &["--target", &closed, "--timeout", "1s"]).assert("critical", "refused");
}
