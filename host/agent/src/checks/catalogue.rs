//! All checks files of a node together: names are unique over them, and a file that is refused leaves its previous
//! version in force.
//!
//! Pure state: files are offered, withdrawn and restored in any order; `settle` decides. Where two files claim a name,
//! the one that has it in force keeps it, then the first by file name; the other is refused whole and tried again
//! whenever something changes. Where `dependsOn` leads over several files back to where it began, the last by name of
//! those new versions that are part of the circle is refused. So the outcome depends on what is there, not on the order
//! of events. A dependency that no file has is a warning: files come in any order, and may go.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use roundsman_model::depends;
use roundsman_model::name::{BUILT_IN, CheckName};
use serde::Serialize;

use crate::checks::{ChecksFile, Configured, MAX_PAIRS, graph};
use crate::config::nearest::nearest;
use crate::problem::Problem;

/// The files of one directory, by file name.
#[derive(Debug, Default)]
pub struct Catalogue {
    files: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    path: PathBuf,
    /// In force.
    accepted: Option<Arc<ChecksFile>>,
    /// Newer, without errors of its own; in force as soon as nothing collides.
    candidate: Option<Arc<ChecksFile>>,
    /// Why the newest version is not in force.
    problems: Vec<Problem>,
}

/// What of a file is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// What stands in the file.
    Current,
    /// An earlier version, because the file cannot be used.
    Outdated,
    /// Nothing.
    Refused,
}

/// How a file fares.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileReport {
    pub name: String,
    pub path: PathBuf,
    pub version: Version,
    /// Checks in force.
    pub checks: usize,
    /// Errors of the newest version where it is not in force, warnings where it is.
    pub problems: Vec<Problem>,
}

impl Catalogue {
    /// A version that was in force before a restart.
    pub fn restore(&mut self, name: &str, file: ChecksFile) {
        let entry = self.entry(name, file.path.to_path_buf());
        entry.accepted = Some(Arc::new(file));
    }

    /// The newest version of a file, or what is wrong with it.
    pub fn offer(&mut self, name: &str, path: impl Into<PathBuf>, version: Result<ChecksFile, Vec<Problem>>) {
        let entry = self.entry(name, path.into());
        (entry.candidate, entry.problems) = match version {
            Ok(file) => (Some(Arc::new(file)), Vec::new()),
            Err(problems) => (None, problems),
        };
    }

    /// The new versions that are not in force yet.
    pub fn candidates(&self) -> Vec<(String, Arc<ChecksFile>)> {
        let new = self.files.iter().filter_map(|(name, entry)| Some((name.clone(), entry.candidate.clone()?)));
        new.collect()
    }

    /// Where a file is.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.files.get(name).map(|entry| entry.path.clone())
    }

    /// The file was removed: its checks end.
    pub fn withdraw(&mut self, name: &str) {
        self.files.remove(name);
    }

    fn entry(&mut self, name: &str, path: PathBuf) -> &mut Entry {
        let new = Entry { path, accepted: None, candidate: None, problems: Vec::new() };
        self.files.entry(name.to_owned()).or_insert(new)
    }

    /// Puts in force what can be; returns the names of the files of which a new version is in force.
    pub fn settle(&mut self) -> Vec<String> {
        let mut refused: BTreeMap<String, Problem> = BTreeMap::new();
        while let Some((name, problem)) = self.next_refusal(&refused) {
            refused.insert(name, problem);
        }
        let mut settled = Vec::new();
        for (name, entry) in &mut self.files {
            if let Some(problem) = refused.remove(name) {
                entry.problems = vec![problem];
            } else if let Some(file) = entry.candidate.take() {
                entry.accepted = Some(file);
                entry.problems.clear();
                settled.push(name.clone());
            }
        }
        settled
    }

    /// Every file with the version that would be in force, and whether that is a new one.
    fn chosen<'a>(
        &'a self,
        refused: &'a BTreeMap<String, Problem>,
    ) -> impl DoubleEndedIterator<Item = (&'a String, &'a Arc<ChecksFile>, bool)> {
        self.files.iter().filter_map(|(name, entry)| {
            let candidate = entry.candidate.as_ref().filter(|_| !refused.contains_key(name));
            let new = candidate.is_some();
            candidate.or(entry.accepted.as_ref()).map(|file| (name, file, new))
        })
    }

    fn next_refusal(&self, refused: &BTreeMap<String, Problem>) -> Option<(String, Problem)> {
        self.collision(refused).or_else(|| self.circle(refused)).or_else(|| self.excess(refused))
    }

    /// A circle of dependencies, as the file that has to give way and why.
    fn circle(&self, refused: &BTreeMap<String, Problem>) -> Option<(String, Problem)> {
        let chosen: Vec<_> = self.chosen(refused).collect();
        let mut graph = graph(chosen.iter().flat_map(|(_, version, _)| &version.checks));
        while let Some(circle) = depends::cycle(&graph) {
            for (name, version, _) in chosen.iter().rev().filter(|(_, _, new)| *new) {
                if let Some(last) = version.checks.iter().rev().find(|c| circle.contains(&c.check.name)) {
                    let problem = last.circle_problem(&circle);
                    let message = format!("{}{}", problem.message, self.elsewhere(&circle, name, refused));
                    return Some(((*name).clone(), Problem { message, ..problem }));
                }
            }
            // Everything in it is in force: copies of different age, kept before a crash. It is told by what the engine
            // makes of it, and there may be another one.
            graph.remove(circle.first()?);
        }
        None
    }

    /// Where the checks of a circle are that are not in this file: ` (b in b.yaml, line 3)`.
    fn elsewhere(&self, circle: &[CheckName], file: &str, refused: &BTreeMap<String, Problem>) -> String {
        let others = self.chosen(refused).filter(|(name, ..)| *name != file);
        let places = others.flat_map(|(_, version, _)| circle.iter().filter_map(|name| version.get(name)));
        let told = |c: &Arc<Configured>| format!("{} in {}, line {}", c.check.name, c.file.display(), c.line);
        let told: Vec<String> = places.map(told).collect();
        if told.is_empty() { String::new() } else { format!(" ({})", told.join("; ")) }
    }

    /// The first name that two files claim, as the file that has to give way and why.
    fn collision(&self, refused: &BTreeMap<String, Problem>) -> Option<(String, Problem)> {
        let mut claims: HashMap<&CheckName, (&String, &Arc<Configured>, bool)> = HashMap::new();
        for (file, version, new) in self.chosen(refused) {
            for configured in &version.checks {
                let claim = (file, configured, new);
                if let Some(earlier) = claims.insert(&configured.check.name, claim) {
                    return Some(self.loser(earlier, claim));
                }
            }
        }
        None
    }

    fn loser(
        &self,
        first: (&String, &Arc<Configured>, bool),
        second: (&String, &Arc<Configured>, bool),
    ) -> (String, Problem) {
        let name = &first.1.check.name;
        let in_force = |(file, _, new): (&String, _, bool)| !new || self.holds(file, name);
        let second_stays = match (first.2, second.2) {
            (true, false) => true,
            (false, true) => false,
            _ => in_force(second) && !in_force(first),
        };
        let (stays, goes) = if second_stays { (second, first) } else { (first, second) };
        let other = format!("{}, line {}", stays.1.file.display(), stays.1.line);
        let message = format!("check `{name}` is also in {other}: a name is unique on the node");
        (goes.0.clone(), goes.1.problem_at("/name", message))
    }

    fn holds(&self, file: &str, name: &CheckName) -> bool {
        let accepted = self.files.get(file).and_then(|entry| entry.accepted.as_ref());
        accepted.is_some_and(|version| version.get(name).is_some())
    }

    /// The last new version, where all files together hold more than a node carries.
    fn excess(&self, refused: &BTreeMap<String, Problem>) -> Option<(String, Problem)> {
        let pairs: usize = self.chosen(refused).map(|(_, version, _)| version.pairs()).sum();
        if pairs <= MAX_PAIRS {
            return None;
        }
        let (name, version, _) = self.chosen(refused).rev().find(|(_, _, new)| *new)?;
        let message = format!(
            "with this file there are {pairs} pairs of check and target, more than the {MAX_PAIRS} of one node"
        );
        Some((name.clone(), Problem::error(&*version.path, message)))
    }

    /// Every check in force, in the order of file names and lines.
    pub fn checks(&self) -> impl Iterator<Item = &Arc<Configured>> {
        self.files.values().filter_map(|entry| entry.accepted.as_ref()).flat_map(|file| &file.checks)
    }

    /// The file names, in order.
    pub fn names(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    /// How every file fares.
    pub fn reports(&self) -> Vec<FileReport> {
        let known: BTreeSet<&str> = self.checks().map(|c| c.check.name.as_str()).chain([BUILT_IN]).collect();
        self.files.iter().map(|(name, entry)| entry.report(name, &known)).collect()
    }
}

/// Dependencies that are nowhere: the check runs as if they were not written.
fn missing(configured: &Configured, known: &BTreeSet<&str>) -> Vec<Problem> {
    let missing = configured.check.depends_on.iter().filter(|name| !known.contains(name.as_str()));
    let told = missing.map(|name| {
        let message = format!("there is no check `{name}` to depend on: nothing is waited for");
        let problem = configured.problem_at(&configured.dependency(name), message).warning();
        match nearest(name.as_str(), &known.iter().copied().collect::<Vec<_>>()) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem,
        }
    });
    told.collect()
}

impl Entry {
    fn report(&self, name: &str, known: &BTreeSet<&str>) -> FileReport {
        let failed = !self.problems.is_empty() || self.candidate.is_some();
        let version = match (&self.accepted, failed) {
            (Some(_), false) => Version::Current,
            (Some(_), true) => Version::Outdated,
            (None, _) => Version::Refused,
        };
        let warnings = || {
            let own = self.accepted.iter().flat_map(|file| file.warnings.iter()).cloned();
            let checks = self.accepted.iter().flat_map(|file| &file.checks);
            own.chain(checks.flat_map(|configured| missing(configured, known))).collect()
        };
        let problems = if failed { self.problems.clone() } else { warnings() };
        let checks = self.accepted.as_ref().map_or(0, |file| file.checks.len());
        FileReport { name: name.to_owned(), path: self.path.clone(), version, checks, problems }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::parse;
    use crate::config::Node;

    fn file(name: &str, checks: &[&str]) -> Result<ChecksFile, Vec<Problem>> {
        let mut text = String::from("checks:\n");
        for check in checks {
            let (name, on) = check.split_once('>').unwrap_or((check, ""));
            let on = on.replace('+', ", ");
            text.push_str(&format!("  - {{name: {name}, plugin: http, interval: 10s, dependsOn: [{on}]}}\n"));
        }
        if checks.is_empty() {
            text.push_str("  []\n");
        }
        parse(name.as_ref(), text.as_bytes(), &Node::default())
    }

    fn state(catalogue: &Catalogue) -> String {
        let report = |r: FileReport| {
            let entry = &catalogue.files[&r.name];
            let names: Vec<_> = entry.accepted.iter().flat_map(|f| &f.checks).map(|c| c.check.name.as_str()).collect();
            format!("{}={:?}[{}]", r.name, r.version, names.join(","))
        };
        catalogue.reports().into_iter().map(report).collect::<Vec<_>>().join(" ")
    }

    /// Steps are separated by ';', files by ' ': `a=x,y>z+w` offers x and a y that depends on z and w, `a!` offers
    /// something broken, `a-` withdraws.
    fn play(steps: &str) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for step in steps.split(';') {
            for word in step.split_whitespace() {
                if let Some(name) = word.strip_suffix('!') {
                    catalogue.offer(name, name, Err(vec![Problem::error(name, "broken")]));
                } else if let Some(name) = word.strip_suffix('-') {
                    catalogue.withdraw(name);
                } else {
                    let (name, checks) = word.split_once('=').unwrap();
                    let checks: Vec<&str> = checks.split(',').filter(|c| !c.is_empty()).collect();
                    catalogue.offer(name, name, file(name, &checks));
                }
            }
            catalogue.settle();
        }
        catalogue
    }

    #[test]
    fn versions() {
        for (steps, expected) in [
            ("a=x b=y", "a=Current[x] b=Current[y]"),
            ("a=x; a!", "a=Outdated[x]"),
            ("a!", "a=Refused[]"),
            ("a=x; a!; a=z", "a=Current[z]"),
            ("a=x b=x", "a=Current[x] b=Refused[]"),
            // Who has a name keeps it, whatever the file names.
            ("b=x; a=x", "a=Refused[] b=Current[x]"),
            ("b=x; a=x; b-", "a=Current[x]"),
            ("b=x; a=x; b=y", "a=Current[x] b=Current[y]"),
            ("a=x; b=y; b=x,z", "a=Current[x] b=Outdated[y]"),
            ("a=x; b=y; b=x; b!", "a=Current[x] b=Outdated[y]"),
            // A check that moves, and two that change places, in one step.
            ("a=x b=y; a= b=x,y", "a=Current[] b=Current[x,y]"),
            ("a=x b=y; b=x,y a=", "a=Current[] b=Current[x,y]"),
            ("a=x b=y; a=y b=x", "a=Current[y] b=Current[x]"),
            // Both new versions want z: the one of b falls back, and with it a's claim on y.
            ("a=x b=y; a=y,z b=x,z", "a=Outdated[x] b=Outdated[y]"),
            ("a=x b=y; a=y,z b=x,z; b=x", "a=Current[y,z] b=Current[x]"),
            ("a=x b=y; a-", "b=Current[y]"),
            // Dependencies over files; those that nobody has.
            ("a=x>y b=y>z c=z", "a=Current[x] b=Current[y] c=Current[z]"),
            ("a=x>nobody", "a=Current[x]"),
            // A circle: the last new file by name gives way, and comes back when it is broken elsewhere.
            ("a=x>y b=y>x", "a=Current[x] b=Refused[]"),
            ("a=x>y b=y>x; a=x", "a=Current[x] b=Current[y]"),
            ("a=x>y c=z>x b=y>z", "a=Current[x] b=Current[y] c=Refused[]"),
            ("a=w b=y>x c=v; a=w,x>y", "a=Outdated[w] b=Current[y] c=Current[v]"),
            ("a=x>y b=y; b=y>x", "a=Current[x] b=Outdated[y]"),
            ("a=x>y b=y; b=y>x; a=x", "a=Current[x] b=Current[y]"),
            ("a=x>y b=y; b=y>x; a-", "b=Current[y]"),
            // Two circles, one refusal each; one refusal that breaks both.
            ("a=x>y b=y>x c=v>w d=w>v", "a=Current[x] b=Refused[] c=Current[v] d=Refused[]"),
            ("a=x>z b=y>z c=z>x+y", "a=Current[x] b=Current[y] c=Refused[]"),
            // A circle is not what a name was refused for.
            ("a=x>y b=x c=y>x", "a=Current[x] b=Refused[] c=Refused[]"),
        ] {
            assert_eq!(state(&play(steps)), expected, "{steps}");
        }
    }

    #[test]
    fn a_collision_names_both_places() {
        let catalogue = play("a=w,x b=y,x");
        let problems = &catalogue.reports()[1].problems;
        assert_eq!(problems[0].to_string(), "b:3:12: check `x` is also in a, line 3: a name is unique on the node");
    }

    #[test]
    fn a_circle_names_all_of_it_and_where_it_is() {
        let catalogue = play("a=w,x>y b=y>u+z c=z>x");
        let problems = &catalogue.reports()[2].problems;
        assert_eq!(
            problems[0].to_string(),
            "c:2:56: these checks wait for each other in a circle: x -> y -> z -> x (x in a, line 3; y in b, line 2) \
             (take one of them out of `dependsOn`)"
        );
    }

    #[test]
    fn a_dependency_that_no_file_has_is_a_warning() {
        let mut catalogue = play("a=x>yy+roundsman b=yyy");
        let told = |catalogue: &Catalogue| {
            let problems = catalogue.reports().into_iter().flat_map(|report| report.problems);
            problems.map(|problem| problem.to_string()).collect::<Vec<_>>()
        };
        let expected =
            "a:2:56: warning: there is no check `yy` to depend on: nothing is waited for (did you mean `yyy`?)";
        assert_eq!(told(&catalogue), [expected]);
        assert_eq!(catalogue.reports()[0].version, Version::Current);
        catalogue.offer("c", "c", file("c", &["yy"]));
        catalogue.settle();
        assert_eq!(told(&catalogue), Vec::<String>::new());
    }

    #[test]
    fn a_circle_of_copies_does_not_stop_what_is_new() {
        let mut catalogue = Catalogue::default();
        for (name, check) in [("a", "x>y"), ("b", "y>x")] {
            catalogue.restore(name, file(name, &[check]).unwrap());
        }
        catalogue.offer("c", "c", file("c", &["v>w"]));
        catalogue.offer("d", "d", file("d", &["w>v"]));
        assert_eq!(catalogue.settle(), ["c"]);
        assert_eq!(state(&catalogue), "a=Current[x] b=Current[y] c=Current[v] d=Refused[]");
    }

    #[test]
    fn a_restored_version_stays_until_a_better_one_comes() {
        let mut catalogue = Catalogue::default();
        catalogue.restore("a", file("a", &["x"]).unwrap());
        catalogue.offer("a", "a", Err(vec![Problem::error("a", "broken")]));
        assert!(catalogue.settle().is_empty());
        assert_eq!(state(&catalogue), "a=Outdated[x]");
        assert_eq!(catalogue.reports()[0].problems[0].to_string(), "a: broken");
        catalogue.offer("a", "a", file("a", &["y"]));
        assert_eq!(catalogue.settle(), ["a"]);
        assert_eq!(state(&catalogue), "a=Current[y]");
    }

    #[test]
    fn a_node_has_its_limit() {
        let many = |prefix: &str, count: usize| (0..count).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>();
        let (a, b) = (many("a", MAX_PAIRS - 1), many("b", 2));
        let mut catalogue = Catalogue::default();
        let of = |names: &[String]| names.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        for (name, checks) in [("a", of(&a)), ("b", of(&b))] {
            catalogue.offer(name, name, file(name, &checks.split(',').collect::<Vec<_>>()));
        }
        assert_eq!(catalogue.settle(), ["a"]);
        let expected = "b: with this file there are 10001 pairs of check and target, more than the 10000 of one node";
        assert_eq!(catalogue.reports()[1].problems[0].to_string(), expected);
        assert_eq!(catalogue.checks().count(), MAX_PAIRS - 1);
    }
}
