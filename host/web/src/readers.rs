//! Reading the store from handlers: a few connections, on threads that may block, each query within its time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roundsman_store::{Reader, StoreError};
use tokio::sync::Semaphore;

use crate::agent::Agent;

/// Queries at once. Each holds a thread and a connection; the engine shares the processors with them.
const MAX_QUERIES: usize = 4;

/// How long a query waits for its turn: a person still waits for it, a script should ask again.
const QUEUE_TIME: Duration = Duration::from_secs(5);

/// How long an answer is waited for. The query itself goes on and keeps its place until it ends.
const QUERY_TIME: Duration = Duration::from_secs(10);

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the store is busy with {MAX_QUERIES} other queries")]
    Crowded,
    #[error("the query took longer than {} s", QUERY_TIME.as_secs())]
    Slow,
    #[error("the query ended without an answer")]
    Died,
    #[error("the store could not be read")]
    Store(#[from] StoreError),
}

/// Connections to the store that are not in use, and the right to use one.
#[derive(Debug)]
pub(crate) struct Readers {
    agent: Arc<dyn Agent>,
    turns: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Reader>>>,
}

impl Readers {
    pub(crate) fn new(agent: Arc<dyn Agent>) -> Self {
        Self { agent, turns: Arc::new(Semaphore::new(MAX_QUERIES)), idle: Arc::default() }
    }

    /// Runs queries on one connection. A connection that failed is not used again.
    pub(crate) async fn read<T, F>(&self, query: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Reader) -> Result<T, StoreError> + Send + 'static,
    {
        let turn = tokio::time::timeout(QUEUE_TIME, self.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| ReadError::Crowded)?.map_err(|_| ReadError::Died)?;
        let (agent, idle) = (self.agent.clone(), self.idle.clone());
        let running = tokio::task::spawn_blocking(move || {
            let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut reader = kept.map_or_else(|| agent.reader(), Ok)?;
            let found = query(&mut reader)?;
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
            drop(turn);
            Ok(found)
        });
        match tokio::time::timeout(QUERY_TIME, running).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => Err(ReadError::Died),
            Err(_) => Err(ReadError::Slow),
        }
    }
}
