//! Names to addresses: the hosts file first, then the DNS servers of the system's configuration, nothing remembered.
//!
//! A checker must see DNS as it is now: no answer is cached. The hosts file is read here and not by the DNS library,
//! because a name that it lists in one family must not be asked from DNS in the other (glibc does the same). Both files
//! are read again when they change. A machine without resolv.conf asks 127.0.0.1, as glibc would.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use roundsman_model::name::excerpt;

use crate::failure::{Failure, chain, code, phase};
use crate::host::Name;
use crate::script::Script;

/// Answers that are looked at: more than anybody needs to reach a service, few enough to check them all.
const MAX_ADDRESSES: usize = 16;
/// How much of a hosts file is read; block lists of that size exist.
const MAX_HOSTS_FILE: u64 = 4 << 20;
/// How often the two files are looked at for a change, at most.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// DNS servers that are asked, as many as the C library takes from the file.
const MAX_SERVERS: usize = 3;
/// How often they are asked in turn at most, whatever the file says: the C library's bound.
const MAX_ATTEMPTS: u32 = 5;
/// For how long one is waited for at most, whatever the file says: the C library's bound.
const MAX_TIMEOUT: Duration = Duration::from_secs(30);

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// Looks names up. One for all runs.
#[derive(Debug)]
pub struct Resolver {
    /// None: what was given at the beginning stays.
    files: Option<Files>,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Files {
    resolv_conf: PathBuf,
    hosts: PathBuf,
}

#[derive(Debug, Clone)]
struct Current {
    tables: Arc<Tables>,
    /// When the files were last looked at, and what they were like.
    looked: Instant,
    marks: [Mark; 2],
}

/// The node's own DNS servers, as `resolv.conf` has them: for questions to them, not for look-ups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Servers {
    /// At least one and at most three, in their order.
    pub(crate) servers: Vec<IpAddr>,
    /// How long each is waited for.
    pub(crate) timeout: Duration,
    /// How often all of them are asked.
    pub(crate) attempts: u32,
}

/// What changes when a file does: device, inode, size and modification time. None: there is no file.
type Mark = Option<(u64, u64, u64, i64, i64)>;

#[derive(Debug, Default)]
struct Tables {
    hosts: HashMap<String, Vec<IpAddr>>,
    dns: Option<TokioResolver>,
    servers: Option<Servers>,
    /// Has an address for every name.
    script: Option<Arc<Script>>,
}

impl Resolver {
    /// As this machine is configured.
    pub fn system() -> Resolver {
        Resolver::from_files(RESOLV_CONF.into(), HOSTS.into())
    }

    /// As two files in the formats of resolv.conf and hosts say.
    pub fn from_files(resolv_conf: PathBuf, hosts: PathBuf) -> Resolver {
        let files = Files { resolv_conf, hosts };
        let current = Current { marks: files.marks(), tables: Arc::new(files.read()), looked: Instant::now() };
        Resolver { files: Some(files), current: Mutex::new(current) }
    }

    /// Has an address for every name, and asks nobody.
    pub(crate) fn scripted(script: Arc<Script>) -> Resolver {
        let tables = Tables { script: Some(script), ..Tables::default() };
        let current = Current { tables: Arc::new(tables), looked: Instant::now(), marks: [None, None] };
        Resolver { files: None, current: Mutex::new(current) }
    }

    /// Knows what a hosts file says and asks nobody: for tests and trial runs.
    pub fn fixed(hosts: &str) -> Resolver {
        let tables = Tables { hosts: parse_hosts(hosts), ..Tables::default() };
        let current = Current { tables: Arc::new(tables), looked: Instant::now(), marks: [None, None] };
        Resolver { files: None, current: Mutex::new(current) }
    }

    /// The addresses of a name, at least one and at most 16, IPv4 first.
    pub async fn lookup(&self, name: &Name, deadline: tokio::time::Instant) -> Result<Vec<IpAddr>, Failure> {
        let tables = self.tables();
        let mut addresses = match tables.listed(name.as_str()) {
            Some(listed) => listed,
            None => tables.ask(name, deadline).await?,
        };
        addresses.truncate(MAX_ADDRESSES);
        Ok(addresses)
    }

    /// The DNS servers of this machine.
    pub(crate) fn servers(&self) -> Result<Servers, Failure> {
        let none = || Failure::new(code::RESOLVE, phase::RESOLVE, "this node has no DNS server to ask");
        self.tables().servers.clone().ok_or_else(none)
    }

    fn tables(&self) -> Arc<Tables> {
        // A poisoned lock holds whole tables all the same: they are only ever replaced at once.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(files) = &self.files
            && current.looked.elapsed() >= LOOK_AGAIN
        {
            let marks = files.marks();
            if marks != current.marks {
                *current = Current { tables: Arc::new(files.read()), marks, looked: Instant::now() };
            }
            current.looked = Instant::now();
        }
        current.tables.clone()
    }
}

impl Files {
    fn marks(&self) -> [Mark; 2] {
        [&self.resolv_conf, &self.hosts].map(|path| {
            let of = fs::metadata(path).ok()?;
            Some((of.dev(), of.ino(), of.len(), of.mtime(), of.mtime_nsec()))
        })
    }

    fn read(&self) -> Tables {
        let hosts = parse_hosts(&read_bounded(&self.hosts));
        let (config, options) = dns_config(&read_bounded(&self.resolv_conf));
        let servers = Some(own_servers(&config, &options));
        Tables { hosts, dns: dns_client(config, options), servers, script: None }
    }
}

fn read_bounded(path: &PathBuf) -> String {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_HOSTS_FILE).read_to_end(&mut bytes)) {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            tracing::debug!(path = %path.display(), %error, "cannot be read; names are looked up without it");
            String::new()
        }
    }
}

/// What resolv.conf says; without a server in it, 127.0.0.1.
fn dns_config(resolv_conf: &str) -> (ResolverConfig, ResolverOpts) {
    hickory_resolver::system_conf::parse_resolv_conf(resolv_conf).unwrap_or_else(|error| {
        tracing::debug!(error = chain(&error), "resolv.conf names no server; 127.0.0.1 is asked");
        let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
        (ResolverConfig::from_parts(None, Vec::new(), vec![local]), Default::default())
    })
}

fn own_servers(config: &ResolverConfig, options: &ResolverOpts) -> Servers {
    Servers {
        servers: config.name_servers().iter().map(|server| server.ip).take(MAX_SERVERS).collect(),
        timeout: options.timeout.clamp(Duration::from_secs(1), MAX_TIMEOUT),
        attempts: u32::try_from(options.attempts).unwrap_or(MAX_ATTEMPTS).clamp(1, MAX_ATTEMPTS),
    }
}

fn dns_client(config: ResolverConfig, mut options: ResolverOpts) -> Option<TokioResolver> {
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build().inspect_err(|error| tracing::warn!(error = chain(error), "no DNS client")).ok()
}

impl Tables {
    /// What needs no question to DNS: the hosts file, and `localhost` with everything beneath it (RFC 6761).
    fn listed(&self, name: &str) -> Option<Vec<IpAddr>> {
        if let Some(addresses) = self.hosts.get(name) {
            return Some(addresses.clone());
        }
        if let Some(script) = &self.script {
            return Some(script.addresses_of(name));
        }
        let local = name == "localhost" || name.ends_with(".localhost");
        local.then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
    }

    async fn ask(&self, name: &Name, deadline: tokio::time::Instant) -> Result<Vec<IpAddr>, Failure> {
        let failed = |code, reason: &str| {
            Failure::new(code, phase::RESOLVE, format!("cannot look up {}: {reason}", excerpt(name.as_str())))
        };
        let dns = self.dns.as_ref().ok_or_else(|| failed(code::RESOLVE, "not in the hosts file, and no DNS to ask"))?;
        let dot = if name.is_absolute() { "." } else { "" };
        let answer = tokio::time::timeout_at(deadline, dns.lookup_ip(format!("{}{dot}", name.as_str()))).await;
        let found = match answer {
            Err(_) | Ok(Err(NetError::Timeout)) => return Err(failed(code::TIMEOUT, "no answer from DNS in time")),
            Ok(Err(error)) => return Err(failed(code::RESOLVE, &reason(&error))),
            Ok(Ok(found)) => found,
        };
        let mut addresses: Vec<IpAddr> = Vec::new();
        for ip in found.iter() {
            if !addresses.contains(&ip) && addresses.len() < MAX_ADDRESSES {
                addresses.push(ip);
            }
        }
        if addresses.is_empty() { Err(failed(code::RESOLVE, "the name has no address")) } else { Ok(addresses) }
    }
}

fn reason(error: &NetError) -> String {
    match error {
        _ if error.is_nx_domain() => "no such name (NXDOMAIN)".to_owned(),
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            format!("the name has no address ({})", none.response_code)
        }
        NetError::NoConnections => "no DNS server can be reached".to_owned(),
        error => chain(error),
    }
}

/// The names of a hosts file in lower case, each with its addresses in order; lines that make no sense are left out.
fn parse_hosts(text: &str) -> HashMap<String, Vec<IpAddr>> {
    let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or(line).split_whitespace();
        let Some(Ok(ip)) = words.next().map(str::parse::<IpAddr>) else { continue };
        for name in words {
            let addresses = hosts.entry(name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()).or_default();
            if addresses.len() < MAX_ADDRESSES && !addresses.contains(&ip) {
                addresses.push(ip);
            }
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    fn name(text: &str) -> Name {
        match Host::parse(text) {
            Ok(Host::Name(name)) => name,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn hosts_files() {
        let text =
            "# x\n127.0.0.1 localhost\n10.0.0.7\tDb.Example. db # primary\nfd00::7 db\nnonsense db\n10.0.0.7 db\n\n";
        let hosts = parse_hosts(text);
        assert_eq!(hosts.len(), 3);
        assert_eq!(hosts["db"], ["10.0.0.7".parse::<IpAddr>().unwrap(), "fd00::7".parse().unwrap()]);
        assert_eq!(hosts["db.example"].len(), 1);
        let many: String = (0..200).map(|n| format!("10.0.0.{n} many\n")).collect();
        assert_eq!(parse_hosts(&many)["many"].len(), MAX_ADDRESSES);
    }

    #[tokio::test]
    async fn names_without_dns() {
        let resolver = Resolver::fixed("10.0.0.7 db");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        assert_eq!(resolver.lookup(&name("DB."), deadline).await.unwrap().len(), 1);
        assert_eq!(resolver.lookup(&name("a.localhost"), deadline).await.unwrap().len(), 2);
        assert_eq!(resolver.lookup(&name("nobody"), deadline).await.unwrap_err().code, code::RESOLVE);
    }

    #[test]
    fn own_servers_in_their_order() {
        let servers = |text: &str| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("resolv.conf");
            fs::write(&path, text).unwrap();
            Resolver::from_files(path, directory.path().join("none")).servers().unwrap()
        };
        for (text, expected, timeout_s, attempts) in [
            ("nameserver 10.0.0.2\nnameserver fd00::1\n", "10.0.0.2 fd00::1", 5, 2),
            ("nameserver 10.0.0.2\noptions timeout:1 attempts:4 ndots:5\n", "10.0.0.2", 1, 4),
            ("nameserver 10.0.0.2\noptions timeout:0 attempts:0\n", "10.0.0.2", 1, 1),
            ("nameserver 10.0.0.2\noptions timeout:200 attempts:200\n", "10.0.0.2", 30, 5),
            (
                "nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n",
                "10.0.0.1 10.0.0.2 10.0.0.3",
                5,
                2,
            ),
            ("search example\n", "127.0.0.1", 5, 2),
        ] {
            let found = servers(text);
            let list = found.servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            assert_eq!(
                (list.as_str(), found.timeout.as_secs(), found.attempts),
                (expected, timeout_s, attempts),
                "{text}"
            );
        }
        assert_eq!(Resolver::fixed("10.0.0.7 db").servers().unwrap_err().code, code::RESOLVE);
    }

    #[test]
    fn changed_files_are_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let hosts = directory.path().join("hosts");
        let resolver = Resolver::from_files(directory.path().join("none"), hosts.clone());
        assert_eq!(resolver.tables().listed("db"), None);
        fs::write(&hosts, "10.0.0.7 db").unwrap();
        resolver.current.lock().unwrap().looked -= LOOK_AGAIN;
        assert_eq!(resolver.tables().listed("db"), Some(vec!["10.0.0.7".parse().unwrap()]));
    }
}
