//! Whether a file is a program that nobody but root and the agent's own user can change.
//!
//! What is run is named by a path, because the interpreter of a script has to find it: between the look at the file and
//! its start somebody could put another in its place. So links are followed first, and it is made sure that those who
//! could do that are those who may write it anyway.

use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::failed;
use crate::failure::{Failure, chain, code};

const ANY_MAY_EXECUTE: u32 = 0o111;
const GROUP_MAY_WRITE: u32 = 0o020;
const OTHERS_MAY_WRITE: u32 = 0o002;
/// In such a directory nobody can replace what belongs to others.
const STICKY: u32 = 0o1000;
const ROOT: u32 = 0;

/// The file that is to be run, without links. May never return.
pub(super) fn checked(path: &str) -> Result<PathBuf, Failure> {
    let cannot = |error: &io::Error| {
        let code = match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => code::NOT_FOUND,
            ErrorKind::PermissionDenied => code::DENIED,
            _ => code::IO,
        };
        failed(code, format!("cannot look at {path}: {}", chain(error)))
    };
    let real = Path::new(path).canonicalize().map_err(|error| cannot(&error))?;
    let metadata = real.symlink_metadata().map_err(|error| cannot(&error))?;
    let agent = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let refuse = |why: String| Err(failed(code::DENIED, format!("{} is not run: {why}", real.display())));
    if let Some(why) = objection(&metadata, agent) {
        return refuse(why);
    }
    for folder in real.ancestors().skip(1) {
        let mode = folder.metadata().map_err(|error| cannot(&error))?.mode();
        if mode & OTHERS_MAY_WRITE != 0 && mode & STICKY == 0 {
            return refuse(format!("everybody may write to {0}; chmod o-w {0}", folder.display()));
        }
    }
    Ok(real)
}

fn objection(file: &Metadata, (user, group): (u32, u32)) -> Option<String> {
    let mode = file.mode();
    if !file.is_file() {
        Some("it is no regular file".to_owned())
    } else if mode & ANY_MAY_EXECUTE == 0 {
        Some("it is not executable; chmod +x it if it is a program".to_owned())
    } else if mode & OTHERS_MAY_WRITE != 0 {
        Some("everybody may write to it; chmod o-w it".to_owned())
    } else if mode & GROUP_MAY_WRITE != 0 && ![ROOT, group].contains(&file.gid()) {
        Some(format!("the group {} may write to it; chmod g-w it", file.gid()))
    } else if ![ROOT, user].contains(&file.uid()) {
        let owner = file.uid();
        Some(format!("it belongs to the user {owner}, and not to root or to the agent's user; chown root it"))
    } else {
        None
    }
}
