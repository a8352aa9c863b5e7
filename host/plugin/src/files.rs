//! What `allow: {files: […]}` means to a guest: directories of the host, read-only, at their own paths.
//!
//! A granted directory is a preopened directory of WASI, beneath which links that lead out are not followed. A granted
//! file is its directory with a fence around it: nothing but files that are granted can be opened or looked at through
//! it, and no link is followed at all. Both are opened when a run begins, on a thread apart and not too many at once:
//! an open may hang in the kernel for ever.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use roundsman_probe::grants::{Denied, Grants};
use rustix::fs::OFlags;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use wasmtime_wasi::filesystem::Dir;
use wasmtime_wasi::{FsPerms, OpenMode};

/// Runs that open their files at once. So many may hang before healthy ones wait for them.
pub(crate) const MAX_OPENING: usize = 8;

/// The kernel keeps a thread that opens a run's files.
#[derive(Debug, thiserror::Error)]
#[error("opening the granted files hangs in the kernel")]
pub(crate) struct Hangs;

/// A directory as a guest gets it.
#[derive(Clone)]
pub(crate) struct Preopen {
    pub(crate) directory: Dir,
    /// The guest's path for it, which is the host's.
    pub(crate) path: String,
    /// Only these files of it; none: all of it.
    pub(crate) fence: Option<Arc<Fence>>,
}

/// The files of a directory that are granted one by one.
#[derive(Debug, Default)]
pub(crate) struct Fence {
    directory: PathBuf,
    names: Vec<String>,
}

impl Fence {
    /// Whether a path, as a guest gives it beneath this directory, is one of the granted files.
    pub(crate) fn permits(&self, path: &str) -> Result<(), Denied> {
        let plain = path.trim_start_matches("./");
        if self.names.iter().any(|name| name == plain) {
            return Ok(());
        }
        let whole = self.directory.join(plain);
        let shown = roundsman_model::name::excerpt(&whole.display().to_string());
        Err(Denied::by_check(format!("the file {shown}"), format!("allow: {{files: [\"{shown}\"]}}")))
    }
}

/// Opens what is granted; beside it, what is wrong with the rest.
pub(crate) async fn open(
    grants: Arc<Grants>,
    root: Option<PathBuf>,
    opening: Arc<Semaphore>,
    deadline: Instant,
) -> Result<(Vec<Preopen>, Vec<String>), Hangs> {
    let opened = async {
        let permit = opening.acquire_owned().await.map_err(|_| Hangs)?;
        let work = tokio::task::spawn_blocking(move || {
            let opened = open_all(grants.files(), root.as_deref());
            drop(permit);
            opened
        });
        work.await.map_err(|_| Hangs)
    };
    tokio::time::timeout_at(deadline, opened).await.unwrap_or(Err(Hangs))
}

fn open_all(granted: &[PathBuf], root: Option<&Path>) -> (Vec<Preopen>, Vec<String>) {
    // In an author's tests, granted files lie somewhere else.
    let place =
        |path: &Path| root.map_or_else(|| path.to_owned(), |root| root.join(path.strip_prefix("/").unwrap_or(path)));
    let (mut directories, mut fences, mut missing) = (Vec::new(), BTreeMap::new(), Vec::new());
    for path in granted {
        match fs::metadata(place(path)) {
            Ok(metadata) if metadata.is_dir() => directories.push(path.as_path()),
            Ok(metadata) if metadata.is_file() => fence(&mut fences, path),
            Ok(_) => missing.push(format!("granted, but neither a file nor a directory: {}", path.display())),
            Err(error) => missing.push(format!("granted, but not there: {}: {error}", path.display())),
        }
    }
    // A fence within a granted directory would hide what is granted.
    fences.retain(|parent, _| !directories.iter().any(|directory| parent.starts_with(directory)));
    let whole = directories.into_iter().map(|path| (path, None));
    let fenced = fences.into_iter().map(|(path, fence)| (path, Some(Arc::new(fence))));
    let mut preopens = Vec::new();
    for (path, fence) in whole.chain(fenced) {
        match open_directory(&place(path)) {
            Ok(directory) => preopens.push(Preopen { directory, path: path.display().to_string(), fence }),
            Err(error) => missing.push(format!("granted, but cannot be opened: {}: {error}", path.display())),
        }
    }
    (preopens, missing)
}

fn fence<'a>(fences: &mut BTreeMap<&'a Path, Fence>, path: &'a Path) {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return };
    let fence = fences.entry(directory).or_default();
    directory.clone_into(&mut fence.directory);
    fence.names.push(name.to_string_lossy().into_owned());
}

fn open_directory(path: &Path) -> std::io::Result<Dir> {
    let flags = OFlags::DIRECTORY.bits().cast_signed();
    let directory = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    Ok(Dir::new(directory, FsPerms::ReadOnly, OpenMode::READ, false))
}

impl std::fmt::Debug for Preopen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Preopen").field("path", &self.path).field("fence", &self.fence).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_files_and_what_is_not_there() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("whole/inner")).unwrap();
        fs::create_dir(at("part")).unwrap();
        for file in ["whole/inner/a", "part/a", "part/b", "part/secret"] {
            fs::write(at(file), file).unwrap();
        }
        let granted = ["whole", "whole/inner/a", "part/a", "part/b", "missing", "part"].map(at);
        let (preopens, missing) = open_all(&granted[..5], None);
        let paths: Vec<_> = preopens.iter().map(|p| (PathBuf::from(&p.path), p.fence.is_some())).collect();
        assert_eq!(paths, [(at("whole"), false), (at("part"), true)], "one fence, and none within what is granted");
        assert_eq!(missing.len(), 1, "{missing:?}");
        let fence = preopens[1].fence.as_ref().unwrap();
        for (path, permitted) in [
            ("a", true),
            ("./b", true),
            ("secret", false),
            ("../part/a", false),
            ("a/", false),
            ("", false),
            (".", false),
        ] {
            assert_eq!(fence.permits(path).is_ok(), permitted, "{path}");
        }
        let denied = fence.permits("secret").unwrap_err().to_string();
        assert!(denied.contains("part/secret is not granted; add to the check: allow: {files: [\"/"), "{denied}");
        assert!(open_all(&granted, None).0.iter().all(|preopen| preopen.fence.is_none()), "the directory says it all");
    }
}
