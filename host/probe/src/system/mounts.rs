//! The table of mounts, from the kernel's own text (`proc(5)`, mountinfo).

use std::collections::HashMap;

/// Mounts that are kept; a node full of pods has some hundreds.
pub(super) const MAX_MOUNTS: usize = 4096;

/// One mounted filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `/dev/sda1`, `tmpfs`, `server:/export` …
    pub source: String,
    pub path: String,
    /// `ext4`, `nfs4` …
    pub kind: String,
    pub read_only: bool,
    /// Of the mount, then of the filesystem, each once.
    pub options: Vec<String>,
}

/// All lines that make sense, at most 4,096. Of several mounts over one path, the last is the one that can be seen.
pub(super) fn parse(text: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for mount in text.lines().filter_map(line) {
        if let Some(hidden) = places.get(&mount.path).and_then(|place| mounts.get_mut(*place)) {
            *hidden = mount;
        } else if mounts.len() < MAX_MOUNTS {
            places.insert(mount.path.clone(), mounts.len());
            mounts.push(mount);
        } else {
            tracing::debug!(limit = MAX_MOUNTS, "more filesystems are mounted than are looked at");
            break;
        }
    }
    mounts
}

/// `36 35 98:0 /root /path rw,noatime shared:1 - ext4 /dev/sda1 rw,errors=continue`: the number of words before the
/// dash varies.
fn line(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(4);
    let (path, own) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (kind, source, of_filesystem) = (right.next()?, right.next()?, right.next()?);
    let mut options: Vec<String> = Vec::new();
    for option in own.split(',').chain(of_filesystem.split(',')) {
        let option = unescaped(option);
        if !option.is_empty() && !options.contains(&option) {
            options.push(option);
        }
    }
    let read_only = options.iter().any(|option| option == "ro");
    Some(Mount { source: unescaped(source), path: unescaped(path), kind: unescaped(kind), read_only, options })
}

/// The kernel writes space, tab, newline and backslash as `\040` and the like.
fn unescaped(word: &str) -> String {
    if !word.contains('\\') {
        return word.to_owned();
    }
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(|b| (b'0'..=b'7').contains(b)));
        let value = octal.map(|digits| digits.iter().fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0')));
        match value.and_then(|value| u8::try_from(value).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let text = "\
22 28 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw
28 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro
101 28 0:45 / /mnt/a\\040b\\134c rw,relatime - nfs4 server:/export\\040x rw,vers=4.2,hard
102 28 0:46 / /mnt/data rw,relatime shared:9 master:2 - ext4 /dev/sdb1 ro,stripe=4
103 28 0:47 / /mnt/over rw - tmpfs one rw,size=1k
104 28 0:48 / /mnt/over ro - tmpfs two rw
nonsense
105 28 0:49 / /short - ext4
";
        let found = parse(text);
        let short: Vec<_> = found.iter().map(|m| (&*m.source, &*m.path, &*m.kind, m.read_only)).collect();
        assert_eq!(
            short,
            [
                ("proc", "/proc", "proc", false),
                ("/dev/nvme0n1p2", "/", "ext4", false),
                ("server:/export x", "/mnt/a b\\c", "nfs4", false),
                ("/dev/sdb1", "/mnt/data", "ext4", true),
                ("two", "/mnt/over", "tmpfs", true),
            ]
        );
        assert_eq!(found[1].options, ["rw", "relatime", "errors=remount-ro"]);
        assert_eq!(found[3].options, ["rw", "relatime", "ro", "stripe=4"]);
    }

    #[test]
    fn escapes() {
        for (word, text) in [
            ("a", "a"),
            ("\\040", " "),
            ("\\04", "\\04"),
            ("\\999", "\\999"),
            ("\\777x", "\\777x"),
            ("\\011\\", "\t\\"),
        ] {
            assert_eq!(unescaped(word), text);
        }
    }

    #[test]
    fn a_bounded_number() {
        let text: String = (0..MAX_MOUNTS + 10).map(|n| format!("1 1 0:1 / /{n} rw - tmpfs t rw\n")).collect();
        assert_eq!(parse(&text).len(), MAX_MOUNTS);
    }
}
