//! A program of the node, run as its operator granted it. There is no shell, and the environment is empty but for
//! `PATH`, `LANG` and what is set here.
//!
//! ```no_run
//! # fn run() -> Result<(), roundsman_sdk::command::Failure> {
//! use roundsman_sdk::command::Program;
//!
//! let result = Program::new("/usr/lib/nagios/plugins/check_ntp").argument("-H").argument("ntp.example").run()?;
//! match result.exit {
//!     Some(status) => roundsman_sdk::info!("ended with {status}: {}", result.text()),
//!     None => roundsman_sdk::info!("killed by signal {:?}", result.signal),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Grant: `allow: {commands: [/usr/lib/nagios/plugins/check_ntp]}`, under a ceiling in the agent's `trust:`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::bindings::roundsman::host::command;
use crate::exchange::nanoseconds;
pub use crate::system::Failure;

/// A program that can be run, more than once too.
pub struct Program(command::Program);

/// What a program did. One that ended with another status than 0, or by a signal, has run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ran {
    /// Its exit status; none when a signal ended it.
    pub exit: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it wrote to standard output, as much as was kept.
    pub output: Vec<u8>,
    /// What it wrote to standard error, as much as was kept.
    pub errors: Vec<u8>,
    /// Whether there was more output.
    pub output_truncated: bool,
    /// Whether there were more errors.
    pub errors_truncated: bool,
    /// From its start to its end.
    pub duration: Option<Duration>,
    /// The processor time that it took, with what it started.
    pub cpu: Option<Duration>,
}

impl Program {
    /// By its absolute path. Nothing is checked until [`run`](Self::run).
    pub fn new(path: &str) -> Self {
        Self(command::Program::new(path))
    }

    /// One argument, as it is.
    #[must_use]
    pub fn argument(self, argument: &str) -> Self {
        self.0.add_argument(argument);
        self
    }

    /// Several arguments, as they are.
    #[must_use]
    pub fn arguments<T: AsRef<str>>(self, arguments: impl IntoIterator<Item = T>) -> Self {
        arguments.into_iter().for_each(|argument| self.0.add_argument(argument.as_ref()));
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn environment(self, name: &str, value: &str) -> Self {
        self.0.set_environment(name, value);
        self
    }

    /// A secret by name and key (empty for a secret that is one file), as a variable that the plugin never sees.
    #[must_use]
    pub fn environment_secret(self, name: &str, secret: &str, key: &str) -> Self {
        self.0.set_environment_secret(name, secret, key);
        self
    }

    /// What it reads from standard input; nothing unless set.
    #[must_use]
    pub fn input(self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.set_input(bytes.as_ref());
        self
    }

    /// Of each of the two outputs, at most so many bytes are kept; the host has a ceiling of its own (256 KiB).
    #[must_use]
    pub fn max_output(self, bytes: u32) -> Self {
        self.0.set_max_output(bytes);
        self
    }

    /// The program and what it started is killed then; the run's deadline bounds it in any case.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.0.set_timeout_ns(nanoseconds(timeout));
        self
    }

    /// Sets an option that this crate does not know, by name.
    ///
    /// # Errors
    /// A failure `unsupported` when the host does not know it either.
    pub fn set_option(&self, name: &str, value: &str) -> Result<(), Failure> {
        self.0.set_option(name, value).map_err(Failure::from)
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// `denied`, `not-found`, `io`; `timeout` when it was killed, and then what it had written is in
    /// [`partial`](Self::partial).
    pub fn run(&self) -> Result<Ran, Failure> {
        self.0.run()?;
        Ok(self.partial())
    }

    /// What is known of the last run, also when it was killed.
    pub fn partial(&self) -> Ran {
        let number = |name| self.0.fact(name).and_then(|text| text.parse().ok());
        let truth = |name| self.0.fact(name).is_some_and(|text| text == "true");
        Ran {
            exit: self.0.exit_status(),
            signal: self.0.signal(),
            output: self.0.output(),
            errors: self.0.errors(),
            output_truncated: truth("output-truncated"),
            errors_truncated: truth("errors-truncated"),
            duration: number("duration-ns").map(Duration::from_nanos),
            cpu: number("cpu-ns").map(Duration::from_nanos),
        }
    }

    /// A fact by name: `duration-ns`, `cpu-ns`, `output-truncated`, `errors-truncated`.
    pub fn fact(&self, name: &str) -> Option<String> {
        self.0.fact(name)
    }
}

impl Ran {
    /// Its output as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.output)
    }

    /// What it wrote to standard error, as text.
    pub fn error_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.errors)
    }
}

impl From<command::Failure> for Failure {
    fn from(failure: command::Failure) -> Self {
        Self { code: failure.code, message: failure.message }
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").finish_non_exhaustive()
    }
}
