//! A statement with its verdict, and what it changes in the session.

use std::sync::{Arc, OnceLock, atomic::AtomicBool};

use super::guard::Relies;
use crate::{
    masking::{Blotter, ColumnShape, CopyFormat, UnknownFormat},
    policy::{ApprovalRequirement, Obligations, Reason, Verdict},
    sql::{
        Access, DdlAction, FunctionClass, RelationUse, SettingChange, Statement, StatementKind,
        TransactionControl,
    },
};

/// A statement, understood in the session's names and judged by its policy. Valid as long as
/// neither changes.
#[derive(Debug)]
pub struct Understood {
    pub(super) statement: Arc<Statement>,
    pub(super) verdict: Verdict,
    pub(super) generation: u64,
    pub(super) protects: bool,
    /// What must not have changed when it runs.
    pub(super) relies: Option<Relies>,
    lists_prepared: bool,
    pub(super) relations: Vec<String>,
    pub(super) effects: Vec<String>,
    pub(super) masked: Vec<String>,
    text: String,
    /// As the evidence has it; `None` inside: as it is.
    recorded: OnceLock<Option<Box<str>>>,
    effect: SessionEffect,
    /// The text whose reading the server has to confirm; `None`: Parse finds nothing in it.
    pub(super) confirms: Option<String>,
    /// It has.
    pub(super) confirmed: Arc<AtomicBool>,
    /// What it means changes with every cursor and prepared statement: never kept.
    pub(super) fleeting: bool,
    /// The result columns as the server described them; `None` inside: it returns no rows.
    pub shape: OnceLock<Option<Arc<[ColumnShape]>>>,
}

/// What a completed statement changes in the session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionEffect {
    /// What names mean has to be looked up again.
    pub names: bool,
    /// It may have changed the catalog: what was read of it is void.
    pub redefines: bool,
    /// It defines something that other sessions see too.
    pub defines: bool,
    /// A change of the names of prepared statements.
    pub prepared: Option<PreparedChange>,
    /// A change of the names of cursors.
    pub cursor: Option<CursorChange>,
}

/// A change of the names of prepared statements, made in SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreparedChange {
    /// PREPARE.
    Add {
        /// Name.
        name: String,
        /// Text of the statement.
        body: String,
    },
    /// DEALLOCATE.
    Remove(String),
    /// DEALLOCATE ALL, DISCARD.
    Clear {
        /// Portals too.
        portals: bool,
    },
}

/// A change of the names of cursors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CursorChange {
    /// DECLARE.
    Declare {
        /// Name.
        name: String,
        /// WITH HOLD.
        hold: bool,
    },
    /// CLOSE.
    Close(String),
    /// CLOSE ALL, DISCARD ALL.
    Clear,
}

impl SessionEffect {
    /// True if the next statement must wait for this one before it can be read.
    pub fn is_barrier(&self) -> bool {
        *self != Self::default()
    }
}

impl Understood {
    pub(super) fn new(
        statement: Arc<Statement>,
        verdict: Verdict,
        generation: u64,
        protects: bool,
        relies: Option<Relies>,
        text: String,
    ) -> Self {
        let lists_prepared = statement
            .relations
            .iter()
            .any(|used| used.relation.name == "pg_prepared_statements");
        let effect = effect_of(&statement);
        let fleeting =
            statement.executes.is_some() || matches!(statement.kind, StatementKind::Fetch { .. });
        let confirms = confirms(&statement).map(str::to_owned);
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
            relations: relations_of(&statement),
            effects: effects_of(&statement),
            masked,
            text,
            recorded: OnceLock::new(),
            statement,
            verdict,
            generation,
            protects,
            relies,
            lists_prepared,
            effect,
            fleeting,
            confirms,
            confirmed: Arc::default(),
            shape: OnceLock::new(),
        }
    }

    /// Its text as the evidence has it: what looks like personal data is blotted out.
    pub(super) fn recorded_text(&self, blotter: &Blotter) -> &str {
        self.recorded
            .get_or_init(|| blotter.blotted(&self.text).map(String::into_boxed_str))
            .as_deref()
            .unwrap_or(&self.text)
    }

    /// The text to be sent.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// For what runs a prepared statement: its name, as long as it is not resolved.
    pub fn executes(&self) -> Option<&str> {
        self.statement.executes.as_deref()
    }

    /// It reads `pg_prepared_statements`.
    pub fn lists_prepared(&self) -> bool {
        self.lists_prepared
    }

    /// COPY FROM STDIN: the client's data follows.
    pub fn copies_in(&self) -> bool {
        matches!(self.statement.kind, StatementKind::CopyIn)
    }

    /// COPY TO STDOUT: the statement that returns what it sends, for the shape of the data.
    pub fn copy_source(&self) -> Option<&str> {
        match &self.statement.kind {
            StatementKind::CopyOut { source, .. } => source.as_deref(),
            _ => None,
        }
    }

    /// COPY TO STDOUT: how its rows are written.
    pub fn copy_format(&self) -> Option<Result<CopyFormat, UnknownFormat>> {
        match &self.statement.kind {
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
        self.statement.kind != StatementKind::Select || self.statement.relations.iter().any(writes)
    }

    /// What it changes in the session once it has completed.
    pub fn effect(&self) -> SessionEffect {
        self.effect.clone()
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
                    || (self.statement.output.is_some()
                        && (self.protects || !obligations.detections.is_empty()))
                    // CALL returns what the procedure puts into its parameters.
                    || (self.statement.kind == StatementKind::Procedural
                        && !obligations.detections.is_empty())
            }
            Verdict::Deny(_) => false,
        }
    }

    /// What the analysis found.
    pub fn statement(&self) -> &Statement {
        &self.statement
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
            || !self.statement.ddl.is_empty()
            || self.statement.relations.iter().any(|relation| {
                relation.access.iter().any(|access| match access {
                    Access::Delete | Access::Truncate => true,
                    Access::Select | Access::Insert | Access::Update | Access::Lock => false,
                })
            })
    }
}

/// The text in which Parse finds relations. Of utility statements it reads only those that hold
/// a query as a whole; of COPY that query.
fn confirms(statement: &Statement) -> Option<&str> {
    match &statement.kind {
        StatementKind::Select
        | StatementKind::Insert
        | StatementKind::Update
        | StatementKind::Delete
        | StatementKind::Merge
        | StatementKind::Explain { .. }
        | StatementKind::DeclareCursor { .. }
        | StatementKind::Procedural
        | StatementKind::Ddl => Some(&statement.text),
        // The types of its parameters are known to the server only once it is prepared.
        StatementKind::Prepare { body, .. } => Some(body.as_str()).filter(|b| !b.contains('$')),
        // What it sends is what its query returns.
        StatementKind::CopyOut { source, .. } => source.as_deref(),
        StatementKind::Empty
        | StatementKind::Truncate
        | StatementKind::CopyIn
        | StatementKind::Transaction(_)
        | StatementKind::Set
        | StatementKind::Show { .. }
        | StatementKind::Fetch { .. }
        | StatementKind::CloseCursor { .. }
        | StatementKind::Execute { .. }
        | StatementKind::Deallocate { .. }
        | StatementKind::Lock
        | StatementKind::Listen
        | StatementKind::Notify
        | StatementKind::Discard
        | StatementKind::Maintenance
        | StatementKind::Privilege => None,
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

fn effect_of(statement: &Statement) -> SessionEffect {
    let mut effect = SessionEffect {
        defines: statement.ddl.iter().any(|ddl| !ddl.temporary),
        // A function outside the reviewed classes may do anything to the session.
        names: !statement.ddl.is_empty()
            || statement
                .functions
                .iter()
                .any(|function| function.class == FunctionClass::Other),
        ..SessionEffect::default()
    };
    effect.redefines = effect.names;
    effect.names |= statement.settings.iter().any(may_move_names);
    match &statement.kind {
        StatementKind::Ddl
        | StatementKind::Privilege
        | StatementKind::Procedural
        | StatementKind::Maintenance => {
            effect.names = true;
            effect.redefines = true;
        }
        StatementKind::Transaction(
            TransactionControl::Rollback
            | TransactionControl::RollbackTo
            | TransactionControl::Commit,
        ) => effect.names = true,
        StatementKind::Prepare { name, body } => {
            effect.prepared = Some(PreparedChange::Add {
                name: name.clone(),
                body: body.clone(),
            });
        }
        StatementKind::Deallocate { name: Some(name) } => {
            effect.prepared = Some(PreparedChange::Remove(name.clone()));
        }
        StatementKind::Deallocate { name: None } => {
            effect.prepared = Some(PreparedChange::Clear { portals: false });
        }
        StatementKind::Discard => {
            effect.names = true;
            effect.prepared = Some(PreparedChange::Clear { portals: true });
            effect.cursor = Some(CursorChange::Clear);
        }
        StatementKind::DeclareCursor { name, hold } => {
            effect.cursor = Some(CursorChange::Declare {
                name: name.clone(),
                hold: *hold,
            });
        }
        StatementKind::CloseCursor { name: Some(name) } => {
            effect.cursor = Some(CursorChange::Close(name.clone()));
        }
        StatementKind::CloseCursor { name: None } => effect.cursor = Some(CursorChange::Clear),
        StatementKind::Empty
        | StatementKind::Select
        | StatementKind::Set
        | StatementKind::Insert
        | StatementKind::Update
        | StatementKind::Delete
        | StatementKind::Merge
        | StatementKind::Truncate
        | StatementKind::CopyOut { .. }
        | StatementKind::CopyIn
        | StatementKind::Transaction(
            TransactionControl::Begin | TransactionControl::Savepoint | TransactionControl::Release,
        )
        | StatementKind::Show { .. }
        | StatementKind::Fetch { .. }
        | StatementKind::Execute { .. }
        | StatementKind::Explain { .. }
        | StatementKind::Lock
        | StatementKind::Listen
        | StatementKind::Notify => {}
    }
    effect
}

/// False for the settings of a transaction: the server takes some of them only before the first
/// query in it, so that names cannot be looked up between two of them.
fn may_move_names(change: &SettingChange) -> bool {
    !matches!(
        change.name.as_str(),
        "transaction" | "transaction snapshot" | "session characteristics" | "constraints"
    )
}

fn relations_of(statement: &Statement) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(statement.relations.len());
    for RelationUse { relation, .. } in &statement.relations {
        let name = format!("{}.{}", relation.schema, relation.name);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn effects_of(statement: &Statement) -> Vec<String> {
    let mut effects = Vec::new();
    for relation in &statement.relations {
        if relation.system {
            continue;
        }
        let name = format!("{}.{}", relation.relation.schema, relation.relation.name);
        let columns: Vec<&str> = relation
            .columns
            .keys()
            .map(|column| column.column.as_str())
            .collect();
        for access in &relation.access {
            let verb = match access {
                Access::Select => "select",
                Access::Insert => "insert",
                Access::Update => "update",
                Access::Delete => "delete",
                Access::Truncate => "truncate",
                Access::Lock => "lock",
            };
            if columns.is_empty() {
                effects.push(format!("{verb} {name}"));
            } else {
                effects.push(format!("{verb} {name} ({})", columns.join(", ")));
            }
        }
    }
    for ddl in &statement.ddl {
        let verb = match ddl.action {
            DdlAction::Create => "create",
            DdlAction::Alter => "alter",
            DdlAction::Drop => "drop",
        };
        let cascade = if ddl.cascade { " cascade" } else { "" };
        effects.push(format!(
            "{verb} {} {}.{}{cascade}",
            ddl.object_kind, ddl.schema, ddl.name
        ));
    }
    if statement.unlimited {
        effects.push("every row: no WHERE limits it".to_owned());
    }
    for function in &statement.functions {
        if function.class == FunctionClass::Other {
            effects.push(format!("call {}.{}", function.schema, function.name));
        }
    }
    for relation in &statement.implied.relations {
        let verb = if relation.access.contains(&Access::Select) {
            "select"
        } else {
            "advance"
        };
        let name = format!("{}.{}", relation.relation.schema, relation.relation.name);
        effects.push(format!("implied: {verb} {name}"));
    }
    for function in &statement.implied.functions {
        if function.class == FunctionClass::Other {
            let name = format!("{}.{}", function.schema, function.name);
            effects.push(format!("implied: call {name}"));
        }
    }
    effects
}
