//! The policies the tests use.

/// Masks, grants, approvals and a refused table, as a team would write them.
pub const SHOP: &str = include_str!("../fixtures/policies/shop.yaml");
/// As [`SHOP`], without anything that is held.
pub const NO_APPROVALS: &str = include_str!("../fixtures/policies/no-approvals.yaml");
/// Every change is held for one second.
pub const SHORT_HOLD: &str = include_str!("../fixtures/policies/short-hold.yaml");
/// Everything is allowed, nothing masked.
pub const ALLOW_ALL: &str = include_str!("../fixtures/policies/allow-all.yaml");
/// A role per job, which holds what the shop's agent needs.
pub const PER_JOB: &str = include_str!("../fixtures/policies/per-job.yaml");
