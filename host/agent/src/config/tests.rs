//! Tables: file, environment and flags, and what is told about them or made of them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use proptest::prelude::*;
use roundsman_probe::secrets::Place;

use super::holds::any_config;
use super::*;
use crate::corpus::try_each;

fn load(file: &str, environment: &[(&str, &str)], settings: &[&str]) -> Result<Loaded, Vec<Problem>> {
    let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::load(Some((Path::new("f"), file.as_bytes())), environment, settings, "box")
}

fn told(outcome: Result<Loaded, Vec<Problem>>) -> String {
    let problems = outcome.map_or_else(|problems| problems, |loaded| loaded.warnings);
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn good(outcome: Result<Loaded, Vec<Problem>>) -> Config {
    outcome.unwrap_or_else(|problems| panic!("{problems:#?}")).config
}

#[test]
fn every_key_has_a_default() {
    let none: [(OsString, OsString); 0] = [];
    let config = good(Config::load(None, none, &[] as &[&str], "box"));
    assert_eq!(config, good(load("", &[], &[])));
    assert_eq!((config.node.name.as_str(), config.node.cluster.as_str()), ("box", "default"));
    assert_eq!(config.paths.checks, Path::new("/etc/roundsman/checks"));
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:9640");
    assert_eq!(config.http.public, ["livez", "readyz", "alwayshappy"]);
    assert_eq!(config.store.max_size, 512 << 20);
    assert_eq!((config.limits.runs, config.limits.memory), (256, 512 << 20));
    assert_eq!((config.log.level, config.log.format), (Level::Info, Format::Text));
    assert_eq!(config.shutdown.grace, Duration::from_secs(10));
    assert!(config.influx.is_empty() && config.secrets.is_empty() && config.http.token_file.is_none());
    assert!(config.uplink.anchors.is_empty() && config.self_check.enabled);
}

const WHOLE: &str = "node: {name: node-a, cluster: prod, zone: eu-1a, ip: 10.0.0.7, labels: {disk: ssd, kubernetes.io/arch: amd64}}
paths: {plugins: /p, checks: /c, state: /s}
http: {listen: \"[::]:9640\", public: [livez, metrics], tokenFile: /t}
influx:
  - {name: main, url: \"http://127.0.0.1:8086/\", api: v2, org: ops, bucket: health, tokenFile: /run/secrets/influx, flushInterval: 1s}
  - {name: old, url: \"https://h/prefix\", api: v1, database: roundsman, retentionPolicy: \"\", username: u, passwordFile: /pw}
store: {maxSize: 1Gi, maxAge: 1d, transitionsMaxAge: 30d}
secrets: {etcd: {directory: /run/secrets/etcd}, shop: {file: /run/secrets/shop-token}}
limits: {runs: 10, memory: 64Mi}
trust: {require: none}
log: {level: debug, format: json}
shutdown: {grace: 20s}
uplink: {anchors: [dns, gateway]}
";

#[test]
fn everything_is_read() {
    let config = good(load(WHOLE, &[], &[]));
    assert_eq!(config.node.zone.as_deref(), Some("eu-1a"));
    assert_eq!(config.node.ip, Some("10.0.0.7".parse().unwrap()));
    assert_eq!(config.node.labels["kubernetes.io/arch"], "amd64");
    assert_eq!(config.http.token_file.as_deref(), Some(Path::new("/t")));
    let [main, old] = &config.influx[..] else { panic!("two destinations") };
    assert_eq!((main.url.as_str(), main.flush_interval), ("http://127.0.0.1:8086", Duration::from_secs(1)));
    let token_file = Some(PathBuf::from("/run/secrets/influx"));
    assert_eq!(main.api, Api::V2 { org: "ops".to_owned(), bucket: "health".to_owned(), token_file });
    let api = Api::V1 {
        database: "roundsman".to_owned(),
        retention_policy: None,
        username: Some("u".to_owned()),
        password_file: Some("/pw".into()),
    };
    assert_eq!((old.url.as_str(), &old.api), ("https://h/prefix", &api));
    assert_eq!(old.flush_interval, Duration::from_secs(10));
    assert_eq!(config.store.transitions_max_age, Duration::from_hours(720));
    assert_eq!(config.secrets["shop"].place, Place::File("/run/secrets/shop-token".into()));
    assert_eq!(config.uplink.anchors.iter().map(CheckName::as_str).collect::<Vec<_>>(), ["dns", "gateway"]);
    assert_eq!((config.log.level, config.log.format), (Level::Debug, Format::Json));
}

#[test]
fn problems_of_files() {
    for (file, expected) in [
        ("nodes: {}\n", "f:1:1: unknown key `nodes` (did you mean `node`?)"),
        (
            "http: {listen: localhost:9640}\n",
            "f:1:16: `listen` must be an IP address and a port (write 127.0.0.1:9640, or 0.0.0.0:9640 or [::]:9640 for every interface)",
        ),
        (
            "http: {public: [livez, readz]}\n",
            "f:1:24: `public[1]` cannot be `readz`: write one of livez, readyz, alwayshappy, alive, ready, metrics, page, api (did you mean `ready`?)",
        ),
        ("http: [a]\n", "f:1:7: `http` must be a mapping (key: value), not a list"),
        ("http:\n", "f:1:5: `http` has no value (write one, or leave the key out)"),
        ("http: {tokenfile: x}\n", "f:1:8: unknown key `tokenfile` (did you mean `tokenFile`?)"),
        (
            "node: {name: a b, ip: ten}\n",
            "f:1:14: `name`: `a b` must be 1 to 253 letters, digits and . - _, beginning with a letter or digit\nf:1:23: `ip`: `ten` is not an IP address",
        ),
        ("node: {labels: {'a b': c}}\n", "f:1:17: `a b` cannot be a label: letters, digits and . - _ / only"),
        ("paths: {state: ''}\n", "f:1:16: `state` is empty: write a path"),
        (
            "store: {maxSize: 1Mi, maxAge: 7}\n",
            "f:1:18: `maxSize` must be from 16Mi to 1024Gi, not 1Mi\nf:1:31: `maxAge`: `7` is not a duration: write a number and a unit, for instance 250ms, 10s, 5m, 2h or 7d",
        ),
        (
            "limits: {runs: 0, memory: 1Mi}\n",
            "f:1:16: `runs` must be from 1 to 100000, not 0\nf:1:27: `memory` must be from 16Mi to 1024Gi, not 1Mi",
        ),
        (
            "log: {level: verbose}\n",
            "f:1:14: `level` cannot be `verbose`: write one of error, warn, info, debug, trace",
        ),
        ("shutdown: {grace: 1ms}\n", "f:1:19: `grace` must be from 1s to 10m, not 1ms"),
        (
            "secrets: {d: {file: x, destinations: ['udp://h:1', 'https://h/', 'https://h']}}\n",
            "f:1:39: `destinations[0]`: `udp://h:1`: secrets are sent over https, http, tls and tcp alone\nf:1:52: `destinations[1]`: `https://h/` has a path: write it like https://shop.example:443, https://*.shop.example:443 or tcp://10.0.0.0/8:5432",
        ),
        (
            "secrets: {A: {file: x}, b: {}, c: {file: x, directory: y}}\n",
            "f:1:11: `A` cannot name a secret: a-z, 0-9 and '-' only\nf:1:28: `b` needs either `file` or `directory`\nf:1:35: `c` needs either `file` or `directory`",
        ),
        (
            "uplink: {anchors: [dns, Dns, dns], anchor: x}\n",
            "f:1:25: `anchors[1]`: check name `Dns` must be 1 to 63 characters of a-z, 0-9 and '-', beginning with a letter or digit\nf:1:30: the check `dns` is here twice\nf:1:36: unknown key `anchor` (did you mean `anchors`?)",
        ),
        ("uplink: {anchors: dns}\n", "f:1:19: `anchors` must be a list, not `dns`"),
        ("peers: {}\n", "f:1:8: `peers` is not built yet: every agent is on its own (leave the section out)"),
        (
            "kubernetes: {enabled: true}\n",
            "f:1:13: `kubernetes` is not built yet: the cluster's API is not asked for anything (leave the section out)",
        ),
        ("a: 1\na: 2\n", "f:2:1: the key `a` is here twice, first in line 1"),
    ] {
        assert_eq!(told(load(file, &[], &[])), expected, "{file}");
    }
    let big = format!("# {}\n", "x".repeat(1 << 20));
    assert_eq!(told(load(&big, &[], &[])), "f: the file is larger than 1Mi");
}

#[test]
fn relative_paths_begin_at_the_folder_of_the_file_that_names_them() {
    let text = b"paths: {plugins: plugins, checks: ../checks, state: /s}\nhttp: {tokenFile: token}\nsecrets: {a: {file: x}, b: {directory: y}}\ninflux: [{name: i, url: 'http://h', org: o, bucket: b, tokenFile: t}]\n";
    let load = |path: &str, environment: &[(&str, &str)], flags: &[&str]| {
        let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        good(Config::load(Some((Path::new(path), text)), environment, flags, "box"))
    };
    let config = load("/etc/r/roundsman.yaml", &[], &[]);
    assert_eq!(config.paths.plugins, Path::new("/etc/r/plugins"));
    assert_eq!(config.paths.checks, Path::new("/etc/r/../checks"));
    assert_eq!(config.paths.state, Path::new("/s"));
    assert_eq!(config.http.token_file.as_deref(), Some(Path::new("/etc/r/token")));
    assert_eq!(config.secrets["a"].place, Place::File("/etc/r/x".into()));
    assert_eq!(config.secrets["b"].place, Place::Directory("/etc/r/y".into()));
    let token_file = Some(PathBuf::from("/etc/r/t"));
    assert_eq!(config.influx[0].api, Api::V2 { org: "o".to_owned(), bucket: "b".to_owned(), token_file });
    // A file that is itself named from the working directory leads there; variables and flags always do.
    assert_eq!(load("roundsman.yaml", &[], &[]).paths.plugins, Path::new("plugins"));
    assert_eq!(load("target/run/r.yaml", &[], &[]).paths.plugins, Path::new("target/run/plugins"));
    let environment = [("ROUNDSMAN_PATHS__PLUGINS", "p"), ("ROUNDSMAN_HTTP", "{tokenFile: t}")];
    let config = load("/etc/r/roundsman.yaml", &environment, &["paths.checks=c"]);
    assert_eq!((&*config.paths.plugins, &*config.paths.checks), (Path::new("p"), Path::new("c")));
    assert_eq!(config.http.token_file.as_deref(), Some(Path::new("t")));
    // The defaults are absolute.
    let file = Some((Path::new("/x/f"), &b""[..]));
    let config = good(Config::load(file, [] as [(OsString, OsString); 0], &[] as &[&str], "box"));
    assert_eq!(config.paths.state, Path::new("/var/lib/roundsman"));
}

#[test]
fn trust() {
    let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    let way_out = "(list a public key: keys: {ops: {publicKey: \"RW…\"}})";
    for (file, expected) in [
        ("{require: none}".to_owned(), String::new()),
        (format!("{{require: signature, keys: {{ops: {{publicKey: {key}}}}}}}"), String::new()),
        (
            "{require: signature}".to_owned(),
            format!("f:1:18: no plugin could be used: there is no key that may sign {way_out}"),
        ),
        (
            "{require: digest, digests: {}}".to_owned(),
            format!("f:1:18: no plugin could be used: there is neither a digest nor a key that may sign {way_out}"),
        ),
        (
            "{keys: {ops: {publicKey: abc}}}".to_owned(),
            "f:1:33: `publicKey`: `abc` is no public key of minisign: write the line of its .pub file that begins with RW".to_owned(),
        ),
        (
            "{keys: {ops: {}}}".to_owned(),
            "f:1:21: `ops` needs either `publicKey` or `publicKeyFile`".to_owned(),
        ),
        (
            format!("{{keys: {{a: {{publicKey: {key}}}, b: {{publicKey: {key}}}}}}}"),
            "f:1:93: `b` is the same key as `a`".to_owned(),
        ),
        (
            "{digests: {http: [abc]}}".to_owned(),
            "f:1:26: `http[0]`: `abc`: a digest is 64 hexadecimal digits (sha256), written sha256:…".to_owned(),
        ),
        ("{plugins: {'key:ops': {}}}".to_owned(), "f:1:19: there is no key `ops` in `trust.keys`".to_owned()),
        (
            "{plugins: {'a b': {}}}".to_owned(),
            "f:1:19: `a b` is neither a plugin's name nor key:NAME, sha256:… or default".to_owned(),
        ),
        (
            "{plugins: {http: {files: [/etc, etc]}}}".to_owned(),
            "f:1:40: `etc` is not absolute: write the whole path from /".to_owned(),
        ),
    ] {
        assert_eq!(told(load(&format!("trust: {file}\n"), &[], &[])), expected, "{file}");
    }
}

#[test]
fn problems_of_destinations() {
    let v2 = |url: &str| format!("influx: [{{name: a, org: o, bucket: b, url: '{url}'}}]\n");
    let hint = "(write http://host:port or https://host:port)";
    for (url, expected) in [
        ("http://h:8086", String::new()),
        ("https://[::1]:8086/", String::new()),
        ("h:8086", format!("`url`: `h:8086` is not an http:// or https:// URL {hint}")),
        ("ftp://h", format!("`url`: `ftp://h` is not an http:// or https:// URL {hint}")),
        ("http://h:0", format!("`url`: `http://h:0` has no valid host and port {hint}")),
        ("http://h:99999", format!("`url`: `http://h:99999` has no valid host and port {hint}")),
        ("http://h?db=x", format!("`url`: a query or fragment cannot be sent {hint}")),
        ("http://u:p@h", "`url`: credentials do not belong into a URL: it is logged and shown (use tokenFile, or username and passwordFile)".to_owned()),
        ("http://h/x", "`url`: the path `/x` cannot be kept with `api: v2` (let the proxy serve InfluxDB at its root, or use `api: v1`)".to_owned()),
        ("http://", format!("`url`: `http://` is not a URL {hint}")),
    ] {
        let expected = if expected.is_empty() { expected } else { format!("f:1:44: {expected}") };
        assert_eq!(told(load(&v2(url), &[], &[])), expected, "{url}");
    }
    for (entry, expected) in [
        (
            "{}",
            "f:1:10: `influx[0]` needs the key `bucket`\nf:1:10: `influx[0]` needs the key `name`\nf:1:10: `influx[0]` needs the key `org`\nf:1:10: `influx[0]` needs the key `url`",
        ),
        (
            "{name: a, url: 'http://h', api: v3}",
            "f:1:42: `api: v3` cannot be spoken yet (InfluxDB 3 takes `api: v2` as well)",
        ),
        (
            "{name: a, url: 'http://h', api: v4}",
            "f:1:42: `api` cannot be `v4`: write one of v1, v2, v3 (did you mean `v1`?)",
        ),
        (
            "{name: a, url: 'http://h', api: v1, database: d, bucket: b}",
            "f:1:67: `bucket` belongs to `api: v2` (leave it out, or write `api: v2`)",
        ),
        ("{name: a, url: 'http://h', org: o, bucket: ''}", "f:1:53: `bucket` is empty"),
        (
            "{name: a, url: 'http://h', api: v1, database: d, passwordFile: /p}",
            "f:1:10: `passwordFile` needs a `username` beside it",
        ),
        (
            "{name: a, url: 'http://h', org: o, bucket: b, flushInterval: 1h}",
            "f:1:71: `flushInterval` must be from 100ms to 10m, not 1h",
        ),
        (
            "{name: A, url: 'http://h', org: o, bucket: b}",
            "f:1:17: `name`: `A` must be 1 to 63 characters of a-z, 0-9 and '-'",
        ),
        (
            "{name: a, url: 'http://h', org: o, bucket: b}, {name: a, url: 'http://h', org: o, bucket: c}",
            "f:1:64: two destinations are named `a`",
        ),
    ] {
        assert_eq!(told(load(&format!("influx: [{entry}]\n"), &[], &[])), expected, "{entry}");
    }
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = "http: {listen: '127.0.0.1:1'}\nnode: {name: from-file, labels: {disk: hdd, rack: r1}}\n";
    let environment = [
        ("ROUNDSMAN_HTTP__LISTEN", "[::1]:2"),
        ("ROUNDSMAN_PATHS__PLUGINS", "/env/plugins"),
        ("ROUNDSMAN_NODE__LABELS__DISK", "ssd"),
        ("ROUNDSMAN_INFLUX", "[{name: e, url: 'http://h', org: o, bucket: b}]"),
        ("ROUNDSMAN_STORE", "{maxSize: 32Mi, maxAge: 1h}"),
        ("ROUNDSMAN_STORE__MAXAGE", "2h"),
        ("ROUNDSMAN_HTTP__PUBLIC", "[]"),
        ("ROUNDSMAN_LIMITS__RUNS", "7"),
        ("ROUNDSMAN_SECRETS__ETCD__FILE", "/e"),
        ("ROUNDSMAN_UPLINK__ANCHORS", "[gateway]"),
        ("NODE_NAME", "ignored: the file names the node"),
        ("ROUNDSMANLIKE", "x"),
        ("ROUNDSMAN_CONFIG", "for the command line"),
        ("ROUNDSMAN_PORT_9640_TCP", "set by Kubernetes"),
        ("ROUNDSMAN_SERVICE_PORT_HTTP", "set by Kubernetes"),
        ("ROUNDSMAN_SERVICE_HOST", "set by Kubernetes"),
    ];
    let config =
        good(load(file, &environment, &["paths.plugins=/flag/plugins", "node.labels={zone: z}", "log.level=warn"]));
    assert_eq!(config.http.listen.to_string(), "[::1]:2");
    assert_eq!(config.http.public, Vec::<String>::new());
    assert_eq!(config.paths.plugins, Path::new("/flag/plugins"));
    assert_eq!(config.node.name, "from-file");
    assert_eq!(config.node.labels, BTreeMap::from([("zone".to_owned(), "z".to_owned())]));
    assert_eq!(config.influx[0].name, "e");
    assert_eq!(config.uplink.anchors, [CheckName::new("gateway").unwrap()]);
    assert_eq!((config.store.max_size, config.store.max_age), (32 << 20, Duration::from_hours(2)));
    assert_eq!((config.limits.runs, config.log.level), (7, Level::Warn));
    assert_eq!(config.secrets["etcd"].place, Place::File("/e".into()));
    let labels = good(load(file, &environment, &[])).node.labels;
    assert_eq!((labels["disk"].as_str(), labels["rack"].as_str()), ("ssd", "r1"));
    assert_eq!(good(load("", &[("NODE_NAME", "pod-node")], &[])).node.name, "pod-node");
}

#[test]
fn problems_from_outside_name_their_source() {
    for (variable, value, expected) in [
        (
            "ROUNDSMAN_HTTP__LISTEN",
            "x",
            "$ROUNDSMAN_HTTP__LISTEN: `listen` must be an IP address and a port (write 127.0.0.1:9640, or 0.0.0.0:9640 or [::]:9640 for every interface)",
        ),
        (
            "ROUNDSMAN_HTTP__LISTN",
            "x",
            "$ROUNDSMAN_HTTP__LISTN: no key of the configuration is set by `ROUNDSMAN_HTTP__LISTN` (did you mean `ROUNDSMAN_HTTP__LISTEN`?)",
        ),
        (
            "ROUNDSMAN_HTTP_LISTEN",
            "x",
            "$ROUNDSMAN_HTTP_LISTEN: no key of the configuration is set by `ROUNDSMAN_HTTP_LISTEN` (did you mean `ROUNDSMAN_HTTP__LISTEN`?)",
        ),
        ("ROUNDSMAN_INFLUX", "[", "$ROUNDSMAN_INFLUX:1:1: not YAML: unclosed bracket '['"),
        (
            "ROUNDSMAN_INFLUX__0__URL",
            "x",
            "$ROUNDSMAN_INFLUX__0__URL: no key of the configuration is set by `ROUNDSMAN_INFLUX__0__URL` (did you mean `ROUNDSMAN_INFLUX`?)",
        ),
        (
            "ROUNDSMAN_NODE__NAME",
            "",
            "$ROUNDSMAN_NODE__NAME: `name`: `` must be 1 to 253 letters, digits and . - _, beginning with a letter or digit",
        ),
        (
            "NODE_NAME",
            "a b",
            "$NODE_NAME: it cannot be the node's name: `a b` must be 1 to 253 letters, digits and . - _, beginning with a letter or digit (set `node: {name: …}` or ROUNDSMAN_NODE__NAME)",
        ),
    ] {
        assert_eq!(told(load("", &[(variable, value)], &[])), expected, "{variable}");
    }
    for (setting, expected) in [
        (
            "http.listen",
            "--set http.listen: `http.listen` is not key=value (write for instance http.listen=127.0.0.1:9640)",
        ),
        ("http.lisen=x", "--set http.lisen: unknown key `http.lisen` (did you mean `http.listen`?)"),
        ("store.maxAge=1s", "--set store.maxAge: `maxAge` must be from 1m to 3650d, not 1s"),
        (
            "=x",
            "--set : unknown key `` (known: node, paths, http, influx, store, secrets, limits, trust, log, shutdown, uplink, selfCheck, supervision, peers, kubernetes)",
        ),
    ] {
        assert_eq!(told(load("", &[], &[setting])), expected, "{setting}");
    }
    let bytes = OsStr::from_bytes(b"\xff").to_owned();
    let outcome = Config::load(None, [(OsString::from("ROUNDSMAN_NODE__NAME"), bytes)], &[] as &[&str], "box");
    assert_eq!(told(outcome), "$ROUNDSMAN_NODE__NAME: the value is not UTF-8");
}

#[test]
fn every_key_can_be_set_from_outside_and_none_that_is_not_read() {
    let whole: serde_json::Value = {
        // What the readers know is what they say when they meet a key that they do not know.
        let known = |text: &str| {
            let told = told(load(text, &[], &[]));
            let list = told.split("known here: ").nth(1).unwrap_or_else(|| panic!("{told}")).trim_end_matches(')');
            list.split(", ").map(str::to_owned).collect::<Vec<_>>()
        };
        let strange = "qqqqqqqqqqqqqqqqqqqq";
        let mut sections = serde_json::Map::new();
        for section in known(&format!("{strange}: 1\n")) {
            let keys = match section.as_str() {
                // A list, keys of the operator's choice, and what is refused whatever it says.
                "influx" | "secrets" | "peers" | "kubernetes" => Vec::new(),
                _ => known(&format!("{section}: {{{strange}: 1}}\n")),
            };
            sections.insert(section, keys.into());
        }
        sections.into()
    };
    let mut from_outside = serde_json::Map::new();
    for (section, keys) in overlay::every_key() {
        from_outside.insert(section.to_owned(), keys.into());
    }
    assert_eq!(whole, serde_json::Value::Object(from_outside));
}

#[test]
fn of_the_corpus() {
    try_each("config", any_config);
}

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300), setting in "\\PC{0,40}") {
        let environment = [(OsString::from("ROUNDSMAN_HTTP"), OsStr::from_bytes(&bytes).to_owned())];
        let _outcome = Config::load(Some((Path::new("f"), &bytes)), environment, &[setting], "box");
        any_config(&bytes);
    }

    #[test]
    fn arbitrary_values(
        key in "(node|paths|http|influx|store|secrets|limits|trust|log|shutdown|uplink|selfCheck|supervision)",
        value in "[-a-z0-9{}\\[\\]:,./ \"'$&]{0,60}",
    ) {
        any_config(format!("{key}: {value}\n").as_bytes());
    }
}
