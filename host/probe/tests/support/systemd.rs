//! A message bus as Debian ships it (the package dbus), and somebody on it who answers like systemd.
//!
//! The bus takes no message that is not well-formed, so it judges both sides.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

const CONFIG: &str = r#"<busconfig>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    DENIED
  </policy>
</busconfig>
"#;

/// A bus that ends with the test.
pub struct Bus {
    pub socket: PathBuf,
    daemon: Child,
    _folder: Option<tempfile::TempDir>,
}

/// Whether there can be a bus; if not, it is said that a test cannot be run.
pub fn may_be_played() -> bool {
    let version = Command::new("dbus-daemon").arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).status();
    let there = version.is_ok();
    if !there {
        super::skipped("dbus-daemon is not installed (`cargo xtask test` fetches it)");
    }
    there
}

impl Bus {
    /// On which everybody may do everything.
    pub fn start() -> Bus {
        Bus::with("")
    }

    /// The same, with its socket, `bus`, in a folder that is known before.
    pub fn start_in(folder: &Path) -> Bus {
        Bus::begin(folder, "", None)
    }

    /// On which nobody may ask systemd.
    pub fn that_refuses() -> Bus {
        Bus::with(r#"<deny send_destination="org.freedesktop.systemd1"/>"#)
    }

    fn with(denied: &str) -> Bus {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        Bus::begin(&path, denied, Some(folder))
    }

    fn begin(path: &Path, denied: &str, folder: Option<tempfile::TempDir>) -> Bus {
        let (socket, config) = (path.join("bus"), path.join("config"));
        std::fs::write(&config, CONFIG.replace("SOCKET", socket.to_str().unwrap()).replace("DENIED", denied)).unwrap();
        let mut command = Command::new("dbus-daemon");
        command.arg("--config-file").arg(&config).args(["--nofork", "--nopidfile", "--print-address=1"]);
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut daemon = started.expect("dbus-daemon cannot be started: install the package dbus");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.starts_with("unix:path="), "{address:?}");
        Bus { socket, daemon, _folder: folder }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }
}

/// How systemd answers.
#[derive(Clone, Copy)]
pub enum Manner {
    /// With bytes in this order.
    Well {
        big_endian: bool,
    },
    /// With an error of this name.
    Error(&'static str),
    /// With a string.
    Otherwise,
    Never,
}

/// Name, description, load, active and sub state.
pub type Unit = [&'static str; 5];

/// Puts somebody on the bus who knows these units. The thread ends with the bus.
pub fn serve(bus: &Bus, manner: Manner, units: &'static [Unit]) {
    let mut stream = UnixStream::connect(&bus.socket).unwrap();
    stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\n").unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"\r\n") || said.iter().filter(|byte| **byte == b'\n').count() < 2 {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        said.push(byte[0]);
    }
    stream.write_all(b"BEGIN\r\n").unwrap();
    let bus_itself = |member| {
        let name = "org.freedesktop.DBus";
        vec![(1, "o", "/org/freedesktop/DBus"), (2, "s", name), (3, "s", member), (6, "s", name)]
    };
    let mut name = Bytes { bytes: Vec::new(), big_endian: false };
    name.string("org.freedesktop.systemd1");
    name.u32(4);
    for (serial, member, body) in [(1, "Hello", None), (2, "RequestName", Some(("su", name)))] {
        stream.write_all(&message(false, 1, serial, &bus_itself(member), None, body)).unwrap();
        while Incoming::read(&mut stream).unwrap().answers != Some(serial) {}
    }
    thread::spawn(move || {
        let mut serial = 2;
        while let Some(asked) = Incoming::read(&mut stream) {
            // Calls alone; the bus tells of other things, too.
            if asked.kind == 1 {
                serial += 1;
                if let Some(answer) = answer(&asked, serial, manner, units) {
                    stream.write_all(&answer).unwrap();
                }
            }
        }
    });
}

fn answer(asked: &Incoming, serial: u32, manner: Manner, units: &[Unit]) -> Option<Vec<u8>> {
    let wanted = |unit: &&Unit| match asked.member.as_str() {
        "ListUnitsFiltered" => asked.strings.iter().any(|state| state == unit[3]),
        "ListUnitsByNames" => asked.strings.iter().any(|name| name == unit[0]),
        other => panic!("systemd has no {other} here"),
    };
    let big_endian = matches!(manner, Manner::Well { big_endian: true });
    let mut body = Bytes { bytes: Vec::new(), big_endian };
    let (kind, error, signature) = match manner {
        Manner::Well { .. } => {
            let mut list = Bytes { bytes: Vec::new(), big_endian };
            for unit in units.iter().filter(wanted) {
                list.align(8);
                unit.iter().for_each(|text| list.string(text));
                list.string("");
                list.string("/org/freedesktop/systemd1/unit/x");
                list.u32(7);
                list.string("start");
                list.string("/");
            }
            body.u32(list.bytes.len());
            body.align(8);
            body.bytes.extend(list.bytes);
            (2, None, "a(ssssssouso)")
        }
        Manner::Error(name) => {
            body.string("because\nof \u{1b}[31mthat");
            (3, Some(name), "s")
        }
        Manner::Otherwise => {
            body.string("what?");
            (2, None, "s")
        }
        Manner::Never => return None,
    };
    let mut fields = vec![(6, "s", asked.sender.as_str())];
    fields.extend(error.map(|name| (4, "s", name)));
    Some(message(big_endian, kind, serial, &fields, Some(asked.serial), Some((signature, body))))
}

struct Bytes {
    bytes: Vec<u8>,
    big_endian: bool,
}

impl Bytes {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, number: usize) {
        self.align(4);
        let number = u32::try_from(number).unwrap();
        self.bytes.extend(if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() });
    }

    fn string(&mut self, text: &str) {
        self.u32(text.len());
        self.bytes.extend([text.as_bytes(), b"\0"].concat());
    }

    fn signature(&mut self, text: &str) {
        self.bytes.push(u8::try_from(text.len()).unwrap());
        self.bytes.extend([text.as_bytes(), b"\0"].concat());
    }
}

fn message(
    big_endian: bool,
    kind: u8,
    serial: u32,
    texts: &[(u8, &str, &str)],
    answers: Option<u32>,
    body: Option<(&str, Bytes)>,
) -> Vec<u8> {
    let mut fields = Bytes { bytes: Vec::new(), big_endian };
    for (name, signature, value) in texts {
        fields.align(8);
        fields.bytes.push(*name);
        fields.signature(signature);
        fields.string(value);
    }
    if let Some((signature, _)) = &body {
        fields.align(8);
        fields.bytes.push(8);
        fields.signature("g");
        fields.signature(signature);
    }
    if let Some(answers) = answers {
        fields.align(8);
        fields.bytes.push(5);
        fields.signature("u");
        fields.u32(answers as usize);
    }
    let body = body.map(|(_, body)| body.bytes).unwrap_or_default();
    let order = if big_endian { b'B' } else { b'l' };
    let mut message = Bytes { bytes: vec![order, kind, 0, 1], big_endian };
    message.u32(body.len());
    message.u32(serial as usize);
    message.u32(fields.bytes.len());
    message.bytes.extend(fields.bytes);
    message.align(8);
    message.bytes.extend(body);
    message.bytes
}

/// What is looked at of a message; those of the bus and of the agent are little-endian.
#[derive(Default)]
struct Incoming {
    kind: u8,
    serial: u32,
    answers: Option<u32>,
    sender: String,
    member: String,
    strings: Vec<String>,
}

impl Incoming {
    fn read(stream: &mut UnixStream) -> Option<Incoming> {
        let mut head = [0; 16];
        stream.read_exact(&mut head).ok()?;
        assert_eq!(head[0], b'l');
        let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap()) as usize;
        let fields_length = number(12);
        let mut fields = vec![0; fields_length.next_multiple_of(8)];
        let mut body = vec![0; number(4)];
        stream.read_exact(&mut fields).ok()?;
        stream.read_exact(&mut body).ok()?;
        let mut incoming = Incoming { kind: head[1], serial: number(8) as u32, ..Incoming::default() };
        let mut at = 0;
        while at < fields_length {
            at = at.next_multiple_of(8);
            let (name, kind) = (fields[at], fields[at + 2]);
            at += 4;
            if kind == b'g' {
                at += usize::from(fields[at]) + 2;
                continue;
            }
            at = at.next_multiple_of(4);
            let value = u32::from_le_bytes(fields[at..at + 4].try_into().unwrap());
            at += 4;
            if kind == b'u' {
                incoming.answers = (name == 5).then_some(value).or(incoming.answers);
                continue;
            }
            let text = String::from_utf8(fields[at..at + value as usize].to_vec()).unwrap();
            at += value as usize + 1;
            match name {
                3 => incoming.member = text,
                7 => incoming.sender = text,
                _ => {}
            }
        }
        // A list of strings, where somebody calls.
        if incoming.kind == 1 {
            let mut at = 4;
            while at < body.len() {
                at = at.next_multiple_of(4);
                let length = u32::from_le_bytes(body[at..at + 4].try_into().unwrap()) as usize;
                incoming.strings.push(String::from_utf8(body[at + 4..at + 4 + length].to_vec()).unwrap());
                at += 4 + length + 1;
            }
        }
        Some(incoming)
    }
}
