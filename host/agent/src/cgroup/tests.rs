//! Tests of `cgroup` with files as kernels write them.

use std::path::Path;

use super::*;

const V2_STAT: &str = "usage_usec 83450\nuser_usec 50000\nsystem_usec 33450\nnr_periods 200\nnr_throttled 68\n\
                       throttled_usec 1530000\nnr_bursts 0\nburst_usec 0\n";
const V2_MEMORY: &str = "anon 20971520\nfile 104857600\nkernel 1048576\ninactive_file 73400320\nactive_file 31457280\n";
const V2_EVENTS: &str = "low 0\nhigh 12\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n";
const V1_STAT: &str = "nr_periods 10\nnr_throttled 4\nthrottled_time 250000000\n";
const V1_MEMORY: &str = "cache 40960\ntotal_inactive_file 1048576\ntotal_active_file 1048576\n";

/// A folder with these files.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    root
}

fn reading(files: &[(&str, &str)]) -> Reading {
    let root = tree(files);
    Cgroup::discover(root.path()).read()
}

#[test]
fn version_two_in_a_container() {
    let found = reading(&[
        ("proc/self/cgroup", "0::/\n"),
        ("sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n"),
        ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
        ("sys/fs/cgroup/cpu.stat", V2_STAT),
        ("sys/fs/cgroup/memory.max", "134217728\n"),
        ("sys/fs/cgroup/memory.high", "max\n"),
        ("sys/fs/cgroup/memory.current", "125829120\n"),
        ("sys/fs/cgroup/memory.stat", V2_MEMORY),
        ("sys/fs/cgroup/memory.events", V2_EVENTS),
    ]);
    let cpu = Cpu { cores: 0.5, periods: 200, throttled: 68, throttled_us: 1_530_000 };
    let memory = Memory { limit_bytes: 128 << 20, used_bytes: 20 << 20 };
    assert_eq!(cpu.throttled_percent(), Some(34.0));
    assert_eq!(memory.headroom_percent(), 84.375);
    assert_eq!(
        found,
        Reading {
            cpu: Some(cpu),
            memory: Some(memory),
            high: None,
            memory_limit_bytes: Some(128 << 20),
            oom_kills: Some(1),
        }
    );
    let names: Vec<_> = found.families().iter().map(|family| family.name).collect();
    assert_eq!(names.len(), 7, "{names:?}");
}

#[test]
fn version_two_counts_every_level() {
    let found = reading(&[
        ("proc/self/cgroup", "0::/kubepods/pod1/agent\n"),
        ("sys/fs/cgroup/cgroup.controllers", ""),
        ("sys/fs/cgroup/kubepods/pod1/agent/cpu.max", "max 100000\n"),
        ("sys/fs/cgroup/kubepods/pod1/agent/memory.max", "1000\n"),
        ("sys/fs/cgroup/kubepods/pod1/agent/memory.high", "900\n"),
        ("sys/fs/cgroup/kubepods/pod1/agent/memory.current", "100\n"),
        ("sys/fs/cgroup/kubepods/pod1/agent/memory.events", "oom_kill 0\n"),
        // The pod has a neighbour that leaves the agent less than its own limit does.
        ("sys/fs/cgroup/kubepods/pod1/cpu.max", "200000 100000\n"),
        ("sys/fs/cgroup/kubepods/pod1/cpu.stat", "nr_periods 5\nnr_throttled 1\nthrottled_usec 7\n"),
        ("sys/fs/cgroup/kubepods/pod1/memory.max", "2000\n"),
        ("sys/fs/cgroup/kubepods/pod1/memory.current", "1900\n"),
        ("sys/fs/cgroup/kubepods/pod1/memory.events", "oom_kill 5\n"),
        ("sys/fs/cgroup/kubepods/cpu.max", "400000 100000\n"),
        ("sys/fs/cgroup/kubepods/memory.max", "max\n"),
        ("sys/fs/cgroup/kubepods/memory.current", "1900\n"),
    ]);
    assert_eq!(
        found,
        Reading {
            cpu: Some(Cpu { cores: 2.0, periods: 5, throttled: 1, throttled_us: 7 }),
            memory: Some(Memory { limit_bytes: 2000, used_bytes: 1900 }),
            high: Some(Memory { limit_bytes: 900, used_bytes: 100 }),
            memory_limit_bytes: Some(900),
            oom_kills: Some(0),
        }
    );
}

#[test]
fn version_one() {
    for cpu in ["cpu,cpuacct", "cpu"] {
        let directory = |file: &str| format!("sys/fs/cgroup/{cpu}/docker/7/{file}");
        let files = [
            (directory("cpu.cfs_quota_us"), "150000\n"),
            (directory("cpu.cfs_period_us"), "100000\n"),
            (directory("cpu.stat"), V1_STAT),
            // On the host the whole hierarchy is there; above there is no limit.
            (format!("sys/fs/cgroup/{cpu}/cpu.cfs_quota_us"), "-1\n"),
            (format!("sys/fs/cgroup/{cpu}/cpu.cfs_period_us"), "100000\n"),
            ("sys/fs/cgroup/memory/docker/7/memory.limit_in_bytes".to_owned(), "67108864\n"),
            ("sys/fs/cgroup/memory/docker/7/memory.usage_in_bytes".to_owned(), "33554432\n"),
            ("sys/fs/cgroup/memory/docker/7/memory.stat".to_owned(), V1_MEMORY),
            (
                "sys/fs/cgroup/memory/docker/7/memory.oom_control".to_owned(),
                "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(), "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes".to_owned(), "33554432\n"),
            (
                "proc/self/cgroup".to_owned(),
                "12:cpu,cpuacct:/docker/7\n5:memory:/docker/7\n1:name=systemd:/docker/7\n0::/\n",
            ),
        ];
        let files: Vec<_> = files.iter().map(|(path, content)| (path.as_str(), *content)).collect();
        assert_eq!(
            reading(&files),
            Reading {
                cpu: Some(Cpu { cores: 1.5, periods: 10, throttled: 4, throttled_us: 250_000 }),
                memory: Some(Memory { limit_bytes: 64 << 20, used_bytes: 30 << 20 }),
                high: None,
                memory_limit_bytes: Some(64 << 20),
                oom_kills: Some(2),
            },
            "{cpu}"
        );
    }
}

#[test]
fn the_path_of_the_host_where_only_the_own_group_is_mounted() {
    for (groups, own) in [
        ("0::/system.slice/docker-7.scope\n", "sys/fs/cgroup"),
        ("0::/../../other\n", "sys/fs/cgroup"),
        ("0::/\n", "sys/fs/cgroup"),
        ("0::/a:b\n", "sys/fs/cgroup/a:b"),
    ] {
        let max = format!("{own}/cpu.max");
        let root =
            tree(&[("proc/self/cgroup", groups), ("sys/fs/cgroup/cgroup.controllers", "cpu"), (&max, "100000 100000")]);
        let found = Cgroup::discover(root.path());
        assert_eq!(found.read().cpu.map(|cpu| cpu.cores), Some(1.0), "{groups:?}");
        let levels = found.cpu.unwrap().directories;
        assert!(levels.iter().all(|path| path.starts_with(root.path().join("sys/fs/cgroup"))), "{levels:?}");
    }
}

#[test]
fn without_groups_there_are_no_limits() {
    let nothing: [&[(&str, &str)]; 4] = [
        &[],
        &[("proc/self/cgroup", "")],
        &[("proc/self/cgroup", "garbage\n1\n::::\n")],
        &[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/cgroup.controllers", "cpu")],
    ];
    for files in nothing {
        assert_eq!(reading(files), Reading::default(), "{files:?}");
        assert!(reading(files).families().is_empty());
    }
    // A version that is only half there, as on machines in transition.
    let hybrid = [
        ("proc/self/cgroup", "3:memory:/\n0::/a\n"),
        ("sys/fs/cgroup/unified/a/cpu.max", "300000 100000"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1024"),
        ("sys/fs/cgroup/memory/memory.usage_in_bytes", "24"),
    ];
    let found = reading(&hybrid);
    assert_eq!((found.cpu.map(|cpu| cpu.cores), found.memory.map(|m| m.room_bytes())), (Some(3.0), Some(1000)));
}

#[test]
fn quotas() {
    for (line, cores) in [
        ("max 100000", None),
        ("-1 100000", None),
        ("0 100000", None),
        ("100000 0", None),
        ("100000", None),
        ("", None),
        ("x y", None),
        ("25000 100000", Some(0.25)),
        ("400000 100000\n", Some(4.0)),
    ] {
        assert_eq!(parse_quota(line), cores, "{line:?}");
    }
}

#[test]
fn counters_that_went_back_say_nothing() {
    let early = Cpu { cores: 1.0, periods: 10, throttled: 2, throttled_us: 5 };
    let late = Cpu { cores: 2.0, periods: 30, throttled: 7, throttled_us: 9 };
    assert_eq!(late.since(&early), Some(Cpu { cores: 2.0, periods: 20, throttled: 5, throttled_us: 4 }));
    assert_eq!(early.since(&late), None);
    assert_eq!(early.since(&early).unwrap().throttled_percent(), None);
}

#[test]
fn limits_that_are_respected() {
    const MI: u64 = 1 << 20;
    for (limit, cores, memory, threads) in [
        (None, None, 512 * MI, 2),
        (Some(4096 * MI), None, 512 * MI, 2),
        (Some(1072 * MI), None, 512 * MI, 2),
        (Some(560 * MI), None, 256 * MI, 2),
        (Some(128 * MI), None, 40 * MI, 2),
        (Some(64 * MI), None, 16 * MI, 2),
        (Some(MI), None, 16 * MI, 2),
        (None, Some(0.2), 512 * MI, 1),
        (None, Some(1.0), 512 * MI, 1),
        (None, Some(2.0), 512 * MI, 1),
        (None, Some(2.9), 512 * MI, 1),
        (None, Some(3.0), 512 * MI, 2),
        (None, Some(64.0), 512 * MI, 2),
        (Some(560 * MI), Some(1.0), 256 * MI, 1),
    ] {
        let cpu = cores.map(|cores| Cpu { cores, periods: 0, throttled: 0, throttled_us: 0 });
        let reading = Reading { cpu, memory_limit_bytes: limit, ..Reading::default() };
        let found = reading.respected(512 * MI, 2);
        assert_eq!((found.memory_bytes, found.busy_threads), (memory, threads), "{limit:?} {cores:?}");
        let cuts = usize::from(memory < 512 * MI) + usize::from(threads < 2);
        assert_eq!(found.notes.len(), cuts, "{:?}", found.notes);
    }
    let tiny = Reading { memory_limit_bytes: Some(128 * MI), ..Reading::default() };
    assert_eq!(
        tiny.respected(512 * MI, 2).notes,
        [
            "runs may hold 40 MiB together, not 512 MiB: the agent's memory is limited to 128 MiB; raise that limit, or set \
          `limits: {memory: 40Mi}`"
        ]
    );
}

#[test]
fn reads_this_machine() {
    let cgroup = Cgroup::discover(Path::new("/"));
    let reading = cgroup.read();
    if let Some(memory) = reading.memory {
        assert!(memory.limit_bytes > 0 && memory.used_bytes > 0, "{reading:?}");
    }
}
