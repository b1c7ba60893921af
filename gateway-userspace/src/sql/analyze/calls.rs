//! Functions, operators and triggers: which code a name may run.

use std::borrow::Cow;
use std::rc::Rc;

use pg_query::NodeEnum;
use pg_query::protobuf::{FuncCall, WindowDef};

use super::expression::is_untyped;
use super::scope::Scope;
use super::value::{Field, Shape, Value};
use super::{Result, Walk, inner, strings};
use crate::sql::catalog::{Function, Relation, TypeInfo};
use crate::sql::functions::{classify, is_known_code};
use crate::sql::grammar::VOID;
use crate::sql::statement::{ColumnUse, FunctionClass, FunctionUse};

/// Pseudo types whose real type depends on the arguments, and `void`.
const POLYMORPHIC: &[u32] = &[
    2276, 2277, 2278, 2279, 2283, 2776, 3500, 3831, 4537, 5077, 5078, 5079, 5080, 4538,
];

const ANYARRAY: u32 = 2277;
const ANYENUM: u32 = 3500;
const ANYRANGE: u32 = 3831;
const ANYMULTIRANGE: u32 = 4537;
const ANYCOMPATIBLEARRAY: u32 = 5078;
const ANYCOMPATIBLERANGE: u32 = 5080;
const ANYCOMPATIBLEMULTIRANGE: u32 = 4538;

/// `tgtype` bits.
#[derive(Clone, Copy)]
pub(super) enum TriggerEvent {
    Insert = 4,
    Delete = 8,
    Update = 16,
    Truncate = 32,
}

/// The built-in function that takes exactly these types, if there is one. The server prefers it to
/// every other: `pg_catalog` is looked up first, and an exact match wins. An argument whose type
/// is not known leaves all candidates in.
fn exact_builtin<'a>(
    candidates: &[(&'a str, &'a Function)],
    values: &[Value<'a>],
) -> Option<(&'a str, &'a Function)> {
    candidates.iter().copied().find(|(_, function)| {
        function.schema == "pg_catalog"
            && !function.variadic
            && !values.is_empty()
            && function.arg_types.len() == values.len()
            && function
                .arg_types
                .iter()
                .zip(values)
                .all(|(expected, value)| value.type_oid != 0 && value.type_oid == *expected)
    })
}

impl<'a> Walk<'a> {
    /// Every function that a call by this name and number of arguments may mean.
    pub fn candidates(
        &self,
        parts: &[&str],
        arguments: Option<usize>,
    ) -> Result<Vec<(&'a str, &'a Function)>> {
        let (schema, name) = self.qualified(parts)?;
        let schema = schema.map(|schema| self.schema_alias(schema));
        let Some((name, list)) = self.catalog.functions.get_key_value(name) else {
            return Ok(Vec::new());
        };
        let fits = |function: &&Function| {
            let in_reach = match schema {
                Some(schema) => function.schema == schema,
                None => self.namespace.search_path.contains(&function.schema),
            };
            in_reach && arguments.is_none_or(|count| accepts(function, count))
        };
        Ok(list
            .iter()
            .filter(fits)
            .map(|function| (name.as_str(), function))
            .collect())
    }

    /// Lists a function as called.
    pub fn called(&mut self, name: &'a str, function: &'a Function, literal: Option<&str>) {
        match classify(name, function, literal) {
            FunctionClass::Pure => {
                self.pure.insert((&function.schema, name));
            }
            class @ (FunctionClass::Catalog | FunctionClass::Other) => {
                self.functions.insert(function_use(name, function, class));
            }
        }
    }

    /// Lists the code behind an operator, cast or trigger, unless it is known to be safe.
    pub fn call_oid(&mut self, oid: u32) {
        match self.catalog.function_by_oid(oid) {
            Some((_, function)) if is_known_code(function) => {}
            Some((name, function)) => {
                self.functions
                    .insert(function_use(name, function, FunctionClass::Other));
            }
            None => {
                self.functions.insert(FunctionUse {
                    schema: String::new(),
                    name: format!("function {oid}"),
                    oid,
                    class: FunctionClass::Other,
                });
            }
        }
    }

    /// Lists what an operator by this name may run.
    pub fn operator(&mut self, parts: &[&str]) -> Result<()> {
        let (schema, name) = self.qualified(parts)?;
        let schema = schema.map(|schema| self.schema_alias(schema));
        if schema == Some("pg_catalog") {
            return Ok(());
        }
        let Some(list) = self.catalog.operators.get(name) else {
            return Ok(());
        };
        for operator in list {
            let in_reach = match schema {
                Some(schema) => operator.schema == schema,
                None => self.namespace.search_path.contains(&operator.schema),
            };
            if in_reach && operator.schema != "pg_catalog" {
                self.call_oid(operator.function_oid);
            }
        }
        Ok(())
    }

    /// Lists the functions of the user triggers that a write fires.
    pub fn fire(&mut self, relation: &'a Relation, event: TriggerEvent) {
        for trigger in &relation.triggers {
            if trigger.kind & event as u16 != 0 {
                self.call_oid(trigger.function_oid);
            }
        }
    }

    /// The arguments that the server takes for such: all but parameters of type `void`.
    pub fn arguments(&self, args: &'a [pg_query::Node]) -> Vec<&'a pg_query::Node> {
        let counts = |arg: &&pg_query::Node| match &arg.node {
            Some(NodeEnum::ParamRef(parameter)) => {
                self.parsed.parameter_type(parameter.number) != VOID
            }
            _ => true,
        };
        args.iter().filter(counts).collect()
    }

    /// A function call as an expression.
    pub fn function_call(
        &mut self,
        scope: &Scope<'_, 'a>,
        call: &'a FuncCall,
    ) -> Result<Value<'a>> {
        let FuncCall {
            funcname,
            args,
            agg_order,
            agg_filter,
            over,
            agg_within_group,
            agg_star,
            agg_distinct,
            func_variadic: _,
            funcformat: _,
            location,
        } = call;
        let args = self.arguments(args);
        let mut values = Vec::with_capacity(args.len());
        for arg in &args {
            values.push(self.expression(scope, arg)?);
        }
        let mut result = Value::combine(&values);
        for order in agg_order {
            let value = self.sort_key(scope, order)?;
            self.mark(&value, ColumnUse::Filter);
            result.absorb(&value);
        }
        if *agg_distinct {
            let seen = result.clone();
            self.mark(&seen, ColumnUse::Filter);
        }
        if let Some(filter) = agg_filter {
            let value = self.expression(scope, filter)?;
            self.mark(&value, ColumnUse::Filter);
            result.absorb(&value);
        }
        if let Some(over) = over {
            let value = self.window(scope, over)?;
            result.absorb(&value);
        }
        let count = (!*agg_within_group && !*agg_star).then_some(args.len());
        let Some(parts) = strings(funcname) else {
            return Err(self.unsupported("a function name that is no name"));
        };
        let mut candidates = self.candidates(&parts, count)?;
        let builtin_first = self
            .namespace
            .search_path
            .iter()
            .find(|schema| !schema.starts_with("pg_temp"))
            .is_some_and(|schema| schema == "pg_catalog");
        let in_order = !*agg_within_group
            && !args
                .iter()
                .any(|arg| matches!(&arg.node, Some(NodeEnum::NamedArgExpr(_))));
        if in_order {
            self.keep_viable(&mut candidates, &values);
            self.prefer_strings(&mut candidates, &args);
            if builtin_first && let Some(exact) = exact_builtin(&candidates, &values) {
                candidates = vec![exact];
            }
        }
        let literal = args.first().and_then(|arg| match &arg.node {
            Some(NodeEnum::AConst(constant)) => match &constant.val {
                Some(pg_query::protobuf::a_const::Val::Sval(text)) => Some(text.sval.as_str()),
                _ => None,
            },
            _ => None,
        });
        if let [(name @ "set_config", function)] = candidates.as_slice()
            && let Some(change) = self.as_set(call, function)
        {
            self.settings.push(change);
            // Weighed as the SET that it is.
            self.functions
                .insert(function_use(name, function, FunctionClass::Catalog));
        } else {
            for (name, function) in &candidates {
                self.called(name, function, literal);
            }
        }
        let plain = agg_order.is_empty()
            && agg_filter.is_none()
            && over.is_none()
            && !*agg_star
            && !*agg_distinct;
        if let ([value], [name]) = (values.as_slice(), parts.as_slice())
            && plain
        {
            // `ssn(customers)` is the column customers.ssn, unless a function takes the row.
            let field = value
                .fields
                .as_ref()
                .and_then(|fields| fields.iter().find(|field| field.name == *name));
            if let Some(field) = field {
                if candidates.is_empty() {
                    return Ok(field.value.clone());
                }
                return Ok(result.derived());
            }
            if candidates.is_empty() {
                // `f(x)` with f a type's name is a cast.
                if let Some(oid) = self.find_type(None, name) {
                    self.convert_to(oid);
                    let mut cast = result.derived();
                    cast.type_oid = oid;
                    return Ok(cast);
                }
                // A row whose type is not known may have such a field.
                if value.shape != Shape::Constant && value.fields.is_none() && value.type_oid == 0 {
                    return Ok(result.derived());
                }
            }
        }
        if candidates.is_empty() {
            return Err(self.unknown(
                "42883",
                *location,
                format!(
                    "function {}({}) does not exist",
                    parts.join("."),
                    self.type_names(&values)
                ),
            ));
        }
        Ok(self.returned(&candidates, result))
    }

    /// Drops the functions that cannot take arguments of these types, as the server does before it
    /// chooses among the others; keeps all of them if none can.
    fn keep_viable(&self, candidates: &mut Vec<(&'a str, &'a Function)>, values: &[Value<'a>]) {
        let takes = |function: &Function| {
            function.variadic
                || function
                    .arg_types
                    .iter()
                    .zip(values)
                    .all(|(wanted, value)| self.may_become(value.type_oid, *wanted))
        };
        if candidates.iter().any(|(_, function)| takes(function)) {
            candidates.retain(|(_, function)| takes(function));
        }
    }

    /// Where all arguments are literals of no type, the server takes the functions of strings if
    /// there are any (PostgreSQL, "Function Type Resolution", step 4e): drops those that take a
    /// pseudo type instead.
    pub fn prefer_strings(
        &self,
        candidates: &mut Vec<(&'a str, &'a Function)>,
        args: &[&'a pg_query::Node],
    ) {
        if args.is_empty() || !args.iter().all(|arg| is_untyped(arg)) {
            return;
        }
        let takes = |function: &Function, index: usize, wanted: fn(&TypeInfo) -> bool| {
            let of = function.arg_types.get(index);
            !function.variadic && of.and_then(|oid| self.type_info(*oid)).is_some_and(wanted)
        };
        for index in 0..args.len() {
            if candidates
                .iter()
                .any(|(_, function)| takes(function, index, is_string))
            {
                candidates
                    .retain(|(_, function)| !takes(function, index, |info| info.kind == b'p'));
            }
        }
    }

    /// False if the server never makes the one type of the other by itself.
    fn may_become(&self, from: u32, to: u32) -> bool {
        let (from, to) = (self.base_type(from), self.base_type(to));
        let (Some(source), Some(target)) = (self.type_info(from), self.type_info(to)) else {
            return true;
        };
        let is_plain = |info: &TypeInfo| info.element == 0 && !matches!(info.kind, b'p' | b'c');
        if is_plain(source) {
            match to {
                ANYARRAY | ANYCOMPATIBLEARRAY => return false,
                ANYENUM => return source.kind == b'e',
                ANYRANGE | ANYCOMPATIBLERANGE => return source.kind == b'r',
                ANYMULTIRANGE | ANYCOMPATIBLEMULTIRANGE => return source.kind == b'm',
                _ => {}
            }
        }
        from == to
            || !is_plain(source)
            || !is_plain(target)
            || self.catalog.implicit_casts.contains(&(from, to))
    }

    /// Types as the server's message for an unknown function lists them.
    fn type_names(&self, values: &[Value<'a>]) -> String {
        let name = |value: &Value<'a>| match value.type_oid {
            0 => "unknown",
            16 => "boolean",
            20 => "bigint",
            21 => "smallint",
            23 => "integer",
            25 => "text",
            700 => "real",
            701 => "double precision",
            1042 => "character",
            1043 => "character varying",
            1083 => "time without time zone",
            1114 => "timestamp without time zone",
            1184 => "timestamp with time zone",
            1266 => "time with time zone",
            1700 => "numeric",
            oid => self
                .catalog
                .type_info
                .get(&oid)
                .map_or("unknown", |info| info.name.as_str()),
        };
        values.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    /// The result of a call: its type and fields where all candidates agree.
    pub fn returned(&self, candidates: &[(&'a str, &'a Function)], from: Value<'a>) -> Value<'a> {
        let mut result = from.derived();
        let Some((_, first)) = candidates.first() else {
            return result;
        };
        if !candidates.iter().all(|(_, function)| {
            function.return_type == first.return_type
                && function.out_columns == first.out_columns
                && function.out_types == first.out_types
        }) {
            return result;
        }
        if first.out_columns.len() > 1 {
            let fields = first.out_columns.iter().enumerate().map(|(index, name)| {
                let mut value = Value {
                    fields: None,
                    ..result.clone()
                };
                value.type_oid = first.out_types.get(index).copied().unwrap_or(0);
                if POLYMORPHIC.contains(&value.type_oid) {
                    value.type_oid = 0;
                }
                Field {
                    name: Cow::Borrowed(name.as_str()),
                    value,
                }
            });
            result.fields = Some(Rc::new(fields.collect()));
        } else if let Some(fields) = self.composite_fields(first.return_type, &result) {
            let fields = fields.into_iter().map(|col| Field {
                name: col.name,
                value: col.value,
            });
            result.fields = Some(Rc::new(fields.collect()));
        }
        if !POLYMORPHIC.contains(&first.return_type) {
            result.type_oid = first.return_type;
        }
        result
    }

    /// A window: its keys decide, and the value depends on them.
    pub fn window(&mut self, scope: &Scope<'_, 'a>, window: &'a WindowDef) -> Result<Value<'a>> {
        let WindowDef {
            name: _,
            refname: _,
            partition_clause,
            order_clause,
            frame_options: _,
            start_offset,
            end_offset,
            location: _,
        } = window;
        let mut all = Value::constant();
        for key in partition_clause {
            all.absorb(&self.expression(scope, key)?);
        }
        for key in order_clause {
            all.absorb(&self.sort_key(scope, key)?);
        }
        for offset in [start_offset, end_offset].into_iter().flatten() {
            all.absorb(&self.expression(scope, offset)?);
        }
        self.mark(&all, ColumnUse::Filter);
        Ok(all)
    }

    /// An expression of ORDER BY inside an aggregate or a window.
    pub fn sort_key(
        &mut self,
        scope: &Scope<'_, 'a>,
        node: &'a pg_query::Node,
    ) -> Result<Value<'a>> {
        let Some(NodeEnum::SortBy(sort)) = inner(Some(node)) else {
            return Err(self.unsupported("an ORDER BY item that is no sort key"));
        };
        self.sort_operator(&sort.use_op)?;
        match &sort.node {
            Some(key) => self.expression(scope, key),
            None => Err(self.unsupported("an ORDER BY item without expression")),
        }
    }

    pub fn sort_operator(&mut self, use_op: &[pg_query::Node]) -> Result<()> {
        if use_op.is_empty() {
            return Ok(());
        }
        let parts = strings(use_op).unwrap_or_default();
        self.operator(&parts)
    }
}

/// The built-in types of the string category.
fn is_string(info: &TypeInfo) -> bool {
    info.schema == "pg_catalog"
        && matches!(info.name.as_str(), "text" | "varchar" | "bpchar" | "name")
}

fn function_use(name: &str, function: &Function, class: FunctionClass) -> FunctionUse {
    FunctionUse {
        schema: function.schema.clone(),
        name: name.to_owned(),
        oid: function.oid,
        class,
    }
}

/// True if the function may be called with that many arguments.
fn accepts(function: &Function, count: usize) -> bool {
    let least = function.args.saturating_sub(function.defaults);
    if function.variadic {
        // The variadic argument itself may be left away.
        count + 1 >= least
    } else {
        (least..=function.args).contains(&count)
    }
}
