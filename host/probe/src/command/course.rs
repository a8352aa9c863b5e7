//! One program from its start to its end, whatever that is: its own, the deadline's, or that of whoever asked.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid};
use tokio::sync::oneshot;

use super::pipes::Pipes;
use super::{Order, Run, failed, file};
use crate::failure::{Failure, chain, code};
use crate::system::Stat;

/// When a program has ended, what it left behind may still hold its outputs open: a last line is waited for so long.
const DRAIN: Duration = Duration::from_millis(250);
/// Where all processes are this process's own.
const PROC: &str = "/proc";

/// Runs it and answers. Returns when its status has been taken, which may be never.
pub(super) fn carry_out(
    mut order: Order,
    environment: Vec<(String, OsString)>,
    end: Instant,
    cut: &OwnedFd,
    answer: oneshot::Sender<Run>,
) {
    let input = order.take_input();
    let begun = Instant::now();
    let child = file::checked(order.path()).and_then(|path| {
        // Opening may have taken long, and nobody waits for it any more.
        if answer.is_closed() || Instant::now() >= end { Err(late(&order)) } else { start(&order, path, environment) }
    });
    let program = child.and_then(|child| Program::of(child, begun, input, order.max_output()));
    let mut program = match program {
        Ok(program) => program,
        Err(failure) => {
            drop(answer.send(failure.into()));
            return;
        }
    };
    let killed = program.watch(end, cut);
    let run = program.finish(killed, &order);
    drop(answer.send(run));
    program.adopt();
}

fn late(order: &Order) -> Failure {
    failed(code::TIMEOUT, format!("{} could not be started in time", order.path()))
}

fn start(order: &Order, path: std::path::PathBuf, environment: Vec<(String, OsString)>) -> Result<Child, Failure> {
    let mut command = Command::new(path);
    command.arg0(order.path()).args(order.arguments()).env_clear().envs(environment).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command.spawn().map_err(|error| {
        let (code, why) = match Errno::from_io_error(&error) {
            Some(Errno::NOENT) => (code::NOT_FOUND, "the interpreter in its first line is missing"),
            Some(Errno::ACCESS | Errno::PERM) => (code::DENIED, "the kernel does not let the agent execute it"),
            Some(Errno::NOEXEC) => (code::IO, "it is neither a program of this machine nor a script with `#!`"),
            Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::TOOBIG) => {
                (code::LIMIT, "the machine has no room for it")
            }
            _ => (code::IO, "it cannot be started"),
        };
        failed(code, format!("{}: {why} ({})", order.path(), chain(&error)))
    })
}

/// A process that has been started and whose status has not been taken. It is killed when it is dropped.
struct Program {
    child: Child,
    pid: Pid,
    /// Readable when it has ended.
    ended: OwnedFd,
    pipes: Pipes,
    begun: Instant,
    reaped: bool,
}

impl Program {
    fn of(mut child: Child, begun: Instant, input: Vec<u8>, most: usize) -> Result<Program, Failure> {
        let pid = Pid::from_child(&child);
        let made = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from);
        let made = made.and_then(|ended| Ok((ended, Pipes::of(&mut child, input, most)?)));
        match made {
            Ok((ended, pipes)) => Ok(Program { child, pid, ended, pipes, begun, reaped: false }),
            Err(error) => {
                end(&mut child, pid);
                Err(failed(code::IO, format!("a program cannot be watched: {}", chain(&error))))
            }
        }
    }

    /// Waits for its end, feeding it and taking what it says. True: it was killed.
    fn watch(&mut self, end: Instant, cut: &OwnedFd) -> bool {
        let (mut killed, mut ended) = (false, None::<Instant>);
        loop {
            let now = Instant::now();
            if ended.is_none() && !killed && now >= end {
                killed = true;
                self.kill();
            }
            // Once killed there is no limit: others watch whether it takes too long.
            let limit = match ended {
                Some(ended) if killed || self.pipes.are_closed() || now >= ended + DRAIN => break,
                Some(ended) => Some(ended + DRAIN),
                None if killed => None,
                None => Some(end),
            };
            let mut waits = vec![PollFd::new(cut, PollFlags::IN)];
            if killed {
                waits.clear();
            }
            let first = waits.len();
            if ended.is_none() {
                waits.push(PollFd::new(&self.ended, PollFlags::IN));
            }
            self.pipes.wait_for(&mut waits);
            // What cannot be waited for is tried again; a broken machine ends at the limit.
            let wait = limit.map(|limit| timespec(limit.saturating_duration_since(now)));
            poll(&mut waits, wait.as_ref()).unwrap_or_default();
            let ready = |place: usize| waits.get(place).is_some_and(|wait| !wait.revents().is_empty());
            let (is_cut, has_ended) = (!killed && ready(0), ended.is_none() && ready(first));
            drop(waits);
            self.pipes.pump();
            if has_ended {
                ended = Some(Instant::now());
            } else if is_cut && ended.is_none() {
                killed = true;
                self.kill();
            } else if is_cut {
                break;
            }
        }
        killed
    }

    /// Takes its status, and ends what it left behind.
    fn finish(&mut self, killed: bool, order: &Order) -> Run {
        // As long as its status is not taken, the number of its group cannot be another's.
        self.kill();
        self.pipes.pump();
        let (duration, cpu) = (self.begun.elapsed(), self.cpu());
        let status = self.child.wait();
        self.reaped = true;
        let (output, errors) = (&mut self.pipes.output, &mut self.pipes.errors);
        let result = match &status {
            Err(error) => Err(failed(code::IO, format!("{} has no status: {}", order.path(), chain(error)))),
            Ok(_) if killed => {
                Err(failed(code::TIMEOUT, format!("{} was killed after {}ms", order.path(), duration.as_millis())))
            }
            Ok(_) => Ok(()),
        };
        Run {
            result,
            exit_status: status.as_ref().ok().and_then(ExitStatus::code),
            signal: status.as_ref().ok().and_then(ExitStatus::signal),
            output: std::mem::take(&mut output.kept),
            errors: std::mem::take(&mut errors.kept),
            output_truncated: output.truncated,
            errors_truncated: errors.truncated,
            duration: Some(duration),
            cpu,
        }
    }

    /// With everything in its group.
    fn kill(&self) {
        // Nobody is left, or it is not for this user to kill: then it is waited for.
        kill_process_group(self.pid, Signal::KILL).unwrap_or_default();
    }

    /// Where this process is the first of its container, it inherits what the program left behind and has to take their
    /// status, too. Elsewhere there is nothing of that group.
    fn adopt(&self) {
        while let Ok(Some(_)) | Err(Errno::INTR) = waitid(WaitId::Pgid(Some(self.pid)), WaitIdOptions::EXITED) {}
    }

    /// As long as its status is not taken. Its own time is exact if it has one thread, its children's to a tick.
    fn cpu(&self) -> Option<Duration> {
        let read = |name: &str| fs::read(format!("{PROC}/{}/{name}", self.pid.as_raw_nonzero())).ok();
        let stat = Stat::parse(&read("stat")?)?;
        let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
        let exact = read("schedstat")
            .and_then(|text| std::str::from_utf8(&text).ok()?.split_ascii_whitespace().next()?.parse::<u64>().ok());
        let own = stat.cpu_ticks.saturating_mul(tick_ns).max(exact.unwrap_or(0));
        Some(Duration::from_nanos(own.saturating_add(stat.children_ticks.saturating_mul(tick_ns))))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.reaped {
            end(&mut self.child, self.pid);
        }
    }
}

fn end(child: &mut Child, pid: Pid) {
    kill_process_group(pid, Signal::KILL).unwrap_or_default();
    drop(child.wait());
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(time.subsec_nanos()) }
}
