//! Start and stop of an agent: what is opened in which order, and how everything ends in the other.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::Context;
use roundsman_influx::destination::{Api, Destination};
use roundsman_influx::forward::Forwarder;
use roundsman_influx::stats::Stats as DestinationStats;
use roundsman_plugin::cache::Cache;
use roundsman_plugin::compile::Compiler;
use roundsman_plugin::engine::{Engine as Sandbox, EngineLimits};
use roundsman_probe::probe::{Options, Probe};
use roundsman_probe::secrets::Secrets;
use roundsman_store::{Cursor, Query, Restored, Store};
use roundsman_web::App;
use roundsman_web::authority::{Authority, Public, Token};
use roundsman_web::serve::{Listener, serve};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::adapters::{self, Configured, Face};
use crate::cgroup::Cgroup;
use crate::checks::files::Files;
use crate::clock::{Clock, system_now};
use crate::config::{self, Config};
use crate::coordinator::{Coordinator, WATCHED_ENDINGS};
use crate::engine::core::Past;
use crate::engine::{Beginning, Engine};
use crate::guests::{BUSY_THREADS, Guests, Threads};
use crate::lastgood::LastGood;
use crate::plugins::Library;
use crate::prepare::{self, Common};
use crate::published::Published;
use crate::selfcheck::{SelfCheck, Sources};
use crate::shared::Shared;
use crate::tasks::Tasks;
use crate::trust::Policy;
use crate::watch::watch;

/// Commands that wait for the engine; it takes them between two runs.
const COMMANDS: usize = 64;
/// Changes of a directory that wait for the coordinator; the watcher waits in turn.
const CHANGES: usize = 16;
/// The unix socket of the state directory: who may open it may do everything.
pub const SOCKET: &str = "agent.sock";
/// Of the grace, half is for runs to end, a quarter for a last try at the destinations, the rest for answers under way.
const RUNS_SHARE: u32 = 2;
const FLUSH_SHARE: u32 = 4;
/// For tasks that keep to a share themselves, to say that they did.
const MARGIN: Duration = Duration::from_millis(250);

/// The engine as others embed it.
#[derive(Debug)]
pub struct Agent;

/// A running agent. Dropping it stops nothing in order: call [`Handle::stop`].
#[derive(Debug)]
pub struct Handle {
    face: Arc<Face>,
    address: SocketAddr,
    socket: PathBuf,
    grace: Duration,
    phases: Phases,
    deaths: mpsc::Receiver<String>,
    store: Store,
    _threads: [Threads; 3],
}

/// Tasks by the order in which they are stopped.
#[derive(Debug)]
struct Phases {
    /// What finds out: engine, coordinator, watchers.
    work: Tasks,
    /// What passes on.
    destinations: Tasks,
    /// What answers; until the last.
    web: Tasks,
}

/// Everything that is opened before anything runs.
struct Opened {
    listener: std::net::TcpListener,
    socket: std::os::unix::net::UnixListener,
    authority: Authority,
    store: Store,
    restored: Restored,
    published: Arc<Published>,
    sandbox: Sandbox,
    cache: Cache,
    policy: Arc<Policy>,
}

impl Agent {
    /// Starts an agent on the runtime of the caller. `compiler` turns plugins into machine code; an executable that
    /// calls `roundsman_plugin::compile::child_main` when asked to can be its own.
    pub async fn start(config: Config, compiler: Compiler) -> anyhow::Result<Handle> {
        let config = Arc::new(config);
        let cgroup = Cgroup::discover(Path::new("/"));
        let respected = cgroup.read().respected(config.limits.memory, BUSY_THREADS);
        respected.notes.iter().for_each(|note| tracing::warn!("{note}"));
        let Opened { listener, socket, authority, store, restored, published, sandbox, cache, policy } =
            open(&config, respected.memory_bytes)?;
        let address = listener.local_addr()?;
        let past = past(&restored, &store).await?;
        published.begin_with(&restored.silences, &restored.conducts);
        let shared = Arc::new(Shared::new(published, store.clone()));
        let (guests, [brief, busy]) = Guests::start(respected.busy_threads)?;
        // One thread: what is due next needs no second one to be woken along with it.
        let loop_thread = Threads::start("engine", 1, false)?;
        let (work, deaths) = Tasks::new();
        let phases = Phases { destinations: work.apart(), web: work.apart(), work };
        let destinations = begin_forwarders(&config, &phases.destinations, &shared, &restored);
        let sources = Sources {
            shared: shared.clone(),
            sandbox: sandbox.clone(),
            destinations: destinations.iter().map(|to| (to.config.name.as_str().into(), to.stats.clone())).collect(),
            cgroup: cgroup.clone(),
            slots: config.limits.runs,
            guest_memory_limit_bytes: respected.memory_bytes,
            store_max_bytes: config.store.max_size,
        };
        let (commands, orders) = mpsc::channel(COMMANDS);
        let (slots, anchors, rules) = (config.limits.runs, config.uplink.anchors.clone(), config.supervision);
        let beginning = Beginning { slots, anchors, rules, past };
        let built_in = SelfCheck::new(sources).into_run();
        let engine = Engine::new(shared.clone(), guests, Clock::start(), built_in, beginning);
        let run = engine.run(orders, phases.work.stop.clone(), config.shutdown.grace / RUNS_SHARE);
        phases.work.vital_on(loop_thread.handle(), "engine", run);
        phases.web.watch("store", store.died());
        let kept = LastGood::open(&config.paths.state, "plugins")?;
        let plugins = &config.paths.plugins;
        let library = Library::new(plugins, sandbox.clone(), compiler, cache, kept, policy, shared.clone());
        let configured = Arc::new(RwLock::new(Configured::default()));
        let coordinator = Coordinator::new(
            Files::new(&config.paths.checks, config.node.clone(), Some(LastGood::open(&config.paths.state, "checks")?)),
            library,
            Common::new(config.node.clone(), vec![address.port()]).with_secrets(config.secrets.keys()),
            shared.clone(),
            configured.clone(),
            commands.clone(),
            config.self_check.enabled.then(prepare::built_in),
        );
        begin_coordinator(&config, &phases.work, coordinator);
        begin_recall(&phases.work, &shared, &restored)?;
        let face = Arc::new(Face {
            shared,
            configured,
            config: config.clone(),
            engine: sandbox,
            destinations,
            commands,
            started: system_now(),
            stopping: phases.work.stop.clone(),
            note: restored.note,
            pushing: adapters::Turns::default(),
            cgroup,
            respected,
        });
        begin_web(&phases.web, face.clone(), listener, socket, authority);
        let (socket, grace) = (config.paths.state.join(SOCKET), config.shutdown.grace);
        Ok(Handle { face, address, socket, grace, phases, deaths, store, _threads: [loop_thread, brief, busy] })
    }
}

impl Handle {
    /// Where the API and the status page are.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the API shows, without HTTP.
    pub fn agent(&self) -> Arc<dyn roundsman_web::agent::Agent> {
        self.face.clone()
    }

    /// Resolves with the reason when the agent cannot go on: then stop it and end the process.
    pub async fn died(&mut self) -> String {
        match self.deaths.recv().await {
            Some(why) => why,
            None => std::future::pending().await,
        }
    }

    /// Ends in order: nothing new is started, runs end or are cut, everything is committed, destinations get one more
    /// try, and the API answers until the last.
    pub async fn stop(self) -> anyhow::Result<()> {
        if !self.phases.work.end(self.grace / RUNS_SHARE + MARGIN).await {
            tracing::warn!("runs were cut: the grace is over");
        }
        let flushed = self.store.flush().await;
        if !self.phases.destinations.end(self.grace / FLUSH_SHARE + MARGIN).await {
            tracing::warn!("a destination did not come to an end");
        }
        self.phases.web.end(self.grace / FLUSH_SHARE).await;
        std::fs::remove_file(&self.socket).ok();
        let closed = self.store.clone().close().await;
        flushed.and(closed).context("not everything could be written")
    }
}

/// Where a socket path is the API of an agent on this machine: for those who know its state directory.
pub fn socket_path(state: &Path) -> PathBuf {
    state.join(SOCKET)
}

fn open(config: &Config, memory: u64) -> anyhow::Result<Opened> {
    // First, because nothing is to be left behind by a start that is refused.
    let policy = Policy::open(&config.trust).map_err(|problems| {
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", told.join("\n"))
    })?;
    let published = Arc::new(Published::new());
    let publisher = published.clone();
    let (store, restored) = Store::open(store_config(config), move |entries| publisher.publish(entries))?;
    let listen = config.http.listen;
    let listener = std::net::TcpListener::bind(listen)
        .with_context(|| format!("cannot listen on {listen}: set `http: {{listen: …}}`"))?;
    listener.set_nonblocking(true)?;
    let options = Options { secrets: Secrets::new(config.secrets.clone()), ..Options::default() };
    let sandbox = Sandbox::new(EngineLimits { runs: config.limits.runs, memory }, Arc::new(Probe::new(options)))?;
    let cache = Cache::open(&config.paths.state.join("cache"), sandbox.compatibility())?;
    Ok(Opened {
        authority: authority(config)?,
        socket: own_socket(&config.paths.state.join(SOCKET))?,
        listener,
        store,
        restored,
        published,
        sandbox,
        cache,
        policy: Arc::new(policy),
    })
}

fn store_config(config: &Config) -> roundsman_store::Config {
    roundsman_store::Config {
        max_size: config.store.max_size,
        max_age: config.store.max_age,
        transitions_max_age: config.store.transitions_max_age,
        destinations: config.influx.iter().map(|influx| influx.name.clone()).collect(),
        ..roundsman_store::Config::new(&config.paths.state)
    }
}

fn authority(config: &Config) -> anyhow::Result<Authority> {
    let token = match &config.http.token_file {
        None => None,
        Some(file) => {
            let secret = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read the token file {} (`http: {{tokenFile}}`)", file.display()))?;
            Some(Token::new(secret.trim()).with_context(|| format!("the token in {} cannot be used", file.display()))?)
        }
    };
    let public = config.http.public.iter().map(|word| Public::parse(word)).collect::<Result<_, _>>()?;
    let hosts = config.http.hosts.iter().chain([&config.node.name]).cloned().collect();
    Ok(Authority::Network { token, public, loopback: true, hosts })
}

/// The store's lock says that nobody else is there: a socket that is left is from an agent that was killed.
fn own_socket(path: &Path) -> anyhow::Result<std::os::unix::net::UnixListener> {
    std::fs::remove_file(path).ok();
    let socket = std::os::unix::net::UnixListener::bind(path)
        .with_context(|| format!("cannot make the socket {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// What the store remembers, with what plugins wrote for themselves.
async fn past(restored: &Restored, store: &Store) -> anyhow::Result<Past> {
    let subjects: std::collections::HashMap<_, _> =
        restored.subjects.iter().map(|subject| (subject.key.clone(), subject.clone())).collect();
    let keys: Vec<_> = subjects.keys().cloned().collect();
    let mut reader = store.reader()?;
    let memories = tokio::task::spawn_blocking(move || {
        keys.into_iter()
            .map(|key| {
                let memory = reader.memory(&key)?.into_iter().collect();
                Ok((key, memory))
            })
            .collect::<Result<_, roundsman_store::StoreError>>()
    });
    let (findings, silences) = (restored.findings.clone(), restored.silences.clone());
    let conducts = restored.conducts.clone();
    Ok(Past { subjects, memories: memories.await??, findings, silences, conducts })
}

/// The board shows at once what was last found out, also of checks that are due in an hour.
fn begin_recall(tasks: &Tasks, shared: &Arc<Shared>, restored: &Restored) -> anyhow::Result<()> {
    let keys: Vec<_> = restored.subjects.iter().map(|subject| subject.key.clone()).collect();
    let (mut reader, published, stop) = (shared.store().reader()?, shared.published.clone(), tasks.stop.clone());
    tasks.once("recall", move || {
        for key in keys.into_iter().take_while(|_| !stop.is_cancelled()) {
            let target = Some(key.target_or_empty().into());
            let query = Query { check: Some(key.check), target, limit: 1, ..Query::default() };
            match reader.records(&query) {
                Ok(page) => page.rows.iter().for_each(|row| published.recall(&row.record)),
                Err(error) => tracing::warn!(%error, "the last records cannot be read"),
            }
        }
    });
    Ok(())
}

fn begin_coordinator(config: &Config, tasks: &Tasks, coordinator: Coordinator) {
    let plugins = begin_watch("plugins", tasks, &config.paths.plugins, WATCHED_ENDINGS);
    let checks = begin_watch("checks", tasks, &config.paths.checks, crate::checks::files::EXTENSIONS);
    tasks.vital("coordinator", coordinator.run(plugins, checks, tasks.stop.clone()));
}

fn begin_watch(
    name: &str,
    tasks: &Tasks,
    directory: &Path,
    endings: &'static [&'static str],
) -> mpsc::Receiver<crate::watch::Change> {
    let (tell, told) = mpsc::channel(CHANGES);
    let (directory, stopped) = (directory.to_owned(), tasks.stop.clone());
    tasks.restarted(format!("watch {name}"), move || watch(directory.clone(), endings, tell.clone(), stopped.clone()));
    told
}

fn begin_forwarders(
    config: &Arc<Config>,
    tasks: &Tasks,
    shared: &Shared,
    restored: &Restored,
) -> Vec<adapters::Destination> {
    let mut destinations = Vec::new();
    for influx in &config.influx {
        let stats = Arc::new(DestinationStats::default());
        let opened = restored.cursors.iter().find(|(name, _)| *name == influx.name);
        let cursor = opened.map_or_else(Cursor::default, |(_, cursor)| *cursor);
        let (config, stop) = (config.clone(), tasks.stop.clone());
        let (store, published) = (shared.store().clone(), shared.published.clone());
        let (of, counted) = (influx.clone(), stats.clone());
        let name = format!("destination {}", influx.name);
        tasks.restarted(name, move || {
            // After a death it goes on from what was acknowledged, which the store knows best.
            let known = store.reader().ok().and_then(|mut reader| reader.cursor(&of.name).ok().flatten());
            let forwarder = Forwarder {
                destination: destination(&of),
                node: config.node.name.clone(),
                state: config.paths.state.clone(),
                cursor: known.unwrap_or(cursor),
                grace: config.shutdown.grace / FLUSH_SHARE,
                stats: counted.clone(),
            };
            let (store, rows, stop) = (store.clone(), published.rows(), stop.clone());
            async move {
                if let Err(error) = forwarder.run(store, rows, stop).await {
                    tracing::error!(%error, "a destination cannot be used");
                }
            }
        });
        destinations.push(adapters::Destination { config: influx.clone(), stats });
    }
    destinations
}

/// A destination as its crate wants it.
pub(crate) fn destination(influx: &config::Influx) -> Destination {
    let api = match influx.api.clone() {
        config::Api::V1 { database, retention_policy, username, password_file } => Api::V1 {
            database,
            retention_policy: retention_policy.unwrap_or_default(),
            username: username.unwrap_or_default(),
            password_file,
        },
        config::Api::V2 { org, bucket, token_file } => Api::V2 { org, bucket, token_file },
    };
    Destination { name: influx.name.clone(), url: influx.url.clone(), api, flush_interval: influx.flush_interval }
}

fn begin_web(
    tasks: &Tasks,
    face: Arc<Face>,
    listener: std::net::TcpListener,
    socket: std::os::unix::net::UnixListener,
    authority: Authority,
) {
    let app = App::new(face, tasks.stop.clone());
    let (stop, tcp_app) = (tasks.stop.clone(), app.clone());
    tasks.restarted("web".to_owned(), move || {
        let listener = listener.try_clone().and_then(TcpListener::from_std).map(Listener::Tcp);
        serve_on(listener, tcp_app.clone(), authority.clone(), stop.clone())
    });
    let stop = tasks.stop.clone();
    tasks.restarted("web (unix socket)".to_owned(), move || {
        let listener = socket.try_clone().and_then(UnixListener::from_std).map(Listener::Unix);
        serve_on(listener, app.clone(), Authority::Owner, stop.clone())
    });
}

async fn serve_on(listener: std::io::Result<Listener>, app: App, authority: Authority, stop: CancellationToken) {
    match listener {
        Ok(listener) => serve(listener, app, authority, stop).await,
        Err(error) => tracing::error!(%error, "cannot listen"),
    }
}
