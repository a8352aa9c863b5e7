//! The interface `icmp` through a guest, in a network namespace whose loopback answers as the test wants it.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;

use roundsman_model::record::{Blame, Status};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, bind, ipproto, recvfrom, sendto, socket};

use crate::support::{Run, guest, skipped};
use crate::{assert_outcome, assert_unknown, bench};

/// Says that a test is inside.
const VARIABLE: &str = "ROUNDSMAN_TEST_NAMESPACE";

/// What a loopback needs to answer as the test wants it.
pub(crate) const SCRIPT: &str = "ip link set lo up mtu 1500 && echo 1 > /proc/sys/net/ipv4/icmp_echo_ignore_all";
/// Why a test cannot be inside.
pub(crate) const IMPOSSIBLE: &str = "network namespaces are for root, and need `unshare` and `ip`";

/// True inside. Outside, runs the named test of this program inside, and fails with it.
fn inside(test: &str) -> bool {
    if is_inside() {
        return true;
    }
    if again(test, SCRIPT).is_none() {
        skipped(IMPOSSIBLE);
    }
    false
}

pub(crate) fn is_inside() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Runs the named test of this program inside, behind a script, and fails with it. What it said; none where there is no
/// inside.
pub(crate) fn again(test: &str, script: &str) -> Option<String> {
    let possible = Command::new("unshare").args(["--net", "--mount", "sh", "-c", script]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let script = format!("{script} && exec \"$0\" \"$@\"");
    let mut again = Command::new("unshare");
    again.args(["--net", "--mount", "sh", "-c", &script]).arg(std::env::current_exe().unwrap());
    again.args(["--exact", test, "--nocapture"]).env(VARIABLE, "1").stdin(Stdio::null());
    // The others wait for it: they have the machine code of plugins in common.
    let _alone = bench();
    let output = again.output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{test}:\n{said}");
    Some(said)
}

/// In place of the kernel: answers, twice, what has 33 bytes and nine hops to go.
pub(crate) fn answer_twice() {
    let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)).unwrap();
    bind(&raw, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    thread::spawn(move || {
        let mut packet = [0; 2048];
        loop {
            let (length, _, from) = recvfrom(&raw, &mut packet[..], RecvFlags::empty()).unwrap();
            let (header, message) = packet[..length].split_at(20);
            if message[0] != 8 || message.len() != 8 + 33 || header[8] != 9 {
                continue;
            }
            let mut answer = message.to_vec();
            answer[0] = 0;
            // The type is 8 less, and so the checksum is 8 more in its first byte.
            let sum = u32::from(u16::from_be_bytes([answer[2], answer[3]])) + 0x0800;
            let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
            answer[2..4].copy_from_slice(&sum.to_be_bytes());
            let to = SocketAddr::try_from(from.unwrap()).unwrap();
            for _ in 0..2 {
                sendto(&raw, &answer, SendFlags::empty(), &to).unwrap();
            }
        }
    });
}

#[test]
fn every_function_of_icmp() {
    if !inside("echoes::every_function_of_icmp") {
        return;
    }
    let bench = bench();
    answer_twice();
    let plugin = bench.load(&guest("ask")).unwrap();
    let granted = |what: &str| Run::what(what, "here.example").network("icmp://here.example");
    let report = bench.run(&plugin, &granted("echo"));
    assert_outcome(&report, Status::Ok, "asked");
    let reply = "(true, \"reply\", Some(\"127.0.0.1\"), Some(64))";
    let expected = [
        ("set-option", "Err(\"unsupported\")"),
        ("before", "(0, 0, None, None)"),
        ("reply", reply),
        ("reply", reply),
        ("duplicates", "1"),
        ("resolve", "true"),
        ("total", "true"),
        ("peer-address", "Some(\"127.0.0.1\")"),
        ("local-address", "Some(\"127.0.0.2\")"),
    ];
    let told: Vec<_> = report.story.log.iter().filter_map(|line| line.text.split_once('=')).collect();
    let one_or_two = |(name, value): &(&str, &str)| (*name, *value) == ("duplicates", "2");
    let told: Vec<_> =
        told.into_iter().map(|line| if one_or_two(&line) { ("duplicates", "1") } else { line }).collect();
    assert_eq!(told, expected);
    let [call] = report.story.calls.as_slice() else { panic!("{:?}", report.story.calls) };
    assert_eq!(
        (call.what.as_str(), call.result.as_str()),
        ("2 echo requests to icmp://here.example", "2 of 2 answered")
    );

    let report = bench.run(&plugin, &granted("echo-too-big"));
    assert_outcome(&report, Status::Ok, "too-big too-big too-big, mtu Some(\"1500\")");
    // Nobody answers what is of the usual size.
    assert_outcome(&bench.run(&plugin, &granted("echo-plainly")), Status::Ok, "lost lost lost");
    let report = bench.run(&plugin, &granted("echoes"));
    assert_outcome(&report, Status::Ok, "200 and then limit in policy: this run may send 56 datagrams more");
    let denied = bench.run(&plugin, &Run::what("echo-plainly", "here.example").network("tcp://here.example:*"));
    assert_unknown(&denied, Blame::Host, "denied", "add to the check: allow: {network: [\"icmp://here.example\"]}");
    assert_eq!(bench.engine.probe().sockets().open_now(), 0);
    assert_eq!(bench.engine.probe().stats().icmp.refusals(), 1);
}
