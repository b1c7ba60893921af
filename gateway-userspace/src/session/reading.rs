//! What a statement means, without regard to who sends it: the analysis, and what follows from that
//! alone. Sessions that see the same names share it.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    SessionEffect,
    guard::{Relies, Versions},
};
use crate::{
    masking::Blotter,
    sql::{Access, DdlAction, FunctionClass, Namespace, RelationUse, Statement, StatementKind},
};

/// Readings that sessions find each other's by, at most.
const MAX_READINGS: usize = 16_384;

/// A statement as the analysis understands it in a catalog and a namespace. Who asks has no part in
/// it: verdicts, masks and results' shapes are each session's own.
#[derive(Debug)]
pub(super) struct Reading {
    statement: Statement,
    /// What must not have changed when it runs.
    relies: Option<Relies>,
    relations: Vec<String>,
    effects: Vec<String>,
    effect: SessionEffect,
    lists_prepared: bool,
    /// The text whose reading the server has to confirm; `None`: Parse finds nothing in it.
    confirms: Option<String>,
    /// It has.
    confirmed: Arc<AtomicBool>,
    /// The text as the evidence has it; `None` inside: as it is.
    recorded: OnceLock<Option<Box<str>>>,
}

impl Reading {
    /// `versions`: those of the catalog in which the statement was analysed.
    pub(super) fn new(statement: Statement, versions: Option<&Versions>) -> Self {
        let lists_prepared = statement
            .relations
            .iter()
            .any(|used| used.relation.name == "pg_prepared_statements");
        Self {
            relies: versions.and_then(|versions| Relies::of(&statement, versions)),
            relations: relations_of(&statement),
            effects: effects_of(&statement),
            effect: SessionEffect::of(&statement),
            lists_prepared,
            confirms: confirms(&statement).map(str::to_owned),
            confirmed: Arc::default(),
            recorded: OnceLock::new(),
            statement,
        }
    }

    /// What runs a prepared statement, together with that.
    pub(super) fn running(&self, prepared: &Self, versions: Option<&Versions>) -> Self {
        let statement = self.statement.running(&prepared.statement);
        Self {
            // The server reads the prepared statement; EXECUTE itself holds no query.
            confirms: prepared.confirms.clone().filter(|text| !text.contains('$')),
            confirmed: prepared.confirmed.clone(),
            ..Self::new(statement, versions)
        }
    }

    /// What the analysis found.
    pub(super) fn statement(&self) -> &Statement {
        &self.statement
    }

    /// What must not have changed when it runs.
    pub(super) fn relies(&self) -> Option<&Relies> {
        self.relies.as_ref()
    }

    /// The relations that it touches, for the evidence.
    pub(super) fn relations(&self) -> &[String] {
        &self.relations
    }

    /// What it does, in words.
    pub(super) fn effects(&self) -> &[String] {
        &self.effects
    }

    /// What it changes in the session once it has completed.
    pub(super) fn effect(&self) -> &SessionEffect {
        &self.effect
    }

    /// It reads `pg_prepared_statements`.
    pub(super) fn lists_prepared(&self) -> bool {
        self.lists_prepared
    }

    /// The text whose reading the server has to confirm.
    pub(super) fn confirms(&self) -> Option<&str> {
        self.confirms.as_deref()
    }

    /// The server has confirmed it.
    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Relaxed)
    }

    /// The server reads it the same way.
    pub(super) fn confirm(&self) {
        self.confirmed.store(true, Ordering::Relaxed);
    }

    /// Its text as the evidence has it: what looks like personal data is blotted out.
    pub(super) fn recorded_text(&self, blotter: &Blotter) -> &str {
        let text = &self.statement.text;
        self.recorded
            .get_or_init(|| blotter.blotted(text).map(String::into_boxed_str))
            .as_deref()
            .unwrap_or(text)
    }
}

/// All that a reading depends on.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct ReadingKey {
    /// The statement's text.
    pub(super) text: Box<str>,
    /// `Catalog::version`, which no two catalogs share.
    pub(super) catalog: u64,
    /// What names mean, the login among it.
    pub(super) namespace: Arc<Namespace>,
}

/// Where sessions find what others have read. It keeps nothing alive: a reading goes with the last
/// session that knows it.
#[derive(Debug, Default)]
pub(super) struct Readings(Mutex<HashMap<ReadingKey, Weak<Reading>>>);

impl Readings {
    /// What another session has read of this.
    pub(super) fn get(&self, key: &ReadingKey) -> Option<Arc<Reading>> {
        let readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readings.get(key)?.upgrade()
    }

    /// Lets others find a reading.
    pub(super) fn share(&self, key: ReadingKey, reading: &Arc<Reading>) {
        let mut readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if readings.len() >= MAX_READINGS {
            readings.retain(|_, reading| reading.strong_count() > 0);
            // So many are alive that looking for the others again and again would cost more than
            // reading anew.
            if readings.len() > MAX_READINGS / 2 {
                readings.clear();
            }
        }
        readings.insert(key, Arc::downgrade(reading));
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
