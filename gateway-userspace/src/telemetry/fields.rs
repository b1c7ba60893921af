//! Names of the fields of log lines, so that one thing has one name everywhere.

/// Job id.
pub const JOB: &str = "job";
/// Session id.
pub const SESSION: &str = "session";
/// Approval id.
pub const APPROVAL: &str = "approval";
/// Issuer's configured name.
pub const ISSUER: &str = "issuer";
/// Database's configured name.
pub const DATABASE: &str = "database";
/// Process id.
pub const PID: &str = "pid";
/// User id.
pub const UID: &str = "uid";
/// Why something ended or was refused.
pub const REASON: &str = "reason";
/// What failed, with its causes.
pub const ERROR: &str = "error";
