//! EVASIONS E4: when nothing can be written, nothing is acknowledged.

use super::*;

const CHILD: &str = "CORDON_TEST_FULL_DISK_DIR";

/// Runs in a process of its own, whose files may not grow beyond a limit that it can lift.
#[tokio::test]
async fn full_disk_child() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let dir = Path::new(&dir);
    let (log, _) = open(dir);
    let mut acknowledged = 0_u64;
    let error = loop {
        match log
            .append(decided("s", acknowledged, "SELECT 1"), Durability::Now)
            .await
        {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::Write(_)), "{error}");
    assert!(acknowledged > 3);
    assert!(log.fault().is_some());
    assert!(
        log.append(decided("s", 0, "SELECT 1"), Durability::Lazy)
            .await
            .is_err()
    );
    log.record_later(completed("s", 1));
    assert!(
        log.append(decided("s", 0, "SELECT 1"), Durability::Now)
            .await
            .is_err()
    );
    // Outcomes beyond what memory holds are lost, and that is said.
    let outcome = completed("s", 1);
    while log.shared().lock().lost == 0 {
        log.record_later(outcome.clone());
    }
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Fsize);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
    log.append(decided("s", acknowledged, "SELECT 1"), Durability::Now)
        .await
        .unwrap();
    assert!(log.fault().is_none());
    log.close("test").await.unwrap();
    let report = check(dir);
    assert_eq!(report.problem, None);
    assert_eq!(
        report.events.get("statement-decided"),
        Some(&(acknowledged + 1))
    );
    assert!(report.gaps.iter().any(|gap| gap.lost_events > 0));
    println!("full disk survived");
}

#[test]
fn on_a_full_disk_appends_fail_until_there_is_room_and_the_log_stays_well_formed() {
    let dir = tempdir();
    // A write beyond the limit fails like one on a full disk, after as many bytes as fit.
    let output = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -S -f 16; exec \"$0\" --exact audit::tests::full::full_disk_child --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("full disk survived"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
