//! One of the kernel's parameters, by its name with dots.

use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{failed, printable};
use crate::failure::{Failure, chain, code};

/// The longest known has some seventy; names of devices add fifteen.
const MAX_NAME: usize = 256;
/// Most values are a number; `kernel.core_pattern` has 128 bytes, lists of ports some thousands.
const MAX_VALUE: u64 = 16 << 10;

/// `net.ipv4.conf.eth0/100.forwarding` as a path beneath `sys`. As with `sysctl(8)`, a slash stands for the dot that is
/// part of a name.
pub(super) fn path(name: &str) -> Result<PathBuf, Failure> {
    let parts: Vec<String> = name.split('.').map(|part| part.replace('/', ".")).collect();
    let plain = |part: &String| !part.is_empty() && part != "." && part != ".." && !part.contains(char::is_control);
    if name.len() > MAX_NAME || !parts.iter().all(plain) {
        let message =
            "a kernel parameter is written like `net.ipv4.ip_forward`, with `/` for a dot within a device's name";
        return Err(failed(code::NOT_FOUND, message));
    }
    Ok(parts.iter().collect())
}

/// What the parameter is, without the last end of line. May never return: some belong to other filesystems.
pub(super) fn read(proc: &Path, name: &Path) -> Result<String, Failure> {
    let path = proc.join("sys").join(name);
    let cannot = |error: Errno| match error {
        Errno::NOENT | Errno::NOTDIR => {
            failed(code::NOT_FOUND, format!("this kernel has no parameter {}", path.display()))
        }
        Errno::ACCESS | Errno::PERM => {
            let why = "it can only be written to, or it is for root alone";
            failed(code::DENIED, format!("{} may not be read by the agent: {why}", path.display()))
        }
        Errno::ISDIR => failed(code::NOT_FOUND, format!("{} is a group of parameters", path.display())),
        error => failed(code::IO, format!("cannot read {}: {error}", path.display())),
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::empty()).map_err(cannot)?;
    let mut value = Vec::new();
    match std::fs::File::from(file).take(MAX_VALUE).read_to_end(&mut value) {
        Ok(_) => Ok(lines(&value)),
        Err(error) => Err(Errno::from_io_error(&error)
            .map_or_else(|| failed(code::IO, format!("cannot read {}: {}", path.display(), chain(&error))), cannot)),
    }
}

/// Tabs between numbers and several lines stay as they are.
fn lines(value: &[u8]) -> String {
    let clean: Vec<_> = value
        .split(|byte| *byte == b'\n')
        .map(|line| line.split(|byte| *byte == b'\t').map(printable).collect::<Vec<_>>().join("\t"))
        .collect();
    clean.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, expected) in [
            ("net.ipv4.ip_forward", Some("net/ipv4/ip_forward")),
            ("net.ipv4.conf.eth0/100.forwarding", Some("net/ipv4/conf/eth0.100/forwarding")),
            ("fs.file-nr", Some("fs/file-nr")),
            ("kernel", Some("kernel")),
            ("", None),
            (".", None),
            ("..", None),
            ("net..ipv4", None),
            (".net", None),
            ("net.", None),
            ("/etc/passwd", Some(".etc.passwd")),
            ("kernel.//.x", None),
            ("kernel./.x", None),
            ("a.//.//.//.etc/passwd", None),
            ("a\0b", None),
            ("a\nb", None),
            (&"a".repeat(257), None),
        ] {
            assert_eq!(path(name).ok(), expected.map(PathBuf::from), "{name:?}");
        }
    }

    #[test]
    fn values() {
        for (value, expected) in [
            (&b"1\n"[..], "1"),
            (b"928\t0\t9223372036854775807\n", "928\t0\t9223372036854775807"),
            (b"a\nb \x1b[31m\n\n", "a\nb  [31m"),
            (b"", ""),
        ] {
            assert_eq!(lines(value), expected, "{value:?}");
        }
    }

    #[test]
    fn of_this_kernel() {
        let of = |name: &str| read(Path::new("/proc"), &path(name).unwrap());
        assert_eq!(of("kernel.ostype").unwrap(), "Linux");
        assert!(of("fs.file-nr").unwrap().split('\t').count() == 3);
        for (name, expected) in [
            ("kernel.no_such_parameter", code::NOT_FOUND),
            ("kernel.ostype.x", code::NOT_FOUND),
            ("net.ipv4", code::NOT_FOUND),
            ("/etc/passwd", code::NOT_FOUND),
            ("net.ipv4.route.flush", code::DENIED),
        ] {
            assert_eq!(of(name).unwrap_err().code, expected, "{name}");
        }
    }
}
