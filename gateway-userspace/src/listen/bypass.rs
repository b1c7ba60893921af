//! Attempts to get past the gateway: told in the operational log and in the evidence.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::{
    audit::BypassAttempted,
    identity::{Jobs, attribute},
    intercept::{BypassAttempt, Way},
    session::{Gate, process_record},
};

/// Entries that a job may cause at once; then one in [`REFILL`].
const BURST: u32 = 10;
const REFILL: Duration = Duration::from_secs(6);
/// How often it is looked for attempts that were not recorded and may be by now.
const FLUSH: Duration = Duration::from_secs(6);
/// Jobs and cgroups with an account of their own; the rest share one.
const ACCOUNTS: usize = 4096;

/// Reads what the programs report, and records it.
pub struct BypassWatch {
    jobs: Arc<Jobs>,
    gate: Arc<Gate>,
    accounts: HashMap<u64, Account>,
}

/// Keeps one job from filling the evidence.
struct Account {
    tokens: u32,
    filled: Instant,
    /// Attempts that were not recorded, the last one of them.
    held: u64,
    last: Option<BypassAttempt>,
}

impl BypassWatch {
    /// Records in the evidence of `gate` who of `jobs` tried what.
    pub fn new(jobs: Arc<Jobs>, gate: Arc<Gate>) -> Self {
        Self {
            jobs,
            gate,
            accounts: HashMap::new(),
        }
    }

    /// Runs for as long as attempts may come.
    pub async fn run(mut self, mut attempts: mpsc::Receiver<BypassAttempt>) {
        let mut tick = tokio::time::interval(FLUSH);
        loop {
            tokio::select! {
                attempt = attempts.recv() => match attempt {
                    Some(attempt) => self.take(attempt, Instant::now()).await,
                    None => return,
                },
                _ = tick.tick() => self.flush(Instant::now()).await,
            }
        }
    }

    async fn take(&mut self, attempt: BypassAttempt, now: Instant) {
        let of = attempt.conn.job_cgroup_id.unwrap_or(attempt.conn.cgroup_id);
        let of = if self.accounts.len() < ACCOUNTS || self.accounts.contains_key(&of) {
            of
        } else {
            0
        };
        let account = self.accounts.entry(of).or_insert_with(|| Account::new(now));
        if let Some(held) = account.pay(now) {
            account.last = None;
            self.record(&attempt, held).await;
        } else {
            account.held += 1;
            account.last = Some(attempt);
        }
    }

    /// Records what was held back, as soon as it may be, and forgets who has been quiet.
    async fn flush(&mut self, now: Instant) {
        let mut due = Vec::new();
        self.accounts.retain(|_, account| {
            if account.last.is_some()
                && let Some(held) = account.pay(now)
                && let Some(last) = account.last.take()
            {
                due.push((last, held.saturating_sub(1)));
            }
            account.tokens < BURST
        });
        for (attempt, held) in due {
            self.record(&attempt, held).await;
        }
    }

    async fn record(&self, attempt: &BypassAttempt, suppressed: u64) {
        let (job, process) = attribute(&attempt.conn, &self.jobs);
        let destination = attempt.destination().map(|to| to.to_string());
        let event = BypassAttempted {
            way: name(attempt.way).to_owned(),
            refused: attempt.refused,
            reason: reason(attempt, destination.as_deref()),
            job,
            process: process.as_ref().map(process_record),
            destination,
            source: attempt.client.map(|client| client.to_string()),
            suppressed,
        };
        self.gate.record_bypass(event).await;
    }
}

impl Account {
    fn new(now: Instant) -> Self {
        Self {
            tokens: BURST,
            filled: now,
            held: 0,
            last: None,
        }
    }

    /// Takes a token, and gives the number of attempts held back since the last one. `None` if
    /// there is no token.
    fn pay(&mut self, now: Instant) -> Option<u64> {
        let periods = now.saturating_duration_since(self.filled).as_millis() / REFILL.as_millis();
        if let Ok(periods @ 1..) = u32::try_from(periods) {
            self.tokens = self.tokens.saturating_add(periods).min(BURST);
            self.filled += REFILL * periods;
        }
        self.tokens = self.tokens.checked_sub(1)?;
        Some(std::mem::take(&mut self.held))
    }
}

/// The way in the evidence.
fn name(way: Way) -> &'static str {
    match way {
        Way::PostgresStartup => "postgres-startup",
        Way::PostgresTls => "postgres-tls",
        Way::MysqlStartup => "mysql-startup",
        Way::Obscured => "obscured",
        Way::StrayConnection => "stray-connection",
        Way::StrayPacket => "stray-packet",
        Way::RawSocket => "raw-socket",
        Way::DirectDial => "direct-dial",
    }
}

/// For people: what it was, the rule, and what would allow it.
fn reason(attempt: &BypassAttempt, destination: Option<&str>) -> String {
    let to = destination.unwrap_or("an unknown destination");
    let flow = |what: &str| {
        format!(
            "a connection to {to} begins as {what} does, and {to} is not protected; list it under `databases` to protect it, or under `intercept.recognise.except` if jobs may reach it"
        )
    };
    match attempt.way {
        Way::PostgresStartup => flow("PostgreSQL"),
        Way::PostgresTls => flow("PostgreSQL inside TLS"),
        Way::MysqlStartup => flow("MySQL"),
        Way::Obscured => format!(
            "a connection to {to} begins so that it cannot be told what it is (urgent data, or a TLS handshake in thousands of pieces); list {to} under `intercept.recognise.except` if jobs may reach it"
        ),
        Way::StrayConnection => format!(
            "a connection to the protected {to} does not come through Cordon: it is older than the programs in the kernel, or was made out of their sight; connect again"
        ),
        Way::StrayPacket => format!("a packet to the protected {to} that is no TCP connection's"),
        Way::RawSocket => "a raw socket, with which a job could build connections of its own; `intercept.recognise.action` says whether jobs may have them".to_owned(),
        Way::DirectDial => format!("the proxy's port {to} was dialled directly; dial the database's own address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_causes_a_burst_of_entries_and_then_one_in_a_while_with_the_number_held_back() {
        let start = Instant::now();
        let mut account = Account::new(start);
        for _ in 0..BURST {
            assert_eq!(account.pay(start), Some(0));
        }
        for _ in 0..7 {
            assert_eq!(account.pay(start), None);
            account.held += 1;
        }
        assert_eq!(account.pay(start + REFILL), Some(7));
        assert_eq!(account.pay(start + REFILL), None);
        assert_eq!(account.pay(start + REFILL * 3), Some(0));
        assert_eq!(account.pay(start + REFILL * 3), Some(0));
        assert_eq!(account.pay(start + REFILL * 3), None);
    }

    #[test]
    fn a_full_account_does_not_grow_beyond_its_burst() {
        let start = Instant::now();
        let mut account = Account::new(start);
        let later = start + REFILL * 1000;
        let paid = std::iter::from_fn(|| account.pay(later)).count();
        assert_eq!(paid, BURST as usize);
    }
}
