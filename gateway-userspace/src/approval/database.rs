//! The requests on disk: SQLite, written by a thread of its own.
//!
//! The evidence says what happened; this is the queue and its index, so that a restart shows what
//! waited and how it ended. Rows are written whole, and the newest state of a row wins: at most
//! one row per request waits to be written.

use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, params};
use tokio::sync::oneshot;

use super::store::MAX_ENDED;
use crate::admin::ApprovalView;

/// `cord`, in the file's header: it is ours.
const APPLICATION_ID: i32 = 0x636f_7264;
/// Version of the tables.
const VERSION: i32 = 1;
/// How long a failed write waits before it is tried again by itself.
const RETRY: Duration = Duration::from_secs(1);

const SCHEMA: &str = "\
CREATE TABLE request (
    arrival INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    live INTEGER NOT NULL,
    view TEXT NOT NULL
) STRICT;
CREATE INDEX request_live ON request (live, arrival);";

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be made or read.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// SQLite refuses it, or it is damaged.
    #[error(
        "{path} cannot be used: {problem}; move it and its -wal file away and start again: requests that wait are lost, and what was decided stands in the evidence"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Why.
        problem: String,
    },
    /// Made by a later version.
    #[error(
        "{path} was written by a later version of cordon (tables of version {version}); use that version, or move the file away"
    )]
    Later {
        /// The file.
        path: String,
        /// Its version.
        version: i32,
    },
}

/// A request is not on disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the requests for approval cannot be saved: {0}")]
pub struct SaveError(pub String);

/// A request as it is on disk.
#[derive(Clone, Debug)]
pub struct Row {
    /// Order of arrival.
    pub arrival: u64,
    /// It can still be answered, or used.
    pub live: bool,
    /// As shown to people.
    pub view: ApprovalView,
}

/// The file with the requests. A clone is the same file; the last one waits for what is still to
/// be written.
#[derive(Clone)]
pub struct Database {
    writer: Arc<Writer>,
}

struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    pending: Mutex<Pending>,
    wake: Condvar,
}

#[derive(Default)]
struct Pending {
    rows: BTreeMap<u64, Row>,
    waiters: Vec<oneshot::Sender<Result<(), SaveError>>>,
    closed: bool,
}

impl Database {
    /// Opens or makes the file; gives what is in it, oldest first. Blocks.
    ///
    /// # Errors
    /// If it cannot be read and written, or is damaged.
    pub fn open(path: &Path) -> Result<(Self, Vec<Row>), OpenError> {
        let connection = connect(path)?;
        let rows = load(&connection).map_err(|error| damaged(path, &error))?;
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new()
            .name("cordon-requests".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || write_all(connection, &shared)
            })
            .map_err(|error| OpenError::Io {
                path: path.display().to_string(),
                error,
            })?;
        let writer = Writer {
            shared,
            thread: Some(thread),
        };
        Ok((
            Self {
                writer: Arc::new(writer),
            },
            rows,
        ))
    }

    /// Resolves once the row, as it is given or newer, is on disk. Its place in the order of rows is
    /// taken when this is called, not when it is awaited.
    ///
    /// # Errors
    /// If it cannot be written now. It is tried again.
    pub fn save(&self, row: Row) -> impl Future<Output = Result<(), SaveError>> + Send + use<> {
        self.put(Some(row), true)
    }

    /// Resolves once everything that was given before is on disk.
    ///
    /// # Errors
    /// If it cannot be written now.
    pub fn flush(&self) -> impl Future<Output = Result<(), SaveError>> + Send + use<> {
        self.put(None, true)
    }

    /// Writes the row soon. What fails is tried again.
    pub fn save_later(&self, row: Row) {
        drop(self.put(Some(row), false));
    }

    fn put(
        &self,
        row: Option<Row>,
        waits: bool,
    ) -> impl Future<Output = Result<(), SaveError>> + Send + use<> {
        let (done, saved) = oneshot::channel();
        let mut pending = self.writer.shared.lock();
        if let Some(row) = row {
            pending.rows.insert(row.arrival, row);
        }
        if waits {
            pending.waiters.push(done);
        }
        drop(pending);
        self.writer.shared.wake.notify_one();
        async {
            saved
                .await
                .unwrap_or_else(|_gone| Err(SaveError("the writer has stopped".to_owned())))
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl Drop for Writer {
    /// What is still to be written is written first.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that saves requests for approval has panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_all(mut connection: Connection, shared: &Shared) {
    let mut failed = false;
    loop {
        let mut pending = shared.lock();
        while pending.rows.is_empty() && pending.waiters.is_empty() && !pending.closed {
            pending = shared
                .wake
                .wait(pending)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if failed && pending.waiters.is_empty() && !pending.closed {
            // Nobody waits: no hurry to fail again.
            (pending, _) = shared
                .wake
                .wait_timeout(pending, RETRY)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let closed = pending.closed;
        let rows = std::mem::take(&mut pending.rows);
        let waiters = std::mem::take(&mut pending.waiters);
        drop(pending);
        let outcome = write(&mut connection, rows.values()).map_err(|error| {
            if !failed {
                tracing::error!(%error, "requests for approval cannot be saved");
            }
            SaveError(error.to_string())
        });
        failed = outcome.is_err();
        for waiter in waiters {
            // Whoever waited may have gone away.
            let _gone = waiter.send(outcome.clone());
        }
        if closed {
            return;
        }
        if failed {
            let mut pending = shared.lock();
            for (arrival, row) in rows {
                pending.rows.entry(arrival).or_insert(row);
            }
        }
    }
}

fn write<'a>(
    connection: &mut Connection,
    rows: impl Iterator<Item = &'a Row>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare_cached(
            "INSERT INTO request (arrival, id, live, view) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (arrival) DO UPDATE SET live = excluded.live, view = excluded.view",
        )?;
        for row in rows {
            let view = serde_json::to_string(&row.view)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
            insert.execute(params![
                i64::try_from(row.arrival).unwrap_or(i64::MAX),
                row.view.id,
                row.live,
                view
            ])?;
        }
        // As many ended ones as can be looked at.
        transaction
            .prepare_cached(
                "DELETE FROM request WHERE live = 0 AND arrival <= (SELECT arrival FROM request \
                 WHERE live = 0 ORDER BY arrival DESC LIMIT 1 OFFSET ?1)",
            )?
            .execute(params![i64::try_from(MAX_ENDED).unwrap_or(i64::MAX)])?;
    }
    transaction.commit()
}

fn connect(path: &Path) -> Result<Connection, OpenError> {
    // SQLite would make it readable to all.
    std::fs::File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| OpenError::Io {
            path: path.display().to_string(),
            error,
        })?;
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .map_err(|error| damaged(path, &error))?;
    prepare(&connection, path)?;
    Ok(connection)
}

fn prepare(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let wrong = |error: rusqlite::Error| damaged(path, &error);
    let refused = |problem: String| OpenError::Damaged {
        path: path.display().to_string(),
        problem,
    };
    connection.busy_timeout(Duration::ZERO).map_err(wrong)?;
    let read = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i32>(0));
    let (application, version) = (
        read("PRAGMA application_id").map_err(wrong)?,
        read("PRAGMA user_version").map_err(wrong)?,
    );
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(wrong)?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(refused("it is a database of something else".to_owned()));
    }
    if version > VERSION {
        return Err(OpenError::Later {
            path: path.display().to_string(),
            version,
        });
    }
    let check: String = connection
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(wrong)?;
    if check != "ok" {
        return Err(refused(check));
    }
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(wrong)?;
    if mode != "wal" {
        return Err(refused(format!("its journal is {mode}, not wal")));
    }
    connection
        .execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;",
        )
        .map_err(wrong)?;
    if tables == 0 {
        connection
            .execute_batch(&format!(
                "BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
            ))
            .map_err(wrong)?;
    }
    Ok(())
}

fn load(connection: &Connection) -> rusqlite::Result<Vec<Row>> {
    let mut select =
        connection.prepare("SELECT arrival, live, view FROM request ORDER BY arrival")?;
    let rows = select.query_map([], |row| {
        let view: String = row.get(2)?;
        let view = serde_json::from_str(&view).map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(
                2,
                rusqlite::types::Type::Text,
                Box::new(error),
            )
        })?;
        Ok(Row {
            arrival: u64::try_from(row.get::<_, i64>(0)?).unwrap_or_default(),
            live: row.get(1)?,
            view,
        })
    })?;
    rows.collect()
}

fn damaged(path: &Path, error: &rusqlite::Error) -> OpenError {
    OpenError::Damaged {
        path: path.display().to_string(),
        problem: error.to_string(),
    }
}
