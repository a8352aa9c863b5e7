//! What is answered from the run itself: context, report, log and state.

use roundsman_sdk::bindings::roundsman::check::types::{Fault, Status, Value};
use roundsman_sdk::bindings::roundsman::check::{context, log, report, state};

use crate::{show, tell, text};

pub(crate) fn tour() -> Result<(), Fault> {
    tell("context.check-name", context::check_name());
    tell("context.settings", context::settings());
    tell("context.target-name", show(context::target_name()));
    tell("context.target-address", show(context::target_address()));
    tell("context.target-labels", format!("{:?}", context::target_labels()));
    tell("context.node-name", context::node_name());
    tell("context.node-labels", format!("{:?}", context::node_labels()));
    tell("context.remaining-ns", context::remaining_ns());
    tell("context.scheduled-ns", context::scheduled_ns());
    tell("context.attempt", context::attempt());
    tell("context.previous-status", format!("{:?}", context::previous_status()));
    tell("state.get", show(state::get("before").map(|value| text(&value))));
    state::set("now", b"set by the plugin")?;
    state::delete("gone");
    report::latency_ns(1_234_567);
    let fields = [
        ("real", Value::Real(0.5)),
        ("integer", Value::Integer(-7)),
        ("boolean", Value::Boolean(true)),
        ("text", Value::Text("told".to_owned())),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value));
    report::point("tour", &[("stage".to_owned(), "first".to_owned())], &fields)?;
    report::finding("a subject", Status::Critical, "a finding")?;
    log::log(log::Level::Error, "said by the plugin");
    Ok(())
}
