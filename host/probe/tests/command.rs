//! Programs of this machine: what they get, what comes back, and that nothing of them is left.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where the lint exempts only the tests themselves"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::grants::Allow;
use roundsman_probe::command::{Order, Run};
use roundsman_probe::failure::code;
use roundsman_probe::grants::Grants;
use roundsman_probe::pattern::Pattern;
use roundsman_probe::probe::{Options, Probe, Roots};
use roundsman_probe::resolve::Resolver;
use roundsman_probe::secrets::{Place, Secrets, Source};
use roundsman_probe::sockets::{Limits, RunSockets};
use support::{LONG, SHORT, probe};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

const SHELL: &str = "/bin/sh";

/// What is counted is that of the whole process.
static ALONE: Mutex<()> = Mutex::const_new(());

fn allowed(commands: &[&str], secrets: &[&str]) -> Grants {
    let [commands, secrets] = [commands, secrets].map(|list| list.iter().map(|line| (*line).to_owned()).collect());
    Grants::compile(&[], &Allow { commands, secrets, ..Allow::default() }, &[]).unwrap()
}

fn sockets(probe: &Probe) -> RunSockets {
    probe.sockets().run(&Arc::from("nagios"))
}

/// Runs a program that is granted.
async fn run_within(probe: &Probe, order: &Order, within: Duration) -> Run {
    let (grants, sockets) = (allowed(&[order.path()], &[]), sockets(probe));
    probe.command(&grants, "nagios", order, || sockets.open(), Instant::now() + within).await
}

async fn run(order: &Order) -> Run {
    run_within(&probe(), order, LONG).await
}

fn shell(script: &str) -> Order {
    let mut order = Order::new(SHELL);
    order.add_argument("-c");
    order.add_argument(script);
    order
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Why it did not run.
fn refusal(run: &Run) -> (&'static str, &str) {
    let failure = run.result.as_ref().unwrap_err();
    (failure.code, &failure.message)
}

fn is_alive(pid: &str) -> bool {
    // Somebody else may have to take its status.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Polls: others than the kernel have no part in it.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let end = std::time::Instant::now() + LONG;
    while !holds() {
        assert!(std::time::Instant::now() < end, "never: {what}");
        std::thread::yield_now();
    }
}

/// Children of this process that have ended and whose status nobody has taken.
fn zombies() -> usize {
    let stats =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let own = format!(") Z {} ", std::process::id());
    stats.filter(|stat| stat.contains(&own)).count()
}

/// Of the kinds that only programs need: the runtimes of other tests open others.
fn open_files() -> usize {
    let files = fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|file| fs::read_link(file.path()).ok());
    let kinds = ["pipe:", "anon_inode:[pidfd]", "pidfd:"];
    files.filter(|leads_to| kinds.iter().any(|kind| leads_to.to_string_lossy().starts_with(kind))).count()
}

#[tokio::test]
async fn what_comes_back() {
    let _alone = ALONE.lock().await;
    for (script, exit_status, signal, output, errors) in [
        ("exit 0", Some(0), None, "", ""),
        ("echo a b; echo c >&2; exit 3", Some(3), None, "a b\n", "c\n"),
        ("exit 255", Some(255), None, "", ""),
        ("kill -TERM $$", None, Some(15), "", ""),
        ("echo before; kill -KILL $$", None, Some(9), "before\n", ""),
        ("printf 'no end'", Some(0), None, "no end", ""),
        ("cat; echo end", Some(0), None, "end\n", ""),
        ("exec 1>&-; exec 2>&-; exit 4", Some(4), None, "", ""),
    ] {
        let run = run(&shell(script)).await;
        run.result.as_ref().unwrap();
        assert_eq!((run.exit_status, run.signal), (exit_status, signal), "{script}");
        assert_eq!((text(&run.output), text(&run.errors)), (output, errors), "{script}");
        assert!(!run.output_truncated && !run.errors_truncated && run.duration.is_some(), "{run:?}");
    }
}

#[tokio::test]
async fn arguments_are_as_they_are() {
    let _alone = ALONE.lock().await;
    let odd = ["", "two words", "$(echo no) `echo no` $HOME", "*", "-n", "quote\"'", "new\nline", "\u{e4}"];
    let mut order = Order::new("/usr/bin/printf");
    order.add_argument("[%s]");
    odd.iter().for_each(|argument| order.add_argument(argument));
    let run = run(&order).await;
    let expected: String = odd.iter().map(|argument| format!("[{argument}]")).collect();
    assert_eq!(text(&run.output), expected);
}

#[tokio::test]
async fn a_clean_environment() {
    let _alone = ALONE.lock().await;
    let mut order = Order::new("/usr/bin/env");
    order.set_environment("NAGIOS_HOST", "two words");
    order.set_environment("NAGIOS_HOST", "again");
    order.set_environment("LANG", "de_DE.UTF-8");
    let ran = run(&order).await;
    let mut variables: Vec<_> = text(&ran.output).lines().collect();
    variables.sort_unstable();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(variables, ["LANG=de_DE.UTF-8", "NAGIOS_HOST=again", path]);
    assert_eq!(text(&run(&shell("pwd")).await.output), "/\n");
    // It leads a group of its own, and nothing that this process has open comes along.
    let _open = (fs::File::open("/proc/self/status").unwrap(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let ran = run(&shell("ls /proc/self/fd; cut -d ' ' -f 1,5 /proc/$$/stat")).await;
    let mut lines: Vec<_> = text(&ran.output).lines().collect();
    let (pid, group) = lines.pop().unwrap().split_once(' ').unwrap();
    assert_eq!(pid, group);
    // The fourth is the listing itself. What this process was started with, and did not open itself, is not its to close.
    let inherited = inherited();
    let strange: Vec<_> = lines.iter().filter(|file| !["0", "1", "2", "3"].contains(file)).collect();
    assert!(lines.len() >= 4 && strange.iter().all(|file| inherited.contains(**file)), "{lines:?} {inherited:?}");
}

/// Files that are passed on to every program that is started.
fn inherited() -> BTreeSet<String> {
    const CLOEXEC: u32 = 0o2_000_000;
    let files = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let files = files.map(|file| (file.file_name(), fs::read_to_string(file.path()).unwrap_or_default()));
    let passed_on = files.filter(|(_, info)| {
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        flags.is_some_and(|flags| u32::from_str_radix(flags.trim(), 8).unwrap() & CLOEXEC == 0)
    });
    let passed_on: BTreeSet<_> = passed_on.map(|(name, _)| name.into_string().unwrap()).collect();
    for file in &passed_on {
        let leads_to = fs::read_link(format!("/proc/self/fd/{file}")).unwrap_or_default();
        assert!(!leads_to.ends_with("status") && !leads_to.to_string_lossy().starts_with("socket:"), "{leads_to:?}");
    }
    passed_on
}

#[tokio::test]
async fn input() {
    let _alone = ALONE.lock().await;
    let large: Vec<u8> = (0..1_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let mut order = shell("wc -c");
    order.set_input(large.clone());
    assert_eq!(text(&run(&order).await.output).trim(), "1000000");
    // Both ways at once: more than the pipes hold.
    let mut order = Order::new("/bin/cat");
    order.set_input(large.clone());
    let ran = run(&order).await;
    assert_eq!(ran.output, large[..256 << 10]);
    assert!(ran.output_truncated);
    // A program that wants none of it.
    let mut order = shell("exec 0<&-; echo done");
    order.set_input(large);
    assert_eq!(text(&run(&order).await.output), "done\n");
}

#[tokio::test]
async fn floods_of_output() {
    let _alone = ALONE.lock().await;
    let mut order = shell("yes x | head -c 20000000; yes y | head -c 20000000 >&2; exit 7");
    order.set_max_output(1000);
    let ran = run(&order).await;
    assert_eq!((ran.exit_status, ran.output.len(), ran.errors.len()), (Some(7), 1000, 1000));
    assert!(ran.output_truncated && ran.errors_truncated);
    order.set_max_output(0);
    let ran = run(&order).await;
    assert_eq!((ran.output.len(), ran.output_truncated), (0, true));
    // What is exactly enough is not cut off.
    let mut order = shell("printf 12345");
    order.set_max_output(5);
    let ran = run(&order).await;
    assert_eq!((text(&ran.output), ran.output_truncated), ("12345", false));
    // Without end: the deadline ends it.
    let ran = run_within(&probe(), &shell("yes"), SHORT).await;
    assert_eq!(refusal(&ran).0, code::TIMEOUT);
    assert_eq!((ran.output.len(), ran.output_truncated, ran.signal), (256 << 10, true, Some(9)));
}

#[tokio::test]
async fn killed_with_all_that_it_started() {
    let _alone = ALONE.lock().await;
    let (probe, zombies_before, files_before) = (probe(), zombies(), open_files());
    let script = "sleep 1000 & echo $!; (sleep 1000; echo) & echo $!; echo here >&2; sleep 1000";
    let began = std::time::Instant::now();
    let ran = run_within(&probe, &shell(script), SHORT).await;
    let took = began.elapsed();
    assert!(took >= SHORT && took < SHORT + Duration::from_secs(5), "{took:?}");
    let (code, message) = refusal(&ran);
    assert!(code == code::TIMEOUT && message.contains("/bin/sh was killed after "), "{message}");
    assert_eq!((ran.exit_status, ran.signal, text(&ran.errors)), (None, Some(9), "here\n"));
    let left: Vec<_> = text(&ran.output).lines().collect();
    assert_eq!(left.len(), 2);
    eventually("the grandchildren are dead", || !left.iter().any(|pid| is_alive(pid)));
    // Its own timeout comes first.
    let mut order = shell("echo $$; sleep 1000");
    order.set_timeout(SHORT);
    let ran = run_within(&probe, &order, LONG).await;
    assert_eq!(refusal(&ran).0, code::TIMEOUT);
    assert!(!is_alive(text(&ran.output).trim()));
    assert_eq!(zombies(), zombies_before);
    eventually("all files are closed", || open_files() <= files_before);
    eventually("nothing counts as open", || probe.sockets().open_now() == 0);
}

#[tokio::test]
async fn grandchildren_that_keep_the_pipes_open() {
    let _alone = ALONE.lock().await;
    let began = std::time::Instant::now();
    let ran = run(&shell("sleep 1000 & echo $!; exit 1")).await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(ran.exit_status, Some(1));
    ran.result.as_ref().unwrap();
    let pid = text(&ran.output).trim().to_owned();
    eventually("what it left behind is dead", || !is_alive(&pid));
    // A last line of what is still at work is waited for, but not for long.
    let ran = run(&shell("(sleep 0.02; echo late) & echo early")).await;
    assert_eq!(text(&ran.output), "early\nlate\n");
}

/// Where the agent is the first process of its container, what a program leaves behind becomes its child.
#[tokio::test]
async fn what_is_inherited_is_taken_too() {
    let _alone = ALONE.lock().await;
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1)).unwrap();
    let before = zombies();
    let ran = run(&shell("(sleep 1000 & sleep 1000) & sleep 0.05; echo $!; exit 0")).await;
    assert_eq!(ran.exit_status, Some(0));
    let pid = text(&ran.output).trim().to_owned();
    eventually("its status has been taken", || !Path::new(&format!("/proc/{pid}")).exists());
    eventually("nobody's status is left", || zombies() <= before);
    rustix::process::set_child_subreaper(None).unwrap();
}

/// A run that is cut drops its calls where they stand.
#[tokio::test]
async fn a_call_that_is_dropped() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let (probe, files_before, zombies_before) = (probe(), open_files(), zombies());
    let order = shell(&format!("sleep 1000 & echo $! $$ > {0}.new; mv {0}.new {0}; wait", file.display()));
    {
        let call = run_within(&probe, &order, LONG);
        let mut call = std::pin::pin!(call);
        while !file.exists() {
            let soon = Instant::now() + Duration::from_millis(5);
            assert!(tokio::time::timeout_at(soon, &mut call).await.is_err());
        }
    }
    let pids = fs::read_to_string(&file).unwrap();
    eventually("both are dead", || !pids.split_whitespace().any(is_alive));
    eventually("their status has been taken", || zombies() <= zombies_before);
    eventually("all files are closed", || open_files() <= files_before);
    eventually("nothing counts as open", || probe.sockets().open_now() == 0);
    // It can be run again at once: what was given up just now does not count as hanging.
    let ran = run_within(&probe, &shell("exit 5"), LONG).await;
    assert_eq!(ran.exit_status, Some(5));
}

#[tokio::test]
async fn nothing_without_a_grant() {
    let _alone = ALONE.lock().await;
    let probe = probe();
    let sockets = sockets(&probe);
    let deadline = Instant::now() + LONG;
    for (granted, path) in [
        (vec![], SHELL),
        (vec!["/bin/true"], SHELL),
        (vec!["/bin/true"], "/bin/../bin/true"),
        (vec!["/bin/true"], "true"),
        (vec!["/bin/true"], ""),
    ] {
        let grants = allowed(&granted, &[]);
        let run = probe.command(&grants, "nagios", &Order::new(path), || sockets.open(), deadline).await;
        assert_eq!(refusal(&run).0, code::DENIED, "{granted:?} {path}");
    }
    assert_eq!((probe.stats().command.calls(), probe.stats().command.refusals()), (5, 5));
    let mut order = Order::new(SHELL);
    order.set_environment("BASH_ENV", "$(reboot)");
    let (code, message) = run(&order).await.result.map_err(|failure| (failure.code, failure.message)).unwrap_err();
    assert!(code == code::DENIED && message.contains("BASH_ENV"), "{message}");
}

#[tokio::test]
async fn secrets_as_variables() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "s3cret value\n").unwrap();
    fs::write(folder.path().join("odd"), "a\0b").unwrap();
    let place = Place::Directory(folder.path().to_owned());
    let bound = vec![Pattern::parse("https://shop.example").unwrap()];
    let secrets = Secrets::new(BTreeMap::from([
        ("shop".to_owned(), Source { place: place.clone(), destinations: Vec::new() }),
        ("bound".to_owned(), Source { place, destinations: bound }),
    ]));
    let (resolver, roots) = (Resolver::fixed(""), Roots::Only(Vec::new()));
    let probe = Probe::new(Options { resolver, roots, secrets, ..Options::default() });
    let sockets = sockets(&probe);
    let run = async |secrets: &[&str], secret: &str, key: &str| {
        let mut order = shell("printf %s \"$TOKEN\"; tr '\\0' ' ' < /proc/$$/cmdline >&2");
        order.set_environment_secret("TOKEN", secret, key);
        let grants = allowed(&[SHELL], secrets);
        probe.command(&grants, "nagios", &order, || sockets.open(), Instant::now() + LONG).await
    };
    let ran = run(&["shop"], "shop", "token").await;
    assert_eq!(text(&ran.output), "s3cret value");
    assert!(!text(&ran.errors).contains("s3cret"), "{ran:?}");
    for (granted, secret, key, expected) in [
        (vec![], "shop", "token", code::DENIED),
        (vec!["shop"], "other", "token", code::DENIED),
        (vec!["bound"], "bound", "token", code::DENIED),
        (vec!["shop"], "shop", "odd", code::SECRET),
        (vec!["shop"], "shop", "absent", code::SECRET),
    ] {
        let run = run(&granted, secret, key).await;
        assert_eq!(refusal(&run).0, expected, "{secret} {key}");
    }
}

#[tokio::test]
async fn files_that_are_no_programs() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let place = |name: &str, text: &str, mode: u32| {
        fs::create_dir_all(Path::new(&at(name)).parent().unwrap()).unwrap();
        fs::write(at(name), text).unwrap();
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    place("good", "#!/bin/sh\necho \"$0\"\n", 0o755);
    place("plain", "#!/bin/sh\n", 0o644);
    place("open", "#!/bin/sh\n", 0o757);
    place("no-interpreter", "#!/no/such/interpreter\n", 0o755);
    place("no-head", "echo who runs this?\n", 0o755);
    place("wide/program", "#!/bin/sh\n", 0o755);
    fs::set_permissions(at("wide"), fs::Permissions::from_mode(0o777)).unwrap();
    symlink(at("good"), at("link")).unwrap();
    symlink(at("open"), at("link-to-open")).unwrap();
    for (path, expected, says) in [
        (at("absent"), code::NOT_FOUND, "No such file"),
        (at("good/x"), code::NOT_FOUND, "Not a directory"),
        (at("plain"), code::DENIED, "it is not executable"),
        (at("open"), code::DENIED, "everybody may write to it"),
        (at("link-to-open"), code::DENIED, "open is not run: everybody may write to it"),
        (at("wide/program"), code::DENIED, "wide; chmod o-w "),
        (at("no-interpreter"), code::NOT_FOUND, "the interpreter in its first line is missing"),
        (at("no-head"), code::IO, "neither a program of this machine nor a script"),
        ("/usr".to_owned(), code::DENIED, "it is no regular file"),
        ("/dev/null".to_owned(), code::DENIED, "it is no regular file"),
    ] {
        let run = run(&Order::new(&path)).await;
        let (code, message) = refusal(&run);
        assert_eq!(code, expected, "{path}: {message}");
        assert!(message.contains(says), "{path}: {message}");
    }
    // A link may be granted. What runs is the file that was looked at.
    assert_eq!(text(&run(&Order::new(&at("link"))).await.output).trim(), at("good"));
    if rustix::process::geteuid().is_root() {
        let (user, group) = (rustix::fs::Uid::from_raw(65_533), rustix::fs::Gid::from_raw(65_533));
        rustix::fs::chown(at("good"), Some(user), None).unwrap();
        assert!(refusal(&run(&Order::new(&at("good"))).await).1.contains("it belongs to the user 65533"));
        rustix::fs::chown(at("good"), Some(rustix::fs::Uid::ROOT), Some(group)).unwrap();
        fs::set_permissions(at("good"), fs::Permissions::from_mode(0o775)).unwrap();
        assert!(refusal(&run(&Order::new(&at("good"))).await).1.contains("the group 65533 may write to it"));
    }
}

#[tokio::test]
async fn bounds_on_programs() {
    let _alone = ALONE.lock().await;
    let (resolver, roots) = (Resolver::fixed(""), Roots::Only(Vec::new()));
    let limits = Limits { agent: 200, plugin: 200, run: 1 };
    let probe = Arc::new(Probe::new(Options { resolver, roots, sockets: limits, ..Options::default() }));
    let grants = Arc::new(allowed(&[SHELL], &[]));
    let deadline = Instant::now() + LONG;
    let one = sockets(&probe);
    let held = one.open().unwrap();
    let ran = probe.command(&grants, "nagios", &shell("exit 0"), || one.open(), deadline).await;
    assert_eq!(refusal(&ran).0, code::LIMIT);
    drop(held);
    probe.command(&grants, "nagios", &shell("exit 0"), || one.open(), deadline).await.result.unwrap();
    // More at once than there are places: all of them come to their turn.
    let mut runs = JoinSet::new();
    for _ in 0..100 {
        let (probe, grants) = (probe.clone(), grants.clone());
        runs.spawn(async move {
            let sockets = sockets(&probe);
            probe.command(&grants, "nagios", &shell("exit 6"), || sockets.open(), deadline).await.exit_status
        });
    }
    let codes = runs.join_all().await;
    assert!(codes.len() == 100 && codes.iter().all(|code| *code == Some(6)), "{codes:?}");
    eventually("nothing counts as open", || probe.sockets().open_now() == 0);
    // None becomes free in time: the places are taken by programs that go on for longer.
    let mut runs = JoinSet::new();
    for _ in 0..32 {
        let (probe, grants) = (probe.clone(), grants.clone());
        runs.spawn(async move {
            let (sockets, deadline) = (sockets(&probe), Instant::now() + LONG);
            probe.command(&grants, "nagios", &shell("sleep 1000"), || sockets.open(), deadline).await.exit_status
        });
    }
    while probe.sockets().open_now() < 32 {
        tokio::task::yield_now().await;
    }
    let ran = run_within(&probe, &shell("exit 0"), SHORT).await;
    let (code, message) = refusal(&ran);
    assert!(code == code::LIMIT && message.starts_with("32 programs of a plugin"), "{message}");
    let other = probe.command(&grants, "other", &shell("exit 0"), || one.open(), Instant::now() + LONG).await;
    assert_eq!(other.exit_status, Some(0));
    runs.shutdown().await;
    eventually("nothing counts as open", || probe.sockets().open_now() == 0);
}

#[tokio::test]
async fn processor_time() {
    let _alone = ALONE.lock().await;
    let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let own = run(&shell(busy)).await;
    let (cpu, duration) = (own.cpu.unwrap(), own.duration.unwrap());
    assert!(cpu > Duration::from_millis(20) && cpu <= duration + Duration::from_millis(20), "{cpu:?} of {duration:?}");
    let of_a_child = run(&shell(&format!("/bin/sh -c '{busy}'; exit 0"))).await;
    assert!(of_a_child.cpu.unwrap() > Duration::from_millis(20), "{of_a_child:?}");
    let idle = run(&shell("sleep 0.1")).await;
    assert!(
        idle.cpu.unwrap() < Duration::from_millis(90) && idle.duration.unwrap() >= Duration::from_millis(100),
        "{idle:?}"
    );
    assert_eq!(idle.fact("cpu-ns"), Some(idle.cpu.unwrap().as_nanos().to_string()));
    assert_eq!(idle.fact("output-truncated").as_deref(), Some("false"));
    assert_eq!(idle.fact("weather"), None);
}
