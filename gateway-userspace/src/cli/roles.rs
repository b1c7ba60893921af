//! Keeps the roles of jobs as they should be: in line with the policy, and gone when their jobs are.

use std::{fmt::Write as _, io, path::Path, sync::Arc, time::Duration};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::{Instant, MissedTickBehavior};

use crate::{session::Gate, upstream::JobRoles};

/// How often it is seen whether there is another policy.
const POLICY_EVERY: Duration = Duration::from_millis(200);
/// How often privileges are brought in line with what there is in the database.
const OBJECTS_EVERY: Duration = Duration::from_secs(10);
/// How often leftovers are looked for.
const CLEAN_EVERY: Duration = Duration::from_mins(1);

/// Runs as long as it is polled: leftovers go first.
pub async fn keep(roles: Arc<JobRoles>, gate: Arc<Gate>) {
    let mut policy = gate.policy();
    let (mut refreshed, mut cleaned) = (Instant::now(), None::<Instant>);
    let mut tick = tokio::time::interval(POLICY_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if cleaned.is_none_or(|cleaned| cleaned.elapsed() >= CLEAN_EVERY) {
            match roles.clean().await {
                Ok(0) => {}
                Ok(left) => tracing::warn!(
                    left,
                    "roles of ended jobs own objects and cannot be removed; take the objects over (REASSIGN OWNED) or drop them"
                ),
                Err(error) => tracing::error!(
                    error = %format!("{:#}", anyhow::Error::new(error)),
                    "roles of jobs that are gone cannot be looked for"
                ),
            }
            cleaned = Some(Instant::now());
        }
        let current = gate.policy();
        let changed = !Arc::ptr_eq(&current, &policy);
        if changed || refreshed.elapsed() >= OBJECTS_EVERY {
            roles.refresh(&current).await;
            (policy, refreshed) = (current, Instant::now());
            if changed {
                // Privileges that nobody needs any more.
                cleaned = None;
            }
        }
    }
}

/// What tells the roles of this host from those of others: 8 hex digits, random, and kept.
pub fn mark(state_dir: &Path) -> io::Result<String> {
    let path = state_dir.join("role-mark");
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let mark = text.trim();
            let fits = mark.len() == 8
                && mark
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            if fits {
                return Ok(mark.to_owned());
            }
            Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} does not hold 8 hex digits; restore it, or remove it and the roles cordon_* of this host",
                    path.display()
                ),
            ))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut bytes = [0; 4];
            SystemRandom::new()
                .fill(&mut bytes)
                .map_err(|_unspecified| io::Error::other("the system has no random numbers"))?;
            let mut mark = String::new();
            for byte in bytes {
                // Writing to a `String` cannot fail.
                let _ = write!(mark, "{byte:02x}");
            }
            let new = path.with_extension("new");
            std::fs::write(&new, &mark)?;
            std::fs::File::open(&new)?.sync_all()?;
            std::fs::rename(&new, &path)?;
            Ok(mark)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::mark;

    #[test]
    fn the_mark_is_made_once_and_a_damaged_one_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let first = mark(folder.path()).unwrap();
        assert_eq!(first.len(), 8);
        assert_eq!(mark(folder.path()).unwrap(), first);
        std::fs::write(folder.path().join("role-mark"), "'; DROP").unwrap();
        assert!(mark(folder.path()).is_err());
    }
}
