//! The policy's files: loaded again when they change, and on SIGHUP. A set that cannot come into
//! force leaves the last good one in force, and says so.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{signal::unix::Signal, task::spawn_blocking, time::MissedTickBehavior};

use super::fit::{check_policy, warn_observing};
use crate::{
    admin::{PolicyErrorView, rfc3339},
    audit::{Durability, Event, PolicyLoaded, PolicyRefused},
    config::Config,
    policy::{Policy, PolicyError, PolicyFolder, Stamp},
    session::{Gate, hex},
};

/// How often the files are looked at. A change counts once two looks in a row see the same: a file
/// that is being written is left alone.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Problems that are shown and recorded, at most.
const MAX_PROBLEMS: usize = 20;
/// Longest text of one, in characters.
const MAX_PROBLEM: usize = 500;

/// The policy's files and the policy in force.
pub struct PolicyFiles {
    config: Arc<Config>,
    folder: Arc<dyn PolicyFolder>,
    gate: Arc<Gate>,
    shown: Mutex<Shown>,
}

/// What people are told of them.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Since when the policy is in force.
    pub since: SystemTime,
    /// Why the files are not in force, if they are not.
    pub error: Option<PolicyErrorView>,
}

/// What one look at the files asks for.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Nothing,
    Load,
}

/// Tells when the files have changed and come to rest.
#[derive(Debug)]
struct Rest {
    loaded: Stamp,
    seen: Option<Stamp>,
}

impl Rest {
    fn look(&mut self, now: Stamp) -> Look {
        if now == self.loaded {
            self.seen = None;
            Look::Nothing
        } else if self.seen.as_ref() == Some(&now) {
            Look::Load
        } else {
            self.seen = Some(now);
            Look::Nothing
        }
    }

    fn loaded(&mut self, stamp: Stamp) {
        self.loaded = stamp;
        self.seen = None;
    }
}

impl PolicyFiles {
    /// The files of the policy that the gate has just been given.
    pub fn new(config: Arc<Config>, folder: Arc<dyn PolicyFolder>, gate: Arc<Gate>) -> Arc<Self> {
        Arc::new(Self {
            config,
            folder,
            gate,
            shown: Mutex::new(Shown {
                since: SystemTime::now(),
                error: None,
            }),
        })
    }

    /// What people are told.
    pub fn shown(&self) -> Shown {
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Follows the files for as long as it is polled.
    pub async fn follow(self: Arc<Self>, mut reload: Signal) {
        let mut rest = Rest {
            // What changed since the start is found at the first look.
            loaded: Stamp::default(),
            seen: None,
        };
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                _ = reload.recv() => true,
                _ = tick.tick() => false,
            };
            let Some(now) = self.stamp().await else {
                continue;
            };
            let due = rest.look(now.clone()) == Look::Load;
            if !asked && !due {
                continue;
            }
            let outcome = self.read().await;
            // Changed while it was read: what was read may be a mixture.
            if self.stamp().await.as_ref() != Some(&now) {
                continue;
            }
            rest.loaded(now);
            match outcome {
                Ok(policy) => {
                    // Another layout of the same policy is no event; nor are the files of the start.
                    if asked || policy.digest() != self.gate.policy().digest() {
                        self.install(policy).await;
                    } else {
                        self.clear();
                    }
                }
                Err(error) => self.refuse(&error).await,
            }
        }
    }

    async fn stamp(&self) -> Option<Stamp> {
        let folder = self.folder.clone();
        spawn_blocking(move || folder.stamp()).await.ok()?.ok()
    }

    async fn read(&self) -> anyhow::Result<Policy> {
        let (folder, config) = (self.folder.clone(), self.config.clone());
        spawn_blocking(move || {
            let policy = Policy::of(folder.sources()?)?;
            check_policy(&config, &policy).map(|()| policy)
        })
        .await?
    }

    async fn install(&self, policy: Policy) {
        let digest = hex(&policy.digest());
        let event = Event::PolicyLoaded(PolicyLoaded {
            digest: digest.clone(),
            files: policy.files().to_vec(),
        });
        if let Err(error) = self.gate.log().append(event, Durability::Synced).await {
            tracing::error!(%error, "the policy was not loaded: no evidence");
            self.show(vec![format!("the evidence cannot be written: {error}")]);
            return;
        }
        warn_observing(&policy);
        self.gate.set_policy(policy);
        tracing::info!(%digest, "policy loaded");
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = Shown {
            since: SystemTime::now(),
            error: None,
        };
    }

    async fn refuse(&self, error: &anyhow::Error) {
        tracing::error!(error = %format!("{error:#}"), "the policy stays as it was");
        let problems = problems(error);
        let folder = self.folder.clone();
        let digest = spawn_blocking(move || folder.digest()).await;
        let digest = digest.ok().and_then(io::Result::ok).flatten();
        let files_sha256 = digest.map(|digest| hex(&digest));
        let event = Event::PolicyRefused(PolicyRefused {
            problems: problems.clone(),
            files_sha256,
            policy: hex(&self.gate.policy().digest()),
        });
        if let Err(error) = self.gate.log().append(event, Durability::Now).await {
            tracing::error!(%error, "the refused policy is not on record");
        }
        self.show(problems);
    }

    /// The files are those in force (again).
    fn clear(&self) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.error.take().is_some() {
            tracing::info!("the policy's files are again those in force");
        }
    }

    fn show(&self, problems: Vec<String>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.error = Some(PolicyErrorView {
            at: rfc3339(SystemTime::now()),
            problems,
        });
    }
}

/// Each problem on one line, with its place.
fn problems(error: &anyhow::Error) -> Vec<String> {
    let lines: Vec<String> = match error.downcast_ref::<PolicyError>() {
        Some(error) => error
            .problems()
            .iter()
            .map(|problem| match problem.position {
                Some((line, column)) => format!(
                    "{}:{line}:{column}: {}",
                    problem.file.display(),
                    problem.message
                ),
                None => format!("{}: {}", problem.file.display(), problem.message),
            })
            .collect(),
        None => vec![format!("{error:#}")],
    };
    let more = lines.len().saturating_sub(MAX_PROBLEMS);
    let mut shown: Vec<String> = lines
        .into_iter()
        .take(MAX_PROBLEMS)
        .map(|line| line.chars().take(MAX_PROBLEM).collect())
        .collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    #[test]
    fn files_are_read_once_they_have_come_to_rest() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.yaml"), "1").unwrap();
        let first = Stamp::of(dir.path());
        let mut rest = Rest {
            loaded: first.clone(),
            seen: None,
        };
        assert_eq!(rest.look(first.clone()), Look::Nothing);
        fs::write(dir.path().join("a.yaml"), "22").unwrap();
        let half = Stamp::of(dir.path());
        assert_eq!(rest.look(half), Look::Nothing);
        fs::write(dir.path().join("a.yaml"), "333").unwrap();
        let whole = Stamp::of(dir.path());
        assert_eq!(rest.look(whole.clone()), Look::Nothing);
        assert_eq!(rest.look(whole.clone()), Look::Load);
        rest.loaded(whole.clone());
        assert_eq!(rest.look(whole), Look::Nothing);
        // Changed and changed back: as if nothing had happened.
        rest.loaded(first.clone());
        assert_eq!(rest.look(Stamp::default()), Look::Nothing);
        assert_eq!(rest.look(first), Look::Nothing);
        assert_eq!(rest.seen, None);
    }

    #[test]
    fn problems_are_told_with_their_places_and_bounded() {
        let text = format!("version: 1\ngrants:\n{}", "  - nam: x\n".repeat(60));
        let error = Policy::from_sources(&[(PathBuf::from("p.yaml"), text)]).unwrap_err();
        let count = error.problems().len();
        let lines = problems(&error.into());
        assert_eq!(lines.len(), MAX_PROBLEMS + 1);
        assert!(lines[0].starts_with("p.yaml:3:5: "), "{}", lines[0]);
        assert_eq!(
            lines[MAX_PROBLEMS],
            format!("and {} more", count - MAX_PROBLEMS)
        );
    }
}
