//! INSERT, UPDATE, DELETE and MERGE.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use pg_query::protobuf::{
    BoolExprType, CmdType, DeleteStmt, InsertStmt, MergeMatchKind, MergeStmt, MergeWhenClause,
    OnConflictAction, OnConflictClause, RangeVar, ResTarget, ReturningClause, ReturningOptionKind,
    UpdateStmt,
};
use pg_query::{Node, NodeEnum};

use super::calls::TriggerEvent;
use super::scope::{Item, Scope};
use super::value::{Col, Value};
use super::{Result, Walk, inner};
use crate::sql::catalog::Relation;
use crate::sql::statement::{Access, ColumnUse};

impl<'a> Walk<'a> {
    // ---- targets -----------------------------------------------------------------------------

    /// The relation that is written, with everything that a write to it sets off.
    pub fn write_target(&mut self, var: &'a RangeVar, access: Access) -> Result<usize> {
        let (schema, name, relation) = self.relation(var)?;
        self.writable(schema, name, relation)?;
        let index = self.use_of(schema, name, relation);
        self.write_to(index, access)?;
        Ok(index)
    }

    fn writable(&self, schema: &str, name: &str, relation: &Relation) -> Result<()> {
        if relation.has_rules && relation.rules.is_empty() {
            return Err(self.unsupported(format!(
                "{schema}.{name} has rewrite rules, whose actions are not known"
            )));
        }
        if !matches!(relation.kind, b'r' | b'p' | b'f' | b'v') {
            return Err(self.unknown("42809", -1, format!("cannot change relation \"{name}\"")));
        }
        Ok(())
    }

    /// Notes a write, its triggers and cascades, and the tables behind a view.
    pub fn write_to(&mut self, index: usize, access: Access) -> Result<()> {
        self.access(index, access);
        self.look_behind(index)?;
        let Some(used) = self.uses.get(index) else {
            return Ok(());
        };
        let (schema, name, relation) = (used.schema, used.name, used.relation);
        self.fire_for(schema, name, relation, access);
        // A converted value may go through a cast that a user made.
        self.user_casts(|_, context| context != b'e');
        if self.rewritten(index, access)? {
            return Ok(());
        }
        if relation.kind == b'v' {
            let behind = self.relations_behind(index);
            for inner in behind {
                let Some(used) = self.uses.get(inner) else {
                    continue;
                };
                let (schema, name, relation) = (used.schema, used.name, used.relation);
                if matches!(relation.kind, b'r' | b'p' | b'f' | b'v') {
                    self.writable(schema, name, relation)?;
                    self.access(inner, access);
                    self.fire_for(schema, name, relation, access);
                    self.rewritten(inner, access)?;
                    self.cascade(schema, name, access, None);
                }
            }
        } else if access != Access::Update {
            self.cascade(schema, name, access, None);
        }
        Ok(())
    }

    /// The relations that a view's columns come from.
    fn relations_behind(&self, index: usize) -> BTreeSet<usize> {
        let behind = self.uses.get(index).and_then(|used| used.behind.as_ref());
        let values = behind.into_iter().flatten();
        values
            .flat_map(|value| value.origins.iter().map(|(relation, _)| *relation))
            .collect()
    }

    /// Lists the triggers of a relation and of those that inherit from it.
    fn fire_for(&mut self, schema: &str, name: &str, relation: &'a Relation, access: Access) {
        let event = match access {
            Access::Insert => TriggerEvent::Insert,
            Access::Update => TriggerEvent::Update,
            Access::Delete => TriggerEvent::Delete,
            Access::Truncate => TriggerEvent::Truncate,
            Access::Select | Access::Lock => return,
        };
        self.fire(relation, event);
        for (schema, name) in self.descendants(schema, name) {
            if let Some(child) = self.catalog.relation(&schema, &name) {
                self.fire(child, event);
            }
        }
    }

    /// Everything that inherits from a relation, its partitions included.
    pub fn descendants(&self, schema: &str, name: &str) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        let mut next = vec![(schema.to_owned(), name.to_owned())];
        while let Some((schema, name)) = next.pop() {
            let Some(relation) = self.catalog.relation(&schema, &name) else {
                continue;
            };
            for child in &relation.children {
                if found.insert(child.clone()) {
                    next.push(child.clone());
                }
            }
        }
        found
    }

    /// Notes what foreign keys change in the tables that refer to this one.
    pub fn cascade(
        &mut self,
        schema: &str,
        name: &str,
        access: Access,
        columns: Option<&BTreeSet<i16>>,
    ) {
        let mut seen = BTreeSet::new();
        let mut next = vec![((schema.to_owned(), name.to_owned()), access)];
        while let Some((to, access)) = next.pop() {
            let first = to.0 == schema && to.1 == name;
            for key in self.catalog.foreign_keys.iter().filter(|key| key.to == to) {
                let effect = match access {
                    Access::Delete => match key.on_delete {
                        b'c' => Access::Delete,
                        b'n' | b'd' => Access::Update,
                        _ => continue,
                    },
                    Access::Update => {
                        let touched = columns.is_none_or(|columns| {
                            key.to_columns.iter().any(|column| columns.contains(column))
                        });
                        match key.on_update {
                            b'c' | b'n' | b'd' if touched || !first => Access::Update,
                            _ => continue,
                        }
                    }
                    Access::Truncate => Access::Truncate,
                    Access::Select | Access::Insert | Access::Lock => continue,
                };
                if !seen.insert((key.from.clone(), effect)) {
                    continue;
                }
                let (schema, name) = (&key.from.0, &key.from.1);
                if let Some((schema, name, relation)) = self.catalog.relation_entry(schema, name) {
                    let index = self.use_of(schema, name, relation);
                    self.access(index, effect);
                    self.fire_for(schema, name, relation, effect);
                }
                if effect == Access::Truncate {
                    // The server asks for the right to each part.
                    self.truncate_parts(schema, name);
                }
                next.push((key.from.clone(), effect));
            }
        }
    }

    fn truncate_parts(&mut self, schema: &str, name: &str) {
        for (schema, name) in self.descendants(schema, name) {
            if let Some((schema, name, relation)) = self.catalog.relation_entry(&schema, &name) {
                let index = self.use_of(schema, name, relation);
                self.access(index, Access::Truncate);
                self.fire(relation, TriggerEvent::Truncate);
            }
        }
    }

    /// The written relation as names see it.
    fn target_item(&mut self, index: usize, var: &'a RangeVar) -> Result<Item<'a>> {
        let columns = self.relation_columns(index);
        let mut item = Item::new(var.relname.as_str(), columns);
        item.relation = Some(index);
        item.schema = self.uses.get(index).map(|used| used.schema);
        self.aliased(item, var.alias.as_ref())
    }

    /// Marks a column of the target as written, those behind a view too.
    pub fn written(
        &mut self,
        index: usize,
        name: &str,
        location: i32,
        how: ColumnUse,
    ) -> Result<i16> {
        let Some(used) = self.uses.get(index) else {
            return Err(self.unsupported("a target that is not known"));
        };
        let relation = used.relation;
        let Some(order) = relation
            .columns
            .iter()
            .position(|column| column.name == name)
        else {
            let table = used.name;
            return Err(self.unknown(
                "42703",
                location,
                format!("column \"{name}\" of relation \"{table}\" does not exist"),
            ));
        };
        Ok(self.written_at(index, order, how))
    }

    fn written_at(&mut self, index: usize, order: usize, how: ColumnUse) -> i16 {
        let value = self.column_value(index, order);
        self.mark(&value, how);
        self.uses
            .get(index)
            .and_then(|used| used.relation.columns.get(order))
            .map_or(0, |column| column.attnum)
    }

    // ---- INSERT --------------------------------------------------------------------------------

    pub fn insert(
        &mut self,
        scope: Option<&Scope<'_, 'a>>,
        insert: &'a InsertStmt,
    ) -> Result<Option<Vec<Col<'a>>>> {
        let InsertStmt {
            relation,
            cols,
            select_stmt,
            on_conflict_clause,
            returning_clause,
            with_clause,
            r#override: _,
        } = insert;
        let Some(var) = relation else {
            return Err(self.unsupported("an INSERT into nothing"));
        };
        self.with(scope, with_clause.as_ref(), |walk, scope| {
            let index = walk.write_target(var, Access::Insert)?;
            let source = match inner(select_stmt.as_deref()) {
                Some(NodeEnum::SelectStmt(select)) => walk.select(scope, select)?,
                None => Vec::new(),
                Some(_) => return Err(walk.unsupported("an INSERT of another kind")),
            };
            let mut targets = Vec::with_capacity(source.len());
            for col in cols {
                let target = walk.res_target(col)?;
                let level = Scope::child(scope);
                for step in &target.indirection {
                    walk.step(&level, Value::constant(), step)?;
                }
                let how = ColumnUse::Inserted;
                targets.push(walk.written(index, &target.name, target.location, how)?);
            }
            if cols.is_empty() {
                for order in 0..source.len() {
                    targets.push(walk.written_at(index, order, ColumnUse::Inserted));
                }
            }
            for column in &source {
                let value = column.take();
                walk.mark(&value, ColumnUse::Source);
            }
            let item = walk.target_item(index, var)?;
            if let Some(conflict) = on_conflict_clause {
                walk.on_conflict(scope, conflict, index, &item, &targets, &source)?;
            }
            walk.returning(scope, returning_clause.as_ref(), vec![item.clone()], &item)
        })
    }

    fn res_target(&self, node: &'a Node) -> Result<&'a ResTarget> {
        match &node.node {
            Some(NodeEnum::ResTarget(target)) => Ok(target),
            _ => Err(self.unsupported("a target column of another kind")),
        }
    }

    fn on_conflict(
        &mut self,
        parent: Option<&Scope<'_, 'a>>,
        conflict: &'a OnConflictClause,
        index: usize,
        item: &Item<'a>,
        targets: &[i16],
        source: &[Col<'a>],
    ) -> Result<()> {
        let OnConflictClause {
            action,
            infer,
            target_list,
            where_clause,
            location: _,
        } = conflict;
        let mut scope = Scope::child(parent);
        scope.items.push(item.clone());
        if let Some(infer) = infer {
            if !infer.conname.is_empty() {
                // The constraint's columns are read, and the catalog does not say which.
                self.name_all(index);
            }
            for element in &infer.index_elems {
                let value = self.index_element(&scope, element)?;
                self.mark(&value, ColumnUse::Filter);
            }
            if let Some(condition) = &infer.where_clause {
                let value = self.expression(&scope, condition)?;
                self.mark(&value, ColumnUse::Filter);
            }
        }
        match OnConflictAction::try_from(*action) {
            Ok(OnConflictAction::OnconflictUpdate) => {}
            Ok(OnConflictAction::OnconflictNothing | OnConflictAction::OnconflictNone) => {
                return Ok(());
            }
            Ok(OnConflictAction::Undefined) | Err(_) => {
                return Err(self.unsupported("an ON CONFLICT of an unknown kind"));
            }
        }
        self.write_to(index, Access::Update)?;
        // `excluded` holds what would have been inserted.
        let mut excluded = Vec::new();
        if let Some(used) = self.uses.get(index) {
            for column in &used.relation.columns {
                let at = targets.iter().position(|attnum| *attnum == column.attnum);
                let value = at
                    .and_then(|at| source.get(at))
                    .map(Col::take)
                    .unwrap_or_default();
                let col = Col::new(column.name.as_str(), value.derived());
                // The server asks for the right to read the table's column of that name.
                self.named
                    .push((index, column.attnum, Rc::clone(&col.used)));
                excluded.push(col);
            }
        }
        let mut excluded = Item::new("excluded", excluded);
        excluded.by_column = false;
        scope.items.push(excluded);
        self.assignments(&scope, index, target_list)?;
        if let Some(condition) = where_clause {
            let value = self.expression(&scope, condition)?;
            self.mark(&value, ColumnUse::Filter);
        }
        Ok(())
    }

    /// Notes every column of a relation as named.
    pub fn name_all(&mut self, index: usize) {
        if let Some(used) = self.uses.get(index) {
            let columns = used.relation.columns.iter();
            let named = columns.map(|column| (index, column.attnum, Rc::new(Cell::new(true))));
            self.named.extend(named);
        }
    }

    /// A column or expression of an index.
    pub fn index_element(&mut self, scope: &Scope<'_, 'a>, node: &'a Node) -> Result<Value<'a>> {
        let Some(NodeEnum::IndexElem(element)) = inner(Some(node)) else {
            return Err(self.unsupported("an index element of another kind"));
        };
        if let Some(expression) = &element.expr {
            return self.expression(scope, expression);
        }
        self.find_column(scope, &element.name, -1, 1)?
            .ok_or_else(|| {
                self.unknown(
                    "42703",
                    -1,
                    format!("column \"{}\" does not exist", element.name),
                )
            })
    }

    // ---- UPDATE, DELETE ------------------------------------------------------------------------

    pub fn update(
        &mut self,
        scope: Option<&Scope<'_, 'a>>,
        update: &'a UpdateStmt,
    ) -> Result<Option<Vec<Col<'a>>>> {
        let UpdateStmt {
            relation,
            target_list,
            where_clause,
            from_clause,
            returning_clause,
            with_clause,
        } = update;
        let Some(var) = relation else {
            return Err(self.unsupported("an UPDATE of nothing"));
        };
        self.with(scope, with_clause.as_ref(), |walk, scope| {
            let index = walk.write_target(var, Access::Update)?;
            let (level, item) = walk.target_level(scope, index, var, from_clause)?;
            walk.assignments(&level, index, target_list)?;
            walk.limit(&level, where_clause.as_deref(), index)?;
            let output = walk.returning(scope, returning_clause.as_ref(), level.items, &item)?;
            walk.mark_computed(&level.computed);
            Ok(output)
        })
    }

    pub fn delete(
        &mut self,
        scope: Option<&Scope<'_, 'a>>,
        delete: &'a DeleteStmt,
    ) -> Result<Option<Vec<Col<'a>>>> {
        let DeleteStmt {
            relation,
            using_clause,
            where_clause,
            returning_clause,
            with_clause,
        } = delete;
        let Some(var) = relation else {
            return Err(self.unsupported("a DELETE from nothing"));
        };
        self.with(scope, with_clause.as_ref(), |walk, scope| {
            let index = walk.write_target(var, Access::Delete)?;
            let (level, item) = walk.target_level(scope, index, var, using_clause)?;
            walk.limit(&level, where_clause.as_deref(), index)?;
            let output = walk.returning(scope, returning_clause.as_ref(), level.items, &item)?;
            walk.mark_computed(&level.computed);
            Ok(output)
        })
    }

    /// The level of a target and the items that are joined to it.
    fn target_level<'s>(
        &mut self,
        parent: Option<&'s Scope<'s, 'a>>,
        index: usize,
        var: &'a RangeVar,
        from: &'a [Node],
    ) -> Result<(Scope<'s, 'a>, Item<'a>)> {
        let mut level = Scope::child(parent);
        let item = self.target_item(index, var)?;
        let mut target = item.clone();
        // FROM does not see the target.
        target.lateral_only = true;
        target.lateral_ok = false;
        level.items.push(target);
        self.read_from(&mut level, from)?;
        Ok((level, item))
    }

    /// SET: what is written, and from what.
    fn assignments(
        &mut self,
        scope: &Scope<'_, 'a>,
        index: usize,
        targets: &'a [Node],
    ) -> Result<()> {
        let mut columns = BTreeSet::new();
        for node in targets {
            let target = self.res_target(node)?;
            let how = ColumnUse::Updated;
            columns.insert(self.written(index, &target.name, target.location, how)?);
            for step in &target.indirection {
                let value = self.step(scope, Value::constant(), step)?;
                self.mark(&value, ColumnUse::Source);
            }
            let Some(value) = &target.val else {
                return Err(self.unsupported("an assignment without value"));
            };
            let value = match &value.node {
                Some(NodeEnum::MultiAssignRef(multi)) => {
                    let place = usize::try_from(multi.colno).unwrap_or(0).saturating_sub(1);
                    match inner(multi.source.as_deref()) {
                        Some(NodeEnum::SubLink(link)) => {
                            let all = self.sub_query(scope, link.subselect.as_deref())?;
                            all.get(place).map(Col::take)
                        }
                        Some(NodeEnum::RowExpr(row)) => {
                            let mut all = Vec::with_capacity(row.args.len());
                            for arg in &row.args {
                                self.expand(scope, arg, &mut all)?;
                            }
                            all.get(place).map(Col::take)
                        }
                        _ => match &multi.source {
                            Some(source) => Some(self.expression(scope, source)?.derived()),
                            None => None,
                        },
                    }
                    .ok_or_else(|| {
                        self.unsupported("number of columns does not match number of values")
                    })?
                }
                _ => self.expression(scope, value)?,
            };
            self.mark(&value, ColumnUse::Source);
        }
        if let Some(used) = self.uses.get(index) {
            let (schema, name) = (used.schema, used.name);
            self.cascade(schema, name, Access::Update, Some(&columns));
        }
        Ok(())
    }

    /// WHERE of a statement that changes rows: notes whether it limits them.
    fn limit(
        &mut self,
        scope: &Scope<'_, 'a>,
        condition: Option<&'a Node>,
        index: usize,
    ) -> Result<()> {
        let limits = match condition {
            Some(condition) => self.limits(scope, condition, index)?,
            None => false,
        };
        self.unlimited |= !limits;
        Ok(())
    }

    /// True if a condition depends on the target's rows. `WHERE true` and its like do not.
    fn limits(&mut self, scope: &Scope<'_, 'a>, condition: &'a Node, index: usize) -> Result<bool> {
        self.limits_under(scope, condition, index, false)
    }

    fn limits_under(
        &mut self,
        scope: &Scope<'_, 'a>,
        condition: &'a Node,
        index: usize,
        negated: bool,
    ) -> Result<bool> {
        match &condition.node {
            Some(NodeEnum::BoolExpr(boolean)) => {
                let kind = BoolExprType::try_from(boolean.boolop);
                let negated = negated || matches!(kind, Ok(BoolExprType::NotExpr));
                let mut arms = Vec::with_capacity(boolean.args.len());
                for arm in &boolean.args {
                    arms.push(self.nested(|walk| walk.limits_under(scope, arm, index, negated))?);
                }
                Ok(match kind {
                    Ok(BoolExprType::OrExpr) => arms.iter().all(|limits| *limits),
                    Ok(BoolExprType::AndExpr | BoolExprType::NotExpr) => {
                        arms.iter().any(|limits| *limits)
                    }
                    Ok(BoolExprType::Undefined) | Err(_) => false,
                })
            }
            Some(NodeEnum::CurrentOfExpr(_)) => Ok(true),
            Some(NodeEnum::AExpr(operation))
                if same_column(operation.lexpr.as_deref(), operation.rexpr.as_deref()) =>
            {
                let value = self.expression(scope, condition)?;
                self.mark(&value, ColumnUse::Filter);
                Ok(false)
            }
            _ => {
                let before = (self.watched.replace(index), self.watch_hit);
                self.watch_hit = false;
                if negated {
                    let value = self.expression(scope, condition)?;
                    self.mark(&value, ColumnUse::Filter);
                } else {
                    self.test(scope, condition)?;
                }
                let limits = self.watch_hit;
                self.watched = before.0;
                self.watch_hit = before.1 || limits;
                Ok(limits)
            }
        }
    }

    // ---- MERGE -----------------------------------------------------------------------------------

    pub fn merge(
        &mut self,
        scope: Option<&Scope<'_, 'a>>,
        merge: &'a MergeStmt,
    ) -> Result<Option<Vec<Col<'a>>>> {
        let MergeStmt {
            relation,
            source_relation,
            join_condition,
            merge_when_clauses,
            returning_clause,
            with_clause,
        } = merge;
        let (Some(var), Some(source)) = (relation, source_relation) else {
            return Err(self.unsupported("a MERGE without target or source"));
        };
        self.with(scope, with_clause.as_ref(), |walk, scope| {
            let (schema, name, relation) = walk.relation(var)?;
            walk.writable(schema, name, relation)?;
            if relation.has_rules {
                return Err(walk.unsupported(format!(
                    "MERGE into {schema}.{name}, which has rewrite rules"
                )));
            }
            // The target is read whatever is done to it.
            let index = walk.read(schema, name, relation)?;
            let mut level = Scope::child(scope);
            let item = walk.target_item(index, var)?;
            let items = walk.item(&mut level, source)?;
            let mut source_only = Scope::child(scope);
            source_only.items.clone_from(&items);
            level.items.push(item.clone());
            level.items.extend(items);
            let limits = match join_condition {
                Some(condition) => walk.limits(&level, condition, index)?,
                None => false,
            };
            for when in merge_when_clauses {
                let Some(NodeEnum::MergeWhenClause(when)) = inner(Some(when)) else {
                    return Err(walk.unsupported("a WHEN clause of another kind"));
                };
                // Without a row of the target there is none to see.
                let seen = match MergeMatchKind::try_from(when.match_kind) {
                    Ok(MergeMatchKind::MergeWhenNotMatchedByTarget) => &source_only,
                    Ok(
                        MergeMatchKind::MergeWhenMatched
                        | MergeMatchKind::MergeWhenNotMatchedBySource,
                    ) => &level,
                    Ok(MergeMatchKind::Undefined) | Err(_) => {
                        return Err(walk.unsupported("a WHEN clause of an unknown kind"));
                    }
                };
                walk.merge_when(seen, when, index, limits)?;
            }
            let output = walk.returning(scope, returning_clause.as_ref(), level.items, &item)?;
            walk.mark_computed(&level.computed);
            Ok(output)
        })
    }

    fn merge_when(
        &mut self,
        scope: &Scope<'_, 'a>,
        when: &'a MergeWhenClause,
        index: usize,
        limits: bool,
    ) -> Result<()> {
        let MergeWhenClause {
            match_kind: _,
            command_type,
            r#override: _,
            condition,
            target_list,
            values,
        } = when;
        if let Some(condition) = condition {
            let value = self.expression(scope, condition)?;
            self.mark(&value, ColumnUse::Filter);
        }
        match CmdType::try_from(*command_type) {
            Ok(CmdType::CmdInsert) => {
                self.write_to(index, Access::Insert)?;
                for node in target_list {
                    let target = self.res_target(node)?;
                    let how = ColumnUse::Inserted;
                    self.written(index, &target.name, target.location, how)?;
                }
                if target_list.is_empty() {
                    for order in 0..values.len() {
                        self.written_at(index, order, ColumnUse::Inserted);
                    }
                }
                for value in values {
                    let mut columns = Vec::new();
                    self.expand(scope, value, &mut columns)?;
                    for column in columns {
                        self.mark(&column.value, ColumnUse::Source);
                    }
                }
            }
            Ok(CmdType::CmdUpdate) => {
                self.write_to(index, Access::Update)?;
                self.assignments(scope, index, target_list)?;
                self.unlimited |= !limits;
            }
            Ok(CmdType::CmdDelete) => {
                self.write_to(index, Access::Delete)?;
                self.unlimited |= !limits;
            }
            Ok(CmdType::CmdNothing) => {}
            Ok(
                CmdType::CmdUnknown
                | CmdType::CmdSelect
                | CmdType::CmdMerge
                | CmdType::CmdUtility
                | CmdType::Undefined,
            )
            | Err(_) => return Err(self.unsupported("a WHEN action of an unknown kind")),
        }
        Ok(())
    }

    // ---- RETURNING -------------------------------------------------------------------------------

    fn returning(
        &mut self,
        parent: Option<&Scope<'_, 'a>>,
        clause: Option<&'a ReturningClause>,
        items: Vec<Item<'a>>,
        target: &Item<'a>,
    ) -> Result<Option<Vec<Col<'a>>>> {
        let Some(ReturningClause { options, exprs }) = clause else {
            return Ok(None);
        };
        let used = target.relation.and_then(|index| self.uses.get(index));
        if let Some(used) = used.filter(|used| used.relation.has_rules) {
            return Err(self.unsupported(format!(
                "RETURNING from {}.{}, whose rewrite rules say what is returned",
                used.schema, used.name
            )));
        }
        let mut scope = Scope::child(parent);
        scope.items = items;
        let (mut old, mut new) = (None, None);
        for option in options {
            let Some(NodeEnum::ReturningOption(option)) = inner(Some(option)) else {
                return Err(self.unsupported("a RETURNING option of another kind"));
            };
            match ReturningOptionKind::try_from(option.option) {
                Ok(ReturningOptionKind::ReturningOptionOld) => old = Some(option.value.as_str()),
                Ok(ReturningOptionKind::ReturningOptionNew) => new = Some(option.value.as_str()),
                Ok(ReturningOptionKind::Undefined) | Err(_) => {
                    return Err(self.unsupported("a RETURNING option of an unknown kind"));
                }
            }
        }
        for (given, name) in [(old, "old"), (new, "new")] {
            // The default name gives way to an item of that name.
            let taken = scope
                .items
                .iter()
                .any(|item| item.by_name && item.name == name);
            if given.is_some() || !taken {
                let mut row = target.clone();
                row.name = given.unwrap_or(name).into();
                row.schema = None;
                row.by_column = false;
                scope.items.push(row);
            }
        }
        let mut columns = Vec::with_capacity(exprs.len());
        for expression in exprs {
            self.target(&scope, expression, &mut columns)?;
        }
        Ok(Some(columns))
    }
}

/// True for `x = x` and its like.
fn same_column(left: Option<&Node>, right: Option<&Node>) -> bool {
    match (inner(left), inner(right)) {
        (Some(NodeEnum::ColumnRef(left)), Some(NodeEnum::ColumnRef(right))) => {
            left.fields == right.fields
        }
        _ => false,
    }
}
