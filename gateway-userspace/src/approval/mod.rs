//! Waits: holds a statement until humans who are not its requester agree to exactly it.
//!
//! The store lives in memory; every step is evidence, written through [`Ledger`] before it takes
//! effect. What an approval allows is fixed by its [`Binding`]; the proof of it, [`Approved`], is
//! used up by [`Approved::redeem`].

mod binding;
mod decide;
mod held;
mod ledger;
mod outcome;
mod request;
mod store;
mod visible;

#[cfg(test)]
mod tests;

pub use binding::{Binding, Bound, BoundParameter};
pub use decide::{Approver, DecideError};
pub use held::Held;
pub use ledger::{Ledger, Recording};
pub use outcome::{ApprovalOutcome, Approved, RedeemError, Redeemed};
pub use request::ApprovalRequest;
pub use store::{Approvals, SubmitError};
pub use visible::{visible, visible_line};
