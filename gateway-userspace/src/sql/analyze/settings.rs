//! SET, SHOW and transaction control.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    TransactionStmt, TransactionStmtKind, VariableSetKind, VariableSetStmt, VariableShowStmt,
    a_const,
};

use super::statement::{Top, plain};
use super::value::{Col, Value};
use super::{Result, Walk, inner};
use crate::sql::statement::{StatementKind, TransactionControl};

impl<'a> Walk<'a> {
    pub fn transaction(&self, transaction: &TransactionStmt) -> Result<Top<'a>> {
        let control = match TransactionStmtKind::try_from(transaction.kind) {
            Ok(TransactionStmtKind::TransStmtBegin | TransactionStmtKind::TransStmtStart) => {
                TransactionControl::Begin
            }
            Ok(TransactionStmtKind::TransStmtCommit) => TransactionControl::Commit,
            Ok(TransactionStmtKind::TransStmtRollback) => TransactionControl::Rollback,
            Ok(TransactionStmtKind::TransStmtSavepoint) => TransactionControl::Savepoint,
            Ok(TransactionStmtKind::TransStmtRelease) => TransactionControl::Release,
            Ok(TransactionStmtKind::TransStmtRollbackTo) => TransactionControl::RollbackTo,
            Ok(
                TransactionStmtKind::TransStmtPrepare
                | TransactionStmtKind::TransStmtCommitPrepared
                | TransactionStmtKind::TransStmtRollbackPrepared,
            ) => {
                return Err(self.unsupported(
                    "two-phase commit outlives the session and is refused; use COMMIT",
                ));
            }
            Ok(TransactionStmtKind::Undefined) | Err(_) => {
                return Err(self.unsupported("transaction control of an unknown kind"));
            }
        };
        Ok(plain(StatementKind::Transaction(control)))
    }

    pub fn set(&self, set: &'a VariableSetStmt) -> Result<Top<'a>> {
        let VariableSetStmt {
            kind,
            name,
            args,
            jumble_args: _,
            is_local,
            location: _,
        } = set;
        let name = name.to_ascii_lowercase();
        let kind = match VariableSetKind::try_from(*kind) {
            Ok(VariableSetKind::VarSetValue) => StatementKind::Set {
                name,
                value: Some(self.set_value(args)?),
                local: *is_local,
            },
            Ok(VariableSetKind::VarSetDefault | VariableSetKind::VarReset) => StatementKind::Set {
                name,
                value: None,
                local: *is_local,
            },
            Ok(VariableSetKind::VarResetAll) => StatementKind::Set {
                name: "all".to_owned(),
                value: None,
                local: false,
            },
            // SET TRANSACTION and SET SESSION CHARACTERISTICS: several settings at once.
            Ok(VariableSetKind::VarSetMulti) => StatementKind::Set {
                value: Some(self.modes(&name, args)?),
                local: name == "transaction",
                name,
            },
            Ok(VariableSetKind::VarSetCurrent) => {
                return Err(self.unsupported("SET ... FROM CURRENT outside of a function"));
            }
            Ok(VariableSetKind::Undefined) | Err(_) => {
                return Err(self.unsupported("SET of an unknown kind"));
            }
        };
        Ok(plain(kind))
    }

    /// The value of SET as text; several are separated by commas, as SHOW gives them.
    fn set_value(&self, args: &'a [pg_query::Node]) -> Result<String> {
        let mut parts = Vec::with_capacity(args.len());
        for arg in args {
            parts.push(self.set_constant(inner(Some(arg)))?);
        }
        Ok(parts.join(", "))
    }

    fn set_constant(&self, node: Option<&NodeEnum>) -> Result<String> {
        let constant = match node {
            Some(NodeEnum::AConst(constant)) => constant,
            // SET TIME ZONE INTERVAL '...'.
            Some(NodeEnum::TypeCast(cast)) => match inner(cast.arg.as_deref()) {
                Some(NodeEnum::AConst(constant)) => constant,
                _ => return Err(self.unsupported("SET to something that is no constant")),
            },
            _ => return Err(self.unsupported("SET to something that is no constant")),
        };
        Ok(match &constant.val {
            Some(a_const::Val::Ival(number)) => number.ival.to_string(),
            Some(a_const::Val::Fval(number)) => number.fval.clone(),
            Some(a_const::Val::Boolval(value)) => value.boolval.to_string(),
            Some(a_const::Val::Sval(text)) => text.sval.clone(),
            Some(a_const::Val::Bsval(bits)) => bits.bsval.clone(),
            None => return Err(self.unsupported("SET to NULL")),
        })
    }

    /// `name=value` of each transaction mode, or the snapshot's name.
    fn modes(&self, name: &str, args: &'a [pg_query::Node]) -> Result<String> {
        let mut modes = Vec::with_capacity(args.len());
        for arg in args {
            match inner(Some(arg)) {
                Some(NodeEnum::DefElem(mode)) => {
                    let value = self.set_constant(inner(mode.arg.as_deref()))?;
                    modes.push(format!("{}={value}", mode.defname));
                }
                // SET TRANSACTION SNAPSHOT.
                other if name.eq_ignore_ascii_case("transaction snapshot") => {
                    modes.push(self.set_constant(other)?);
                }
                _ => return Err(self.unsupported("a transaction mode of another kind")),
            }
        }
        Ok(modes.join(", "))
    }

    #[expect(clippy::unused_self, reason = "reads like the other kinds")]
    pub fn show(&self, show: &'a VariableShowStmt) -> Top<'a> {
        let name = show.name.to_ascii_lowercase();
        let labels: &[&str] = if name == "all" {
            &["name", "setting", "description"]
        } else {
            &[show.name.as_str()]
        };
        let columns = labels
            .iter()
            .map(|label| Col::new((*label).to_owned(), Value::constant()))
            .collect();
        (StatementKind::Show { name }, Some(columns))
    }
}
