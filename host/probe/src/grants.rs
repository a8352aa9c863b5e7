//! What one check may touch: compiled once from its target and its `allow:`, asked before every dial, look-up and open.
//!
//! An address is allowed by a CIDR or address, or by the name under which it was looked up. Three degrees
//! (`address::Reach`) say how exact the line must be: public addresses follow any name that is granted; private ones
//! only a name without wildcard, an address or a CIDR; special ones (cloud metadata, link-local, multicast,
//! unspecified, the agent's own ports) only a line with exactly that address and port. A name is allowed as a whole:
//! one answer that is not allowed refuses them all, so that a check never looks at half of what the name means.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use roundsman_model::grants::Allow;
use roundsman_model::name::excerpt;
use roundsman_model::target::Target;
use tokio::time::Instant;

use crate::address::{Reach, dialled, is_local, judged, reach};
use crate::beneath::excerpt_path;
use crate::ceiling::Ceiling;
use crate::failure::{Failure, code, phase};
use crate::host::{Host, address_in_url};
use crate::ledger::{Ledger, List};
use crate::pattern::{Pattern, Scheme};
use crate::resolve::Resolver;

/// Lines in one list of `allow:`; matching goes through all of them.
const MAX_LINES: usize = 256;
/// The longest path that the kernel takes.
const MAX_PATH: usize = 4096;
/// What a checks file may call a secret.
const MAX_SECRET_NAME: usize = 63;
/// Addresses that one run may learn for `std::net`: 16 look-ups with 16 answers each.
const MAX_SEEN: usize = 256;

/// The words of `allow: {system: […]}`.
pub const SYSTEM_WORDS: [&str; 10] =
    ["filesystems", "kernel-log", "load", "memory", "ports", "pressure", "processes", "sysctl", "uname", "units"];

/// A line of `allow:` or of a ceiling that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("allow.{list}: `{line}` {reason}{}", way_out.as_ref().map(|way| format!("; {way}")).unwrap_or_default())]
pub struct GrantError {
    /// `network`, `files` …; the address of a target counts as a line of `network`.
    pub list: &'static str,
    pub line: String,
    pub reason: String,
    /// Where it is another one than to take the line out, or to let the ceiling hold it.
    pub way_out: Option<String>,
}

/// A request that no grant covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// What was asked for: `tcp://10.0.0.7:5432`.
    pub what: String,
    /// What would allow it, as it stands in the file.
    pub add_line: String,
    /// The file that it stands in: `the check`, `roundsman.yaml` or `the case`.
    file: &'static str,
}

impl Denied {
    /// Something that a line of the check would allow: `allow: {system: [load]}`.
    pub fn by_check(what: impl Into<String>, add_line: impl Into<String>) -> Denied {
        Denied { what: what.into(), add_line: add_line.into(), file: "the check" }
    }

    /// Something that a line of the agent's configuration would allow.
    pub fn by_agent(what: impl Into<String>, add_line: impl Into<String>) -> Denied {
        Denied { what: what.into(), add_line: add_line.into(), file: "roundsman.yaml" }
    }

    /// Something that a line of a plugin's case would allow.
    pub(crate) fn by_case(what: impl Into<String>, add_line: impl Into<String>) -> Denied {
        Denied { what: what.into(), add_line: add_line.into(), file: "the case" }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not granted; add to {}: {}", self.what, self.file, self.add_line)
    }
}

impl std::error::Error for Denied {}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Failure {
        Failure::new(code::DENIED, phase::POLICY, denied.to_string())
    }
}

/// What one check, on one target, may touch.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    network: Vec<Pattern>,
    system: Vec<&'static str>,
    files: Vec<PathBuf>,
    secrets: Vec<String>,
    commands: Vec<PathBuf>,
    own_ports: Vec<u16>,
    /// Takes note of what each line permits.
    ledger: Option<Arc<Ledger>>,
}

/// What name look-ups told one run: an address counts as granted under the name that led to it.
#[derive(Debug, Default)]
pub struct Seen(Vec<(Box<str>, IpAddr)>);

impl Grants {
    /// From the targets of a run, the check's `allow:` and the ports on which the agent itself listens.
    pub fn compile(targets: &[Target], allow: &Allow, own_ports: &[u16]) -> Result<Grants, GrantError> {
        for (list, lines) in [
            ("network", &allow.network),
            ("files", &allow.files),
            ("system", &allow.system),
            ("secrets", &allow.secrets),
            ("commands", &allow.commands),
            ("kubernetes", &allow.kubernetes),
        ] {
            if let Some(line) = lines.get(MAX_LINES) {
                return Err(bad(list, line, format!("is one too many: at most {MAX_LINES} lines")));
            }
        }
        if let Some(line) = allow.kubernetes.first() {
            let reason = "cannot be granted yet: nothing uses it in this version; remove it".to_owned();
            return Err(bad("kubernetes", line, reason));
        }
        let mut network: Vec<Pattern> =
            targets.iter().filter_map(|target| Pattern::of_target(&target.address)).collect();
        for line in &allow.network {
            network.push(Pattern::parse(line).map_err(|reason| bad("network", line, reason))?);
        }
        let system = allow.system.iter().map(|line| system_word(line)).collect::<Result<_, _>>()?;
        let files = allow.files.iter().map(|line| file(line)).collect::<Result<_, _>>()?;
        let secrets = allow.secrets.iter().map(|line| secret(line)).collect::<Result<_, _>>()?;
        let commands = allow.commands.iter().map(|line| command(line)).collect::<Result<_, _>>()?;
        Ok(Grants { network, system, files, secrets, commands, own_ports: own_ports.to_vec(), ledger: None })
    }

    /// As `compile`, with a ledger of what each line permits.
    pub fn watched(targets: &[Target], allow: &Allow) -> Result<(Grants, Arc<Ledger>), GrantError> {
        let ledger = Arc::new(Ledger::of(targets, allow));
        let grants = Grants::compile(targets, allow, &[])?;
        Ok((Grants { ledger: Some(ledger.clone()), ..grants }, ledger))
    }

    /// As `compile`, and nothing of it beyond the plugin's ceiling; else everything that is wrong.
    pub fn compile_under(
        targets: &[Target],
        allow: &Allow,
        own_ports: &[u16],
        ceiling: &Ceiling,
    ) -> Result<Grants, Vec<GrantError>> {
        let grants = Grants::compile(targets, allow, own_ports).map_err(|error| vec![error])?;
        ceiling.check(allow, targets)?;
        Ok(grants)
    }

    /// Looks a host up once and gives the addresses to dial, all of them allowed.
    pub async fn resolve(
        &self,
        resolver: &Resolver,
        scheme: Scheme,
        host: &str,
        port: u16,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let host = Host::parse(host).map_err(|error| Failure::invalid(error.to_string()))?;
        self.resolve_host(resolver, scheme, &host, port, deadline).await
    }

    /// As `resolve`, for a connection that may be in clear or within TLS: a `tcp` line covers both, and a `tls` line what
    /// comes before the handshake, too. Nobody can tell beforehand whether a STARTTLS dialogue leads to one.
    pub async fn resolve_connection(
        &self,
        resolver: &Resolver,
        host: &str,
        port: u16,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let plain = self.resolve(resolver, Scheme::Tcp, host, port, deadline).await;
        match &plain {
            Err(failure) if failure.code == code::DENIED => {
                self.resolve(resolver, Scheme::Tls, host, port, deadline).await.or(plain)
            }
            _ => plain,
        }
    }

    pub(crate) async fn resolve_host(
        &self,
        resolver: &Resolver,
        scheme: Scheme,
        host: &Host,
        port: u16,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let name = match host {
            Host::Address(ip) => {
                self.judge(scheme, None, *ip, port)?;
                return Ok(vec![SocketAddr::new(dialled(*ip), port)]);
            }
            Host::Name(name) => name,
        };
        let what = || scheme.destination(name.as_str(), port);
        if !self.has_line(what, |line| line.allows_name(scheme, name.as_str(), port)) {
            return Err(denied(scheme, name.as_str(), port).into());
        }
        let mut addresses = resolver.lookup(name, deadline).await?;
        for ip in &mut addresses {
            self.judge(scheme, Some(name.as_str()), *ip, port)?;
            *ip = dialled(*ip);
        }
        Ok(addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }

    /// Looks a name up for `std::net`, if any line names it. What comes of the answers is decided by `permits_address`.
    pub async fn lookup(
        &self,
        resolver: &Resolver,
        host: &str,
        deadline: Instant,
        seen: &mut Seen,
    ) -> Result<Vec<IpAddr>, Failure> {
        let host = Host::parse(host).map_err(|error| Failure::invalid(error.to_string()))?;
        let name = match host {
            Host::Address(ip) => return Ok(vec![dialled(ip)]),
            Host::Name(name) => name,
        };
        self.permits_name(name.as_str())?;
        let addresses = resolver.lookup(&name, deadline).await?;
        seen.add(name.as_str(), &addresses)?;
        Ok(addresses.into_iter().map(dialled).collect())
    }

    /// Whether a run may send to an address: by a line that covers it, or by the name that led to it in this run.
    pub fn permits_address(&self, scheme: Scheme, addr: SocketAddr, seen: &Seen) -> Result<(), Denied> {
        let (ip, port) = (addr.ip(), addr.port());
        let by_name = seen.names_of(ip).any(|name| {
            self.has_line(|| scheme.destination(name, port), |line| line.allows_name(scheme, name, port))
                && self.judge(scheme, Some(name), ip, port).is_ok()
        });
        if by_name { Ok(()) } else { self.judge(scheme, None, ip, port) }
    }

    /// Whether a name may be looked up: a question to DNS can carry data away, so it needs a line of its own.
    pub fn permits_name(&self, host: &str) -> Result<(), Denied> {
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if self.has_line(|| format!("the look-up of {}", excerpt(&name)), |line| line.allows_lookup(&name)) {
            return Ok(());
        }
        let what = format!("the look-up of {}", excerpt(&name));
        Err(Denied::by_check(what, network_line(&format!("tcp://{}:*", excerpt(&name)))))
    }

    /// Whether a function of the interface `system` may be called.
    pub fn permits_system(&self, word: &str) -> Result<(), Denied> {
        if self.has(List::System, self.system.iter().position(|granted| *granted == word), word) {
            return Ok(());
        }
        Err(Denied::by_check(format!("system `{word}`"), format!("allow: {{system: [{word}]}}")))
    }

    /// Whether a secret may be used. Where it may be sent to says `Secrets::permits_destination`.
    pub fn permits_secret(&self, name: &str) -> Result<(), Denied> {
        if self.has(List::Secrets, self.secrets.iter().position(|granted| granted == name), name) {
            return Ok(());
        }
        let name = excerpt(name);
        Err(Denied::by_check(format!("the secret `{name}`"), format!("allow: {{secrets: [{name}]}}")))
    }

    /// Whether a program may be run: by exactly the path that is granted.
    pub fn permits_command(&self, path: &str) -> Result<(), Denied> {
        let line = self.commands.iter().position(|granted| granted.as_os_str() == path);
        if self.has(List::Commands, line, path) {
            return Ok(());
        }
        let path = excerpt_path(path);
        Err(Denied::by_check(format!("the command {path}"), format!("allow: {{commands: [\"{path}\"]}}")))
    }

    /// Whether the node's own resolver may be asked for any name: names carry data away, so it needs a line of its own.
    pub fn permits_system_resolver(&self) -> Result<(), Denied> {
        if self.has_line(|| "the node's own resolver".to_owned(), Pattern::is_system_resolver) {
            return Ok(());
        }
        Err(Denied::by_check("the node's own resolver", network_line("dns://system")))
    }

    /// Takes note of a file that is about to be opened or looked at, if somebody wants to know.
    pub fn note_file(&self, path: &Path) {
        if self.ledger.is_some() {
            let line = self.files.iter().position(|granted| path.starts_with(granted));
            self.has(List::Files, line, &path.display().to_string());
        }
    }

    /// Whether somebody wants to know which lines are used.
    pub fn are_watched(&self) -> bool {
        self.ledger.is_some()
    }

    /// Whether a line of the network allows something, which is noted.
    fn has_line(&self, what: impl FnOnce() -> String, allows: impl Fn(&Pattern) -> bool) -> bool {
        let line = self.network.iter().position(allows);
        if let (Some(line), Some(ledger)) = (line, &self.ledger) {
            ledger.note(List::Network, line, what());
        }
        line.is_some()
    }

    /// Whether there is a line, which is noted.
    fn has(&self, list: List, line: Option<usize>, what: &str) -> bool {
        if let (Some(line), Some(ledger)) = (line, &self.ledger) {
            ledger.note(list, line, excerpt(what));
        }
        line.is_some()
    }

    /// Names of the secrets that may be used.
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// Programs that may be run.
    pub fn commands(&self) -> &[PathBuf] {
        &self.commands
    }

    /// Directories and files that may be read, absolute and without `.` or `..`. Whoever opens beneath them must not
    /// follow links out of them.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// One address, under the name that led to it if there is one. The name itself must have been allowed before.
    fn judge(&self, scheme: Scheme, name: Option<&str>, ip: IpAddr, port: u16) -> Result<(), Denied> {
        let ip = judged(ip);
        let reach = match reach(ip) {
            Reach::Public | Reach::Private if self.own_ports.contains(&port) && is_local(ip) => {
                Reach::Special("the agent's own port")
            }
            reach => reach,
        };
        let any =
            |allows: &dyn Fn(&Pattern) -> bool| self.has_line(|| scheme.destination(&address_in_url(ip), port), allows);
        let allowed = match (reach, name) {
            (Reach::Special(_), _) => any(&|line| line.is_exactly(scheme, ip, port)),
            (Reach::Public, Some(_)) => true,
            (Reach::Public, None) => {
                any(&|line| line.allows_address(scheme, ip, port) || line.allows_any_host(scheme, port))
            }
            (Reach::Private, Some(name)) => {
                any(&|line| line.allows_address(scheme, ip, port) || line.names(scheme, name, port))
            }
            (Reach::Private, None) => any(&|line| line.allows_address(scheme, ip, port)),
        };
        if allowed { Ok(()) } else { Err(refusal(scheme, name, ip, port, reach)) }
    }
}

impl Seen {
    fn add(&mut self, name: &str, addresses: &[IpAddr]) -> Result<(), Failure> {
        for ip in addresses.iter().map(|ip| judged(*ip)) {
            if self.names_of(ip).any(|known| known == name) {
                continue;
            }
            if self.0.len() == MAX_SEEN {
                return Err(Failure::limit(format!(
                    "this run has looked up {MAX_SEEN} addresses: it may have no more"
                )));
            }
            self.0.push((name.into(), ip));
        }
        Ok(())
    }

    fn names_of(&self, ip: IpAddr) -> impl Iterator<Item = &str> {
        let ip = judged(ip);
        self.0.iter().filter(move |(_, known)| *known == ip).map(|(name, _)| &**name)
    }
}

fn refusal(scheme: Scheme, name: Option<&str>, ip: IpAddr, port: u16, reach: Reach) -> Denied {
    let exact = scheme.destination(&address_in_url(ip), port);
    let (why, line) = match (reach, name) {
        (Reach::Special(kind), Some(_)) => (format!(" (it leads to {ip}, {kind})"), exact),
        (Reach::Special(kind), None) => (format!(" ({kind})"), exact),
        (Reach::Public | Reach::Private, Some(name)) => (
            format!(" (it leads to the private address {ip}, and only a wildcard names it)"),
            scheme.destination(name, port),
        ),
        (Reach::Public | Reach::Private, None) => (String::new(), exact),
    };
    let host = name.map_or_else(|| address_in_url(ip), str::to_owned);
    Denied::by_check(scheme.destination(&host, port) + &why, network_line(&line))
}

fn denied(scheme: Scheme, host: &str, port: u16) -> Denied {
    let what = scheme.destination(host, port);
    let line = network_line(&what);
    Denied::by_check(what, line)
}

fn network_line(line: &str) -> String {
    format!("allow: {{network: [\"{line}\"]}}")
}

pub(crate) fn bad(list: &'static str, line: &str, reason: String) -> GrantError {
    GrantError { list, line: excerpt(line), reason, way_out: None }
}

pub(crate) fn system_word(line: &str) -> Result<&'static str, GrantError> {
    let found = SYSTEM_WORDS.into_iter().find(|word| *word == line);
    found.ok_or_else(|| bad("system", line, format!("is not one of {}", SYSTEM_WORDS.join(", "))))
}

pub(crate) fn secret(line: &str) -> Result<String, GrantError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=MAX_SECRET_NAME).contains(&line.len()) && line.bytes().all(allowed) {
        return Ok(line.to_owned());
    }
    Err(bad("secrets", line, format!("is no name of a secret: 1 to {MAX_SECRET_NAME} characters of a-z, 0-9 and '-'")))
}

pub(crate) fn command(line: &str) -> Result<PathBuf, GrantError> {
    let path = whole_path("commands", line)?;
    if path.parent().is_none() {
        return Err(bad("commands", line, "is no program".into()));
    }
    Ok(path)
}

pub(crate) fn file(line: &str) -> Result<PathBuf, GrantError> {
    whole_path("files", line)
}

/// An absolute path in its one spelling.
fn whole_path(list: &'static str, line: &str) -> Result<PathBuf, GrantError> {
    let path = Path::new(line);
    if !path.is_absolute() {
        return Err(bad(list, line, "is not absolute: write the whole path from /".into()));
    }
    if line.len() > MAX_PATH || line.contains('\0') {
        return Err(bad(list, line, "is no path that the kernel takes".into()));
    }
    let canonical: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !plain || canonical.as_os_str() != path.as_os_str() {
        return Err(bad(
            list,
            line,
            "is not in its shortest form: write it without `.`, `..`, `//` and final `/`".into(),
        ));
    }
    Ok(canonical)
}

#[cfg(test)]
#[path = "grants_tests.rs"]
mod tests;
