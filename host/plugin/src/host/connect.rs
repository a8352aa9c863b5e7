//! Connecting by `std::net`, noted for the story of the run. Everything else of a TCP socket is Wasmtime's own.

use wasmtime::component::{Linker, Resource};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, Host, IpSocketAddress, Network};
use wasmtime_wasi::p2::bindings::sockets::tcp::HostTcpSocket;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, TcpSocket};
use wasmtime_wasi::sockets::WasiSocketsView;

use crate::calls::Came;
use crate::state::RunState;

type Streams = (Resource<DynInputStream>, Resource<DynOutputStream>);

/// Puts two functions of our own in the place of Wasmtime's, which must be there already.
pub(super) fn link(linker: &mut Linker<RunState>) -> Result<()> {
    linker.allow_shadowing(true);
    let mut tcp = linker.instance("wasi:sockets/tcp@0.2.12")?;
    tcp.func_wrap(
        "[method]tcp-socket.start-connect",
        |mut store: StoreContextMut<'_, RunState>,
         (socket, network, address): (Resource<TcpSocket>, Resource<Network>, IpSocketAddress)| {
            Ok((store.data_mut().start_connect(socket, network, address)?,))
        },
    )?;
    tcp.func_wrap(
        "[method]tcp-socket.finish-connect",
        |mut store: StoreContextMut<'_, RunState>, (socket,): (Resource<TcpSocket>,)| {
            Ok((store.data_mut().finish_connect(socket)?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

impl RunState {
    fn start_connect(
        &mut self,
        socket: Resource<TcpSocket>,
        network: Resource<Network>,
        address: IpSocketAddress,
    ) -> Result<Result<(), ErrorCode>> {
        let (rep, to) = (socket.rep(), std::net::SocketAddr::from(address));
        self.trace.begin(&format!("connect {to}"), Some(rep));
        let mut sockets = self.sockets();
        match sockets.start_connect(socket, network, address) {
            Ok(()) => Ok(Ok(())),
            Err(error) => {
                let code = sockets.convert_error_code(error)?;
                self.trace.end_about(rep, Came::to_nothing(words(code)));
                Ok(Err(code))
            }
        }
    }

    fn finish_connect(&mut self, socket: Resource<TcpSocket>) -> Result<Result<Streams, ErrorCode>> {
        let rep = socket.rep();
        let mut sockets = self.sockets();
        match sockets.finish_connect(socket) {
            Ok(streams) => {
                self.trace.end_about(rep, Came::well("connected"));
                Ok(Ok(streams))
            }
            Err(error) => {
                let code = sockets.convert_error_code(error)?;
                if code != ErrorCode::WouldBlock {
                    self.trace.end_about(rep, Came::to_nothing(words(code)));
                }
                Ok(Err(code))
            }
        }
    }
}

/// WASI's own words are those of its WIT: `connection-refused`.
fn words(code: ErrorCode) -> String {
    code.name().replace('-', " ")
}
