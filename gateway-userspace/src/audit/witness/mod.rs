//! Has witnesses cosign the log's checkpoints: C2SP tlog-witness, with cosignatures in the Ed25519
//! form of tlog-cosignature.
//!
//! A witness keeps the latest checkpoint that it has seen of a log, and signs a newer one only if the
//! log has grown and nothing in it is changed. Whoever trusts the witnesses need not trust this host:
//! a log that is cut back, or written anew, gets no more cosignatures, and its old ones give it away.
//!
//! Nothing waits for witnesses. If they do not answer, the log goes on, signed by its own key, and
//! says how far it was cosigned.

mod ask;
mod file;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cordon_verify::Witness;
use futures_util::future::join_all;

use file::CosignedFile;
pub(super) use file::read_tail;

use super::{blocking::blocking, layout::Layout, place::Place};

/// A witness, and how it is reached.
#[derive(Clone, Debug)]
pub struct WitnessAddress {
    /// Its public key.
    pub key: Witness,
    /// Prefix of its URLs: `add-checkpoint` follows.
    pub url: reqwest::Url,
    /// What reaches it; redirects are not followed.
    pub client: reqwest::Client,
    /// How long an answer may take, the connection included.
    pub timeout: Duration,
}

/// Who is asked, and how often.
#[derive(Clone, Debug)]
pub struct WitnessConfig {
    /// The log's folder.
    pub dir: PathBuf,
    /// How often a new checkpoint is shown to them.
    pub every: Duration,
    /// How many must have cosigned what counts as witnessed.
    pub quorum: usize,
    /// The witnesses.
    pub witnesses: Vec<WitnessAddress>,
}

/// How it goes with one witness.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct WitnessState {
    /// Its name.
    pub name: String,
    /// Entries of the last checkpoint that it has cosigned since the daemon started; 0: none.
    pub entries: u64,
    /// When, as the witness says, RFC 3339.
    pub time: Option<String>,
    /// Why it has not cosigned the last one that it was shown.
    pub problem: Option<String>,
}

/// How it goes with all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct WitnessStates {
    /// How many must have cosigned what counts as witnessed.
    pub quorum: usize,
    /// Entries that so many have cosigned since the daemon started.
    pub entries: u64,
    /// Each of them.
    pub witnesses: Vec<WitnessState>,
}

/// What is remembered of a witness between two rounds.
#[derive(Default)]
struct Seen {
    state: WitnessState,
    /// Entries of the latest checkpoint that it knows, as far as we know.
    size: u64,
    /// Where in the log that is: the next proof begins there.
    place: Option<Place>,
}

/// Asks the witnesses of a log.
pub struct Witnesses {
    config: WitnessConfig,
    seen: Mutex<Vec<Seen>>,
    entries: std::sync::atomic::AtomicU64,
}

/// A good cosignature.
struct Cosignature {
    /// The signature line, newline included.
    line: String,
    time: u64,
}

/// What came of asking one witness.
struct Answer {
    outcome: Result<Cosignature, String>,
    size: u64,
    place: Option<Place>,
}

impl Witnesses {
    /// Asks nobody yet.
    pub fn new(config: WitnessConfig) -> Arc<Self> {
        let seen = config
            .witnesses
            .iter()
            .map(|witness| Seen {
                state: WitnessState {
                    name: witness.key.name().to_owned(),
                    ..WitnessState::default()
                },
                ..Seen::default()
            })
            .collect();
        Arc::new(Self {
            config,
            seen: Mutex::new(seen),
            entries: std::sync::atomic::AtomicU64::new(0),
        })
    }

    /// How it goes.
    pub fn state(&self) -> WitnessStates {
        WitnessStates {
            quorum: self.config.quorum,
            entries: self.entries.load(std::sync::atomic::Ordering::Relaxed),
            witnesses: self.lock().iter().map(|seen| seen.state.clone()).collect(),
        }
    }

    /// Asks for ever.
    pub async fn run(self: Arc<Self>) {
        let mut tick = tokio::time::interval(self.config.every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.round().await;
        }
    }

    /// Shows them the last checkpoint, within a time: at the end of a daemon.
    pub async fn finish(&self, within: Duration) {
        if tokio::time::timeout(within, self.round()).await.is_err() {
            tracing::warn!("the last checkpoint is not cosigned");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn round(&self) {
        let path = Layout::new(&self.config.dir).checkpoints();
        let note = match blocking(move || read_tail(&path).map_err(|error| error.to_string())).await
        {
            Ok(Some(note)) => note,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "no checkpoint can be shown to witnesses");
                return;
            }
        };
        let Some(size) = cordon_verify::note_size(&note) else {
            return;
        };
        let asked: Vec<(usize, u64, Option<Place>)> = self
            .lock()
            .iter_mut()
            .enumerate()
            .filter(|(_, seen)| seen.state.entries < size)
            .map(|(at, seen)| (at, seen.size, seen.place.take()))
            .collect();
        let answers = join_all(asked.into_iter().filter_map(|(at, known, place)| {
            let witness = self.config.witnesses.get(at)?;
            let (dir, note) = (&self.config.dir, &note);
            Some(async move { (at, ask::ask(witness, dir, note, size, known, place).await) })
        }))
        .await;
        let mut cosigned = note.clone();
        let mut good = 0;
        for (_, answer) in &answers {
            if let Ok(cosignature) = &answer.outcome {
                cosigned.push_str(&cosignature.line);
                good += 1;
            }
        }
        if good > 0 {
            let dir = self.config.dir.clone();
            let kept = blocking(move || {
                CosignedFile::open(&Layout::new(&dir))
                    .and_then(|mut file| file.append(size, &cosigned))
                    .map_err(|error| error.to_string())
            })
            .await;
            if let Err(error) = kept {
                // They are asked again for the next checkpoint.
                tracing::error!(%error, "a cosigned checkpoint cannot be kept");
                return;
            }
        }
        if good >= self.config.quorum {
            self.entries
                .store(size, std::sync::atomic::Ordering::Relaxed);
        }
        let mut seen = self.lock();
        for (at, answer) in answers {
            if let Some(seen) = seen.get_mut(at) {
                seen.take(answer, size);
            }
        }
    }
}

impl Seen {
    fn take(&mut self, answer: Answer, size: u64) {
        self.size = answer.size;
        self.place = answer.place;
        let problem = match answer.outcome {
            Ok(cosignature) => {
                self.state.entries = size;
                self.state.time = Some(super::rfc3339(cosignature.time.saturating_mul(1_000_000)));
                None
            }
            Err(problem) => Some(problem),
        };
        let witness = &self.state.name;
        match (&self.state.problem, &problem) {
            (before, Some(problem)) if before.as_ref() != Some(problem) => {
                tracing::error!(%witness, %problem, "a witness has not cosigned the evidence");
            }
            (Some(_), None) => tracing::info!(%witness, "a witness cosigns the evidence again"),
            (None | Some(_), None | Some(_)) => {}
        }
        self.state.problem = problem;
    }
}

impl std::fmt::Debug for Witnesses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witnesses")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
