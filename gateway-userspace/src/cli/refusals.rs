//! Refused job starts, recorded one by one up to a rate: whoever may reach the control socket must
//! not make the log grow as they like.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Refused starts of one user that are recorded within a [`WINDOW`].
const MOST: u64 = 20;
const WINDOW: Duration = Duration::from_mins(1);
/// Users that are told apart.
const USERS: usize = 1_024;

/// How many of the refused starts were recorded of late.
#[derive(Default)]
pub struct Refusals(Mutex<BTreeMap<u32, Window>>);

struct Window {
    began: Instant,
    refused: u64,
}

/// What becomes of a refused start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is recorded. So many of this user's before it were not.
    Recorded {
        /// Of the last minute in which there were too many.
        left_out: u64,
    },
    /// It is recorded, as the last one for a while.
    Last,
    /// It is counted.
    Counted,
}

impl Refusals {
    /// Counts a refused start of this user.
    pub fn count(&self, uid: u32, now: Instant) -> Kept {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= USERS && !windows.contains_key(&uid) {
            windows.retain(|_, window| now.duration_since(window.began) < WINDOW);
        }
        // More users than can be told apart share a count.
        let uid = if windows.len() >= USERS && !windows.contains_key(&uid) {
            u32::MAX
        } else {
            uid
        };
        let window = windows.entry(uid).or_insert(Window {
            began: now,
            refused: 0,
        });
        let mut left_out = 0;
        if now.duration_since(window.began) >= WINDOW {
            left_out = window.refused.saturating_sub(MOST);
            *window = Window {
                began: now,
                refused: 0,
            };
        }
        window.refused += 1;
        match window.refused {
            refused if refused < MOST => Kept::Recorded { left_out },
            MOST => Kept::Last,
            _ => Kept::Counted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e4_refused_starts_of_a_user_are_recorded_up_to_a_rate_and_the_rest_is_counted() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        for _ in 1..MOST {
            assert_eq!(refusals.count(7, now), Kept::Recorded { left_out: 0 });
        }
        assert_eq!(refusals.count(7, now), Kept::Last);
        for _ in 0..5 {
            assert_eq!(refusals.count(7, now), Kept::Counted);
        }
        // Another user's are theirs.
        assert_eq!(refusals.count(8, now), Kept::Recorded { left_out: 0 });
        let later = now + WINDOW;
        assert_eq!(refusals.count(7, later), Kept::Recorded { left_out: 5 });
        assert_eq!(refusals.count(7, later), Kept::Recorded { left_out: 0 });
        // Many users take no room without a bound, and do not push out those who are counted.
        for uid in 10..10_000 {
            refusals.count(uid, later);
        }
        assert!(refusals.0.lock().unwrap().len() <= USERS + 1);
        assert_eq!(refusals.count(9_999, later), Kept::Counted);
    }
}
