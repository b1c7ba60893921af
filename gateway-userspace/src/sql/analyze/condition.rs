//! WHERE clauses, taken apart as far as their parts can be told: a column that is only compared
//! for equality with a value of the statement decides less than one in any other condition.

use pg_query::protobuf::{AExpr, AExprKind, BoolExprType};
use pg_query::{Node, NodeEnum};

use super::scope::Scope;
use super::value::{Shape, Value};
use super::{Result, Walk, inner, strings};
use crate::sql::functions::is_known_code;
use crate::sql::statement::ColumnUse;

impl<'a> Walk<'a> {
    /// A WHERE clause.
    pub fn condition(&mut self, scope: &Scope<'_, 'a>, node: &'a Node) -> Result<()> {
        if let Some(NodeEnum::BoolExpr(boolean)) = inner(Some(node))
            && matches!(
                BoolExprType::try_from(boolean.boolop),
                Ok(BoolExprType::AndExpr | BoolExprType::OrExpr)
            )
        {
            for arm in &boolean.args {
                self.nested(|walk| walk.condition(scope, arm))?;
            }
            return Ok(());
        }
        self.test(scope, node)
    }

    /// One part of a WHERE clause that stands under AND and OR alone.
    pub fn test(&mut self, scope: &Scope<'_, 'a>, node: &'a Node) -> Result<()> {
        if let Some(NodeEnum::AExpr(operation)) = inner(Some(node))
            && let Some((column, literal)) = self.equality(operation)
        {
            self.operator(&["="])?;
            let column = self.expression(scope, column)?;
            let literal = self.expression(scope, literal)?;
            let equality = column.shape == Shape::Direct
                && literal.shape == Shape::Constant
                && self.is_builtin(&literal);
            let how = if equality {
                ColumnUse::Equality
            } else {
                ColumnUse::Filter
            };
            self.mark(&column, how);
            self.mark(&literal, ColumnUse::Filter);
            return Ok(());
        }
        let value = self.expression(scope, node)?;
        self.mark(&value, ColumnUse::Filter);
        Ok(())
    }

    /// The sides of `column = literal`, `literal = column`, `column IN (literals)` and
    /// `column = ANY (literals)`, if `=` can mean nothing but equality.
    pub fn equality(&self, operation: &'a AExpr) -> Option<(&'a Node, &'a Node)> {
        let parts = strings(&operation.name)?;
        let builtin = match parts.as_slice() {
            ["="] => self.equals_is_known(),
            ["pg_catalog", "="] => true,
            _ => false,
        };
        if !builtin {
            return None;
        }
        let left = operation.lexpr.as_deref()?;
        let right = operation.rexpr.as_deref()?;
        match AExprKind::try_from(operation.kind) {
            Ok(AExprKind::AexprOp) if is_column(left) && is_literal(right) => Some((left, right)),
            Ok(AExprKind::AexprOp) if is_literal(left) && is_column(right) => Some((right, left)),
            Ok(AExprKind::AexprIn) if is_column(left) => match inner(Some(right)) {
                Some(NodeEnum::List(list)) if list.items.iter().all(is_literal) => {
                    Some((left, right))
                }
                _ => None,
            },
            Ok(AExprKind::AexprOpAny) if is_column(left) && is_literal_array(right) => {
                Some((left, right))
            }
            _ => None,
        }
    }

    /// True if every `=` in reach is the server's own or a well-known extension's.
    fn equals_is_known(&self) -> bool {
        self.catalog
            .operators
            .get("=")
            .into_iter()
            .flatten()
            .filter(|operator| {
                operator.schema != "pg_catalog"
                    && self.namespace.search_path.contains(&operator.schema)
            })
            .all(|operator| {
                self.catalog
                    .function_by_oid(operator.function_oid)
                    .is_some_and(|(_, function)| is_known_code(function))
            })
    }

    /// True if a literal is of a type that the server brings along, or of none yet.
    fn is_builtin(&self, value: &Value<'a>) -> bool {
        value.type_oid == 0
            || self
                .type_info(value.type_oid)
                .is_none_or(|info| info.schema == "pg_catalog" || info.extension.is_some())
    }
}

fn is_column(node: &Node) -> bool {
    matches!(inner(Some(node)), Some(NodeEnum::ColumnRef(_)))
}

/// A constant or a parameter, converted or not.
fn is_literal(node: &Node) -> bool {
    match inner(Some(node)) {
        Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_)) => true,
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_literal),
        _ => false,
    }
}

fn is_literal_array(node: &Node) -> bool {
    match inner(Some(node)) {
        Some(NodeEnum::AArrayExpr(array)) => array.elements.iter().all(is_literal),
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_literal_array),
        _ => is_literal(node),
    }
}
