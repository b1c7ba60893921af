//! The requests of one host, in memory.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use crate::{
    admin::ApprovalView,
    audit::{AppendError, ApprovalExpired, ApprovalWithdrawn, Event, rfc3339, to_hex, wall_micros},
};

use super::{
    held::Held,
    ledger::Ledger,
    outcome::{ApprovalOutcome, Approved},
    request::ApprovalRequest,
};

/// Requests open at once, on one host and in one job.
const MAX_OPEN: usize = 1_024;
const MAX_OPEN_PER_JOB: usize = 64;
/// Ended requests that can still be looked at.
const MAX_ENDED: usize = 256;
/// No statement is held longer, whatever a policy says.
const MAX_HOLD: Duration = Duration::from_hours(24 * 7);

/// A request cannot be held.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// Too many are waiting.
    #[error("too many statements are waiting for approval already; let some be answered first")]
    TooMany,
    /// It is not on record.
    #[error("the request for approval is not on record")]
    Record(#[from] AppendError),
    /// No randomness for its id.
    #[error("no random id for the request for approval")]
    Random,
}

/// The host's requests for approval. A clone is the same store.
#[derive(Clone)]
pub struct Approvals {
    pub(super) ledger: Arc<dyn Ledger>,
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    next: u64,
    open: BTreeMap<String, Arc<Item>>,
    ended: VecDeque<Arc<Item>>,
}

/// One request.
pub(super) struct Item {
    pub(super) id: String,
    /// Order of arrival.
    order: u64,
    pub(super) request: ApprovalRequest,
    created: String,
    expires: String,
    pub(super) deadline: Instant,
    state: Mutex<State>,
    /// Told at every change of the status.
    pub(super) changed: Notify,
    /// Held while an answer is put on record: answers are taken one after the other.
    pub(super) deciding: tokio::sync::Mutex<()>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) status: Status,
    /// Who has approved.
    pub(super) votes: Vec<Vote>,
    timer: Option<AbortHandle>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Status {
    #[default]
    Pending,
    Approved {
        /// The proof has been handed out.
        taken: bool,
    },
    Denied {
        by: String,
        reason: Option<String>,
    },
    Expired,
    Withdrawn {
        reason: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vote {
    pub(super) name: String,
    pub(super) uid: u32,
    /// Their approvers' groups.
    pub(super) groups: Vec<String>,
}

impl Approvals {
    /// An empty store that records its steps in `ledger`.
    pub fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self {
            ledger,
            table: Arc::default(),
        }
    }

    /// Puts a request on record and opens it to the approvers. The answer comes by
    /// [`Held::wait`]; dropping what this returns withdraws the request.
    pub async fn submit(&self, request: ApprovalRequest) -> Result<Held, SubmitError> {
        let id = new_id().ok_or(SubmitError::Random)?;
        let hold = request.requirement.hold.min(MAX_HOLD);
        let now = wall_micros();
        let expires =
            rfc3339(now.saturating_add(u64::try_from(hold.as_micros()).unwrap_or(u64::MAX)));
        let deadline = Instant::now() + hold;
        self.room_for(&request.job)?;
        self.ledger
            .record(Event::ApprovalRequested(request.evidence(&id, &expires)))
            .await?;
        let item = {
            let mut table = self.lock();
            table.next += 1;
            let item = Arc::new(Item {
                id: id.clone(),
                order: table.next,
                request,
                created: rfc3339(now),
                expires,
                deadline,
                state: Mutex::default(),
                changed: Notify::new(),
                deciding: tokio::sync::Mutex::default(),
            });
            table.open.insert(id, Arc::clone(&item));
            item
        };
        let timer = tokio::spawn(expire(self.clone(), Arc::clone(&item)));
        item.lock().timer = Some(timer.abort_handle());
        Ok(Held::new(self.clone(), item))
    }

    /// Takes a request back. Says whether it was still open.
    pub fn withdraw(&self, id: &str, reason: &str) -> bool {
        let item = self.lock().open.get(id).cloned();
        item.is_some_and(|item| {
            self.end(
                &item,
                Status::Withdrawn {
                    reason: reason.to_owned(),
                },
            )
        })
    }

    /// Takes back all requests of a job: it has ended.
    pub fn withdraw_job(&self, job: &str, reason: &str) {
        let items: Vec<_> = self
            .lock()
            .open
            .values()
            .filter(|item| item.request.job == job)
            .cloned()
            .collect();
        for item in items {
            self.end(
                &item,
                Status::Withdrawn {
                    reason: reason.to_owned(),
                },
            );
        }
    }

    /// Open requests and the last ones that ended, oldest first.
    pub fn list(&self) -> Vec<ApprovalView> {
        let mut items: Vec<_> = {
            let table = self.lock();
            table.open.values().chain(&table.ended).cloned().collect()
        };
        items.sort_by_key(|item| item.order);
        items.iter().map(|item| item.view()).collect()
    }

    /// Number of open requests.
    pub fn open(&self) -> usize {
        self.lock().open.len()
    }

    /// One request, by its id or an unambiguous prefix.
    pub fn show(&self, id_or_prefix: &str) -> Result<ApprovalView, super::DecideError> {
        self.find(id_or_prefix).map(|item| item.view())
    }

    /// Open requests are looked at first: a prefix that names one open and one ended request
    /// means the open one.
    pub(super) fn find(&self, id_or_prefix: &str) -> Result<Arc<Item>, super::DecideError> {
        let wanted = id_or_prefix.strip_prefix("apr-").unwrap_or(id_or_prefix);
        let unknown = || super::DecideError::Unknown(id_or_prefix.to_owned());
        if wanted.is_empty() {
            return Err(unknown());
        }
        let table = self.lock();
        let matching = |item: &&Arc<Item>| {
            item.id
                .strip_prefix("apr-")
                .is_some_and(|id| id.starts_with(wanted))
        };
        let mut found: Vec<_> = table.open.values().filter(matching).collect();
        if found.is_empty() {
            found = table.ended.iter().filter(matching).collect();
        }
        match found.as_slice() {
            [] => Err(unknown()),
            [item] => Ok(Arc::clone(item)),
            _ => Err(super::DecideError::Ambiguous(id_or_prefix.to_owned())),
        }
    }

    /// Ends an open request; false if it has ended already. What only takes something away is
    /// recorded here; answers are recorded before.
    pub(super) fn end(&self, item: &Arc<Item>, status: Status) -> bool {
        let event = match &status {
            Status::Expired => Some(Event::ApprovalExpired(ApprovalExpired {
                approval: item.id.clone(),
            })),
            Status::Withdrawn { reason } => Some(Event::ApprovalWithdrawn(ApprovalWithdrawn {
                approval: item.id.clone(),
                reason: reason.clone(),
            })),
            Status::Pending | Status::Approved { .. } | Status::Denied { .. } => None,
        };
        {
            let mut state = item.lock();
            if state.status != Status::Pending {
                return false;
            }
            state.status = status;
            if let Some(timer) = state.timer.take() {
                timer.abort();
            }
            if let Some(event) = event {
                self.ledger.record_later(event);
            }
        }
        let mut table = self.lock();
        if let Some(item) = table.open.remove(&item.id) {
            table.ended.push_back(item);
            if table.ended.len() > MAX_ENDED {
                table.ended.pop_front();
            }
        }
        drop(table);
        item.changed.notify_waiters();
        true
    }

    fn room_for(&self, job: &str) -> Result<(), SubmitError> {
        let table = self.lock();
        let of_job = table
            .open
            .values()
            .filter(|item| item.request.job == job)
            .count();
        if table.open.len() >= MAX_OPEN || of_job >= MAX_OPEN_PER_JOB {
            Err(SubmitError::TooMany)
        } else {
            Ok(())
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Approvals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Approvals")
            .field("open", &self.open())
            .finish_non_exhaustive()
    }
}

impl Item {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn view(&self) -> ApprovalView {
        let mut view = self.request.view(&self.id, &self.created, &self.expires);
        let state = self.lock();
        state.status.name().clone_into(&mut view.state);
        for (need, quorum) in view.needs.iter_mut().zip(&self.request.requirement.quorums) {
            need.approved = quorum.met(state.groups());
        }
        view.approved_by = state.names();
        view
    }

    /// How it ended; `None` while it is open. The proof of an approval is handed out once.
    pub(super) fn take_outcome(&self, ledger: &Arc<dyn Ledger>) -> Option<ApprovalOutcome> {
        let mut state = self.lock();
        let by = state.names();
        match &mut state.status {
            Status::Pending => None,
            Status::Approved { taken: true } => Some(ApprovalOutcome::Withdrawn {
                reason: "its approval has been used".to_owned(),
            }),
            Status::Approved { taken } => {
                *taken = true;
                let proof = Approved {
                    id: self.id.clone(),
                    binding: self.request.binding,
                    by: by.clone(),
                    deadline: self.deadline,
                    ledger: Arc::clone(ledger),
                };
                Some(ApprovalOutcome::Approved { by, proof })
            }
            Status::Denied { by, reason } => Some(ApprovalOutcome::Denied {
                by: by.clone(),
                reason: reason.clone(),
            }),
            Status::Expired => Some(ApprovalOutcome::Expired),
            Status::Withdrawn { reason } => Some(ApprovalOutcome::Withdrawn {
                reason: reason.clone(),
            }),
        }
    }
}

impl State {
    /// The groups of each who has approved.
    pub(super) fn groups(&self) -> impl Iterator<Item = &[String]> {
        self.votes.iter().map(|vote| vote.groups.as_slice())
    }

    fn names(&self) -> Vec<String> {
        self.votes.iter().map(|vote| vote.name.clone()).collect()
    }
}

impl Status {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved { .. } => "approved",
            Self::Denied { .. } => "denied",
            Self::Expired => "expired",
            Self::Withdrawn { .. } => "withdrawn",
        }
    }
}

async fn expire(store: Approvals, item: Arc<Item>) {
    sleep_until(item.deadline).await;
    store.end(&item, Status::Expired);
}

/// `apr-` and 12 hex digits.
fn new_id() -> Option<String> {
    let mut bytes = [0; 6];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(format!("apr-{}", to_hex(&bytes)))
}
