//! One stretch of the outbox, read and encoded: blocking work, away from the runtime's threads.

use roundsman_store::{Batch, Cursor, Reader, Store, StoreError};

use crate::encode;
use crate::request::{Gather, MAX_BYTES, MAX_LINES, Request};

/// Rows that are read at first, before anything is known of their size.
const FIRST_ROWS: usize = 256;

/// Fewest rows that are read at once; the most are as many as a request may have lines. Each row is bounded by its
/// check's limits.
const MIN_ROWS: usize = 8;

/// A stretch of the outbox, ready to be sent.
#[derive(Debug)]
pub(crate) struct Page {
    /// In order; about one.
    pub(crate) requests: Vec<Request>,
    /// Where the outbox goes on. Equal to where this page began: there is nothing.
    pub(crate) next: Cursor,
    /// Whether the page was full, so that more rows wait.
    pub(crate) more: bool,
    /// The newest record that was there.
    pub(crate) newest: i64,
    /// How many rows had been published before the page was read.
    pub(crate) seen: u64,
}

/// Why a page cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "rows of the history were written by a newer version (encoder {found}, this one knows {known}); \
         run that version, so that the same lines are sent",
        known = encode::ENCODER_VERSION
    )]
    Newer { found: u16 },
    #[error("the thread that read the history ended")]
    Thread(#[source] tokio::task::JoinError),
}

/// Reads the outbox page by page, each about as large as one request.
#[derive(Debug)]
pub(crate) struct Pages {
    store: Store,
    reader: Option<Reader>,
    rows: usize,
}

impl Pages {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, reader: None, rows: FIRST_ROWS }
    }

    /// The page that begins at the cursor; `seen` is how many rows have been published. After an error the next page is
    /// read over a new connection.
    pub(crate) fn read(&mut self, from: Cursor, seen: u64) -> Result<Page, PageError> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.store.reader()?,
        };
        let batch = reader.outbox(from, self.rows)?;
        let rows = batch.records.len() + batch.transitions.len();
        let next = batch.next;
        // Rows that the store could not make sense of are passed over: a page without rows need not be the last.
        let more = rows >= self.rows || (rows == 0 && next != from);
        let newest = if more { newest(&mut reader)? } else { next.record };
        let requests = requests(from, batch)?;
        self.size(rows, &requests);
        self.reader = Some(reader);
        Ok(Page { requests, next, more, newest, seen })
    }

    /// Lines that a row is likely to have.
    pub(crate) fn lines_per_row(&self) -> usize {
        (MAX_LINES / self.rows).max(1)
    }

    /// Sets how many rows the next page has: as many as fill one request, if they are like these.
    fn size(&mut self, rows: usize, requests: &[Request]) {
        let lines: usize = requests.iter().map(|request| request.lines).sum();
        let bytes: usize = requests.iter().map(|request| request.text().len()).sum();
        if rows > 0 && lines > 0 {
            self.rows = (MAX_LINES * rows / lines).min(MAX_BYTES * rows / bytes).clamp(MIN_ROWS, MAX_LINES);
        }
    }
}

fn newest(reader: &mut Reader) -> Result<i64, StoreError> {
    let query = roundsman_store::Query { limit: 1, ..Default::default() };
    Ok(reader.records(&query)?.rows.first().map_or(0, |row| row.id))
}

fn requests(from: Cursor, batch: Batch) -> Result<Vec<Request>, PageError> {
    let known = |found| if encode::knows(found) { Ok(()) } else { Err(PageError::Newer { found }) };
    let mut gather = Gather::new(from);
    let mut cursor = from;
    for row in &batch.records {
        known(row.encoder)?;
        cursor.record = row.id;
        gather.row(cursor, |out| encode::record(row.tags.iter(), &row.record, out));
    }
    for row in &batch.transitions {
        known(row.encoder)?;
        cursor.transition = row.id;
        gather.row(cursor, |out| encode::transition(row, out));
    }
    Ok(gather.finish(batch.next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_version_of_the_encoder() {
        assert_eq!(roundsman_store::ENCODER, encode::ENCODER_VERSION);
    }
}
