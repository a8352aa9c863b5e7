//! `roundsman:check`: context, report, log and state; all answered from the run itself.

use roundsman_model::record::{Level, Status, Value};
use wasmtime::Result;

use crate::bindings::roundsman::check::{context, log, report, state, types};
use crate::gather::Refused;
use crate::state::RunState;

impl types::Host for RunState {}

impl context::Host for RunState {
    fn check_name(&mut self) -> Result<String> {
        Ok(self.job.assignment.key.check.to_string())
    }

    fn settings(&mut self) -> Result<String> {
        Ok(self.job.assignment.settings.clone())
    }

    fn target_name(&mut self) -> Result<Option<String>> {
        Ok(self.job.assignment.target.as_ref().map(|t| t.name.to_string()))
    }

    fn target_address(&mut self) -> Result<Option<String>> {
        Ok(self.job.assignment.target.as_ref().map(|t| t.address.to_string()))
    }

    fn target_labels(&mut self) -> Result<Vec<(String, String)>> {
        let labels = self.job.assignment.target.as_ref().map(|t| t.labels.clone());
        Ok(labels.unwrap_or_default().into_iter().collect())
    }

    fn node_name(&mut self) -> Result<String> {
        Ok(self.job.assignment.node.name.clone())
    }

    fn node_labels(&mut self) -> Result<Vec<(String, String)>> {
        Ok(self.job.assignment.node.labels.clone().into_iter().collect())
    }

    fn remaining_ns(&mut self) -> Result<u64> {
        let left = self.deadline.saturating_duration_since(tokio::time::Instant::now());
        Ok(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX))
    }

    fn scheduled_ns(&mut self) -> Result<i64> {
        Ok(self.job.scheduled.0)
    }

    fn attempt(&mut self) -> Result<u32> {
        Ok(self.job.attempt)
    }

    fn previous_status(&mut self) -> Result<Option<types::Status>> {
        Ok(self.job.previous.map(|status| match status {
            Status::Ok => types::Status::Ok,
            Status::Warning => types::Status::Warning,
            Status::Critical => types::Status::Critical,
            Status::Unknown => types::Status::Unknown,
        }))
    }
}

impl report::Host for RunState {
    fn latency_ns(&mut self, nanoseconds: u64) -> Result<()> {
        self.gathered.latency = Some(std::time::Duration::from_nanos(nanoseconds));
        Ok(())
    }

    fn point(
        &mut self,
        series: String,
        tags: Vec<(String, String)>,
        fields: Vec<(String, types::Value)>,
    ) -> Result<Result<(), types::Fault>> {
        let fields = fields.into_iter().map(|(name, value)| (name, from_guest(value))).collect();
        let described = self.description.clone();
        Ok(self.gathered.point(described.as_deref(), series, tags, fields).map_err(fault))
    }

    fn finding(&mut self, subject: String, status: types::Status, summary: String) -> Result<Result<(), types::Fault>> {
        Ok(self.gathered.finding(&subject, status_of(status), &summary).map_err(fault))
    }
}

impl log::Host for RunState {
    fn log(&mut self, level: log::Level, message: String) -> Result<()> {
        let level = match level {
            log::Level::Trace => Level::Trace,
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        self.gathered.log(level, &message);
        Ok(())
    }
}

impl state::Host for RunState {
    fn get(&mut self, key: String) -> Result<Option<Vec<u8>>> {
        Ok(self.gathered.recall(&self.job.memory, &key))
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> Result<Result<(), types::Fault>> {
        Ok(self.gathered.remember(&self.job.memory, key, Some(value)).map_err(fault))
    }

    fn delete(&mut self, key: String) -> Result<()> {
        // What cannot be a key was never set.
        drop(self.gathered.remember(&self.job.memory, key, None));
        Ok(())
    }
}

/// The status of the contract as the model's.
pub(crate) fn status_of(status: types::Status) -> Status {
    match status {
        types::Status::Ok => Status::Ok,
        types::Status::Warning => Status::Warning,
        types::Status::Critical => Status::Critical,
        types::Status::Unknown => Status::Unknown,
    }
}

fn from_guest(value: types::Value) -> Value {
    match value {
        types::Value::Real(real) => Value::Real(real),
        types::Value::Integer(integer) => Value::Integer(integer),
        types::Value::Boolean(boolean) => Value::Boolean(boolean),
        types::Value::Text(text) => Value::Text(text),
    }
}

fn fault(refused: Refused) -> types::Fault {
    types::Fault { code: refused.code.to_owned(), message: refused.message }
}
