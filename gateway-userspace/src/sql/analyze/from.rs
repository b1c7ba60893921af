//! The FROM clause: what its items are called, and which columns they have.

use std::borrow::Cow;
use std::rc::Rc;

use pg_query::protobuf::{
    Alias, ColumnDef, FuncCall, JoinExpr, JoinType, RangeFunction, RangeSubselect, RangeTableFunc,
    RangeTableSample, RangeVar,
};
use pg_query::{Node, NodeEnum};

use super::expression::{INT8, TEXT_ARRAY, is_untyped_operand};
use super::names::RECORD;
use super::scope::{Item, Scope};
use super::value::{Col, Value};
use super::{Result, Walk, inner, string, strings};
use crate::sql::catalog::Function;
use crate::sql::nodes::{
    analysed_nodes, clause_nodes, expression_nodes, kind_name, query_nodes, utility_nodes,
};
use crate::sql::statement::ColumnUse;

const TSVECTOR: u32 = 3614;
const ANYELEMENT: &[u32] = &[2283, 5077, 2776];

/// What a function gives as a FROM item.
enum Rows<'a> {
    /// One column; its name if the function names it.
    Scalar(Option<&'a str>),
    /// Columns.
    Columns(Vec<Col<'a>>),
    /// Not known.
    Open,
}

impl<'a> Walk<'a> {
    /// Reads the items of a FROM clause into a level.
    pub fn read_from(&mut self, scope: &mut Scope<'_, 'a>, nodes: &'a [Node]) -> Result<()> {
        for node in nodes {
            let items = self.item(scope, node)?;
            for mut item in items {
                item.lateral_only = true;
                item.lateral_ok = true;
                scope.items.push(item);
            }
        }
        for item in &mut scope.items {
            item.lateral_only = false;
        }
        Ok(())
    }

    /// One item, with what names can see of it.
    pub fn item(&mut self, scope: &mut Scope<'_, 'a>, node: &'a Node) -> Result<Vec<Item<'a>>> {
        let Some(kind) = &node.node else {
            return Err(self.unsupported("an empty FROM item"));
        };
        // Joins hand all columns on, from level to level.
        self.deeper(8, |walk| walk.item_of_kind(scope, kind))
    }

    #[expect(
        clippy::unnested_or_patterns,
        reason = "the groups of kinds are patterns of their own"
    )]
    fn item_of_kind(
        &mut self,
        scope: &mut Scope<'_, 'a>,
        kind: &'a NodeEnum,
    ) -> Result<Vec<Item<'a>>> {
        match kind {
            NodeEnum::RangeVar(var) => Ok(vec![self.table(scope, var)?]),
            NodeEnum::JoinExpr(join) => self.join(scope, join),
            NodeEnum::RangeSubselect(sub) => {
                let item = self.sub_select(scope, sub)?;
                Ok(computed(scope, item))
            }
            NodeEnum::RangeFunction(function) => {
                let item = self.range_function(scope, function)?;
                Ok(computed(scope, item))
            }
            NodeEnum::RangeTableFunc(table) => {
                let item = self.xml_table(scope, table)?;
                Ok(computed(scope, item))
            }
            NodeEnum::RangeTableSample(sample) => {
                let RangeTableSample {
                    relation,
                    method,
                    args,
                    repeatable,
                    location: _,
                } = sample.as_ref();
                let Some(relation) = relation else {
                    return Err(self.unsupported("a TABLESAMPLE of nothing"));
                };
                let Some(parts) = strings(method) else {
                    return Err(self.unsupported("a TABLESAMPLE method that is no name"));
                };
                for (name, function) in self.candidates(&parts, None)? {
                    self.called(name, function, None);
                }
                let mut how = self.all_of(scope, args)?;
                if let Some(seed) = repeatable {
                    how.absorb(&self.expression(scope, seed)?);
                }
                self.mark(&how, ColumnUse::Filter);
                self.item(scope, relation)
            }
            NodeEnum::JsonTable(table) => {
                let item = self.laterally(scope, |walk, scope| walk.json_table(scope, table))?;
                let item = self.aliased(item, table.alias.as_ref())?;
                Ok(computed(scope, item))
            }
            analysed_nodes!()
            | clause_nodes!()
            | expression_nodes!()
            | query_nodes!()
            | utility_nodes!() => {
                Err(self.unsupported(format!("{} in FROM is not understood", kind_name(kind))))
            }
        }
    }

    /// Runs `work` with the items to the left in reach.
    fn laterally<T>(
        &mut self,
        scope: &mut Scope<'_, 'a>,
        work: impl FnOnce(&mut Self, &Scope<'_, 'a>) -> Result<T>,
    ) -> Result<T> {
        let before = std::mem::replace(&mut scope.lateral, true);
        let result = work(self, scope);
        scope.lateral = before;
        result
    }

    fn table(&mut self, scope: &Scope<'_, 'a>, var: &'a RangeVar) -> Result<Item<'a>> {
        if var.schemaname.is_empty()
            && var.catalogname.is_empty()
            && let Some(columns) = self.cte_columns(scope, &var.relname)?
        {
            let mut item = Item::new(var.relname.as_str(), Vec::new());
            item.columns = columns;
            return self.aliased(item, var.alias.as_ref());
        }
        let (schema, name, relation) = self.relation(var)?;
        if matches!(relation.kind, b'i' | b'I' | b'c' | b't') {
            return Err(self.unknown(
                "42809",
                var.location,
                format!("cannot open relation \"{name}\""),
            ));
        }
        let index = self.read(schema, name, relation)?;
        let mut item = Item::new(name, self.relation_columns(index));
        item.schema = Some(schema);
        item.relation = Some(index);
        item.row_type = relation.row_type;
        self.aliased(item, var.alias.as_ref())
    }

    /// Gives an item its alias and column names.
    pub fn aliased(&self, mut item: Item<'a>, alias: Option<&'a Alias>) -> Result<Item<'a>> {
        let Some(alias) = alias else { return Ok(item) };
        item.name = Cow::Borrowed(alias.aliasname.as_str());
        item.schema = None;
        if alias.colnames.is_empty() {
            return Ok(item);
        }
        let Some(names) = strings(&alias.colnames) else {
            return Err(self.unsupported("a column alias that is no name"));
        };
        let mut columns = Vec::clone(&item.columns);
        for (index, name) in names.iter().enumerate() {
            match (columns.get_mut(index), &item.open) {
                (Some(column), _) => column.name = Cow::Borrowed(name),
                (None, Some(open)) => columns.push(Col::new(*name, open.clone())),
                (None, None) => {
                    return Err(self.unknown(
                        "42P10",
                        -1,
                        format!(
                            "table \"{}\" has {} columns available but {} columns specified",
                            item.name,
                            item.columns.len(),
                            names.len()
                        ),
                    ));
                }
            }
        }
        item.columns = Rc::new(columns);
        Ok(item)
    }

    fn sub_select(
        &mut self,
        scope: &mut Scope<'_, 'a>,
        sub: &'a RangeSubselect,
    ) -> Result<Item<'a>> {
        let RangeSubselect {
            lateral,
            subquery,
            alias,
        } = sub;
        let Some(NodeEnum::SelectStmt(select)) = inner(subquery.as_deref()) else {
            return Err(self.unsupported("a sub-select that is no SELECT"));
        };
        let before = std::mem::replace(&mut scope.lateral, *lateral);
        let columns = self.select(Some(scope), select);
        scope.lateral = before;
        self.aliased(Item::new("", columns?), alias.as_ref())
    }

    // ---- functions -----------------------------------------------------------------------------

    fn range_function(
        &mut self,
        scope: &mut Scope<'_, 'a>,
        function: &'a RangeFunction,
    ) -> Result<Item<'a>> {
        let RangeFunction {
            lateral: _,
            ordinality,
            is_rowsfrom: _,
            functions,
            alias,
            coldeflist,
        } = function;
        let alias_name = alias.as_ref().map(|alias| alias.aliasname.as_str());
        let mut columns = Vec::new();
        let mut open: Option<Value<'a>> = None;
        let mut first_name: Option<Cow<'a, str>> = None;
        let single = functions.len() == 1;
        for entry in functions {
            let Some(NodeEnum::List(pair)) = inner(Some(entry)) else {
                return Err(self.unsupported("a function in FROM of another kind"));
            };
            let Some(call) = pair.items.first() else {
                return Err(self.unsupported("a function in FROM without call"));
            };
            let definitions = match inner(pair.items.get(1)) {
                Some(NodeEnum::List(list)) => list.items.as_slice(),
                _ => coldeflist.as_slice(),
            };
            let label = super::select::label(call);
            first_name.get_or_insert_with(|| label.clone());
            for (value, rows) in
                self.laterally(scope, |walk, scope| walk.rows(scope, call, definitions))?
            {
                match rows {
                    Rows::Columns(list) => columns.extend(list),
                    Rows::Scalar(named) => {
                        // The alias of a lone function names its only column.
                        let name = match (named, alias_name) {
                            (Some(name), _) => Cow::Borrowed(name),
                            (None, Some(alias)) if single => Cow::Borrowed(alias),
                            (None, _) => label.clone(),
                        };
                        columns.push(Col::new(name, value));
                    }
                    Rows::Open => {
                        open.get_or_insert_with(Value::constant).absorb(&value);
                        if single && let Some(alias) = alias_name {
                            columns.push(Col::new(alias, value));
                        }
                    }
                }
            }
        }
        if *ordinality {
            columns.push(Col::new("ordinality", Value::of_type(INT8)));
        }
        let mut item = Item::new(first_name.unwrap_or_default(), columns);
        item.open = open;
        self.aliased(item, alias.as_ref())
    }

    /// The rows that a call in FROM gives. `unnest` of several arrays is several calls.
    fn rows(
        &mut self,
        scope: &Scope<'_, 'a>,
        node: &'a Node,
        definitions: &'a [Node],
    ) -> Result<Vec<(Value<'a>, Rows<'a>)>> {
        let Some(NodeEnum::FuncCall(call)) = inner(Some(node)) else {
            // COALESCE, a cast ...
            let value = self.expression(scope, node)?;
            let rows = if definitions.is_empty() {
                Rows::Scalar(None)
            } else {
                Rows::Columns(self.defined_columns(definitions, &value)?)
            };
            return Ok(vec![(value, rows)]);
        };
        let parts = strings(&call.funcname).unwrap_or_default();
        if let ["unnest"] | ["pg_catalog", "unnest"] = parts.as_slice()
            && call.args.len() > 1
        {
            let candidates = self.candidates(&parts, Some(1))?;
            for (name, function) in &candidates {
                self.called(name, function, None);
            }
            let mut all = Vec::with_capacity(call.args.len());
            for arg in &call.args {
                let value = self.expression(scope, arg)?;
                let rows = self.function_rows(
                    &candidates,
                    std::slice::from_ref(&value),
                    &parts,
                    is_untyped_array(arg),
                );
                all.push((value.derived(), rows));
            }
            return Ok(all);
        }
        let value = self.function_call(scope, call)?;
        if !definitions.is_empty() {
            let columns = self.defined_columns(definitions, &value)?;
            return Ok(vec![(value, Rows::Columns(columns))]);
        }
        let rows = self.call_rows(scope, call, &parts, &value)?;
        Ok(vec![(value, rows)])
    }

    fn call_rows(
        &mut self,
        scope: &Scope<'_, 'a>,
        call: &'a FuncCall,
        parts: &[&str],
        value: &Value<'a>,
    ) -> Result<Rows<'a>> {
        if let Some(fields) = &value.fields {
            let columns = fields
                .iter()
                .map(|field| Col::new(field.name.clone(), field.value.clone()));
            return Ok(Rows::Columns(columns.collect()));
        }
        let args = self.arguments(&call.args);
        let mut candidates = self.candidates(parts, Some(args.len()))?;
        if candidates.is_empty() {
            // A cast written as a function.
            return Ok(Rows::Scalar(None));
        }
        self.prefer_strings(&mut candidates, &args);
        let constructor = args.first().is_some_and(|arg| is_untyped_array(arg));
        let mut arguments = Vec::with_capacity(args.len());
        for arg in args {
            arguments.push(self.expression(scope, arg)?);
        }
        Ok(self.function_rows(&candidates, &arguments, parts, constructor))
    }

    /// What the rows of any of these functions look like, if they agree. `constructor`: the first
    /// argument is an array of literals and parameters that have no type of their own.
    fn function_rows(
        &self,
        candidates: &[(&'a str, &'a Function)],
        arguments: &[Value<'a>],
        parts: &[&str],
        constructor: bool,
    ) -> Rows<'a> {
        let first = arguments.first();
        let mut first_type = first.map_or(0, |value| self.base_type(value.type_oid));
        if constructor && first_type == 0 {
            // Whatever its elements become, the rows hold nothing but what the client sent.
            first_type = TEXT_ARRAY;
        }
        let mut candidates = candidates.to_vec();
        if parts.last() == Some(&"unnest") && first_type != 0 {
            // Those for tsvector and multiranges are told apart by the argument.
            let is_array = self
                .type_info(first_type)
                .is_some_and(|info| info.element != 0);
            candidates.retain(|(_, function)| {
                function.schema != "pg_catalog"
                    || ((first_type == TSVECTOR) == (function.out_columns.len() > 1)
                        && is_array == ANYELEMENT.contains(&function.return_type))
            });
        }
        let from = Value::combine(arguments).derived();
        let mut scalar: Option<Option<&'a str>> = None;
        for (_, function) in &candidates {
            let name = match function.out_columns.as_slice() {
                [] => None,
                [name] => Some(name.as_str()),
                // All candidates agreeing is dealt with by `returned`.
                _ => return Rows::Open,
            };
            let returned = function.return_type;
            let is_scalar = if ANYELEMENT.contains(&returned) {
                let element = match self.type_info(first_type) {
                    Some(info) if parts.last() == Some(&"unnest") => info.element,
                    Some(_) => first_type,
                    None => 0,
                };
                if let Some(columns) = self.composite_fields(element, &from) {
                    if candidates.len() == 1 {
                        return Rows::Columns(columns);
                    }
                    return Rows::Open;
                }
                element != 0 && element != RECORD
            } else {
                returned != RECORD
                    && self
                        .type_info(self.base_type(returned))
                        .is_none_or(|info| info.kind != b'c')
            };
            if !is_scalar || scalar.is_some_and(|known| known != name) {
                return Rows::Open;
            }
            scalar = Some(name);
        }
        scalar.map_or(Rows::Open, Rows::Scalar)
    }

    /// Columns of `AS (name type, ...)`.
    fn defined_columns(
        &mut self,
        definitions: &'a [Node],
        value: &Value<'a>,
    ) -> Result<Vec<Col<'a>>> {
        let mut columns = Vec::with_capacity(definitions.len());
        for definition in definitions {
            let Some(NodeEnum::ColumnDef(definition)) = inner(Some(definition)) else {
                return Err(self.unsupported("a column definition of another kind"));
            };
            let ColumnDef {
                colname, type_name, ..
            } = definition.as_ref();
            let mut column = Value {
                fields: None,
                ..value.clone()
            };
            if let Some(name) = type_name {
                column.type_oid = self.type_oid(name)?;
                self.convert_to(column.type_oid);
            }
            columns.push(Col::new(colname.as_str(), column));
        }
        Ok(columns)
    }

    fn xml_table(
        &mut self,
        scope: &mut Scope<'_, 'a>,
        table: &'a RangeTableFunc,
    ) -> Result<Item<'a>> {
        let RangeTableFunc {
            lateral: _,
            docexpr,
            rowexpr,
            namespaces,
            columns,
            alias,
            location: _,
        } = table;
        let item = self.laterally(scope, |walk, scope| {
            let mut all = Value::constant();
            for part in [docexpr, rowexpr].into_iter().flatten() {
                all.absorb(&walk.expression(scope, part)?);
            }
            for namespace in namespaces {
                if let Some(NodeEnum::ResTarget(target)) = inner(Some(namespace))
                    && let Some(value) = &target.val
                {
                    all.absorb(&walk.expression(scope, value)?);
                }
            }
            let mut found = Vec::with_capacity(columns.len());
            for column in columns {
                let Some(NodeEnum::RangeTableFuncCol(column)) = inner(Some(column)) else {
                    return Err(walk.unsupported("an XMLTABLE column of another kind"));
                };
                let mut value = all.clone().derived();
                if let Some(name) = &column.type_name {
                    value.type_oid = walk.type_oid(name)?;
                    walk.convert_to(value.type_oid);
                }
                for part in [&column.colexpr, &column.coldefexpr].into_iter().flatten() {
                    value.absorb(&walk.expression(scope, part)?);
                }
                found.push(Col::new(column.colname.as_str(), value));
            }
            Ok(Item::new("xmltable", found))
        })?;
        self.aliased(item, alias.as_ref())
    }

    // ---- joins ---------------------------------------------------------------------------------

    fn join(&mut self, scope: &mut Scope<'_, 'a>, join: &'a JoinExpr) -> Result<Vec<Item<'a>>> {
        let JoinExpr {
            jointype,
            is_natural,
            larg,
            rarg,
            using_clause,
            join_using_alias,
            quals,
            alias,
            rtindex: _,
        } = join;
        let (Some(left), Some(right)) = (larg, rarg) else {
            return Err(self.unsupported("a join with one side"));
        };
        let left = self.item(scope, left)?;
        // The right side sees the left one through LATERAL only, and not from RIGHT or FULL.
        let lateral_ok = matches!(
            JoinType::try_from(*jointype),
            Ok(JoinType::JoinInner | JoinType::JoinLeft)
        );
        let before = scope.items.len();
        scope.items.extend(left.iter().cloned().map(|mut item| {
            item.lateral_only = true;
            item.lateral_ok = lateral_ok;
            item
        }));
        let right = self.item(scope, right);
        scope.items.truncate(before);
        let right = right?;

        let left_columns = columns_of(&left);
        let right_columns = columns_of(&right);
        let open = left
            .iter()
            .chain(&right)
            .filter(|item| item.by_column)
            .find_map(|item| item.open.clone());
        let names: Vec<&str> = if *is_natural {
            if open.is_some() {
                return Err(
                    self.unsupported("a NATURAL JOIN over a function whose columns are not known")
                );
            }
            left_columns
                .iter()
                .map(|col| col.name.as_ref())
                .filter(|name| right_columns.iter().any(|col| col.name == *name))
                .collect()
        } else {
            let Some(names) = strings(using_clause) else {
                return Err(self.unsupported("a USING column that is no name"));
            };
            names
        };
        let mut merged = Vec::with_capacity(names.len());
        if !names.is_empty() {
            self.operator(&["="])?;
        }
        for name in &names {
            let (one, other) = (
                self.join_column(&left_columns, name, "left")?,
                self.join_column(&right_columns, name, "right")?,
            );
            self.mark(&one, ColumnUse::Filter);
            self.mark(&other, ColumnUse::Filter);
            let mut value = one.merge(&other);
            if value.fields.is_some() {
                value.fields = None;
            }
            merged.push(Col::new((*name).to_owned(), value));
        }
        if let Some(quals) = quals {
            let mut on = Scope::child(scope.parent);
            on.ctes = scope.ctes;
            on.items = left
                .iter()
                .chain(&right)
                .cloned()
                .map(|mut item| {
                    item.lateral_only = false;
                    item
                })
                .collect();
            let value = self.expression(&on, quals)?;
            self.mark(&value, ColumnUse::Filter);
        }

        let mut all = merged.clone();
        let rest = |col: &&Col<'a>| !names.iter().any(|name| col.name == *name);
        all.extend(left_columns.iter().filter(rest).cloned());
        all.extend(right_columns.iter().filter(rest).cloned());
        let mut item = Item::new("", all);
        item.open = open;
        let mut items = Vec::new();
        if let Some(alias) = alias {
            // An alias hides both sides.
            item = self.aliased(item, Some(alias))?;
        } else {
            item.by_name = false;
            items.extend(left.into_iter().chain(right).map(|mut side| {
                side.by_column = false;
                side
            }));
        }
        if let Some(using) = join_using_alias {
            let mut columns = Item::new(using.aliasname.as_str(), merged);
            columns.by_column = false;
            items.push(columns);
        }
        items.push(item);
        Ok(items)
    }

    fn join_column(&self, columns: &[Col<'a>], name: &str, side: &str) -> Result<Value<'a>> {
        let mut matches = columns.iter().filter(|col| col.name == name);
        match (matches.next(), matches.next()) {
            (Some(col), None) => Ok(col.take()),
            (Some(_), Some(_)) => Err(self.unknown(
                "42702",
                -1,
                format!("common column name \"{name}\" appears more than once in {side} table"),
            )),
            (None, _) => Err(self.unknown(
                "42703",
                -1,
                format!(
                    "column \"{name}\" specified in USING clause does not exist in {side} table"
                ),
            )),
        }
    }
}

/// Notes an item whose columns are computed, and gives it back as a list.
fn computed<'a>(scope: &mut Scope<'_, 'a>, item: Item<'a>) -> Vec<Item<'a>> {
    scope.computed.push(item.clone());
    vec![item]
}

/// The columns of a join's side, in order.
fn columns_of<'a>(items: &[Item<'a>]) -> Vec<Col<'a>> {
    items
        .iter()
        .filter(|item| item.by_column)
        .flat_map(|item| item.columns.iter().cloned())
        .collect()
}

/// True for an array of literals and parameters.
fn is_untyped_array(node: &Node) -> bool {
    matches!(&node.node, Some(NodeEnum::AArrayExpr(array)) if array.elements.iter().all(is_untyped_operand))
}

/// Names of a list of `String` nodes; nothing for other kinds.
pub(super) fn names_of(nodes: &[Node]) -> Vec<&str> {
    nodes.iter().filter_map(string).collect()
}
