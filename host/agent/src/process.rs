//! What the operating system says of this process, from /proc.

use roundsman_web::sample::Process;

/// Reads /proc/self; none where there is no such thing.
pub(crate) fn sample() -> Option<Process> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let boot = std::fs::read_to_string("/proc/stat").ok()?;
    let open_files = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    let page = rustix::param::page_size() as u64;
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    parse(&stat, &boot, page, ticks).map(|process| Process { open_files, ..process })
}

/// Fields by proc(5); the command's name may hold spaces and parentheses.
fn parse(stat: &str, boot: &str, page: u64, ticks: f64) -> Option<Process> {
    let after_name: Vec<&str> = stat.get(stat.rfind(')')? + 2..)?.split(' ').collect();
    let field = |n: usize| after_name.get(n - 3)?.trim().parse::<f64>().ok();
    let booted: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(Process {
        cpu_seconds: (field(14)? + field(15)?) / ticks,
        resident_bytes: field(24)? as u64 * page,
        open_files: 0,
        threads: field(20)? as u64,
        start_time_s: booted + field(22)? / ticks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_proc() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 500 1000000 2048 184 1 1";
        let process = parse(stat, "cpu 1 2\nbtime 1000\n", 4096, 100.0).unwrap();
        assert_eq!((process.cpu_seconds, process.resident_bytes, process.threads), (3.0, 2048 * 4096, 9));
        assert_eq!(process.start_time_s, 1005.0);
        assert!(parse("7 (a", "", 1, 1.0).is_none());
        assert!(sample().unwrap().resident_bytes > 0);
    }
}
