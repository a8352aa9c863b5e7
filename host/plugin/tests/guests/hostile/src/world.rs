//! What plain `std::net` and `std::fs` come to, with and without a grant.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::time::Duration;

use roundsman_sdk::{Fault, Outcome, http};

/// None: it is something else that is asked for.
pub(crate) fn run(what: &str, with: &str) -> Option<Result<Outcome, Fault>> {
    Some(match what {
        "connect" => Ok(said(TcpStream::connect(with).map(|_| "connected".to_owned()))),
        "echo" => Ok(said(echo(with))),
        "read" => Ok(said(TcpStream::connect(with).and_then(|mut stream| read(&mut stream)))),
        "connect-and-sleep" => {
            drop(TcpStream::connect(with));
            Ok(crate::sleep())
        }
        "hold-and-sleep" => {
            let held = TcpStream::connect(with);
            let slept = crate::sleep();
            drop(held);
            Ok(slept)
        }
        "connect-and-spin" => {
            drop(TcpStream::connect(with));
            loop {
                std::hint::spin_loop();
            }
        }
        "listen" => Ok(said(TcpListener::bind("0.0.0.0:0").map(|_| "listening".to_owned()))),
        "ask-udp" => Ok(said(ask_udp(with))),
        "look-up" => Ok(said((with, 80).to_socket_addrs().map(|found| format!("{} addresses", found.count())))),
        "sockets" => {
            let mut sockets = Vec::new();
            let stopped = loop {
                match UdpSocket::bind("0.0.0.0:0") {
                    Ok(socket) => sockets.push(socket),
                    Err(error) => break error,
                }
            };
            Ok(Outcome::ok(format!("{} sockets, then {stopped}", sockets.len())))
        }
        "sockets-dropped" => {
            (0..500).for_each(|_| drop(UdpSocket::bind("0.0.0.0:0")));
            Ok(Outcome::ok("none is left"))
        }
        "fetch" => match http::Request::get(with).send() {
            Ok(response) => Ok(Outcome::ok(format!("status {}", response.status))),
            Err(failure) => failure.into_outcome_or_fault(),
        },
        "fetch-for-ever" => loop {
            drop(http::Request::get(with).send());
        },
        "fetch-swallow" => {
            drop(http::Request::get(with).send());
            Ok(Outcome::ok("whatever"))
        }
        "read-file" => Ok(said(std::fs::read_to_string(with))),
        "look-at-file" => Ok(said(std::fs::metadata(with).map(|found| format!("{} bytes", found.len())))),
        "list" => Ok(said(list(with))),
        "write-file" => Ok(said(std::fs::write(with, "x").map(|()| "written".to_owned()))),
        "remove-file" => Ok(said(std::fs::remove_file(with).map(|()| "removed".to_owned()))),
        "make-directory" => Ok(said(std::fs::create_dir(with).map(|()| "made".to_owned()))),
        "rename-file" => Ok(said(std::fs::rename(with, format!("{with}.new")).map(|()| "renamed".to_owned()))),
        "files" => Ok(files(Path::new(with))),
        "environment" => {
            let variables: Vec<_> = std::env::vars().map(|(name, _)| name).collect();
            Ok(Outcome::ok(format!("{variables:?} {:?}", std::env::args().collect::<Vec<_>>())))
        }
        _ => return None,
    })
}

/// An outcome of what worked, critical for what did not: as a plugin would say it that knows nothing of grants.
fn said(result: std::io::Result<String>) -> Outcome {
    match result {
        Ok(text) => Outcome::ok(text),
        Err(error) => Outcome::critical(format!("{:?}: {error}", error.kind())),
    }
}

fn echo(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"hello\n")?;
    read(&mut stream)
}

fn read(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut buffer = [0; 64];
    let count = stream.read(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

fn ask_udp(address: &str) -> std::io::Result<String> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.send_to(b"hello", address)?;
    let mut buffer = [0; 64];
    let (count, _) = socket.recv_from(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

fn list(path: &str) -> std::io::Result<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.join(" "))
}

fn files(path: &Path) -> Outcome {
    let mut files = Vec::new();
    let stopped = loop {
        match std::fs::File::open(path) {
            Ok(file) => files.push(file),
            Err(error) => break error,
        }
    };
    std::thread::sleep(Duration::from_millis(1));
    Outcome::ok(format!("{} files, then {stopped}", files.len()))
}
