//! The policy as its users meet it: files in, verdicts out.

mod admit;
mod columns;
mod ddl;
mod draft;
mod files;
mod kinds;
mod limits;
mod observe;
mod relations;
mod settings;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::*;
use crate::{
    identity::{Assurance, JobIdentity},
    masking::Redaction,
    sql::{
        Access, ColumnRef, ColumnUse, DdlAction, DdlEffect, FunctionClass, FunctionUse, Implied,
        OutputColumn, RelationRef, RelationUse, Rights, SettingChange, SettingValue, Statement,
        StatementKind,
    },
};

fn job() -> JobIdentity {
    let claims = BTreeMap::from([
        ("repository_id".to_owned(), serde_json::json!("123456")),
        (
            "ref".to_owned(),
            serde_json::json!("refs/heads/agent/fix-1"),
        ),
        ("run_attempt".to_owned(), serde_json::json!(3)),
        ("ref_protected".to_owned(), serde_json::json!(true)),
        (
            "environments".to_owned(),
            serde_json::json!(["staging", "eu"]),
        ),
        ("nested".to_owned(), serde_json::json!({ "a": "b" })),
        ("nothing".to_owned(), serde_json::Value::Null),
    ]);
    JobIdentity::fixture(
        "github",
        Assurance::OidcVerified,
        vec!["backend".to_owned()],
        claims,
    )
}

/// A grant for [`job`] with these rules.
fn grant(rules: &str) -> String {
    format!(
        "version: 1\ngrants:\n  - name: g\n    who: {{ issuer: github }}\n    database: shop\n    role: {{ login: agent }}\n{rules}"
    )
}

fn parse(text: &str) -> Arc<Policy> {
    match Policy::from_sources(&[(PathBuf::from("test.yaml"), text.to_owned())]) {
        Ok(policy) => Arc::new(policy),
        Err(error) => panic!("{error}\n{text}"),
    }
}

fn admission(rules: &str) -> Admission {
    match parse(&grant(rules)).admit_job(&job(), "shop") {
        Ok(admission) => admission,
        Err(reason) => panic!("{reason:?}"),
    }
}

fn relation_ref(name: &str) -> RelationRef {
    let (schema, name) = name.split_once('.').unwrap_or(("public", name));
    RelationRef {
        schema: schema.to_owned(),
        name: name.to_owned(),
        oid: 16_384,
    }
}

fn column_ref(relation: &str, column: &str) -> ColumnRef {
    let attnum = if column == "ctid" { -1 } else { 1 };
    ColumnRef {
        relation: relation_ref(relation),
        column: column.to_owned(),
        attnum,
    }
}

/// A relation with what is done to it and its columns.
fn used(name: &str, access: &[Access], columns: &[(&str, &[ColumnUse])]) -> RelationUse {
    RelationUse {
        relation: relation_ref(name),
        access: access.iter().copied().collect(),
        columns: columns
            .iter()
            .map(|(column, uses)| (column_ref(name, column), uses.iter().copied().collect()))
            .collect(),
        system: name.starts_with("pg_catalog.")
            || name.starts_with("information_schema.")
            || name.starts_with("pg_toast."),
        temporary: name.starts_with("pg_temp"),
        rights: Rights::Session,
    }
}

/// A SELECT of plain columns of one relation.
fn select(name: &str, columns: &[&str]) -> Statement {
    let columns_used: Vec<(&str, &[ColumnUse])> = columns
        .iter()
        .map(|column| (*column, &[ColumnUse::Output][..]))
        .collect();
    let mut statement = statement(
        StatementKind::Select,
        vec![used(name, &[Access::Select], &columns_used)],
    );
    statement.output = Some(columns.iter().map(|column| plain(name, column)).collect());
    statement
}

fn plain(relation: &str, column: &str) -> OutputColumn {
    OutputColumn {
        name: column.to_owned(),
        origins: [column_ref(relation, column)].into(),
        direct: true,
        merged: false,
    }
}

fn statement(kind: StatementKind, relations: Vec<RelationUse>) -> Statement {
    Statement {
        text: "...".to_owned(),
        kind,
        relations,
        functions: Vec::new(),
        implied: Implied::default(),
        ddl: Vec::new(),
        settings: Vec::new(),
        output: None,
        unlimited: false,
        executes: None,
        catalog_version: 1,
    }
}

fn function(schema: &str, name: &str, class: FunctionClass) -> FunctionUse {
    FunctionUse {
        schema: schema.to_owned(),
        name: name.to_owned(),
        oid: 1,
        class,
    }
}

/// `SELECT schema.name()`.
fn call(name: &str, class: FunctionClass) -> Statement {
    let (schema, name) = name.split_once('.').unwrap_or(("public", name));
    let mut statement = statement(StatementKind::Select, Vec::new());
    statement.functions = vec![function(schema, name, class)];
    statement.output = Some(Vec::new());
    statement
}

/// `SET name = value`.
fn set(name: &str, value: &str) -> Statement {
    setting(name, SettingValue::To(value.to_owned()))
}

fn setting(name: &str, value: SettingValue) -> Statement {
    let mut statement = statement(StatementKind::Set, Vec::new());
    statement.settings = vec![SettingChange {
        name: name.to_owned(),
        value,
        local: false,
    }];
    statement
}

fn ddl(action: DdlAction, kind: &str, name: &str) -> DdlEffect {
    let (schema, name) = name.split_once('.').unwrap_or(("public", name));
    DdlEffect {
        action,
        object_kind: kind.to_owned(),
        schema: schema.to_owned(),
        name: name.to_owned(),
        on: None,
        cascade: false,
        temporary: false,
    }
}

fn defining(effect: DdlEffect) -> Statement {
    let mut statement = statement(StatementKind::Ddl, Vec::new());
    statement.ddl = vec![effect];
    statement
}

#[track_caller]
fn allowed(admission: &Admission, statement: &Statement) -> Obligations {
    match evaluate(admission, statement) {
        Verdict::Allow(obligations) => obligations,
        other => panic!("expected allow, got {other:?}"),
    }
}

#[track_caller]
fn denied(admission: &Admission, statement: &Statement) -> Reason {
    match evaluate(admission, statement) {
        Verdict::Deny(reason) => {
            assert!(
                !reason.message.is_empty() && !reason.rule.is_empty() && !reason.hint.is_empty(),
                "{reason:?}"
            );
            reason
        }
        other => panic!("expected deny, got {other:?}"),
    }
}

#[track_caller]
fn held(admission: &Admission, statement: &Statement) -> (ApprovalRequirement, Reason) {
    match evaluate(admission, statement) {
        Verdict::RequireApproval {
            requirement,
            reason,
            ..
        } => (requirement, reason),
        other => panic!("expected approval, got {other:?}"),
    }
}
