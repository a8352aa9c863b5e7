//! Fetches a page of metrics and takes some of its series: as points, and against thresholds.

mod select;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use roundsman_sdk::exposition::{Sample, samples};
use roundsman_sdk::http::{Family, Request};
use roundsman_sdk::report::{self, Point, ms};
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, Status, Tag, context, state, warn};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::select::Selection;

/// Which page, and which of its series.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// The page, instead of the target's address.
    #[schemars(extend("x-roundsman" = {"kind": "destination"}))]
    url: Option<String>,
    select: Vec<Selection>,
    headers: BTreeMap<String, String>,
    verify_certificate: bool,
    server_name: Option<String>,
    /// The secret whose certificates are trusted instead of the system's.
    #[schemars(extend("x-roundsman" = {"kind": "secret"}))]
    certificate_authority: Option<String>,
    /// The secret with the client's certificate and key.
    #[schemars(extend("x-roundsman" = {"kind": "secret"}))]
    client_certificate: Option<String>,
    /// The secret that becomes the header `authorization`.
    #[schemars(extend("x-roundsman" = {"kind": "secret"}))]
    credentials: Option<String>,
    family: Family,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: None,
            select: Vec::new(),
            headers: BTreeMap::new(),
            verify_certificate: true,
            server_name: None,
            certificate_authority: None,
            client_certificate: None,
            credentials: None,
            family: Family::Any,
        }
    }
}

const SELECTED: Series = Series {
    name: "prometheus",
    help: "One series of a page of metrics.",
    tags: &[
        Tag::bounded("metric", "Its name."),
        Tag::bounded(
            "labels",
            "Its labels as on the page, without those that the selection fixes; absent without any.",
        ),
    ],
    fields: &[
        Field::real("value", "", "Its value."),
        Field::real("rate", "1/s", "How fast a counter grew since the run before."),
    ],
};

const PAGE: Series = Series {
    name: "prometheus_page",
    help: "The page itself.",
    tags: &[],
    fields: &[
        Field::real("total_ms", "ms", "From the name to the last byte."),
        Field::integer("samples", "", "Its samples, as far as the page was read."),
        Field::integer("selected", "", "Those that were taken."),
        Field::integer("body_bytes", "B", "Its size, as far as it was read."),
    ],
};

const EXAMPLE: &str = "\
checks:
  - name: node-metrics
    plugin: prometheus
    interval: 30s
    timeout: 5s
    target: http://127.0.0.1:9100/metrics
    settings:
      select:
        - {metric: node_load1, warning: \"> 20\", critical: \"> 100\"}
        - {metric: node_network_receive_errs_total, labels: {device: eth0}, rate: true, warning: \"> 1\"}
        - {metric: up, atLeast: 0}
";

/// The host's own ceiling.
const MAX_BODY: u32 = 1 << 20;
/// Series that are taken of a page.
const MAX_SELECTED: usize = 200;
/// Under this key the counters of the run before are remembered.
const COUNTERS: &str = "counters";

/// The check.
#[derive(Debug)]
pub struct Prometheus;

/// What counters showed, and when.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counters {
    at_ms: u64,
    values: BTreeMap<String, f64>,
}

impl Check for Prometheus {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new(env!("CARGO_PKG_VERSION"), "Fetches a page of metrics and takes some of its series.")
            .series(&SELECTED)
            .series(&PAGE)
            .findings("What a selection is called.", true)
            .example(EXAMPLE)
    }

    fn validate(settings: &Settings) -> Result<(), Fault> {
        if settings.select.is_empty() {
            return Err(Fault::settings("`select` is empty: name a metric, such as {metric: up}"));
        }
        let named = settings.select.iter().enumerate();
        for (n, selection) in named {
            selection.validate().map_err(|reason| Fault::settings(format!("`select[{n}]`: {reason}")))?;
            if settings.select[..n].iter().any(|other| other.called() == selection.called()) {
                return Err(Fault::settings(format!(
                    "`select[{n}]`: there is {} already: set `as`",
                    selection.called()
                )));
            }
        }
        Ok(())
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let target = context::target_address();
        let url = settings.url.as_deref().or(target.as_deref());
        let url = url.ok_or_else(|| Fault::settings("nothing to fetch: give the check a `target`, or set `url`"))?;
        let request = settings.request(url);
        let page = match request.send() {
            Ok(page) => page,
            Err(failure) => return failure.into_outcome_or_fault(),
        };
        let total = request.timings().total.unwrap_or_default();
        report::latency(total);
        if page.status != 200 {
            return Ok(Outcome::critical(format!("the page answers with status {}", page.status)));
        }
        let text = page.text();
        // The last line of a page that was cut may be half a number.
        let whole = if page.body_truncated { text.rsplit_once('\n').map_or("", |(whole, _)| whole) } else { &text };
        let samples: Vec<Sample<'_>> = samples(whole).collect();
        let taken = take(settings, &samples)?;
        Point::of(&PAGE)
            .field("total_ms", ms(total))
            .field("samples", samples.len())
            .field("selected", taken.selected)
            .field("body_bytes", page.body.len())
            .report()?;
        let mut wrong = taken.wrong;
        if page.body_truncated {
            let text = format!("the page is larger than {} KiB: what stands behind that is not seen", MAX_BODY >> 10);
            wrong.push((Status::Unknown, text));
        }
        if samples.is_empty() {
            wrong.push((Status::Critical, "there is no metric on the page".to_owned()));
        }
        Ok(outcome(&wrong, taken.selected, samples.len()))
    }
}

impl Settings {
    fn request(&self, url: &str) -> Request {
        let mut request = Request::get(url)
            .header("accept", "text/plain;version=0.0.4, */*;q=0.1")
            .max_body(MAX_BODY)
            .max_redirects(3)
            .family(self.family)
            .verify_certificate(self.verify_certificate);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(name) = &self.server_name {
            request = request.server_name(name);
        }
        for (secret, set) in [
            (&self.certificate_authority, Request::certificate_authority as fn(Request, &str) -> Request),
            (&self.client_certificate, Request::client_certificate),
            (&self.credentials, Request::credentials),
        ] {
            if let Some(secret) = secret {
                request = set(request, secret);
            }
        }
        request
    }
}

/// What was taken of a page.
#[derive(Debug, Default)]
struct Taken {
    selected: usize,
    wrong: Vec<(Status, String)>,
}

fn take(settings: &Settings, samples: &[Sample<'_>]) -> Result<Taken, Fault> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let before: Counters = state::load(COUNTERS).unwrap_or_default();
    let passed = now.saturating_sub(Duration::from_millis(before.at_ms));
    let mut counters = Counters { at_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX), values: BTreeMap::new() };
    let mut taken = Taken::default();
    for selection in &settings.select {
        let mut found = Vec::new();
        for sample in samples.iter().filter(|sample| selection.means(sample)) {
            if taken.selected == MAX_SELECTED {
                return Err(Fault::new(
                    "limit",
                    format!("more than {MAX_SELECTED} series are selected: fix more labels"),
                ));
            }
            taken.selected += 1;
            let labels = selection.free_labels(sample);
            let rate = if selection.rate {
                let key = format!("{}{{{}}}", sample.name, sample.spell_labels(&[]));
                let rate = before.values.get(&key).and_then(|then| select::rate(*then, sample.value, passed));
                counters.values.insert(key, sample.value);
                rate
            } else {
                None
            };
            let mut point =
                Point::of(&SELECTED).tag("metric", sample.name).field("value", sample.value).field("rate", rate);
            if !labels.is_empty() {
                point = point.tag("labels", labels.as_str());
            }
            point.report()?;
            // A counter's first value says nothing of how fast it grows.
            found.push((labels, if selection.rate { rate } else { Some(sample.value) }));
        }
        let (status, text) = selection.judge(&found);
        report::finding(&selection.called(), status, &text)?;
        taken.wrong.extend((status != Status::Ok).then_some((status, text)));
    }
    if !counters.values.is_empty()
        && let Err(fault) = state::save(COUNTERS, &counters)
    {
        warn!("the next run knows no rates: {}", fault.message);
    }
    Ok(taken)
}

fn outcome(wrong: &[(Status, String)], selected: usize, of: usize) -> Outcome {
    if wrong.is_empty() {
        return Outcome::ok(format!("{selected} of {of} series taken, all as expected"));
    }
    let status = wrong.iter().fold(Status::Ok, |worst, (status, _)| worst.worst(*status));
    let texts: Vec<_> = wrong.iter().map(|(_, text)| text.as_str()).collect();
    Outcome::new(status, texts.join("; "))
}

roundsman_sdk::plugin!(Prometheus);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_refused() {
        for (settings, message) in [
            ("{}", "`select` is empty: name a metric, such as {metric: up}"),
            (r#"{"select": [{"metric": "a b"}]}"#, "`select[0]`: `a b` is not the name of a metric"),
            (r#"{"select": [{"metric": "a"}, {"metric": "a"}]}"#, "`select[1]`: there is a already: set `as`"),
            (
                r#"{"select": [{"metric": "a", "warning": "high"}]}"#,
                "`select[0].warning`: `high` is not a comparison: write, for instance, \"> 300\"",
            ),
        ] {
            assert_eq!(roundsman_sdk::settings::<Prometheus>(settings).unwrap_err().message, message);
        }
    }

    #[test]
    fn outcomes() {
        assert_eq!(outcome(&[], 2, 700), Outcome::ok("2 of 700 series taken, all as expected"));
        let wrong = [(Status::Warning, "a".to_owned()), (Status::Critical, "b".to_owned())];
        assert_eq!(outcome(&wrong, 2, 3), Outcome::critical("a; b"));
    }
}
