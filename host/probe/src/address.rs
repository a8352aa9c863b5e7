//! Addresses: one canonical spelling for each, and which of them need more than an ordinary grant.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// How much a grant must say for an address to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Any grant that matches is enough, also a name by wildcard.
    Public,
    /// Somebody's own network: needs an address, a CIDR or the exact name, because whoever owns a wildcard's domain
    /// could otherwise point names of it into that network.
    Private,
    /// Needs a grant of exactly this address and port. The words say what it is.
    Special(&'static str),
}

/// The address by which another one is judged: IPv4 inside IPv6 (mapped, compatible, translated, NAT64, 6to4, Teredo)
/// is taken out, because that is where the packets end up.
pub fn judged(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let s = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => ip,
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => v4(high, low),
        [0x2001, 0, _, _, _, _, high, low] => v4(!high, !low),
        _ => ip,
    }
}

/// The address that is dialled: only the mapped spelling changes, as the kernel itself would have it. The others are
/// judged by their IPv4 address and dialled as they are, because the way to a NAT64 or 6to4 gateway is part of the path.
pub fn dialled(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// How far a judged address reaches.
pub fn reach(ip: IpAddr) -> Reach {
    match ip {
        IpAddr::V4(ip) => reach_v4(ip),
        IpAddr::V6(ip) => reach_v6(ip),
    }
}

fn reach_v4(ip: Ipv4Addr) -> Reach {
    match ip.octets() {
        [169, 254, 169, 254] | [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] => {
            Reach::Special("a cloud metadata address")
        }
        [169, 254, ..] => Reach::Special("a link-local address"),
        [0, ..] => Reach::Special("an unspecified address"),
        [255, 255, 255, 255] => Reach::Special("the broadcast address"),
        [224..=239, ..] => Reach::Special("a multicast address"),
        [10 | 127, ..]
        | [172, 16..=31, ..]
        | [192, 168, ..]
        | [100, 64..=127, ..]
        | [192, 0, 0 | 2, _]
        | [198, 18..=19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [240..=255, ..] => Reach::Private,
        _ => Reach::Public,
    }
}

fn reach_v6(ip: Ipv6Addr) -> Reach {
    match ip.segments() {
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => {
            Reach::Special("a cloud metadata address")
        }
        [0, 0, 0, 0, 0, 0, 0, 0] => Reach::Special("an unspecified address"),
        [0xfe80..=0xfebf, ..] => Reach::Special("a link-local address"),
        [0xff00..=0xffff, ..] => Reach::Special("a multicast address"),
        // Where the IPv4 address stands inside depends on the network's own prefix: it cannot be judged.
        [0x64, 0xff9b, 1, ..] => Reach::Special("a local translation address"),
        [0, 0, 0, 0, 0, 0, 0, 1]
        | [0xfc00..=0xfdff, ..]
        | [0xfec0..=0xfeff, ..]
        | [0x2001, 0xdb8, ..]
        | [0x100, 0, 0, 0, ..] => Reach::Private,
        _ => Reach::Public,
    }
}

/// Whether an address is one of this machine's own. The kernel lets a socket be bound to no other, and says so with
/// this one error; whatever else goes wrong (no descriptor left) must not make an own address look foreign.
pub fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || !UdpSocket::bind((ip, 0)).is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judged_addresses() {
        for (ip, expected) in [
            ("10.0.0.7", "10.0.0.7"),
            ("::ffff:10.0.0.7", "10.0.0.7"),
            ("::10.0.0.7", "10.0.0.7"),
            ("::ffff:0:10.0.0.7", "10.0.0.7"),
            ("64:ff9b::169.254.169.254", "169.254.169.254"),
            ("2002:a9fe:a9fe::1", "169.254.169.254"),
            ("2001:0:4136:e378:8000:63bf:5601:5601", "169.254.169.254"),
            ("2001:db8::1", "2001:db8::1"),
            ("::", "::"),
            ("::1", "::1"),
        ] {
            assert_eq!(judged(ip.parse().unwrap()), expected.parse::<IpAddr>().unwrap(), "{ip}");
        }
    }

    #[test]
    fn reaches() {
        for (reaches, addresses) in [
            ("Public", "8.8.8.8 172.32.0.1 100.128.0.1 198.20.0.1 192.0.1.1 2606:4700::1 2001:db9::1"),
            (
                "Private",
                "10.1.2.3 127.0.0.1 172.16.0.1 172.31.255.255 192.168.0.1 100.64.0.1 100.127.0.1 198.18.0.1 240.0.0.1 \
                 192.0.2.1 198.51.100.1 203.0.113.1 ::1 fc00::1 fd12::1 fec0::1 2001:db8::1 100::1",
            ),
            (
                "Special",
                "169.254.169.254 169.254.0.1 100.100.100.200 192.0.0.192 168.63.129.16 0.0.0.0 0.1.2.3 \
                 255.255.255.255 224.0.0.1 239.1.1.1 fd00:ec2::254 fd20:ce::254 :: fe80::1 febf::1 ff02::1 \
                 64:ff9b:1::a00:1",
            ),
        ] {
            for ip in addresses.split_whitespace() {
                let found = format!("{:?}", reach(ip.parse().unwrap()));
                assert!(found.starts_with(reaches), "{ip} is {found}, not {reaches}");
            }
        }
    }

    #[test]
    fn own_addresses() {
        assert!(is_local(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_local(Ipv4Addr::new(192, 0, 2, 1).into()));
    }
}
