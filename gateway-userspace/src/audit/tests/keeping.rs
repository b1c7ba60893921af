//! What happens to a log in years: its beginning is removed, its key changes.

use std::time::SystemTime;

use super::*;

/// A log of several segments, closed; with its first key.
async fn long_log(dir: &Path) -> String {
    let mut config = quiet(dir);
    config.tuning.segment_bytes = 2_000;
    for round in 0..3 {
        let (log, _) = Log::open(config.clone()).unwrap();
        for statement in 0..4 {
            let text = format!("SELECT {round}, {statement}");
            log.append(decided("s", statement, &text), Durability::Now)
                .await
                .unwrap();
        }
        // A side file that this round alone names.
        let text = format!("SELECT {round} {}", "y".repeat(17_000));
        log.append(decided("s", 9, &text), Durability::Now)
            .await
            .unwrap();
        log.close("test").await.unwrap();
    }
    fs::read_to_string(dir.join("keys/log.pub")).unwrap()
}

fn with_key(dir: &Path, key: &str) -> Report {
    verify(
        dir,
        VerifyOptions {
            public_key: Some(key),
            ..VerifyOptions::default()
        },
    )
}

fn age(path: &Path) {
    let file = fs::File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_hours(48))
        .unwrap();
}

fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir.join("segments"))
        .unwrap()
        .map(|item| item.unwrap().path())
        .collect();
    paths.sort();
    paths
}

async fn prune(dir: &Path) -> Removed {
    let mut config = quiet(dir);
    config.tuning.checkpoint_every = Duration::from_millis(5);
    let prune = move || {
        let (log, _) = Log::open(config).unwrap();
        log.prune(Duration::from_hours(24)).unwrap()
    };
    tokio::task::spawn_blocking(prune).await.unwrap()
}

#[tokio::test]
async fn a_beginning_that_was_removed_is_declared_and_what_is_left_verifies() {
    let dir = tempdir();
    let dir = dir.path();
    let key = long_log(dir).await;
    let all = segments(dir);
    assert!(all.len() > 3, "{all:?}");
    let blobs = || fs::read_dir(dir.join("blobs")).unwrap().count();
    let before = blobs();
    for old in all.iter().take(2) {
        age(old);
    }
    let kept = tempdir();
    copy_dir(dir, kept.path());
    let removed = prune(dir).await;
    assert_eq!(removed.segments, 2);
    assert_eq!(segments(dir).first(), all.get(2));
    let report = with_key(dir, &key);
    assert_eq!(report.problem, None);
    let pruned = report.pruned.unwrap();
    assert_eq!(pruned.first, removed.first);
    assert!(removed.side_files > 0 && blobs() as u64 == before as u64 - removed.side_files);
    // It goes on, and is removed from further on.
    age(&all[2]);
    let again = prune(dir).await;
    assert_eq!(again.segments, 1);
    assert_eq!(with_key(dir, &key).problem, None);
    // A segment more than was declared, or a removal that nothing declares, is found.
    let left = segments(dir);
    let hidden = fs::read(&left[0]).unwrap();
    fs::remove_file(&left[0]).unwrap();
    assert!(!with_key(dir, &key).ok());
    fs::write(&left[0], hidden).unwrap();
    assert_eq!(with_key(dir, &key).problem, None);
    fs::remove_file(
        kept.path()
            .join("segments")
            .join(all[0].file_name().unwrap()),
    )
    .unwrap();
    let problem = with_key(kept.path(), &key).problem.unwrap();
    assert!(problem.what.contains("no entry says"), "{problem}");
}

#[tokio::test]
async fn what_is_left_is_proven_and_exported_as_from_the_whole_log() {
    let whole = tempdir();
    let whole = whole.path();
    let mut config = quiet(whole);
    config.tuning.segment_bytes = 30_000;
    let (log, _) = Log::open(config).unwrap();
    for statement in 0..1_500 {
        log.append(decided("s", statement, "SELECT 1"), Durability::Now)
            .await
            .unwrap();
    }
    log.close("test").await.unwrap();
    drop(log);
    let key = fs::read_to_string(whole.join("keys/log.pub")).unwrap();
    let dir = tempdir();
    let dir = dir.path();
    copy_dir(whole, dir);
    let all = segments(whole);
    // In two steps: what the first one kept, the second one goes on from.
    let mut first = 0;
    for upto in [all.len() / 4, all.len() / 2] {
        segments(whole).iter().take(upto).for_each(|path| {
            let path = dir.join("segments").join(path.file_name().unwrap());
            if path.exists() {
                age(&path);
            }
        });
        first = prune(dir).await.first;
    }
    assert!(first > 300 && !first.is_multiple_of(256), "{first}");
    // The pruned log has grown by what it says of itself: the whole one follows it.
    let note = latest_checkpoint(dir, None).unwrap();
    let size = note_size(&note).unwrap();
    for item in fs::read_dir(dir.join("segments")).unwrap() {
        let item = item.unwrap();
        fs::copy(item.path(), whole.join("segments").join(item.file_name())).unwrap();
    }
    for index in (first..size).step_by(97).chain([first, size - 1]) {
        let (proof, entry) = prove_entry(dir, index, size, &note).unwrap();
        assert_eq!(
            (&proof, &entry),
            (&prove_entry(whole, index, size, &note).unwrap().0, &entry)
        );
        let proven = check_proof(&proof, Claim::Entry(&entry), &key).unwrap();
        assert_eq!(proven, Proven::Entry { index, size });
    }
    for old in (first..=size).step_by(61).chain([size]) {
        let proof = prove_growth(dir, old, size, &note).unwrap();
        assert_eq!(
            proof,
            prove_growth(whole, old, size, &note).unwrap(),
            "{old}"
        );
    }
    assert!(matches!(
        prove_entry(dir, first - 1, size, &note),
        Err(ReadError::Removed { .. })
    ));
    let mut lines = Vec::new();
    export_entries(dir, size, 0, &mut lines).unwrap();
    let lines = String::from_utf8(lines).unwrap();
    assert_eq!(lines.lines().count() as u64, size - first);

    let (left, right) = (tempdir(), tempdir());
    let exported = export_tiles(dir, size, &note, left.path(), |_| {}).unwrap();
    export_tiles(whole, size, &note, right.path(), |_| {}).unwrap();
    assert_eq!(exported.first, first.next_multiple_of(256));
    let mut missing = Vec::new();
    for path in files(right.path()) {
        let name = path.strip_prefix(right.path()).unwrap();
        match fs::read(left.path().join(name)) {
            Ok(bytes) => assert_eq!(bytes, fs::read(&path).unwrap(), "{}", name.display()),
            Err(_missing) => missing.push(name.display().to_string()),
        }
    }
    missing.sort();
    let gone = first / 256;
    let tiles = (0..gone).map(|n| format!("tile/0/{n:03}"));
    let mut expected: Vec<_> = tiles
        .chain((0..=gone).map(|n| format!("tile/entries/{n:03}")))
        .collect();
    expected.sort();
    assert_eq!(missing, expected);
    assert_eq!(fs::read_dir(dir.join("tiles")).unwrap().count(), 1);
    // Without what was kept, or with something else, there are no tiles, and still proofs.
    for item in fs::read_dir(dir.join("tiles")).unwrap() {
        let path = item.unwrap().path();
        let mut levels: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let byte = levels
            .as_array_mut()
            .and_then(|levels| levels.iter_mut().find_map(|l| l.pointer_mut("/hashes/0/0")))
            .unwrap();
        *byte = (byte.as_u64().unwrap() ^ 1).into();
        fs::write(&path, levels.to_string()).unwrap();
    }
    assert!(matches!(
        export_tiles(dir, size, &note, left.path(), |_| {}),
        Err(ReadError::Removed { .. })
    ));
    assert!(prove_entry(dir, size - 1, size, &note).is_ok());
}

#[tokio::test]
async fn a_new_key_takes_over_while_entries_are_written() {
    let dir = tempdir();
    let dir = dir.path();
    let mut config = quiet(dir);
    config.tuning.checkpoint_entries = 3;
    let (log, _) = Log::open(config).unwrap();
    let first = log.public_key().unwrap();
    let writing = {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            for statement in 0..400 {
                log.append(decided("s", statement, "SELECT 1"), Durability::Now)
                    .await
                    .unwrap();
            }
        })
    };
    let mut keys = vec![first.clone()];
    for _ in 0..3 {
        keys.push(log.rotate_key().await.unwrap());
        assert_eq!(keys.last(), Some(&log.public_key().unwrap()));
    }
    writing.await.unwrap();
    log.close("test").await.unwrap();
    assert!(log.rotate_key().await.is_err());
    drop(log);
    // Whoever has any of the keys can check it, and the next opening signs with the last.
    for key in &keys {
        let report = with_key(dir, key);
        assert_eq!((report.problem, report.keys.len()), (None, 4));
        assert_eq!(report.events.get("key-rotated"), Some(&3));
    }
    let (log, _) = open(dir);
    log.close("test").await.unwrap();
    assert_eq!(with_key(dir, &first).problem, None);
}

#[tokio::test]
async fn a_new_key_takes_over_and_whoever_has_one_of_the_keys_can_check_all() {
    let dir = tempdir();
    let dir = dir.path();
    let mut keys = vec![long_log(dir).await];
    for _ in 0..2 {
        let config = LogConfig {
            rotate_key: true,
            ..quiet(dir)
        };
        let (log, _) = Log::open(config).unwrap();
        log.append(decided("s", 1, "SELECT 1"), Durability::Now)
            .await
            .unwrap();
        log.close("test").await.unwrap();
        keys.push(fs::read_to_string(dir.join("keys/log.pub")).unwrap());
    }
    let (log, recovery) = open(dir);
    assert!(recovery.clean);
    log.close("test").await.unwrap();
    assert!(keys[0] != keys[1] && keys[1] != keys[2]);
    for key in &keys {
        let report = with_key(dir, key);
        assert_eq!(report.problem, None);
        assert_eq!(report.keys.len(), 3);
    }
    let other = tempdir();
    assert!(!with_key(dir, &long_log(other.path()).await).ok());
    // Every change of the statements is found.
    let path = dir.join("keys/rotations");
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        for key in &keys {
            assert!(!with_key(dir, key).ok(), "byte {at}");
        }
    }
    fs::remove_file(&path).unwrap();
    for key in &keys {
        assert!(!with_key(dir, key).ok());
    }
    // A statement that the old key has not signed gives a foreign key nothing.
    let forged = String::from_utf8(good).unwrap().replacen(
        keys[2].trim(),
        fs::read_to_string(other.path().join("keys/log.pub"))
            .unwrap()
            .trim(),
        1,
    );
    fs::write(&path, forged).unwrap();
    assert!(!with_key(dir, &keys[0]).ok());
}

#[tokio::test]
async fn a_rotation_that_a_crash_cut_short_is_ended_or_undone() {
    let dir = tempdir();
    let dir = dir.path();
    let first = long_log(dir).await;
    // Behind the making of the key.
    FileLogKeys::of(dir).make(KeySlot::Next).unwrap();
    assert!(dir.join("keys/next.key").exists());
    let (log, _) = open(dir);
    log.close("test").await.unwrap();
    assert!(!dir.join("keys/next.key").exists());
    assert_eq!(with_key(dir, &first).problem, None);
    // Behind the statement: the new key has signed nothing yet.
    let old_private = fs::read(dir.join("keys/log.key")).unwrap();
    let config = LogConfig {
        rotate_key: true,
        ..quiet(dir)
    };
    let before = tempdir();
    copy_dir(dir, before.path());
    let (log, _) = Log::open(config).unwrap();
    let checkpoints = fs::read_to_string(dir.join("checkpoints")).unwrap();
    log.close("test").await.unwrap();
    let crash = tempdir();
    copy_dir(dir, crash.path());
    let crash = crash.path();
    fs::rename(crash.join("keys/log.key"), crash.join("keys/next.key")).unwrap();
    fs::write(crash.join("keys/log.key"), old_private).unwrap();
    fs::write(crash.join("keys/log.pub"), &first).unwrap();
    // The last checkpoint is the new key's: take it, and what followed it, away.
    let notes: Vec<&str> = checkpoints.split_inclusive("\n\n").collect();
    fs::write(crash.join("checkpoints"), notes[..notes.len() - 2].concat()).unwrap();
    let (log, _) = open(crash);
    log.close("test").await.unwrap();
    let report = with_key(crash, &first);
    assert_eq!((report.problem, report.keys.len()), (None, 2));
    assert!(!crash.join("keys/next.key").exists());
}
