//! What a restart finds.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use super::*;

fn open(dir: &Path, fake: &Arc<Fake>) -> Approvals {
    let (database, rows) = Database::open(&dir.join("approvals.db")).unwrap();
    Approvals::resume(fake.clone(), database, rows).0
}

fn states(store: &Approvals) -> Vec<(String, String)> {
    let views = store.list().into_iter();
    views.map(|view| (view.id, view.state)).collect()
}

#[tokio::test]
async fn a_restart_keeps_the_queue_and_withdraws_what_lost_its_connection() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    let alice = person("alice", 2_001);
    let mut expected = Vec::new();
    {
        let store = open(dir.path(), &fake);
        for (answer, used, state) in [
            (None, false, "withdrawn"),
            (Some(true), false, "withdrawn"),
            (Some(true), true, "approved"),
            (Some(false), false, "denied"),
        ] {
            let held = store.submit(request(Some("dba"), 1)).await.unwrap();
            if let Some(approve) = answer {
                let reason = Some("because".to_owned());
                store
                    .decide(held.id(), &alice, approve, reason)
                    .await
                    .unwrap();
            }
            if used {
                held.approved().redeem(&binding()).await.unwrap();
            }
            expected.push((held.id().to_owned(), state.to_owned()));
            // The daemon is killed: nobody withdraws anything.
            std::mem::forget(held);
        }
        store.flush().await.unwrap();
    }
    fake.events.lock().unwrap().clear();
    let store = open(dir.path(), &fake);
    assert_eq!(states(&store), expected);
    assert_eq!((store.open(), fake.names()), (0, vec!["withdrawn"; 2]));
    let views = store.list();
    assert!(
        views[0]
            .ended_because
            .as_ref()
            .unwrap()
            .contains("restarted")
    );
    assert!(
        views[1]
            .ended_because
            .as_ref()
            .unwrap()
            .contains("before the approved statement ran")
    );
    assert!(views[1].used.is_none() && views[2].used.is_some());
    assert_eq!(views[2].answers[0].reason.as_deref(), Some("because"));
    let late = store.decide(&views[0].id, &alice, true, None).await;
    assert!(matches!(late, Err(DecideError::Ended { .. })), "{late:?}");
    // What is withdrawn stays so, and new ones come behind the old ones.
    store.flush().await.unwrap();
    let store = open(dir.path(), &fake);
    assert_eq!(states(&store), expected);
    assert_eq!(fake.names(), ["withdrawn"; 2]);
    let held = store.submit(request(Some("dba"), 1)).await.unwrap();
    assert_eq!(store.list().last().unwrap().id, held.id());
}

#[tokio::test]
async fn as_many_ended_requests_are_kept_as_can_be_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    let store = open(dir.path(), &fake);
    let first = store.submit(request(Some("dba"), 1)).await.unwrap();
    for _ in 0..300 {
        drop(store.submit(request(Some("dba"), 1)).await.unwrap());
    }
    assert_eq!(store.list().len(), 257);
    let before = states(&store);
    std::mem::forget(first);
    store.flush().await.unwrap();
    let (_database, rows) = Database::open(&dir.path().join("approvals.db")).unwrap();
    let kept: Vec<_> = rows
        .into_iter()
        .map(|row| (row.view.id, row.view.state))
        .collect();
    assert_eq!(kept, before);
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("approvals.db");
    let fake = Arc::new(Fake::default());
    let store = open(dir.path(), &fake);
    for _ in 0..40 {
        drop(store.submit(request(Some("dba"), 1)).await.unwrap());
    }
    store.flush().await.unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    let good = std::fs::read(&path).unwrap();
    let path = dir.path().join("damaged-approvals.db");
    let mut flipped = good.clone();
    for byte in &mut flipped[4_096..] {
        *byte ^= 0x55;
    }
    let mut foreign = good.clone();
    foreign[68..72].copy_from_slice(b"else");
    for (what, bytes) in [
        ("cut", &good[..good.len() / 2]),
        ("flipped", &flipped[..]),
        ("not a database", &b"something else, long enough to be read as a header of one............................................"[..]),
        ("another program's", &foreign[..]),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = Database::open(&path).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{what}: {error}");
        let text = error.to_string();
        assert!(
            text.contains("approvals.db") && text.contains("move it"),
            "{what}: {text}"
        );
    }
    let mut later = good;
    later[60..64].copy_from_slice(&9_i32.to_be_bytes());
    std::fs::write(&path, later).unwrap();
    let error = Database::open(&path).unwrap_err();
    assert!(
        matches!(error, OpenError::Later { version: 9, .. }),
        "{error}"
    );
}

/// The file cannot be written as long as another connection has it locked.
struct Locked(rusqlite::Connection);

impl Locked {
    fn new(dir: &Path) -> Self {
        let connection = rusqlite::Connection::open(dir.join("approvals.db")).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(connection)
    }

    fn unlock(self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_saved_is_not_held_and_not_approved() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    let store = open(dir.path(), &fake);
    let alice = person("alice", 2_001);
    let held = store.submit(request(Some("dba"), 1)).await.unwrap();
    let other = store.submit(request(Some("dba"), 1)).await.unwrap();
    store.decide(other.id(), &alice, true, None).await.unwrap();

    let locked = Locked::new(dir.path());
    let refused = store.submit(request(Some("dba"), 1)).await;
    assert!(matches!(&refused, Err(SubmitError::Save(_))), "{refused:?}");
    let answer = store.decide(held.id(), &alice, true, None).await;
    assert!(
        matches!(&answer, Err(DecideError::NotSaved(_))),
        "{answer:?}"
    );
    let used = other.approved().redeem(&binding()).await;
    assert!(matches!(&used, Err(RedeemError::NotSaved(_))), "{used:?}");
    assert_eq!(store.show(held.id()).unwrap().state, "withdrawn");
    assert!(matches!(
        held.wait().await,
        ApprovalOutcome::Withdrawn { .. }
    ));
    assert!(!fake.names().contains(&"used"));

    // It goes on by itself, and nothing that happened meanwhile is lost.
    locked.unlock();
    let next = store.submit(request(Some("dba"), 1)).await.unwrap();
    let shown = states(&store);
    std::mem::forget(next);
    store.flush().await.unwrap();
    drop((held, other));
    let (_database, rows) = Database::open(&dir.path().join("approvals.db")).unwrap();
    let kept: Vec<_> = rows
        .into_iter()
        .map(|row| (row.view.id, row.view.state))
        .filter(|row| shown.contains(row))
        .collect();
    assert_eq!(kept, shown);
}
