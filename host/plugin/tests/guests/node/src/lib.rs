//! Calls the functions of the interfaces `system` and `command`, without anything of the SDK in between, and logs what it
//! gets.

use roundsman_sdk::bindings::roundsman::check::log;
use roundsman_sdk::bindings::roundsman::host::command::{self, Program};
use roundsman_sdk::bindings::roundsman::host::system;
use roundsman_sdk::{Check, Describe, Fault, Outcome};

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// What to do.
    what: String,
    /// A number, a name, a path or a cursor, as `what` needs it.
    with: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { what: "nothing".to_owned(), with: String::new() }
    }
}

struct Node;

impl Check for Node {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new("1", "Calls the interfaces system and command.")
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let with = settings.with.as_str();
        let result = match settings.what.as_str() {
            "nothing" => Ok(()),
            "sysctl" => system::sysctl(with).map(|value| tell("sysctl", value)).map_err(of_system),
            "processes" => system::processes().map(|list| processes(&list, with)).map_err(of_system),
            "ports" => system::listening_ports().map(|list| ports(&list, with)).map_err(of_system),
            "kernel-log" => {
                let cursor = (!with.is_empty()).then_some(with);
                system::kernel_log(cursor, 2).map(|lines| kernel_lines(&lines)).map_err(of_system)
            }
            "failed-units" => system::failed_units().map(|list| units(&list)).map_err(of_system),
            "units" => {
                let names: Vec<String> = with.split(' ').map(str::to_owned).collect();
                system::units(&names).map(|list| units(&list)).map_err(of_system)
            }
            "program" => program(with).map_err(of_command),
            "slow-program" => slow_program(with),
            "program-and-sleep" => {
                // Cut in the midst of it, or after it: whatever it says is lost.
                drop(slow_program(with));
                std::thread::sleep(std::time::Duration::from_secs(3600));
                Ok(())
            }
            what => return Err(Fault::settings(format!("`{what}` is unknown"))),
        };
        Ok(result.map_or_else(Outcome::critical, |()| Outcome::ok("told")))
    }
}

fn of_system(failure: system::Failure) -> String {
    format!("{}: {}", failure.code, failure.message)
}

fn of_command(failure: command::Failure) -> String {
    format!("{}: {}", failure.code, failure.message)
}

/// `name=value`, for the test to look at.
fn tell(name: &str, value: impl std::fmt::Debug) {
    log::log(log::Level::Info, &format!("{name}={value:?}"));
}

fn processes(list: &system::ProcessList, pid: &str) {
    let row = list.pids().iter().position(|other| other.to_string() == pid).expect("the process is not in the list");
    tell("pid", list.pids()[row]);
    tell("parent", list.parents()[row]);
    tell("name", &list.names()[row]);
    tell("command-line", &list.command_lines()[row]);
    tell("state", &list.states()[row]);
    tell("user-id", list.user_ids()[row]);
    tell("threads", list.threads()[row]);
    tell("resident", list.resident_bytes()[row]);
    tell("cpu", list.cpu_ns()[row]);
    tell("started", list.started_ns()[row]);
    tell("truncated", list.truncated());
}

fn ports(list: &system::PortList, port: &str) {
    let row = list.ports().iter().position(|other| other.to_string() == port).expect("the port is not in the list");
    tell("protocol", &list.protocols()[row]);
    tell("address", &list.addresses()[row]);
    tell("port", list.ports()[row]);
    tell("user-id", list.user_ids()[row]);
    tell("pid", list.pids()[row]);
    tell("truncated", list.truncated());
}

fn kernel_lines(found: &system::KernelLines) {
    for line in found.lines() {
        tell("line", (line.priority, line.facility, line.sequence, line.at_ns, line.text));
    }
    tell("cursor", found.cursor());
    tell("lost", found.lost());
    tell("more", found.more());
}

fn units(list: &system::UnitList) {
    tell("names", list.names());
    tell("descriptions", list.descriptions());
    tell("load-states", list.load_states());
    tell("active-states", list.active_states());
    tell("sub-states", list.sub_states());
    tell("truncated", list.truncated());
}

fn outcome(program: &Program) {
    tell("exit-status", program.exit_status());
    tell("signal", program.signal());
    tell("output", String::from_utf8_lossy(&program.output()));
    tell("errors", String::from_utf8_lossy(&program.errors()));
    for name in ["duration-ns", "cpu-ns", "output-truncated", "errors-truncated", "weather"] {
        tell(name, program.fact(name));
    }
}

/// A shell is what is granted, so that one program does everything.
fn program(path: &str) -> Result<(), command::Failure> {
    let program = Program::new(path);
    tell("option", program.set_option("nice", "1").map_err(|failure| failure.code));
    program.add_argument("-c");
    program.add_argument("echo \"$0 $1\"; cat; printf %s \"$GREETING $TOKEN\" >&2; exit 3");
    program.add_argument("$(reboot)");
    program.add_argument("two words");
    program.set_environment("GREETING", "hello");
    program.set_environment_secret("TOKEN", "shop", "token");
    program.set_input(b"from the plugin");
    program.set_max_output(20);
    program.run()?;
    outcome(&program);
    // A second time, with one of the bounds changed.
    program.set_max_output(1000);
    program.run()?;
    outcome(&program);
    let killed = Program::new(path);
    killed.add_argument("-c");
    killed.add_argument("kill -TERM $$");
    killed.run()?;
    tell("killed", (killed.exit_status(), killed.signal()));
    Ok(())
}

fn slow_program(path: &str) -> Result<(), String> {
    let program = Program::new(path);
    program.add_argument("-c");
    program.add_argument("sleep 1000 & echo $!; echo $$; sleep 1000");
    program.set_timeout_ns(300_000_000);
    let ran = program.run();
    outcome(&program);
    ran.map_err(of_command)
}

roundsman_sdk::plugin!(Node);
