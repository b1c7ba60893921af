//! Logins that were begun, until the provider answers.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::console::refused::Refused;

/// How long a person may take at the provider.
const PATIENCE: Duration = Duration::from_mins(10);
/// Logins begun and not ended, in all.
const MAX_PENDING: usize = 1_000;

/// What a login was begun with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// What the ID token must repeat.
    pub nonce: String,
    /// PKCE's secret: who has only seen the code cannot use it.
    pub verifier: String,
    /// The cookie of the browser that it was begun in.
    pub browser: String,
}

/// Logins by their `state`, each to be taken once.
#[derive(Debug, Default)]
pub struct Pending {
    begun: Mutex<HashMap<String, (Start, Instant)>>,
}

impl Pending {
    /// Keeps a login that begins.
    pub fn add(&self, state: String, start: Start, now: Instant) -> Result<(), Refused> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.retain(|_, (_, at)| now.saturating_duration_since(*at) < PATIENCE);
        if begun.len() >= MAX_PENDING {
            return Err(Refused::busy("too many logins at a time; wait a minute"));
        }
        begun.insert(state, (start, now));
        Ok(())
    }

    /// Takes a login out; `None`: it was not begun here, is used up or too old.
    pub fn take(&self, state: &str, now: Instant) -> Option<Start> {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, at) = begun.remove(state)?;
        (now.saturating_duration_since(at) < PATIENCE).then_some(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Start {
        Start {
            nonce: "n".into(),
            verifier: "v".into(),
            browser: "b".into(),
        }
    }

    #[test]
    fn a_login_is_taken_once_and_in_time_and_their_number_is_bounded() {
        let (pending, now) = (Pending::default(), Instant::now());
        pending.add("a".into(), start(), now).unwrap();
        assert_eq!(pending.take("a", now), Some(start()));
        assert_eq!(pending.take("a", now), None, "replayed");
        pending.add("b".into(), start(), now).unwrap();
        assert_eq!(pending.take("b", now + PATIENCE), None, "too late");
        for number in 0..MAX_PENDING {
            pending.add(number.to_string(), start(), now).unwrap();
        }
        assert!(pending.add("c".into(), start(), now).is_err());
        pending.add("c".into(), start(), now + PATIENCE).unwrap();
    }
}
