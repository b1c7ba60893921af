//! Witnesses: a good one, written from the specification alone, and bad ones.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::Mutex,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};

use super::*;

/// What a witness does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// As the specification says.
    Good,
    /// Signs another text.
    WrongSignature,
    /// Signs with another key under its own key's name.
    OtherKey,
    /// Has seen more entries than there are.
    SeenMore,
    /// Never knows the size that it is told.
    NeverSettled,
    /// Answers with something else.
    Garbage,
    /// Answers with bytes that are no text.
    NoText,
    /// Sends without an end.
    Endless,
    /// Says nothing.
    Silent,
    /// Hangs up.
    Gone,
    /// Sends the asker elsewhere.
    Elsewhere,
    /// Does not know the log.
    Stranger,
    /// Does not trust its key.
    Untrusting,
}

struct Server {
    name: &'static str,
    pair: Ed25519KeyPair,
    log_key: String,
    manner: Mutex<Manner>,
    /// The latest checkpoint that it has cosigned.
    latest: Mutex<Option<String>>,
    /// The first lines of the requests.
    asked: Mutex<Vec<String>>,
}

/// Kept open for ever.
static HELD: Mutex<Vec<TcpStream>> = Mutex::new(Vec::new());

fn new_pair() -> Ed25519KeyPair {
    let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(made.as_ref()).unwrap()
}

impl Server {
    fn start(name: &'static str, log_key: &str, manner: Manner) -> (Arc<Self>, WitnessAddress) {
        let _already = rustls::crypto::ring::default_provider().install_default();
        let server = Arc::new(Self {
            name,
            pair: new_pair(),
            log_key: log_key.to_owned(),
            manner: Mutex::new(manner),
            latest: Mutex::new(None),
            asked: Mutex::new(Vec::new()),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}/sub/", listener.local_addr().unwrap());
        let address = WitnessAddress {
            key: Witness::parse(&server.verifier()).unwrap(),
            url: url.parse().unwrap(),
            client: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .build()
                .unwrap(),
            // One that says nothing need not be waited for.
            timeout: if manner == Manner::Silent {
                Duration::from_millis(300)
            } else {
                Duration::from_mins(1)
            },
        };
        let served = Arc::clone(&server);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                served.serve(stream);
            }
        });
        (server, address)
    }

    fn id(&self) -> Vec<u8> {
        let typed = [
            self.name.as_bytes(),
            b"\n\x04",
            self.pair.public_key().as_ref(),
        ]
        .concat();
        ring::digest::digest(&ring::digest::SHA256, &typed).as_ref()[..4].to_vec()
    }

    fn verifier(&self) -> String {
        let typed = [b"\x04", self.pair.public_key().as_ref()].concat();
        format!(
            "{}+{}+{}",
            self.name,
            to_hex(&self.id()),
            STANDARD.encode(typed)
        )
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            if stream.read(&mut byte).unwrap_or(0) == 0 {
                return;
            }
            request.push(byte[0]);
        }
        let head = String::from_utf8(request).unwrap().to_lowercase();
        assert!(
            head.starts_with("post /sub/add-checkpoint http/1.1"),
            "{head}"
        );
        let length = head.split("content-length: ").nth(1).unwrap();
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        let first = body.lines().next().unwrap().to_owned();
        self.asked.lock().unwrap().push(first.clone());
        let old: u64 = first.strip_prefix("old ").unwrap().parse().unwrap();
        let manner = *self.manner.lock().unwrap();
        let (status, kind, answer) = match manner {
            Manner::Good | Manner::WrongSignature | Manner::OtherKey => self.judge(&body, old),
            Manner::SeenMore => ("409 Conflict", "text/x.tlog.size", b"999999\n".to_vec()),
            Manner::NeverSettled => {
                let other = format!("{}\n", 1 + old % 2);
                ("409 Conflict", "text/x.tlog.size", other.into_bytes())
            }
            Manner::Garbage => ("200 OK", "text/html", b"<p>hello</p>\n".to_vec()),
            Manner::NoText => ("200 OK", "text/plain", vec![0xff; 99]),
            Manner::Endless => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                while stream.write_all(&[b'a'; 4096]).is_ok() {}
                return;
            }
            Manner::Silent => {
                HELD.lock().unwrap().push(stream);
                return;
            }
            Manner::Gone => return,
            Manner::Elsewhere => (
                "307 Moved\r\nLocation: /sub/add-checkpoint",
                "text/plain",
                Vec::new(),
            ),
            Manner::Stranger => ("404 Not Found", "text/plain", Vec::new()),
            Manner::Untrusting => ("403 Forbidden", "text/plain", Vec::new()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            answer.len()
        );
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&answer);
    }

    /// The checks of the specification, in its order.
    fn judge(&self, body: &str, old: u64) -> (&'static str, &'static str, Vec<u8>) {
        let mut latest = self.latest.lock().unwrap();
        let known = latest.as_deref().map_or(0, |note| note_size(note).unwrap());
        let note = body.split_once("\n\n").unwrap().1;
        let size = note_size(note).unwrap();
        assert!(old <= size);
        if old != known {
            return (
                "409 Conflict",
                "text/x.tlog.size",
                format!("{known}\n").into_bytes(),
            );
        }
        let hashes = body.lines().take_while(|line| !line.is_empty()).count() - 1;
        assert!(hashes <= 63);
        match latest.as_deref() {
            None => assert_eq!(hashes, 0, "a proof from nothing is empty"),
            Some(before) => {
                if let Err(problem) = check_proof(body, Claim::Since(before), &self.log_key) {
                    return (
                        "422 Unprocessable Entity",
                        "text/plain",
                        problem.into_bytes(),
                    );
                }
            }
        }
        let text = format!("{}\n", note.split_once("\n\n").unwrap().0);
        let time = 1_700_000_000 + size;
        let mut message = format!("cosignature/v1\ntime {time}\n{text}");
        let manner = *self.manner.lock().unwrap();
        if manner == Manner::WrongSignature {
            message.push('x');
        }
        let other = new_pair();
        let pair = if manner == Manner::OtherKey {
            &other
        } else {
            &self.pair
        };
        let mut signature = self.id();
        signature.extend_from_slice(&time.to_be_bytes());
        signature.extend_from_slice(pair.sign(message.as_bytes()).as_ref());
        *latest = Some(note.to_owned());
        // A line of somebody else's must be ignored.
        let line = format!(
            "\u{2014} stranger AAAAAAAA\n\u{2014} {} {}\n",
            self.name,
            STANDARD.encode(signature)
        );
        ("200 OK", "text/plain", line.into_bytes())
    }
}

fn witnesses(dir: &Path, quorum: usize, witnesses: Vec<WitnessAddress>) -> Arc<Witnesses> {
    Witnesses::new(WitnessConfig {
        dir: dir.to_owned(),
        every: Duration::from_hours(1),
        quorum,
        witnesses,
    })
}

/// One round of asking.
async fn ask(witnesses: &Witnesses) -> WitnessStates {
    witnesses.finish(Duration::from_mins(1)).await;
    witnesses.state()
}

fn checked(dir: &Path, witnesses: &[&WitnessAddress], quorum: Option<usize>) -> Report {
    verify(
        dir,
        VerifyOptions {
            witnesses: witnesses
                .iter()
                .map(|witness| witness.key.clone())
                .collect(),
            quorum,
            ..VerifyOptions::default()
        },
    )
}

fn public_key(dir: &Path) -> String {
    fs::read_to_string(dir.join("keys/log.pub")).unwrap()
}

/// A log of small segments, which signs a new checkpoint at every opening and closing.
async fn grow(dir: &Path, entries: u64) {
    let mut config = quiet(dir);
    config.tuning.segment_bytes = 4_096;
    let (log, _) = Log::open(config).unwrap();
    for statement in 0..entries {
        log.append(decided("s", statement, "SELECT 1"), Durability::Now)
            .await
            .unwrap();
    }
    log.close("test").await.unwrap();
}

#[tokio::test]
async fn e1_a_witness_cosigns_a_log_that_grows_and_the_verifier_says_how_far() {
    let dir = tempdir();
    let dir = dir.path();
    grow(dir, 30).await;
    let key = public_key(dir);
    let (server, one) = Server::start("one.example/w", &key, Manner::Good);
    let (_, two) = Server::start("two.example/w", &key, Manner::Good);
    let both = witnesses(dir, 2, vec![one.clone(), two.clone()]);
    let mut sizes = Vec::new();
    for round in 0..5 {
        let states = ask(&both).await;
        let size = note_size(&latest_checkpoint(dir, None).unwrap()).unwrap();
        for state in &states.witnesses {
            assert_eq!((state.entries, &state.problem), (size, &None));
        }
        assert_eq!(states.entries, size);
        // Nothing is asked again for the same checkpoint.
        let asked = server.asked.lock().unwrap().len();
        ask(&both).await;
        assert_eq!(server.asked.lock().unwrap().len(), asked);
        sizes.push(size);
        grow(dir, 1 + round * 40).await;
    }
    // Each proof began where the one before had ended.
    let asked: Vec<String> = std::iter::once(0)
        .chain(sizes.iter().copied())
        .take(5)
        .map(|size| format!("old {size}"))
        .collect();
    assert_eq!(*server.asked.lock().unwrap(), asked);
    // A daemon that starts anew remembers nothing, and is told.
    let anew = witnesses(dir, 2, vec![one.clone(), two.clone()]);
    let states = ask(&anew).await;
    assert_eq!(states.witnesses[0].problem, None);
    let last = sizes.last().unwrap();
    assert!(
        server
            .asked
            .lock()
            .unwrap()
            .ends_with(&["old 0".to_owned(), format!("old {last}")])
    );

    let report = checked(dir, &[&one, &two], None);
    assert_eq!(report.problem, None);
    assert_eq!(report.cosigned_checkpoints, 6);
    assert_eq!(report.witnessed_entries, report.entries);
    let first = &report.witnesses[0];
    assert_eq!((first.entries, first.checkpoints), (report.entries, 6));
    assert!(first.time.as_ref().unwrap().starts_with("2023-11-14T"));
    // Without witnesses nothing is claimed; with one that never was asked, it does not verify.
    let blind = checked(dir, &[], None);
    assert_eq!((blind.problem, blind.witnessed_entries), (None, 0));
    let (_, stranger) = Server::start("three.example/w", &key, Manner::Good);
    assert!(!checked(dir, &[&one, &two, &stranger], None).ok());
    assert!(checked(dir, &[&one, &two, &stranger], Some(2)).ok());

    // The checkpoint with its cosignatures stands for itself.
    let note = latest_cosigned(dir, Some(&key)).unwrap();
    let keys = [one.key.clone(), two.key.clone()];
    assert_eq!(check_cosignatures(&note, &keys, None).unwrap().len(), 2);
    let with_note = VerifyOptions {
        checkpoint: Some(&note),
        ..VerifyOptions::default()
    };
    assert_eq!(verify(dir, with_note).problem, None);
}

#[tokio::test]
async fn e1_a_log_that_was_cut_back_or_written_anew_gets_no_cosignature_and_is_found_by_its_old_ones()
 {
    let dir = tempdir();
    let dir = dir.path();
    grow(dir, 10).await;
    let early = tempdir();
    copy_dir(dir, early.path());
    let early = early.path();
    let key = public_key(dir);
    grow(dir, 10).await;
    let (_, witness) = Server::start("w.example/w", &key, Manner::Good);
    assert_eq!(
        ask(&witnesses(dir, 1, vec![witness.clone()]))
            .await
            .witnesses[0]
            .problem,
        None
    );

    // Cut back to an older state of its own, it verifies alone.
    assert_eq!(check(early).problem, None);
    let problem = |states: WitnessStates| states.witnesses[0].problem.clone().unwrap();
    let said = problem(ask(&witnesses(early, 1, vec![witness.clone()])).await);
    assert!(said.contains("cut back"), "{said}");
    fs::copy(dir.join("cosigned"), early.join("cosigned")).unwrap();
    let found = checked(early, &[&witness], None).problem.unwrap();
    assert!(found.what.contains("witnesses have cosigned"), "{found}");

    // Written anew with the log's own key, and longer.
    fs::remove_file(early.join("cosigned")).unwrap();
    grow(early, 40).await;
    assert_eq!(check(early).problem, None);
    let said = problem(ask(&witnesses(early, 1, vec![witness.clone()])).await);
    assert!(said.contains("not the beginning"), "{said}");
    assert!(!early.join("cosigned").exists());
    fs::copy(dir.join("cosigned"), early.join("cosigned")).unwrap();
    let found = checked(early, &[], None).problem.unwrap();
    assert!(found.what.contains("are not those"), "{found}");
}

#[tokio::test]
async fn e1_every_changed_byte_of_a_cosigned_checkpoint_is_found() {
    let dir = tempdir();
    let dir = dir.path();
    grow(dir, 3).await;
    let (_, witness) = Server::start("w.example/w", &public_key(dir), Manner::Good);
    ask(&witnesses(dir, 1, vec![witness.clone()])).await;
    let path = dir.join("cosigned");
    let good = fs::read(&path).unwrap();
    assert_eq!(checked(dir, &[&witness], None).problem, None);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        assert!(!checked(dir, &[&witness], None).ok(), "byte {at}");
    }
    // What a crash left of it is no checkpoint, and is cut off before the next one.
    for length in 0..good.len() {
        fs::write(&path, &good[..length]).unwrap();
        assert!(checked(dir, &[], None).ok(), "{length} bytes");
    }
    fs::write(&path, [good.as_slice(), &good[..40]].concat()).unwrap();
    assert_eq!(checked(dir, &[&witness], None).torn_cosigned_bytes, 40);
    grow(dir, 3).await;
    ask(&witnesses(dir, 1, vec![witness.clone()])).await;
    let report = checked(dir, &[&witness], None);
    assert_eq!((report.problem, report.torn_cosigned_bytes), (None, 0));
    assert_eq!(report.cosigned_checkpoints, 2);
}

#[tokio::test]
async fn a_witness_that_answers_badly_or_not_at_all_is_named_and_holds_up_nothing() {
    let dir = tempdir();
    let dir = dir.path();
    grow(dir, 3).await;
    let key = public_key(dir);
    let (_, good) = Server::start("good.example/w", &key, Manner::Good);
    for (manner, says) in [
        (Manner::WrongSignature, "is wrong"),
        (Manner::OtherKey, "is wrong"),
        (Manner::SeenMore, "cut back"),
        (Manner::NeverSettled, "now others"),
        (Manner::Garbage, "not a good cosignature"),
        (Manner::NoText, "no text"),
        (Manner::Endless, "longer than"),
        (Manner::Silent, "does not answer within 300ms"),
        (Manner::Gone, "error"),
        (Manner::Elsewhere, "307"),
        (Manner::Stranger, "does not know this log"),
        (Manner::Untrusting, "does not trust this log's key"),
    ] {
        grow(dir, 1).await;
        let (server, bad) = Server::start("bad.example/w", &key, manner);
        let asked = witnesses(dir, 2, vec![bad.clone(), good.clone()]);
        let states = ask(&asked).await;
        let problem = states.witnesses[0].problem.clone().unwrap_or_default();
        assert!(problem.contains(says), "{manner:?}: {problem}");
        // The other one has cosigned all the same, and that is kept; no quorum has.
        assert_eq!(states.witnesses[1].problem, None);
        assert_eq!(states.entries, 0);
        let report = checked(dir, &[&good, &bad], Some(1));
        assert_eq!(
            (report.problem, report.witnessed_entries),
            (None, report.entries)
        );
        // It comes to its senses.
        *server.manner.lock().unwrap() = Manner::Good;
        let asked = if manner == Manner::Silent {
            let patient = WitnessAddress {
                timeout: Duration::from_mins(1),
                ..bad.clone()
            };
            witnesses(dir, 2, vec![patient, good.clone()])
        } else {
            asked
        };
        *server.latest.lock().unwrap() = None;
        grow(dir, 1).await;
        let states = ask(&asked).await;
        assert_eq!(states.witnesses[0].problem, None, "{manner:?}");
        assert_eq!(checked(dir, &[&good, &bad], None).problem, None);
        fs::remove_file(dir.join("cosigned")).unwrap();
    }
}
