//! Rows that probe nginx, and measure beside the agent what people would use instead: blackbox_exporter and check_http.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::measure::{cpu_of_children, median, runtime};
use crate::rig::{Rig, checks};
use crate::table::{Measured, Setting};

const WARM_UP: Duration = Duration::from_secs(2);
const REPEATS: usize = 3;
/// Until a server of Debian listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// A GET over a new connection to nginx.
pub(crate) fn http(setting: &Setting) -> Result<Measured> {
    against_nginx(setting, "http")
}

/// The same with TLS, the certificate verified.
pub(crate) fn tls(setting: &Setting) -> Result<Measured> {
    against_nginx(setting, "https")
}

/// A program that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It is gone already, then.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Running {
    fn start(program: &str, arguments: &[&str], port: u16) -> Result<Self> {
        let mut command = Command::new(installed(program)?);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = Self(command.spawn().with_context(|| format!("starting {program}"))?);
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(running.0.try_wait()?.is_none() && Instant::now() < end, "{program} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(running)
    }

    /// Processor time of the process so far. Told in ticks of 10 ms: do much.
    fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let (_, fields) = stat.rsplit_once(')').context("no name in its stat")?;
        // By proc(5): fields 14 and 15; the first one here is number 3.
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse().unwrap_or(0)).sum();
        Ok(Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second()))
    }
}

fn against_nginx(setting: &Setting, scheme: &str) -> Result<Measured> {
    let folder = tempfile::tempdir()?;
    let port = free_port()?;
    let _nginx = nginx(setting, folder.path(), port, scheme == "https")?;
    let url = format!("{scheme}://127.0.0.1:{port}/");
    let checks = checks(100, |_| format!("plugin: http, interval: 200ms, timeout: 1s, target: \"{url}\""));
    let rig = Rig::new(setting, &["http"], &checks)?;
    let mut costs = runtime()?.block_on(async {
        let live = rig.start().await?;
        tokio::time::sleep(WARM_UP).await;
        let mut costs = Vec::new();
        for _ in 0..REPEATS {
            costs.push(live.watch(setting.seconds(10, 4)).await.cpu_us_per_run());
        }
        live.stop().await?;
        anyhow::Ok(costs)
    })?;
    costs.sort_by(f64::total_cmp);
    let own = costs[costs.len() / 2];
    let beside = |result: Result<f64>| match result {
        Ok(cost) => format!("{cost:.0} µs ({:.1}×)", cost / own),
        Err(error) => format!("not measured: {error:#}"),
    };
    let blackbox = beside(blackbox(setting, folder.path(), &url));
    let check_http = beside(check_http(setting, port, scheme == "https"));
    Ok(Measured {
        measured: median(costs, "µs"),
        control: format!("blackbox_exporter {blackbox}, check_http {check_http}"),
        notes: "processor time for each probe of nginx, new connection each; ours with store and stream on".to_owned(),
    })
}

fn nginx(setting: &Setting, folder: &Path, port: u16, secure: bool) -> Result<Running> {
    let place = folder.display();
    let certificate = setting.place.authority();
    let secured = format!(
        "ssl; ssl_certificate {}; ssl_certificate_key {}",
        certificate.display(),
        certificate.with_file_name("key.pem").display()
    );
    let (listen, more) = secured.split_once(';').filter(|_| secure).unwrap_or_default();
    let config = format!(
        "daemon off; master_process off; pid {place}/pid; error_log {place}/errors; events {{ worker_connections 512; }}
         http {{ access_log off; client_body_temp_path {place}/a; proxy_temp_path {place}/b; fastcgi_temp_path {place}/c;
           uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;
           server {{ listen 127.0.0.1:{port} {listen}; {more}; location / {{ return 200 'ok'; }} }} }}"
    );
    let config = config.replace(" ; ", " ").replace("; ;", ";");
    let file = folder.join("nginx.conf");
    fs::write(&file, config)?;
    Running::start("nginx", &["-p", &place.to_string(), "-c", &file.to_string_lossy()], port)
}

/// Microseconds of processor time for each probe that Prometheus would ask for, over one connection that is kept.
fn blackbox(setting: &Setting, folder: &Path, url: &str) -> Result<f64> {
    let port = free_port()?;
    let config = folder.join("blackbox.yml");
    let module =
        "modules: {web: {prober: http, timeout: 1s, http: {preferred_ip_protocol: ip4, tls_config: {ca_file: CA}}}}\n";
    fs::write(&config, module.replace("CA", &setting.place.authority().to_string_lossy()))?;
    let listen = format!("--web.listen-address=127.0.0.1:{port}");
    let config = format!("--config.file={}", config.display());
    let exporter = Running::start("prometheus-blackbox-exporter", &[&listen, &config], port)?;
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port))?);
    let probes = if setting.quick { 1_000 } else { 5_000 };
    let mut ask = || -> Result<()> {
        let request = format!("GET /probe?target={url}&module=web HTTP/1.1\r\nhost: localhost\r\n\r\n");
        stream.get_mut().write_all(request.as_bytes())?;
        let page = answer(&mut stream)?;
        ensure!(page.contains("probe_success 1"), "its probe fails");
        Ok(())
    };
    for _ in 0..100 {
        ask()?;
    }
    let before = exporter.cpu()?;
    for _ in 0..probes {
        ask()?;
    }
    Ok((exporter.cpu()? - before).as_secs_f64() * 1e6 / f64::from(probes))
}

/// One answer of a connection that is kept, whose length is told or which comes in chunks.
fn answer(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut line = String::new();
        ensure!(stream.read_line(&mut line)? > 0, "it hung up");
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        chunked |= line == "transfer-encoding: chunked";
        if line.is_empty() {
            break;
        }
    }
    let mut body = Vec::new();
    loop {
        if chunked {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            length = usize::from_str_radix(line.trim(), 16)?;
        }
        let begin = body.len();
        body.resize(begin + length, 0);
        stream.read_exact(&mut body[begin..])?;
        if !chunked {
            break;
        }
        stream.read_exact(&mut [0; 2])?;
        if length == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Microseconds of processor time for each process that is started, the kernel's part in it among them.
fn check_http(setting: &Setting, port: u16, secure: bool) -> Result<f64> {
    let program = installed("check_http")?;
    let port = port.to_string();
    let count = if setting.quick { 200 } else { 1_000 };
    let before = cpu_of_children()?;
    for _ in 0..count {
        let mut command = Command::new(&program);
        command.args(["-H", "127.0.0.1", "-p", &port]).args(secure.then_some("-S"));
        let output = command.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            bail!("check_http says {}", String::from_utf8_lossy(&output.stdout).trim());
        }
    }
    Ok((cpu_of_children()? - before).as_secs_f64() * 1e6 / f64::from(count))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A program of the search path, which `cargo xtask bench` extends by what it fetched.
fn installed(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let apart = ["/usr/sbin", "/usr/lib/nagios/plugins"].map(PathBuf::from);
    let mut files = std::env::split_paths(&path).chain(apart).map(|folder| folder.join(program));
    files.find(|file| file.is_file()).with_context(|| format!("{program} is not installed"))
}
