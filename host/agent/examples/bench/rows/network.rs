//! Rows about checks that wait for others: what a probe costs, and what it does to its neighbours when nobody answers.

use std::time::Duration;

use anyhow::Result;

use crate::bare;
use crate::control::BareTimer;
use crate::measure::{Lags, median, runtime};
use crate::rig::{Live, Rig, checks};
use crate::servers::{Kind, Server};
use crate::table::{Measured, Setting};

const WARM_UP: Duration = Duration::from_secs(2);
const REPEATS: usize = 3;
/// Of a thousand checks, those whose target answers all the time; the names count up.
const HEALTHY: usize = 700;

/// Three hundred targets fall silent, and hold 150 of 256 slots.
pub(crate) fn outage(setting: &Setting) -> Result<Measured> {
    silence(setting, "1s", "500ms")
}

/// Three hundred targets fall silent, and want 285 of 256 slots.
pub(crate) fn saturation(setting: &Setting) -> Result<Measured> {
    silence(setting, "1s", "950ms")
}

fn silence(setting: &Setting, interval: &str, timeout: &str) -> Result<Measured> {
    let mut server = Server::start(Kind::Web, &setting.place)?;
    let [healthy, moody] = [server.address(0)?.to_owned(), server.address(1)?.to_owned()];
    let checks = checks(1_000, |number| {
        let address = if number < HEALTHY { &healthy } else { &moody };
        format!("plugin: http, interval: {interval}, timeout: {timeout}, target: \"http://{address}/\"")
    });
    let rig = Rig::new(setting, &["http"], &checks)?;
    runtime()?.block_on(async {
        let live = rig.start().await?;
        tokio::time::sleep(WARM_UP).await;
        let length = setting.seconds(30, 10);
        let (before, _) = lags(&live, length).await?;
        server.hang()?;
        tokio::time::sleep(WARM_UP).await;
        let counted = live.counts();
        let (during, timer) = lags(&live, length).await?;
        let after = live.counts();
        live.stop().await?;
        let (missed, overlap) = (after.missed - counted.missed, after.overlap - counted.overlap);
        Ok(Measured {
            measured: format!("the 700: {during}; of all: missed {missed}, overlap {overlap}"),
            control: format!("before: {before}; bare timer: {timer}"),
            notes: format!("http, {interval}, timeout {timeout}, {} s before and after", length.as_secs()),
        })
    })
}

/// Of the checks whose targets answer, and of a timer beside them.
async fn lags(live: &Live, length: Duration) -> Result<(Lags, Lags)> {
    let timer = BareTimer::start(Duration::from_millis(1), length);
    let window = live.watch(length).await;
    let control = tokio::task::spawn_blocking(|| timer.end()).await??;
    let lags = live.records(&window, |record| {
        let number: Option<usize> = record.key.check.as_str().get(1..).and_then(|digits| digits.parse().ok());
        number.filter(|number| *number < HEALTHY).map(|_| record.lag_ns)
    });
    Ok((Lags::new(lags.await?), control))
}

/// A GET over a new connection.
pub(crate) fn http(setting: &Setting) -> Result<Measured> {
    probe(setting, "http", 0)
}

/// The same with TLS.
pub(crate) fn tls(setting: &Setting) -> Result<Measured> {
    probe(setting, "https", 2)
}

fn probe(setting: &Setting, scheme: &str, port: usize) -> Result<Measured> {
    let server = Server::start(Kind::Web, &setting.place)?;
    let address = server.address(port)?;
    let checks =
        checks(100, |_| format!("plugin: http, interval: 200ms, timeout: 1s, target: \"{scheme}://{address}/\""));
    let rig = Rig::new(setting, &["http"], &checks)?;
    let (costs, guests, rate) = runtime()?.block_on(async {
        let live = rig.start().await?;
        tokio::time::sleep(WARM_UP).await;
        let (mut costs, mut guests, mut rate) = (Vec::new(), Vec::new(), 0.0);
        for _ in 0..REPEATS {
            let window = live.watch(setting.seconds(10, 4)).await;
            costs.push(window.cpu_us_per_run());
            rate = window.runs_per_second();
            let own = live.records(&window, |record| Some(record.cpu_ns)).await?;
            guests.push(own.iter().sum::<u64>() as f64 / 1e3 / own.len() as f64);
        }
        live.stop().await?;
        anyhow::Ok((costs, guests, rate))
    })?;
    let authority = (scheme == "https").then(|| setting.place.authority());
    let bare = (0..REPEATS).map(|_| bare::exchanges(address, authority.as_deref(), setting.seconds(5, 2)));
    let bare = bare.collect::<Result<Vec<_>>>()?;
    Ok(Measured {
        measured: median(costs, "µs"),
        control: format!(
            "a bare client of tokio at the same pace: {}; of ours in the run's own polls: {}",
            median(bare, "µs"),
            median(guests, "µs")
        ),
        notes: format!("{rate:.0} probes/s by the plugin http, store and stream on"),
    })
}
