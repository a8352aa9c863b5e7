//! What the tests of this crate share: records, stores, and forwarders at work.

#![allow(dead_code, unreachable_pub, reason = "every test uses some of this")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use roundsman_influx::destination::{Api, Destination, DestinationError};
use roundsman_influx::forward::Forwarder;
use roundsman_influx::stats::Stats;
use roundsman_store::{Cursor, Store};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub mod rows;

/// The name of the one destination.
pub const NAME: &str = "main";

pub fn v1(url: String, database: &str) -> Destination {
    let (retention_policy, username) = (String::new(), String::new());
    let api = Api::V1 { database: database.to_owned(), retention_policy, username, password_file: None };
    Destination { name: NAME.to_owned(), url, api, flush_interval: Duration::from_millis(50) }
}

pub fn v2(url: String, bucket: &str) -> Destination {
    let api = Api::V2 { org: "ops".to_owned(), bucket: bucket.to_owned(), token_file: None };
    Destination { name: NAME.to_owned(), url, api, flush_interval: Duration::from_millis(50) }
}

/// A forwarder at work; dropping it cuts it off wherever it is.
pub struct Running {
    task: JoinSet<Result<(), DestinationError>>,
    pub stop: CancellationToken,
    pub stats: Arc<Stats>,
}

/// Starts a forwarder where the destination stands in the store.
pub fn forward(
    destination: Destination,
    directory: &Path,
    store: &Store,
    committed: &watch::Receiver<u64>,
    grace: Duration,
) -> Running {
    let (stop, stats) = (CancellationToken::new(), Arc::new(Stats::default()));
    let forwarder = Forwarder {
        destination,
        node: "n1".to_owned(),
        state: directory.to_owned(),
        cursor: cursor(store),
        grace,
        stats: stats.clone(),
    };
    let mut task = JoinSet::new();
    task.spawn(forwarder.run(store.clone(), committed.clone(), stop.clone()));
    Running { task, stop, stats }
}

impl Running {
    /// Asks it to stop and waits until it has.
    pub async fn finish(mut self) -> Result<(), DestinationError> {
        self.stop.cancel();
        self.ended().await
    }

    /// Waits until it ends.
    pub async fn ended(&mut self) -> Result<(), DestinationError> {
        self.task.join_next().await.expect("there is one task").expect("it does not panic")
    }

    pub fn written(&self) -> u64 {
        self.stats.snapshot().written
    }

    pub fn rejected(&self) -> u64 {
        self.stats.snapshot().rejected
    }
}

/// Where the destination stands, as far as that is committed.
fn cursor(store: &Store) -> Cursor {
    let mut reader = store.reader().expect("the store is open");
    reader.cursor(NAME).expect("the store can be read").unwrap_or_default()
}

/// Closes the store, and tells where the destination stands: acknowledgements are committed then at the latest.
pub async fn close(directory: &Path, store: Store) -> Cursor {
    store.close().await.expect("the disk has room");
    let (store, _) = rows::store(directory, NAME);
    let cursor = cursor(&store);
    store.close().await.expect("the disk has room");
    cursor
}
