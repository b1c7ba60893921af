//! What happens to requests, for those who follow along: the console, webhooks.

use tokio::sync::broadcast;

/// Changes that a follower may be behind before it is told that it missed some.
pub(super) const BACKLOG: usize = 1_024;

/// Something happened to a request. What it looks like now is told by
/// [`Approvals::show`](super::Approvals::show).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Approval id.
    pub id: String,
    /// What.
    pub kind: ChangeKind,
}

/// What happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// It is new.
    Requested,
    /// More is known of it; its state is the same.
    Updated,
    /// Somebody approved; the view's state tells whether that was enough.
    Approved,
    /// Somebody denied it.
    Denied,
    /// It was approved, and what it asked for was let through, this once.
    Used,
    /// Nobody answered in time, or it was not used in time.
    Expired,
    /// It was taken back: cancelled, disconnected, the job ended, or it changed its meaning.
    Withdrawn,
}

/// Receives changes in the order in which they took effect. A follower that is more than 1,024
/// changes behind gets [`Lagged`](broadcast::error::RecvError::Lagged) and must read
/// [`Approvals::list`](super::Approvals::list) again.
pub type Changes = broadcast::Receiver<Change>;
