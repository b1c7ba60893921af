//! A statement with its verdict.

use std::sync::{Arc, OnceLock};

use super::{SessionEffect, reading::Reading};
use crate::{
    masking::{ColumnShape, CopyFormat, UnknownFormat},
    policy::{ApprovalRequirement, Obligations, Reason, Verdict},
    sql::{Access, RelationUse, Statement, StatementKind},
};

/// A statement, understood in the session's names and judged by its policy. Valid as long as
/// neither changes.
#[derive(Debug)]
pub struct Understood {
    pub(super) reading: Arc<Reading>,
    pub(super) verdict: Verdict,
    pub(super) generation: u64,
    pub(super) protects: bool,
    pub(super) masked: Vec<String>,
    /// What it means changes with every cursor and prepared statement: never kept.
    pub(super) fleeting: bool,
    /// The result columns as the server described them; `None` inside: it returns no rows.
    pub shape: OnceLock<Option<Arc<[ColumnShape]>>>,
}

impl Understood {
    pub(super) fn new(
        reading: Arc<Reading>,
        verdict: Verdict,
        generation: u64,
        protects: bool,
    ) -> Self {
        let statement = reading.statement();
        let fleeting =
            statement.executes.is_some() || matches!(statement.kind, StatementKind::Fetch { .. });
        let masked = match verdict_obligations(&verdict) {
            Some(obligations) => obligations
                .redactions
                .iter()
                .map(|redaction| {
                    let name = statement
                        .output
                        .as_ref()
                        .and_then(|columns| columns.get(redaction.column))
                        .map_or("?", |column| column.name.as_str());
                    match &redaction.path {
                        None => format!("{name}: {}", redaction.mask),
                        Some(path) => format!("{name} {path}: {}", redaction.mask),
                    }
                })
                .collect(),
            None => Vec::new(),
        };
        Self {
            masked,
            reading,
            verdict,
            generation,
            protects,
            fleeting,
            shape: OnceLock::new(),
        }
    }

    /// The text to be sent.
    pub fn text(&self) -> &str {
        &self.statement().text
    }

    /// For what runs a prepared statement: its name, as long as it is not resolved.
    pub fn executes(&self) -> Option<&str> {
        self.statement().executes.as_deref()
    }

    /// It reads `pg_prepared_statements`.
    pub fn lists_prepared(&self) -> bool {
        self.reading.lists_prepared()
    }

    /// COPY FROM STDIN: the client's data follows.
    pub fn copies_in(&self) -> bool {
        matches!(self.statement().kind, StatementKind::CopyIn)
    }

    /// COPY TO STDOUT: the statement that returns what it sends, for the shape of the data.
    pub fn copy_source(&self) -> Option<&str> {
        match &self.statement().kind {
            StatementKind::CopyOut { source, .. } => source.as_deref(),
            _ => None,
        }
    }

    /// COPY TO STDOUT: how its rows are written.
    pub fn copy_format(&self) -> Option<Result<CopyFormat, UnknownFormat>> {
        match &self.statement().kind {
            StatementKind::CopyOut { options, .. } => Some(CopyFormat::parse(options.as_deref())),
            _ => None,
        }
    }

    /// The server runs all of it before it describes its rows: all but a query that writes nothing.
    pub fn gathers(&self) -> bool {
        let writes = |used: &RelationUse| {
            used.access.contains(&Access::Insert)
                || used.access.contains(&Access::Delete)
                || used
                    .columns
                    .values()
                    .any(|uses| uses.iter().any(|how| how.is_written()))
        };
        self.statement().kind != StatementKind::Select
            || self.statement().relations.iter().any(writes)
    }

    /// What it changes in the session once it has completed.
    pub fn effect(&self) -> SessionEffect {
        self.reading.effect().clone()
    }

    /// The server's errors and notices may quote protected values.
    pub fn protects(&self) -> bool {
        self.protects
    }

    /// Masks have to be bound to the result's columns before it runs.
    pub fn needs_shape(&self) -> bool {
        match &self.verdict {
            Verdict::Allow(obligations) | Verdict::RequireApproval { obligations, .. } => {
                !obligations.redactions.is_empty()
                    || (self.statement().output.is_some()
                        && (self.protects || !obligations.detections.is_empty()))
                    // CALL returns what the procedure puts into its parameters.
                    || (self.statement().kind == StatementKind::Procedural
                        && !obligations.detections.is_empty())
            }
            Verdict::Deny(_) => false,
        }
    }

    /// What the analysis found.
    pub fn statement(&self) -> &Statement {
        self.reading.statement()
    }

    /// It waits for people before it runs.
    pub fn is_held(&self) -> bool {
        self.requirement().is_some()
    }

    /// Policy denies it.
    pub fn is_denied(&self) -> bool {
        matches!(self.verdict, Verdict::Deny(_))
    }

    pub(super) fn obligations(&self) -> Option<&Obligations> {
        verdict_obligations(&self.verdict)
    }

    pub(super) fn requirement(&self) -> Option<(&ApprovalRequirement, &Reason)> {
        match &self.verdict {
            Verdict::RequireApproval {
                requirement,
                reason,
                ..
            } => Some((requirement, reason)),
            Verdict::Allow(_) | Verdict::Deny(_) => None,
        }
    }

    /// Writes, defines or was held: its decision is on disk before it runs, whatever is
    /// configured.
    pub(super) fn is_risky(&self) -> bool {
        matches!(self.verdict, Verdict::RequireApproval { .. })
            || self
                .obligations()
                .is_some_and(|obligations| obligations.observed.is_some())
            || !self.statement().ddl.is_empty()
            || self.statement().relations.iter().any(|relation| {
                relation.access.iter().any(|access| match access {
                    Access::Delete | Access::Truncate => true,
                    Access::Select | Access::Insert | Access::Update | Access::Lock => false,
                })
            })
    }
}

fn verdict_obligations(verdict: &Verdict) -> Option<&Obligations> {
    match verdict {
        Verdict::Allow(obligations) | Verdict::RequireApproval { obligations, .. } => {
            Some(obligations)
        }
        Verdict::Deny(_) => None,
    }
}
