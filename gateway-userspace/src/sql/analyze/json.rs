//! SQL/JSON constructors and functions.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    JsonAggConstructor, JsonArgument, JsonBehavior, JsonFuncExpr, JsonOutput, JsonTable,
    JsonTableColumn, JsonValueExpr,
};

use super::scope::{Item, Scope};
use super::value::{Col, Value};
use super::{Result, Walk, inner};
use crate::sql::statement::ColumnUse;

impl<'a> Walk<'a> {
    pub fn json_value(
        &mut self,
        scope: &Scope<'_, 'a>,
        value: Option<&'a JsonValueExpr>,
    ) -> Result<Value<'a>> {
        let Some(JsonValueExpr {
            raw_expr,
            formatted_expr,
            format: _,
        }) = value
        else {
            return Ok(Value::constant());
        };
        let mut all = Value::constant();
        for expression in [raw_expr, formatted_expr].into_iter().flatten() {
            all.absorb(&self.expression(scope, expression)?);
        }
        Ok(all.derived())
    }

    pub fn json_output(&mut self, output: Option<&'a JsonOutput>) -> Result<()> {
        if let Some(JsonOutput {
            type_name: Some(name),
            returning: _,
        }) = output
        {
            let oid = self.type_oid(name)?;
            self.convert_to(oid);
        }
        Ok(())
    }

    fn json_behavior(
        &mut self,
        scope: &Scope<'_, 'a>,
        behavior: Option<&'a JsonBehavior>,
    ) -> Result<Value<'a>> {
        match behavior.and_then(|behavior| behavior.expr.as_ref()) {
            Some(expression) => self.expression(scope, expression),
            None => Ok(Value::constant()),
        }
    }

    pub fn json_passing(
        &mut self,
        scope: &Scope<'_, 'a>,
        passing: &'a [pg_query::Node],
    ) -> Result<Value<'a>> {
        let mut all = Value::constant();
        for argument in passing {
            let Some(NodeEnum::JsonArgument(argument)) = inner(Some(argument)) else {
                return Err(self.unsupported("a PASSING item that is no argument"));
            };
            let JsonArgument { val, name: _ } = argument.as_ref();
            all.absorb(&self.json_value(scope, val.as_deref())?);
        }
        Ok(all)
    }

    pub fn json_function(
        &mut self,
        scope: &Scope<'_, 'a>,
        function: &'a JsonFuncExpr,
    ) -> Result<Value<'a>> {
        let JsonFuncExpr {
            op: _,
            column_name: _,
            context_item,
            pathspec,
            passing,
            output,
            on_empty,
            on_error,
            wrapper: _,
            quotes: _,
            location: _,
        } = function;
        let mut all = self.json_value(scope, context_item.as_deref())?;
        if let Some(path) = pathspec {
            all.absorb(&self.expression(scope, path)?);
        }
        all.absorb(&self.json_passing(scope, passing)?);
        for behavior in [on_empty, on_error] {
            all.absorb(&self.json_behavior(scope, behavior.as_deref())?);
        }
        self.json_output(output.as_ref())?;
        Ok(all.derived())
    }

    pub fn json_aggregate(
        &mut self,
        scope: &Scope<'_, 'a>,
        constructor: Option<&'a JsonAggConstructor>,
        mut all: Value<'a>,
    ) -> Result<Value<'a>> {
        let Some(constructor) = constructor else {
            return Ok(all.derived());
        };
        let JsonAggConstructor {
            output,
            agg_filter,
            agg_order,
            over,
            location: _,
        } = constructor;
        self.json_output(output.as_ref())?;
        if let Some(filter) = agg_filter {
            let value = self.expression(scope, filter)?;
            self.mark(&value, ColumnUse::Filter);
            all.absorb(&value);
        }
        for key in agg_order {
            let value = self.sort_key(scope, key)?;
            self.mark(&value, ColumnUse::Filter);
            all.absorb(&value);
        }
        if let Some(over) = over {
            all.absorb(&self.window(scope, over)?);
        }
        Ok(all.derived())
    }

    /// `JSON_TABLE` as a FROM item.
    pub fn json_table(&mut self, scope: &Scope<'_, 'a>, table: &'a JsonTable) -> Result<Item<'a>> {
        let JsonTable {
            context_item,
            pathspec,
            passing,
            columns,
            on_error,
            alias: _,
            lateral: _,
            location: _,
        } = table;
        let mut all = self.json_value(scope, context_item.as_deref())?;
        if let Some(path) = pathspec.as_ref().and_then(|path| path.string.as_ref()) {
            all.absorb(&self.expression(scope, path)?);
        }
        all.absorb(&self.json_passing(scope, passing)?);
        all.absorb(&self.json_behavior(scope, on_error.as_deref())?);
        let all = all.derived();
        let mut found = Vec::new();
        self.json_columns(scope, columns, &all, &mut found)?;
        Ok(Item::new("json_table", found))
    }

    fn json_columns(
        &mut self,
        scope: &Scope<'_, 'a>,
        columns: &'a [pg_query::Node],
        from: &Value<'a>,
        found: &mut Vec<Col<'a>>,
    ) -> Result<()> {
        for column in columns {
            let Some(NodeEnum::JsonTableColumn(column)) = inner(Some(column)) else {
                return Err(self.unsupported("a JSON_TABLE column of another kind"));
            };
            let JsonTableColumn {
                coltype: _,
                name,
                type_name,
                pathspec,
                format: _,
                wrapper: _,
                quotes: _,
                columns: nested,
                on_empty,
                on_error,
                location: _,
            } = column.as_ref();
            let mut value = from.clone();
            if let Some(type_name) = type_name {
                let oid = self.type_oid(type_name)?;
                self.convert_to(oid);
                value.type_oid = oid;
            }
            if let Some(path) = pathspec.as_ref().and_then(|path| path.string.as_ref()) {
                value.absorb(&self.expression(scope, path)?);
            }
            for behavior in [on_empty, on_error] {
                value.absorb(&self.json_behavior(scope, behavior.as_deref())?);
            }
            // NESTED PATH has columns instead of being one.
            if nested.is_empty() && !name.is_empty() {
                found.push(Col::new(name.as_str(), value));
            }
            self.nested(|walk| walk.json_columns(scope, nested, from, found))?;
        }
        Ok(())
    }
}
