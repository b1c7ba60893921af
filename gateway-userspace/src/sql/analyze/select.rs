//! SELECT, VALUES and set operations.

use std::borrow::Cow;

use pg_query::protobuf::{
    AExprKind, LockingClause, MinMaxOp, SelectStmt, SetOperation, SqlValueFunctionOp, SubLinkType,
    XmlExprOp, a_const,
};
use pg_query::{Node, NodeEnum};

use super::query::Publish;
use super::scope::{Item, Scope};
use super::value::Col;
use super::{Result, Walk, inner, string};
use crate::sql::statement::{Access, ColumnUse};

impl<'a> Walk<'a> {
    /// A SELECT, with what its WITH clause names.
    pub fn select(
        &mut self,
        parent: Option<&Scope<'_, 'a>>,
        select: &'a SelectStmt,
    ) -> Result<Vec<Col<'a>>> {
        // They take more of the stack than expressions.
        let levels = match SetOperation::try_from(select.op) {
            Ok(SetOperation::SetopNone) => 8,
            Ok(_) | Err(_) => 2,
        };
        self.deeper(levels, |walk| walk.select_publishing(parent, select, None))
    }

    /// As [`Self::select`]; a recursive CTE's first arm is published before its second is read.
    pub fn select_publishing(
        &mut self,
        parent: Option<&Scope<'_, 'a>>,
        select: &'a SelectStmt,
        publish: Option<&Publish<'_, 'a>>,
    ) -> Result<Vec<Col<'a>>> {
        self.with(parent, select.with_clause.as_ref(), |walk, parent| {
            walk.select_body(parent, select, publish)
        })
    }

    fn select_body(
        &mut self,
        parent: Option<&Scope<'_, 'a>>,
        select: &'a SelectStmt,
        publish: Option<&Publish<'_, 'a>>,
    ) -> Result<Vec<Col<'a>>> {
        // Every field is taken, so that a new clause does not compile until it is read.
        let SelectStmt {
            distinct_clause,
            into_clause,
            target_list,
            from_clause,
            where_clause,
            group_clause,
            group_distinct: _,
            having_clause,
            window_clause,
            values_lists,
            sort_clause,
            limit_offset,
            limit_count,
            limit_option: _,
            locking_clause,
            with_clause: _,
            op,
            all: _,
            larg: _,
            rarg: _,
        } = select;
        if into_clause.is_some() && !self.may_have_into(select) {
            return Err(
                self.unsupported("SELECT INTO is only understood as a statement of its own")
            );
        }
        let mut scope = Scope::child(parent);
        let (columns, names_only) = match SetOperation::try_from(*op) {
            Ok(SetOperation::SetopNone) if !values_lists.is_empty() => {
                (self.values(&scope, values_lists)?, true)
            }
            Ok(SetOperation::SetopNone) => {
                self.read_from(&mut scope, from_clause)?;
                let mut columns = Vec::with_capacity(target_list.len());
                for target in target_list {
                    self.target(&scope, target, &mut columns)?;
                }
                (columns, false)
            }
            Ok(
                SetOperation::SetopUnion | SetOperation::SetopIntersect | SetOperation::SetopExcept,
            ) => (self.set_operation(parent, select, publish)?, true),
            Ok(SetOperation::Undefined) | Err(_) => {
                return Err(self.unsupported("a set operation of an unknown kind"));
            }
        };
        if names_only {
            // ORDER BY sees the result's columns alone.
            let mut result = Item::new("", columns.clone());
            result.by_name = false;
            scope.items = vec![result];
        }
        if let Some(condition) = where_clause {
            self.condition(&scope, condition)?;
        }
        for key in group_clause {
            self.group_key(&scope, key, &columns)?;
        }
        if let Some(condition) = having_clause {
            let value = self.expression(&scope, condition)?;
            self.mark(&value, ColumnUse::Filter);
        }
        for window in window_clause {
            let Some(NodeEnum::WindowDef(window)) = inner(Some(window)) else {
                return Err(self.unsupported("a window of another kind"));
            };
            self.window(&scope, window)?;
        }
        self.distinct(&scope, distinct_clause, &columns)?;
        for key in sort_clause {
            self.order_key(&scope, key, &columns)?;
        }
        for bound in [limit_offset, limit_count].into_iter().flatten() {
            let value = self.expression(&scope, bound)?;
            self.mark(&value, ColumnUse::Filter);
        }
        for lock in locking_clause {
            self.row_lock(&scope, lock)?;
        }
        self.mark_computed(&scope.computed);
        Ok(columns)
    }

    /// One item of a target list.
    pub fn target(
        &mut self,
        scope: &Scope<'_, 'a>,
        node: &'a Node,
        columns: &mut Vec<Col<'a>>,
    ) -> Result<()> {
        let Some(NodeEnum::ResTarget(target)) = inner(Some(node)) else {
            return Err(self.unsupported("a target of another kind"));
        };
        let Some(value) = &target.val else {
            return Err(self.unsupported("a target without value"));
        };
        let first = columns.len();
        self.expand(scope, value, columns)?;
        if !target.name.is_empty()
            && let Some(column) = columns.get_mut(first)
        {
            column.name = Cow::Borrowed(target.name.as_str());
        }
        Ok(())
    }

    // ---- set operations and VALUES ---------------------------------------------------------------

    fn set_operation(
        &mut self,
        parent: Option<&Scope<'_, 'a>>,
        select: &'a SelectStmt,
        publish: Option<&Publish<'_, 'a>>,
    ) -> Result<Vec<Col<'a>>> {
        let (Some(left), Some(right)) = (&select.larg, &select.rarg) else {
            return Err(self.unsupported("a set operation with one side"));
        };
        let left = self.select(parent, left)?;
        let mut merged = left.clone();
        if let Some(publish) = publish {
            publish.columns(self, &left)?;
        }
        loop {
            let arm = self.select(parent, right)?;
            if arm.len() != left.len() {
                return Err(self.unsupported(
                    "each side of a set operation must have the same number of columns",
                ));
            }
            let next: Vec<Col<'a>> = merged
                .iter()
                .zip(&arm)
                .map(|(one, other)| Col::new(one.name.clone(), one.take().merge(&other.take())))
                .collect();
            let settled = next
                .iter()
                .zip(&merged)
                .all(|(new, old)| new.value == old.value);
            merged = next;
            match publish {
                Some(publish) if !settled && publish.was_read() => {
                    publish.columns(self, &merged)?;
                }
                Some(_) | None => break,
            }
        }
        let keeps_all = select.all
            && matches!(
                SetOperation::try_from(select.op),
                Ok(SetOperation::SetopUnion)
            );
        if !keeps_all {
            // Rows are compared.
            for column in &merged {
                self.mark(&column.value, ColumnUse::Filter);
            }
        }
        Ok(merged)
    }

    /// VALUES: columns by position, over all rows.
    pub fn values(&mut self, scope: &Scope<'_, 'a>, rows: &'a [Node]) -> Result<Vec<Col<'a>>> {
        let mut merged: Option<Vec<Col<'a>>> = None;
        for row in rows {
            let Some(NodeEnum::List(list)) = inner(Some(row)) else {
                return Err(self.unsupported("a VALUES row of another kind"));
            };
            let mut columns = Vec::with_capacity(list.items.len());
            for item in &list.items {
                self.expand(scope, item, &mut columns)?;
            }
            match &mut merged {
                None => {
                    for (index, column) in columns.iter_mut().enumerate() {
                        column.name = Cow::Owned(format!("column{}", index + 1));
                    }
                    merged = Some(columns);
                }
                Some(all) if all.len() == columns.len() => {
                    for (one, other) in all.iter_mut().zip(&columns) {
                        one.value = one.value.merge(&other.value);
                    }
                }
                Some(_) => {
                    return Err(self.unsupported("VALUES lists must all be the same length"));
                }
            }
        }
        Ok(merged.unwrap_or_default())
    }

    // ---- GROUP BY, ORDER BY, DISTINCT --------------------------------------------------------------

    fn group_key(
        &mut self,
        scope: &Scope<'_, 'a>,
        node: &'a Node,
        columns: &[Col<'a>],
    ) -> Result<()> {
        match &node.node {
            Some(NodeEnum::GroupingSet(set)) => {
                for item in &set.content {
                    self.nested(|walk| walk.group_key(scope, item, columns))?;
                }
                Ok(())
            }
            Some(NodeEnum::ColumnRef(_)) if bare_name(node).is_some() => {
                let name = bare_name(node).unwrap_or_default();
                // A column of FROM comes before a column of the result.
                if let Some(value) = self.find_column(scope, name, -1, 1)? {
                    self.mark(&value, ColumnUse::Filter);
                    return Ok(());
                }
                self.key(scope, node, columns)
            }
            _ => self.key(scope, node, columns),
        }
    }

    fn order_key(
        &mut self,
        scope: &Scope<'_, 'a>,
        node: &'a Node,
        columns: &[Col<'a>],
    ) -> Result<()> {
        let Some(NodeEnum::SortBy(sort)) = inner(Some(node)) else {
            return Err(self.unsupported("an ORDER BY item that is no sort key"));
        };
        self.sort_operator(&sort.use_op)?;
        match &sort.node {
            Some(key) => self.key(scope, key, columns),
            None => Err(self.unsupported("an ORDER BY item without expression")),
        }
    }

    /// A key that may be a position or a name of the result.
    fn key(&mut self, scope: &Scope<'_, 'a>, node: &'a Node, columns: &[Col<'a>]) -> Result<()> {
        if let Some(NodeEnum::AConst(constant)) = inner(Some(node))
            && let Some(a_const::Val::Ival(position)) = &constant.val
        {
            let column = usize::try_from(position.ival)
                .ok()
                .and_then(|position| columns.get(position.checked_sub(1)?));
            let Some(column) = column else {
                return Err(self.unknown(
                    "42P10",
                    constant.location,
                    format!("position {} is not in select list", position.ival),
                ));
            };
            self.mark(&column.value, ColumnUse::Filter);
            return Ok(());
        }
        if let Some(name) = bare_name(node) {
            let mut found = false;
            for column in columns.iter().filter(|column| column.name == name) {
                self.mark(&column.value, ColumnUse::Filter);
                found = true;
            }
            if found {
                return Ok(());
            }
        }
        let value = self.expression(scope, node)?;
        self.mark(&value, ColumnUse::Filter);
        Ok(())
    }

    fn distinct(
        &mut self,
        scope: &Scope<'_, 'a>,
        clause: &'a [Node],
        columns: &[Col<'a>],
    ) -> Result<()> {
        // DISTINCT without ON is a list of one empty node.
        if let [only] = clause
            && only.node.is_none()
        {
            for column in columns {
                self.mark(&column.value, ColumnUse::Filter);
            }
            return Ok(());
        }
        for key in clause {
            self.key(scope, key, columns)?;
        }
        Ok(())
    }

    // ---- FOR UPDATE ----------------------------------------------------------------------------------

    fn row_lock(&mut self, scope: &Scope<'_, 'a>, node: &'a Node) -> Result<()> {
        let Some(NodeEnum::LockingClause(lock)) = inner(Some(node)) else {
            return Err(self.unsupported("a locking clause of another kind"));
        };
        let LockingClause {
            locked_rels,
            strength: _,
            wait_policy: _,
        } = lock;
        let mut names = Vec::with_capacity(locked_rels.len());
        for locked in locked_rels {
            let Some(NodeEnum::RangeVar(var)) = inner(Some(locked)) else {
                return Err(self.unsupported("a locked item of another kind"));
            };
            names.push(var.relname.as_str());
        }
        let mut locked = Vec::new();
        for item in &scope.items {
            if !names.is_empty() && !names.iter().any(|name| item.name == *name) {
                continue;
            }
            locked.extend(item.relation);
            // A sub-select's or view's own tables are locked too.
            for column in item.columns.iter() {
                locked.extend(column.value.origins.iter().map(|(relation, _)| *relation));
            }
        }
        for index in locked {
            self.access(index, Access::Update);
        }
        Ok(())
    }
}

/// The name, if the expression is one bare name.
fn bare_name(node: &Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::ColumnRef(column)) => match column.fields.as_slice() {
            [name] => string(name),
            _ => None,
        },
        _ => None,
    }
}

/// The label that `PostgreSQL` gives a column without one (`FigureColname`).
pub(super) fn label(node: &Node) -> Cow<'_, str> {
    figure(node).map_or(Cow::Borrowed("?column?"), |(name, _)| Cow::Borrowed(name))
}

/// A label, and whether it is stronger than a cast's type name.
fn figure(node: &Node) -> Option<(&str, bool)> {
    let strong = |name| Some((name, true));
    match node.node.as_ref()? {
        NodeEnum::ColumnRef(column) => column.fields.iter().rev().find_map(string).and_then(strong),
        NodeEnum::AIndirection(indirection) => {
            match indirection.indirection.iter().rev().find_map(string) {
                Some(name) => strong(name),
                None => figure(indirection.arg.as_deref()?),
            }
        }
        NodeEnum::FuncCall(call) => call.funcname.last().and_then(string).and_then(strong),
        NodeEnum::AExpr(expression)
            if matches!(
                AExprKind::try_from(expression.kind),
                Ok(AExprKind::AexprNullif)
            ) =>
        {
            strong("nullif")
        }
        NodeEnum::TypeCast(cast) => {
            let of_arg = cast.arg.as_deref().and_then(figure);
            if let Some((name, true)) = of_arg {
                return strong(name);
            }
            let of_type = cast.type_name.as_ref().and_then(|name| name.names.last());
            of_type
                .and_then(string)
                .map(|name| (name, false))
                .or(of_arg)
        }
        NodeEnum::CollateClause(collate) => figure(collate.arg.as_deref()?),
        NodeEnum::GroupingFunc(_) => strong("grouping"),
        NodeEnum::MergeSupportFunc(_) => strong("merge_action"),
        NodeEnum::SubLink(link) => match SubLinkType::try_from(link.sub_link_type) {
            Ok(SubLinkType::ExistsSublink) => strong("exists"),
            Ok(SubLinkType::ArraySublink) => strong("array"),
            Ok(SubLinkType::ExprSublink) => {
                let NodeEnum::SelectStmt(select) = link.subselect.as_ref()?.node.as_ref()? else {
                    return None;
                };
                let mut leaf = select.as_ref();
                while let Some(left) = leaf.larg.as_deref() {
                    leaf = left;
                }
                if !leaf.values_lists.is_empty() {
                    return strong("column1");
                }
                match leaf.target_list.first()?.node.as_ref()? {
                    NodeEnum::ResTarget(target) if !target.name.is_empty() => strong(&target.name),
                    NodeEnum::ResTarget(target) => figure(target.val.as_deref()?),
                    _ => None,
                }
            }
            _ => None,
        },
        NodeEnum::CaseExpr(case) => {
            let of_default = case.defresult.as_deref().and_then(figure);
            match of_default {
                Some((name, true)) => strong(name),
                Some(_) | None => Some(("case", false)),
            }
        }
        NodeEnum::AArrayExpr(_) => strong("array"),
        NodeEnum::RowExpr(_) => strong("row"),
        NodeEnum::CoalesceExpr(_) => strong("coalesce"),
        NodeEnum::MinMaxExpr(min_max) => strong(match MinMaxOp::try_from(min_max.op) {
            Ok(MinMaxOp::IsLeast) => "least",
            _ => "greatest",
        }),
        NodeEnum::SqlvalueFunction(function) => {
            strong(match SqlValueFunctionOp::try_from(function.op).ok()? {
                SqlValueFunctionOp::SvfopCurrentDate => "current_date",
                SqlValueFunctionOp::SvfopCurrentTime | SqlValueFunctionOp::SvfopCurrentTimeN => {
                    "current_time"
                }
                SqlValueFunctionOp::SvfopCurrentTimestamp
                | SqlValueFunctionOp::SvfopCurrentTimestampN => "current_timestamp",
                SqlValueFunctionOp::SvfopLocaltime | SqlValueFunctionOp::SvfopLocaltimeN => {
                    "localtime"
                }
                SqlValueFunctionOp::SvfopLocaltimestamp
                | SqlValueFunctionOp::SvfopLocaltimestampN => "localtimestamp",
                SqlValueFunctionOp::SvfopCurrentRole => "current_role",
                SqlValueFunctionOp::SvfopCurrentUser => "current_user",
                SqlValueFunctionOp::SvfopUser => "user",
                SqlValueFunctionOp::SvfopSessionUser => "session_user",
                SqlValueFunctionOp::SvfopCurrentCatalog => "current_catalog",
                SqlValueFunctionOp::SvfopCurrentSchema => "current_schema",
                SqlValueFunctionOp::SqlvalueFunctionOpUndefined => return None,
            })
        }
        NodeEnum::XmlExpr(xml) => strong(match XmlExprOp::try_from(xml.op).ok()? {
            XmlExprOp::IsXmlconcat => "xmlconcat",
            XmlExprOp::IsXmlelement => "xmlelement",
            XmlExprOp::IsXmlforest => "xmlforest",
            XmlExprOp::IsXmlparse => "xmlparse",
            XmlExprOp::IsXmlpi => "xmlpi",
            XmlExprOp::IsXmlroot => "xmlroot",
            XmlExprOp::IsXmlserialize | XmlExprOp::IsDocument | XmlExprOp::Undefined => {
                return None;
            }
        }),
        NodeEnum::XmlSerialize(_) => strong("xmlserialize"),
        NodeEnum::JsonParseExpr(_) => strong("json"),
        NodeEnum::JsonScalarExpr(_) => strong("json_scalar"),
        NodeEnum::JsonSerializeExpr(_) => strong("json_serialize"),
        NodeEnum::JsonObjectConstructor(_) => strong("json_object"),
        NodeEnum::JsonArrayConstructor(_) | NodeEnum::JsonArrayQueryConstructor(_) => {
            strong("json_array")
        }
        NodeEnum::JsonObjectAgg(_) => strong("json_objectagg"),
        NodeEnum::JsonArrayAgg(_) => strong("json_arrayagg"),
        // Labels only: a kind that is not named here has none.
        _ => None,
    }
}
