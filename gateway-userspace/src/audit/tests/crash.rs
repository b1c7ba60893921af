//! EVASIONS E5: a crash at any byte of an append.

use super::*;

/// A log as a crash leaves it: never closed. Also the length of its segment after each append.
async fn crashed(dir: &Path) -> Vec<u64> {
    let (log, _) = open(dir);
    let path = dir.join("segments/00000000000000000000.log");
    let mut lengths = vec![fs::metadata(&path).unwrap().len()];
    for statement in 0..3 {
        log.append(decided("s", statement, "SELECT 1"), Durability::Now)
            .await
            .unwrap();
        lengths.push(fs::metadata(&path).unwrap().len());
    }
    lengths
}

#[tokio::test]
async fn a_crash_at_any_byte_is_recovered_declared_and_loses_nothing_acknowledged() {
    let dir = tempdir();
    let live = dir.path().join("live");
    let (log, _) = open(&live);
    let file = "segments/00000000000000000000.log";
    let mut lengths = Vec::new();
    for statement in 0..3 {
        log.append(decided("s", statement, "SELECT 1"), Durability::Now)
            .await
            .unwrap();
        lengths.push(fs::metadata(live.join(file)).unwrap().len());
    }
    let image = dir.path().join("image");
    copy_dir(&live, &image);
    let bytes = fs::read(image.join(file)).unwrap();
    // The opening is signed: a cut into it is no crash. It is the state before the first append.
    let (_, signed) = {
        let frames_start = lengths[0];
        (frames_start, lengths[0] - (lengths[1] - lengths[0]))
    };
    for length in signed..=bytes.len() as u64 {
        let crash = dir.path().join("crash");
        copy_dir(&image, &crash);
        let end = usize::try_from(length).unwrap();
        fs::write(crash.join(file), &bytes[..end]).unwrap();
        let acknowledged = lengths.iter().filter(|whole| **whole <= length).count() as u64;
        let (log, recovery) = open(&crash);
        assert_eq!(recovery.entries, 1 + acknowledged, "cut to {length}");
        assert!(!recovery.clean);
        let torn = length
            - lengths
                .iter()
                .rfind(|whole| **whole <= length)
                .copied()
                .unwrap_or(signed);
        assert_eq!(recovery.cut.as_ref().map_or(0, |cut| cut.bytes), torn);
        log.append(decided("s", 9, "SELECT 9"), Durability::Now)
            .await
            .unwrap();
        log.close("test").await.unwrap();
        let report = check(&crash);
        assert_eq!(report.problem, None, "cut to {length}");
        assert_eq!(report.gap_count, u64::from(torn > 0));
        assert_eq!(
            report.gaps.iter().map(|gap| gap.cut_bytes).sum::<u64>(),
            torn
        );
        assert_eq!(report.unclean_restarts, 1);
        fs::remove_dir_all(&crash).unwrap();
    }
}

#[tokio::test]
async fn before_it_is_opened_again_a_crashed_log_verifies_with_a_torn_end() {
    let dir = tempdir();
    let lengths = crashed(dir.path()).await;
    let path = dir.path().join("segments/00000000000000000000.log");
    // `Drop` signed what was there; a crash would not have: take the last checkpoint away.
    let checkpoints = fs::read_to_string(dir.path().join("checkpoints")).unwrap();
    let kept: Vec<&str> = checkpoints.split_inclusive("\n\n").collect();
    fs::write(dir.path().join("checkpoints"), kept[..4].concat()).unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 7]).unwrap();
    let report = check(dir.path());
    assert_eq!(report.problem, None);
    assert_eq!(
        (report.entries, report.unsigned_entries, report.closed),
        (3, 2, false)
    );
    assert_eq!(report.torn_bytes, lengths[3] - lengths[2] - 7);
}

#[tokio::test]
async fn a_cut_below_a_signed_checkpoint_is_no_crash_and_is_not_opened() {
    let dir = tempdir();
    let lengths = crashed(dir.path()).await;
    let path = dir.path().join("segments/00000000000000000000.log");
    let bytes = fs::read(&path).unwrap();
    for length in lengths[0]..lengths[3] {
        fs::write(&path, &bytes[..usize::try_from(length).unwrap()]).unwrap();
        assert!(
            matches!(Log::open(quiet(dir.path())), Err(OpenError::Damaged { .. })),
            "cut to {length}"
        );
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(
        Log::open(quiet(dir.path())),
        Err(OpenError::Damaged { .. })
    ));
}

#[tokio::test]
async fn a_checkpoint_torn_by_a_crash_is_cut_off_and_declared() {
    let dir = tempdir();
    crashed(dir.path()).await;
    let path = dir.path().join("checkpoints");
    let good = fs::read(&path).unwrap();
    let last = String::from_utf8_lossy(&good)
        .split_inclusive("\n\n")
        .map(str::len)
        .collect::<Vec<_>>();
    let start = good.len() - last[last.len() - 2..].iter().sum::<usize>();
    for length in start + 1..good.len() {
        let crash = dir.path().join("crash");
        for folder in ["keys", "segments", "blobs"] {
            copy_dir(&dir.path().join(folder), &crash.join(folder));
        }
        fs::write(crash.join("checkpoints"), &good[..length]).unwrap();
        let (log, recovery) = open(&crash);
        assert_eq!(
            recovery.cut.map(|cut| cut.checkpoint_bytes),
            Some((length - start) as u64)
        );
        log.close("test").await.unwrap();
        let report = check(&crash);
        assert_eq!((report.problem, report.gap_count), (None, 1));
        fs::remove_dir_all(&crash).unwrap();
    }
}

#[tokio::test]
async fn a_cut_is_declared_even_if_the_next_opening_crashes_too() {
    let dir = tempdir();
    let lengths = {
        let live = dir.path().join("live");
        let (log, _) = open(&live);
        log.append(decided("s", 1, "SELECT 1"), Durability::Now)
            .await
            .unwrap();
        copy_dir(&live, &dir.path().join("image"));
        fs::metadata(live.join("segments/00000000000000000000.log"))
            .unwrap()
            .len()
    };
    let image = dir.path().join("image");
    let segment = image.join("segments/00000000000000000000.log");
    let bytes = fs::read(&segment).unwrap();
    let torn = usize::try_from(lengths).unwrap() - 5;
    fs::write(&segment, &bytes[..torn]).unwrap();
    // An opening that dies behind the cut, before it records anything.
    let layout = layout::Layout::new(&image);
    drop(recover::recover(&layout, &quiet(&image)).unwrap());
    assert!(layout.pending_gap().exists());
    let (log, recovery) = open(&image);
    assert_eq!(recovery.cut, None, "there is nothing torn any more");
    log.close("test").await.unwrap();
    let report = check(&image);
    assert_eq!((report.problem, report.gap_count), (None, 1));
    assert!(report.gaps[0].cut_bytes > 0);
    assert!(!layout.pending_gap().exists());
}

#[tokio::test]
async fn a_log_without_its_key_is_not_opened_under_a_new_one() {
    let dir = tempdir();
    crashed(dir.path()).await;
    fs::remove_file(dir.path().join("keys/log.key")).unwrap();
    assert!(matches!(
        Log::open(quiet(dir.path())),
        Err(OpenError::Key { .. })
    ));
    fs::write(dir.path().join("keys/log.key"), b"nonsense").unwrap();
    assert!(matches!(
        Log::open(quiet(dir.path())),
        Err(OpenError::Key { .. })
    ));
}

#[tokio::test]
async fn a_host_that_is_renamed_does_not_continue_under_another_origin() {
    let dir = tempdir();
    crashed(dir.path()).await;
    let mut config = quiet(dir.path());
    config.host = "other.example".into();
    assert!(matches!(Log::open(config), Err(OpenError::Key { .. })));
}

const CHILD: &str = "CORDON_TEST_KILLED_WRITER_DIR";

/// Appends, and says what was acknowledged, until it is killed.
#[tokio::test]
async fn killed_writer_child() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let (log, _) = open(Path::new(&dir));
    for statement in 0.. {
        let receipt = log
            .append(decided("s", statement, "SELECT 1"), Durability::Now)
            .await
            .unwrap();
        println!("acknowledged {}", receipt.index());
    }
}

#[test]
fn a_killed_writer_loses_nothing_that_it_acknowledged() {
    use std::io::{BufRead as _, BufReader};
    let dir = tempdir();
    for _ in 0..3 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "audit::tests::crash::killed_writer_child",
                "--nocapture",
            ])
            .env(CHILD, dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let index = |line: String| line.strip_prefix("acknowledged ")?.parse::<u64>().ok();
        let mut last = lines.by_ref().filter_map(index).nth(50).unwrap();
        child.kill().unwrap();
        // What it said before it died, in full lines or not.
        last = lines.filter_map(index).last().unwrap_or(last).max(last);
        child.wait().unwrap();
        assert!(check(dir.path()).ok());
        let (log, recovery) = open(dir.path());
        assert!(
            recovery.entries > last,
            "{} entries, {last} acknowledged",
            recovery.entries
        );
        drop(log);
    }
    let report = check(dir.path());
    assert_eq!(report.problem, None);
    assert!(report.unclean_restarts >= 5);
}
