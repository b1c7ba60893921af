//! Definitions that change outside of Cordon, between a statement's analysis and its execution.
//!
//! Each statement is sent together with a query that runs after the server has locked what the
//! statement reads, and before the statement does. The query compares what the analysis relied
//! on (relations with their columns and rewrite rules, relations of the same names, functions of
//! the names that are called) with what the catalog says now, and fails where they differ: then
//! the statement does not run, and is understood anew. As long as no transaction has ended since
//! the catalog was read, nothing has to be compared.
//!
//! Versions are sums over rows of the catalog. Of a relation's own row only what matters counts:
//! TRUNCATE and REFRESH write a new one too.

use std::{collections::HashMap, fmt::Write};

use super::{Refusal, Rows, Session, Understood};
use crate::{
    policy::{Reason, ReasonCode},
    sql::{FIRST_NORMAL_OID, Statement, StatementKind},
};

/// What of a row of `pg_class AS c` matters.
macro_rules! relation {
    () => {
        "pg_catalog.hashtext(pg_catalog.concat_ws(' ', c.relname, c.relnamespace, c.relkind::pg_catalog.text, c.relowner, c.reloptions))::pg_catalog.int8 * (c.oid::pg_catalog.int8 % 65521)"
    };
}
/// The same of `pg_attribute AS a`.
macro_rules! column {
    () => {
        "a.xmin::pg_catalog.text::pg_catalog.int8 * a.attnum * (a.attrelid::pg_catalog.int8 % 65521)"
    };
}
/// The same of `pg_rewrite AS r`.
macro_rules! rule {
    () => {
        "r.xmin::pg_catalog.text::pg_catalog.int8 * (r.oid::pg_catalog.int8 % 65521)"
    };
}
/// The same of `pg_proc AS p`.
macro_rules! function {
    () => {
        "p.xmin::pg_catalog.text::pg_catalog.int8 * (p.oid::pg_catalog.int8 % 65521)"
    };
}

/// The version of everything in the catalog that a statement may rely on.
pub(super) const VERSIONS: &str = concat!(
    "SELECT 'r', c.oid::pg_catalog.text, (",
    relation!(),
    " + COALESCE((SELECT pg_catalog.sum(",
    column!(),
    ") FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0), 0) + COALESCE((SELECT pg_catalog.sum(",
    rule!(),
    ") FROM pg_catalog.pg_rewrite AS r WHERE r.ev_class = c.oid), 0))::pg_catalog.text FROM pg_catalog.pg_class AS c \
WHERE c.oid >= 16384 AND c.relkind NOT IN ('i', 'I', 't') \
UNION ALL SELECT 'n', c.relname::pg_catalog.text, pg_catalog.sum(",
    relation!(),
    ")::pg_catalog.text FROM pg_catalog.pg_class AS c WHERE c.oid >= 16384 AND c.relpersistence <> 't' GROUP BY c.relname \
UNION ALL SELECT 'f', p.proname::pg_catalog.text, pg_catalog.sum(",
    function!(),
    ")::pg_catalog.text FROM pg_catalog.pg_proc AS p WHERE p.oid >= 16384 GROUP BY p.proname"
);

/// Returns an empty text if the versions are as they were. Its parameters, as text: the snapshot of
/// transactions in which the catalog was read, the relations' oids, their names, functions' names,
/// the sum of the versions, and whether to fail with SQLSTATE 22P02 if they have changed.
pub const GUARD: &str = concat!(
    "SELECT CASE WHEN pg_catalog.pg_current_snapshot()::pg_catalog.text = $1::pg_catalog.text THEN '' WHEN \
COALESCE((SELECT pg_catalog.sum(",
    relation!(),
    ") FROM pg_catalog.pg_class AS c WHERE c.oid = ANY($2::pg_catalog.oid[])), 0) + COALESCE((SELECT pg_catalog.sum(",
    column!(),
    ") FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = ANY($2::pg_catalog.oid[]) AND a.attnum > 0), 0) + COALESCE((SELECT pg_catalog.sum(",
    rule!(),
    ") FROM pg_catalog.pg_rewrite AS r WHERE r.ev_class = ANY($2::pg_catalog.oid[])), 0) + COALESCE((SELECT pg_catalog.sum(",
    relation!(),
    ") FROM pg_catalog.pg_class AS c WHERE c.relname = ANY($3::pg_catalog.name[]) AND c.oid >= 16384 AND c.relpersistence <> 't'), 0) + COALESCE((SELECT pg_catalog.sum(",
    function!(),
    ") FROM pg_catalog.pg_proc AS p WHERE p.proname = ANY($4::pg_catalog.name[]) AND p.oid >= 16384), 0) = $5::pg_catalog.numeric \
THEN '' WHEN $6::pg_catalog.bool THEN pg_catalog.concat('definitions changed since ', $1)::pg_catalog.int4::pg_catalog.text ELSE 'changed' END"
);

/// SQLSTATE of [`GUARD`] where definitions have changed.
pub const GUARD_CHANGED: &str = "22P02";

/// Versions of what a catalog holds.
#[derive(Debug, Default)]
pub(super) struct Versions {
    relations: HashMap<u32, i128>,
    names: HashMap<String, i128>,
    functions: HashMap<String, i128>,
}

impl Versions {
    /// Reads the rows of [`VERSIONS`].
    pub(super) fn from_rows(rows: &Rows) -> Result<Self, String> {
        let mut versions = Self::default();
        for row in rows {
            let [Some(kind), Some(key), Some(version)] = row.as_slice() else {
                return Err("the versions of the catalog cannot be read".to_owned());
            };
            let wrong = |_| format!("the versions of the catalog cannot be read: {version}");
            let version: i128 = version.parse().map_err(wrong)?;
            match kind.as_str() {
                "r" => {
                    let oid = key.parse().map_err(wrong)?;
                    versions.relations.insert(oid, version);
                }
                "n" => {
                    versions.names.insert(key.clone(), version);
                }
                _ => {
                    versions.functions.insert(key.clone(), version);
                }
            }
        }
        Ok(versions)
    }
}

/// What a statement relies on, as the parameters of [`GUARD`].
#[derive(Debug)]
pub(super) struct Relies {
    oids: String,
    names: String,
    functions: String,
    version: String,
}

impl Relies {
    /// `None`: on nothing that can change, or it takes no query beside it.
    pub(super) fn of(statement: &Statement, versions: &Versions) -> Option<Self> {
        if !is_guarded(&statement.kind) {
            return None;
        }
        let mut version: i128 = 0;
        let mut oids: Vec<u32> = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        for used in &statement.relations {
            let relation = &used.relation;
            if relation.oid >= FIRST_NORMAL_OID && !oids.contains(&relation.oid) {
                oids.push(relation.oid);
                version += versions.relations.get(&relation.oid).unwrap_or(&0);
            }
            if relation.oid >= FIRST_NORMAL_OID && !names.contains(&relation.name.as_str()) {
                names.push(&relation.name);
                version += versions.names.get(&relation.name).unwrap_or(&0);
            }
        }
        if oids.is_empty() {
            return None;
        }
        let mut functions: Vec<&str> = Vec::new();
        for function in &statement.functions {
            if !functions.contains(&function.name.as_str()) {
                functions.push(&function.name);
                version += versions.functions.get(&function.name).unwrap_or(&0);
            }
        }
        let mut list = String::from("{");
        for oid in &oids {
            let comma = if list.len() > 1 { "," } else { "" };
            let _ = write!(list, "{comma}{oid}");
        }
        list.push('}');
        Some(Self {
            oids: list,
            names: array(&names),
            functions: array(&functions),
            version: version.to_string(),
        })
    }
}

/// A literal of an array of names.
fn array(names: &[&str]) -> String {
    let mut out = String::from("{");
    for name in names {
        if out.len() > 1 {
            out.push(',');
        }
        out.push('"');
        for letter in name.chars() {
            if matches!(letter, '"' | '\\') {
                out.push('\\');
            }
            out.push(letter);
        }
        out.push('"');
    }
    out.push('}');
    out
}

/// True for what reads or writes rows. LOCK may have to come before a transaction's first query,
/// some definitions and maintenance must stand alone, and FETCH reads what was opened before.
fn is_guarded(kind: &StatementKind) -> bool {
    match kind {
        StatementKind::Select
        | StatementKind::Insert
        | StatementKind::Update
        | StatementKind::Delete
        | StatementKind::Merge
        | StatementKind::Truncate
        | StatementKind::Explain { .. }
        | StatementKind::DeclareCursor { .. }
        | StatementKind::CopyIn
        | StatementKind::CopyOut { .. }
        | StatementKind::Execute { .. } => true,
        StatementKind::Empty
        | StatementKind::Prepare { .. }
        | StatementKind::Procedural
        | StatementKind::Ddl
        | StatementKind::Transaction(_)
        | StatementKind::Set
        | StatementKind::Show { .. }
        | StatementKind::Fetch { .. }
        | StatementKind::CloseCursor { .. }
        | StatementKind::Deallocate { .. }
        | StatementKind::Lock
        | StatementKind::Listen
        | StatementKind::Notify
        | StatementKind::Discard
        | StatementKind::Maintenance
        | StatementKind::Privilege => false,
    }
}

impl Session {
    /// The parameters of [`GUARD`] for a statement that is about to be sent; `None`: it relies on
    /// nothing that can change.
    pub fn guard<'s>(&'s self, understood: &'s Understood) -> Option<[&'s str; 5]> {
        let relies = understood.reading.relies()?;
        // What was understood under older names must be compared in any case.
        let snapshot = if understood.generation == self.generation {
            self.names.transactions.as_str()
        } else {
            ""
        };
        Some([
            snapshot,
            &relies.oids,
            &relies.names,
            &relies.functions,
            &relies.version,
        ])
    }

    /// The refusal of a statement that [`GUARD`] has stopped. What names mean is looked up again
    /// before the next one.
    pub fn changed(&mut self, number: u64) -> Refusal {
        let reason = Reason {
            code: ReasonCode::Changed,
            message: "definitions that the statement relies on have been changed meanwhile"
                .to_owned(),
            rule: "a statement runs as it was understood".to_owned(),
            hint: "run it again, in a transaction from its beginning".to_owned(),
        };
        self.outdate();
        Refusal::new(&reason, self.reference(number))
    }

    /// Has what names mean looked up again before the next statement.
    pub fn outdate(&mut self) {
        self.names.mark_outdated();
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::array;

    #[test]
    fn names_are_quoted_in_array_literals() {
        assert_eq!(array(&[]), "{}");
        assert_eq!(array(&["a", "B c"]), r#"{"a","B c"}"#);
        assert_eq!(array(&[r#"q"\,{}"#]), r#"{"q\"\\,{}"}"#);
    }
}
