//! What `std::net` lacks on WASI 0.2 (connecting and reading with a limit of time that can be relied upon), and the words
//! that the network's interfaces share.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub use crate::exchange::{Certificate, Failure, Family, Timings};

/// Connects, and waits for it at most so long. On WASI 0.2 `TcpStream::connect_timeout` alone may return a stream whose
/// connection was refused, when the refusal does not come at once: the C library's `poll` then reports no error.
///
/// # Errors
/// `TimedOut` when nobody answered in time, otherwise as `TcpStream::connect`.
pub fn connect(address: &SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    // Zero would be an error of the caller's, not of the peer's.
    let stream = TcpStream::connect_timeout(address, limit.max(SHORTEST))?;
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    stream.peer_addr()?;
    Ok(stream)
}

/// Reads once, as [`Read::read`] does, and waits for it at most so long. On WASI 0.2 `set_read_timeout` is not
/// supported, and a plain `read` would wait until the host cuts the run, which then cannot say what hung.
///
/// # Errors
/// `TimedOut` when nothing came in time, otherwise as `read`.
pub fn read_within(stream: &mut TcpStream, buffer: &mut [u8], limit: Duration) -> io::Result<usize> {
    let deadline = Instant::now() + limit;
    // A socket that `poll` calls ready may have nothing to read after all: a blocking read would then wait for ever.
    stream.set_nonblocking(true)?;
    let read = loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            ended => break ended,
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break Err(io::ErrorKind::TimedOut.into());
        }
        if let Err(error) = platform::wait_readable(stream, left) {
            break Err(error);
        }
    };
    stream.set_nonblocking(false)?;
    read
}

/// What `poll` can wait for, and what `std` takes.
const SHORTEST: Duration = Duration::from_millis(1);

#[cfg(target_os = "wasi")]
mod platform {
    use std::os::fd::AsRawFd;

    use super::{Duration, TcpStream, io};

    /// Waits until there may be something to read, or the limit is over.
    pub(super) fn wait_readable(stream: &TcpStream, limit: Duration) -> io::Result<()> {
        // Rounded up: the last wait must not become none at all, over and over.
        let limit_ms = i32::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
        let mut poll = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        #[expect(unsafe_code, reason = "one valid `pollfd` of an open socket, for the duration of the call")]
        let ready = unsafe { libc::poll(&raw mut poll, 1, limit_ms) };
        if ready < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// For native tests alone: without a crate for `poll`, by looking without taking.
#[cfg(not(target_os = "wasi"))]
mod platform {
    use super::{Duration, SHORTEST, TcpStream, io};

    pub(super) fn wait_readable(stream: &TcpStream, limit: Duration) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(limit.max(SHORTEST)))?;
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(true)?;
        match peeked {
            Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_comes_and_what_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = connect(&listener.local_addr().unwrap(), Duration::from_secs(10)).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut buffer = [0; 8];
        for limit in [Duration::from_millis(20), Duration::ZERO] {
            let silence = read_within(&mut client, &mut buffer, limit).unwrap_err();
            assert_eq!(silence.kind(), io::ErrorKind::TimedOut);
        }
        server.write_all(b"hello").unwrap();
        assert_eq!(read_within(&mut client, &mut buffer, Duration::from_secs(10)).unwrap(), 5);
        drop(server);
        assert_eq!(read_within(&mut client, &mut buffer, Duration::from_secs(10)).unwrap(), 0);
    }

    #[test]
    fn a_port_that_is_closed() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = connect(&address, Duration::from_secs(10)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
