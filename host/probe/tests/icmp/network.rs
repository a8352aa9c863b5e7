//! Network namespaces: one that a test runs itself in, and two more beside it for a router and a host behind it.

use std::fs;
use std::process::{Child, Command, Stdio};

/// Says that a test is inside, and how.
const VARIABLE: &str = "ROUNDSMAN_TEST_NAMESPACE";

/// By what echo requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `net.ipv4.ping_group_range` allows everybody.
    Ping,
    /// It allows nobody, and the process may have raw sockets.
    Raw,
    /// Neither.
    Refused,
}

impl Mode {
    pub(crate) const BOTH: [Mode; 2] = [Mode::Ping, Mode::Raw];

    fn word(self) -> &'static str {
        match self {
            Mode::Ping => "ping",
            Mode::Raw => "raw",
            Mode::Refused => "refused",
        }
    }
}

/// True inside. Outside, runs the named test of this program inside, and fails with it.
pub(crate) fn inside(test: &str, mode: Mode) -> bool {
    if let Ok(word) = std::env::var(VARIABLE) {
        return word == mode.word();
    }
    let possible = Command::new("unshare").args(["--net", "ip", "link", "set", "lo", "up"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        crate::support::skipped("network namespaces are for root, and need `unshare` and `ip`");
        return false;
    }
    let range = if mode == Mode::Ping { "0 2147483647" } else { "1 0" };
    let enter = if mode == Mode::Refused { "unshare --user" } else { "" };
    let script = format!(
        "ip link set lo up && echo '{range}' > /proc/sys/net/ipv4/ping_group_range && exec {enter} \"$0\" \"$@\""
    );
    let mut again = Command::new("unshare");
    again.args(["--net", "sh", "-c", &script]).arg(std::env::current_exe().unwrap());
    again.args(["--exact", test, "--nocapture"]).env(VARIABLE, mode.word()).stdin(Stdio::null());
    let output = again.output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{test} with {mode:?}:\n{said}");
    false
}

/// Us 10.1.0.1 and 10.1.0.2 – 10.1.0.254 router 10.2.0.254 – 10.2.0.1 far; the same with fd01::/64 and fd02::/64.
pub(crate) struct Network {
    router: Child,
    pub(crate) far: Child,
}

impl Network {
    pub(crate) fn new() -> Network {
        let (router, far) = (namespace(), namespace());
        let network = Network { router, far };
        let script = format!(
            "set -e
            r='nsenter --net=/proc/{router}/ns/net' f='nsenter --net=/proc/{far}/ns/net'
            for n in '' \"$r\" \"$f\"; do
                $n sh -c 'for c in all default; do echo 0 > /proc/sys/net/ipv6/conf/$c/accept_dad; done'
            done
            ip link add us0 type veth peer name ra netns {router}
            $r ip link add rb type veth peer name far0 netns {far}
            ip addr add 10.1.0.1/24 brd + dev us0; ip addr add 10.1.0.2/24 dev us0
            ip -6 addr add fd01::1/64 dev us0 nodad
            $r ip addr add 10.1.0.254/24 dev ra; $r ip -6 addr add fd01::fe/64 dev ra nodad
            $r ip addr add 10.2.0.254/24 dev rb; $r ip -6 addr add fd02::fe/64 dev rb nodad
            $f ip addr add 10.2.0.1/24 dev far0; $f ip addr add 10.2.0.2/24 dev far0
            $f ip -6 addr add fd02::1/64 dev far0 nodad
            $r ip link set rb mtu 1280; $f ip link set far0 mtu 1280
            ip link set us0 up; $r ip link set ra up; $r ip link set rb up; $f ip link set far0 up; $f ip link set lo up
            $r sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding'
            # A router says every time what is wrong, and not once in a second.
            $r sh -c 'echo 0 > /proc/sys/net/ipv4/icmp_ratelimit; echo 0 > /proc/sys/net/ipv6/icmp/ratelimit'
            ip route add 10.0.0.0/8 via 10.1.0.254; ip -6 route add fd00::/8 via fd01::fe
            $f ip route add default via 10.2.0.254; $f ip -6 route add default via fd02::fe
            $r ip route add blackhole 10.3.0.0/16; $r ip -6 route add blackhole fd03::/64
            $r ip route add unreachable 10.4.0.0/16; $r ip -6 route add unreachable fd04::/64",
            router = network.router.id(),
            far = network.far.id(),
        );
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        network
    }

    /// The far host's kernel answers no more: somebody else will.
    pub(crate) fn silence_far(&self) {
        let mut silence = Command::new("nsenter");
        silence.arg(format!("--net=/proc/{}/ns/net", self.far.id()));
        silence.args(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/icmp_echo_ignore_all"]);
        assert!(silence.status().unwrap().success());
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for child in [&mut self.router, &mut self.far] {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// A process in a network namespace of its own, which lasts as long.
fn namespace() -> Child {
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    let child = Command::new("unshare").args(["--net", "sleep", "1000"]).stdin(Stdio::null()).spawn().unwrap();
    let link = format!("/proc/{}/ns/net", child.id());
    while fs::read_link(&link).unwrap() == own {
        std::thread::yield_now();
    }
    child
}
