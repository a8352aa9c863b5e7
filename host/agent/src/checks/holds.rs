//! What holds for any bytes that stand in a checks file.

use std::path::Path;

use super::{ChecksFile, MAX_PAIRS, Node, Problem, fill, parse};

/// Tells whether they were taken.
pub(crate) fn any_checks(text: &[u8]) -> bool {
    let labels = [("disk".to_owned(), "ssd".to_owned())].into();
    let ip = Some([10, 0, 0, 7].into());
    let node = Node { name: "node-a".to_owned(), ip, labels, ..Node::default() };
    let read = parse(Path::new("f"), text, &node);
    match &read {
        Ok(file) => examine(file, &node),
        Err(problems) => {
            assert!(problems.iter().any(Problem::is_error), "{problems:?}");
            problems.iter().for_each(can_be_shown);
        }
    }
    assert_eq!(parse(Path::new("f"), text, &node), read);
    read.is_ok()
}

/// What is accepted can be filled in for every target.
fn examine(file: &ChecksFile, node: &Node) {
    assert!(file.pairs() <= MAX_PAIRS);
    for configured in &file.checks {
        assert!(file.get(&configured.check.name) == Some(configured), "names are unique");
        for key in configured.check.keys() {
            let target = configured.check.target(key.target.as_ref());
            let filled = fill::fill_check(&configured.check, target, node);
            assert!(filled.is_ok(), "{filled:?}");
        }
        can_be_shown(&configured.problem_at("/dependsOn/3", "x"));
    }
    file.warnings.iter().for_each(can_be_shown);
}

/// It is printed on terminals, one line each.
fn can_be_shown(problem: &Problem) {
    let text = problem.to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
}
