//! Which port a rule means, and whether something listens on it.

use roundsman_sdk::system::Port;
use roundsman_sdk::{Severity, Status};
use schemars::JsonSchema;
use serde::Deserialize;

/// A complaint about ports that nobody expects names so many.
const NAMED: usize = 5;

/// Something that is not as it should be.
pub(crate) type Complaint = (Status, String);

/// One port, or a range of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    port: u16,
    /// The last port of a range that begins with `port`.
    #[serde(default)]
    to: Option<u16>,
    /// TCP unless set.
    #[serde(default)]
    protocol: Protocol,
    /// From where it can be reached: `others` leaves out what listens on the loopback alone.
    #[serde(default)]
    reach: Reach,
    /// What it is when it is not as expected.
    #[serde(default)]
    status: Severity,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    #[default]
    Tcp,
    Udp,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Reach {
    #[default]
    Any,
    Others,
}

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl Rule {
    pub(crate) fn validate(&self) -> Result<(), &'static str> {
        if self.port == 0 {
            return Err("port 0 is none");
        }
        if self.to.is_some_and(|to| to < self.port) {
            return Err("the range ends before it begins");
        }
        Ok(())
    }

    /// Of a range, nobody could say how many must be open.
    pub(crate) fn single(&self) -> Result<(), &'static str> {
        if self.to.is_some() { Err("one port must be expected, not a range") } else { Ok(()) }
    }

    /// `tcp/22` or `udp/30000-32767`.
    pub(crate) fn subject(&self) -> String {
        let to = self.to.map(|to| format!("-{to}")).unwrap_or_default();
        format!("{}/{}{to}", self.protocol.as_str(), self.port)
    }

    fn means(&self, port: &Port) -> bool {
        (self.port..=self.to.unwrap_or(self.port)).contains(&port.port)
            && port.protocol.starts_with(self.protocol.as_str())
            && (self.reach == Reach::Any || !is_loopback(&port.address))
    }

    /// That nothing listens there.
    pub(crate) fn missing(&self, ports: &[Port], truncated: bool) -> Option<Complaint> {
        if ports.iter().any(|port| self.means(port)) {
            return None;
        }
        let subject = self.subject();
        if truncated {
            return Some((Status::Unknown, format!("{subject} was not found, and not all ports could be looked at")));
        }
        let where_to = if self.reach == Reach::Others { " for other machines" } else { "" };
        Some((self.status.into(), format!("nothing listens on {subject}{where_to}")))
    }

    /// That something listens there.
    pub(crate) fn present(&self, ports: &[Port]) -> Option<Complaint> {
        let found: Vec<_> = ports.iter().filter(|port| self.means(port)).map(spell).collect();
        (!found.is_empty())
            .then(|| (self.status.into(), format!("{} must be closed: {}", self.subject(), list(&found))))
    }
}

/// What listens beyond what is known.
pub(crate) fn others(ports: &[Port], known: &[&Rule], severity: Severity) -> Option<Complaint> {
    let found: Vec<_> = ports.iter().filter(|port| !known.iter().any(|rule| rule.means(port))).map(spell).collect();
    (!found.is_empty()).then(|| (severity.into(), format!("nobody expects {}", list(&found))))
}

pub(crate) fn is_loopback(address: &str) -> bool {
    address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// `tcp 0.0.0.0:80 (process 7)`
fn spell(port: &Port) -> String {
    let address = if port.address.contains(':') { format!("[{}]", port.address) } else { port.address.clone() };
    let process = port.pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
    format!("{} {address}:{}{process}", port.protocol, port.port)
}

fn list(found: &[String]) -> String {
    let more = found.len().saturating_sub(NAMED);
    let named = found.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(protocol: &str, address: &str, port: u16, pid: Option<u32>) -> Port {
        Port { protocol: protocol.to_owned(), address: address.to_owned(), port, user_id: 0, pid }
    }

    fn rule(json: &str) -> Rule {
        serde_json::from_str(json).unwrap()
    }

    fn ports() -> Vec<Port> {
        vec![
            port("tcp", "0.0.0.0", 22, Some(7)),
            port("tcp6", "::1", 25, None),
            port("udp", "127.0.0.1", 53, None),
            port("tcp", "127.0.0.53", 53, None),
        ]
    }

    #[test]
    fn expected_and_forbidden() {
        for (json, missing, present) in [
            (r#"{"port": 22}"#, None, Some("tcp/22 must be closed: tcp 0.0.0.0:22 (process 7)")),
            (r#"{"port": 22, "protocol": "udp"}"#, Some("nothing listens on udp/22"), None),
            (r#"{"port": 25}"#, None, Some("tcp/25 must be closed: tcp6 [::1]:25")),
            (r#"{"port": 25, "reach": "others"}"#, Some("nothing listens on tcp/25 for other machines"), None),
            (
                r#"{"port": 20, "to": 30}"#,
                None,
                Some("tcp/20-30 must be closed: tcp 0.0.0.0:22 (process 7), tcp6 [::1]:25"),
            ),
        ] {
            let rule = rule(json);
            let text = |complaint: Option<Complaint>| complaint.map(|(_, text)| text);
            assert_eq!(text(rule.missing(&ports(), false)).as_deref(), missing, "{json}");
            assert_eq!(text(rule.present(&ports())).as_deref(), present, "{json}");
        }
        let (status, _) = rule(r#"{"port": 9}"#).missing(&ports(), true).unwrap();
        assert_eq!(status, Status::Unknown);
    }

    #[test]
    fn what_nobody_expects() {
        let (ssh, dns) = (rule(r#"{"port": 22}"#), rule(r#"{"port": 53, "protocol": "udp"}"#));
        let (status, text) = others(&ports(), &[&ssh, &dns], Severity::Warning).unwrap();
        assert_eq!((status, text.as_str()), (Status::Warning, "nobody expects tcp6 [::1]:25, tcp 127.0.0.53:53"));
        let many: Vec<_> = (1..=20).map(|n| port("tcp", "::", n, None)).collect();
        assert!(others(&many, &[], Severity::Warning).unwrap().1.ends_with("and 15 more"));
        assert_eq!(others(&[], &[], Severity::Warning), None);
    }
}
