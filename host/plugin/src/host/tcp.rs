//! `roundsman:net/tcp`: connections as handles, on top of `probe::tcp`.

use std::time::Duration;

use roundsman_probe::tcp::{self as probe, CHUNK, MAX_RECEIVE};
use wasmtime::Result;
use wasmtime::component::Resource;

use crate::bindings::roundsman::net::{tcp, types};
use crate::host::http::Certificate;
use crate::host::watch::Watch;
use crate::state::RunState;

/// A connection that a guest draws up, has, or had.
#[derive(Debug)]
pub struct Connection {
    connection: probe::Connection,
    /// For people: `tcp://shop.example:25`.
    what: String,
    /// Bytes that are charged to the run as long as the handle lives.
    held: usize,
    /// And what the connection itself keeps at the moment.
    kept: usize,
}

type Told<T> = std::result::Result<T, types::Failure>;

impl RunState {
    /// Changes a connection that is being drawn up, which may grow by so many bytes.
    fn draw_up_connection(
        &mut self,
        connection: &Resource<Connection>,
        more: usize,
        change: impl FnOnce(&mut probe::Connection),
    ) -> Result<()> {
        let connection = self.table.get_mut(connection)?;
        self.limiter.hold(more)?;
        connection.held += more;
        change(&mut connection.connection);
        Ok(())
    }

    /// Charges what a connection keeps after a call.
    fn charge_connection(&mut self, connection: &Resource<Connection>) -> Result<()> {
        let connection = self.table.get_mut(connection)?;
        let keeps = connection.connection.held_bytes();
        if keeps > connection.kept {
            self.limiter.hold(keeps - connection.kept)?;
        } else {
            self.limiter.release(connection.kept - keeps);
        }
        connection.kept = keeps;
        Ok(())
    }
}

/// What a call reads before the guest has it, which is never more than this.
fn room(max_bytes: u32, most: usize) -> usize {
    usize::try_from(max_bytes).unwrap_or(usize::MAX).min(most)
}

impl tcp::Host for RunState {}

impl tcp::HostConnection for RunState {
    fn new(&mut self, address: String) -> Result<Resource<Connection>> {
        let held = address.len();
        self.limiter.hold(held)?;
        let connection = probe::Connection::new(&address);
        let what = format!("tcp://{address}");
        Ok(self.table.push(Connection { connection, what, held, kept: 0 })?)
    }

    fn set_timeout_ns(&mut self, connection: Resource<Connection>, nanoseconds: u64) -> Result<()> {
        self.draw_up_connection(&connection, 0, |c| c.set_timeout(Duration::from_nanos(nanoseconds)))
    }

    fn set_address_family(&mut self, connection: Resource<Connection>, family: String) -> Result<()> {
        self.draw_up_connection(&connection, 0, |c| c.set_address_family(&family))
    }

    fn set_source_address(&mut self, connection: Resource<Connection>, address: String) -> Result<()> {
        self.draw_up_connection(&connection, 0, |c| c.set_source_address(&address))
    }

    fn set_server_name(&mut self, connection: Resource<Connection>, name: String) -> Result<()> {
        self.draw_up_connection(&connection, name.len(), |c| c.set_server_name(&name))
    }

    fn set_verify_certificate(&mut self, connection: Resource<Connection>, verify: bool) -> Result<()> {
        self.draw_up_connection(&connection, 0, |c| c.set_verify_certificate(verify))
    }

    fn set_protocols(&mut self, connection: Resource<Connection>, protocols: Vec<String>) -> Result<()> {
        let bytes = protocols.iter().map(String::len).sum();
        self.draw_up_connection(&connection, bytes, |c| c.set_protocols(&protocols))
    }

    fn set_certificate_authority(&mut self, connection: Resource<Connection>, secret: String) -> Result<()> {
        self.draw_up_connection(&connection, secret.len(), |c| c.set_certificate_authority(&secret))
    }

    fn set_client_certificate(&mut self, connection: Resource<Connection>, secret: String) -> Result<()> {
        self.draw_up_connection(&connection, secret.len(), |c| c.set_client_certificate(&secret))
    }

    fn set_option(&mut self, connection: Resource<Connection>, name: String, value: String) -> Result<Told<()>> {
        let result = self.table.get_mut(&connection)?.connection.set_option(&name, &value);
        let before = self.trace.dialled();
        Ok(self.told(before, result))
    }

    async fn connect(&mut self, connection: Resource<Connection>) -> Result<Told<()>> {
        let permit = match self.opened.open(&self.probe) {
            Ok(permit) => permit,
            Err(failure) => {
                let before = self.trace.dialled();
                return Ok(self.told(before, Err(failure)));
            }
        };
        let grants = self.job.assignment.grants.clone();
        let Connection { connection: call, what, .. } = self.table.get_mut(&connection)?;
        let before = self.trace.dial(Some(what.clone()));
        let watch = Watch::begin(&self.trace, format!("connect {}", call.address()), call);
        let result = self.probe.tcp_connect(&grants, watch.subject, permit, self.host_deadline).await;
        watch.end(&result, |_, ()| "connected".to_owned());
        Ok(self.told(before, result))
    }

    async fn start_tls(&mut self, connection: Resource<Connection>) -> Result<Told<()>> {
        let grants = self.job.assignment.grants.clone();
        let Connection { connection: call, what, .. } = self.table.get_mut(&connection)?;
        let before = self.trace.dial(Some(what.clone()));
        let watch = Watch::begin(&self.trace, format!("TLS with {}", call.address()), call);
        let result = self.probe.tcp_start_tls(&grants, watch.subject, self.host_deadline).await;
        watch.end(&result, |c, ()| format!("TLS {}", c.fact("tls-version").unwrap_or_default()));
        self.charge_connection(&connection)?;
        Ok(self.told(before, result))
    }

    async fn send(&mut self, connection: Resource<Connection>, bytes: Vec<u8>) -> Result<Told<()>> {
        self.limiter.hold(bytes.len())?;
        let Connection { connection: call, what, .. } = self.table.get_mut(&connection)?;
        let before = self.trace.dial(Some(what.clone()));
        let watch = Watch::quietly(&self.trace, format!("send to {}", call.address()), call);
        let result = self.probe.tcp_send(watch.subject, &bytes, self.host_deadline).await;
        watch.end(&result, |_, ()| String::new());
        self.limiter.release(bytes.len());
        Ok(self.told(before, result))
    }

    async fn send_secret(
        &mut self,
        connection: Resource<Connection>,
        secret: String,
        key: String,
        encoding: String,
    ) -> Result<Told<()>> {
        let grants = self.job.assignment.grants.clone();
        let Connection { connection: call, what, .. } = self.table.get_mut(&connection)?;
        let before = self.trace.dial(Some(what.clone()));
        let watch = Watch::quietly(&self.trace, format!("send a secret to {}", call.address()), call);
        let deadline = self.host_deadline;
        let result = self.probe.tcp_send_secret(&grants, watch.subject, &secret, &key, &encoding, deadline).await;
        watch.end(&result, |_, ()| String::new());
        Ok(self.told(before, result))
    }

    async fn receive(&mut self, connection: Resource<Connection>, max_bytes: u32) -> Result<Told<Vec<u8>>> {
        let room = room(max_bytes, CHUNK);
        self.limiter.hold(room)?;
        let Connection { connection: call, what, .. } = self.table.get_mut(&connection)?;
        let before = self.trace.dial(Some(what.clone()));
        let watch = Watch::begin(&self.trace, format!("receive from {}", call.address()), call);
        let max_bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        let result = self.probe.tcp_receive(watch.subject, max_bytes, self.host_deadline).await;
        watch.end(&result, |_, bytes| format!("{} bytes", bytes.len()));
        self.limiter.release(room);
        self.charge_connection(&connection)?;
        Ok(self.told(before, result))
    }

    async fn receive_until(
        &mut self,
        connection: Resource<Connection>,
        bytes: Vec<u8>,
        max_bytes: u32,
    ) -> Result<Told<Vec<u8>>> {
        let room = room(max_bytes, MAX_RECEIVE);
        self.limiter.hold(room)?;
        let Connection { connection: call, what, .. } = self.table.get_mut(&connection)?;
        let before = self.trace.dial(Some(what.clone()));
        let watch = Watch::begin(&self.trace, format!("receive from {}", call.address()), call);
        let result = self.probe.tcp_receive_until(watch.subject, &bytes, room, self.host_deadline).await;
        watch.end(&result, |_, bytes| format!("{} bytes", bytes.len()));
        self.limiter.release(room);
        self.charge_connection(&connection)?;
        Ok(self.told(before, result))
    }

    async fn close(&mut self, connection: Resource<Connection>) -> Result<Told<()>> {
        let Connection { connection: call, what, .. } = self.table.get_mut(&connection)?;
        let before = self.trace.dial(Some(what.clone()));
        let watch = Watch::quietly(&self.trace, format!("close towards {}", call.address()), call);
        let result = self.probe.tcp_close(watch.subject, self.host_deadline).await;
        watch.end(&result, |_, ()| String::new());
        Ok(self.told(before, result))
    }

    fn timing_ns(&mut self, connection: Resource<Connection>, phase: String) -> Result<Option<u64>> {
        let timing = self.table.get(&connection)?.connection.timing(&phase);
        Ok(timing.map(crate::calls::nanoseconds))
    }

    fn peer_address(&mut self, connection: Resource<Connection>) -> Result<Option<String>> {
        Ok(self.table.get(&connection)?.connection.peer())
    }

    fn certificates(&mut self, connection: Resource<Connection>) -> Result<Vec<Resource<Certificate>>> {
        let chain = self.table.get(&connection)?.connection.certificates().to_vec();
        chain.into_iter().map(|certificate| Ok(self.table.push(Certificate(certificate))?)).collect()
    }

    fn fact(&mut self, connection: Resource<Connection>, name: String) -> Result<Option<String>> {
        Ok(self.table.get(&connection)?.connection.fact(&name))
    }

    fn drop(&mut self, connection: Resource<Connection>) -> Result<()> {
        let connection = self.table.delete(connection)?;
        self.limiter.release(connection.held + connection.kept);
        Ok(())
    }
}
