//! The log as a whole: writer, crash, tampering, verifier.

mod append;
mod crash;
mod full;
mod keeping;
mod proofs;
mod tamper;
mod witness;

use std::{fs, path::Path, sync::Arc, time::Duration};

use super::*;

/// In memory where that is possible: what these tests prove does not depend on a disk's speed.
fn tempdir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// A log that signs only when it is opened, rotated and closed.
fn quiet(dir: &Path) -> LogConfig {
    let mut config = LogConfig::new(dir, Fsync::Always, "host.example");
    config.tuning = Tuning {
        segment_bytes: u64::MAX,
        checkpoint_every: Duration::from_hours(1),
        checkpoint_entries: u64::MAX,
        heartbeat: Duration::from_hours(1),
    };
    config
}

fn open(dir: &Path) -> (Arc<Log>, Recovery) {
    Log::open(quiet(dir)).unwrap()
}

fn decided(session: &str, statement: u64, text: &str) -> Event {
    Event::StatementDecided(StatementDecided {
        session: session.into(),
        statement,
        phase: Phase::Simple,
        text: text.into(),
        parameters: vec![None, Some("1".into())],
        relations: vec!["public.orders".into()],
        effects: vec!["select public.orders".into()],
        decision: Decision::Allow {
            grants: vec!["agent-orders".into()],
        },
        policy: "p".into(),
        masked: Vec::new(),
        search_path: Vec::new(),
        approval: None,
    })
}

fn completed(session: &str, statement: u64) -> Event {
    Event::StatementCompleted(StatementCompleted {
        session: session.into(),
        statement,
        rows: 3,
        bytes: 99,
        cells_masked: 1,
        duration_us: 12,
        outcome: Outcome::Ok,
        result_sha256: None,
    })
}

fn check(dir: &Path) -> Report {
    verify(dir, VerifyOptions::default())
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy_dir(&item.path(), &target);
        } else {
            fs::copy(item.path(), target).unwrap();
        }
    }
}

/// All files below a folder.
pub(super) fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for item in fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// The files of a log that the verifier reads, relative to its folder.
fn evidence_files(dir: &Path) -> Vec<String> {
    let mut files = vec!["checkpoints".to_owned(), "keys/log.pub".to_owned()];
    for folder in ["segments", "blobs", "recordings"] {
        let Ok(items) = fs::read_dir(dir.join(folder)) else {
            continue;
        };
        for item in items {
            files.push(format!(
                "{folder}/{}",
                item.unwrap().file_name().to_string_lossy()
            ));
        }
    }
    files.sort();
    files
}

/// A log of one job with a session that read and was denied a delete. Its entries.
pub(super) async fn written(dir: &Path) -> u64 {
    let (log, _) = open(dir);
    let now = Durability::Now;
    let job = JobStarted {
        job: "job-1".into(),
        issuer: "github".into(),
        subject: "repo:shop".into(),
        ..JobStarted::default()
    };
    let session = SessionOpened {
        session: "s".into(),
        job: "job-1".into(),
        database: "shop".into(),
        original: "192.0.2.7:5432".into(),
        ..SessionOpened::default()
    };
    log.append(Event::JobStarted(job), now).await.unwrap();
    log.append(Event::SessionOpened(session), now)
        .await
        .unwrap();
    log.append(decided("s", 1, "SELECT 1"), now).await.unwrap();
    log.record_later(completed("s", 1));
    let Event::StatementDecided(mut denied) = decided("s", 2, "DELETE FROM t") else {
        unreachable!()
    };
    denied.effects = vec!["delete public.t".into()];
    denied.decision = Decision::Deny {
        code: "not-permitted".into(),
        sqlstate: "42501".into(),
        rule: "default deny".into(),
        reason: "no".into(),
        hint: String::new(),
    };
    log.append(Event::StatementDecided(denied), now)
        .await
        .unwrap();
    log.close("test").await.unwrap();
    note_size(&latest_checkpoint(dir, None).unwrap()).unwrap()
}
