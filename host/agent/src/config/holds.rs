//! What holds for any bytes that stand in `roundsman.yaml`, in a variable or behind `--set`.

use std::ffi::OsString;
use std::path::Path;

use super::{Config, Problem};

/// The file, and behind a zero byte a name, a value and a setting, each on a line. Tells whether all was taken.
pub(crate) fn any_config(bytes: &[u8]) -> bool {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let file = parts.next().unwrap_or_default();
    let more = String::from_utf8_lossy(parts.next().unwrap_or_default());
    // A command line is the operator's own, and no stranger's to put something into a terminal.
    let more: String = more.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    let mut lines = more.lines();
    let name = format!("ROUNDSMAN_{}", lines.next().unwrap_or("X").replace(['\0', '='], "_"));
    let environment = || [(OsString::from(&name), OsString::from(lines.clone().next().unwrap_or_default()))];
    let settings: Vec<_> = lines.clone().skip(1).collect();
    let (config, errors, warnings) =
        Config::examine(Some((Path::new("f"), file)), environment(), settings.as_slice(), "box");
    for problem in errors.iter().chain(&warnings) {
        let text = problem.to_string();
        assert!(!text.contains(char::is_control), "{text:?}");
    }
    assert!(errors.iter().all(Problem::is_error) && !warnings.iter().any(Problem::is_error));
    assert!(config.is_some() || !errors.is_empty(), "nothing is read and nothing is wrong");
    let loaded = Config::load(Some((Path::new("f"), file)), environment(), settings.as_slice(), "box");
    assert_eq!(loaded.is_ok(), errors.is_empty());
    if let Ok(loaded) = &loaded {
        assert_eq!((Some(&loaded.config), &loaded.warnings), (config.as_ref(), &warnings));
    }
    loaded.is_ok()
}
