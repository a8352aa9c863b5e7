//! Where a socket goes: `host:port`, or a unix socket by its path.

use roundsman_model::name::excerpt;

use crate::failure::Failure;
use crate::host::Host;
use crate::pattern::parse_port;

/// The longest address: the longest path that the kernel takes, and the word before it.
pub(crate) const MAX_ADDRESS: usize = 4096 + UNIX.len();
const UNIX: &str = "unix:";
/// Schemes that targets and lines of `allow:` have: a plugin may hand them on as they are.
const SOCKETS: [&str; 3] = ["tcp://", "tls://", "udp://"];

/// Where a socket goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Host { host: Host, port: u16 },
    Unix(String),
}

impl Endpoint {
    /// Reads `shop.example:443`, `tcp://10.0.0.7:443`, `[fd00::7]:443` or `unix:/run/app.sock`.
    pub(crate) fn parse(text: &str) -> Result<Endpoint, Failure> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return if path.starts_with('/') {
                Ok(Endpoint::Unix(path.to_owned()))
            } else {
                Err(bad(text, "has no absolute path: write it like unix:/run/app.sock"))
            };
        }
        let bare = SOCKETS.iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
        if bare.contains("://") {
            return Err(bad(text, "has a scheme that is not spoken here: write host:port"));
        }
        let (host, port) = bare.rsplit_once(':').ok_or_else(|| bad(text, "has no port: write host:port"))?;
        if host.contains(':') && !host.starts_with('[') {
            return Err(bad(text, "has an IPv6 address without brackets: write [fd00::7]:443"));
        }
        let port = parse_port(port).ok_or_else(|| bad(text, "has no port between 1 and 65535"))?;
        let host = Host::parse(host).map_err(|error| bad(text, &format!("has a host that {error}")))?;
        Ok(Endpoint::Host { host, port })
    }
}

fn bad(text: &str, reason: &str) -> Failure {
    Failure::invalid(format!("the address `{}` {reason}", excerpt(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("Shop.Example:443", "shop.example 443"),
            ("10.0.0.7:1", "10.0.0.7 1"),
            ("[FD00::7]:65535", "fd00::7 65535"),
            ("tcp://Shop.Example:443", "shop.example 443"),
            ("tls://[fd00::7]:443", "fd00::7 443"),
            ("udp://10.0.0.7:123", "10.0.0.7 123"),
            ("unix:/run/app.sock", "/run/app.sock"),
        ] {
            let found = match Endpoint::parse(text).unwrap() {
                Endpoint::Host { host, port } => format!("{host} {port}"),
                Endpoint::Unix(path) => path,
            };
            assert_eq!(found, expected);
        }
        for (text, reason) in [
            ("shop.example", "has no port"),
            ("shop.example:", "has no port"),
            ("shop.example:0", "between 1 and 65535"),
            ("shop.example:65536", "between 1 and 65535"),
            ("shop.example:+1", "between 1 and 65535"),
            ("fd00::7:443", "without brackets"),
            ("[fd00::7%eth0]:443", "without a zone"),
            ("http://shop.example:443", "has a scheme"),
            ("tcp://tcp://shop.example:443", "has a scheme"),
            ("tcp://shop.example:443/x", "has no port"),
            ("unix:run/app.sock", "no absolute path"),
            ("user@shop.example:443", "has a host that"),
            ("0x7f.1:80", "has a host that"),
            (":80", "has a host that"),
            ("", "has no port"),
        ] {
            let failure = Endpoint::parse(text).unwrap_err();
            assert_eq!(failure.code, "invalid", "{text}");
            assert!(failure.message.contains(reason), "{failure} does not say {reason}");
        }
    }
}
