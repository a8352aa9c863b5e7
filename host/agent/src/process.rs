//! What the operating system says of this process, from /proc.

use std::fs::read_to_string;
use std::sync::OnceLock;

use roundsman_web::sample::Process;

/// Reads /proc/self; none where there is no such thing.
pub(crate) fn sample() -> Option<Process> {
    // Never changes; and on a machine with many processors /proc/stat is long.
    static BOOTED_S: OnceLock<Option<f64>> = OnceLock::new();
    let booted_s = (*BOOTED_S.get_or_init(|| parse_boot(&read_to_string("/proc/stat").ok()?)))?;
    let stat = read_to_string("/proc/self/stat").ok()?;
    let page = rustix::param::page_size() as u64;
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    Some(Process {
        open_files: std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        max_open_files: read_to_string("/proc/self/limits").ok().and_then(|limits| parse_files(&limits)).unwrap_or(0),
        anonymous_bytes: read_to_string("/proc/self/status").ok().and_then(|status| parse_anon(&status)).unwrap_or(0),
        ..parse(&stat, booted_s, page, ticks)?
    })
}

/// Fields by proc(5); the command's name may hold spaces and parentheses.
fn parse(stat: &str, booted_s: f64, page: u64, ticks: f64) -> Option<Process> {
    let after_name: Vec<&str> = stat.get(stat.rfind(')')? + 2..)?.split(' ').collect();
    let field = |n: usize| after_name.get(n - 3)?.trim().parse::<f64>().ok();
    Some(Process {
        cpu_seconds: (field(14)? + field(15)?) / ticks,
        resident_bytes: field(24)? as u64 * page,
        threads: field(20)? as u64,
        start_time_s: booted_s + field(22)? / ticks,
        ..Process::default()
    })
}

fn parse_boot(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// `RssAnon:  1234 kB`.
fn parse_anon(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// The soft limit, in the line `Max open files    1024    4096    files`; none where it is `unlimited`.
fn parse_files(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_proc() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 500 1000000 2048 184 1 1";
        let process = parse(stat, 1000.0, 4096, 100.0).unwrap();
        assert_eq!((process.cpu_seconds, process.resident_bytes, process.threads), (3.0, 2048 * 4096, 9));
        assert_eq!(process.start_time_s, 1005.0);
        assert!(parse("7 (a", 1.0, 1, 1.0).is_none());
        let now = sample().unwrap();
        assert!(now.anonymous_bytes > 0 && now.anonymous_bytes <= now.resident_bytes && now.open_files > 0, "{now:?}");
        assert!(now.start_time_s > 1e9);
    }

    #[test]
    fn lines_of_proc() {
        for (stat, booted_s) in [("cpu 1 2\nbtime 1000\n", Some(1000.0)), ("cpu 1 2\n", None), ("", None)] {
            assert_eq!(parse_boot(stat), booted_s);
        }
        for (status, bytes) in [
            ("Name:\ta\nVmRSS:\t     900 kB\nRssAnon:\t     512 kB\nRssFile:\t 388 kB\n", Some(512 << 10)),
            ("RssAnon:\t x kB\n", None),
            ("Name:\ta\n", None),
        ] {
            assert_eq!(parse_anon(status), bytes, "{status}");
        }
        for (limits, most) in [
            (
                "Limit    Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n",
                Some(1024),
            ),
            ("Max open files            unlimited            unlimited            files\n", None),
            ("", None),
        ] {
            assert_eq!(parse_files(limits), most, "{limits}");
        }
    }
}
