//! Waits: holds a statement until humans who are not its requester agree to exactly it.
//!
//! Every step is evidence, written through [`Ledger`] before it takes effect, and saved in a
//! [`Database`] that outlives the daemon. What an approval allows is fixed by its [`Binding`], and
//! used up by [`Approved::redeem`].

mod binding;
mod change;
mod database;
mod decide;
mod held;
mod item;
mod ledger;
mod outcome;
mod request;
mod store;
mod visible;

#[cfg(test)]
mod tests;

pub use binding::{Binding, Bound, BoundParameter};
pub use change::{Change, ChangeKind, Changes};
pub use database::{Database, OpenError, Row, SaveError};
pub use decide::{Approver, ApproverId, DecideError};
pub use held::{Held, Waiting};
pub use ledger::{Ledger, Recording};
pub use outcome::{ApprovalOutcome, Approved, RedeemError, Redeemed};
pub use request::ApprovalRequest;
pub use store::{Approvals, Asked, SubmitError};
pub use visible::{visible, visible_line};
