//! Expressions: every kind that the grammar has, with what its value comes from.

use pg_query::protobuf::{
    AExpr, AExprKind, AIndirection, CaseExpr, ColumnRef, SqlValueFunctionOp, SubLink, SubLinkType,
    a_const,
};
use pg_query::{Node, NodeEnum};

use super::scope::Scope;
use super::value::{Col, Field, Value};
use super::{Result, Walk, inner, strings};
use crate::sql::nodes::{
    analysed_nodes, clause_nodes, from_nodes, kind_name, query_nodes, utility_nodes,
};
use crate::sql::statement::ColumnUse;

pub(super) const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const FLOAT4: u32 = 700;
const FLOAT8: u32 = 701;
const NUMERIC: u32 = 1700;
const TEXT: u32 = 25;
const VARCHAR: u32 = 1043;
pub(super) const TEXT_ARRAY: u32 = 1009;

impl<'a> Walk<'a> {
    /// The value of an expression.
    pub fn expression(&mut self, scope: &Scope<'_, 'a>, node: &'a Node) -> Result<Value<'a>> {
        let Some(kind) = &node.node else {
            return Err(self.unsupported("an empty expression"));
        };
        self.nested(|walk| walk.expression_kind(scope, kind))
    }

    fn optional(&mut self, scope: &Scope<'_, 'a>, node: Option<&'a Node>) -> Result<Value<'a>> {
        match node {
            Some(node) => self.expression(scope, node),
            None => Ok(Value::constant()),
        }
    }

    /// Computed from all of a list.
    pub fn all_of(&mut self, scope: &Scope<'_, 'a>, nodes: &'a [Node]) -> Result<Value<'a>> {
        let mut all = Value::constant();
        for node in nodes {
            all.absorb(&self.expression(scope, node)?);
        }
        Ok(all)
    }

    #[expect(
        clippy::unnested_or_patterns,
        reason = "the groups of kinds are patterns of their own"
    )]
    fn expression_kind(&mut self, scope: &Scope<'_, 'a>, kind: &'a NodeEnum) -> Result<Value<'a>> {
        Ok(match kind {
            NodeEnum::ColumnRef(column) => self.column(scope, column)?,
            NodeEnum::AConst(constant) => match &constant.val {
                Some(a_const::Val::Ival(_)) => Value::of_type(INT4),
                Some(a_const::Val::Boolval(_)) => Value::of_type(16),
                Some(a_const::Val::Fval(number)) => Value::of_type(number_type(&number.fval)),
                Some(a_const::Val::Sval(_) | a_const::Val::Bsval(_)) | None => Value::constant(),
            },
            NodeEnum::SqlvalueFunction(function) => Value::of_type(sql_value_type(function.op())),
            NodeEnum::ParamRef(parameter) => Value {
                type_oid: self.parsed.parameter_type(parameter.number),
                ..Value::constant()
            },
            NodeEnum::SetToDefault(_)
            | NodeEnum::CurrentOfExpr(_)
            | NodeEnum::MergeSupportFunc(_)
            | NodeEnum::Integer(_)
            | NodeEnum::Float(_)
            | NodeEnum::Boolean(_)
            | NodeEnum::String(_)
            | NodeEnum::BitString(_) => Value::constant(),
            NodeEnum::AExpr(operation) => self.operation(scope, operation)?,
            NodeEnum::BoolExpr(boolean) => self.all_of(scope, &boolean.args)?,
            NodeEnum::NullTest(test) => self.optional(scope, test.arg.as_deref())?.derived(),
            NodeEnum::BooleanTest(test) => self.optional(scope, test.arg.as_deref())?.derived(),
            NodeEnum::FuncCall(call) => self.function_call(scope, call)?,
            NodeEnum::NamedArgExpr(argument) => self.optional(scope, argument.arg.as_deref())?,
            NodeEnum::TypeCast(cast) => {
                let value = self.optional(scope, cast.arg.as_deref())?;
                let Some(name) = &cast.type_name else {
                    return Err(self.unsupported("a cast without type"));
                };
                let oid = self.type_oid(name)?;
                self.convert_to(oid);
                let mut value = value.derived();
                value.type_oid = oid;
                value
            }
            NodeEnum::CollateClause(collate) => {
                self.optional(scope, collate.arg.as_deref())?.derived()
            }
            NodeEnum::CaseExpr(case) => self.case(scope, case)?,
            NodeEnum::CoalesceExpr(coalesce) => self.all_of(scope, &coalesce.args)?,
            NodeEnum::MinMaxExpr(min_max) => self.all_of(scope, &min_max.args)?,
            NodeEnum::GroupingFunc(grouping) => self.all_of(scope, &grouping.args)?,
            NodeEnum::RowExpr(row) => {
                let mut columns = Vec::with_capacity(row.args.len());
                for arg in &row.args {
                    self.expand(scope, arg, &mut columns)?;
                }
                Value::row(
                    columns
                        .into_iter()
                        .enumerate()
                        .map(|(index, col)| Field {
                            name: format!("f{}", index + 1).into(),
                            value: col.value,
                        })
                        .collect(),
                )
            }
            NodeEnum::AArrayExpr(array) => self.array(scope, &array.elements)?,
            NodeEnum::List(list) => self.all_of(scope, &list.items)?,
            NodeEnum::AIndirection(indirection) => self.indirection(scope, indirection)?,
            NodeEnum::SubLink(link) => self.sub_link(scope, link)?,
            NodeEnum::MultiAssignRef(_) => {
                return Err(self.unsupported("a multiple assignment outside of SET"));
            }
            NodeEnum::XmlExpr(xml) => {
                let mut all = self.all_of(scope, &xml.args)?;
                for named in &xml.named_args {
                    let Some(NodeEnum::ResTarget(target)) = inner(Some(named)) else {
                        return Err(self.unsupported("an XML attribute of another kind"));
                    };
                    all.absorb(&self.optional(scope, target.val.as_deref())?);
                }
                all
            }
            NodeEnum::XmlSerialize(xml) => {
                let value = self.optional(scope, xml.expr.as_deref())?;
                if let Some(name) = &xml.type_name {
                    let oid = self.type_oid(name)?;
                    self.convert_to(oid);
                }
                value.derived()
            }
            NodeEnum::JsonValueExpr(value) => self.json_value(scope, Some(value))?,
            NodeEnum::JsonIsPredicate(test) => {
                self.optional(scope, test.expr.as_deref())?.derived()
            }
            NodeEnum::JsonFuncExpr(function) => self.json_function(scope, function)?,
            NodeEnum::JsonParseExpr(parse) => {
                self.json_output(parse.output.as_ref())?;
                self.json_value(scope, parse.expr.as_deref())?
            }
            NodeEnum::JsonScalarExpr(scalar) => {
                self.json_output(scalar.output.as_ref())?;
                self.optional(scope, scalar.expr.as_deref())?.derived()
            }
            NodeEnum::JsonSerializeExpr(serialize) => {
                self.json_output(serialize.output.as_ref())?;
                self.json_value(scope, serialize.expr.as_deref())?
            }
            NodeEnum::JsonObjectConstructor(object) => {
                self.json_output(object.output.as_ref())?;
                let mut all = Value::constant();
                for pair in &object.exprs {
                    let Some(NodeEnum::JsonKeyValue(pair)) = inner(Some(pair)) else {
                        return Err(self.unsupported("a JSON_OBJECT member of another kind"));
                    };
                    all.absorb(&self.optional(scope, pair.key.as_deref())?);
                    all.absorb(&self.json_value(scope, pair.value.as_deref())?);
                }
                all
            }
            NodeEnum::JsonArrayConstructor(array) => {
                self.json_output(array.output.as_ref())?;
                self.all_of(scope, &array.exprs)?
            }
            NodeEnum::JsonArrayQueryConstructor(array) => {
                self.json_output(array.output.as_ref())?;
                let columns = self.sub_query(scope, array.query.as_deref())?;
                Value::combine(&columns.iter().map(Col::take).collect::<Vec<_>>())
            }
            NodeEnum::JsonObjectAgg(aggregate) => {
                let mut all = Value::constant();
                if let Some(pair) = &aggregate.arg {
                    all.absorb(&self.optional(scope, pair.key.as_deref())?);
                    all.absorb(&self.json_value(scope, pair.value.as_deref())?);
                }
                self.json_aggregate(scope, aggregate.constructor.as_deref(), all)?
            }
            NodeEnum::JsonArrayAgg(aggregate) => {
                let all = self.json_value(scope, aggregate.arg.as_deref())?;
                self.json_aggregate(scope, aggregate.constructor.as_deref(), all)?
            }
            analysed_nodes!()
            | clause_nodes!()
            | from_nodes!()
            | query_nodes!()
            | utility_nodes!() => {
                return Err(self.unsupported(format!("{} is not understood here", kind_name(kind))));
            }
        })
    }

    // ---- columns ---------------------------------------------------------------------------

    /// A column reference, a whole row, or `row.function`.
    fn column(&mut self, scope: &Scope<'_, 'a>, column: &'a ColumnRef) -> Result<Value<'a>> {
        let ColumnRef { fields, location } = column;
        let location = *location;
        let star = fields
            .last()
            .is_some_and(|field| matches!(&field.node, Some(NodeEnum::AStar(_))));
        let named = if star {
            fields.split_last().map_or(&[][..], |(_, rest)| rest)
        } else {
            fields
        };
        let Some(names) = strings(named) else {
            return Err(self.unsupported("a column name that is no name"));
        };
        match (names.as_slice(), star) {
            ([name], false) => {
                if let Some(value) = self.find_column(scope, name, location, usize::MAX)? {
                    return Ok(value);
                }
                if let Some(item) = self.find_item(scope, None, name, location)? {
                    return Ok(item.row());
                }
                Err(self.unknown(
                    "42703",
                    location,
                    format!("column \"{name}\" does not exist"),
                ))
            }
            ([table], true) => Ok(self.named_item(scope, None, table, location)?.row()),
            ([schema, table], true) => {
                Ok(self.named_item(scope, Some(schema), table, location)?.row())
            }
            ([table, name], false) => self.item_member(scope, None, table, name, location),
            ([schema, table, name], false) => {
                self.item_member(scope, Some(schema), table, name, location)
            }
            ([database, schema, table], true) if *database == self.namespace.database => {
                Ok(self.named_item(scope, Some(schema), table, location)?.row())
            }
            ([database, schema, table, name], false) if *database == self.namespace.database => {
                self.item_member(scope, Some(schema), table, name, location)
            }
            ([], true) => Err(self.unsupported("a * outside of a list of columns")),
            (names, _) => Err(self.other_database(names, location)),
        }
    }

    pub fn named_item<'i>(
        &self,
        scope: &'i Scope<'_, 'a>,
        schema: Option<&str>,
        table: &str,
        location: i32,
    ) -> Result<&'i super::scope::Item<'a>> {
        self.find_item(scope, schema, table, location)?
            .ok_or_else(|| {
                // A table that is there, but out of reach or under another name.
                let hidden = scope.levels().flat_map(|level| &level.items).any(|item| {
                    let relation = item.relation.and_then(|index| self.uses.get(index));
                    item.name == table || relation.is_some_and(|used| used.name == table)
                });
                let what = if hidden {
                    "invalid reference to"
                } else {
                    "missing"
                };
                self.unknown(
                    "42P01",
                    location,
                    format!("{what} FROM-clause entry for table \"{table}\""),
                )
            })
    }

    fn item_member(
        &mut self,
        scope: &Scope<'_, 'a>,
        schema: Option<&str>,
        table: &str,
        name: &str,
        location: i32,
    ) -> Result<Value<'a>> {
        let item = self.named_item(scope, schema, table, location)?;
        if let Some(value) = self.item_column(item, name, location)? {
            return Ok(value);
        }
        if let Some(open) = &item.open {
            let value = open.clone();
            return self.attribute(value, name, true, location);
        }
        let candidates = self.candidates(&[name], Some(1))?;
        if candidates.is_empty() {
            return Err(self.unknown(
                "42703",
                location,
                format!("column {table}.{name} does not exist"),
            ));
        }
        for (name, function) in &candidates {
            self.called(name, function, None);
        }
        let row = item.row();
        Ok(self.returned(&candidates, row))
    }

    /// `value.name`: a field, or a function of one argument.
    fn attribute(
        &mut self,
        value: Value<'a>,
        name: &str,
        may_be_field: bool,
        location: i32,
    ) -> Result<Value<'a>> {
        if let Some(fields) = &value.fields {
            if let Some(field) = fields.iter().find(|field| field.name == name) {
                return Ok(field.value.clone());
            }
        } else if let Some(fields) = self.composite_fields(value.type_oid, &value)
            && let Some(field) = fields.iter().find(|field| field.name == name)
        {
            return Ok(field.value.clone());
        }
        let candidates = self.candidates(&[name], Some(1))?;
        for (name, function) in &candidates {
            self.called(name, function, None);
        }
        let type_unknown = value.fields.is_none()
            && (value.type_oid == 0 || value.type_oid == super::names::RECORD);
        if candidates.is_empty() && !may_be_field && !type_unknown {
            return Err(self.unknown(
                "42703",
                location,
                format!("column \"{name}\" not found in data type"),
            ));
        }
        if type_unknown {
            return Ok(value.derived());
        }
        Ok(self.returned(&candidates, value))
    }

    fn indirection(
        &mut self,
        scope: &Scope<'_, 'a>,
        indirection: &'a AIndirection,
    ) -> Result<Value<'a>> {
        let mut value = self.optional(scope, indirection.arg.as_deref())?;
        for step in &indirection.indirection {
            value = self.step(scope, value, step)?;
        }
        Ok(value)
    }

    /// One step of `value.field`, `value[index]` or `value.*`.
    pub fn step(
        &mut self,
        scope: &Scope<'_, 'a>,
        value: Value<'a>,
        step: &'a Node,
    ) -> Result<Value<'a>> {
        match &step.node {
            Some(NodeEnum::String(name)) => self.attribute(value, &name.sval, false, -1),
            Some(NodeEnum::AIndices(indices)) => {
                let array = self.type_info(self.base_type(value.type_oid));
                let element = match (indices.is_slice, array) {
                    (false, Some(info)) => info.element,
                    (true, Some(_)) => value.type_oid,
                    (_, None) => 0,
                };
                let mut result = value.derived();
                for index in [&indices.lidx, &indices.uidx].into_iter().flatten() {
                    result.absorb(&self.expression(scope, index)?);
                }
                result.type_oid = element;
                Ok(result)
            }
            Some(NodeEnum::AStar(_)) => Ok(value),
            _ => Err(self.unsupported("a selection that is neither field nor index")),
        }
    }

    // ---- computation -------------------------------------------------------------------------

    fn array(&mut self, scope: &Scope<'_, 'a>, elements: &'a [Node]) -> Result<Value<'a>> {
        let mut all = Value::constant();
        // The elements' common type; `None` while they are literals and parameters of no type.
        let mut common: Option<u32> = None;
        let mut known = true;
        for node in elements {
            let value = self.expression(scope, node)?;
            let is_row = value.fields.is_some() && value.type_oid == 0;
            if value.type_oid != 0 {
                let merged = match common {
                    None => Some(value.type_oid),
                    Some(before) => common_type(before, value.type_oid),
                };
                known &= merged.is_some();
                common = merged.or(common);
            } else if is_row || !is_untyped(node) {
                known = false;
            }
            all.absorb(&value);
        }
        all.type_oid = match common {
            _ if !known => 0,
            // Literals and parameters of no type become text.
            None => TEXT_ARRAY,
            Some(oid) => self.array_of(oid),
        };
        Ok(all)
    }

    /// The array type over an element type; 0 if there is none.
    fn array_of(&self, element: u32) -> u32 {
        let over = self.catalog.type_info.iter();
        over.filter(|(_, info)| info.element == element)
            // Other types have elements too (`int2vector`, `point`); arrays are called `_element`.
            .min_by_key(|(oid, info)| (!info.name.starts_with('_'), **oid))
            .map_or(0, |(array, _)| *array)
    }

    fn operation(&mut self, scope: &Scope<'_, 'a>, operation: &'a AExpr) -> Result<Value<'a>> {
        let AExpr {
            kind,
            name,
            lexpr,
            rexpr,
            rexpr_list_start: _,
            rexpr_list_end: _,
            location: _,
        } = operation;
        let parts = strings(name).unwrap_or_default();
        let Ok(kind) = AExprKind::try_from(*kind) else {
            return Err(self.unsupported("an operation of an unknown kind"));
        };
        match kind {
            AExprKind::AexprOp
            | AExprKind::AexprOpAny
            | AExprKind::AexprOpAll
            | AExprKind::AexprDistinct
            | AExprKind::AexprNotDistinct
            | AExprKind::AexprNullif
            | AExprKind::AexprIn
            | AExprKind::AexprLike
            | AExprKind::AexprIlike
            | AExprKind::AexprSimilar => self.operator(&parts)?,
            AExprKind::AexprBetween
            | AExprKind::AexprNotBetween
            | AExprKind::AexprBetweenSym
            | AExprKind::AexprNotBetweenSym => {
                for name in ["<", "<=", ">", ">="] {
                    self.operator(&[name])?;
                }
            }
            AExprKind::Undefined => {
                return Err(self.unsupported("an operation of an unknown kind"));
            }
        }
        let left = self.optional(scope, lexpr.as_deref())?;
        let right = self.optional(scope, rexpr.as_deref())?;
        let type_oid = if kind == AExprKind::AexprOp {
            let left = lexpr.as_deref().map(|node| self.operand(node, &left));
            let right = rexpr.as_deref().map(|node| self.operand(node, &right));
            self.operator_type(&parts, left, right)
        } else {
            0
        };
        let mut all = left.derived();
        all.absorb(&right);
        Ok(Value {
            type_oid,
            ..all.derived()
        })
    }

    fn operand(&self, node: &Node, value: &Value<'a>) -> Operand {
        match value.type_oid {
            0 if is_untyped_operand(node) => Operand::Untyped,
            oid => Operand::Of(self.base_type(oid)),
        }
    }

    /// Type of what an operator of the server's own gives, where its operands leave no doubt which
    /// one it is: arithmetic of numbers, and concatenation of texts. 0 otherwise.
    fn operator_type(&self, parts: &[&str], left: Option<Operand>, right: Option<Operand>) -> u32 {
        let name = match *parts {
            ["pg_catalog", name] => name,
            [name] if !self.catalog.operators.contains_key(name) => name,
            _ => return 0,
        };
        match (name, left, right) {
            ("+" | "-", None, Some(Operand::Of(right))) => common_type(right, INT2),
            ("+" | "-" | "*" | "/" | "%", Some(Operand::Of(left)), Some(Operand::Of(right))) => {
                common_type(left, right).filter(|oid| match *oid {
                    INT2 | INT4 | INT8 | NUMERIC => true,
                    FLOAT4 => left == right && name != "%",
                    FLOAT8 => name != "%",
                    _ => false,
                })
            }
            ("||", Some(left), Some(right)) => {
                let is_text = |side| matches!(side, Operand::Of(TEXT | VARCHAR));
                let joins = |side| is_text(side) || matches!(side, Operand::Untyped);
                ((is_text(left) && joins(right)) || (is_text(right) && joins(left))).then_some(TEXT)
            }
            _ => None,
        }
        .unwrap_or(0)
    }

    fn case(&mut self, scope: &Scope<'_, 'a>, case: &'a CaseExpr) -> Result<Value<'a>> {
        let mut all = Value::constant();
        if let Some(arg) = &case.arg {
            self.operator(&["="])?;
            let value = self.expression(scope, arg)?;
            self.mark(&value, ColumnUse::Filter);
            all.absorb(&value);
        }
        for when in &case.args {
            let Some(NodeEnum::CaseWhen(when)) = inner(Some(when)) else {
                return Err(self.unsupported("a CASE arm of another kind"));
            };
            let condition = self.optional(scope, when.expr.as_deref())?;
            self.mark(&condition, ColumnUse::Filter);
            all.absorb(&condition);
            all.absorb(&self.optional(scope, when.result.as_deref())?);
        }
        all.absorb(&self.optional(scope, case.defresult.as_deref())?);
        Ok(all)
    }

    fn sub_link(&mut self, scope: &Scope<'_, 'a>, link: &'a SubLink) -> Result<Value<'a>> {
        let Ok(kind) = SubLinkType::try_from(link.sub_link_type) else {
            return Err(self.unsupported("a sub-select of an unknown kind"));
        };
        let mut test = self.optional(scope, link.testexpr.as_deref())?;
        let columns = self.sub_query(scope, link.subselect.as_deref())?;
        match kind {
            SubLinkType::ExprSublink => match columns.as_slice() {
                [column] => Ok(column.take()),
                _ => Err(self.unsupported("subquery must return only one column")),
            },
            SubLinkType::ExistsSublink => {
                self.mark_unused(&columns);
                Ok(Value::constant())
            }
            SubLinkType::AnySublink | SubLinkType::AllSublink | SubLinkType::RowcompareSublink => {
                if link.oper_name.is_empty() {
                    self.operator(&["="])?;
                } else {
                    self.operator(&strings(&link.oper_name).unwrap_or_default())?;
                }
                for column in &columns {
                    test.absorb(&column.take());
                }
                Ok(test.derived())
            }
            SubLinkType::ArraySublink => {
                let values: Vec<_> = columns.iter().map(Col::take).collect();
                let mut all = Value::combine(&values);
                if let [value] = values.as_slice()
                    && value.type_oid != 0
                {
                    all.type_oid = self
                        .catalog
                        .type_info
                        .iter()
                        .find(|(_, info)| info.element == value.type_oid)
                        .map_or(0, |(array, _)| *array);
                }
                Ok(all)
            }
            SubLinkType::MultiexprSublink | SubLinkType::CteSublink | SubLinkType::Undefined => {
                Err(self.unsupported("a sub-select of an unknown kind"))
            }
        }
    }

    /// A sub-select of an expression.
    pub fn sub_query(
        &mut self,
        scope: &Scope<'_, 'a>,
        node: Option<&'a Node>,
    ) -> Result<Vec<Col<'a>>> {
        let Some(NodeEnum::SelectStmt(select)) = inner(node) else {
            return Err(self.unsupported("a sub-select that is no SELECT"));
        };
        self.select(Some(scope), select)
    }

    // ---- lists with stars ----------------------------------------------------------------------

    /// Adds an item of a list, with `*`, `t.*` and `(row).*` taken apart.
    pub fn expand(
        &mut self,
        scope: &Scope<'_, 'a>,
        node: &'a Node,
        columns: &mut Vec<Col<'a>>,
    ) -> Result<()> {
        match &node.node {
            Some(NodeEnum::ColumnRef(column)) if ends_in_star(&column.fields) => {
                let names = column.fields.split_last().map_or(&[][..], |(_, rest)| rest);
                let Some(names) = strings(names) else {
                    return Err(self.unsupported("a column name that is no name"));
                };
                match names.as_slice() {
                    [] => {
                        let items = scope.visible().filter(|item| item.by_column);
                        for item in items {
                            self.expand_item(item, columns)?;
                        }
                        Ok(())
                    }
                    [table] => {
                        let item = self.named_item(scope, None, table, column.location)?;
                        self.expand_item(item, columns)
                    }
                    [schema, table] => {
                        let item = self.named_item(scope, Some(schema), table, column.location)?;
                        self.expand_item(item, columns)
                    }
                    [database, schema, table] if *database == self.namespace.database => {
                        let item = self.named_item(scope, Some(schema), table, column.location)?;
                        self.expand_item(item, columns)
                    }
                    names => Err(self.other_database(names, column.location)),
                }
            }
            Some(NodeEnum::AIndirection(indirection)) if ends_in_star(&indirection.indirection) => {
                let value = self.expression(scope, node)?;
                let fields = match &value.fields {
                    Some(fields) => fields
                        .iter()
                        .map(|field| Col::new(field.name.clone(), field.value.clone()))
                        .collect(),
                    None => self
                        .composite_fields(value.type_oid, &value)
                        .ok_or_else(|| {
                            self.unsupported(
                                "a .* of a value whose fields are not known; name the fields",
                            )
                        })?,
                };
                columns.extend(fields);
                Ok(())
            }
            _ => {
                let value = self.expression(scope, node)?;
                columns.push(Col::new(super::select::label(node), value));
                Ok(())
            }
        }
    }

    fn expand_item(&self, item: &super::scope::Item<'a>, columns: &mut Vec<Col<'a>>) -> Result<()> {
        if item.open.is_some() {
            return Err(self.unsupported(format!(
                "a * over {}, whose columns are not known; name the columns",
                item.name
            )));
        }
        columns.extend(
            item.columns
                .iter()
                .map(|col| Col::new(col.name.clone(), col.take())),
        );
        Ok(())
    }
}

fn ends_in_star(nodes: &[Node]) -> bool {
    nodes
        .last()
        .is_some_and(|node| matches!(&node.node, Some(NodeEnum::AStar(_))))
}

/// The type of `CURRENT_DATE` and its like.
fn sql_value_type(function: SqlValueFunctionOp) -> u32 {
    use SqlValueFunctionOp as Op;
    match function {
        Op::SvfopCurrentDate => 1082,
        Op::SvfopCurrentTime | Op::SvfopCurrentTimeN => 1266,
        Op::SvfopCurrentTimestamp | Op::SvfopCurrentTimestampN => 1184,
        Op::SvfopLocaltime | Op::SvfopLocaltimeN => 1083,
        Op::SvfopLocaltimestamp | Op::SvfopLocaltimestampN => 1114,
        Op::SvfopCurrentRole
        | Op::SvfopCurrentUser
        | Op::SvfopUser
        | Op::SvfopSessionUser
        | Op::SvfopCurrentCatalog
        | Op::SvfopCurrentSchema => 19,
        Op::SqlvalueFunctionOpUndefined => 0,
    }
}

/// The type of a number that is written with more than an `int4`'s digits, a point or an exponent.
fn number_type(text: &str) -> u32 {
    if text.parse::<i64>().is_ok() {
        INT8
    } else {
        NUMERIC
    }
}

/// What is known of an operator's side.
#[derive(Clone, Copy)]
enum Operand {
    /// Base type, or 0.
    Of(u32),
    /// It takes the type of the other side.
    Untyped,
}

/// True for what takes the type of what is around it, parameters included.
pub(super) fn is_untyped_operand(node: &Node) -> bool {
    is_untyped(node) || matches!(&node.node, Some(NodeEnum::ParamRef(_)))
}

/// The type that a literal of one number type and one of another become together
/// (PostgreSQL, "UNION, CASE, and Related Constructs"). `None` for types that are no numbers.
fn common_type(one: u32, other: u32) -> Option<u32> {
    /// Each becomes any of the later ones by itself.
    const NUMBERS: [u32; 6] = [INT2, INT4, INT8, NUMERIC, FLOAT4, FLOAT8];
    let rank = |oid| NUMBERS.iter().position(|number| *number == oid);
    if one == other {
        return Some(one);
    }
    NUMBERS.get(rank(one)?.max(rank(other)?)).copied()
}

/// True for a literal or NULL, which takes the type of what is around it.
pub(super) fn is_untyped(node: &Node) -> bool {
    matches!(
        &node.node,
        Some(NodeEnum::AConst(constant))
            if matches!(constant.val, Some(a_const::Val::Sval(_)) | None)
    )
}
