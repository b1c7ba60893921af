//! Rewrite rules: what they make of a write.

use pg_query::NodeEnum;
use pg_query::protobuf::{CmdType, RuleStmt};

use super::scope::{Item, Scope};
use super::value::{Col, Value};
use super::{Result, Walk, inner};
use crate::sql::nodes::kind_name;
use crate::sql::statement::{Access, ColumnUse, Statement, StatementKind};

impl<'a> Walk<'a> {
    /// Takes over what the rules of a relation do for a write. True if one of them takes its
    /// place whatever is written.
    pub fn rewritten(&mut self, index: usize, access: Access) -> Result<bool> {
        let Some(used) = self.uses.get(index) else {
            return Ok(false);
        };
        let (schema, name, relation) = (used.schema, used.name, used.relation);
        let event = match access {
            Access::Update => b'2',
            Access::Insert => b'3',
            Access::Delete => b'4',
            Access::Select | Access::Truncate | Access::Lock => return Ok(false),
        };
        let mut instead = false;
        for rule in relation.rules.iter().filter(|rule| rule.event == event) {
            let what = format!("a rewrite rule of {schema}.{name}");
            let statement = self.definition(&what, &rule.definition, &rule.found)?;
            self.take_over(&statement);
            instead |= rule.instead;
        }
        Ok(instead)
    }

    /// What one rule does, as `pg_get_ruledef` writes it.
    pub fn rule(mut self, rule: &'a RuleStmt) -> Result<Statement> {
        let Some(var) = &rule.relation else {
            return Err(self.unsupported("a rule on nothing"));
        };
        let (schema, name, relation) = self.relation(var)?;
        let index = self.use_of(schema, name, relation);
        self.look_behind(index)?;
        let row = |walk: &mut Self, name: &'static str| {
            let mut item = Item::new(name, walk.relation_columns(index));
            item.by_column = false;
            item
        };
        let mut scope = Scope::child(None);
        match CmdType::try_from(rule.event) {
            Ok(CmdType::CmdInsert) => {
                // What the statement gives; it is marked there.
                let columns = relation.columns.iter();
                let given = columns.map(|c| Col::new(c.name.as_str(), Value::constant()));
                let mut new = Item::new("new", given.collect());
                new.by_column = false;
                scope.items.push(new);
            }
            Ok(CmdType::CmdUpdate) => {
                // What is not assigned stays as it was.
                scope.items = vec![row(&mut self, "old"), row(&mut self, "new")];
            }
            Ok(CmdType::CmdDelete) => scope.items.push(row(&mut self, "old")),
            Ok(
                CmdType::Undefined
                | CmdType::CmdUnknown
                | CmdType::CmdSelect
                | CmdType::CmdMerge
                | CmdType::CmdUtility
                | CmdType::CmdNothing,
            )
            | Err(_) => return Err(self.unsupported("it is for another event")),
        }
        if let Some(condition) = &rule.where_clause {
            let value = self.expression(&scope, condition)?;
            self.mark(&value, ColumnUse::Filter);
        }
        for action in &rule.actions {
            match inner(Some(action)) {
                // What they return, only a RETURNING asks for.
                Some(
                    action @ (NodeEnum::InsertStmt(_)
                    | NodeEnum::UpdateStmt(_)
                    | NodeEnum::DeleteStmt(_)),
                ) => {
                    self.query(Some(&scope), action)?;
                }
                Some(other) => {
                    return Err(self.unsupported(format!("{} as an action", kind_name(other))));
                }
                None => return Err(self.unsupported("an empty action")),
            }
        }
        self.finish(StatementKind::Ddl, None)
    }

    /// Takes over what a part of the statement, read by itself, does to relations of the catalog.
    pub fn take_over(&mut self, part: &Statement) {
        for used in &part.relations {
            let reference = &used.relation;
            let known = self
                .catalog
                .relation_entry(&reference.schema, &reference.name);
            let Some((schema, name, relation)) = known else {
                continue;
            };
            let index = self.use_with(used.rights, schema, name, relation);
            for access in &used.access {
                self.access(index, *access);
            }
            for (column, uses) in &used.columns {
                for how in uses {
                    self.mark_column((index, column.attnum), *how);
                }
            }
        }
        self.functions.extend(part.functions.iter().cloned());
        self.ddl.extend(part.ddl.iter().cloned());
        self.unlimited |= part.unlimited;
    }
}
