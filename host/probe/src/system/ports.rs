//! Sockets that wait for others, from the kernel's own tables (`proc(5)`, net/tcp), and whose they are.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::processes::pids;
use super::{failed, text};
use crate::failure::{Failure, chain, code};

/// Sockets that are kept; a node with a thousand services has some thousands.
const MAX_PORTS: usize = 4096;
/// Bytes read of one table: some 25,000 lines. Those that listen stand before the connections.
const MAX_TABLE: u64 = 4 << 20;
/// Links to open files that are read in search of the sockets' owners. Each takes about a microsecond.
const MAX_FILES: usize = 200_000;

/// The tables, and the state of a socket that waits for others: TCP_LISTEN, and for UDP one that is not connected.
const TABLES: [(&str, &str); 4] = [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")];

/// One socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// `tcp`, `tcp6`, `udp`, `udp6`.
    pub protocol: &'static str,
    pub address: IpAddr,
    pub port: u16,
    pub user_id: u32,
    /// 0 where the agent may not know it.
    pub pid: u32,
}

/// The sockets at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports {
    pub list: Vec<Port>,
    /// Whether there were more than are looked at.
    pub truncated: bool,
}

/// Where a socket stands in the list, by its inode.
type Wanted = HashMap<u64, usize>;

pub(super) fn ports(proc: &Path) -> Result<Ports, Failure> {
    let (mut found, mut wanted) = (Ports::default(), Wanted::new());
    // A kernel without IPv6 has no tables of it.
    text(&proc.join("net/tcp"))?;
    for (protocol, state) in TABLES {
        table(&proc.join("net").join(protocol), protocol, state, &mut found, &mut wanted)?;
    }
    owners(proc, &mut found.list, wanted);
    Ok(found)
}

fn table(
    path: &Path,
    protocol: &'static str,
    state: &str,
    found: &mut Ports,
    wanted: &mut Wanted,
) -> Result<(), Failure> {
    let cannot = |error| failed(code::IO, format!("cannot read {}: {}", path.display(), chain(&error)));
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(cannot)?,
    };
    let mut lines = BufReader::with_capacity(64 << 10, file.take(MAX_TABLE));
    let (mut line, mut listens) = (String::new(), false);
    loop {
        line.clear();
        if lines.read_line(&mut line).map_err(cannot)? == 0 {
            break;
        }
        let Some((port, inode)) = parse(&line, protocol, state) else {
            listens = false;
            continue;
        };
        if found.list.len() == MAX_PORTS {
            found.truncated = true;
            break;
        }
        listens = true;
        wanted.entry(inode).or_insert(found.list.len());
        found.list.push(port);
    }
    // Cut off in the midst of what was looked for: with TCP, connections come last.
    found.truncated |= lines.get_ref().limit() == 0 && (listens || protocol.starts_with("udp"));
    Ok(())
}

/// `  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 …`
fn parse(line: &str, protocol: &'static str, wanted: &str) -> Option<(Port, u64)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, _remote, state) = (words.next()?, words.next()?, words.next()?);
    if state != wanted {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let (address, port) = (self::address(address)?, u16::from_str_radix(port, 16).ok()?);
    let user_id = words.nth(3)?.parse().ok()?;
    let inode = words.nth(1)?.parse().ok()?;
    Some((Port { protocol, address, port, user_id, pid: 0 }, inode))
}

/// Four bytes at a time, each printed as a number of this machine.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |place: usize| Some(u32::from_str_radix(hex.get(place * 8..place * 8 + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut octets = [0; 16];
            for (place, four) in octets.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(place)?);
            }
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

/// Looks through the open files of processes until every socket has an owner. Of several, the first is the one that
/// passed it on.
fn owners(proc: &Path, ports: &mut [Port], mut wanted: Wanted) {
    let mut looked_at = 0;
    for pid in pids(proc).unwrap_or_default() {
        // Those of others are not for everybody to see.
        let Ok(files) = fs::read_dir(proc.join(format!("{pid}/fd"))) else { continue };
        for file in files.flatten() {
            if wanted.is_empty() || looked_at == MAX_FILES {
                return;
            }
            looked_at += 1;
            let Ok(leads_to) = fs::read_link(file.path()) else { continue };
            let inode =
                leads_to.to_str().and_then(|name| name.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(port) = inode.and_then(|inode| wanted.remove(&inode)).and_then(|place| ports.get_mut(place)) {
                port.pid = pid;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let four = |a: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(a));
        assert_eq!(address(&four([127, 0, 0, 1])), Some("127.0.0.1".parse().unwrap()));
        let six = [[0x20, 1, 0xd, 0xb8], [0; 4], [0; 4], [0, 0, 0, 9]].map(four).concat();
        assert_eq!(address(&six), Some("2001:db8::9".parse().unwrap()));
        for bad in ["", "0100007", "0100007G", "0100007F0", "é100007", &"0".repeat(31)] {
            assert_eq!(address(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn lines() {
        let tcp = "   3: 00000000:1F90 00000000:0000 0A 00000000:00000005 00:00000000 00000000  1000        0 987 1 0 100 0 0 10 0\n";
        let udp =
            "  50: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 55 2 0 0\n";
        let port = |protocol, number, user_id| Port {
            protocol,
            address: Ipv4Addr::UNSPECIFIED.into(),
            port: number,
            user_id,
            pid: 0,
        };
        for (line, protocol, state, expected) in [
            (tcp, "tcp", "0A", Some((port("tcp", 8080, 1000), 987))),
            (udp, "udp", "07", Some((port("udp", 53, 0), 55))),
            (tcp, "udp", "07", None),
            ("  sl  local_address rem_address   st tx_queue rx_queue", "tcp", "0A", None),
            ("0: 00000000:1F90 00000000:0000 0A", "tcp", "0A", None),
            ("0: 00000000 00000000:0000 0A a b c 0 0 1", "tcp", "0A", None),
            ("", "tcp", "0A", None),
        ] {
            assert_eq!(parse(line, protocol, state), expected, "{line:?}");
        }
    }

    /// A `proc` of so many sockets that listen and so many connections.
    fn written(listening: usize, connected: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("net")).unwrap();
        let line = |inode: usize, state: &str| {
            let tail = "00000000:00000000 00:00000000 00000000  0 0";
            format!(
                "{inode:5}: 0100007F:{:04X} 00000000:0000 {state} {tail} {inode} 1 0 100 0 0 10 0\n",
                inode % 65_536
            )
        };
        let mut text = "  sl  local_address rem_address   st\n".to_owned();
        text.extend((1..=listening).map(|inode| line(inode, "0A")));
        text.extend((1..=connected).map(|inode| line(listening + inode, "01")));
        fs::write(folder.path().join("net/tcp"), text).unwrap();
        folder
    }

    #[test]
    fn a_bounded_number_and_a_table_that_is_cut_off() {
        for (listening, connected, expected) in [
            (3, 0, (3, false)),
            (3, 60_000, (3, false)),
            (MAX_PORTS, 10, (MAX_PORTS, false)),
            (MAX_PORTS + 1, 0, (MAX_PORTS, true)),
        ] {
            let folder = written(listening, connected);
            let found = ports(folder.path()).unwrap();
            assert_eq!((found.list.len(), found.truncated), expected, "{listening} {connected}");
        }
        assert_eq!(ports(Path::new("/no/such/proc")).unwrap_err().code, code::NOT_FOUND);
    }

    #[test]
    fn the_first_of_several_owners() {
        let folder = written(2, 0);
        for (pid, links) in [(9, vec!["socket:[1]"]), (10, vec!["/dev/null", "socket:[1]", "socket:[77]", "pipe:[2]"])]
        {
            let files = folder.path().join(format!("{pid}/fd"));
            fs::create_dir_all(&files).unwrap();
            for (number, leads_to) in links.into_iter().enumerate() {
                std::os::unix::fs::symlink(leads_to, files.join(number.to_string())).unwrap();
            }
        }
        let pids: Vec<_> = ports(folder.path()).unwrap().list.iter().map(|port| port.pid).collect();
        assert_eq!(pids, [9, 0]);
    }
}
