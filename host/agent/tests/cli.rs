//! The command line as a user types it: exit codes, tables, JSON, and errors that say what to do next.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::{Agent, NODE, Place, eventually, plugin};

/// Nothing of the environment's, nothing on standard input.
fn roundsman(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roundsman"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ROUNDSMAN_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null()).output().expect("the binary was built")
}

/// What was said on standard output, with this exit code and nothing on standard error.
fn said(output: &Output, code: i32) -> String {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!((output.status.code(), err.as_str()), (Some(code), ""), "{out}");
    out
}

/// What was complained of in one line on standard error, with this exit code and nothing on standard output.
fn complained(output: &Output, code: i32) -> String {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!((output.status.code(), out.as_str()), (Some(code), ""), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    err
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(output: &Output, code: i32) -> Value {
    serde_json::from_str(&said(output, code)).unwrap()
}

/// A row of a table as its words.
fn row<'t>(table: &'t str, first: &str) -> Vec<&'t str> {
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(first));
    line.unwrap_or_else(|| panic!("no row {first}:\n{table}")).split_whitespace().collect()
}

/// Two checks: one always ok, one of a target that is there and one that is not.
struct House {
    place: Place,
    agent: Agent,
    closed: u16,
    _open: TcpListener,
}

impl House {
    fn new() -> Self {
        let place = Place::with_plugins(&["load", "tcp"]);
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let port = open.local_addr().unwrap().port();
        place.write_checks(
            "a.yaml",
            &format!(
                "checks:\n  - {{name: machine, plugin: load, interval: 200ms, timeout: 200ms, owner: us, \
                 allow: {{system: [load]}}, settings: {{parts: [load], load: null}}}}\n  \
                 - name: web\n    plugin: tcp\n    interval: 500ms\n    timeout: 500ms\n    failureThreshold: 1\n    \
                 targets: [{{name: here, address: \"127.0.0.1:{port}\"}}, {{name: gone, address: \"127.0.0.1:{closed}\"}}]\n  \
                 - {{name: idle, plugin: load, interval: 1h, enabled: false}}\n"
            ),
        );
        let agent = place.start();
        eventually("every state is known", || {
            let status = agent.get("/api/v1/status")["status"].clone();
            let states: Vec<&str> = status.as_array().unwrap().iter().map(|s| s["state"].as_str().unwrap()).collect();
            states.len() == 3
                && states.iter().filter(|state| **state == "ok").count() == 2
                && states.contains(&"critical")
        });
        Self { place, agent, closed, _open: open }
    }

    fn cli(&self, arguments: &[&str]) -> Output {
        self.agent.cli(arguments)
    }
}

#[test]
fn status() {
    let house = House::new();
    let table = said(&house.cli(&["status"]), 2);
    assert!(table.starts_with(&format!("node {NODE}: 3 targets\nCHECK")), "{table}");
    // The worst comes first.
    let gone = table.lines().nth(2).unwrap();
    assert!(gone.starts_with("web ") && gone.contains(" gone ") && gone.contains(" critical "), "{table}");
    assert!(gone.contains(&format!("127.0.0.1:{}", house.closed)), "{table}");
    assert_eq!(row(&table, "machine")[1..3], ["-", "ok"]);
    let only = said(&house.cli(&["status", "--problems"]), 2);
    assert!(only.starts_with(&format!("node {NODE}: 3 targets, 1 shown\n")) && !only.contains("machine"), "{only}");
    let answer = json(&house.cli(&["status", "--output", "json"]), 2);
    assert_eq!((&answer["node"], answer["status"].as_array().unwrap().len()), (&NODE.into(), 3));
    assert_eq!(answer["status"][0]["target"], "gone");
}

#[test]
fn check_list_and_show() {
    let house = House::new();
    let table = said(&house.cli(&["check", "list"]), 0);
    assert_eq!(row(&table, "CHECK"), ["CHECK", "STATE", "PLUGIN", "SCHEDULE", "TARGETS", "FILE", "NOTE"]);
    assert_eq!(row(&table, "web")[..6], ["web", "critical", "tcp", "every", "500ms", "2"]);
    assert!(row(&table, "machine").join(" ").contains("the node"), "{table}");
    assert!(row(&table, "idle").last() == Some(&"disabled") && table.contains("checks/a.yaml:3"), "{table}");
    let list = json(&house.cli(&["check", "list", "--output", "json"]), 0);
    assert_eq!(list["checks"].as_array().unwrap().len(), 3);

    let shown = said(&house.cli(&["check", "show", "web"]), 0);
    for word in
        ["check      web", "every 500ms, timeout 500ms", "1 ok, 1 failed in a row", "a.yaml:3", "gone", "critical"]
    {
        assert!(shown.contains(word), "{word}:\n{shown}");
    }
    assert!(said(&house.cli(&["check", "show", "machine"]), 0).contains("owner      us"));
    let shown = json(&house.cli(&["check", "show", "web", "--output", "json"]), 0);
    assert_eq!((shown["check"]["name"].as_str(), shown["status"].as_array().unwrap().len()), (Some("web"), 2));
    assert!(!shown["records"].as_array().unwrap().is_empty());

    let unknown = complained(&house.cli(&["check", "show", "wep"]), 1);
    assert!(unknown.contains("there is no check `wep` on this node") && unknown.contains("check list"), "{unknown}");
}

#[test]
fn check_run() {
    let house = House::new();
    // At the moment a tick's run may be under way, which is a good reason to be turned away.
    let run = |arguments: &[&str]| {
        let mut output = None;
        eventually("it is not being run at the moment", || {
            let ran = house.cli(&[&["check", "run"], arguments].concat());
            let busy = text(&ran.stderr).contains("is being run at the moment");
            output = Some(ran);
            !busy
        });
        output.unwrap()
    };
    let one = said(&run(&["machine"]), 0);
    assert_eq!(one.lines().count(), 2, "{one}");
    assert!(one.contains("the node") && one.contains(" ok "), "{one}");
    let both = said(&run(&["web"]), 2);
    assert!(both.contains(" gone ") && both.contains(" here ") && both.ends_with("(2 records)\n"), "{both}");
    said(&run(&["web", "--target", "here"]), 0);
    let answer = json(&run(&["web", "--target", "gone", "--output", "json"]), 2);
    assert_eq!(
        (answer["records"][0]["origin"].as_str(), answer["records"][0]["target"].as_str()),
        (Some("run-now"), Some("gone"))
    );
    // By the state directory, and by the socket itself.
    let state = house.place.state().display().to_string();
    said(&run(&["machine", "--state", &state]), 0);
    eventually("by the socket", || {
        roundsman(&["check", "run", "machine", "--addr", &format!("{state}/agent.sock")]).status.code() == Some(0)
    });
    for (arguments, words) in [
        (&["wep"][..], &["`wep` was not run", "there is no check `wep` on this node", "`roundsman check list`"][..]),
        (&["web", "--target", "away"], &["check `web` has no target `away`", "`roundsman check list`"]),
        (&["idle"], &["it is disabled (`enabled: false`)"]),
    ] {
        let told = complained(&house.cli(&[&["check", "run"], arguments].concat()), 3);
        assert!(words.iter().all(|word| told.contains(word)), "{words:?}: {told}");
    }
}

#[test]
fn running_a_check_takes_authority() {
    let house = House::new();
    // Over TCP nobody has it: the socket is found by asking, and closed to others.
    let (status, refusal) = house.agent.request("POST", "/api/v1/checks/machine/run").unwrap();
    assert_eq!(status, 403, "{refusal}");
    let hint = serde_json::from_str::<Value>(&refusal).unwrap()["hint"].clone();
    assert!(hint.as_str().unwrap().contains("unix socket"), "{refusal}");
    let socket = house.place.state().join("agent.sock");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(house.agent.get("/api/v1/agent")["agent"]["socket"], socket.to_str().unwrap());
    // Without the socket the reason is that of TCP.
    std::fs::rename(&socket, house.place.state().join("moved.sock")).unwrap();
    let told = complained(&house.cli(&["check", "run", "machine"]), 3);
    assert!(told.contains("`machine` was not run: this needs authority") && told.contains("http.tokenFile"), "{told}");
}

#[test]
fn a_token_is_authority() {
    let place = Place::with_plugins(&["load"]);
    let token = place.path().join("token");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef\n").unwrap();
    let root = place.path().display();
    place.configure_whole(&format!(
        "paths: {{plugins: {root}/plugins, checks: {root}/checks, state: {root}/state}}\n\
         http: {{listen: \"127.0.0.1:0\", tokenFile: {root}/token}}\n"
    ));
    place.write_checks(
        "a.yaml",
        "checks:\n  - {name: machine, plugin: load, interval: 1h, allow: {system: [load]}, \
         settings: {parts: [load], load: null}}\n",
    );
    let agent = place.start();
    let run = |more: &[&str]| agent.cli(&[&["check", "run", "machine"], more].concat());
    eventually("the plugin is there", || run(&[]).status.code() == Some(0));
    said(&run(&["--token-file", token.to_str().unwrap()]), 0);
    let wrong = place.path().join("wrong");
    std::fs::write(&wrong, "fedcba9876543210fedcba9876543210\n").unwrap();
    let told = complained(&run(&["--token-file", wrong.to_str().unwrap()]), 3);
    assert!(told.contains("the token is not the one of this agent"), "{told}");
    let told = complained(&run(&["--token-file", "/nowhere/token"]), 3);
    assert!(told.contains("cannot read the token /nowhere/token: No such file"), "{told}");
}

#[test]
fn history() {
    let house = House::new();
    let table = said(&house.cli(&["history", "--check", "web", "--target", "gone", "--limit", "1"]), 0);
    assert_eq!(row(&table, "TIME")[..4], ["TIME", "CHECK", "TARGET", "STATUS"]);
    assert!(table.lines().nth(1).unwrap().contains(" web    gone    critical "), "{table}");
    eventually("more is there than is shown", || {
        said(&house.cli(&["history", "--limit", "2"]), 0).ends_with("(2 shown; --limit shows more)\n")
    });
    let list = json(&house.cli(&["history", "--check", "machine", "--since", "10m", "--output", "json"]), 0);
    assert!(list["records"].as_array().unwrap().iter().all(|record| record["check"] == "machine"), "{list}");
    let changes = said(&house.cli(&["history", "--transitions", "--check", "machine"]), 0);
    assert!(changes.lines().nth(1).unwrap().contains(" pending  ok "), "{changes}");
    let none = said(&house.cli(&["history", "--check", "wep", "--since", "5m"]), 0);
    assert!(none.ends_with("(no records of check `wep` in the last 5m; --since looks further back)\n"), "{none}");
    let wrong = complained(&house.cli(&["history", "--check", "No Name"]), 1);
    assert!(wrong.contains("`No Name` must be") && wrong.contains("`roundsman check list`"), "{wrong}");
}

#[test]
fn plugin_list_and_inspect() {
    let house = House::new();
    let table = said(&house.cli(&["plugin", "list"]), 0);
    assert_eq!(row(&table, "tcp")[..3], ["tcp", "0.1.0", "ready"]);
    let list = json(&house.cli(&["plugin", "list", "--output", "json"]), 0);
    let digest = list["plugins"][1]["digest"].as_str().unwrap();
    let file = plugin("tcp").display().to_string();
    let inspected = said(&roundsman(&["plugin", "inspect", &file]), 0);
    for word in [
        "tcp 0.1.0: Connects to a TCP port",
        digest,
        "roundsman:check/context@",
        "series    tcp",
        "connect_ms (real, ms): ",
        "example\nchecks:",
    ] {
        assert!(inspected.contains(word), "{word}:\n{inspected}");
    }
    let inspected = json(&roundsman(&["plugin", "inspect", &file, "--output", "json"]), 0);
    assert_eq!((&inspected["digest"], &inspected["describe"]["version"]), (&digest.into(), &"0.1.0".into()));
    let told = complained(&roundsman(&["plugin", "inspect", env!("CARGO_BIN_EXE_roundsman")]), 1);
    assert!(told.contains("/roundsman is not usable: "), "{told}");
    let told = complained(&roundsman(&["plugin", "inspect", "tcp"]), 1);
    assert!(
        told.contains("tcp is not usable: PLUGIN is the path of a file: the file cannot be read: No such file"),
        "{told}"
    );
}

#[test]
fn probe() {
    let (load, tcp) = (plugin("load").display().to_string(), plugin("tcp").display().to_string());
    let denied = said(&roundsman(&["probe", &load, "--settings", r#"{"parts":["load"],"load":null}"#]), 3);
    assert!(denied.starts_with("unknown (denied, blame host): system `load` is not granted"), "{denied}");
    assert!(denied.contains("add to the check: allow: {system: [load]}\nhere     --allow system=load\n"), "{denied}");
    let seen = said(
        &roundsman(&["probe", &load, "--allow", "system=load", "--settings", r#"{"parts":["load"],"load":null}"#]),
        0,
    );
    assert!(seen.starts_with("ok: load ") && seen.contains("\npoint    load load1="), "{seen}");
    let arguments = ["probe", &load, "--allow", "system=load", "--settings", r#"{"parts":["load"],"load":null}"#];
    let seen = json(&roundsman(&[&arguments[..], &["--output", "json"]].concat()), 0);
    assert!(seen["points"][0]["fields"]["load1"].is_number(), "fields are an object, as in the API: {seen}");

    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = open.local_addr().unwrap().to_string();
    assert!(said(&roundsman(&["probe", &tcp, "--target", &here]), 0).starts_with("ok: "));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let answer = json(&roundsman(&["probe", &tcp, "--target", &closed, "--output", "json"]), 2);
    assert_eq!((answer["status"].as_str(), answer["blame"].as_str()), (Some("critical"), Some("target")));
    // An address in the settings is not granted; the flag that is named does it.
    let settings = format!(r#"{{"address":"{here}"}}"#);
    let denied = said(&roundsman(&["probe", &tcp, "--settings", &settings]), 3);
    let flag =
        denied.lines().find_map(|line| line.strip_prefix("here     --allow ")).unwrap_or_else(|| panic!("{denied}"));
    assert!(said(&roundsman(&["probe", &tcp, "--settings", &settings, "--allow", flag]), 0).starts_with("ok: "));
    // A target that never answers.
    let hung = said(
        &roundsman(&["probe", &tcp, "--target", &here, "--settings", r#"{"expect":"x"}"#, "--timeout", "300ms"]),
        2,
    );
    assert!(hung.starts_with("critical"), "{hung}");

    for (arguments, words) in [
        (&["tcp"][..], &["tcp cannot be used: PLUGIN is the path of a file", "No such file"][..]),
        (
            &[&tcp, "--settings", r#"{"frob":1}"#],
            &["the settings are not right: ", "'frob'", "roundsman plugin inspect "],
        ),
        (&[&tcp, "--allow", "network=tcp:/x"], &["tcp:/x"]),
    ] {
        let told = complained(&roundsman(&[&["probe"], arguments].concat()), 3);
        assert!(words.iter().all(|word| told.contains(word)), "{words:?}: {told}");
    }
}

#[test]
fn validate() {
    let house = House::new();
    let told = said(&house.place.run(&["validate"]), 0);
    let (verdict, history) = told.split_once('\n').unwrap();
    assert_eq!(verdict, "everything is in order: 2 plugins, 3 checks, 4 targets");
    assert!(
        history.starts_with("the history holds about ") && history.ends_with(" of records at 9.0 runs/s\n"),
        "{told}"
    );
    let found = json(&house.place.run(&["validate", "--output", "json"]), 0);
    assert_eq!(found["found"]["pairs"], 4, "{found}");
    house.place.write_checks("b.yaml", "checks:\n  - {name: b, plugin: tpc, interval: 10s}\n");
    let output = house.place.run(&["validate"]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""));
    let told = text(&output.stderr);
    assert!(
        told.contains("b.yaml:2:23: there is no plugin `tpc` in ") && told.contains("(did you mean `tcp`?)"),
        "{told}"
    );
    assert!(told.ends_with("\n1 error\n"), "{told}");
    let found = json(&house.place.run(&["validate", "--output", "json"]), 1);
    assert_eq!((&found["problems"][0]["line"], &found["problems"][0]["severity"]), (&2.into(), &"error".into()));
    let told = text(&roundsman(&["validate", "--config", "/nowhere/roundsman.yaml"]).stderr);
    assert!(told.contains("/nowhere/roundsman.yaml: the file cannot be read: No such file"), "{told}");
    // What a flag says is checked like what a file says.
    let output = house.place.run(&["validate", "--set", "http.lisden=x"]);
    assert!(text(&output.stderr).contains("did you mean `http.listen`?"), "{}", text(&output.stderr));
}

#[test]
fn where_nobody_listens() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for (arguments, code) in [
        (&["status"][..], 3),
        (&["check", "run", "x"], 3),
        (&["check", "list"], 1),
        (&["check", "show", "x"], 1),
        (&["history"], 1),
        (&["plugin", "list"], 1),
        (&["history", "--failures"], 1),
        (&["silence", "list"], 1),
        (&["silence", "remove", "1"], 1),
        (&["silence", "add", "x", "--for", "1h", "--reason", "r"], 1),
        (&["check", "ack", "x", "--reason", "r"], 1),
        (&["result", "x", "--status", "ok"], 1),
    ] {
        let told = complained(&roundsman(&[arguments, &["--addr", &nobody]].concat()), code);
        for word in [
            &format!("cannot reach an agent at {nobody}: Connection refused")[..],
            "`roundsman run` starts one",
            "--addr",
        ] {
            assert!(told.contains(word), "{arguments:?}: {word}: {told}");
        }
    }
    let told = complained(&roundsman(&["status", "--addr", "/nowhere/agent.sock"]), 3);
    assert!(told.contains("cannot reach an agent at /nowhere/agent.sock: No such file"), "{told}");
    // Somebody who does not speak like an agent.
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap().to_string();
    let answers = std::thread::spawn(move || {
        let (mut connection, _) = stranger.accept().unwrap();
        std::io::Write::write_all(&mut connection, b"SSH-2.0-OpenSSH\r\n").unwrap();
    });
    let told = complained(&roundsman(&["status", "--addr", &address]), 3);
    answers.join().unwrap();
    assert!(told.contains(&format!("no answer from {address}: ")), "{told}");
}

#[test]
fn wrong_usage() {
    for (arguments, word) in [
        (&[][..], "Usage: roundsman <COMMAND>"),
        (&["frob"], "unrecognized subcommand 'frob'"),
        (&["check"], "Usage: roundsman check <COMMAND>"),
        (&["check", "run"], "<NAME>"),
        (&["status", "--frob"], "unexpected argument '--frob'"),
        (&["status", "--output", "yaml"], "possible values: table, json"),
        (&["status", "--addr", "here"], "write HOST:PORT, for instance 127.0.0.1:9640"),
        (&["history", "--since", "5x"], "write a number and a unit, for instance 250ms"),
        (&["history", "--limit", "0"], "write a number from 1 on"),
        (&["probe"], "<PLUGIN>"),
        (&["probe", "x.wasm", "--settings", "{x"], "it is not JSON"),
        (&["probe", "x.wasm", "--allow", "load"], "write LIST=WORD, for instance system=load"),
        (&["probe", "x.wasm", "--allow", "sys=load"], "the lists are network, files, system"),
        (&["plugin", "inspect"], "<FILE>"),
        (&["silence"], "Usage: roundsman silence <COMMAND>"),
        (&["silence", "add", "x", "--reason", "r"], "--for <DURATION>"),
        (&["silence", "add", "x", "--for", "1h"], "--reason <REASON>"),
        (&["silence", "add", "--for", "1h", "--reason", "r"], "<CHECK>"),
        (&["silence", "add", "x", "--for", "1h", "--until", "x", "--reason", "r"], "cannot be used with"),
        (&["silence", "add", "x", "--all", "--for", "1h", "--reason", "r"], "cannot be used with"),
        (&["silence", "remove", "x"], "invalid digit"),
        (&["check", "ack", "x"], "--reason <REASON>"),
        (&["result", "x"], "--status <STATUS>"),
        (&["result", "x", "--status", "fine"], "write ok, warning, critical or unknown, or 0, 1, 2 or 3"),
    ] {
        let output = roundsman(arguments);
        let told = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(64), ""), "{arguments:?}: {told}");
        assert!(told.contains(word), "{arguments:?}: {told}");
    }
    assert!(said(&roundsman(&["--help"]), 0).contains("Usage: roundsman <COMMAND>"));
    assert!(said(&roundsman(&["--version"]), 0).starts_with("roundsman 0.1.0"));
    assert!(said(&roundsman(&["help", "check", "run"]), 0).contains("--target"));
}
