//! What is wrong in a file, and where: the one form in which faults of configuration are told.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One thing that is wrong, with the place and the way out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// The file, or what stands in for one: `$ROUNDSMAN_HTTP__LISTEN`, `--set http.listen`.
    pub file: PathBuf,
    /// Counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// In characters, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// Where in the document, for instance `checks[2].timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub message: String,
    /// What to do about it, where the message does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    pub severity: Severity,
}

/// Whether the file can be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused whole.
    Error,
    /// The file is used; what is written will hardly do what was meant.
    Warning,
}

impl Problem {
    /// An error that concerns a whole file. Keys and values of the file may be part of what is said: it becomes one line.
    pub fn error(file: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: None,
            column: None,
            path: None,
            message: one_line(message.into()),
            hint: None,
            severity: Severity::Error,
        }
    }

    /// The same as a warning.
    pub fn warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    /// The same at a line and column; line 0 stands for a source without lines.
    pub fn at(self, line: u32, column: u32) -> Self {
        let known = |number: u32| (line > 0 && number > 0).then_some(number);
        Self { line: known(line), column: known(column), ..self }
    }

    /// The same with a place in the document.
    pub fn in_path(self, path: impl Into<String>) -> Self {
        let path = one_line(path.into());
        Self { path: (!path.is_empty()).then_some(path), ..self }
    }

    /// The same with a way out.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Whether the file cannot be used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Without what would move the cursor of a terminal.
fn one_line(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| !c.is_control()).collect()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        let word = if self.is_error() { "" } else { "warning: " };
        write!(f, ": {word}{}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text() {
        let plain = Problem::error("checks/shop.yaml", "unknown key `intervall`");
        for (problem, text) in [
            (plain.clone(), "checks/shop.yaml: unknown key `intervall`"),
            (plain.clone().at(4, 5), "checks/shop.yaml:4:5: unknown key `intervall`"),
            (plain.clone().at(0, 5), "checks/shop.yaml: unknown key `intervall`"),
            (
                plain.clone().at(4, 5).hint("did you mean `interval`?"),
                "checks/shop.yaml:4:5: unknown key `intervall` (did you mean `interval`?)",
            ),
            (plain.clone().warning(), "checks/shop.yaml: warning: unknown key `intervall`"),
            (Problem::error("f", "unknown key `\u{1b}[31m\n`").in_path("\u{1b}"), "f: unknown key `[31m `"),
        ] {
            assert_eq!(problem.to_string(), text);
        }
    }

    #[test]
    fn json_leaves_out_what_is_not_known_and_comes_back() {
        let problem = Problem::error("a.yaml", "no").in_path("");
        let json = serde_json::to_string(&problem).unwrap();
        assert_eq!(json, r#"{"file":"a.yaml","message":"no","severity":"error"}"#);
        assert_eq!(serde_json::from_str::<Problem>(&json).unwrap(), problem);
    }
}
