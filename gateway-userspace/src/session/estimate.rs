//! How many rows a held statement would touch, as the server's planner guesses.
//!
//! The server is asked over the session's own connection, inside whatever transaction is open there,
//! and the question must not fail: an error would end the transaction. So the EXPLAIN runs in
//! a block that catches everything and undoes itself. What is explained has gone through the
//! analysis as an EXPLAIN without ANALYZE, calls no function that could do anything, and runs
//! nothing.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Parameter, Session, Understood};
use crate::sql::{FunctionClass, StatementKind, split, with_literals};

/// Longest text that is explained, in bytes.
const MAX_TEXT: usize = 64 * 1024;

/// Whether [`Session::estimate_query`]'s block can be run: a row if so. Never fails.
pub const CAN_ESTIMATE: &str = "SELECT 1 FROM pg_catalog.pg_language AS l WHERE l.lanname = 'plpgsql' \
AND pg_catalog.has_language_privilege(l.oid, 'USAGE')";

/// Asks for the plan that the block has left behind.
pub const ESTIMATE: &str = "SELECT pg_catalog.current_setting('cordon.estimate', true)";

impl Session {
    /// The block that explains a statement, to be followed by [`ESTIMATE`]; `None`: it is not one
    /// that can be explained without running anything.
    pub async fn estimate_query(
        &self,
        understood: &Understood,
        parameters: &[Parameter],
    ) -> Option<String> {
        if !is_harmless(understood) || !parameters.iter().all(Parameter::is_text) {
            return None;
        }
        let values: Vec<Option<String>> = parameters.iter().map(Parameter::shown).collect();
        let text = understood.statement().text.clone();
        let parsed = self
            .gate
            .stack
            .run(move || {
                let values: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
                let text = with_literals(&text, &values)?;
                if text.len() > MAX_TEXT {
                    return None;
                }
                let mut statements = split(&format!("EXPLAIN (FORMAT JSON) {text}")).ok()?;
                let only = statements.pop()?;
                statements.is_empty().then_some(only)
            })
            .await
            .ok()??;
        let parsed = std::sync::Arc::new(parsed);
        let explain = self.resolve(&parsed).await.ok()?;
        if explain.kind != (StatementKind::Explain { analyze: false }) {
            return None;
        }
        Some(block(&explain.text))
    }
}

/// Runs an EXPLAIN; whatever becomes of it, the block succeeds.
fn block(explain: &str) -> String {
    let mut hex = String::with_capacity(explain.len() * 2);
    for byte in explain.bytes() {
        let _infallible = write!(hex, "{byte:02x}");
    }
    format!(
        "DO LANGUAGE plpgsql $cordon$DECLARE plan pg_catalog.text; BEGIN \
BEGIN PERFORM pg_catalog.set_config('lock_timeout', '250ms', true); \
EXECUTE pg_catalog.convert_from(pg_catalog.decode('{hex}', 'hex'), 'UTF8') INTO plan; \
RAISE EXCEPTION 'undo'; \
EXCEPTION WHEN query_canceled OR OTHERS THEN NULL; END; \
PERFORM pg_catalog.set_config('cordon.estimate', coalesce(plan, ''), true); END$cordon$"
    )
}

fn is_harmless(understood: &Understood) -> bool {
    let statement = understood.statement();
    let plain = match &statement.kind {
        StatementKind::Select
        | StatementKind::Insert
        | StatementKind::Update
        | StatementKind::Delete
        | StatementKind::Merge => true,
        StatementKind::Empty
        | StatementKind::Truncate
        | StatementKind::CopyIn
        | StatementKind::CopyOut { .. }
        | StatementKind::Explain { .. }
        | StatementKind::DeclareCursor { .. }
        | StatementKind::Prepare { .. }
        | StatementKind::Procedural
        | StatementKind::Ddl
        | StatementKind::Transaction(_)
        | StatementKind::Set
        | StatementKind::Show { .. }
        | StatementKind::Fetch { .. }
        | StatementKind::CloseCursor { .. }
        | StatementKind::Execute { .. }
        | StatementKind::Deallocate { .. }
        | StatementKind::Lock
        | StatementKind::Listen
        | StatementKind::Notify
        | StatementKind::Discard
        | StatementKind::Maintenance
        | StatementKind::Privilege => false,
    };
    // The planner calls functions of constant arguments.
    let functions = statement
        .functions
        .iter()
        .chain(&statement.implied.functions);
    plain
        && statement.executes.is_none()
        && statement.ddl.is_empty()
        && statement.text.len() <= MAX_TEXT
        && functions.into_iter().all(|function| match function.class {
            FunctionClass::Pure | FunctionClass::Catalog => true,
            FunctionClass::Other => false,
        })
}

/// The rows that a plan expects to touch: of a change those that it changes, else those that it
/// returns.
pub fn estimated_rows(plan: &str) -> Option<u64> {
    let document: Value = serde_json::from_str(plan).ok()?;
    let top = document.get(0)?.get("Plan")?;
    // EXPLAIN shows no number for a change that returns nothing.
    let changes = top.get("Node Type").and_then(Value::as_str) == Some("ModifyTable");
    if !changes {
        return rows(top);
    }
    let source = top.get("Plans")?.as_array()?.iter().filter(|plan| {
        let place = plan.get("Parent Relationship").and_then(Value::as_str);
        matches!(place, Some("Outer" | "Member"))
    });
    source.map(rows).sum()
}

fn rows(plan: &Value) -> Option<u64> {
    plan.get("Plan Rows")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_that_a_change_touches_or_a_query_returns() {
        let delete = r#"[{"Plan": {"Node Type": "ModifyTable", "Operation": "Delete", "Plan Rows": 0,
            "Plans": [{"Node Type": "Seq Scan", "Parent Relationship": "InitPlan", "Plan Rows": 7},
                      {"Node Type": "Seq Scan", "Parent Relationship": "Outer", "Plan Rows": 41,
                       "Plans": [{"Plan Rows": 9}]}]}}]"#;
        assert_eq!(estimated_rows(delete), Some(41));
        let select = r#"[{"Plan": {"Node Type": "Aggregate", "Plan Rows": 1, "Plans": [{"Plan Rows": 9}]}}]"#;
        assert_eq!(estimated_rows(select), Some(1));
        for nothing in ["", "[]", "{}", "[{\"Plan\": {}}]"] {
            assert_eq!(estimated_rows(nothing), None, "{nothing}");
        }
    }
}
