//! The shipped plugins against real things: servers, ports, mounts and the kernel, through the command line and the agent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

#[path = "plugins/bench.rs"]
mod bench;
#[path = "plugins/described.rs"]
mod described;
#[path = "plugins/disk.rs"]
mod disk;
#[path = "plugins/dns.rs"]
mod dns;
#[path = "plugins/etcd.rs"]
mod etcd;
#[path = "plugins/http.rs"]
mod http;
#[path = "plugins/icmp.rs"]
mod icmp;
#[path = "plugins/kmsg.rs"]
mod kmsg;
#[path = "plugins/load.rs"]
mod load;
#[path = "plugins/nagios.rs"]
mod nagios;
#[path = "plugins/node.rs"]
mod node;
#[path = "plugins/ntp.rs"]
mod ntp;
#[path = "plugins/prometheus.rs"]
mod prometheus;
#[path = "plugins/tcp.rs"]
mod tcp;
#[path = "plugins/tls.rs"]
mod tls;
#[path = "plugins/units.rs"]
mod units;
