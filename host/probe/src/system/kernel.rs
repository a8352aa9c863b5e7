//! Load, processors, memory, pressure and names, from the kernel's own text.

use super::failed;
use crate::failure::{Failure, code};

/// Lines that are read of `meminfo` and `pressure`; kernels have about sixty.
const MAX_LINES: usize = 256;

fn strange(file: &str) -> Failure {
    failed(code::IO, format!("the kernel's {file} is not in the form that this version knows"))
}

/// `0.52 0.58 0.59 1/467 12345`
pub(super) fn load_average(text: &str) -> Result<[f64; 3], Failure> {
    let mut words = text.split_whitespace().map(str::parse);
    let mut next = || words.next().and_then(Result::ok).ok_or_else(|| strange("loadavg"));
    Ok([next()?, next()?, next()?])
}

/// `0-3,5,8-9` as a number of processors.
pub(super) fn processors(text: &str) -> Result<u32, Failure> {
    let mut count = 0_u32;
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) =
            first.parse::<u32>().ok().zip(last.parse::<u32>().ok()).ok_or_else(|| strange("list of processors"))?;
        let width = last.checked_sub(first).and_then(|width| width.checked_add(1));
        count = width.and_then(|width| count.checked_add(width)).ok_or_else(|| strange("list of processors"))?;
    }
    Ok(count)
}

/// The lines of `meminfo` that are sizes, in bytes. Numbers of pages are left out, because they have another unit.
pub(super) fn memory(text: &str) -> Result<Vec<(String, u64)>, Failure> {
    let sizes = text.lines().take(MAX_LINES).filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let kib: u64 = rest.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some((name.to_owned(), kib.checked_mul(1024)?))
    });
    let sizes: Vec<_> = sizes.collect();
    if sizes.is_empty() { Err(strange("meminfo")) } else { Ok(sizes) }
}

/// `some avg10=0.12 avg60=0.00 avg300=0.00 total=34299308` as `some.avg10` and so on.
pub(super) fn pressure(text: &str) -> Result<Vec<(String, f64)>, Failure> {
    let mut values = Vec::new();
    for line in text.lines().take(MAX_LINES) {
        let mut words = line.split_whitespace();
        let Some(kind) = words.next() else { continue };
        for (name, value) in words.take(MAX_LINES).filter_map(|word| word.split_once('=')) {
            let value = value.parse().map_err(|_| strange("pressure"))?;
            values.push((format!("{kind}.{name}"), value));
        }
    }
    if values.is_empty() { Err(strange("pressure")) } else { Ok(values) }
}

/// The first of `35049.58 61231.25`: seconds since the kernel began.
pub(super) fn uptime(text: &str) -> Result<&str, Failure> {
    let word = text.split_whitespace().next().filter(|word| word.parse::<f64>().is_ok());
    word.ok_or_else(|| strange("uptime"))
}

/// What `uname` says, beside what was read.
pub(super) fn uname(boot_id: &str, uptime: &str) -> Vec<(&'static str, String)> {
    let names = rustix::system::uname();
    let text = |word: &std::ffi::CStr| word.to_string_lossy().into_owned();
    vec![
        ("sysname", text(names.sysname())),
        ("release", text(names.release())),
        ("version", text(names.version())),
        ("machine", text(names.machine())),
        ("boot-id", boot_id.to_owned()),
        ("uptime-s", uptime.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads() {
        assert_eq!(load_average("0.52 0.58 12.5 1/467 12345\n").unwrap(), [0.52, 0.58, 12.5]);
        for text in ["", "0.5 0.5", "a b c"] {
            assert_eq!(load_average(text).unwrap_err().code, code::IO, "{text:?}");
        }
    }

    #[test]
    fn lists_of_processors() {
        for (text, count) in [
            ("0\n", Some(1)),
            ("0-3", Some(4)),
            ("0-3,5,8-9\n", Some(7)),
            ("", None),
            ("3-0", None),
            ("0-4294967295", None),
            ("x", None),
        ] {
            assert_eq!(processors(text).ok(), count, "{text:?}");
        }
    }

    #[test]
    fn sizes_of_memory() {
        let text = "MemTotal:       24669124 kB\nMemAvailable:   23000000 kB\nActive(anon):      12 kB\nHugePages_Total:       4\nx\n";
        let found = memory(text).unwrap();
        assert_eq!(found[0], ("MemTotal".to_owned(), 24_669_124 * 1024));
        assert_eq!(found[2].0, "Active(anon)");
        assert_eq!(found.len(), 3);
        assert!(memory("nothing").is_err());
        assert!(memory("MemTotal: 18446744073709551615 kB").is_err());
    }

    #[test]
    fn pressures() {
        let text =
            "some avg10=0.12 avg60=0.19 avg300=1.70 total=34299308\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        let found = pressure(text).unwrap();
        assert_eq!(found[0], ("some.avg10".to_owned(), 0.12));
        assert_eq!(found[3], ("some.total".to_owned(), 34_299_308.0));
        assert_eq!(found[7], ("full.total".to_owned(), 0.0));
        assert!(pressure("").is_err());
        assert!(pressure("some avg10=x").is_err());
    }

    #[test]
    fn uptimes() {
        assert_eq!(uptime("35049.58 61231.25\n").unwrap(), "35049.58");
        assert!(uptime("soon").is_err());
    }
}
