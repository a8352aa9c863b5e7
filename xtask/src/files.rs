//! Copies of files that no reader sees half done, and that leave alone what is equal already.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Puts a file in place by renaming, so that an agent which watches the folder never meets half of it.
/// Equal content is not written again: its time stamp stays, and nothing is loaded anew.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<bool> {
    let content = read(from)?.with_context(|| format!("{} does not exist", from.display()))?;
    if read(to)?.as_ref() == Some(&content) {
        return Ok(false);
    }
    let folder = to.parent().with_context(|| format!("{} has no folder", to.display()))?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    // Hidden, and not ending in .wasm or .yaml: not a plugin or a configuration file yet.
    let name = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    fs::write(&temporary, &content).with_context(|| format!("writing {}", temporary.display()))?;
    fs::rename(&temporary, to).with_context(|| format!("renaming to {}", to.display()))?;
    Ok(true)
}

/// A file's content; none when there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// All files under a folder, relative to it and sorted; none when there is no such folder. Hidden ones are left out.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(inner) = open.pop() {
        let path = folder.join(&inner);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("listing {}", path.display()))?,
        };
        for entry in entries {
            let entry = entry.with_context(|| format!("listing {}", path.display()))?;
            let name = inner.join(entry.file_name());
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if entry.path().is_dir() { open.push(name) } else { found.push(name) }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder of its own, gone with the value.
    #[derive(Debug)]
    pub(crate) struct Scratch(pub(crate) PathBuf);

    impl Scratch {
        pub(crate) fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("roundsman-xtask-{}-{number}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(crate) fn write(&self, name: &str, text: &str) {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        pub(crate) fn text(&self, name: &str) -> Option<String> {
            read(&self.0.join(name)).unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn a_copy_is_written_once_and_leaves_nothing_beside_it() {
        let scratch = Scratch::new();
        scratch.write("a", "one");
        let (from, to) = (scratch.0.join("a"), scratch.0.join("deep/er/b"));
        assert!(copy(&from, &to).unwrap());
        assert!(!copy(&from, &to).unwrap());
        scratch.write("a", "two");
        assert!(copy(&from, &to).unwrap());
        assert_eq!(scratch.text("deep/er/b").as_deref(), Some("two"));
        assert_eq!(fs::read_dir(scratch.0.join("deep/er")).unwrap().count(), 1);
        assert!(copy(&scratch.0.join("missing"), &to).is_err());
    }

    #[test]
    fn lists_are_relative_sorted_and_without_hidden_files() {
        let scratch = Scratch::new();
        for name in ["b", "a/z", "a/.hidden", ".git/x"] {
            scratch.write(name, "");
        }
        assert_eq!(list(&scratch.0).unwrap(), [PathBuf::from("a/z"), PathBuf::from("b")]);
        assert!(list(&scratch.0.join("missing")).unwrap().is_empty());
        remove(&scratch.0.join("b")).unwrap();
        remove(&scratch.0.join("b")).unwrap();
    }
}
