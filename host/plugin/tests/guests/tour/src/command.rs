//! `roundsman:host/command`, with a shell that says what it was given.

use roundsman_sdk::bindings::roundsman::host::command::{Failure, Program};

use crate::{part, show, tell, text};

/// Of the secret, its length alone.
const SCRIPT: &str = r#"printf '%s; ' "name=$(cat /proc/$$/comm)" "pid=$$" "argument=$1" "greeting=$GREETING" "token=${#TOKEN}" "input=$(cat)"
printf 'to the other output' >&2
exit 3"#;

fn words(failure: Failure) -> String {
    format!("{}: {}", failure.code, failure.message)
}

fn shell(path: &str, script: &str) -> Program {
    let program = Program::new(path);
    program.add_argument("-c");
    program.add_argument(script);
    program
}

pub(crate) fn tour(path: &str) -> Result<(), String> {
    let program = shell(path, SCRIPT);
    program.add_argument("shell");
    program.add_argument("$(reboot) two words");
    program.set_environment("GREETING", "hello");
    program.set_environment_secret("TOKEN", "login", "password");
    program.set_input(b"from the plugin");
    tell(
        "command.program.set-option",
        program.set_option("nice", "1").map_or_else(|failure| failure.code, |()| "taken".to_owned()),
    );
    program.run().map_err(words)?;
    let said = text(&program.output());
    tell("command.program.constructor", part(&said, "name"));
    tell("command.program.run", part(&said, "pid"));
    tell("command.program.add-argument", part(&said, "argument"));
    tell("command.program.set-environment", part(&said, "greeting"));
    tell("command.program.set-environment-secret", format!("{} bytes", part(&said, "token")));
    tell("command.program.set-input", part(&said, "input").trim_end_matches(';'));
    tell("command.program.output", said);
    tell("command.program.errors", text(&program.errors()));
    tell("command.program.exit-status", show(program.exit_status()));
    tell("command.program.fact", show(program.fact("duration-ns")));
    program.set_max_output(7);
    program.run().map_err(words)?;
    let kept = (text(&program.output()), show(program.fact("output-truncated")));
    tell("command.program.set-max-output", format!("{}, truncated {}", kept.0, kept.1));
    let killed = shell(path, "kill -TERM $$");
    killed.run().map_err(words)?;
    tell("command.program.signal", show(killed.signal()));
    let slow = shell(path, "sleep 1000");
    slow.set_timeout_ns(50_000_000);
    let ended = slow.run().map_or_else(|failure| failure.code, |()| "it ran".to_owned());
    tell("command.program.set-timeout-ns", format!("{ended}, signal {}", show(slow.signal())));
    Ok(())
}
