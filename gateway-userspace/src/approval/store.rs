//! The requests of one host: in memory, and on disk as they change.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::{
    sync::broadcast,
    time::{Instant, sleep_until},
};

use crate::{
    admin::ApprovalView,
    audit::{AppendError, ApprovalWithdrawn, Event, rfc3339, to_hex, wall_micros},
    policy::OnHold,
};

use super::{
    change::{BACKLOG, Change, ChangeKind, Changes},
    database::{Database, Row, SaveError},
    held::{Held, Waiting},
    item::{Item, Status},
    ledger::Ledger,
    outcome::Approved,
    request::ApprovalRequest,
};

/// Requests open at once, on one host and in one job.
const MAX_OPEN: usize = 1_024;
const MAX_OPEN_PER_JOB: usize = 64;
/// Ended requests that can still be looked at.
pub(super) const MAX_ENDED: usize = 256;
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
    /// It is not on disk.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// No randomness for its id.
    #[error("no random id for the request for approval")]
    Random,
}

/// What becomes of a statement that is refused until it is approved.
#[derive(Debug)]
pub enum Asked {
    /// It was approved before: it may run now, this once.
    Approved(Approved),
    /// It waits for an answer, since now or since it was sent before.
    Waits(Waiting),
}

/// The host's requests for approval. A clone is the same store.
///
/// Everybody who shows or answers requests uses [`Self::list`], [`Self::show`],
/// [`Self::decide`] and [`Self::subscribe`]; what they see is an [`ApprovalView`]. Sessions
/// [`submit`](Self::submit) statements that wait on their connection, and [`ask`](Self::ask) about
/// those that are refused until they are approved.
#[derive(Clone)]
pub struct Approvals {
    pub(super) ledger: Arc<dyn Ledger>,
    database: Option<Database>,
    table: Arc<Mutex<Table>>,
    changes: broadcast::Sender<Change>,
}

#[derive(Default)]
struct Table {
    /// Order of the last arrival.
    last: u64,
    /// Can be answered or used.
    live: BTreeMap<String, Arc<Item>>,
    ended: VecDeque<(u64, ApprovalView)>,
}

impl Approvals {
    /// An empty store in memory only, that records its steps in `ledger`.
    pub fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self {
            ledger,
            database: None,
            table: Arc::default(),
            changes: broadcast::Sender::new(BACKLOG),
        }
    }

    /// A store on disk, with the requests that were found there. No session and no job outlives the
    /// daemon, so what had not ended is withdrawn, on record; the ids of those come too.
    pub fn resume(
        ledger: Arc<dyn Ledger>,
        database: Database,
        rows: Vec<Row>,
    ) -> (Self, Vec<String>) {
        let mut withdrawn = Vec::new();
        let store = Self {
            database: Some(database),
            ..Self::new(ledger)
        };
        let mut table = store.lock();
        for mut row in rows {
            table.last = table.last.max(row.arrival);
            if row.live {
                let reason = if row.view.state == "approved" {
                    "the daemon stopped before the approved statement ran"
                } else {
                    "the daemon was restarted: the session that waited is gone"
                };
                store.withdrawn_at_start(&mut row, reason);
                withdrawn.push(row.view.id.clone());
            }
            table.keep(row.arrival, row.view);
        }
        drop(table);
        (store, withdrawn)
    }

    fn withdrawn_at_start(&self, row: &mut Row, reason: &str) {
        self.ledger
            .record_later(Event::ApprovalWithdrawn(ApprovalWithdrawn {
                approval: row.view.id.clone(),
                reason: reason.to_owned(),
            }));
        row.live = false;
        "withdrawn".clone_into(&mut row.view.state);
        row.view.ended = Some(rfc3339(wall_micros()));
        row.view.ended_because = Some(reason.to_owned());
        self.save_later(row.clone());
    }

    /// Follows what happens to requests from now on. To miss nothing, subscribe first, then
    /// read [`Self::list`].
    pub fn subscribe(&self) -> Changes {
        self.changes.subscribe()
    }

    /// Puts a request on record and opens it to the approvers. The answer comes by
    /// [`Held::wait`]; dropping what this returns withdraws the request.
    ///
    /// # Errors
    /// If it is not on record and on disk, or too many wait already.
    pub async fn submit(&self, request: ApprovalRequest) -> Result<Held, SubmitError> {
        let item = self.open_request(request).await?;
        Ok(Held::new(self.clone(), item))
    }

    /// Asks about a statement that does not wait on its connection: whether it was approved, or
    /// waits already, and if neither puts a request on record. Only the same binding and the same
    /// requirement count.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub async fn ask(&self, request: ApprovalRequest) -> Result<Asked, SubmitError> {
        let same = |item: &&Arc<Item>| {
            item.request.job == request.job
                && item.request.requirement.on_hold == OnHold::Refuse
                && item.request.binding == request.binding
        };
        let found = self.lock().live.values().find(same).cloned();
        if let Some(item) = found {
            if item.request.requirement != request.requirement {
                let reason = "the policy asks for another approval now";
                self.end(&item, Status::withdrawn(reason));
            } else if item.is_approved() {
                return Ok(Asked::Approved(Approved::new(self.clone(), item)));
            } else {
                return Ok(Asked::Waits(Waiting::new(self.clone(), item)));
            }
        }
        let item = self.open_request(request).await?;
        Ok(Asked::Waits(Waiting::new(self.clone(), item)))
    }

    async fn open_request(&self, request: ApprovalRequest) -> Result<Arc<Item>, SubmitError> {
        let id = new_id().ok_or(SubmitError::Random)?;
        let hold = request.requirement.hold.min(MAX_HOLD);
        let (expires, deadline) = in_time(hold);
        self.room_for(&request.job)?;
        self.ledger
            .record(Event::ApprovalRequested(request.evidence(&id, &expires)))
            .await?;
        let item = {
            let mut table = self.lock();
            table.last += 1;
            Arc::new(Item::new(id, table.last, request, expires, deadline))
        };
        if let Err(error) = self.save(item.row()).await {
            let reason = format!("it was never opened: {error}");
            item.lock().status = Status::withdrawn(&reason);
            self.save_later(item.row());
            self.ledger
                .record_later(Event::ApprovalWithdrawn(ApprovalWithdrawn {
                    approval: item.id.clone(),
                    reason,
                }));
            return Err(error.into());
        }
        self.lock().live.insert(item.id.clone(), Arc::clone(&item));
        self.tell(&item.id, ChangeKind::Requested);
        self.time(&item, deadline);
        Ok(item)
    }

    /// More is known of a request.
    pub(super) fn estimated(&self, item: &Item, rows: u64) {
        let mut state = item.lock();
        state.estimated_rows = Some(rows);
        self.save_later(item.row_of(&state));
        drop(state);
        self.tell(&item.id, ChangeKind::Updated);
    }

    /// Takes a request back. Says whether it was still open, or approved and not used.
    pub fn withdraw(&self, id: &str, reason: &str) -> bool {
        let item = self.lock().live.get(id).cloned();
        item.is_some_and(|item| self.end(&item, Status::withdrawn(reason)))
    }

    /// Takes back all requests of a job: it has ended.
    pub fn withdraw_job(&self, job: &str, reason: &str) {
        let items: Vec<_> = self
            .lock()
            .live
            .values()
            .filter(|item| item.request.job == job)
            .cloned()
            .collect();
        for item in items {
            self.end(&item, Status::withdrawn(reason));
        }
    }

    /// Open requests and the last ones that ended, oldest first.
    pub fn list(&self) -> Vec<ApprovalView> {
        let (mut views, items) = {
            let table = self.lock();
            let ended: Vec<_> = table.ended.iter().cloned().collect();
            let live: Vec<_> = table.live.values().cloned().collect();
            (ended, live)
        };
        views.extend(items.iter().map(|item| (item.arrival, item.view())));
        views.sort_by_key(|(arrival, _)| *arrival);
        views.into_iter().map(|(_, view)| view).collect()
    }

    /// Number of requests that wait for an answer.
    pub fn open(&self) -> usize {
        let table = self.lock();
        table
            .live
            .values()
            .filter(|item| !item.is_approved())
            .count()
    }

    /// One request, by its id or an unambiguous prefix.
    ///
    /// # Errors
    /// If there is none, or several.
    pub fn show(&self, id_or_prefix: &str) -> Result<ApprovalView, super::DecideError> {
        match self.find(id_or_prefix)? {
            Found::Live(item) => Ok(item.view()),
            Found::Ended(view) => Ok(*view),
        }
    }

    /// Open requests are looked at first: a prefix that names one open and one ended request
    /// means the open one.
    pub(super) fn find(&self, id_or_prefix: &str) -> Result<Found, super::DecideError> {
        let wanted = id_or_prefix.strip_prefix("apr-").unwrap_or(id_or_prefix);
        let unknown = || super::DecideError::Unknown(id_or_prefix.to_owned());
        if wanted.is_empty() {
            return Err(unknown());
        }
        let matching = |id: &str| {
            id.strip_prefix("apr-")
                .is_some_and(|id| id.starts_with(wanted))
        };
        let table = self.lock();
        let mut live = table.live.values().filter(|item| matching(&item.id));
        match (live.next(), live.next()) {
            (Some(item), None) => return Ok(Found::Live(Arc::clone(item))),
            (Some(_), Some(_)) => {
                return Err(super::DecideError::Ambiguous(id_or_prefix.to_owned()));
            }
            (None, _) => {}
        }
        let mut ended = table.ended.iter().filter(|(_, view)| matching(&view.id));
        match (ended.next(), ended.next()) {
            (Some((_, view)), None) => Ok(Found::Ended(Box::new(view.clone()))),
            (Some(_), Some(_)) => Err(super::DecideError::Ambiguous(id_or_prefix.to_owned())),
            (None, _) => Err(unknown()),
        }
    }

    /// Ends a request, or approves it; false if it is in no state for that. What only takes
    /// something away is recorded here; answers are recorded before.
    pub(super) fn end(&self, item: &Arc<Item>, status: Status) -> bool {
        let kind = status.change();
        let event = status.event(&item.id);
        let ends = status.is_end();
        {
            let mut state = item.lock();
            if !state.status.may_become(&status) {
                return false;
            }
            state.status = status;
            if ends {
                state.ended = Some(rfc3339(wall_micros()));
                state.stop_timer();
            }
            if let Some(event) = event {
                self.ledger.record_later(event);
            }
            self.save_later(item.row_of(&state));
        }
        if ends {
            let mut table = self.lock();
            if let Some(item) = table.live.remove(&item.id) {
                let view = item.view();
                table.keep(item.arrival, view);
            }
        } else if item.request.requirement.on_hold == OnHold::Refuse {
            // From now on it waits to be used.
            let (expires, deadline) = in_time(item.request.requirement.hold.min(MAX_HOLD));
            let mut state = item.lock();
            state.expires = expires;
            state.deadline = deadline;
            self.save_later(item.row_of(&state));
            drop(state);
            self.time(item, deadline);
        }
        item.changed.notify_waiters();
        self.tell(&item.id, kind);
        true
    }

    /// Tells the followers. Nobody listening is fine.
    pub(super) fn tell(&self, id: &str, kind: ChangeKind) {
        let _nobody = self.changes.send(Change {
            id: id.to_owned(),
            kind,
        });
    }

    /// Resolves once the row is on disk, if there is one.
    pub(super) fn save(
        &self,
        row: Row,
    ) -> impl Future<Output = Result<(), SaveError>> + Send + use<> {
        let saving = self.database.as_ref().map(|database| database.save(row));
        async {
            match saving {
                Some(saving) => saving.await,
                None => Ok(()),
            }
        }
    }

    /// Resolves once all that has happened is on disk.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn flush(&self) -> Result<(), SaveError> {
        match &self.database {
            Some(database) => database.flush().await,
            None => Ok(()),
        }
    }

    pub(super) fn save_later(&self, row: Row) {
        if let Some(database) = &self.database {
            database.save_later(row);
        }
    }

    /// Ends the request at its deadline, unless something else does before.
    fn time(&self, item: &Arc<Item>, deadline: Instant) {
        let timer = tokio::spawn(expire(self.clone(), Arc::clone(item), deadline));
        let mut state = item.lock();
        state.stop_timer();
        if state.status.is_end() {
            timer.abort();
        } else {
            state.timer = Some(timer.abort_handle());
        }
    }

    fn room_for(&self, job: &str) -> Result<(), SubmitError> {
        let table = self.lock();
        let of_job = table
            .live
            .values()
            .filter(|item| item.request.job == job)
            .count();
        if table.live.len() >= MAX_OPEN || of_job >= MAX_OPEN_PER_JOB {
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

impl Table {
    fn keep(&mut self, arrival: u64, view: ApprovalView) {
        self.ended.push_back((arrival, view));
        if self.ended.len() > MAX_ENDED {
            self.ended.pop_front();
        }
    }
}

/// What an id names.
pub(super) enum Found {
    Live(Arc<Item>),
    Ended(Box<ApprovalView>),
}

/// The end of a time from now: as shown, and as waited for.
fn in_time(hold: Duration) -> (String, Instant) {
    let micros = u64::try_from(hold.as_micros()).unwrap_or(u64::MAX);
    (
        rfc3339(wall_micros().saturating_add(micros)),
        Instant::now() + hold,
    )
}

async fn expire(store: Approvals, item: Arc<Item>, deadline: Instant) {
    sleep_until(deadline).await;
    store.end(&item, Status::Expired);
}

/// `apr-` and 12 hex digits.
fn new_id() -> Option<String> {
    let mut bytes = [0; 6];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(format!("apr-{}", to_hex(&bytes)))
}
