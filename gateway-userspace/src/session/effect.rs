//! What statements change in their session.

use crate::sql::{FunctionClass, SettingChange, Statement, StatementKind, TransactionControl};

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
    /// What a statement changes once it has completed.
    pub(super) fn of(statement: &Statement) -> Self {
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
                TransactionControl::Begin
                | TransactionControl::Savepoint
                | TransactionControl::Release,
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

    /// True if the next statement must wait for this one before it can be read.
    pub fn is_barrier(&self) -> bool {
        *self != Self::default()
    }
}

/// False for the settings of a transaction: the server takes some of them only before the first
/// query in it, so that names cannot be looked up between two of them.
fn may_move_names(change: &SettingChange) -> bool {
    !matches!(
        change.name.as_str(),
        "transaction" | "transaction snapshot" | "session characteristics" | "constraints"
    )
}
