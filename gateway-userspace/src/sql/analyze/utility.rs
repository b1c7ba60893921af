//! COPY, EXPLAIN, cursors, prepared statements, locks and maintenance.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    CallStmt, ClusterStmt, CopyStmt, DeclareCursorStmt, DropBehavior, ExecuteStmt, ExplainStmt,
    LockStmt, PrepareStmt, RefreshMatViewStmt, ReindexStmt, TruncateStmt, VacuumStmt, a_const,
};

use super::copy;
use super::scope::Scope;
use super::statement::{Top, plain};
use super::value::{Col, Value};
use super::{Result, Walk, inner, string};
use crate::sql::grammar::VOID;
use crate::sql::statement::{Access, ColumnUse, StatementKind};

/// `CURSOR_OPT_HOLD`.
const CURSOR_HOLD: i32 = 0x20;
/// `AccessShareLock`.
const ACCESS_SHARE: i32 = 1;

impl<'a> Walk<'a> {
    // ---- COPY ------------------------------------------------------------------------------------

    pub fn copy(&mut self, copy: &'a CopyStmt) -> Result<Top<'a>> {
        let CopyStmt {
            relation,
            query,
            attlist,
            is_from,
            is_program,
            filename,
            options,
            where_clause,
        } = copy;
        if *is_program {
            return Err(self.unsupported(
                "COPY with PROGRAM runs a command on the server and is refused; use STDIN or STDOUT",
            ));
        }
        if !filename.is_empty() {
            return Err(self.unsupported(
                "COPY with a file reads or writes the server's disk and is refused; use STDIN or STDOUT",
            ));
        }
        let mut not_text = false;
        for option in options {
            let Some(NodeEnum::DefElem(option)) = inner(Some(option)) else {
                return Err(self.unsupported("a COPY option of another kind"));
            };
            if option.defname == "format" {
                not_text = !matches!(
                    inner(option.arg.as_deref()),
                    Some(NodeEnum::String(format)) if format.sval == "text"
                );
            }
        }
        if let Some(query) = inner(query.as_deref()) {
            let columns = self.query(None, query)?;
            let kind = StatementKind::CopyOut {
                not_text,
                options: copy::options(options),
                source: copy::query(self.parsed.text()),
            };
            return Ok((kind, columns));
        }
        let Some(var) = relation else {
            return Err(self.unsupported("a COPY of nothing"));
        };
        if *is_from {
            let index = self.write_target(var, Access::Insert)?;
            self.copy_columns(index, attlist, ColumnUse::Inserted)?;
            if let Some(condition) = where_clause {
                // The condition is over the rows that come in.
                let mut scope = Scope::child(None);
                let columns = self.relation_columns(index);
                scope
                    .items
                    .push(super::scope::Item::new(var.relname.as_str(), columns));
                self.expression(&scope, condition)?;
            }
            return Ok(plain(StatementKind::CopyIn));
        }
        let (schema, name, relation) = self.relation(var)?;
        if matches!(relation.kind, b'v') {
            return Err(self.unknown(
                "42809",
                var.location,
                format!("cannot copy from view \"{name}\""),
            ));
        }
        let index = self.read(schema, name, relation)?;
        let columns = self.copy_columns(index, attlist, ColumnUse::Output)?;
        let kind = StatementKind::CopyOut {
            not_text,
            options: copy::options(options),
            source: Some(copy::table(
                schema,
                name,
                columns.iter().map(|column| &*column.name),
            )),
        };
        Ok((kind, Some(columns)))
    }

    fn copy_columns(
        &mut self,
        index: usize,
        names: &'a [pg_query::Node],
        how: ColumnUse,
    ) -> Result<Vec<Col<'a>>> {
        let all = self.relation_columns(index);
        let generated = |name: &str| {
            self.uses.get(index).is_some_and(|used| {
                used.relation
                    .columns
                    .iter()
                    .any(|column| column.name == name && column.generated)
            })
        };
        let mut columns = Vec::with_capacity(all.len());
        if names.is_empty() {
            // COPY leaves generated columns out.
            columns.extend(all.into_iter().filter(|column| !generated(&column.name)));
        } else {
            for node in names {
                let name = string(node).unwrap_or_default();
                let Some(column) = all.iter().find(|column| column.name == name) else {
                    let table = self.uses.get(index).map_or("", |used| used.name);
                    return Err(self.unknown(
                        "42703",
                        -1,
                        format!("column \"{name}\" of relation \"{table}\" does not exist"),
                    ));
                };
                columns.push(column.clone());
            }
        }
        for column in &columns {
            self.mark(&column.value, how);
        }
        Ok(columns)
    }

    // ---- EXPLAIN, PREPARE, cursors -----------------------------------------------------------------

    pub fn explain(&mut self, explain: &'a ExplainStmt) -> Result<Top<'a>> {
        let ExplainStmt { query, options } = explain;
        let Some(query) = inner(query.as_deref()) else {
            return Err(self.unsupported("an EXPLAIN of nothing"));
        };
        let mut analyze = false;
        for option in options {
            let Some(NodeEnum::DefElem(option)) = inner(Some(option)) else {
                return Err(self.unsupported("an EXPLAIN option of another kind"));
            };
            if option.defname == "analyze" {
                // Whatever does not plainly say no means yes.
                analyze = !says_no(inner(option.arg.as_deref()));
            }
        }
        let (_, columns) = match query {
            NodeEnum::SelectStmt(_)
            | NodeEnum::InsertStmt(_)
            | NodeEnum::UpdateStmt(_)
            | NodeEnum::DeleteStmt(_)
            | NodeEnum::MergeStmt(_)
            | NodeEnum::DeclareCursorStmt(_)
            | NodeEnum::CreateTableAsStmt(_)
            | NodeEnum::RefreshMatViewStmt(_)
            | NodeEnum::ExecuteStmt(_) => self.nested(|walk| walk.top_level(query))?,
            other => {
                return Err(self.unsupported(format!(
                    "EXPLAIN of {} is not understood",
                    crate::sql::nodes::kind_name(other)
                )));
            }
        };
        for column in columns.into_iter().flatten() {
            self.mark_output(&column.value);
        }
        let plan = Col::new("QUERY PLAN", Value::constant());
        Ok((StatementKind::Explain { analyze }, Some(vec![plan])))
    }

    pub fn prepare(&mut self, prepare: &'a PrepareStmt) -> Result<Top<'a>> {
        let PrepareStmt {
            name,
            argtypes,
            query,
        } = prepare;
        for node in argtypes {
            if let Some(NodeEnum::TypeName(argument)) = inner(Some(node)) {
                let oid = self.type_oid(argument)?;
                if oid == VOID {
                    return Err(self.unsupported("a parameter of type void in PREPARE"));
                }
                self.convert_to(oid);
            }
        }
        let Some(query) = inner(query.as_deref()) else {
            return Err(self.unsupported("a PREPARE of nothing"));
        };
        let columns = match query {
            NodeEnum::SelectStmt(_) => self.top_level(query)?.1,
            other => self.query(None, other)?,
        };
        let Some(body) = body_after_as(self.parsed.text()) else {
            return Err(self.unsupported("a PREPARE whose statement cannot be found"));
        };
        Ok((
            StatementKind::Prepare {
                name: name.clone(),
                body: body.to_owned(),
            },
            columns,
        ))
    }

    pub fn execute(&mut self, execute: &'a ExecuteStmt) -> Result<Top<'a>> {
        let scope = Scope::child(None);
        for parameter in &execute.params {
            let value = self.expression(&scope, parameter)?;
            self.mark(&value, ColumnUse::Source);
        }
        self.executes = Some(execute.name.clone());
        Ok(plain(StatementKind::Execute {
            name: execute.name.clone(),
        }))
    }

    pub fn declare(&mut self, declare: &'a DeclareCursorStmt) -> Result<Top<'a>> {
        let Some(NodeEnum::SelectStmt(select)) = inner(declare.query.as_deref()) else {
            return Err(self.unsupported("a cursor over something that is no SELECT"));
        };
        let columns = self.select(None, select)?;
        let kind = StatementKind::DeclareCursor {
            name: declare.portalname.clone(),
            hold: declare.options & CURSOR_HOLD != 0,
        };
        Ok((kind, Some(columns)))
    }

    pub fn call_procedure(&mut self, call: &'a CallStmt) -> Result<Top<'a>> {
        let Some(function) = &call.funccall else {
            return Err(self.unsupported("a CALL of nothing"));
        };
        let scope = Scope::child(None);
        for arg in &function.args {
            self.expression(&scope, arg)?;
        }
        let parts = super::strings(&function.funcname).unwrap_or_default();
        let candidates = self.candidates(&parts, None)?;
        for (name, function) in &candidates {
            self.called(name, function, None);
        }
        if candidates.is_empty() {
            return Err(self.unknown(
                "42883",
                function.location,
                format!("procedure {} does not exist", parts.join(".")),
            ));
        }
        Ok(plain(StatementKind::Procedural))
    }

    // ---- TRUNCATE, LOCK ----------------------------------------------------------------------------

    pub fn truncate(&mut self, truncate: &'a TruncateStmt) -> Result<Top<'a>> {
        let TruncateStmt {
            relations,
            restart_seqs: _,
            behavior,
        } = truncate;
        let cascades = matches!(
            DropBehavior::try_from(*behavior),
            Ok(DropBehavior::DropCascade)
        );
        for node in relations {
            let Some(NodeEnum::RangeVar(var)) = inner(Some(node)) else {
                return Err(self.unsupported("a TRUNCATE of another kind"));
            };
            let (schema, name, relation) = self.relation(var)?;
            let index = self.use_of(schema, name, relation);
            self.access(index, Access::Truncate);
            self.fire(relation, super::calls::TriggerEvent::Truncate);
            if cascades {
                self.cascade(schema, name, Access::Truncate, None);
            }
        }
        self.unlimited = true;
        Ok(plain(StatementKind::Truncate))
    }

    pub fn lock(&mut self, lock: &'a LockStmt) -> Result<Top<'a>> {
        let LockStmt {
            relations,
            mode,
            nowait: _,
        } = lock;
        // The lock of a read, which the right to read is enough for.
        let access = if *mode == ACCESS_SHARE {
            Access::Select
        } else {
            Access::Lock
        };
        for node in relations {
            let Some(NodeEnum::RangeVar(var)) = inner(Some(node)) else {
                return Err(self.unsupported("a LOCK of another kind"));
            };
            let (schema, name, relation) = self.relation(var)?;
            let index = self.use_of(schema, name, relation);
            self.access(index, access);
            if relation.kind == b'v' {
                // What is behind it is locked too.
                let before = self.uses.len();
                self.look_behind(index)?;
                for behind in before..self.uses.len() {
                    self.access(behind, access);
                }
            }
        }
        Ok(plain(StatementKind::Lock))
    }

    // ---- maintenance -------------------------------------------------------------------------------

    pub fn vacuum(&mut self, vacuum: &'a VacuumStmt) -> Result<Top<'a>> {
        for node in &vacuum.rels {
            let Some(NodeEnum::VacuumRelation(target)) = inner(Some(node)) else {
                return Err(self.unsupported("a VACUUM of another kind"));
            };
            self.maintained(target.relation.as_ref())?;
        }
        Ok(plain(StatementKind::Maintenance))
    }

    pub fn reindex(&mut self, reindex: &'a ReindexStmt) -> Result<Top<'a>> {
        self.maintained(reindex.relation.as_ref())?;
        Ok(plain(StatementKind::Maintenance))
    }

    pub fn cluster(&mut self, cluster: &'a ClusterStmt) -> Result<Top<'a>> {
        self.maintained(cluster.relation.as_ref())?;
        Ok(plain(StatementKind::Maintenance))
    }

    fn maintained(&mut self, var: Option<&'a pg_query::protobuf::RangeVar>) -> Result<()> {
        let Some(var) = var else { return Ok(()) };
        let (schema, name, relation) = self.relation(var)?;
        // An index stands for its table.
        let on = relation.index_on.as_ref();
        let (schema, name, relation) = on
            .and_then(|(schema, name)| self.catalog.relation_entry(schema, name))
            .unwrap_or((schema, name, relation));
        let index = self.use_of(schema, name, relation);
        self.access(index, Access::Lock);
        Ok(())
    }

    pub fn refresh(&mut self, refresh: &'a RefreshMatViewStmt) -> Result<Top<'a>> {
        let Some(var) = &refresh.relation else {
            return Err(self.unsupported("a REFRESH of nothing"));
        };
        let (schema, name, relation) = self.relation(var)?;
        let index = self.read(schema, name, relation)?;
        self.access(index, Access::Insert);
        // The query runs, and what it gives is stored.
        for order in 0..relation.columns.len() {
            let value = self.column_value(index, order);
            self.mark(&value, ColumnUse::Source);
        }
        Ok(plain(StatementKind::Maintenance))
    }
}

/// True for an option that is plainly switched off.
fn says_no(value: Option<&NodeEnum>) -> bool {
    let constant = match value {
        Some(NodeEnum::AConst(constant)) => constant,
        Some(NodeEnum::String(text)) => {
            return ["false", "off"]
                .iter()
                .any(|no| text.sval.eq_ignore_ascii_case(no));
        }
        Some(NodeEnum::Boolean(value)) => return !value.boolval,
        Some(NodeEnum::Integer(number)) => return number.ival == 0,
        _ => return false,
    };
    match &constant.val {
        Some(a_const::Val::Boolval(value)) => !value.boolval,
        Some(a_const::Val::Ival(number)) => number.ival == 0,
        Some(a_const::Val::Sval(text)) => ["false", "off"]
            .iter()
            .any(|no| text.sval.eq_ignore_ascii_case(no)),
        Some(a_const::Val::Fval(_) | a_const::Val::Bsval(_)) | None => false,
    }
}

/// What follows the AS of a PREPARE, by the lexer's own tokens.
fn body_after_as(text: &str) -> Option<&str> {
    let scanned = pg_query::scan(text).ok()?;
    let mut depth = 0_usize;
    for token in &scanned.tokens {
        match pg_query::protobuf::Token::try_from(token.token).ok()? {
            pg_query::protobuf::Token::Ascii40 => depth += 1,
            pg_query::protobuf::Token::Ascii41 => depth = depth.saturating_sub(1),
            pg_query::protobuf::Token::As if depth == 0 => {
                return text.get(usize::try_from(token.end).ok()?..).map(str::trim);
            }
            _ => {}
        }
    }
    None
}
