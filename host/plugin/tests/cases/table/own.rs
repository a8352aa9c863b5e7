//! What the run itself answers: the exported functions, context, report, log and state.

use std::collections::BTreeMap;
use std::sync::Arc;

use roundsman_model::key::Key;
use roundsman_model::name::CheckName;
use roundsman_model::record::{Level, Status, Value};
use roundsman_model::target::Target;
use roundsman_model::time::Timestamp;
use roundsman_plugin::job::{Assignment, Job, Node, Report};
use roundsman_probe::grants::Grants;
use roundsman_probe::probe::{Options, Roots};
use serde_json::json;

use super::{Expected, Table, bench, is, load};
use crate::support::{DEADLINE, Run};

const SETTINGS: &str = r#"{"what":"own"}"#;
const SCHEDULED: i64 = 1_712_345_678_000_000_000;

fn labels(name: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), value.to_owned())])
}

/// A run with everything that a run can have.
fn job() -> Job {
    let target = Target { name: "eu".into(), address: "https://eu.shop.example".into(), labels: labels("zone", "eu") };
    let assignment = Assignment {
        key: Key::new(CheckName::new("shop").unwrap(), Some("eu")),
        settings: SETTINGS.to_owned(),
        target: Some(target),
        node: Arc::new(Node { name: "node-a".to_owned(), labels: labels("disk", "ssd") }),
        grants: Arc::new(Grants::default()),
        limits: Run::new().limits,
    };
    let remembered = [("before", "remembered"), ("gone", "to be forgotten")];
    let memory = remembered.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
    Job {
        assignment: Arc::new(assignment),
        scheduled: Timestamp(SCHEDULED),
        attempt: 3,
        previous: Some(Status::Critical),
        memory: Arc::new(BTreeMap::from(memory)),
        timeout: DEADLINE,
    }
}

pub(super) fn tour(table: &mut Table) {
    let bench = bench(Options { roots: Roots::Only(Vec::new()), ..Options::default() });
    let plugin = load(&bench);
    let described = plugin.description();
    let described = format!("{}: {} Series {}.", described.version, described.summary, described.series[0].name);
    table.see("check.describe", &described, &is("7: Calls every function of the contract. Series tour."));
    let wrong = bench.runtime.block_on(plugin.validate(&json!({"what": "impossible"})));
    table.see("check.validate", &wrong.join(", "), &is("the tour goes nowhere"));
    assert_eq!(bench.runtime.block_on(plugin.validate(&json!({"what": "own"}))), Vec::<String>::new());

    let report = bench.runtime.block_on(plugin.run(Arc::new(job())));
    bench.assert_floor();
    let deadline = i128::try_from(DEADLINE.as_nanos()).unwrap();
    table.take(
        &report,
        &[
            ("context.check-name", is("shop")),
            ("context.settings", is(SETTINGS)),
            ("context.target-name", is("eu")),
            ("context.target-address", is("https://eu.shop.example")),
            ("context.target-labels", is(r#"[("zone", "eu")]"#)),
            ("context.node-name", is("node-a")),
            ("context.node-labels", is(r#"[("disk", "ssd")]"#)),
            ("context.remaining-ns", Expected::Between(deadline / 2, deadline)),
            ("context.scheduled-ns", is(SCHEDULED)),
            ("context.attempt", is(3)),
            ("context.previous-status", is("Some(Status::Critical)")),
            ("state.get", is("remembered")),
        ],
    );
    reported(table, &report);
}

/// What arrived of what the guest reported.
fn reported(table: &mut Table, report: &Report) {
    table.see("check.run", &format!("{:?}: {}", report.status, report.summary), &is("Warning: told of own"));
    let changes: BTreeMap<_, _> = report.memory_changes.iter().cloned().collect();
    assert_eq!(changes.len(), 2, "{changes:?}");
    let now = changes.get("now").and_then(Option::as_ref).map(|value| String::from_utf8_lossy(value).into_owned());
    table.see("state.set", &format!("now: {}", now.unwrap_or_default()), &is("now: set by the plugin"));
    let gone = if changes.get("gone") == Some(&None) { "gone: forgotten" } else { "none" };
    table.see("state.delete", gone, &is("gone: forgotten"));
    table.see("report.latency-ns", &report.latency.unwrap_or_default().as_nanos().to_string(), &is(1_234_567));
    let [point] = report.points.as_slice() else { panic!("{:?}", report.points) };
    let fields = point.fields.iter().map(|(name, value)| match value {
        Value::Real(value) => format!("{name}={value}"),
        Value::Integer(value) => format!("{name}={value}i"),
        Value::Boolean(value) => format!("{name}={value}"),
        Value::Text(value) => format!("{name}={value:?}"),
    });
    let mut fields: Vec<_> = fields.collect();
    fields.sort_unstable();
    let line = format!("{},{:?} {}", point.series, point.tags, fields.join(","));
    let expected = r#"tour,[("stage", "first")] boolean=true,integer=-7i,real=0.5,text="told""#;
    table.see("report.point", &line, &is(expected));
    let [finding] = report.findings.as_slice() else { panic!("{:?}", report.findings) };
    let found = format!("{:?}: {}: {}", finding.status, finding.subject, finding.summary);
    table.see("report.finding", &found, &is("Critical: a subject: a finding"));
    let line = report.story.log.iter().find(|line| line.level == Level::Error).unwrap();
    table.see("log.log", &format!("{:?}: {}", line.level, line.text), &is("Error: said by the plugin"));
}
