//! What goes into a program and what comes out of it. What is too much is read and thrown away: it must not wait.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;

use rustix::event::{PollFd, PollFlags};

/// Read at a time: what a pipe holds.
const PIECE: usize = 64 << 10;
/// Reads in a row from a program that writes without end, before anything else is looked at.
const MAX_READS: usize = 16;

/// The pipes of one program.
#[derive(Debug)]
pub(super) struct Pipes {
    input: Option<(File, Vec<u8>, usize)>,
    pub(super) output: Stream,
    pub(super) errors: Stream,
    piece: Vec<u8>,
}

/// One of the two outputs.
#[derive(Debug)]
pub(super) struct Stream {
    file: Option<File>,
    pub(super) kept: Vec<u8>,
    most: usize,
    pub(super) truncated: bool,
}

impl Pipes {
    /// Takes them from a program that has just been started.
    pub(super) fn of(child: &mut Child, input: Vec<u8>, most: usize) -> io::Result<Pipes> {
        let input = child.stdin.take().map(|pipe| ready(pipe.into())).transpose()?.map(|pipe| (pipe, input, 0));
        let output = child.stdout.take().map(|pipe| ready(pipe.into())).transpose()?;
        let errors = child.stderr.take().map(|pipe| ready(pipe.into())).transpose()?;
        let stream = |file| Stream { file, kept: Vec::new(), most, truncated: false };
        let mut pipes = Pipes { input, output: stream(output), errors: stream(errors), piece: vec![0; PIECE] };
        pipes.feed();
        Ok(pipes)
    }

    /// Whether nobody has its outputs open any more.
    pub(super) fn are_closed(&self) -> bool {
        self.output.file.is_none() && self.errors.file.is_none()
    }

    /// What to wait for, beside other things.
    pub(super) fn wait_for<'a>(&'a self, waits: &mut Vec<PollFd<'a>>) {
        let input = self.input.as_ref().map(|(file, ..)| (file.as_fd(), PollFlags::OUT));
        let outputs = [&self.output, &self.errors].into_iter().filter_map(|stream| stream.file.as_ref());
        let outputs = outputs.map(|file| (file.as_fd(), PollFlags::IN));
        let poll = |(file, flags): (BorrowedFd<'a>, PollFlags)| PollFd::from_borrowed_fd(file, flags);
        waits.extend(input.into_iter().chain(outputs).map(poll));
    }

    /// Moves whatever can be moved without waiting.
    pub(super) fn pump(&mut self) {
        self.feed();
        self.output.drain(&mut self.piece);
        self.errors.drain(&mut self.piece);
    }

    fn feed(&mut self) {
        while let Some((file, bytes, given)) = &mut self.input {
            match file.write(bytes.get(*given..).unwrap_or_default()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(count) if count > 0 && *given + count < bytes.len() => *given += count,
                // All of it is given, or the program does not want it: that is its own affair.
                Ok(_) | Err(_) => self.input = None,
            }
        }
    }
}

impl Stream {
    fn drain(&mut self, piece: &mut [u8]) {
        for _ in 0..MAX_READS {
            let Some(file) = &mut self.file else { return };
            match file.read(piece) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => self.file = None,
                Ok(count) => {
                    let kept = count.min(self.most.saturating_sub(self.kept.len()));
                    self.kept.extend_from_slice(piece.get(..kept).unwrap_or_default());
                    self.truncated |= kept < count;
                }
            }
        }
    }
}

/// This side never waits. The other side of a pipe has flags of its own.
fn ready(pipe: OwnedFd) -> io::Result<File> {
    rustix::io::ioctl_fionbio(&pipe, true)?;
    Ok(pipe.into())
}
