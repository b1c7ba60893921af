//! EVASIONS E1, E2: whoever changes the log is found out.

use super::*;

/// A closed log with two segments, a side file, a recording and a handful of entries.
async fn small_log(dir: &Path) {
    let mut config = quiet(dir);
    config.tuning.segment_bytes = 1_200;
    let (log, _) = Log::open(config).unwrap();
    for statement in 0..6 {
        log.append(
            decided("s", statement, &format!("SELECT {statement}")),
            Durability::Now,
        )
        .await
        .unwrap();
    }
    log.append(decided("s", 6, &"y".repeat(17_000)), Durability::Now)
        .await
        .unwrap();
    let keep_all: Blot = Arc::new(|_, _, _| false);
    let recorder = Recorder::start(log.clone(), RecorderConfig::new(keep_all)).unwrap();
    let mut recording = recorder.record(&Arc::from("s"));
    recording.add(|batch| batch.message(Direction::Frontend, b'Q', 1, b"SELECT 1\0"));
    drop(recording);
    recorder.close();
    log.close("test").await.unwrap();
    let report = check(dir);
    assert_eq!(report.problem, None);
    assert!(report.segments >= 2 && report.recorded_parts == 1);
}

/// The frames of a segment file: header first.
fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut input = bytes;
    let (_, header) = segment::Header::read(&mut input).unwrap();
    let (head, mut rest) = bytes.split_at(usize::try_from(header).unwrap());
    let mut frames = vec![head.to_vec()];
    while let Some((length, _)) = rest.split_first_chunk::<4>() {
        let (frame, behind) = rest.split_at(4 + u32::from_be_bytes(*length) as usize);
        frames.push(frame.to_vec());
        rest = behind;
    }
    frames
}

fn segment_paths(dir: &Path) -> Vec<std::path::PathBuf> {
    evidence_files(dir)
        .into_iter()
        .filter(|f| f.starts_with("segments/"))
        .map(|f| dir.join(f))
        .collect()
}

#[tokio::test]
async fn every_flip_of_a_byte_is_found() {
    let dir = tempdir();
    small_log(dir.path()).await;
    for file in evidence_files(dir.path()) {
        let path = dir.path().join(&file);
        let good = fs::read(&path).unwrap();
        // The side file is long and the same byte throughout.
        let step = if file.starts_with("blobs/") { 997 } else { 1 };
        for at in (0..good.len()).step_by(step) {
            for bit in [0x01, 0x20, 0x80] {
                let mut bad = good.clone();
                bad[at] ^= bit;
                fs::write(&path, &bad).unwrap();
                assert!(!check(dir.path()).ok(), "{file}: byte {at}, bit {bit:#x}");
            }
        }
        fs::write(&path, &good).unwrap();
    }
    assert!(check(dir.path()).ok());
}

#[tokio::test]
async fn every_cut_is_found_and_names_the_first_missing_entry() {
    let dir = tempdir();
    small_log(dir.path()).await;
    for file in evidence_files(dir.path()) {
        let path = dir.path().join(&file);
        let good = fs::read(&path).unwrap();
        let step = if file.starts_with("blobs/") { 997 } else { 1 };
        for length in (0..good.len()).step_by(step) {
            fs::write(&path, &good[..length]).unwrap();
            assert!(!check(dir.path()).ok(), "{file} cut to {length}");
        }
        fs::remove_file(&path).unwrap();
        assert!(!check(dir.path()).ok(), "{file} removed");
        fs::write(&path, &good).unwrap();
    }
    let segments = segment_paths(dir.path());
    let last = segments.last().unwrap();
    let good = fs::read(last).unwrap();
    let all = frames(&good);
    fs::write(last, all[..all.len() - 1].concat()).unwrap();
    let report = check(dir.path());
    assert_eq!(
        report.problem.and_then(|problem| problem.entry),
        Some(report.entries)
    );
}

#[tokio::test]
async fn removed_swapped_repeated_and_foreign_entries_are_found() {
    let dir = tempdir();
    small_log(dir.path()).await;
    for path in segment_paths(dir.path()) {
        let good = fs::read(&path).unwrap();
        let all = frames(&good);
        for at in 1..all.len() {
            let mut removed = all.clone();
            removed.remove(at);
            let mut repeated = all.clone();
            repeated.insert(at, all[at].clone());
            let mut swapped = all.clone();
            swapped.swap(at, if at + 1 < all.len() { at + 1 } else { 1 });
            for (what, bad) in [
                ("removed", removed),
                ("repeated", repeated),
                ("swapped", swapped),
            ] {
                if bad == all {
                    continue;
                }
                fs::write(&path, bad.concat()).unwrap();
                assert!(
                    !check(dir.path()).ok(),
                    "{} frame {at} {what}",
                    path.display()
                );
            }
        }
        fs::write(&path, &good).unwrap();
    }
}

#[tokio::test]
async fn the_first_bad_entry_is_named() {
    let dir = tempdir();
    let (log, _) = open(dir.path());
    for statement in 1..6 {
        log.append(
            decided("s", statement, &format!("SELECT {statement}")),
            Durability::Now,
        )
        .await
        .unwrap();
    }
    log.close("test").await.unwrap();
    let path = segment_paths(dir.path()).remove(0);
    let good = fs::read(&path).unwrap();
    let all = frames(&good);
    // Frame 0 is the header; entry 0 opens the log, entry 6 closes it.
    for entry in 0..7 {
        let mut changed = all.clone();
        let text = changed[entry + 1].len() - 4;
        changed[entry + 1][text] ^= 1;
        fs::write(&path, changed.concat()).unwrap();
        let problem = check(dir.path()).problem.unwrap();
        assert_eq!(problem.entry, Some(entry as u64), "changed: {problem}");
        let mut relinked = all.clone();
        relinked[entry + 1][4] ^= 1;
        fs::write(&path, relinked.concat()).unwrap();
        let problem = check(dir.path()).problem.unwrap();
        assert_eq!(
            problem.entry,
            Some(entry as u64),
            "other previous hash: {problem}"
        );
        let mut removed = all.clone();
        removed.remove(entry + 1);
        fs::write(&path, removed.concat()).unwrap();
        let problem = check(dir.path()).problem.unwrap();
        assert_eq!(problem.entry, Some(entry as u64), "removed: {problem}");
    }
}

#[tokio::test]
async fn a_log_rewritten_without_the_key_is_found_by_a_key_kept_elsewhere() {
    let good = tempdir();
    let forged = tempdir();
    small_log(good.path()).await;
    small_log(forged.path()).await;
    let key = fs::read_to_string(good.path().join("keys/log.pub")).unwrap();
    let with_key = |dir: &Path| {
        verify(
            dir,
            VerifyOptions {
                public_key: Some(&key),
                ..VerifyOptions::default()
            },
        )
    };
    assert_eq!(with_key(good.path()).problem, None);
    assert!(!with_key(good.path()).key_from_log);
    assert!(check(forged.path()).ok() && check(forged.path()).key_from_log);
    assert!(!with_key(forged.path()).ok());
    // The original key file put beside it does not help.
    fs::write(forged.path().join("keys/log.pub"), &key).unwrap();
    assert!(!check(forged.path()).ok());
    // Nor does keeping the original's checkpoints.
    fs::copy(
        good.path().join("checkpoints"),
        forged.path().join("checkpoints"),
    )
    .unwrap();
    assert!(!check(forged.path()).ok());
}

#[tokio::test]
async fn a_log_cut_back_to_an_older_checkpoint_is_found_by_a_checkpoint_kept_elsewhere() {
    let dir = tempdir();
    let (log, _) = open(dir.path());
    log.append(decided("s", 1, "SELECT 1"), Durability::Now)
        .await
        .unwrap();
    log.close("test").await.unwrap();
    let older = tempdir();
    copy_dir(dir.path(), older.path());
    let (log, _) = open(dir.path());
    log.append(decided("s", 1, "DROP TABLE orders"), Durability::Now)
        .await
        .unwrap();
    log.close("test").await.unwrap();
    let kept = latest_checkpoint(dir.path(), None).unwrap();
    let with_checkpoint = |dir: &Path| {
        verify(
            dir,
            VerifyOptions {
                checkpoint: Some(&kept),
                ..VerifyOptions::default()
            },
        )
    };
    assert_eq!(with_checkpoint(dir.path()).problem, None);
    assert!(check(older.path()).ok(), "by itself it is an older log");
    assert!(
        with_checkpoint(older.path())
            .problem
            .is_some_and(|problem| problem.what.contains("given checkpoint"))
    );
}

#[tokio::test]
async fn whatever_bytes_a_log_is_made_of_the_verifier_answers() {
    let dir = tempdir();
    small_log(dir.path()).await;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for file in evidence_files(dir.path()) {
        let path = dir.path().join(&file);
        let good = fs::read(&path).unwrap();
        for _ in 0..200 {
            let mut bad = good.clone();
            for _ in 0..=random() % 8 {
                let at = usize::try_from(random()).unwrap() % bad.len();
                bad[at] = random().to_le_bytes()[0];
            }
            let at = usize::try_from(random()).unwrap() % bad.len();
            if random().is_multiple_of(4) {
                bad.extend_from_slice(&good[at..]);
            }
            if bad != good {
                fs::write(&path, &bad).unwrap();
                assert!(!check(dir.path()).ok(), "{file}");
            }
        }
        fs::write(&path, &good).unwrap();
    }
}
