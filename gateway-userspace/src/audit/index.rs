//! An index of the log's sessions, in a file beside it, so that lists and replays need not read all
//! of the log.
//!
//! It holds nothing that the log does not say, and is made anew from the log if it is missing,
//! damaged, or of another log. No check of the evidence looks at it.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::{
    entry::{Entries, Position},
    error::ReadError,
    layout::{Layout, open_rw},
    sessions::{SessionSummary, summarise},
    tree::Hash,
};

/// Of the tables. Another one: it is made anew.
const VERSION: i32 = 1;
/// Entries that are read between two changes of the file.
const BATCH: u64 = 65_536;
/// How long another process may hold it.
const PATIENCE: Duration = Duration::from_secs(10);

const SCHEMA: &str = "\
CREATE TABLE session (
    entry INTEGER PRIMARY KEY,
    session TEXT NOT NULL UNIQUE,
    segment INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    live INTEGER NOT NULL,
    last INTEGER NOT NULL,
    summary TEXT NOT NULL
) STRICT;
CREATE INDEX session_live ON session (entry) WHERE live = 1;
CREATE TABLE place (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    segment INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    entry_offset INTEGER NOT NULL,
    leaf BLOB NOT NULL
) STRICT;";

/// The index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The file cannot be made.
    #[error("the index of sessions cannot be made: {0}")]
    Io(#[from] std::io::Error),
    /// SQLite refuses it.
    #[error("the index of sessions cannot be used: {0}")]
    Database(#[from] rusqlite::Error),
    /// A row is not what was written.
    #[error("the index of sessions is damaged: {0}")]
    Row(#[from] serde_json::Error),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
}

/// The index of one log.
pub struct SessionIndex {
    database: Connection,
    layout: Layout,
}

/// A session being read, with what is kept beside its summary.
struct Row {
    entry: u64,
    position: Position,
}

impl SessionIndex {
    /// Opens the index of the log in `dir`, made if it is missing.
    ///
    /// # Errors
    /// If it can neither be opened nor made.
    pub fn create(dir: &Path) -> Result<Self, IndexError> {
        let layout = Layout::new(dir);
        match Self::connect(layout.clone()) {
            Ok(index) => Ok(index),
            Err(error) => {
                tracing::warn!(%error, "it is made anew");
                remove(&layout)?;
                Self::connect(layout)
            }
        }
    }

    /// The index of the log in `dir`, if there is one that can be brought up to date.
    pub(super) fn current(dir: &Path) -> Option<Self> {
        let layout = Layout::new(dir);
        if !layout.session_index().exists() {
            return None;
        }
        let opened = Self::connect(layout).and_then(|mut index| {
            index.catch_up()?;
            Ok(index)
        });
        opened
            .map_err(|error| tracing::debug!(%error, "the log is read instead"))
            .ok()
    }

    fn connect(layout: Layout) -> Result<Self, IndexError> {
        let path = layout.session_index();
        // For the owner alone, before SQLite sees it.
        drop(open_rw(&path)?);
        let database = Connection::open(&path)?;
        database.busy_timeout(PATIENCE)?;
        database.pragma_update(None, "journal_mode", "WAL")?;
        database.pragma_update(None, "synchronous", "NORMAL")?;
        let mut index = Self { database, layout };
        index.prepare()?;
        Ok(index)
    }

    fn prepare(&mut self) -> Result<(), IndexError> {
        let change = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version: i32 = change.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version != VERSION {
            change.execute_batch("DROP TABLE IF EXISTS session; DROP TABLE IF EXISTS place;")?;
            change.execute_batch(SCHEMA)?;
            change.pragma_update(None, "user_version", VERSION)?;
        }
        change.commit()?;
        Ok(())
    }

    /// Reads what the log has got since. Blocks on the disk.
    ///
    /// # Errors
    /// If the log or the index cannot be read.
    pub fn catch_up(&mut self) -> Result<(), IndexError> {
        while self.catch_up_some()? {}
        Ok(())
    }

    /// Reads some; true if there may be more.
    fn catch_up_some(&mut self) -> Result<bool, IndexError> {
        let change = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let first = self.layout.list_segments()?.first().copied().unwrap_or(0);
        change.execute("DELETE FROM session WHERE entry < ?1", [signed(first)])?;
        let known = change
            .query_row(
                "SELECT segment, offset, entry_offset, leaf FROM place",
                [],
                |row| {
                    let position = Position {
                        segment: unsigned(row.get(0)?),
                        offset: unsigned(row.get(1)?),
                    };
                    Ok((position, unsigned(row.get(2)?), row.get::<_, Hash>(3)?))
                },
            )
            .optional()?;
        let resumed = known.and_then(|(position, entry_offset, leaf)| {
            let last = Position {
                segment: position.segment,
                offset: entry_offset,
            };
            // Of this log, and of this state of it.
            let mut entries = Entries::open_at(self.layout.dir(), last).ok()?;
            let there = entries.next().ok()?.is_some()
                && entries.leaf() == leaf
                && entries.position() == position;
            there.then_some(entries)
        });
        let mut entries = if let Some(entries) = resumed {
            entries
        } else {
            change.execute_batch("DELETE FROM session; DELETE FROM place;")?;
            Entries::open(self.layout.dir())?
        };
        let (mut sessions, mut rows, mut open) = (Vec::new(), Vec::new(), BTreeMap::new());
        {
            let mut live = change.prepare(
                "SELECT entry, segment, offset, last, summary FROM session WHERE live = 1 ORDER BY entry",
            )?;
            let mut found = live.query([])?;
            while let Some(row) = found.next()? {
                let summary: SessionSummary =
                    serde_json::from_str(row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?)?;
                open.insert(
                    summary.session.clone(),
                    (sessions.len(), unsigned(row.get(3)?)),
                );
                sessions.push(summary);
                rows.push(Row {
                    entry: unsigned(row.get(0)?),
                    position: Position {
                        segment: unsigned(row.get(1)?),
                        offset: unsigned(row.get(2)?),
                    },
                });
            }
        }
        let mut read = 0;
        let mut place = None;
        while read < BATCH {
            let Some(entry) = entries.next()? else { break };
            read += 1;
            place = Some((entries.position(), entries.entry_offset(), entries.leaf()));
            let index = entry.index;
            summarise(&mut sessions, &mut open, entry);
            if sessions.len() > rows.len() {
                rows.push(Row {
                    entry: index,
                    position: Position {
                        offset: entries.entry_offset(),
                        ..entries.position()
                    },
                });
            }
        }
        let mut last = vec![0; sessions.len()];
        let mut live = vec![false; sessions.len()];
        for (at, statement) in open.into_values() {
            if let (Some(last), Some(live)) = (last.get_mut(at), live.get_mut(at)) {
                *last = statement;
                *live = true;
            }
        }
        {
            let mut put = change.prepare(
                "INSERT OR REPLACE INTO session (entry, session, segment, offset, live, last, summary) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            let beside = rows.iter().zip(live).zip(last);
            for (summary, ((row, live), last)) in sessions.iter().zip(beside) {
                put.execute(params![
                    signed(row.entry),
                    summary.session,
                    signed(row.position.segment),
                    signed(row.position.offset),
                    live,
                    signed(last),
                    serde_json::to_string(summary)?,
                ])?;
            }
        }
        if let Some((position, entry_offset, leaf)) = place {
            change.execute(
                "INSERT OR REPLACE INTO place (one, segment, offset, entry_offset, leaf) VALUES (1, ?1, ?2, ?3, ?4)",
                params![
                    signed(position.segment),
                    signed(position.offset),
                    signed(entry_offset),
                    leaf
                ],
            )?;
        }
        change.commit()?;
        Ok(read == BATCH)
    }

    /// Visits the sessions, newest first, until it returns false.
    pub(super) fn newest(
        &self,
        mut visit: impl FnMut(SessionSummary) -> bool,
    ) -> Result<(), IndexError> {
        let mut newest = self
            .database
            .prepare("SELECT summary FROM session ORDER BY entry DESC")?;
        let mut rows = newest.query([])?;
        while let Some(row) = rows.next()? {
            let text = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            if !visit(serde_json::from_str(text)?) {
                break;
            }
        }
        Ok(())
    }

    /// Ids of up to five sessions that begin with this, and where they open; the one that is equal
    /// alone, if there is one.
    pub(super) fn find(&self, prefix: &str) -> Result<Vec<(String, Position)>, IndexError> {
        let mut find = self.database.prepare(
            "SELECT session, segment, offset FROM session WHERE substr(session, 1, length(?1)) = ?1 \
             ORDER BY session <> ?1, entry LIMIT 5",
        )?;
        let found = find.query_map([prefix], |row| {
            let position = Position {
                segment: unsigned(row.get(1)?),
                offset: unsigned(row.get(2)?),
            };
            Ok((row.get::<_, String>(0)?, position))
        })?;
        let mut found: Vec<_> = found.collect::<Result<_, _>>()?;
        if found.first().is_some_and(|(session, _)| session == prefix) {
            found.truncate(1);
        }
        Ok(found)
    }
}

impl std::fmt::Debug for SessionIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionIndex")
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

fn remove(layout: &Layout) -> std::io::Result<()> {
    let path = layout.session_index();
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.clone().into_os_string();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// SQLite's integers have a sign; no index or offset reaches it.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
