//! Connects to a TCP port, says something where asked to, and looks at the answer. Plain `std::net`.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use roundsman_sdk::report::{self, Point, ms};
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Pattern, Series, Size, Status, context, net};
use schemars::JsonSchema;
use serde::Deserialize;

/// Where to connect, what to say, what to expect.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// `host:port`, instead of the target's address.
    #[schemars(extend("x-roundsman" = {"kind": "destination", "scheme": "tcp"}))]
    address: Option<String>,
    /// Sent once the connection stands, as it is: write line ends out, `"PING\r\n"`.
    send: Option<String>,
    /// A regular expression that what comes back must match.
    expect: Option<Pattern>,
    /// How much of what comes back is looked at.
    max_bytes: Size,
}

impl Default for Settings {
    fn default() -> Self {
        Self { address: None, send: None, expect: None, max_bytes: Size(16 << 10) }
    }
}

const TCP: Series = Series {
    name: "tcp",
    help: "One connection.",
    tags: &[],
    fields: &[
        Field::real("resolve_ms", "ms", "From the name to addresses; absent for an address."),
        Field::real("connect_ms", "ms", "Until the connection stood, with the addresses that were tried before."),
        Field::real("first_byte_ms", "ms", "From there to the first byte that came back."),
        Field::real("total_ms", "ms", "All of it."),
    ],
};

const EXAMPLE: &str = "\
checks:
  - name: ssh
    plugin: tcp
    interval: 30s
    timeout: 5s
    target: 127.0.0.1:22                 # its address is granted; any other needs a line under `allow:`
    settings: {expect: ^SSH-2}
";

/// More than a socket's buffer holds could not be sent without waiting for the peer to read it.
const LONGEST_SEND: usize = 16 << 10;
/// Nobody waits less for one of several addresses.
const LEAST_SHARE: Duration = Duration::from_millis(50);
const CHUNK: usize = 4 << 10;

/// The check.
#[derive(Debug)]
pub struct Tcp;

/// How the reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Matched,
    Closed,
    TimedOut,
    Full,
}

#[derive(Debug, Default)]
struct Timings {
    resolve: Option<Duration>,
    connect: Option<Duration>,
    first_byte: Option<Duration>,
    total: Duration,
}

/// Why there is no connection, or no more of it: an outcome about the target, or a fault. Both end the run.
type Stop = Result<Outcome, Fault>;

impl Check for Tcp {
    type Settings = Settings;

    fn describe() -> Describe {
        let summary = "Connects to a TCP port, says something where asked to, and looks at the answer.";
        Describe::new(env!("CARGO_PKG_VERSION"), summary).series(&TCP).example(EXAMPLE)
    }

    fn validate(settings: &Settings) -> Result<(), Fault> {
        if settings.send.as_ref().is_some_and(|text| text.len() > LONGEST_SEND) {
            return Err(Fault::settings(format!("`send`: must be at most {LONGEST_SEND} bytes")));
        }
        settings.address.as_deref().map_or(Ok(()), |address| split(address).map(drop))
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let target = context::target_address();
        let address = settings.address.as_deref().or(target.as_deref());
        let address = address.ok_or_else(|| {
            Fault::settings("nowhere to connect: give the check a `target`, or set `address` to host:port")
        })?;
        let (host, port) = split(address)?;
        let begin = Instant::now();
        let mut timings = Timings::default();
        let end = converse(settings, host, port, begin + context::budget(), &mut timings);
        timings.total = begin.elapsed();
        let end = end.unwrap_or_else(|stop| stop);
        if let Ok(outcome) = &end {
            point(&timings).report()?;
            // Of a target that did not answer, nobody can say how long it took.
            if outcome.status == Status::Ok {
                report::latency(timings.total);
            }
        }
        end
    }
}

fn converse(
    settings: &Settings,
    host: &str,
    port: u16,
    deadline: Instant,
    timings: &mut Timings,
) -> Result<Stop, Stop> {
    let began = Instant::now();
    let addresses: Vec<SocketAddr> =
        (host, port).to_socket_addrs().map_err(|error| stop("resolve", host, port, &error))?.collect();
    timings.resolve = host.parse::<std::net::IpAddr>().is_err().then(|| began.elapsed());
    let began = Instant::now();
    let mut stream = connect(&addresses, deadline).map_err(|error| stop("connect", host, port, &error))?;
    timings.connect = Some(began.elapsed());
    let connected = Instant::now();
    if let Some(text) = &settings.send {
        stream.write_all(text.as_bytes()).map_err(|error| stop("send", host, port, &error))?;
    }
    let Some(Pattern(expected)) = &settings.expect else {
        return Ok(Ok(Outcome::ok(format!("connected to {host}:{port} in {:.1} ms", timings.connect.map_or(0.0, ms)))));
    };
    let (mut received, mut buffer) = (Vec::new(), [0; CHUNK]);
    let most = usize::try_from(settings.max_bytes.0).unwrap_or(usize::MAX);
    let end = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match net::read_within(&mut stream, &mut buffer, left) {
            Ok(0) => break End::Closed,
            Ok(count) => {
                timings.first_byte.get_or_insert_with(|| connected.elapsed());
                received.extend_from_slice(&buffer[..count.min(most - received.len())]);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => break End::TimedOut,
            Err(error) => return Err(stop("receive", host, port, &error)),
        }
        if expected.is_match(&String::from_utf8_lossy(&received)) {
            break End::Matched;
        }
        if received.len() >= most {
            break End::Full;
        }
    };
    Ok(Ok(outcome(end, &received, expected.as_str(), timings)))
}

/// The first address that answers, each with its share of what is left.
fn connect(addresses: &[SocketAddr], deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = share(left, addresses.len() - index);
        match net::connect(address, share) {
            Ok(stream) => return Ok(stream),
            // What is not granted is not the target's doing, even if another address of it is.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn share(left: Duration, addresses: usize) -> Duration {
    (left / u32::try_from(addresses.max(1)).unwrap_or(u32::MAX)).max(LEAST_SHARE)
}

/// What an error says: a refused or silent target is an outcome, a refused permission a fault.
fn stop(phase: &str, host: &str, port: u16, error: &io::Error) -> Stop {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let word = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let line = format!("allow: {{network: [\"tcp://{host}:{port}\"]}}");
            return Err(Fault::new("denied", format!("tcp://{host}:{port} is not granted; add to the check: {line}")));
        }
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "timeout",
        io::ErrorKind::ConnectionRefused => "refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => "reset",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable",
        _ => "failed",
    };
    Ok(Outcome::critical(format!("{word} ({phase}): {host}:{port}: {error}")))
}

fn outcome(end: End, received: &[u8], expected: &str, timings: &Timings) -> Outcome {
    let total = timings.connect.map_or(0.0, ms) + timings.first_byte.map_or(0.0, ms);
    let what = if received.is_empty() { "nothing came".to_owned() } else { format!("got `{}`", excerpt(received)) };
    match end {
        End::Matched => Outcome::ok(format!("{what} in {total:.1} ms")),
        End::Closed => Outcome::critical(format!("closed before /{expected}/ came; {what}")),
        End::TimedOut => Outcome::critical(format!("timeout (receive): /{expected}/ did not come; {what}")),
        End::Full => Outcome::critical(format!("/{expected}/ is not in the first {} bytes; {what}", received.len())),
    }
}

/// The first line of what somebody else wrote, short enough for a summary.
fn excerpt(received: &[u8]) -> String {
    const LONGEST: usize = 80;
    let text = String::from_utf8_lossy(received);
    text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

/// Host and port of `host:port`, `[::1]:port` or `tcp://host:port`.
fn split(address: &str) -> Result<(&str, u16), Fault> {
    let bare = address.strip_prefix("tcp://").unwrap_or(address).trim_end_matches('/');
    let bad = || Fault::settings(format!("`{address}` is no address to connect to: write host:port"));
    let (host, port) = bare.rsplit_once(':').ok_or_else(bad)?;
    let host = host.strip_prefix('[').map_or(Some(host), |rest| rest.strip_suffix(']')).ok_or_else(bad)?;
    let bracketed = bare.starts_with('[');
    if host.is_empty() || host.contains('/') || (host.contains(':') && !bracketed) {
        return Err(bad());
    }
    Ok((host, port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?))
}

fn point(timings: &Timings) -> Point {
    Point::of(&TCP)
        .field("resolve_ms", timings.resolve.map(ms))
        .field("connect_ms", timings.connect.map(ms))
        .field("first_byte_ms", timings.first_byte.map(ms))
        .field("total_ms", ms(timings.total))
}

roundsman_sdk::plugin!(Tcp);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn addresses() {
        for (address, parts) in [
            ("a.example:22", Some(("a.example", 22))),
            ("tcp://a.example:22", Some(("a.example", 22))),
            ("tcp://a.example:22/", Some(("a.example", 22))),
            ("[::1]:5432", Some(("::1", 5432))),
            ("::1", None),
            ("::1:5432", None),
            ("a.example", None),
            ("a.example:0", None),
            ("a.example:99999", None),
            (":22", None),
            ("[::1:22", None),
            ("http://a.example:80", None),
        ] {
            assert_eq!(split(address).ok(), parts, "{address}");
        }
    }

    #[test]
    fn settings_that_are_refused() {
        for (settings, message) in [
            (r#"{"address": "x"}"#, "`x` is no address to connect to: write host:port"),
            (r#"{"port": 1}"#, "`port`: unknown field `port`, expected one of `address`, `send`, `expect`, `maxBytes`"),
        ] {
            assert_eq!(roundsman_sdk::settings::<Tcp>(settings).unwrap_err().message, message);
        }
    }

    #[test]
    fn errors_and_whom_they_blame() {
        for (kind, start) in [
            (io::ErrorKind::ConnectionRefused, "refused (connect): db:5432: "),
            (io::ErrorKind::TimedOut, "timeout (connect): db:5432: "),
            (io::ErrorKind::ConnectionReset, "reset (connect): db:5432: "),
            (io::ErrorKind::Other, "failed (connect): db:5432: "),
        ] {
            let outcome = stop("connect", "db", 5432, &kind.into()).unwrap();
            assert_eq!(outcome.status, Status::Critical);
            assert!(outcome.summary.starts_with(start), "{}", outcome.summary);
        }
        let fault = stop("connect", "::1", 5432, &io::ErrorKind::PermissionDenied.into()).unwrap_err();
        assert_eq!(fault.code, "denied");
        assert!(fault.message.ends_with(r#"add to the check: allow: {network: ["tcp://[::1]:5432"]}"#), "{fault}");
    }

    #[test]
    fn ends() {
        let timings = Timings::default();
        for (end, received, expected) in [
            (End::Matched, "SSH-2.0-x\r\n", Outcome::ok("got `SSH-2.0-x` in 0.0 ms")),
            (End::Closed, "", Outcome::critical("closed before /^SSH/ came; nothing came")),
            (End::TimedOut, "", Outcome::critical("timeout (receive): /^SSH/ did not come; nothing came")),
            (End::Full, "HTTP", Outcome::critical("/^SSH/ is not in the first 4 bytes; got `HTTP`")),
        ] {
            assert_eq!(outcome(end, received.as_bytes(), "^SSH", &timings), expected);
        }
    }

    #[test]
    fn shares() {
        let second = Duration::from_secs(1);
        assert_eq!(share(second, 4), second / 4);
        assert_eq!(share(Duration::ZERO, 4), LEAST_SHARE);
    }

    /// `converse` asks nothing of the host, so that it can talk to a real socket here.
    #[test]
    fn conversations() {
        for (settings, answer, summary) in [
            ("{}", "", "connected to 127.0.0.1:"),
            (r#"{"expect": "^SSH-2"}"#, "SSH-2.0-test\r\n", "got `SSH-2.0-test` in "),
            (r#"{"send": "PING\r\n", "expect": "PONG"}"#, "+PONG\r\n", "got `+PONG` in "),
            (r#"{"expect": "^SSH-2"}"#, "220 mail\r\n", "closed before /^SSH-2/ came; got `220 mail`"),
            (r#"{"expect": "x", "maxBytes": "3"}"#, "220 mail\r\n", "/x/ is not in the first 3 bytes; got `220`"),
        ] {
            let settings = roundsman_sdk::settings::<Tcp>(settings).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                io::copy(&mut stream, &mut io::sink()).unwrap();
            });
            let mut timings = Timings::default();
            let deadline = Instant::now() + Duration::from_secs(30);
            let outcome = converse(&settings, "127.0.0.1", port, deadline, &mut timings).unwrap().unwrap();
            assert!(outcome.summary.starts_with(summary), "{}", outcome.summary);
            assert_eq!(timings.first_byte.is_some(), settings.expect.is_some());
            point(&timings).check().unwrap();
            server.join().unwrap();
        }
    }
}
