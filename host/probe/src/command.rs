//! Programs of the node, run as their operator granted them: no shell, a clean environment, an end in any case.
//!
//! - `order`: what is to be run, with its bounds; `file`: whether the file is one that nobody else can change
//! - `programs`: how many run at once, and which of them cannot be stopped
//! - `course`: one program from its start to its end, on a thread of its own; `pipes`: what goes in and comes out
//!
//! Each program has a thread, because opening and starting a file can hang for ever in the kernel, and because whoever
//! asked may be gone long before the program is: the thread kills it and takes its status in any case. A thread costs a
//! fraction of what the program itself costs.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::failure::{Failure, code, phase};
use crate::grants::Grants;
use crate::probe::Probe;
use crate::sockets::Permit;

mod course;
mod file;
mod order;
mod pipes;
mod programs;

pub use order::Order;
pub(crate) use programs::Programs;

/// The variables that every program gets, before those of its order.
const ENVIRONMENT: [(&str, &str); 2] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C.UTF-8")];
/// How much later than its end a killed program's last words may come. Killing takes far less than a millisecond.
const LAST_WORDS: Duration = Duration::from_millis(25);
/// These threads make calls into the kernel, and hold 64 KiB of output at a time elsewhere.
const STACK: usize = 256 << 10;

/// What is known of one run of a program, whether it came to its end or not.
#[derive(Debug)]
pub struct Run {
    /// A program that ended with another status than 0, or by a signal, has run.
    pub result: Result<(), Failure>,
    /// None when a signal ended it.
    pub exit_status: Option<i32>,
    pub signal: Option<i32>,
    /// As much of it as was kept.
    pub output: Vec<u8>,
    pub errors: Vec<u8>,
    pub output_truncated: bool,
    pub errors_truncated: bool,
    /// None if it was not started.
    pub duration: Option<Duration>,
    /// Its processor time and that of the children for which it waited; where the kernel tells it.
    pub cpu: Option<Duration>,
}

impl From<Failure> for Run {
    /// Nothing has been started.
    fn from(failure: Failure) -> Run {
        Run {
            result: Err(failure),
            exit_status: None,
            signal: None,
            output: Vec::new(),
            errors: Vec::new(),
            output_truncated: false,
            errors_truncated: false,
            duration: None,
            cpu: None,
        }
    }
}

impl Run {
    /// A fact by name: `duration-ns`, `cpu-ns`, `output-truncated`, `errors-truncated`.
    pub fn fact(&self, name: &str) -> Option<String> {
        match name {
            "duration-ns" => self.duration.map(|duration| duration.as_nanos().to_string()),
            "cpu-ns" => self.cpu.map(|cpu| cpu.as_nanos().to_string()),
            "output-truncated" => Some(self.output_truncated.to_string()),
            "errors-truncated" => Some(self.errors_truncated.to_string()),
            _ => None,
        }
    }
}

impl Probe {
    /// Runs a program to its end, or to the deadline. Grant `commands`, and `secrets` for each of its secrets.
    ///
    /// The permit is for one program more; it is asked for only if the program may be run. Whoever drops this future
    /// kills the program with everything that it started and that is still in its process group.
    pub async fn command(
        &self,
        grants: &Grants,
        plugin: &str,
        order: &Order,
        permit: impl FnOnce() -> Result<Permit, Failure>,
        deadline: Instant,
    ) -> Run {
        let run = match self.prepared(grants, order).await {
            Ok(environment) => match self.script() {
                Some(script) => script.command(order),
                None => self.carried_out(plugin, order, environment, permit, deadline).await,
            },
            Err(failure) => failure.into(),
        };
        self.stats().command.count(&run.result);
        run
    }

    /// Programs that run now, of all plugins.
    pub fn programs_running(&self) -> usize {
        self.programs().running()
    }

    /// The environment, if everything is granted.
    async fn prepared(&self, grants: &Grants, order: &Order) -> Result<Vec<(String, OsString)>, Failure> {
        grants.permits_command(order.path())?;
        order.is_sound()?;
        let mut environment: Vec<(String, OsString)> = Vec::new();
        let mut set = |name: &str, value: OsString| {
            environment.retain(|(other, _)| other != name);
            environment.push((name.to_owned(), value));
        };
        for (name, value) in ENVIRONMENT {
            set(name, value.into());
        }
        for (name, value) in order.environment() {
            set(name, value.into());
        }
        for secret in order.secrets() {
            grants.permits_secret(&secret.name)?;
            self.secrets().permits_program(&secret.name)?;
            let content = self.secrets().read(&secret.name, &secret.key).await?;
            if content.bytes().contains(&0) {
                let message = format!("the secret `{}` holds a zero byte: it cannot be a variable", secret.name);
                return Err(Failure::new(code::SECRET, phase::POLICY, message));
            }
            set(&secret.variable, OsString::from_vec(content.bytes().to_vec()));
        }
        Ok(environment)
    }

    async fn carried_out(
        &self,
        plugin: &str,
        order: &Order,
        environment: Vec<(String, OsString)>,
        permit: impl FnOnce() -> Result<Permit, Failure>,
        deadline: Instant,
    ) -> Run {
        let turn = match self.programs().turn(plugin, order, deadline).await {
            Ok(turn) => turn,
            Err(failure) => return failure.into(),
        };
        let begun = permit().and_then(|permit| begin(order, environment, turn, permit, deadline));
        let (caller, answer, end) = match begun {
            Ok(begun) => begun,
            Err(failure) => return failure.into(),
        };
        let run = match timeout_at(end + LAST_WORDS, answer).await {
            Ok(Ok(run)) => run,
            Ok(Err(_)) => failed(code::IO, "the thread of the program is gone").into(),
            Err(_) => {
                let message = format!("{} hangs in the kernel: it can neither be run nor be stopped", order.path());
                failed(code::HUNG, message).into()
            }
        };
        drop(caller);
        run
    }
}

type Begun = (programs::Caller, oneshot::Receiver<Run>, Instant);

/// Starts the thread of a program.
fn begin(
    order: &Order,
    environment: Vec<(String, OsString)>,
    turn: programs::Turn,
    permit: Permit,
    deadline: Instant,
) -> Result<Begun, Failure> {
    let now = Instant::now();
    let end = order.timeout().and_then(|timeout| now.checked_add(timeout)).map_or(deadline, |end| end.min(deadline));
    let cut = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|error| failed(code::LIMIT, format!("no program can be watched: {error}")))?;
    let cut = Arc::new(cut);
    let caller = turn.caller(cut.clone());
    let (sender, answer) = oneshot::channel();
    let (order, end_of_course) = (order.clone(), end.into_std());
    let course = move || {
        course::carry_out(order, environment, end_of_course, &cut, sender);
        // Only now may others have their turn: until here there may be a program.
        drop((turn, permit));
    };
    let thread = thread::Builder::new().name("roundsman-cmd".to_owned()).stack_size(STACK).spawn(course);
    thread.map_err(|error| failed(code::LIMIT, format!("no thread can be started: {error}")))?;
    Ok((caller, answer, end))
}

fn failed(code: &'static str, message: impl Into<String>) -> Failure {
    Failure::new(code, phase::COMMAND, message)
}
