//! The order of things for one session: admit, understand, decide, record, mask, complete.
//!
//! A protocol sees only [`Gate`] and [`Session`]. What may go to a database is a value: a
//! [`Permit`] exists only once its decision is on record.

#[cfg(feature = "bench")]
mod bench;
mod confirm;
mod effect;
mod estimate;
mod explained;
mod gate;
mod guard;
mod hold;
mod limit;
mod names;
mod opening;
mod parameter;
mod permit;
mod reading;
mod recent;
mod record;
mod recording;
mod refusal;
mod rehearsal;
mod result;
#[cfg(any(test, feature = "bench"))]
mod seat;
#[cfg(test)]
mod tests;
mod understand;
mod understood;

#[cfg(feature = "bench")]
pub use bench::Desk;
pub use confirm::{LOCKS, Unexplained};
pub use effect::{CursorChange, PreparedChange, SessionEffect};
pub use estimate::{CAN_ESTIMATE, ESTIMATE, estimated_rows};
pub use explained::{
    CatalogView, ErrorView, ExplainError, Explained, ExplainedStatement, OpenCatalog, explained,
};
pub use gate::*;
pub use guard::{GUARD, GUARD_CHANGED};
pub use hold::Hold;
pub use limit::{Allowance, LimitReached, Volume};
pub use names::*;
pub use opening::*;
pub use parameter::Parameter;
pub use permit::{Outcome, OutcomeKind, Permit, hex};
pub use recording::{Batch, Blotter, Direction, Recording, Retention, Withheld};
pub use refusal::*;
pub use rehearsal::Rehearsal;
pub use result::check_origins;
pub use understand::shadows_system;
pub use understood::*;
