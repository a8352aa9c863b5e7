//! A limit of processor time, as a container has it: the agent knows why it is late, and still counts every tick.

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use roundsman_model::key::Key;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::history::History;
use crate::support::servers::{free_address, request};
use crate::support::{CLUSTER, NODE, Place, eventually, eventually_some};
use crate::{alone, checks, now};

/// More than a fifth of a processor can do, whatever the processor.
const INTERVAL_MS: u64 = 20;
const CHECKS: usize = 200;
const PERIOD_US: u64 = 100_000;
const QUOTA_US: u64 = 20_000;
const LIMITED: Duration = Duration::from_secs(10);

/// A control group with a fifth of a processor; removed when this is dropped, after what is in it has ended.
#[derive(Debug)]
struct Group(PathBuf);

impl Group {
    /// Below the root of the controller, by version 2 or 1. The reason where that cannot be had.
    fn new() -> Result<Self, String> {
        let mount = Path::new("/sys/fs/cgroup");
        let version_2 = mount.join("cgroup.controllers").exists();
        let parent = if version_2 { mount.to_owned() } else { mount.join("cpu") };
        let path = parent.join(format!("roundsman-test-{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let group = Self(path);
        let settings = if version_2 {
            vec![("cpu.max", format!("{QUOTA_US} {PERIOD_US}"))]
        } else {
            vec![("cpu.cfs_period_us", PERIOD_US.to_string()), ("cpu.cfs_quota_us", QUOTA_US.to_string())]
        };
        for (file, value) in settings {
            let path = group.0.join(file);
            // Never made: where the controller is missing, so is the file.
            let written = File::options().write(true).open(&path).and_then(|mut file| file.write_all(value.as_bytes()));
            written.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It is busy for a moment after its last process has ended.
        for _ in 0..100 {
            match fs::remove_dir(&self.0) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                _ => return,
            }
        }
        eprintln!("{} could not be removed", self.0.display());
    }
}

/// An agent that has never been outside its group: it looks for its limits when it starts.
struct Limited {
    child: Child,
    address: SocketAddr,
}

impl Limited {
    fn start(place: &Place, group: &Group) -> Self {
        let (root, address) = (place.path().display(), free_address());
        place.configure_whole(&format!(
            "node: {{name: {NODE}, cluster: {CLUSTER}}}\n\
             paths: {{plugins: {root}/plugins, checks: {root}/checks, state: {root}/state}}\n\
             http: {{listen: \"{address}\"}}\nselfCheck: {{enabled: true}}\n"
        ));
        let agent = place.command(&["run"]);
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(group.0.join("cgroup.procs"));
        command.arg(agent.get_program()).args(agent.get_args()).current_dir(place.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let limited = Self { child: command.spawn().unwrap(), address };
        eventually("the limited agent is ready", || {
            request(address, "GET", "/readyz", &[], b"").is_ok_and(|(status, _)| status == 200)
        });
        limited
    }

    fn get(&self, path: &str) -> String {
        let (status, text) = request(self.address, "GET", path, &[], b"").unwrap();
        assert_eq!(status, 200, "{path}: {text}");
        text
    }

    /// A line of `/metrics` by its name.
    fn metric(&self, name: &str) -> Option<f64> {
        self.get("/metrics").lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// What the agent found of itself, the newest first.
    fn looks(&self) -> Vec<Value> {
        let answer: Value = serde_json::from_str(&self.get("/api/v1/records?check=roundsman")).unwrap();
        answer["records"].as_array().unwrap().clone()
    }

    fn stop(mut self) -> ExitStatus {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        eventually_some("the limited agent ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn throttled_percent(look: &Value) -> Option<f64> {
    let points = look["points"].as_array()?;
    points.iter().find(|point| point["series"] == "agent")?["fields"]["throttled_percent"].as_f64()
}

#[test]
fn a_limit_of_processor_time_is_seen_and_loses_no_tick() {
    let _turn = alone();
    let group = match Group::new() {
        Ok(group) => group,
        Err(why) => {
            // Nothing is missing that could be installed: not a failure under CI either. Past the capture of output.
            std::io::stderr().write_all(format!("SKIPPED: no control group can be made: {why}\n").as_bytes()).unwrap();
            return;
        }
    };
    let place = Place::with_plugins(&["load"]);
    // Compiled with all the processors there are.
    let unlimited = place.start();
    unlimited.await_plugins(&["load"]);
    unlimited.stop();
    let began = now();
    place.write_checks("many.yaml", &checks(std::iter::repeat_n(INTERVAL_MS, CHECKS)));

    let limited = Limited::start(&place, &group);
    assert_eq!(limited.metric("roundsman_cgroup_cpu_limit_cores "), Some(QUOTA_US as f64 / PERIOD_US as f64));
    std::thread::sleep(LIMITED);
    let periods = ["roundsman_cgroup_cpu_periods_total ", "roundsman_cgroup_cpu_throttled_periods_total "];
    let [periods, throttled] = periods.map(|name| limited.metric(name).unwrap());
    assert!(throttled > 0.0 && throttled <= periods, "throttled in {throttled} of {periods} periods");
    let look = eventually_some("it sees that it is throttled", || {
        limited.looks().into_iter().find(|look| throttled_percent(look) > Some(0.0))
    });
    assert!(limited.stop().success());

    let history = History::read(&place.state());
    let sum = history.assert_whole(CHECKS);
    history.assert_no_tick_lost(|_: &Key| INTERVAL_MS, began, now());
    // Who has waited for the longest time is next: with three times the work that can be done, all get their share.
    let runs = || history.checks().map(|(_, past)| past.counts.run);
    let (least, most) = (runs().min().unwrap(), runs().max().unwrap());
    assert!(least * 2 >= most, "some check starves: between {least} and {most} runs");
    eprintln!(
        "a fifth of a processor for {LIMITED:?}, {} runs/s asked for: {sum:?}; {least} to {most} runs of a check; \
         throttled in {throttled} of {periods} periods; {}; the agent: {}",
        CHECKS as u64 * 1_000 / INTERVAL_MS,
        history.lags(|_| true),
        look["summary"],
    );
}
