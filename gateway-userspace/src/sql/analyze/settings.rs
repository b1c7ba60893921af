//! SET, `set_config`, SHOW and transaction control.

use pg_query::protobuf::{
    FuncCall, SelectStmt, SetOperation, TransactionStmt, TransactionStmtKind, TypeName,
    VariableSetKind, VariableSetStmt, VariableShowStmt, a_const,
};
use pg_query::{Node, NodeEnum};

use super::statement::{Top, plain};
use super::value::{Col, Value};
use super::{Result, Walk, inner, strings};
use crate::sql::catalog::Function;
use crate::sql::statement::{SettingChange, SettingValue, StatementKind, TransactionControl};

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

    pub fn set(&mut self, set: &'a VariableSetStmt) -> Result<Top<'a>> {
        let VariableSetStmt {
            kind,
            name,
            args,
            jumble_args: _,
            is_local,
            location: _,
        } = set;
        let name = name.to_ascii_lowercase();
        let (name, value, local) = match VariableSetKind::try_from(*kind) {
            Ok(VariableSetKind::VarSetValue) => {
                (name, SettingValue::To(self.set_value(args)?), *is_local)
            }
            Ok(VariableSetKind::VarSetDefault | VariableSetKind::VarReset) => {
                (name, SettingValue::Default, *is_local)
            }
            Ok(VariableSetKind::VarResetAll) => ("all".to_owned(), SettingValue::Default, false),
            // SET TRANSACTION and SET SESSION CHARACTERISTICS: several settings at once.
            Ok(VariableSetKind::VarSetMulti) => {
                let modes = self.modes(&name, args)?;
                let local = name == "transaction";
                (name, SettingValue::To(modes), local)
            }
            Ok(VariableSetKind::VarSetCurrent) => {
                return Err(self.unsupported("SET ... FROM CURRENT outside of a function"));
            }
            Ok(VariableSetKind::Undefined) | Err(_) => {
                return Err(self.unsupported("SET of an unknown kind"));
            }
        };
        Ok(self.set_to(name, value, local))
    }

    /// SET CONSTRAINTS.
    pub fn set_constraints(&mut self) -> Top<'a> {
        self.set_to("constraints".to_owned(), SettingValue::Default, true)
    }

    fn set_to(&mut self, name: String, value: SettingValue, local: bool) -> Top<'a> {
        self.settings.push(SettingChange { name, value, local });
        plain(StatementKind::Set)
    }

    /// Notes the calls that may be read as SET: those of `set_config` that are columns of a SELECT
    /// over no tables, so that each runs once; or over the one row of `pg_settings` with a constant
    /// name, as `pg_dump` sets what a server may not have.
    pub fn find_setters(&mut self, select: &'a SelectStmt) {
        let SelectStmt {
            distinct_clause,
            into_clause: None,
            target_list,
            from_clause,
            where_clause,
            group_clause,
            group_distinct: _,
            having_clause: None,
            window_clause,
            values_lists,
            sort_clause,
            limit_offset: None,
            limit_count: None,
            limit_option: _,
            locking_clause,
            with_clause: None,
            op,
            all: _,
            larg: None,
            rarg: None,
        } = select
        else {
            return;
        };
        match (from_clause.as_slice(), where_clause.as_deref()) {
            ([], None) => {}
            ([from], Some(condition)) => {
                let Some(name) = self.setting_chosen(from, condition) else {
                    return;
                };
                self.setter_name = Some(name);
            }
            _ => return,
        }
        let plain = [
            distinct_clause,
            group_clause,
            window_clause,
            values_lists,
            sort_clause,
            locking_clause,
        ]
        .iter()
        .all(|clause| clause.is_empty());
        if !plain || !matches!(SetOperation::try_from(*op), Ok(SetOperation::SetopNone)) {
            return;
        }
        for target in target_list {
            if let Some(NodeEnum::ResTarget(target)) = inner(Some(target))
                && let Some(NodeEnum::FuncCall(call)) = inner(target.val.as_deref())
            {
                self.setters.push(std::ptr::from_ref(call.as_ref()));
            }
        }
    }

    /// The name in `FROM pg_settings WHERE name = 'constant'`.
    fn setting_chosen(&self, from: &'a Node, condition: &'a Node) -> Option<&'a str> {
        let NodeEnum::RangeVar(var) = inner(Some(from))? else {
            return None;
        };
        let (schema, table, _) = self.relation(var).ok()?;
        let NodeEnum::AExpr(operation) = inner(Some(condition))? else {
            return None;
        };
        let (column, name) = self.equality(operation)?;
        let NodeEnum::ColumnRef(column) = inner(Some(column))? else {
            return None;
        };
        let known = schema == "pg_catalog"
            && table == "pg_settings"
            && var.alias.is_none()
            && strings(&column.fields)? == ["name"];
        if known {
            text_constant(inner(Some(name))?)
        } else {
            None
        }
    }

    /// What a call changes if it is `set_config(name, value, is_local)` of `pg_catalog`, in a
    /// place and a form in which it is the SET of that setting.
    pub fn as_set(&self, call: &'a FuncCall, function: &'a Function) -> Option<SettingChange> {
        let known = self.setters.contains(&std::ptr::from_ref(call));
        if !known || function.schema != "pg_catalog" || call.func_variadic {
            return None;
        }
        let [name, value, local] = call.args.as_slice() else {
            return None;
        };
        let name = match inner(Some(name))? {
            NodeEnum::ColumnRef(column) if strings(&column.fields)? == ["name"] => {
                self.setter_name?
            }
            other => text_constant(other)?,
        };
        let value = match inner(Some(value))? {
            NodeEnum::AConst(constant) if constant.isnull => SettingValue::Default,
            constant @ NodeEnum::AConst(_) => SettingValue::To(text_constant(constant)?.to_owned()),
            NodeEnum::ParamRef(parameter) => SettingValue::Parameter(parameter.number),
            NodeEnum::TypeCast(cast) if is_text(cast.type_name.as_ref()?) => {
                match inner(cast.arg.as_deref())? {
                    NodeEnum::ParamRef(parameter) => SettingValue::Parameter(parameter.number),
                    _ => return None,
                }
            }
            _ => return None,
        };
        let local = match inner(Some(local))? {
            NodeEnum::AConst(constant) => {
                matches!(&constant.val, Some(a_const::Val::Boolval(value)) if value.boolval)
            }
            _ => return None,
        };
        Some(SettingChange {
            name: name.to_ascii_lowercase(),
            value,
            local,
        })
    }

    /// The value of SET as text; several are separated by commas, as SHOW gives them.
    fn set_value(&self, args: &'a [Node]) -> Result<String> {
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
    fn modes(&self, name: &str, args: &'a [Node]) -> Result<String> {
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

/// A string constant.
fn text_constant(node: &NodeEnum) -> Option<&str> {
    match node {
        NodeEnum::AConst(constant) => match &constant.val {
            Some(a_const::Val::Sval(text)) => Some(&text.sval),
            _ => None,
        },
        _ => None,
    }
}

/// True for `text`, and nothing like it that would shorten a value.
fn is_text(name: &TypeName) -> bool {
    let names = strings(&name.names);
    name.array_bounds.is_empty()
        && matches!(names.as_deref(), Some(["text"] | ["pg_catalog", "text"]))
}
