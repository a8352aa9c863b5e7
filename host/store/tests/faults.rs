//! Damaged files, full disks, two agents, directories that cannot be written: each with its way out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here fails the test")]

mod common;

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Published, all_records, entry, eventually, key, open, open_in, outcome};
use roundsman_model::record::Status;
use roundsman_store::{Config, Cursor, NotCommitted, Store, StoreError};

const DATABASE: &str = "roundsman.db";

/// A closed store with so many records.
async fn filled(directory: &Path, records: i64) {
    let (store, _, _) = open_in(directory);
    for time in 1..=records {
        store.submit(entry(outcome(&key(time as usize % 5), time, Status::Ok))).unwrap();
    }
    store.close().await.unwrap();
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

fn names(directory: &Path) -> Vec<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// As if the agent had died: the next start looks at every page.
fn unclean(path: &Path) {
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.execute("UPDATE tally SET clean = 0", []).unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_set_aside() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 4] = [
        ("garbage instead of a header", |path| overwrite(path, 0, &[0x5a; 200])),
        ("cut in half", |path| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2 / 4096 * 4096).unwrap();
        }),
        ("malformed pages after a crash", |path| {
            unclean(path);
            overwrite(path, fs::metadata(path).unwrap().len() / 2 / 4096 * 4096, &[0xff; 4096]);
        }),
        ("not a database at all", |path| fs::write(path, "shopping list\n".repeat(100)).unwrap()),
    ];
    for (what, damage) in damages {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path(), 2_000).await;
        damage(&directory.path().join(DATABASE));
        let (store, restored, _) = open_in(directory.path());
        let note = restored.note.expect(what);
        let aside = names(directory.path()).into_iter().find(|name| name.starts_with("roundsman.db.corrupt-"));
        assert!(aside.is_some_and(|name| note.contains(&name)), "{what}: {note}");
        assert_eq!(restored.subjects, [], "{what}");
        store.submit(entry(outcome(&key(0), 1, Status::Ok))).unwrap();
        store.close().await.unwrap();
        let (store, restored, _) = open_in(directory.path());
        assert_eq!((restored.note, restored.subjects.len()), (None, 1), "{what}: the new file lasts");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn damage_that_a_reader_finds_ends_the_store_and_is_set_aside_next_time() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 2_000).await;
    let path = directory.path().join(DATABASE);
    overwrite(&path, fs::metadata(&path).unwrap().len() / 2 / 4096 * 4096, &[0xff; 4096]);
    let (store, restored, _) = open_in(directory.path());
    assert_eq!(restored.note, None, "after a clean end not every page is looked at");
    let mut reader = store.reader().unwrap();
    let mut cursor = Cursor::default();
    let error = loop {
        match reader.outbox(cursor, 100) {
            Ok(batch) => {
                assert_ne!(batch.next, cursor, "the damage is found before the end");
                cursor = batch.next;
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Read { .. }), "{error}");
    let why = tokio::time::timeout(common::DEADLINE, store.died()).await.unwrap();
    assert!(why.contains("damaged") && why.contains("next start"), "{why}");
    drop(reader);
    let (store, restored, _) = open_in(directory.path());
    assert!(restored.note.is_some());
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_garbled_row_is_left_out_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 10).await;
    let conn = rusqlite::Connection::open(directory.path().join(DATABASE)).unwrap();
    conn.execute("UPDATE record SET body = x'00' WHERE id = 4", []).unwrap();
    conn.execute("UPDATE record SET encoder = 99 WHERE id = 6", []).unwrap();
    drop(conn);
    let (store, _, _) = open_in(directory.path());
    let ids: Vec<i64> = all_records(&mut store.reader().unwrap()).iter().map(|row| row.id).collect();
    assert_eq!(ids, [1, 2, 3, 5, 7, 8, 9, 10]);
    assert_eq!(store.health().unreadable, 2);
    store.close().await.unwrap();
}

/// Where findings and silences stand cannot be guessed: such a file is damaged.
#[tokio::test]
async fn what_cannot_be_remembered_is_set_aside() {
    for sql in [
        "INSERT INTO finding VALUES (1, 'a', x'ff')",
        "INSERT INTO silence VALUES (1, x'ff')",
        "INSERT INTO plugin VALUES ('a', x'ff')",
    ] {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path(), 3).await;
        rusqlite::Connection::open(directory.path().join(DATABASE)).unwrap().execute(sql, []).unwrap();
        let (store, restored, _) = open_in(directory.path());
        assert!(restored.note.is_some(), "{sql}");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn only_some_damaged_files_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..5 {
        fs::write(directory.path().join(DATABASE), "not a database".repeat(100)).unwrap();
        let (store, restored, _) = open_in(directory.path());
        assert!(restored.note.is_some());
        store.close().await.unwrap();
    }
    assert_eq!(names(directory.path()).iter().filter(|name| name.contains("corrupt")).count(), 3);
}

#[tokio::test]
async fn a_second_agent_is_told_to_go_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _, _) = open_in(directory.path());
    let error = Store::open(Config::new(directory.path()), |_| {}).unwrap_err();
    assert!(matches!(&error, StoreError::InUse { directory: d } if d == directory.path()), "{error}");
    assert!(error.to_string().contains(&directory.path().display().to_string()));
    store.close().await.unwrap();
    open_in(directory.path()).0.close().await.unwrap();
}

#[tokio::test]
async fn files_of_others_are_left_alone() {
    for (sql, newer) in [("UPDATE meta SET value = 2", true), ("DROP TABLE meta", false), ("DELETE FROM meta", false)] {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path(), 3).await;
        let path = directory.path().join(DATABASE);
        rusqlite::Connection::open(&path).unwrap().execute(sql, []).unwrap();
        let error = Store::open(Config::new(directory.path()), |_| {}).unwrap_err();
        assert_eq!(matches!(error, StoreError::Newer { found: 2, .. }), newer, "{error}");
        assert_eq!(matches!(error, StoreError::Foreign { .. }), !newer, "{error}");
        assert!(!names(directory.path()).iter().any(|name| name.contains("corrupt")));
    }
}

#[test]
fn a_directory_that_takes_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let closed = directory.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    // Modes do not stop root; nothing can be made in /proc by anybody.
    let mut unusable = vec![PathBuf::from("/proc/self"), file.clone(), file.join("below")];
    if fs::write(closed.join("x"), "").is_err() {
        unusable.push(closed);
    } else {
        eprintln!("skipped: this user may write into directories of mode 0500");
    }
    for directory in unusable {
        let error = Store::open(Config::new(&directory), |_| {}).unwrap_err();
        assert!(matches!(&error, StoreError::Directory { .. }), "{}: {error}", directory.display());
        assert!(error.to_string().contains(&directory.display().to_string()), "{error}");
    }
}

#[tokio::test]
async fn nobody_else_can_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("a/b");
    let (store, _, _) = open_in(&inner);
    store.submit(entry(outcome(&key(0), 1, Status::Ok))).unwrap();
    store.flush().await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    let files = names(&inner);
    assert!(files.contains(&"roundsman.db-wal".to_owned()), "{files:?}");
    for name in files {
        assert_eq!(mode(&inner.join(&name)), 0o600, "{name}");
    }
    store.close().await.unwrap();
}

/// A file system of its own, unmounted at the end; none where this user may not mount.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=0700");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(directory.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(directory)),
            _ => {
                eprintln!("skipped: this user cannot mount a file system");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the space that is left.
    fn exhaust(&self) -> PathBuf {
        let path = self.path().join("ballast");
        let mut file = fs::File::create(&path).unwrap();
        let mut block = vec![0; 65_536];
        while !block.is_empty() {
            while file.write_all(&block).is_ok() {}
            block.truncate(block.len() / 2);
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        match Command::new("umount").arg("-l").arg(self.0.path()).status() {
            Ok(status) if status.success() => {}
            other => eprintln!("could not unmount: {other:?}"),
        }
    }
}

fn times(published: &Published) -> Vec<i64> {
    let published = published.lock().unwrap();
    published
        .iter()
        .map(|entry| if let roundsman_store::Entry::Record(r) = entry { r.record.time.0 } else { 0 })
        .collect()
}

/// Until everything that was submitted is on the disk, however often it was full.
async fn flushed(store: &Store) {
    let begin = std::time::Instant::now();
    while let Err(error) = store.flush().await {
        assert!(matches!(error, NotCommitted::Degraded(_)), "{error}");
        assert!(begin.elapsed() < common::DEADLINE, "it does not recover by itself");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_full_disk_is_survived_and_everything_is_shown_meanwhile() {
    let Some(disk) = Disk::new("4m") else { return };
    let (store, _, published) = open_in(disk.path());
    store.submit(entry(outcome(&key(0), 1, Status::Ok))).unwrap();
    store.flush().await.unwrap();
    let ballast = disk.exhaust();
    let mut time = 1;
    eventually("the disk is full", || {
        for _ in 0..50 {
            time += 1;
            store.submit(entry(outcome(&key(0), time, Status::Ok))).unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        store.health().degraded.is_some()
    });
    let why = store.health().degraded.unwrap();
    assert!(why.contains("full"), "{why}");
    fs::remove_file(ballast).unwrap();
    flushed(&store).await;
    let expected: Vec<i64> = (1..=time).collect();
    assert_eq!(times(&published), expected, "shown once each, in order");
    let stored: Vec<i64> = all_records(&mut store.reader().unwrap()).iter().map(|row| row.record.time.0).collect();
    // On a full disk the oldest make room, but for the first one, which says more than "still ok". The rest is without
    // a gap and ends with the newest.
    assert_eq!(stored[1..], expected[expected.len() - stored.len() + 1..]);
    let health = store.health();
    assert_eq!((health.lost, health.held), (0, 0));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_disk_smaller_than_the_budget_is_used_as_a_ring() {
    let Some(disk) = Disk::new("4m") else { return };
    let (store, _, published) = open_in(disk.path());
    let mut time = 0;
    for _ in 0..60 {
        for _ in 0..1_000 {
            time += 1;
            store.submit(entry(outcome(&key(time as usize % 50), time, Status::Ok))).unwrap();
        }
        flushed(&store).await;
    }
    assert_eq!(times(&published).len() as i64, time);
    let rows = all_records(&mut store.reader().unwrap());
    assert!(rows.len() > 5_000, "{} records are left", rows.len());
    assert_eq!(rows.last().unwrap().record.time.0, time);
    assert_eq!(store.health().lost, 0);
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_agent_can_start_on_a_full_disk() {
    let Some(disk) = Disk::new("8m") else { return };
    filled(disk.path(), 1_000).await;
    let ballast = disk.exhaust();
    let (store, restored, published) = open_in(disk.path());
    assert_eq!(restored.subjects.len(), 5);
    for time in 1_001..=3_000 {
        store.submit(entry(outcome(&key(0), time, Status::Ok))).unwrap();
    }
    eventually("everything is shown", || times(&published).len() == 2_000);
    flushed(&store).await;
    assert_eq!(all_records(&mut store.reader().unwrap()).last().unwrap().record.time.0, 3_000);
    fs::remove_file(ballast).unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_held_is_counted() {
    let Some(disk) = Disk::new("48m") else { return };
    let (store, _, published) = open(Config { destinations: vec!["main".into()], ..Config::new(disk.path()) });
    store.submit(entry(outcome(&key(0), 1, Status::Ok))).unwrap();
    store.flush().await.unwrap();
    let ballast = disk.exhaust();
    let mut time = 1;
    eventually("the ring is full", || {
        for _ in 0..20 {
            time += 1;
            let mut recorded = outcome(&key(0), time, Status::Ok);
            recorded.memory = vec![(format!("large-{time}"), Some(vec![7; 65_536]))];
            // The queue may be full for a moment, too; that is counted apart.
            if store.submit(entry(recorded)).is_err() {
                time -= 1;
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
        store.health().lost > 0
    });
    assert!(matches!(store.flush().await, Err(NotCommitted::Degraded(_))));
    assert_eq!(times(&published).len() as i64, time);
    fs::remove_file(ballast).unwrap();
    flushed(&store).await;
    let health = store.health();
    // Nothing was sent, so what made room is counted, too.
    assert_eq!(health.records + health.lost + health.dropped_unsent, time as u64, "{health:?}");
    store.close().await.unwrap();
}

#[tokio::test]
async fn closing_with_a_full_disk_says_what_it_could_not_do() {
    let Some(disk) = Disk::new("4m") else { return };
    let (store, _, _) = open(Config::new(disk.path()));
    let _ballast = disk.exhaust();
    let mut recorded = outcome(&key(0), 1, Status::Ok);
    recorded.memory = vec![("large".into(), Some(vec![7; 4 << 20]))];
    store.submit(entry(recorded)).unwrap();
    assert!(matches!(store.close().await, Err(NotCommitted::Degraded(_))));
}
