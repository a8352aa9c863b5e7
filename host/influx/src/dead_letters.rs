//! Lines that no server will take, kept in a file for a person to look at. Two files of bounded size.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use roundsman_model::time::Timestamp;

/// When the file is larger it becomes the old one, and the one before is gone: enough for many whole requests, and
/// twice this is all that a broken destination can cost.
const MAX_FILE: u64 = 4 << 20;

/// Where a destination's refused lines go.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetters {
    path: PathBuf,
}

impl DeadLetters {
    /// `influx-<destination>.rejected` in the state directory.
    pub(crate) fn new(state: &Path, destination: &str) -> Self {
        let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = destination.chars().map(safe).collect();
        Self { path: state.join(format!("influx-{name}.rejected")) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends the lines below a comment that says when and why.
    pub(crate) async fn keep(&self, now: Timestamp, why: &str, lines: &[u8]) -> io::Result<()> {
        let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut entry = format!("# {now} {why}\n").into_bytes();
        entry.extend_from_slice(lines);
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || append(&path, &entry)).await.map_err(io::Error::other)?
    }
}

fn append(path: &Path, entry: &[u8]) -> io::Result<()> {
    let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if size > 0 && size.saturating_add(entry.len() as u64) > MAX_FILE {
        std::fs::rename(path, path.with_extension("rejected.old"))?;
    }
    std::fs::OpenOptions::new().create(true).append(true).open(path)?.write_all(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_files_are_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let letters = DeadLetters::new(directory.path(), "../a b");
        assert_eq!(letters.path().file_name().unwrap(), "influx-___a_b.rejected");
        letters.keep(Timestamp(0), "bad\nline", b"m x\n").await.unwrap();
        let text = std::fs::read_to_string(letters.path()).unwrap();
        assert_eq!(text, "# 1970-01-01T00:00:00.000Z bad line\nm x\n");
        let line = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            letters.keep(Timestamp(0), "bad", &line).await.unwrap();
        }
        let sizes: Vec<u64> =
            std::fs::read_dir(directory.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).collect();
        assert_eq!(sizes.len(), 2);
        assert!(sizes.iter().all(|size| *size <= MAX_FILE), "{sizes:?}");
    }
}
