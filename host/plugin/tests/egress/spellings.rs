//! An address in every spelling that some resolver, library or browser takes for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// All spellings that fit between `://` and `:port`.
pub(crate) fn of(address: &str) -> Vec<String> {
    match address.parse().unwrap() {
        IpAddr::V4(ip) => of_v4(ip),
        IpAddr::V6(ip) => of_v6(ip),
    }
}

fn of_v4(ip: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = ip.octets();
    let whole = u32::from(ip);
    let low = u32::from(c) << 8 | u32::from(d);
    let (high16, low16) = (whole >> 16, whole & 0xffff);
    let plain = ip.to_string();
    let wide: String = plain
        .chars()
        .map(|c| if c == '.' { c } else { char::from_u32(0xff10 + c as u32 - '0' as u32).unwrap() })
        .collect();
    let dots = plain.replace('.', "\u{3002}");
    let percent: String = plain.bytes().map(|byte| format!("%{byte:02x}")).collect();
    vec![
        plain.clone(),
        format!("{plain}."),
        whole.to_string(),
        format!("0x{whole:x}"),
        format!("0{whole:o}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
        format!("{a}.{b}.{low}"),
        format!("{a}.{}", whole & 0xff_ffff),
        format!("{a:03}.{b:03}.{c:03}.{d:03}"),
        format!("[::ffff:{plain}]"),
        format!("[::ffff:{high16:x}:{low16:x}]"),
        format!("[0:0:0:0:0:ffff:{high16:x}:{low16:x}]"),
        format!("[::{plain}]"),
        format!("[::ffff:0:{plain}]"),
        format!("[64:ff9b::{plain}]"),
        format!("[2002:{high16:x}:{low16:x}::]"),
        format!("[2001:0:1:1:0:0:{:x}:{:x}]", !high16 & 0xffff, !low16 & 0xffff),
        format!("[::ffff:{plain}%lo]"),
        wide,
        dots,
        percent,
        format!("good.example@{plain}"),
        format!("good.example:8080@{plain}"),
        format!("{plain}#.allowed.example"),
        format!("{plain}/.allowed.example"),
        format!("{plain}\\.allowed.example"),
        format!("{plain}?.allowed.example"),
        format!("{plain}\u{0}.allowed.example"),
        format!("{plain} .allowed.example"),
        format!("{plain}\r\nhost: x"),
    ]
}

fn of_v6(ip: Ipv6Addr) -> Vec<String> {
    let long = ip.segments().map(|segment| format!("{segment:04x}")).join(":");
    vec![
        format!("[{ip}]"),
        format!("[{}]", ip.to_string().to_uppercase()),
        format!("[{long}]"),
        format!("[{ip}%lo]"),
        format!("[{ip}%25lo]"),
        format!("[{ip}%1]"),
        format!("{ip}"),
        format!("good.example@[{ip}]"),
    ]
}
