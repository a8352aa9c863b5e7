//! Whether a unit that must be active is.

use roundsman_sdk::Status;
use roundsman_sdk::system::Unit;

/// A summary names so many units; the findings name all of them.
pub(crate) const NAMED: usize = 5;

/// Something that is not as it should be.
pub(crate) type Complaint = (Status, String);

/// What is wrong with a unit that must be active; none stands for one that systemd did not tell of.
pub(crate) fn inactive(name: &str, unit: Option<&Unit>) -> Option<Complaint> {
    let Some(unit) = unit else {
        return Some((Status::Unknown, format!("systemd tells nothing of {name}")));
    };
    match (unit.load_state.as_str(), unit.active_state.as_str(), unit.sub_state.as_str()) {
        ("not-found", _, _) => Some((Status::Critical, format!("{name} does not exist"))),
        ("masked", _, _) => Some((Status::Critical, format!("{name} is masked"))),
        (_, "active" | "reloading", _) => None,
        // On its way up for the first time, or again and again: the first passes soon.
        (_, "activating", "auto-restart") => {
            Some((Status::Critical, format!("{name} ended and waits for its restart")))
        }
        (_, "activating", _) => Some((Status::Warning, format!("{name} is starting"))),
        (_, state, sub) => Some((Status::Critical, format!("{name} is {state} ({sub})"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states() {
        for (load, active, sub, expected) in [
            ("loaded", "active", "running", None),
            ("loaded", "active", "exited", None),
            ("loaded", "reloading", "reload", None),
            ("loaded", "failed", "failed", Some((Status::Critical, "u.service is failed (failed)"))),
            ("loaded", "inactive", "dead", Some((Status::Critical, "u.service is inactive (dead)"))),
            (
                "loaded",
                "activating",
                "auto-restart",
                Some((Status::Critical, "u.service ended and waits for its restart")),
            ),
            ("loaded", "activating", "start-pre", Some((Status::Warning, "u.service is starting"))),
            ("not-found", "inactive", "dead", Some((Status::Critical, "u.service does not exist"))),
            ("masked", "inactive", "dead", Some((Status::Critical, "u.service is masked"))),
        ] {
            let unit = Unit {
                name: "u.service".to_owned(),
                description: String::new(),
                load_state: load.to_owned(),
                active_state: active.to_owned(),
                sub_state: sub.to_owned(),
            };
            assert_eq!(inactive("u.service", Some(&unit)), expected.map(|(status, text)| (status, text.to_owned())));
        }
        assert_eq!(inactive("u.service", None).unwrap().0, Status::Unknown);
    }
}
