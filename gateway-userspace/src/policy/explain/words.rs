//! The words for what statements do.

use crate::sql::{Access, ColumnUse, DdlAction, FunctionClass, StatementKind, TransactionControl};

pub(super) fn kind(kind: &StatementKind) -> &'static str {
    match kind {
        StatementKind::Empty => "empty",
        StatementKind::Select => "select",
        StatementKind::Insert => "insert",
        StatementKind::Update => "update",
        StatementKind::Delete => "delete",
        StatementKind::Merge => "merge",
        StatementKind::Truncate => "truncate",
        StatementKind::Ddl => "ddl",
        StatementKind::CopyOut { .. } => "copy-out",
        StatementKind::CopyIn => "copy-in",
        StatementKind::Transaction(control) => match control {
            TransactionControl::Begin => "begin",
            TransactionControl::Commit => "commit",
            TransactionControl::Rollback => "rollback",
            TransactionControl::Savepoint => "savepoint",
            TransactionControl::Release => "release",
            TransactionControl::RollbackTo => "rollback-to",
        },
        StatementKind::Set => "set",
        StatementKind::Show { .. } => "show",
        StatementKind::DeclareCursor { .. } => "declare-cursor",
        StatementKind::Fetch { moves: false, .. } => "fetch",
        StatementKind::Fetch { moves: true, .. } => "move",
        StatementKind::CloseCursor { .. } => "close-cursor",
        StatementKind::Prepare { .. } => "prepare",
        StatementKind::Execute { .. } => "execute",
        StatementKind::Deallocate { .. } => "deallocate",
        StatementKind::Explain { analyze: false } => "explain",
        StatementKind::Explain { analyze: true } => "explain-analyze",
        StatementKind::Lock => "lock",
        StatementKind::Listen => "listen",
        StatementKind::Notify => "notify",
        StatementKind::Discard => "discard",
        StatementKind::Maintenance => "maintenance",
        StatementKind::Privilege => "privilege",
        StatementKind::Procedural => "procedural",
    }
}

pub(super) fn access(access: Access) -> &'static str {
    match access {
        Access::Select => "select",
        Access::Insert => "insert",
        Access::Update => "update",
        Access::Delete => "delete",
        Access::Truncate => "truncate",
        Access::Lock => "lock",
    }
}

pub(super) fn column_use(by: ColumnUse) -> &'static str {
    match by {
        ColumnUse::Output => "output",
        ColumnUse::Derived => "derived",
        ColumnUse::Filter => "filter",
        ColumnUse::Equality => "equality",
        ColumnUse::Source => "source",
        ColumnUse::Inserted => "inserted",
        ColumnUse::Updated => "updated",
        ColumnUse::Named => "named",
    }
}

pub(super) fn class(class: FunctionClass) -> &'static str {
    match class {
        FunctionClass::Pure => "pure",
        FunctionClass::Catalog => "catalog",
        FunctionClass::Other => "other",
    }
}

pub(super) fn action(action: DdlAction) -> &'static str {
    match action {
        DdlAction::Create => "create",
        DdlAction::Alter => "alter",
        DdlAction::Drop => "drop",
    }
}
