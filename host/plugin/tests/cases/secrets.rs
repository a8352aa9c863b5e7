//! A secret that a peer tells a plugin, and that the plugin passes on, reaches nothing that is kept.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use roundsman_model::record::{Blame, Status};
use roundsman_plugin::engine::EngineLimits;
use roundsman_plugin::job::Report;
use roundsman_probe::pattern::Pattern;
use roundsman_probe::secrets::{Place, Secrets, Source};

use crate::support::{Bench, Run, guest, peers};
use crate::{assert_outcome, assert_unknown, compiler};

const TOKEN: &str = "s3cret-t0ken-0123456789abcdef";

fn bench(destinations: &[String]) -> (Bench, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), TOKEN).unwrap();
    let destinations = destinations.iter().map(|line| Pattern::parse(line).unwrap()).collect();
    let source = Source { place: Place::Directory(folder.path().to_owned()), destinations };
    let secrets = Secrets::new(BTreeMap::from([("shop".to_owned(), source)]));
    (Bench::with_secrets(compiler(), EngineLimits { runs: 64, memory: 512 << 20 }, secrets), folder)
}

fn tell(what: &str, peer: SocketAddr, granted: bool) -> Run {
    let run = Run::what(what, peer).network(format!("tcp://{peer}")).network(format!("http://{peer}"));
    if granted { run.secret("shop") } else { run }
}

/// Neither it nor its beginning nor its end, in whatever part of the report.
#[track_caller]
fn assert_nothing_told(report: &Report) {
    let everything = format!("{report:?}");
    for part in ["s3cret", "6789abcdef", "7333637265"] {
        let at = everything.find(part);
        assert!(at.is_none(), "{part} in …{}", &everything[at.unwrap_or_default().saturating_sub(200)..]);
    }
    assert!(everything.contains("[secret shop]"), "{everything}");
}

#[test]
fn what_a_peer_tells_is_not_passed_on() {
    let (bench, _folder) = bench(&[]);
    let peer = peers::says(TOKEN);
    let plugin = bench.load(&guest("hostile")).unwrap();

    let report = bench.run(&plugin, &tell("tell", peer, true));
    assert_nothing_told(&report);
    assert_outcome(&report, Status::Critical, "secret secret kept [secret shop] x");
    assert_eq!(report.memory_changes.len(), 1, "{:?}", report.memory_changes);
    assert_eq!((report.points.len(), report.findings.len()), (4, 4));
    // The fourth is cut before it would come.
    let told = report.findings.iter().filter(|finding| finding.subject.contains("[secret shop]"));
    assert_eq!(told.count(), 3, "{:?}", report.findings);
    assert!(report.story.log.iter().any(|line| line.text.starts_with("oooo")), "what was printed is there");

    let report = bench.run(&plugin, &tell("tell-fault", peer, true));
    assert_unknown(&report, Blame::Plugin, "secret", "xxx[secret shop");
    assert_nothing_told(&report);
    let report = bench.run(&plugin, &tell("tell-panic", peer, true));
    assert_nothing_told(&report);
    assert_eq!(report.code.as_deref(), Some("trap"));
    let report = bench.run(&plugin, &tell("tell-cut", peer, true).within(std::time::Duration::from_millis(500)));
    assert_nothing_told(&report);

    // Without the grant nobody knows it for a secret: so the tests above can fail.
    let report = bench.run(&plugin, &tell("tell", peer, false));
    assert_outcome(&report, Status::Critical, &format!("kept kept kept {TOKEN}"));
    assert!(format!("{:?}", report.points).contains("s3cret") && format!("{:?}", report.findings).contains("s3cret"));
    assert!(format!("{:?}", report.story.log).contains("s3cret") && report.memory_changes.len() == 3);
}

#[test]
fn credentials_go_to_their_destination_and_not_into_the_report() {
    let (free, _folder) = bench(&[]);
    let mirror = peers::mirror();
    let plugin = |bench: &Bench| bench.load(&guest("hostile")).unwrap();
    let tell = |granted| {
        let run = Run::what("tell", format!("http://{mirror}")).network(format!("http://{mirror}"));
        if granted { run.secret("shop") } else { run }
    };
    let report = free.run(&plugin(&free), &tell(true));
    assert_outcome(&report, Status::Critical, "Bearer [secret shop]");
    assert_nothing_told(&report);
    let report = free.run(&plugin(&free), &tell(false));
    assert_unknown(&report, Blame::Host, "denied", "add to the check: allow: {secrets: [shop]}");
    drop(free);

    let (bound, _folder) = bench(&["https://shop.example".to_owned(), format!("http://{mirror}")]);
    assert_nothing_told(&bound.run(&plugin(&bound), &tell(true)));
    drop(bound);
    let (elsewhere, _folder) = bench(&["https://shop.example".to_owned()]);
    let report = elsewhere.run(&plugin(&elsewhere), &tell(true));
    let line = format!("add to roundsman.yaml: secrets: {{shop: {{destinations: [\"http://{mirror}\"]}}}}");
    assert_unknown(&report, Blame::Host, "denied", &line);
}
