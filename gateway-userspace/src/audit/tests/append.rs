use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sessions_append_at_once_and_the_log_verifies() {
    for fsync in [Fsync::Always, Fsync::Risky] {
        let dir = tempdir();
        let mut config = quiet(dir.path());
        config.fsync = fsync;
        config.tuning.checkpoint_entries = 16;
        let (log, recovery) = Log::open(config).unwrap();
        assert_eq!(
            recovery,
            Recovery {
                entries: 0,
                clean: true,
                cut: None
            }
        );
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let log = Arc::clone(&log);
                tokio::spawn(async move {
                    let mut indexes = Vec::new();
                    for statement in 0..25 {
                        let session = format!("s{task}");
                        let receipt = log
                            .append(decided(&session, statement, "SELECT 1"), Durability::Now)
                            .await
                            .unwrap();
                        indexes.push(receipt.index());
                        log.record_later(completed(&session, statement));
                    }
                    assert!(indexes.is_sorted());
                    indexes
                })
            })
            .collect();
        let mut indexes = Vec::new();
        for task in tasks {
            indexes.extend(task.await.unwrap());
        }
        indexes.sort_unstable();
        indexes.dedup();
        assert_eq!(indexes.len(), 200, "every receipt has an index of its own");
        log.close("test").await.unwrap();
        let report = check(dir.path());
        assert_eq!(report.problem, None);
        assert_eq!(report.entries, 402);
        assert_eq!(report.events.get("statement-completed"), Some(&200));
        assert_eq!((report.unsigned_entries, report.closed), (0, true));
    }
}

#[tokio::test]
async fn the_log_is_signed_as_it_grows() {
    let dir = tempdir();
    let mut config = quiet(dir.path());
    config.tuning.checkpoint_entries = 4;
    let (log, _) = Log::open(config).unwrap();
    for round in 1..4 {
        for statement in 0..4 {
            log.append(decided("s", statement, "SELECT 1"), Durability::Lazy)
                .await
                .unwrap();
        }
        tokio::time::timeout(Duration::from_mins(1), async {
            while log.shared().lock().signed < 1 + round * 4 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
    log.close("test").await.unwrap();
    let report = check(dir.path());
    assert_eq!(report.problem, None);
    assert!(
        report.checkpoints >= 6,
        "empty, opened, three rounds, closed: {}",
        report.checkpoints
    );
}

#[tokio::test]
async fn a_receipt_of_a_synced_append_means_that_the_entry_is_on_disk() {
    let dir = tempdir();
    let mut config = quiet(dir.path());
    config.fsync = Fsync::Risky;
    let (log, _) = Log::open(config).unwrap();
    let now = log
        .append(decided("s", 1, "SELECT 1"), Durability::Now)
        .await
        .unwrap();
    assert!(
        log.shared().lock().synced <= now.index(),
        "ordinary statements do not wait"
    );
    let synced = log
        .append(decided("s", 2, "DELETE FROM t"), Durability::Synced)
        .await
        .unwrap();
    assert!(log.shared().lock().synced > synced.index());
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_promised_until_all_is_written_anew() {
    use std::sync::atomic::Ordering;
    let dir = tempdir();
    let mut config = quiet(dir.path());
    config.tuning.checkpoint_every = Duration::from_millis(5);
    let (log, _) = Log::open(config).unwrap();
    log.append(decided("s", 1, "SELECT 1"), Durability::Now)
        .await
        .unwrap();
    log.shared().fail_syncs.store(true, Ordering::SeqCst);
    let failed = log
        .append(decided("s", 2, "SELECT 1"), Durability::Now)
        .await;
    assert!(matches!(failed, Err(AppendError::Sync(_))), "{failed:?}");
    assert!(log.fault().is_some());
    let lazy = log
        .append(decided("s", 3, "SELECT 1"), Durability::Lazy)
        .await;
    assert!(matches!(lazy, Err(AppendError::Sync(_))), "{lazy:?}");
    // How the first one ended is kept until it can be written.
    log.record_later(completed("s", 1));
    log.shared().fail_syncs.store(false, Ordering::SeqCst);
    while log.fault().is_some() {
        tokio::task::yield_now().await;
    }
    log.append(decided("s", 4, "SELECT 1"), Durability::Now)
        .await
        .unwrap();
    log.close("test").await.unwrap();
    let report = check(dir.path());
    assert_eq!(report.problem, None);
    let kinds = |kind: &str| report.events.get(kind).copied();
    assert_eq!(kinds("statement-decided"), Some(3), "{:?}", report.events);
    assert_eq!(kinds("statement-completed"), Some(1));
    assert_eq!(report.gaps.len(), 1);
    assert!(report.gaps[0].reason.contains("written anew"));
}

#[tokio::test]
async fn a_second_writer_is_refused_and_a_closed_log_takes_nothing() {
    let dir = tempdir();
    let (log, _) = open(dir.path());
    assert!(matches!(
        Log::open(quiet(dir.path())),
        Err(OpenError::Locked(_))
    ));
    log.close("test").await.unwrap();
    assert!(matches!(
        log.append(decided("s", 1, "x"), Durability::Now).await,
        Err(AppendError::Closed)
    ));
    let (_, recovery) = open(dir.path());
    assert!(recovery.clean);
}

#[tokio::test]
async fn segments_rotate_and_each_can_be_the_last() {
    let dir = tempdir();
    let mut config = quiet(dir.path());
    config.tuning.segment_bytes = 4_000;
    for _ in 0..3 {
        let (log, _) = Log::open(config.clone()).unwrap();
        for statement in 0..40 {
            log.append(decided("s", statement, "SELECT 1"), Durability::Now)
                .await
                .unwrap();
        }
        log.close("test").await.unwrap();
        assert_eq!(check(dir.path()).problem, None);
    }
    let report = check(dir.path());
    assert_eq!(report.entries, 126);
    assert!(report.segments > 5, "{}", report.segments);
}

#[tokio::test]
async fn files_are_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempdir();
    let (log, _) = open(dir.path());
    log.append(decided("s", 1, &"x".repeat(50_000)), Durability::Now)
        .await
        .unwrap();
    log.close("test").await.unwrap();
    let mut files = evidence_files(dir.path());
    files.push("keys/log.key".to_owned());
    assert!(files.iter().any(|file| file.starts_with("blobs/")));
    for file in files {
        let mode = fs::metadata(dir.path().join(&file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    for folder in ["", "keys", "segments", "blobs"] {
        assert_eq!(
            fs::metadata(dir.path().join(folder))
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o700,
            "{folder}"
        );
    }
}

#[tokio::test]
async fn a_session_reads_back_as_it_was_recorded() {
    let dir = tempdir();
    let (log, _) = open(dir.path());
    let opened = SessionOpened {
        session: "ses-abc".into(),
        job: "job-1".into(),
        process: ProcessRecord {
            command_line: Some("psql postgres://u:hunter2@h/d".into()),
            ..ProcessRecord::default()
        },
        ..SessionOpened::default()
    };
    log.append(Event::SessionOpened(opened), Durability::Now)
        .await
        .unwrap();
    log.append(
        Event::SessionOpened(SessionOpened {
            session: "ses-xyz".into(),
            ..SessionOpened::default()
        }),
        Durability::Now,
    )
    .await
    .unwrap();
    let long = format!("SELECT '{}'", "é".repeat(40_000));
    log.append(decided("ses-abc", 1, &long), Durability::Now)
        .await
        .unwrap();
    log.append(decided("ses-xyz", 1, "SELECT 2"), Durability::Now)
        .await
        .unwrap();
    log.record_later(completed("ses-abc", 1));
    let parameters = vec![Some(Content::text("\u{1}".repeat(16_000))); 9];
    let Event::StatementDecided(mut wide) = decided("ses-abc", 2, "INSERT") else {
        panic!("not a decision")
    };
    wide.parameters.clone_from(&parameters);
    log.append(Event::StatementDecided(wide), Durability::Now)
        .await
        .unwrap();
    log.record_later(Event::SessionClosed(SessionClosed {
        session: "ses-abc".into(),
        ..SessionClosed::default()
    }));
    log.close("test").await.unwrap();

    let list = list_sessions(dir.path()).unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!(
        (
            list[0].statements,
            list[0].rows,
            list[0].cells_masked,
            list[0].closed.is_some()
        ),
        (2, 3, 1, true)
    );
    let session = read_session(dir.path(), "ses-a").unwrap();
    assert_eq!(
        session.opened.process.command_line.as_deref(),
        Some("psql postgres://u:***@h/d")
    );
    assert_eq!(session.statements.len(), 2);
    assert_eq!(session.statements[0].decided.text, Content::text(long));
    assert_eq!(
        session.statements[0].completed.as_ref().map(|c| c.rows),
        Some(3)
    );
    assert_eq!(session.statements[1].decided.parameters, parameters);
    assert!(matches!(
        read_session(dir.path(), "ses-"),
        Err(ReadError::Ambiguous { .. })
    ));
    assert!(matches!(
        read_session(dir.path(), "nope"),
        Err(ReadError::NoSession(_))
    ));
    let report = check(dir.path());
    assert_eq!((report.problem, report.blobs), (None, 2));
}

#[tokio::test]
async fn a_silent_log_shows_that_the_daemon_lives() {
    let dir = tempdir();
    let mut config = quiet(dir.path());
    config.tuning.heartbeat = Duration::from_millis(5);
    let (log, _) = Log::open(config).unwrap();
    tokio::time::timeout(Duration::from_mins(1), async {
        while log.entries() < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    log.close("test").await.unwrap();
    let report = check(dir.path());
    assert_eq!(report.problem, None);
    assert!(
        report
            .events
            .get("heartbeat")
            .is_some_and(|beats| *beats >= 3)
    );
}

#[tokio::test]
async fn the_index_of_sessions_says_what_the_log_says_at_every_step() {
    let dir = tempdir();
    let dir = dir.path();
    let mut config = quiet(dir);
    config.tuning.segment_bytes = 3_000;
    let mut index = SessionIndex::create(dir).unwrap();
    // From the log alone, in another folder without an index.
    let same = |dir: &Path| {
        let plain = tempdir();
        copy_dir(dir, plain.path());
        for name in ["sessions.db", "sessions.db-wal", "sessions.db-shm"] {
            let _ = fs::remove_file(plain.path().join(name));
        }
        let listed = list_sessions(dir).unwrap();
        assert_eq!(listed, list_sessions(plain.path()).unwrap());
        for session in &listed {
            assert_eq!(
                read_session(dir, &session.session).unwrap(),
                read_session(plain.path(), &session.session).unwrap()
            );
        }
        listed.len()
    };
    let opened = |session: &str| {
        Event::SessionOpened(SessionOpened {
            session: session.into(),
            ..SessionOpened::default()
        })
    };
    for round in 0..4_u64 {
        let (log, _) = Log::open(config.clone()).unwrap();
        let now = Durability::Now;
        let (one, two) = (format!("ses-{round}a"), format!("ses-{round}b"));
        log.append(opened(&one), now).await.unwrap();
        log.append(opened(&two), now).await.unwrap();
        for statement in 1..=5 {
            log.append(decided(&one, statement, "SELECT 1"), now)
                .await
                .unwrap();
            log.append(decided(&two, statement, "SELECT 2"), now)
                .await
                .unwrap();
            log.append(completed(&one, statement), now).await.unwrap();
            index.catch_up().unwrap();
            same(dir);
        }
        // The other one is open when the log is opened anew: it never closes.
        let closed = SessionClosed {
            session: one,
            ..SessionClosed::default()
        };
        log.append(Event::SessionClosed(closed), now).await.unwrap();
        drop(log);
        assert_eq!(same(dir) as u64, 2 * (round + 1));
    }
    assert!(matches!(
        read_session(dir, "ses-"),
        Err(ReadError::Ambiguous { .. })
    ));
    assert!(matches!(
        read_session(dir, "nope"),
        Err(ReadError::NoSession(_))
    ));
    // Another log in its place, a damaged file, and one of another version.
    let other = tempdir();
    written(other.path()).await;
    fs::remove_dir_all(dir.join("segments")).unwrap();
    copy_dir(&other.path().join("segments"), &dir.join("segments"));
    assert_eq!(same(dir), 1);
    drop(index);
    for damage in [
        "",
        "no database at all, but long enough to be taken for one",
    ] {
        fs::write(dir.join("sessions.db"), damage).unwrap();
        for name in ["sessions.db-wal", "sessions.db-shm"] {
            let _ = fs::remove_file(dir.join(name));
        }
        assert_eq!(same(dir), 1);
        let mut index = SessionIndex::create(dir).unwrap();
        index.catch_up().unwrap();
        assert_eq!(same(dir), 1);
    }
}
