//! The ceiling of a plugin (`trust:` of the agent's configuration): what its checks may be granted at most.
//!
//! Without a ceiling a check may grant any network and any word of `system`, and nothing of files, secrets, commands and
//! the cluster's API: these need to be named here by whoever is responsible for the agent.

use std::path::{Path, PathBuf};

use roundsman_model::grants::Allow;
use roundsman_model::target::Target;

use crate::grants::{GrantError, bad, command, file, secret, system_word};
use crate::pattern::Pattern;

/// What an operator wrote of one plugin, still as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    /// None: no bound.
    pub network: Option<Vec<String>>,
    /// None: no bound.
    pub system: Option<Vec<String>>,
    pub files: Vec<String>,
    pub secrets: Vec<String>,
    /// Programs, or directories with a final `/`: whatever stands directly in them.
    pub commands: Vec<String>,
    pub kubernetes: Vec<String>,
}

/// What checks of one plugin may be granted at most. The default: any network, any word of `system`, nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ceiling {
    /// Empty: it stands nowhere.
    place: String,
    network: Option<Vec<Pattern>>,
    system: Option<Vec<&'static str>>,
    files: Vec<PathBuf>,
    secrets: Vec<String>,
    commands: Vec<Commands>,
    kubernetes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Commands {
    One(PathBuf),
    /// Whatever stands directly in this directory.
    In(PathBuf),
}

impl Ceiling {
    /// `place` is where it stands, for error messages: `trust.plugins.http`. The error is all that is wrong with the lines.
    pub fn compile(place: &str, lines: &Lines) -> Result<Ceiling, Vec<GrantError>> {
        let mut errors = Vec::new();
        let pattern = |line: &str| Pattern::parse(line).map_err(|reason| bad("network", line, reason));
        let ceiling = Ceiling {
            place: place.to_owned(),
            network: lines.network.as_ref().map(|lines| each(lines, pattern, &mut errors)),
            system: lines.system.as_ref().map(|lines| each(lines, system_word, &mut errors)),
            files: each(&lines.files, file, &mut errors),
            secrets: each(&lines.secrets, secret, &mut errors),
            commands: each(&lines.commands, Commands::parse, &mut errors),
            kubernetes: lines.kubernetes.clone(),
        };
        if errors.is_empty() { Ok(ceiling) } else { Err(errors) }
    }

    /// Every line of a check, and every static target, that lies beyond.
    pub fn check(&self, allow: &Allow, targets: &[Target]) -> Result<(), Vec<GrantError>> {
        let mut errors = Vec::new();
        let mut beyond = |list, lines: &[String], within: &dyn Fn(&str) -> bool| {
            let outside = lines.iter().filter(|line| !within(line));
            errors.extend(outside.map(|line| bad(list, line, self.reason(list))));
        };
        beyond("network", &allow.network, &|line| {
            // What is no line at all is told by whoever compiles it.
            Pattern::parse(line).map_or(true, |line| self.covers(&line))
        });
        beyond("system", &allow.system, &|line| self.system.as_ref().is_none_or(|words| words.contains(&line)));
        beyond("files", &allow.files, &|line| self.files.iter().any(|root| Path::new(line).starts_with(root)));
        beyond("secrets", &allow.secrets, &|line| self.secrets.iter().any(|name| name == line));
        beyond("commands", &allow.commands, &|line| self.commands.iter().any(|commands| commands.hold(line)));
        beyond("kubernetes", &allow.kubernetes, &|line| self.kubernetes.iter().any(|known| known == line));
        for target in targets {
            let Some(pattern) = Pattern::of_target(&target.address).filter(|pattern| !self.covers(pattern)) else {
                continue;
            };
            // It grants every scheme, so a ceiling that names schemes does not hold it whole.
            let narrower = pattern.by_scheme().into_iter().find(|line| pattern != *line && self.covers(line));
            let (address, reason) = (&target.address, self.reason("network"));
            errors.push(match narrower.and_then(|line| line.scheme()) {
                Some(scheme) => GrantError {
                    way_out: Some(format!("write {scheme}://{address} if you mean that alone")),
                    ..bad("network", address, format!("names no scheme, and so it {reason}"))
                },
                None => bad("network", address, reason),
            });
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn covers(&self, line: &Pattern) -> bool {
        self.network.as_ref().is_none_or(|ceiling| ceiling.iter().any(|own| own.covers(line)))
    }

    fn reason(&self, list: &str) -> String {
        let place = if self.place.is_empty() { "trust.plugins" } else { &self.place };
        format!("lies beyond the plugin's ceiling `{place}.{list}` of roundsman.yaml")
    }
}

impl Commands {
    fn parse(line: &str) -> Result<Commands, GrantError> {
        match line.strip_suffix('/') {
            // The root holds no programs, so `/` is not meant; `command` says so.
            Some(directory) if !directory.is_empty() => command(directory).map(Commands::In),
            _ => command(line).map(Commands::One),
        }
    }

    fn hold(&self, line: &str) -> bool {
        match self {
            Commands::One(path) => path.as_os_str() == line,
            Commands::In(directory) => Path::new(line).parent() == Some(directory.as_path()),
        }
    }
}

fn each<T>(lines: &[String], parse: impl Fn(&str) -> Result<T, GrantError>, errors: &mut Vec<GrantError>) -> Vec<T> {
    lines.iter().filter_map(|line| parse(line).map_err(|error| errors.push(error)).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::Grants;

    fn texts(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    fn target(address: &str) -> Target {
        Target { name: "t".into(), address: address.into(), labels: Default::default() }
    }

    fn ceiling() -> Ceiling {
        let lines = Lines {
            network: Some(texts(&["https://*.shop.example:443", "tcp://10.0.0.0/8:5432,6432", "icmp://10.0.0.0/8"])),
            system: Some(texts(&["load"])),
            files: texts(&["/var/lib/shop", "/etc/hosts"]),
            secrets: texts(&["shop"]),
            commands: texts(&["/usr/lib/nagios/plugins/", "/usr/bin/true"]),
            kubernetes: texts(&["get pods"]),
        };
        Ceiling::compile("trust.plugins.shop", &lines).unwrap()
    }

    fn allow(list: &str, line: &str) -> Allow {
        let mut allow = Allow::default();
        let field = match list {
            "network" => &mut allow.network,
            "system" => &mut allow.system,
            "files" => &mut allow.files,
            "secrets" => &mut allow.secrets,
            "commands" => &mut allow.commands,
            _ => &mut allow.kubernetes,
        };
        field.push(line.to_owned());
        allow
    }

    #[test]
    fn lines_within_and_beyond() {
        for (list, line, within) in [
            ("network", "https://eu.shop.example", true),
            ("network", "https://*.eu.shop.example", true),
            ("network", "https://*.shop.example", true),
            ("network", "https://shop.example", false),
            ("network", "https://*:443", false),
            ("network", "http://eu.shop.example:443", false),
            ("network", "tls://10.1.0.0/16:5432", true),
            ("network", "tcp://10.0.0.7:5432", true),
            ("network", "tcp://10.0.0.7:5432-6432", false),
            ("network", "tcp://0.0.0.0/0:5432", false),
            ("network", "dns://system", false),
            ("system", "load", true),
            ("system", "memory", false),
            ("files", "/var/lib/shop", true),
            ("files", "/var/lib/shop/deep/file", true),
            ("files", "/var/lib/shopping", false),
            ("files", "/var/lib", false),
            ("files", "/etc/hosts", true),
            ("secrets", "shop", true),
            ("secrets", "shop2", false),
            ("commands", "/usr/bin/true", true),
            ("commands", "/usr/bin/false", false),
            ("commands", "/usr/lib/nagios/plugins/check_http", true),
            ("commands", "/usr/lib/nagios/plugins/deep/check", false),
            ("commands", "/usr/lib/nagios/plugins", false),
            ("kubernetes", "get pods", true),
            ("kubernetes", "get secrets", false),
        ] {
            let found = ceiling().check(&allow(list, line), &[]);
            assert_eq!(found.is_ok(), within, "{list}: {line}: {found:?}");
            let Err(errors) = found else { continue };
            assert_eq!(
                errors.iter().map(|error| (error.list, error.line.as_str())).collect::<Vec<_>>(),
                [(list, line)]
            );
            let place = format!("lies beyond the plugin's ceiling `trust.plugins.shop.{list}` of roundsman.yaml");
            assert_eq!(errors[0].reason, place);
        }
    }

    #[test]
    fn without_a_ceiling_networks_are_free_and_the_rest_is_not() {
        for (list, line, within) in [
            ("network", "https://*:*", true),
            ("system", "memory", true),
            ("files", "/etc/hosts", false),
            ("secrets", "shop", false),
            ("commands", "/usr/bin/true", false),
            ("kubernetes", "get pods", false),
        ] {
            let found = Ceiling::default().check(&allow(list, line), &[target("shop.example")]);
            assert_eq!(found.is_ok(), within, "{list}: {found:?}");
        }
        let none = Lines { network: Some(Vec::new()), system: Some(Vec::new()), ..Lines::default() };
        let none = Ceiling::compile("trust.plugins.x", &none).unwrap();
        assert!(none.check(&allow("network", "https://shop.example"), &[]).is_err(), "an empty list allows nothing");
        assert!(none.check(&allow("system", "load"), &[]).is_err());
    }

    #[test]
    fn targets_are_lines_too() {
        for (address, want) in [
            ("https://eu.shop.example/healthz", None),
            ("tcp://10.0.0.7:5432", None),
            ("icmp://10.0.0.7", None),
            ("/var/lib", None),
            ("https://shop.example", Some("lies beyond the plugin's ceiling `trust.plugins.shop.network`")),
            ("eu.shop.example:443", Some("write https://eu.shop.example:443 if you mean that alone")),
            ("10.0.0.7:5432", Some("write tcp://10.0.0.7:5432 if you mean that alone")),
            ("10.0.0.7", Some("write icmp://10.0.0.7 if you mean that alone")),
            ("10.0.0.7:22", Some("lies beyond")),
        ] {
            let found = ceiling().check(&Allow::default(), &[target(address)]).err();
            let told = found.as_ref().map(|errors| errors[0].to_string());
            match want {
                None => assert_eq!(told, None, "{address}"),
                Some(words) => assert!(told.as_ref().is_some_and(|told| told.contains(words)), "{address}: {told:?}"),
            }
        }
    }

    #[test]
    fn grants_under_a_ceiling() {
        let compile = |allow, target_address| {
            Grants::compile_under(&[target(target_address)], &allow, &[], &ceiling()).map(drop).map_err(|e| e.len())
        };
        assert_eq!(compile(allow("files", "/etc/hosts"), "https://eu.shop.example"), Ok(()));
        assert_eq!(compile(allow("files", "/etc"), "https://eu.shop.example"), Err(1));
        assert_eq!(compile(allow("files", "/etc"), "https://shop.example"), Err(2), "all of it at once");
        assert_eq!(
            compile(allow("files", "etc"), "https://shop.example"),
            Err(1),
            "what is no line at all comes first"
        );
    }

    #[test]
    fn ceilings_that_are_wrong() {
        let lines = Lines {
            network: Some(texts(&["shop.example", "https://shop.example"])),
            system: Some(texts(&["disk"])),
            files: texts(&["etc"]),
            secrets: texts(&["A"]),
            commands: texts(&["/", "/usr/../bin/", "bin/true", "/usr/bin//"]),
            ..Lines::default()
        };
        let errors = Ceiling::compile("trust.plugins.x", &lines).unwrap_err();
        let found: Vec<_> = errors.iter().map(|error| (error.list, error.line.as_str())).collect();
        let commands = ["/", "/usr/../bin", "bin/true", "/usr/bin/"].map(|line| ("commands", line));
        let others = [("network", "shop.example"), ("system", "disk"), ("files", "etc"), ("secrets", "A")];
        assert_eq!(found, [&others[..], &commands[..]].concat());
    }
}
