//! A file that is swapped between the look at it and its compilation: what runs is what was looked at.

use super::*;

/// The compiling child of an agent, if there is one.
fn compiler_of(agent: &Agent) -> Option<rustix::process::Pid> {
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).ok()?;
    let children = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<i32> = children
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|pid| pid.parse().ok())
        .collect();
    let compiles = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("__compile")
    };
    children.into_iter().find(compiles).and_then(rustix::process::Pid::from_raw)
}

#[test]
fn what_was_judged_is_what_is_compiled() {
    use rustix::process::{Signal, kill_process};
    let signing = Signing::new();
    let (place, file) = (&signing.place, signing.file());
    let agent = place.start();
    // The same plugin with another digest that nobody has signed.
    let evil = version(1_000);
    let mut number = 0;
    let caught = eventually_some("a compilation is caught in the act", || {
        number += 1;
        let bytes = version(number);
        let signature = signing.ops.sign(place, &bytes);
        replace(&beside(&file), &signature);
        replace(&file, &bytes);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(5) {
            let Some(child) = compiler_of(&agent) else { continue };
            if kill_process(child, Signal::STOP).is_err() {
                return None;
            }
            // It may have been done by then: what it made is not in use as long as it stands still.
            let caught = compiler_of(&agent) == Some(child) && entry(&agent)["digest"] != digest(&bytes);
            replace(&file, &evil);
            kill_process(child, Signal::CONT).ok();
            return caught.then_some(bytes);
        }
        None
    });
    // The file that was judged is in use, though it is not there any more; and the one that is there is not.
    let entry = eventually_some("the version that was judged is in use", || {
        let entry = entry(&agent);
        (entry["digest"] == digest(&caught)).then_some(entry)
    });
    assert_eq!(entry["origin"]["signed_by"], "ops", "{entry}");
    let entry = refused(&agent, "ready", "it is not about these bytes");
    assert_eq!((&entry["digest"], &entry["outdated"]), (&digest(&caught).into(), &true.into()));
    assert_eq!(fs::read(&file).unwrap(), evil);
    goes_on(&agent);
    let codes = fs::read_dir(place.state().join("cache")).unwrap();
    let names: Vec<String> = codes.map(|code| code.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with(&digest(&caught))), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with(&digest(&evil))), "what was not judged was never compiled");
    // What is kept for a restart is the version that was judged, with its signature.
    agent.stop();
    let agent = place.start();
    let entry = refused(&agent, "ready", "it is not about these bytes");
    assert_eq!(entry["digest"], digest(&caught));
    goes_on(&agent);
}
