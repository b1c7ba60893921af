use std::{fs, path::Path, sync::Arc, task::Context, time::Duration};

use super::*;
use crate::audit::{Event, Fsync, Log, LogConfig, read_entries, tree::sha256};

fn log(dir: &Path) -> Arc<Log> {
    Log::open(LogConfig::new(dir, Fsync::Risky, "host"))
        .unwrap()
        .0
}

fn recorder(log: &Arc<Log>, every: Duration) -> Arc<Recorder> {
    let blot: Blot = Arc::new(|_, _, body: &mut [u8]| {
        let found = body.starts_with(b"secret");
        if found {
            body.fill(b'x');
        }
        found
    });
    Recorder::start(log.clone(), RecorderConfig { blot, every }).unwrap()
}

/// Offset, length, digest and end of every part on record.
fn parts(dir: &Path, session: &str) -> Vec<(u64, u64, String, bool)> {
    let mut parts = Vec::new();
    read_entries(dir, |entry| {
        if let Some(Event::SessionRecorded(part)) = entry.event
            && part.session == session
        {
            parts.push((part.offset, part.bytes, part.sha256, part.end));
        }
        true
    })
    .unwrap();
    parts
}

fn texts(dir: &Path, session: &str) -> Vec<String> {
    let bytes = parts(dir, session).iter().map(|part| part.1).sum();
    let mut reader = RecordingReader::open(dir, session, bytes).unwrap().unwrap();
    let mut texts = Vec::new();
    while let Some(message) = reader.read().unwrap() {
        texts.push(format!(
            "{:?} {} {}{}",
            message.direction,
            char::from(message.tag),
            String::from_utf8_lossy(&message.body),
            message
                .withheld
                .map_or(String::new(), |w| format!("{} of {}", w.messages, w.bytes)),
        ));
    }
    texts
}

/// A session that waits for room, and does not go on before there is some.
fn wait_for_room(recording: &mut Recording) {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    while recording
        .poll_room(&Context::from_waker(&waker))
        .is_pending()
    {
        std::thread::park();
    }
}

#[test]
fn what_was_recorded_reads_back_blotted_and_every_part_has_its_digest_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    let recorder = recorder(&log, Duration::from_millis(1));
    let session: Arc<str> = Arc::from("ses-1");
    let mut recording = recorder.record(&session);
    recording.add(|batch| {
        batch.message(Direction::Frontend, b'Q', 1, b"SELECT 1\0");
        batch.message(Direction::Backend, b'D', 2, b"secret");
        let withheld = Withheld {
            messages: 3,
            bytes: 90,
        };
        batch.withheld(Direction::Backend, b'D', 3, withheld);
    });
    drop(recording);
    // A second session, whose buffer is taken again and again.
    let other: Arc<str> = Arc::from("ses-2");
    let mut recording = recorder.record(&other);
    let body = vec![b'y'; 100_000];
    for time in 0..50 {
        wait_for_room(&mut recording);
        recording.add(|batch| batch.message(Direction::Backend, b'D', time, &body));
    }
    drop(recording);
    recorder.close();
    assert_eq!(
        texts(dir.path(), "ses-1"),
        [
            "Frontend Q SELECT 1\0",
            "Backend D xxxxxx",
            "Backend D 3 of 90"
        ]
    );
    assert_eq!(texts(dir.path(), "ses-2").len(), 50);
    for session in ["ses-1", "ses-2"] {
        let file = fs::read(dir.path().join(format!("recordings/{session}.rec"))).unwrap();
        let mut at = 0;
        let parts = parts(dir.path(), session);
        for (offset, bytes, digest, end) in &parts {
            assert_eq!(*offset, at);
            let part = &file[usize::try_from(at).unwrap()..][..usize::try_from(*bytes).unwrap()];
            assert_eq!(*digest, crate::audit::to_hex(&sha256(part)));
            at += bytes;
            assert_eq!(*end, at == file.len() as u64);
        }
        assert_eq!(at, file.len() as u64);
    }
}

#[test]
fn a_recording_that_cannot_be_written_waits_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = log(dir.path());
    let recorder = recorder(&log, Duration::from_millis(1));
    let folder = dir.path().join("recordings");
    fs::remove_dir(&folder).unwrap();
    fs::write(&folder, "a file where the folder should be").unwrap();
    let mut recording = recorder.record(&Arc::from("ses-1"));
    let body = vec![b'y'; 100_000];
    let mut added = 0;
    // The session stops by itself: what it holds is bounded.
    while !recording.is_full() {
        recording.add(|batch| batch.message(Direction::Backend, b'D', added, &body));
        added += 1;
        assert!(added < 20);
    }
    let waker = std::task::Waker::noop();
    while recorder.fault().is_none() {
        let _ = recording.poll_room(&Context::from_waker(waker));
        std::thread::yield_now();
    }
    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    wait_for_room(&mut recording);
    while recorder.fault().is_some() {
        std::thread::yield_now();
    }
    recording.add(|batch| batch.message(Direction::Backend, b'C', added, b"SELECT"));
    drop(recording);
    recorder.close();
    let texts = texts(dir.path(), "ses-1");
    assert_eq!(texts.len() as u64, added + 1);
    assert_eq!(texts.last().unwrap(), "Backend C SELECT");
}
