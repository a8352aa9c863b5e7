//! Opens what lies beneath a granted path, without following any link out of it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use roundsman_model::name::excerpt;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;

use crate::failure::{Failure, code, phase};
use crate::grants::Denied;

/// A file that was found beneath a grant; it is held, so that nobody can put another one in its place.
#[derive(Debug)]
pub struct Found(OwnedFd);

impl Found {
    /// The path by which this very file, and no other, is reached: for `connect` of a unix socket.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    /// Whether it is a unix socket.
    pub fn is_socket(&self) -> bool {
        fstat(&self.0).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
    }
}

impl AsFd for Found {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A unix socket that is granted, not looked for yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    /// The granted path that it lies beneath, or is.
    root: PathBuf,
    path: PathBuf,
}

impl Asked {
    /// Under one of the granted paths.
    pub(crate) fn read(granted: &[PathBuf], path: &str) -> Result<Asked, Failure> {
        let asked = Path::new(path);
        let plain = asked.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !asked.is_absolute() || !plain || path.contains('\0') {
            return Err(Failure::invalid(format!(
                "`{}` is no path of a socket: write it from / on, without `.` and `..`",
                excerpt(path)
            )));
        }
        match granted.iter().find(|root| asked.starts_with(root)) {
            Some(root) => Ok(Asked { root: root.clone(), path: asked.to_owned() }),
            None => Err(refused(path, "").into()),
        }
    }

    /// The kernel may keep whoever calls this for ever, as with any look-up of a path.
    pub(crate) fn find(&self) -> Result<Found, Failure> {
        let found = resolve(&self.root, &self.path).map_err(|errno| failed(errno, &self.root, &self.path))?;
        if !found.is_socket() {
            let message = format!("{} is no unix socket", self.path.display());
            return Err(Failure::new(code::INVALID, phase::CONNECT, message));
        }
        Ok(found)
    }
}

/// The path of a directory is the operator's word, so links in it are followed; what lies beneath may be anybody's. A
/// socket that is granted by itself must be one: a link in its place would lead to what is not granted.
fn resolve(root: &Path, asked: &Path) -> Result<Found, Errno> {
    let rest = asked.strip_prefix(root).unwrap_or(asked);
    let found = OFlags::PATH | OFlags::CLOEXEC;
    if rest.as_os_str().is_empty() {
        return open(root, found | OFlags::NOFOLLOW, Mode::empty()).map(Found);
    }
    let root = openat2(CWD, root, found | OFlags::DIRECTORY, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(&root, rest, found, Mode::empty(), within) {
            // Something was renamed meanwhile, and the kernel cannot tell whether it was left.
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened.map(Found),
        }
    }
}

fn refused(path: &str, why: &str) -> Denied {
    let shown = excerpt_path(path);
    Denied::by_check(format!("the socket {shown}{why}"), format!("allow: {{files: [\"{shown}\"]}}"))
}

fn failed(errno: Errno, root: &Path, path: &Path) -> Failure {
    let path = &path.to_string_lossy();
    let shown = excerpt_path(path);
    let code = match errno {
        Errno::XDEV | Errno::LOOP => {
            return refused(path, &format!(" (a link leads out of {})", root.display())).into();
        }
        Errno::NOENT | Errno::NOTDIR => code::NOT_FOUND,
        Errno::NOSYS | Errno::INVAL => {
            let message = format!(
                "{shown}: this kernel cannot open files beneath a directory safely (openat2, Linux 5.6); \
                 grant the socket itself instead of a directory"
            );
            return Failure::new(code::UNSUPPORTED, phase::CONNECT, message);
        }
        _ => code::IO,
    };
    Failure::new(code, phase::CONNECT, format!("opening {shown}: {errno}"))
}

/// A path as it stands in a message; the kernel takes longer ones, but nobody reads them.
pub(crate) fn excerpt_path(path: &str) -> String {
    const MOST: usize = 256;
    path.chars().filter(|c| !c.is_control() && *c != '"').take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn find_socket(granted: &[PathBuf], path: &str) -> Result<Found, Failure> {
        Asked::read(granted, path)?.find()
    }

    #[test]
    fn sockets_beneath_their_grant_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for directory in ["open/inner", "closed"] {
            std::fs::create_dir_all(at(directory)).unwrap();
        }
        let _inside = UnixListener::bind(at("open/inner/a.sock")).unwrap();
        let _outside = UnixListener::bind(at("closed/b.sock")).unwrap();
        std::fs::write(at("open/file"), "").unwrap();
        symlink("inner/a.sock", at("open/within")).unwrap();
        symlink("../closed/b.sock", at("open/out")).unwrap();
        symlink(at("closed"), at("open/away")).unwrap();
        symlink(at("open/inner/a.sock"), at("open/absolute")).unwrap();
        symlink("/proc/self/root", at("open/magic")).unwrap();
        symlink("turning", at("open/turning")).unwrap();
        symlink(at("open"), at("alias")).unwrap();
        let granted = [at("open"), at("closed/b.sock").with_file_name("c.sock"), at("alias")];
        let outside = at("closed/b.sock").display().to_string();
        for (path, want) in [
            ("open/inner/a.sock".to_owned(), None),
            ("open/within".to_owned(), None),
            ("alias/inner/a.sock".to_owned(), None),
            ("open/out".to_owned(), Some(code::DENIED)),
            ("open/away/b.sock".to_owned(), Some(code::DENIED)),
            ("open/absolute".to_owned(), Some(code::DENIED)),
            (format!("open/magic{outside}"), Some(code::DENIED)),
            ("open/turning".to_owned(), Some(code::DENIED)),
            ("open/../closed/b.sock".to_owned(), Some(code::INVALID)),
            ("closed/b.sock".to_owned(), Some(code::DENIED)),
            ("closed/c.sock".to_owned(), Some(code::NOT_FOUND)),
            ("open/nothing".to_owned(), Some(code::NOT_FOUND)),
            ("open/file".to_owned(), Some(code::INVALID)),
            ("open".to_owned(), Some(code::INVALID)),
        ] {
            let path = format!("{}/{path}", folder.path().display());
            match (find_socket(&granted, &path), want) {
                (Ok(found), None) => drop(UnixStream::connect(found.path()).unwrap()),
                (found, want) => assert_eq!(found.map(drop).map_err(|failure| failure.code).err(), want, "{path}"),
            }
        }
        let refused = find_socket(&granted, &outside).unwrap_err().message;
        assert!(refused.contains(&format!("add to the check: allow: {{files: [\"{outside}\"]}}")), "{refused}");
        assert_eq!(find_socket(&granted, "relative").unwrap_err().code, code::INVALID);
        symlink("b.sock", at("closed/link.sock")).unwrap();
        let link = at("closed/link.sock");
        let found = find_socket(std::slice::from_ref(&link), link.to_str().unwrap());
        assert_eq!(found.map(drop).unwrap_err().code, code::INVALID, "a link in the place of a socket");
        let granted = [at("closed/b.sock")];
        assert!(find_socket(&granted, &outside).is_ok(), "a socket that is granted by itself");
    }

    #[test]
    fn what_was_found_is_what_is_reached() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let first = UnixListener::bind(&path).unwrap();
        let found = find_socket(&[folder.path().to_owned()], path.to_str().unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        let second = UnixListener::bind(&path).unwrap();
        second.set_nonblocking(true).unwrap();
        let _stream = UnixStream::connect(found.path()).unwrap();
        first.accept().unwrap();
        assert!(second.accept().is_err(), "the one that took its place was not reached");
    }
}
