//! Sessions of those who have logged in.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ring::digest::{SHA256, digest};

use crate::console::{
    app::{Asker, random_text},
    person::Person,
    refused::Refused,
};

/// Sessions in all; beyond, the one longest unused ends.
const MAX_SESSIONS: usize = 1_000;
/// Sessions of one person; beyond, their oldest ends.
const MAX_OF_ONE: usize = 10;

/// A session's key: the SHA-256 of its cookie, so that neither memory nor the time of a look-up
/// gives the cookie away.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// The key of a cookie.
    pub fn of(cookie: &str) -> Self {
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, cookie.as_bytes()).as_ref());
        Self(key)
    }
}

#[derive(Debug)]
struct Session {
    person: Person,
    csrf: String,
    opened: Instant,
    seen: Instant,
}

/// The sessions, in memory only: a restart logs everybody out.
#[derive(Debug)]
pub struct Sessions {
    open: Mutex<HashMap<SessionKey, Session>>,
    idle: Duration,
    max: Duration,
}

impl Sessions {
    /// None yet. `idle`: how long one lasts without requests; `max`: how long at all.
    pub fn new(idle: Duration, max: Duration) -> Self {
        Self {
            open: Mutex::default(),
            idle,
            max,
        }
    }

    /// Opens one; its cookie.
    pub fn open(&self, person: Person, now: Instant) -> Result<String, Refused> {
        let (cookie, csrf) = (random_text()?, random_text()?);
        let mut open = self.lock();
        open.retain(|_, session| !self.is_over(session, now));
        let mine: Vec<_> = open
            .iter()
            .filter(|(_, session)| session.person.is_same(&person))
            .map(|(key, session)| (session.opened, key.clone()))
            .collect();
        if mine.len() >= MAX_OF_ONE
            && let Some((_, oldest)) = mine.into_iter().min_by_key(|(opened, _)| *opened)
        {
            open.remove(&oldest);
        }
        if open.len() >= MAX_SESSIONS {
            let unused = open.iter().min_by_key(|(_, session)| session.seen);
            if let Some(key) = unused.map(|(key, _)| key.clone()) {
                open.remove(&key);
            }
        }
        open.insert(
            SessionKey::of(&cookie),
            Session {
                person,
                csrf,
                opened: now,
                seen: now,
            },
        );
        Ok(cookie)
    }

    /// Whose session a cookie is of. `counts`: it is used now.
    pub fn find(&self, cookie: &str, now: Instant, counts: bool) -> Option<Asker> {
        let key = SessionKey::of(cookie);
        let mut open = self.lock();
        let session = open.get_mut(&key)?;
        if self.is_over(session, now) {
            open.remove(&key);
            return None;
        }
        if counts {
            session.seen = now;
        }
        Some(Asker {
            person: session.person.clone(),
            csrf: session.csrf.clone(),
            session: Some(key),
        })
    }

    /// Whether it has not ended.
    pub fn is_open(&self, key: &SessionKey, now: Instant) -> bool {
        self.lock()
            .get(key)
            .is_some_and(|session| !self.is_over(session, now))
    }

    /// Ends one.
    pub fn end(&self, key: &SessionKey) {
        self.lock().remove(key);
    }

    fn is_over(&self, session: &Session, now: Instant) -> bool {
        now.saturating_duration_since(session.seen) >= self.idle
            || now.saturating_duration_since(session.opened) >= self.max
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, Session>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        admin::Peer,
        config::{Console, ConsoleAt},
    };

    fn person(uid: u32) -> Person {
        let peer = Peer {
            uid,
            gid: uid,
            pid: None,
            user: format!("user-{uid}"),
            groups: vec!["dba".into()],
            inside_job: None,
        };
        let console = Console {
            at: ConsoleAt::Socket("/x".into()),
            auditors: [].into(),
            viewers: [].into(),
        };
        Person::of_peer(&peer, &console).unwrap()
    }

    #[test]
    fn a_session_ends_when_it_is_idle_too_old_or_ended() {
        let (minute, now) = (Duration::from_mins(1), Instant::now());
        let sessions = Sessions::new(10 * minute, 25 * minute);
        let cookie = sessions.open(person(1), now).unwrap();
        assert!(sessions.find("other", now, true).is_none());
        assert!(sessions.find(&cookie, now + 9 * minute, true).is_some());
        // What the page asks for by itself does not count.
        assert!(sessions.find(&cookie, now + 18 * minute, false).is_some());
        assert!(sessions.find(&cookie, now + 19 * minute, true).is_none());
        let cookie = sessions.open(person(1), now).unwrap();
        for at in [8, 16, 24] {
            assert!(sessions.find(&cookie, now + at * minute, true).is_some());
        }
        assert!(sessions.find(&cookie, now + 25 * minute, true).is_none());
        let cookie = sessions.open(person(1), now).unwrap();
        sessions.end(&SessionKey::of(&cookie));
        assert!(sessions.find(&cookie, now, true).is_none());
    }

    #[test]
    fn sessions_differ_and_their_number_is_bounded() {
        let now = Instant::now();
        let sessions = Sessions::new(Duration::from_hours(1), Duration::from_hours(1));
        let first = sessions.open(person(1), now).unwrap();
        let asker = sessions.find(&first, now, true).unwrap();
        assert!(first.len() == 43 && asker.csrf.len() == 43 && first != asker.csrf);
        for second in 1..=u64::try_from(MAX_OF_ONE).unwrap() {
            sessions
                .open(person(1), now + Duration::from_secs(second))
                .unwrap();
        }
        assert!(
            sessions.find(&first, now, true).is_none(),
            "the oldest stays"
        );
        assert_eq!(sessions.lock().len(), MAX_OF_ONE);
        for uid in 0..u32::try_from(MAX_SESSIONS).unwrap() {
            sessions.open(person(uid + 2), now).unwrap();
        }
        assert_eq!(sessions.lock().len(), MAX_SESSIONS);
    }
}
