//! What plugins asked of the world, as metrics: calls and failures by interface, sockets that are open, refusals.

use roundsman_probe::probe::Probe;
use roundsman_probe::stats::{Calls, Stats};
use roundsman_web::sample::{Family, Kind};

/// The interfaces by name, each with its counters; `name` and `socket` are of `std::net`.
fn interfaces(stats: &Stats) -> [(&'static str, &Calls); 9] {
    [
        ("http", &stats.http),
        ("tcp", &stats.tcp),
        ("udp", &stats.udp),
        ("dns", &stats.dns),
        ("icmp", &stats.icmp),
        ("system", &stats.system),
        ("command", &stats.command),
        ("name", &stats.lookup),
        ("socket", &stats.socket),
    ]
}

/// What the grants refused, by interface.
pub(crate) fn refusals(probe: &Probe) -> Vec<(String, u64)> {
    interfaces(probe.stats()).into_iter().map(|(name, calls)| (name.to_owned(), calls.refusals())).collect()
}

pub(crate) fn families(probe: &Probe) -> Vec<Family> {
    let interfaces = interfaces(probe.stats());
    let calls = interfaces.iter().map(|(name, calls)| (vec![("interface", (*name).to_owned())], calls.calls() as f64));
    let failures = interfaces.iter().flat_map(|(name, calls)| {
        let told = calls.failures().filter(|(_, count)| *count > 0);
        told.map(|(code, count)| (vec![("interface", (*name).to_owned()), ("code", code.to_owned())], count as f64))
    });
    let met = probe.sockets().refused().map(|(limit, count)| (vec![("limit", limit.to_owned())], count as f64));
    let family = |name, help, kind, values| Family { name, help, kind, values };
    vec![
        family("roundsman_host_calls", "Calls of plugins to the host, by interface.", Kind::Counter, calls.collect()),
        family("roundsman_host_call_failures", "Those that failed, by code.", Kind::Counter, failures.collect()),
        family(
            "roundsman_plugin_sockets",
            "Sockets and programs of plugins that are open now.",
            Kind::Gauge,
            vec![(Vec::new(), f64::from(probe.sockets().open_now()))],
        ),
        family(
            "roundsman_plugin_sockets_refused",
            "Sockets that a limit refused, by limit.",
            Kind::Counter,
            met.collect(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use roundsman_probe::failure::Failure;
    use roundsman_probe::probe::Options;

    #[test]
    fn every_interface_has_a_line() {
        let probe = Probe::new(Options::default());
        probe.stats().dns.count::<()>(&Err(Failure::new("timeout", "first-byte", "")));
        probe.stats().command.refuse();
        let families = families(&probe);
        let values = |name: &str| &families.iter().find(|family| family.name == name).unwrap().values;
        assert_eq!(values("roundsman_host_calls").iter().map(|(_, count)| count).sum::<f64>(), 2.0);
        let failures: Vec<_> = values("roundsman_host_call_failures")
            .iter()
            .map(|(labels, _)| labels.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>())
            .collect();
        assert_eq!(failures, [["dns", "timeout"], ["command", "denied"]]);
        assert_eq!(refusals(&probe).iter().find(|(name, _)| name == "command"), Some(&("command".to_owned(), 1)));
    }
}
