//! What a check may touch, as its operator wrote it (`allow:`). Matching is the business of `probe`.

use serde::{Deserialize, Serialize};

/// The lists of `allow:`. Empty lists allow nothing; the addresses of static targets are allowed beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Allow {
    /// `scheme://host-pattern-or-CIDR:ports`, for instance `https://*.shop.example:443`, `tcp://10.0.0.0/8:5432`; the
    /// schemes are http, https, tcp, tls, udp, dns (also `dns://system`) and icmp, which has no ports.
    pub network: Vec<String>,
    /// Directories and files that `std::fs` may read; unix sockets are files, too.
    pub files: Vec<String>,
    /// Words of the interface `system`: `filesystems`, `kernel-log`, `load`, `memory`, `ports`, `pressure`, `processes`,
    /// `sysctl`, `uname`, `units`.
    pub system: Vec<String>,
    /// Names from `secrets:` of the agent's configuration.
    pub secrets: Vec<String>,
    /// Absolute paths of programs of the host, each in its shortest spelling.
    pub commands: Vec<String>,
    /// Verbs and resources of the cluster's API.
    pub kubernetes: Vec<String>,
}
