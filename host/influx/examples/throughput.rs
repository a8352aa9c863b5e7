//! How many points per second and core go from the store to a socket: reading SQLite, encoding, gzip and sending.
//!
//! `cargo run --release -p roundsman-influx --example throughput [rows]`. The server is a process of its own that
//! answers 204 to everything; processor time is that of this process alone, all threads.

#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use roundsman_influx::destination::{Api, DEFAULT_FLUSH_INTERVAL, Destination};
use roundsman_influx::forward::Forwarder;
use roundsman_influx::stats::Stats;
use roundsman_model::record::{Point, Value};
use roundsman_store::{Config, Store};
use tokio_util::sync::CancellationToken;

#[path = "../tests/common/rows.rs"]
#[allow(dead_code, unreachable_pub, reason = "tests use more of it")]
mod rows;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Entries between two waits for the store, so that its queue never overflows.
const CHUNK: i64 = 5_000;

/// Processor time is counted in ticks of this length.
const TICK: Duration = Duration::from_millis(10);

fn main() -> Result<()> {
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some("sink") {
        return sink();
    }
    let count = argument.map_or(Ok(200_000), |rows| rows.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!("{:<28} {:>9} {:>8} {:>8} {:>14} {:>10}", "", "points", "wall s", "cpu s", "points/s/core", "bytes/point");
    for points in [1, 4] {
        let directory = tempfile::tempdir()?;
        runtime.block_on(fill(directory.path(), count, points))?;
        for api in ["v1", "v2"] {
            runtime.block_on(drain(directory.path(), count, points, api))?;
        }
    }
    Ok(())
}

/// Writes the rows, with so many points of 6 fields each.
async fn fill(directory: &Path, count: i64, points: usize) -> Result<()> {
    let (store, _) = open(directory)?;
    let fields = ["resolve_ms", "connect_ms", "tls_ms", "first_byte_ms", "transfer_ms", "total_ms"];
    for chunk in 0..count.div_euclid(CHUNK) + 1 {
        let of = |i: i64| {
            let mut record = rows::record(&format!("shop-{}", i % 100), i, "200 OK in 12 ms");
            let real =
                |(n, field): (usize, &&str)| ((*field).to_owned(), Value::Real((i % 977) as f64 * 0.37 + n as f64));
            record.points = (0..points)
                .map(|n| Point {
                    series: "http".to_owned(),
                    tags: vec![("phase".to_owned(), n.to_string())],
                    fields: fields.iter().enumerate().map(real).collect(),
                })
                .collect();
            rows::entry(record, None)
        };
        rows::commit(&store, (chunk * CHUNK..count.min((chunk + 1) * CHUNK)).map(of)).await;
    }
    Ok(store.close().await?)
}

/// Sends everything once, from the beginning, and prints what it took.
async fn drain(directory: &Path, count: i64, points: usize, name: &str) -> Result<()> {
    let mut server = Command::new(std::env::current_exe()?).arg("sink").stdout(Stdio::piped()).spawn()?;
    let mut address = String::new();
    BufReader::new(server.stdout.take().ok_or("no output")?).read_line(&mut address)?;
    let url = format!("http://{}", address.trim().parse::<SocketAddr>()?);
    let api = match name {
        "v1" => Api::V1 {
            database: "d".to_owned(),
            retention_policy: String::new(),
            username: String::new(),
            password_file: None,
        },
        _ => Api::V2 { org: "o".to_owned(), bucket: "b".to_owned(), token_file: None },
    };
    let (store, committed) = open(directory)?;
    let (stop, stats) = (CancellationToken::new(), Arc::new(Stats::default()));
    let forwarder = Forwarder {
        destination: Destination { name: name.to_owned(), url, api, flush_interval: DEFAULT_FLUSH_INTERVAL },
        node: "n1".to_owned(),
        state: directory.to_owned(),
        cursor: roundsman_store::Cursor::default(),
        grace: Duration::from_secs(1),
        stats: stats.clone(),
    };
    let lines = count as u64 * (points as u64 + 1);
    let (wall, cpu) = (Instant::now(), processor()?);
    let done = async {
        while stats.snapshot().written < lines {
            tokio::time::sleep(TICK).await;
        }
        stop.cancel();
        (wall.elapsed(), processor())
    };
    let (end, (wall, cpu_end)) = tokio::join!(forwarder.run(store.clone(), committed, stop.clone()), done);
    end?;
    let cpu = (cpu_end? - cpu).as_secs_f64();
    let (rate, bytes) = (lines as f64 / cpu, stats.snapshot().bytes as f64 / lines as f64);
    let what = format!("{name}, {points} point(s) per record");
    println!("{what:<28} {lines:>9} {:>8.2} {cpu:>8.2} {rate:>14.0} {bytes:>10.1}", wall.as_secs_f64());
    store.close().await?;
    server.kill()?;
    server.wait()?;
    Ok(())
}

fn open(directory: &Path) -> Result<(Store, tokio::sync::watch::Receiver<u64>)> {
    let destinations = vec!["v1".to_owned(), "v2".to_owned()];
    let config = Config { destinations, max_size: 4 << 30, ..Config::new(directory) };
    let (sender, committed) = tokio::sync::watch::channel(0);
    let count = move |entries: &[roundsman_store::Entry]| sender.send_modify(|rows| *rows += entries.len() as u64);
    Ok((Store::open(config, count)?.0, committed))
}

/// Processor time of this process so far, in user space and in the kernel.
fn processor() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?.1.split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).map(|field| field.parse().unwrap_or(0)).sum();
    Ok(TICK * ticks)
}

/// Answers 204 to everything, on one connection after the other.
fn sink() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || drop(answer(stream)));
    }
    Ok(())
}

fn answer(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut write = stream.try_clone()?;
    let mut read = BufReader::with_capacity(256 << 10, stream);
    let mut length = 0;
    let mut line = String::new();
    while read.read_line(&mut line)? > 0 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line == "\r\n" {
            std::io::copy(&mut read.by_ref().take(length), &mut std::io::sink())?;
            write.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
        }
        line.clear();
    }
    Ok(())
}
