//! `run`: an agent in the foreground, with the configuration of deploy/local and checks of this machine.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::build::{self, Profile};
use crate::files;
use crate::layout::{self, Item};
use crate::workspace::Workspace;

/// The command with which this program calls itself to wait for the agent.
pub(crate) const ANNOUNCE: &str = "announce";

/// Where the agent listens when nothing else is written.
const LISTEN: &str = "127.0.0.1:9640";

/// A first start compiles the plugins; beyond this the agent's own log says more than we could.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

const POLL_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    let agent = build::agent(workspace, Profile::Release)?;
    let plugins = build::plugins(workspace)?;
    let folder = workspace.target.join("run");
    for place in lay_out(workspace, &folder, &plugins)? {
        eprintln!("keeping your {}", folder.join(place).display());
    }
    let state = folder.join("state");
    fs::create_dir_all(&state).with_context(|| format!("making {}", state.display()))?;

    let configuration = folder.join("roundsman.yaml");
    let listen = listen_address(&String::from_utf8_lossy(&files::read(&configuration)?.unwrap_or_default()));
    // Somebody else may have the port: the agent then says so, and nothing is to be announced.
    if TcpListener::bind(&listen).is_ok() {
        start_announcing(&listen)?;
    }
    // This process becomes the agent, so that signals reach it and nothing stands between it and the terminal.
    let mut command = Command::new(&agent);
    command.current_dir(&folder).arg("run").arg("--config").arg(&configuration).args(arguments);
    Err(command.exec()).with_context(|| format!("starting {}", agent.display()))
}

fn lay_out(workspace: &Workspace, folder: &Path, plugins: &[std::path::PathBuf]) -> Result<Vec<std::path::PathBuf>> {
    let local = workspace.root.join("deploy/local");
    let mut items: Vec<Item> =
        files::list(&local)?.into_iter().map(|place| Item { source: local.join(&place), place }).collect();
    for plugin in plugins {
        let name = plugin.file_name().context("a plugin has a file name")?;
        items.push(Item { source: plugin.clone(), place: Path::new("plugins").join(name) });
    }
    layout::update(folder, &items)
}

/// The address of the status page: from the environment, else from the configuration.
fn listen_address(configuration: &str) -> String {
    let written = || {
        let (_, rest) = configuration.lines().find_map(|line| line.split('#').next()?.split_once("listen:"))?;
        let value = rest.split([',', '}']).next()?.trim().trim_matches(['"', '\'']);
        (!value.is_empty()).then(|| value.to_owned())
    };
    env::var("ROUNDSMAN_HTTP__LISTEN").ok().or_else(written).unwrap_or_else(|| LISTEN.to_owned())
}

/// Leaves a process behind that prints the address once the agent is ready. It must not be a child of the agent, which
/// would never wait for it: the shell starts it and ends at once.
fn start_announcing(listen: &str) -> Result<()> {
    let myself = env::current_exe().context("finding this program")?;
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$0\" \"$@\" &"]).arg(myself).args([ANNOUNCE, listen]).arg(std::process::id().to_string());
    let status = shell.status().context("starting `sh`")?;
    ensure!(status.success(), "`sh` failed ({status})");
    Ok(())
}

/// Waits until the agent with this process id answers that it is ready, and prints its address.
pub(crate) fn announce(arguments: &[String]) -> Result<ExitCode> {
    let [listen, agent] = arguments else { return Ok(ExitCode::from(crate::WRONG_USAGE)) };
    let process = Path::new("/proc").join(agent);
    let start = Instant::now();
    while start.elapsed() < READY_TIMEOUT && process.exists() {
        if is_ready(listen).unwrap_or(false) {
            println!("Roundsman is ready: http://{}", listen.replace("0.0.0.0", "127.0.0.1"));
            return Ok(ExitCode::SUCCESS);
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(ExitCode::FAILURE)
}

fn is_ready(listen: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(listen)?;
    stream.set_read_timeout(Some(READY_TIMEOUT))?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {listen}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split(' ').nth(1) == Some("200"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_configuration() {
        for (text, expected) in [
            ("http: {listen: \"127.0.0.1:1\", public: []}", "127.0.0.1:1"),
            ("http:\n  listen: '[::1]:2'  # here\n", "[::1]:2"),
            ("# listen: 127.0.0.1:3\nhttp: {listen: 127.0.0.1:4}", "127.0.0.1:4"),
            ("http: {}", LISTEN),
            ("", LISTEN),
        ] {
            assert_eq!(listen_address(text), expected, "{text}");
        }
    }

    #[test]
    fn only_an_answer_of_200_is_ready() {
        for (answer, ready) in
            [("HTTP/1.1 200 OK\r\n\r\nok", true), ("HTTP/1.1 503 Service Unavailable\r\n\r\n200", false), ("", false)]
        {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                assert!(stream.read(&mut request).unwrap() > 0);
                stream.write_all(answer.as_bytes()).unwrap();
            });
            assert_eq!(is_ready(&address).unwrap(), ready, "{answer:?}");
            server.join().unwrap();
        }
    }

    #[test]
    fn nothing_is_announced_for_a_process_that_is_gone() {
        let arguments = ["127.0.0.1:1".to_owned(), "no-such-process".to_owned()];
        assert_eq!(announce(&arguments).unwrap(), ExitCode::FAILURE);
    }
}
