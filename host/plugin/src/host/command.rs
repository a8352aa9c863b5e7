//! `roundsman:host/command`: programs as handles, on top of `probe::command`.

use std::sync::Arc;
use std::time::Duration;

use roundsman_probe::command as probe;
use roundsman_probe::failure::{Failure, code};
use wasmtime::Result;
use wasmtime::component::Resource;

use crate::bindings::roundsman::host::command;
use crate::calls::Came;
use crate::host::explain;
use crate::state::RunState;

/// A program that a guest draws up, and what is known of its last run.
#[derive(Debug)]
pub struct Program {
    /// Shared with the run under way.
    order: Arc<probe::Order>,
    last: Option<probe::Run>,
    /// Bytes that are charged to the run as long as the handle lives: of the order, and of what came back.
    held: usize,
    kept: usize,
}

type Told<T> = std::result::Result<T, command::Failure>;

impl RunState {
    /// Changes a program that is being drawn up, which may grow by so many bytes.
    fn draw_up_program(
        &mut self,
        program: &Resource<Program>,
        more: usize,
        change: impl FnOnce(&mut probe::Order),
    ) -> Result<()> {
        let program = self.table.get_mut(program)?;
        self.limiter.hold(more)?;
        program.held += more;
        change(Arc::make_mut(&mut program.order));
        Ok(())
    }

    fn tell(&self, failure: &Failure) -> command::Failure {
        if failure.code == code::DENIED {
            self.trace.deny(failure);
        }
        command::Failure { code: failure.code.to_owned(), message: failure.message.clone() }
    }
}

fn came(run: &probe::Run) -> Came {
    match (&run.result, run.exit_status, run.signal) {
        (Err(failure), ..) => Came::to_nothing(explain(failure)),
        (Ok(()), Some(status), _) => Came::well(format!("exit status {status}")),
        (Ok(()), None, Some(signal)) => Came::well(format!("ended by signal {signal}")),
        (Ok(()), None, None) => Came::well("ended"),
    }
}

impl command::Host for RunState {}

impl command::HostProgram for RunState {
    fn new(&mut self, path: String) -> Result<Resource<Program>> {
        let held = path.len();
        self.limiter.hold(held)?;
        let order = Arc::new(probe::Order::new(&path));
        Ok(self.table.push(Program { order, last: None, held, kept: 0 })?)
    }

    fn add_argument(&mut self, program: Resource<Program>, argument: String) -> Result<()> {
        self.draw_up_program(&program, argument.len(), |order| order.add_argument(&argument))
    }

    fn set_environment(&mut self, program: Resource<Program>, name: String, value: String) -> Result<()> {
        self.draw_up_program(&program, name.len() + value.len(), |order| order.set_environment(&name, &value))
    }

    fn set_environment_secret(
        &mut self,
        program: Resource<Program>,
        name: String,
        secret: String,
        key: String,
    ) -> Result<()> {
        let bytes = name.len() + secret.len() + key.len();
        self.draw_up_program(&program, bytes, |order| order.set_environment_secret(&name, &secret, &key))
    }

    fn set_input(&mut self, program: Resource<Program>, bytes: Vec<u8>) -> Result<()> {
        self.draw_up_program(&program, bytes.len(), |order| order.set_input(bytes))
    }

    fn set_max_output(&mut self, program: Resource<Program>, bytes: u32) -> Result<()> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.draw_up_program(&program, 0, |order| order.set_max_output(bytes))
    }

    fn set_timeout_ns(&mut self, program: Resource<Program>, nanoseconds: u64) -> Result<()> {
        self.draw_up_program(&program, 0, |order| order.set_timeout(Duration::from_nanos(nanoseconds)))
    }

    fn set_option(&mut self, program: Resource<Program>, name: String, value: String) -> Result<Told<()>> {
        let program = self.table.get_mut(&program)?;
        let result = Arc::make_mut(&mut program.order).set_option(&name, &value);
        Ok(result.map_err(|failure| self.tell(&failure)))
    }

    async fn run(&mut self, program: Resource<Program>) -> Result<Told<()>> {
        let order = self.table.get(&program)?.order.clone();
        let (probe, job) = (self.probe.clone(), self.job.clone());
        let call = self.trace.begin(&format!("run {}", order.path()), None);
        let (plugin, opened) = (self.opened.plugin().clone(), &mut self.opened);
        let permit = || opened.open(&probe);
        let run = probe.command(&job.assignment.grants, plugin.as_str(), &order, permit, self.host_deadline).await;
        self.trace.end(call, came(&run));
        let told = match &run.result {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.tell(failure)),
        };
        let kept = run.output.len() + run.errors.len();
        let program = self.table.get_mut(&program)?;
        self.limiter.release(std::mem::take(&mut program.kept));
        self.limiter.hold(kept)?;
        program.kept = kept;
        program.last = Some(run);
        Ok(told)
    }

    fn exit_status(&mut self, program: Resource<Program>) -> Result<Option<i32>> {
        Ok(self.table.get(&program)?.last.as_ref().and_then(|run| run.exit_status))
    }

    fn signal(&mut self, program: Resource<Program>) -> Result<Option<i32>> {
        Ok(self.table.get(&program)?.last.as_ref().and_then(|run| run.signal))
    }

    fn output(&mut self, program: Resource<Program>) -> Result<Vec<u8>> {
        Ok(self.table.get(&program)?.last.as_ref().map(|run| run.output.clone()).unwrap_or_default())
    }

    fn errors(&mut self, program: Resource<Program>) -> Result<Vec<u8>> {
        Ok(self.table.get(&program)?.last.as_ref().map(|run| run.errors.clone()).unwrap_or_default())
    }

    fn fact(&mut self, program: Resource<Program>, name: String) -> Result<Option<String>> {
        Ok(self.table.get(&program)?.last.as_ref().and_then(|run| run.fact(&name)))
    }

    fn drop(&mut self, program: Resource<Program>) -> Result<()> {
        let program = self.table.delete(program)?;
        self.limiter.release(program.held + program.kept);
        Ok(())
    }
}
