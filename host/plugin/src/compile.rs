//! Compiles in a child process of its own: a plugin that blows up the compiler takes nothing along.
//!
//! The child is any executable that calls [`child_main`] when it is started with [`CHILD_ARGUMENT`]: the agent itself, or
//! `roundsman-compile`. It reads a component from standard input and writes machine code to standard output.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// Makes an executable of ours a compiler.
pub const CHILD_ARGUMENT: &str = "__compile";

/// A large interpreter (15 MB) takes some seconds; beyond this it is an attack.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Processor time of the child, all threads.
const MAX_CPU_S: u64 = 120;
/// Address space of the child: 15 MB components need about 1 GiB.
const MAX_ADDRESS_SPACE: u64 = 4 << 30;
/// Machine code is two to four times the size of the component.
const MAX_OUTPUT: u64 = 512 << 20;
/// What the child may say of its failure.
const MAX_MESSAGE: u64 = 4 << 10;
/// How much of that is shown.
const MAX_SHOWN: usize = 1 << 10;

/// Why a component could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("cannot start the compiler `{}`", program.display())]
    Spawn { program: PathBuf, source: std::io::Error },
    #[error("the compiler's pipes broke")]
    Pipe(#[source] std::io::Error),
    #[error("{0}")]
    Refused(String),
    #[error("the compiler broke off ({status}): {why}")]
    Broken { status: std::process::ExitStatus, why: String },
    #[error("the compiler was ended ({0}): the component needs too much memory or processor time to compile")]
    Killed(std::process::ExitStatus),
    #[error("the compiler took longer than {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("the machine code is larger than {} MiB", MAX_OUTPUT >> 20)]
    TooLarge,
}

/// How to start the compiling child.
#[derive(Debug, Clone)]
pub struct Compiler {
    program: PathBuf,
}

impl Compiler {
    /// `program` must call [`child_main`] when its first argument is [`CHILD_ARGUMENT`].
    pub fn new(program: PathBuf) -> Self {
        Self { program }
    }

    /// The running executable.
    pub fn this_executable() -> std::io::Result<Self> {
        // Not current_exe's target: an executable that was replaced while it runs would no longer fit the engine.
        let proc_self = PathBuf::from("/proc/self/exe");
        if proc_self.exists() { Ok(Self::new(proc_self)) } else { std::env::current_exe().map(Self::new) }
    }

    /// Compiles one component to machine code.
    pub async fn compile(&self, component: &[u8]) -> Result<Vec<u8>, CompileError> {
        tokio::time::timeout(TIMEOUT, self.attempt(component)).await.unwrap_or(Err(CompileError::Timeout))
    }

    async fn attempt(&self, component: &[u8]) -> Result<Vec<u8>, CompileError> {
        let mut child = Command::new(&self.program)
            .arg(CHILD_ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| CompileError::Spawn { program: self.program.clone(), source })?;
        let missing = || CompileError::Pipe(std::io::ErrorKind::NotConnected.into());
        let mut stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        let feed = async move {
            // A child that refuses stops reading: its message says why, the broken pipe does not.
            let fed = stdin.write_all(component).await;
            drop(stdin);
            fed.is_ok()
        };
        let (_, code, message) = tokio::join!(feed, read_capped(stdout, MAX_OUTPUT), read_capped(stderr, MAX_MESSAGE));
        let code = code.map_err(CompileError::Pipe)?;
        if code.len() as u64 > MAX_OUTPUT {
            return Err(CompileError::TooLarge);
        }
        let status = child.wait().await.map_err(CompileError::Pipe)?;
        // Names in the component are part of what it says: they must not reach a terminal as they are.
        let said = || crate::gather::clean(&String::from_utf8_lossy(&message.unwrap_or_default()), MAX_SHOWN);
        match status.code() {
            Some(0) => Ok(code),
            Some(1) => Err(CompileError::Refused(said())),
            Some(_) => Err(CompileError::Broken { status, why: said() }),
            None => Err(CompileError::Killed(status)),
        }
    }
}

/// Reads at most one byte more than `cap`, so that the caller can tell; the rest is left in the pipe.
async fn read_capped(from: impl tokio::io::AsyncRead + Unpin, cap: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(cap + 1).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// The child's whole life: limits itself, reads a component, writes machine code. 1: refused, with the reason in words.
pub fn child_main() -> ExitCode {
    limit_self();
    match compile_stdin() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody can be told when standard error is gone.
            drop(writeln!(std::io::stderr(), "{error:#}"));
            ExitCode::from(1)
        }
    }
}

fn limit_self() {
    let hard = |limit| Rlimit { current: Some(limit), maximum: Some(limit) };
    let limits =
        [(Resource::Cpu, MAX_CPU_S), (Resource::As, MAX_ADDRESS_SPACE), (Resource::Fsize, 0), (Resource::Core, 0)];
    for (resource, limit) in limits {
        // A limit that is already lower cannot be raised, and need not be.
        rustix::process::setrlimit(resource, hard(limit)).ok();
    }
    // Checks that are due go first.
    rustix::process::nice(10).ok();
}

fn compile_stdin() -> wasmtime::Result<()> {
    let mut component = Vec::new();
    std::io::stdin().lock().read_to_end(&mut component)?;
    let code = crate::engine::compiling_engine()?.precompile_component(&component)?;
    let mut out = std::io::stdout().lock();
    out.write_all(&code)?;
    out.flush()?;
    Ok(())
}
