//! From bytes to a plugin that can run, or the reason why not.

use std::sync::Arc;
use std::time::Duration;

use roundsman_model::check::Limits;
use roundsman_model::key::Key;
use roundsman_model::name::{CheckName, PluginName};
use roundsman_model::time::Timestamp;
use roundsman_probe::grants::Grants;
use roundsman_probe::probe::Probe;
use tokio::time::Instant;
use wasmtime::component::Component;

use crate::bindings::EnginePre;
use crate::cache::{Cache, CacheError};
use crate::compile::{CompileError, Compiler};
use crate::describe::{DescribeError, Description};
use crate::digest::Digest;
use crate::engine::Engine;
use crate::job::{Assignment, Job, Memory, Node, Report};
use crate::run::{Ended, drive, run, store};
use crate::state::RunState;

/// The largest file that is read: JavaScript and Python components have up to 40 MB.
pub const MAX_PLUGIN_FILE: u64 = 64 << 20;
/// For `describe` and `validate`, which look at nothing but their arguments.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_LIMITS: Limits =
    Limits { memory: crate::engine::MAX_MEMORY, cpu: Duration::from_secs(2), points: 0, output: 64 << 10 };
/// For what is done apart: the largest files take seconds on a slow disk.
const APART_TIMEOUT: Duration = Duration::from_secs(60);
/// Errors of a settings schema that are shown at once.
const MAX_SHOWN: usize = 8;

/// Why a file is not a plugin.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the file is empty")]
    Empty,
    #[error(
        "this is a native program (ELF); a plugin is a WebAssembly component: build it with `--target wasm32-wasip2`"
    )]
    Elf,
    #[error(
        "this is machine code (.cwasm), which is never loaded from here; put the component (.wasm) that it was made from"
    )]
    MachineCode,
    #[error(
        "this is a core module; a plugin is a component: build it with `--target wasm32-wasip2`, or wrap it by `wasm-tools component new`"
    )]
    CoreModule,
    #[error("this is not WebAssembly")]
    NotWasm,
    #[error("the file is not a whole, valid component")]
    Invalid(#[source] wasmparser::BinaryReaderError),
    #[error("it cannot be compiled")]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error("looking at it took longer than {} s", APART_TIMEOUT.as_secs())]
    TooLong,
    #[error("looking at it failed")]
    Died(#[source] tokio::task::JoinError),
    #[error("its machine code cannot be loaded")]
    Load(#[source] wasmtime::Error),
    #[error("it does not export `roundsman:check/check@0.1`; it exports {0}")]
    World(String),
    #[error("it imports what this agent does not have")]
    Import(#[source] wasmtime::Error),
    #[error("its export `roundsman:check/check` does not fit this agent")]
    Export(#[source] wasmtime::Error),
    #[error("its `describe` failed: {0}")]
    Describe(String),
    #[error(transparent)]
    Description(#[from] DescribeError),
    #[error("the settings schema in its `describe` is not a valid JSON Schema: {0}")]
    Schema(String),
}

/// A plugin that can run.
pub struct Plugin {
    name: PluginName,
    digest: Digest,
    description: Arc<Description>,
    settings: Arc<jsonschema::Validator>,
    imports: Vec<String>,
    pre: EnginePre<RunState>,
    engine: Engine,
}

/// Looks at the first bytes and the structure; nothing is compiled or run.
pub fn inspect_bytes(bytes: &[u8]) -> Result<(), LoadError> {
    match bytes {
        [] => return Err(LoadError::Empty),
        _ if wasmtime::Engine::detect_precompiled(bytes).is_some() => return Err(LoadError::MachineCode),
        [0x7f, b'E', b'L', b'F', ..] => return Err(LoadError::Elf),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => return Err(LoadError::CoreModule),
        [0, b'a', b's', b'm', ..] => {}
        _ => return Err(LoadError::NotWasm),
    }
    wasmparser::Validator::new_with_features(wasmparser::WasmFeatures::all())
        .validate_all(bytes)
        .map_err(LoadError::Invalid)?;
    Ok(())
}

impl Plugin {
    /// Makes a plugin of the bytes of its file, with machine code from the cache or else compiled for it.
    pub async fn load(
        engine: &Engine,
        compiler: &Compiler,
        cache: &Cache,
        name: PluginName,
        bytes: &[u8],
    ) -> Result<Self, LoadError> {
        let whole = bytes::Bytes::copy_from_slice(bytes);
        let digest = apart(move || inspect_bytes(&whole).map(|()| Digest::of(&whole))).await?;
        let component = match cached(engine, cache, &digest) {
            Some(component) => component,
            None => {
                let code = compiler.compile(bytes).await?;
                let kept = cache.clone();
                let path = apart(move || Ok(kept.store(&digest, &code)?)).await?;
                deserialize(engine, &path).map_err(LoadError::Load)?
            }
        };
        Self::link(engine, name, digest, &component).await
    }

    async fn link(engine: &Engine, name: PluginName, digest: Digest, component: &Component) -> Result<Self, LoadError> {
        audit_exports(engine, component)?;
        let pre = engine.linker.instantiate_pre(component).map_err(LoadError::Import)?;
        let pre = EnginePre::new(pre).map_err(LoadError::Export)?;
        let said = describe(engine, &pre, &name).await?;
        let (description, settings) = apart(move || {
            let description = Description::parse(&said)?;
            let settings = jsonschema::validator_for(&description.settings);
            Ok((description, settings.map_err(|error| LoadError::Schema(self::said(&error)))?))
        })
        .await?;
        let imports = component.component_type().imports(&engine.wasm).map(|(name, _)| name.to_owned()).collect();
        let description = Arc::new(description);
        Ok(Self { name, digest, description, settings: Arc::new(settings), imports, pre, engine: engine.clone() })
    }

    pub fn name(&self) -> &PluginName {
        &self.name
    }

    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    pub fn description(&self) -> &Arc<Description> {
        &self.description
    }

    /// The interfaces that it may call.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// The same plugin, asking another probe: one that has answers written beforehand, in its author's tests.
    #[must_use]
    pub fn with_probe(&self, probe: Arc<Probe>) -> Self {
        let mut engine = self.engine.clone();
        engine.probe = probe;
        Self {
            name: self.name.clone(),
            digest: self.digest,
            description: self.description.clone(),
            settings: self.settings.clone(),
            imports: self.imports.clone(),
            pre: self.pre.clone(),
            engine,
        }
    }

    /// Carries out one run.
    pub async fn run(&self, job: Arc<Job>) -> Report {
        run(&self.engine, &self.pre, &self.name, self.description.clone(), job).await
    }

    /// What is wrong with a check's settings: first by the schema, then by the plugin's own word. Empty: nothing.
    pub async fn validate(&self, settings: &serde_json::Value) -> Vec<String> {
        let (schema, instance) = (self.settings.clone(), settings.clone());
        let by_schema =
            apart(move || Ok(schema.iter_errors(&instance).take(MAX_SHOWN).map(|e| said(&e)).collect::<Vec<_>>()));
        match by_schema.await {
            Ok(wrong) if wrong.is_empty() => {}
            Ok(wrong) => return wrong,
            Err(error) => return vec![error.to_string()],
        }
        match call_validate(&self.engine, &self.pre, &self.name, settings.to_string()).await {
            Ok(Ok(())) => Vec::new(),
            Ok(Err(fault)) => vec![crate::gather::clean(&fault.message, crate::gather::MAX_SUMMARY)],
            Err(why) => vec![format!("the plugin's `validate` failed: {why}")],
        }
    }
}

/// `settings.expect.status[0]: 3 is not of type "string"`: where, and what.
fn said(error: &jsonschema::ValidationError<'_>) -> String {
    let place = error.instance_path().to_string();
    let place =
        if place.is_empty() { String::new() } else { format!("{}: ", place.trim_start_matches('/').replace('/', ".")) };
    crate::gather::clean(&format!("{place}{error}"), crate::gather::MAX_SUMMARY)
}

/// Does what takes long where no schedule waits for the thread: files of many MiB, a slow disk, schemas of strangers. A
/// schema that never comes to an end keeps its thread, and nothing else.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    let done = tokio::time::timeout(APART_TIMEOUT, tokio::task::spawn_blocking(work)).await;
    done.map_err(|_| LoadError::TooLong)?.map_err(LoadError::Died)?
}

fn cached(engine: &Engine, cache: &Cache, digest: &Digest) -> Option<Component> {
    let path = cache.find(digest)?;
    deserialize(engine, &path)
        .inspect_err(|error| {
            tracing::warn!(path = %path.display(), error = format!("{error:#}"), "machine code is no good: compiling anew");
            cache.discard(digest);
        })
        .ok()
}

fn deserialize(engine: &Engine, path: &std::path::Path) -> wasmtime::Result<Component> {
    #[expect(unsafe_code, reason = "the file is our own compiler's output, in a directory that only we can write")]
    // SAFETY: `Cache` wrote the file whole, under its final name only when it was complete, and never changes it.
    unsafe {
        Component::deserialize_file(&engine.wasm, path)
    }
}

fn audit_exports(engine: &Engine, component: &Component) -> Result<(), LoadError> {
    let ty = component.component_type();
    let names: Vec<String> = ty.exports(&engine.wasm).map(|(name, _)| name.to_owned()).collect();
    if names.iter().any(|name| name.starts_with("roundsman:check/check@0.1.")) {
        return Ok(());
    }
    let list = names.iter().take(MAX_SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    Err(LoadError::World(if list.is_empty() { "nothing".to_owned() } else { crate::gather::clean(&list, 512) }))
}

/// A job that may touch nothing, for `describe` and `validate`.
fn idle_job(name: &PluginName) -> Arc<Job> {
    let check = CheckName::new(name.as_str()).expect("plugin names follow the rules of check names");
    Arc::new(Job {
        assignment: Arc::new(Assignment {
            key: Key::new(check, None),
            settings: "{}".to_owned(),
            target: None,
            node: Arc::new(Node::default()),
            grants: Arc::new(Grants::default()),
            limits: CALL_LIMITS,
        }),
        scheduled: Timestamp(0),
        attempt: 1,
        previous: None,
        memory: Arc::new(Memory::new()),
        timeout: CALL_TIMEOUT,
    })
}

async fn describe(engine: &Engine, pre: &EnginePre<RunState>, name: &PluginName) -> Result<String, LoadError> {
    let mut store = store(engine, RunState::new(engine, name, idle_job(name), None, Instant::now()));
    let deadline = store.data().deadline;
    let call = async {
        let plugin = pre.instantiate_async(&mut store).await?;
        plugin.roundsman_check_check().call_describe(&mut store).await
    };
    let (ended, _) = drive(engine, call, deadline).await;
    settle(ended, store.into_data()).map_err(LoadError::Describe)
}

async fn call_validate(
    engine: &Engine,
    pre: &EnginePre<RunState>,
    name: &PluginName,
    settings: String,
) -> Result<Result<(), crate::bindings::roundsman::check::types::Fault>, String> {
    let mut store = store(engine, RunState::new(engine, name, idle_job(name), None, Instant::now()));
    let deadline = store.data().deadline;
    let call = async {
        let plugin = pre.instantiate_async(&mut store).await?;
        plugin.roundsman_check_check().call_validate(&mut store, &settings).await
    };
    let (ended, _) = drive(engine, call, deadline).await;
    settle(ended, store.into_data())
}

/// The answer of a call that is no run, or why there is none.
fn settle<T>(ended: Ended<T>, state: RunState) -> Result<T, String> {
    match ended {
        Ended::Returned(value) => Ok(value),
        Ended::Failed(error) => Err(crate::judge::explain(&error, &state)),
        Ended::Cut { .. } => Err(format!("it took longer than {} s", CALL_TIMEOUT.as_secs())),
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin").field("name", &self.name).field("digest", &self.digest).finish_non_exhaustive()
    }
}
