//! The embedded history, which is also the outbox: the only crate that names SQLite.
//!
//! # What is on disk
//! In `paths.state`: `roundsman.db` (with `-wal` and `-shm` while it is open), `roundsman.lock` (held by the agent that
//! has it open), `roundsman.reserve` (zeros: space for when the disk is full), `roundsman.db.corrupt-<time>` (damaged
//! files, the last three). Mode 0600; the directory is made 0700.
//!
//! | table | a row is |
//! |---|---|
//! | `meta` | a property of the file; `schema` is the version of the tables, and a newer one is refused |
//! | `tally` | the one row of counters: how many rows there are, how far `subject` has followed `record`, what retention did |
//! | `tagset` | a (check, target), its plugin and host tags, by content; never changed; removed with the last row that names it |
//! | `subject` | a (check, target): standing, counters, high-water marks, its newest record |
//! | `record` | the outcome of one run, and its subject's counters after it; `previous` is the subject's record before it |
//! | `transition` | a hard change: of a (check, target), or of a finding of it; `time` is its own in its series |
//! | `finding` | where one of the many things stands that a check looks at |
//! | `silence` | what operators do not want to be alarmed by |
//! | `plugin` | how a plugin behaved that was backing off once: what is to be done about it |
//! | `memory` | what a plugin keeps for a (check, target) |
//! | `cursor` | how far a destination has acknowledged `record` and `transition` |
//! | `story` | log lines and calls of a failing run that had some; the last five of each subject |
//!
//! Most of a record, its points and findings included, is one postcard value in the column `body`; `encoder` names its
//! layout and the rules by which lines are made of it. Ids grow and are never given twice: cursors depend on that.
//!
//! # How a batch becomes atomic
//! One thread writes. It collects entries for at most `commit_interval` from the first one on, and writes them in one
//! transaction: records, tag sets, transitions, findings, silences, plugins, memory, stories, cursors. A record carries what it
//! means for its subject, so that `subject` need not be written with it: every ten seconds all changed subjects are (the
//! snapshot), and opening a file follows the records that are newer. What no record tells (counters alone, changes, the
//! end of a subject) writes the subject's row at once; the row names the newest record that it knows, so that only later
//! ones are followed. Only after the commit are the entries published. So what was ever shown survives the death of the
//! process. The log reaches the disk itself every two seconds: that much is lost with the power. A record must be later
//! than the one before it in its series; otherwise it is refused and counted. A hard change must be, too; otherwise it
//! has no row, and is counted. Several changes of one record are some ns apart: its own first, then findings by name.
//!
//! # When the disk refuses
//! Full, read-only, failing: entries stay in memory (16 MiB; then the oldest records are dropped and counted) and are
//! tried again. They are published all the same, although they would be lost with the process: when the disk is full is
//! when people need to see the state. `Health::degraded` says so in words. On a full disk the reserve is given up and a
//! part of the history makes room within the file, so that the store recovers even if nobody else frees anything.
//!
//! # When the file is damaged
//! It is set aside under another name and a new one begun, with a note. Opening always reads the header, the schema and
//! all subjects; only after a death of the agent every page. Damage that is found later ends the writer, which ends the
//! process, and the next start sets the file aside.
//!
//! # What goes
//! By age and by size, some rows after each commit. By size, records that only say "still ok" go first, from the oldest
//! on, until what else there is makes up half of all records; then the oldest. Transitions have an age of their own.
//!
//! # Files
//! - `store`: the handle; `entry`: what goes in; `row`: what comes out, and its layout; `error`
//! - `queue`: before the writer; `writer`: its thread; `commit`: a batch; `transitions`; `subjects`: what it knows
//! - `database`: the connection that writes; `open`: directory, lock, damage; `load`: what a file says; `schema`: the
//!   tables; `retention`; `reserve`
//! - `reader`: connections that read, the outbox; `history`: questions about the past
//!
//! Absent by design: wall time but for the name of a damaged file (ages count from the newest record), lines, sockets.

mod commit;
mod database;
mod entry;
mod error;
mod history;
mod load;
mod open;
mod queue;
mod reader;
mod reserve;
mod retention;
mod row;
#[cfg(test)]
mod samples;
mod schema;
mod store;
mod subjects;
mod transitions;
mod writer;

pub use commit::STORIES_KEPT;
pub use entry::{Config, Entry, MAX_COMMIT_INTERVAL, Recorded, TagSet, Turned};
pub use error::{NotCommitted, Refused, StoreError};
pub use reader::{MAX_ROWS, Reader};
pub use row::{Batch, Cursor, ENCODER, Page, Query, RecordRow, Restored, Subject, TransitionRow};
pub use store::{Health, Store};
