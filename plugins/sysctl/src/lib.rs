//! Looks at kernel parameters: are they what this node needs?

mod judge;

use roundsman_sdk::report::{self, Point};
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, Status, Tag, system};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::judge::Expected;

/// What is expected.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The parameters, each with what it should be.
    expect: Vec<Expected>,
}

const SYSCTL: Series = Series {
    name: "sysctl",
    help: "One kernel parameter.",
    tags: &[Tag::bounded("name", "Its name with dots.")],
    fields: &[
        Field::real("value", "", "Its value, where it is one number."),
        Field::text("text", "Its value, where it is not."),
        Field::boolean("as_expected", "Whether it is what the check expects."),
    ],
};

const EXAMPLE: &str = "\
checks:
  - name: sysctl
    plugin: sysctl
    interval: 5m
    timeout: 5s
    allow: {system: [sysctl]}
    settings:
      expect:
        - {name: net.ipv4.ip_forward, value: \"1\"}
        - {name: vm.max_map_count, min: 65530, status: warning}
        - {name: net.ipv4.tcp_congestion_control, oneOf: [cubic, bbr], status: warning}
";

/// The check.
#[derive(Debug)]
pub struct Sysctl;

impl Check for Sysctl {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new(env!("CARGO_PKG_VERSION"), "Compares kernel parameters with what is expected.")
            .series(&SYSCTL)
            .findings("The name of a parameter.", true)
            .example(EXAMPLE)
    }

    fn validate(settings: &Settings) -> Result<(), Fault> {
        if settings.expect.is_empty() {
            return Err(Fault::settings(
                "`expect` is empty: name a parameter, such as {name: net.ipv4.ip_forward, value: \"1\"}",
            ));
        }
        settings.expect.iter().enumerate().try_for_each(|(n, expected)| expected.validate(n))
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let mut seen = Vec::new();
        for expected in &settings.expect {
            let (status, text) = examine(expected)?;
            report::finding(&expected.name, status, &text)?;
            seen.push((status, text));
        }
        Ok(outcome(&seen))
    }
}

fn examine(expected: &Expected) -> Result<(Status, String), Fault> {
    let name = &expected.name;
    let value = match system::sysctl(name) {
        Ok(value) => value,
        // A parameter that should be set and is not there is wrong; one that cannot be read tells nothing.
        Err(failure) if failure.code == "not-found" => {
            return Ok((expected.status.into(), format!("{name} does not exist on this kernel")));
        }
        Err(failure) if matches!(failure.code.as_str(), "denied" | "invalid") => return Err(failure.into()),
        Err(failure) => return Ok((Status::Unknown, format!("{name}: {}", failure.message))),
    };
    let wrong = expected.judge(&value);
    let number: Option<f64> = value.parse().ok();
    Point::of(&SYSCTL)
        .tag("name", name.as_str())
        .field("value", number)
        .field("text", number.is_none().then(|| value.clone()))
        .field("as_expected", wrong.is_none())
        .report()?;
    Ok(match wrong {
        None => (Status::Ok, format!("{name} = {value}")),
        Some(wish) => (expected.status.into(), format!("{name} is {value}, expected {wish}")),
    })
}

fn outcome(seen: &[(Status, String)]) -> Outcome {
    let worst = seen.iter().fold(Status::Ok, |worst, (status, _)| worst.worst(*status));
    if worst == Status::Ok {
        return Outcome::ok(format!("{} parameters are as expected", seen.len()));
    }
    let wrong: Vec<_> =
        seen.iter().filter(|(status, _)| *status != Status::Ok).map(|(_, text)| text.as_str()).collect();
    Outcome::new(worst, wrong.join("; "))
}

roundsman_sdk::plugin!(Sysctl);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_refused() {
        for (settings, message) in [
            (
                r#"{"expect": []}"#,
                "`expect` is empty: name a parameter, such as {name: net.ipv4.ip_forward, value: \"1\"}",
            ),
            (r#"{"expect": [{"name": "a.b"}]}"#, "`expect[0]`: say what a.b should be: value, oneOf, min or max"),
            (r#"{"expect": [{"name": "a.b", "min": 3, "max": 2}]}"#, "`expect[0]`: min must not be above max"),
            (
                r#"{"expect": [{"name": "a.b", "value": "1", "min": 2}]}"#,
                "`expect[0]`: value, oneOf, and min or max exclude each other",
            ),
            (
                r#"{"expect": [{"name": "a.b", "value": "1", "status": "ok"}]}"#,
                "`expect[0].status`: unknown variant `ok`, expected `warning` or `critical`",
            ),
        ] {
            assert_eq!(roundsman_sdk::settings::<Sysctl>(settings).unwrap_err().message, message);
        }
    }

    #[test]
    fn outcomes() {
        let seen = |status, text: &str| (status, text.to_owned());
        for (seen, expected) in [
            (vec![seen(Status::Ok, "a = 1")], Outcome::ok("1 parameters are as expected")),
            (
                vec![seen(Status::Ok, "a"), seen(Status::Warning, "b is 1"), seen(Status::Critical, "c is 2")],
                Outcome::critical("b is 1; c is 2"),
            ),
            (vec![seen(Status::Unknown, "a")], Outcome::unknown("a")),
        ] {
            assert_eq!(outcome(&seen), expected);
        }
    }
}
