//! Scripted answers of the node's programs.

use std::fmt;
use std::time::Duration;

use super::Script;
use super::exchange::Told;
use crate::command::{Order, Run};

/// The name of these answers in a case.
pub(crate) const PART: &str = "command";

/// What comes of running one program.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Path and arguments, with single spaces between them.
    pub run: String,
    /// What it must be fed with, or a part of it.
    pub input: Option<String>,
    pub reply: Result<Reply, Told>,
}

/// What the program does.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub exit: Option<i32>,
    pub signal: Option<i32>,
    pub output: Vec<u8>,
    pub errors: Vec<u8>,
    pub duration: Duration,
    pub cpu: Duration,
}

impl Script {
    /// As if the program had been run.
    pub(crate) fn command(&self, order: &Order) -> Run {
        let line = order.line();
        let fits = |answer: &Answer| {
            let fed = |part: &String| String::from_utf8_lossy(order.input()).contains(part.as_str());
            answer.run == line && answer.input.as_ref().is_none_or(fed)
        };
        match self.pick(PART, &self.command, &format!("the command {line}"), fits) {
            Ok(Answer { reply: Ok(reply), .. }) => ran(reply, order.max_output()),
            Ok(Answer { reply: Err(told), .. }) => told.failure().into(),
            Err(failure) => failure.into(),
        }
    }
}

fn ran(reply: &Reply, most: usize) -> Run {
    let kept = |bytes: &[u8]| (bytes.iter().copied().take(most).collect::<Vec<u8>>(), bytes.len() > most);
    let ((output, output_truncated), (errors, errors_truncated)) = (kept(&reply.output), kept(&reply.errors));
    Run {
        result: Ok(()),
        exit_status: reply.exit,
        signal: reply.signal,
        output,
        errors,
        output_truncated,
        errors_truncated,
        duration: Some(reply.duration),
        cpu: Some(reply.cpu),
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.run)
    }
}
