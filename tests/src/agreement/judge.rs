//! One statement: what the analysis reports, and what the server says to that.

use std::{collections::BTreeSet, fmt::Write};

use anyhow::Result;
use cordon::sql::{
    Access, ColumnUse, FunctionClass, NotUnderstood, RelationUse, Statement, StatementKind,
    analyze, split,
};

use super::{
    names::{FIRST_USER_OID, Names},
    wire::{Answer, Ask, ServerError, Wire},
};

/// The role that gets exactly what was reported.
pub const PROBE: &str = "cordon_probe";

const LOCKS: &str = "SELECT DISTINCT relation::pg_catalog.text FROM pg_catalog.pg_locks \
    WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation'";

const PREPARED: &str = "prepared statements: judged where they are prepared";

/// What the analysis says of a text.
#[derive(Debug)]
pub enum Reading {
    /// One statement, understood.
    Understood(Box<Statement>),
    /// More than one statement in one text, or none.
    Several(usize),
    /// Refused.
    Refused(NotUnderstood),
}

/// What one judge says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Everything that the server touches was reported.
    Agrees,
    /// Not asked, and why.
    NotJudged(String),
    /// Something was not reported.
    Missed(String),
}

/// What the server says to an understood statement.
#[derive(Debug)]
pub struct Judgement {
    /// By its permission checks.
    pub privileges: Ruling,
    /// By its locks.
    pub locks: Ruling,
    /// Relations that were reported, but not locked.
    pub over: Vec<String>,
}

impl Judgement {
    fn not_judged(why: &str) -> Self {
        Self {
            privileges: Ruling::NotJudged(why.to_owned()),
            locks: Ruling::NotJudged(why.to_owned()),
            over: Vec::new(),
        }
    }
}

/// Analyses a text with the names at hand.
pub fn read(text: &str, names: &Names) -> Reading {
    match split(text) {
        Err(error) => Reading::Refused(error),
        Ok(parsed) => match parsed.as_slice() {
            [one] => match analyze(one, &names.catalog, &names.namespace) {
                Ok(statement) => Reading::Understood(Box::new(statement)),
                Err(error) => Reading::Refused(error),
            },
            several => several
                .iter()
                .find_map(|one| analyze(one, &names.catalog, &names.namespace).err())
                .map_or(Reading::Several(several.len()), Reading::Refused),
        },
    }
}

/// Why a statement cannot be judged by what it touches; `None` if it can.
fn unjudgeable(statement: &Statement) -> Option<&'static str> {
    match &statement.kind {
        StatementKind::Select
        | StatementKind::Insert
        | StatementKind::Update
        | StatementKind::Delete
        | StatementKind::Merge
        | StatementKind::Truncate
        | StatementKind::CopyOut { .. }
        | StatementKind::CopyIn
        | StatementKind::DeclareCursor { .. }
        | StatementKind::Prepare { .. }
        | StatementKind::Explain { .. }
        | StatementKind::Lock => None,
        StatementKind::Ddl if !statement.relations.is_empty() => None,
        StatementKind::Ddl => Some("data definition that reads nothing"),
        StatementKind::Empty => Some("empty"),
        StatementKind::Transaction(_) => Some("transaction control"),
        StatementKind::Set | StatementKind::Show { .. } => Some("settings"),
        StatementKind::Fetch { .. } | StatementKind::CloseCursor { .. } => {
            Some("cursors: judged where they are declared")
        }
        StatementKind::Execute { .. } | StatementKind::Deallocate { .. } => Some(PREPARED),
        StatementKind::Listen | StatementKind::Notify | StatementKind::Discard => {
            Some("LISTEN, NOTIFY, DISCARD")
        }
        StatementKind::Maintenance => Some("maintenance: for owners only"),
        StatementKind::Privilege => Some("privileges and roles: for owners only"),
        StatementKind::Procedural => Some("DO and CALL: opaque, refused without a grant"),
    }
}

/// True if the statement's meaning does not hang on what the catalog says now.
pub fn needs_fresh_names(reading: &Reading) -> bool {
    match reading {
        Reading::Understood(statement) => unjudgeable(statement).is_none(),
        Reading::Several(_) => false,
        Reading::Refused(error) => match error {
            NotUnderstood::Syntax { .. } | NotUnderstood::Limit(_) => false,
            NotUnderstood::Unsupported(_) | NotUnderstood::UnknownName { .. } => true,
        },
    }
}

/// Asks the server. Leaves nothing behind, but for what no rollback takes back.
pub fn judge(
    wire: &mut Wire,
    names: &Names,
    text: &str,
    statement: &Statement,
) -> Result<Judgement> {
    if let Some(why) = unjudgeable(statement) {
        return Ok(Judgement::not_judged(why));
    }
    if statement.executes.is_some() {
        return Ok(Judgement::not_judged(PREPARED));
    }
    let inside = wire.status == b'T';
    let (begin, end) = if inside {
        (
            "SAVEPOINT cordon_judge",
            "ROLLBACK TO cordon_judge; RELEASE cordon_judge",
        )
    } else {
        ("BEGIN", "ROLLBACK")
    };
    let body = match &statement.kind {
        StatementKind::Prepare { body, .. } => body,
        _ => text,
    };
    let grants = grants(names, statement);
    let become_probe = format!(
        "{}; SET SESSION AUTHORIZATION {PROBE}",
        search_path(&names.namespace.search_path)
    );
    let mut asked = vec![
        Ask::Query(begin),
        Ask::Query(LOCKS),
        Ask::Parse(body),
        Ask::Query(LOCKS),
        Ask::Query(end),
    ];
    // What PREPARE names outlives a rollback; it asks for no privileges anyway.
    let probed = !matches!(statement.kind, StatementKind::Prepare { .. });
    if probed {
        asked.extend([
            Ask::Query(begin),
            Ask::Query("SET SESSION AUTHORIZATION DEFAULT"),
            Ask::Query(&grants),
            Ask::Query(&become_probe),
            Ask::Query(text),
            Ask::Query(end),
        ]);
    }
    let answers = wire.ask(&asked)?;
    let at = |index: usize| answers.get(index).cloned().unwrap_or_default();
    let (locks, over) = by_locks(names, statement, &at(1), &at(2), &at(3));
    let privileges = if probed {
        let mut ruling = by_privileges(statement, &[at(6), at(7), at(8)], &at(9));
        // Rights of others (owners of views) are not the probe's to have.
        if let (Ruling::Missed(_), Some(error)) = (&ruling, &at(9).error) {
            let more = all_rights(names);
            let again = wire.ask(&[
                Ask::Query(begin),
                Ask::Query("SET SESSION AUTHORIZATION DEFAULT"),
                Ask::Query(&grants),
                Ask::Query(&more),
                Ask::Query(&become_probe),
                Ask::Query(text),
                Ask::Query(end),
            ])?;
            let still = again.get(5).and_then(|answer| answer.error.as_ref());
            if still.is_some_and(|still| still.sqlstate == error.sqlstate) {
                ruling = Ruling::NotJudged("denied to the owner of a view".to_owned());
            }
        }
        ruling
    } else {
        Ruling::NotJudged("prepared statements: judged by locks".to_owned())
    };
    Ok(Judgement {
        privileges,
        locks,
        over,
    })
}

fn by_locks(
    names: &Names,
    statement: &Statement,
    before: &Answer,
    parse: &Answer,
    after: &Answer,
) -> (Ruling, Vec<String>) {
    if let Some(error) = &parse.error {
        return (Ruling::NotJudged(server_refuses(error)), Vec::new());
    }
    if let Some(error) = before.error.as_ref().or(after.error.as_ref()) {
        return (
            Ruling::NotJudged(format!("locks cannot be read: {}", error.message)),
            Vec::new(),
        );
    }
    let whole = match &statement.kind {
        StatementKind::Select
        | StatementKind::Insert
        | StatementKind::Update
        | StatementKind::Delete
        | StatementKind::Merge
        | StatementKind::Prepare { .. } => true,
        // Parse reads the query in it, but does not look behind views.
        StatementKind::DeclareCursor { .. } | StatementKind::Explain { .. } => false,
        _ => {
            return (
                Ruling::NotJudged("Parse takes no locks for this kind".to_owned()),
                Vec::new(),
            );
        }
    };
    let oids = |answer: &Answer| -> BTreeSet<u32> {
        let cells = answer.rows.iter().flatten().flatten();
        cells.filter_map(|oid| oid.parse().ok()).collect()
    };
    let (before, after) = (oids(before), oids(after));
    let oids_of = |list: &[RelationUse]| -> BTreeSet<u32> {
        list.iter().map(|used| used.relation.oid).collect()
    };
    let reported = oids_of(&statement.relations);
    let implied = oids_of(&statement.implied.relations);
    let relation = |oid: &u32| {
        names
            .relations
            .get(oid)
            .filter(|named| matches!(named.kind, b'r' | b'p' | b'v' | b'm' | b'f' | b'S'))
            .map(|named| named.name.clone())
    };
    // Behind the server's own views are its own tables, under the rights of its owner. They are
    // not looked behind: policy knows them by name.
    let system_view = statement.relations.iter().any(|used| {
        let named = names.relations.get(&used.relation.oid);
        used.system && named.is_some_and(|named| named.kind == b'v')
    });
    let missed: Vec<String> = after
        .difference(&before)
        .filter(|oid| !(reported.contains(oid) || implied.contains(oid)))
        .filter(|oid| !(system_view && **oid < FIRST_USER_OID))
        .filter_map(relation)
        .collect();
    let over = if whole {
        reported.difference(&after).filter_map(relation).collect()
    } else {
        Vec::new()
    };
    if missed.is_empty() {
        (Ruling::Agrees, over)
    } else {
        (
            Ruling::Missed(format!("locked, but not reported: {}", missed.join(", "))),
            over,
        )
    }
}

fn by_privileges(statement: &Statement, preparation: &[Answer], answer: &Answer) -> Ruling {
    if let Some(error) = preparation.iter().find_map(|answer| answer.error.as_ref()) {
        return Ruling::NotJudged(format!("the probe cannot be prepared: {}", error.message));
    }
    let Some(error) = &answer.error else {
        return Ruling::Agrees;
    };
    // A COPY that asked for data has passed.
    if answer.wanted_data {
        return Ruling::Agrees;
    }
    if error.sqlstate != "42501" {
        return Ruling::NotJudged(server_refuses(error));
    }
    let denied = error.message.strip_prefix("permission denied for ");
    let of_relation = denied.is_some_and(|what| {
        [
            "table ",
            "view ",
            "materialized view ",
            "foreign table ",
            "sequence ",
            "column ",
            "relation ",
        ]
        .iter()
        .any(|kind| what.starts_with(kind))
    });
    if !of_relation {
        return Ruling::NotJudged("needs a right that is not about relations".to_owned());
    }
    // Bodies of functions and triggers are opaque: each is listed, and needs a grant of its own.
    // Some run in the statement itself (inlined), without a context that says so.
    let opaque = statement
        .functions
        .iter()
        .any(|function| function.class == FunctionClass::Other);
    if opaque {
        return Ruling::NotJudged("denied in a function or trigger, which is reported".to_owned());
    }
    let context = if error.context.is_empty() {
        String::new()
    } else {
        format!(" ({})", error.context.replace('\n', " "))
    };
    Ruling::Missed(format!("{}{context}", error.message))
}

/// Every right on every relation.
fn all_rights(names: &Names) -> String {
    let schemas: Vec<String> = names
        .catalog
        .relations
        .keys()
        .filter(|schema| !schema.starts_with("pg_toast"))
        .filter(|schema| {
            !schema.starts_with("pg_temp") || names.namespace.search_path.contains(schema)
        })
        .map(|schema| quote(schema))
        .collect();
    let schemas = schemas.join(", ");
    format!(
        "GRANT ALL ON ALL TABLES IN SCHEMA {schemas} TO {PROBE}; \
         GRANT ALL ON ALL SEQUENCES IN SCHEMA {schemas} TO {PROBE}"
    )
}

/// Errors of the statement itself, by class.
fn server_refuses(error: &ServerError) -> String {
    match error.sqlstate.as_str() {
        "25001" => "cannot run inside a transaction block".to_owned(),
        "25006" => "the transaction is read-only".to_owned(),
        _ => "fails on the server".to_owned(),
    }
}

fn search_path(path: &[String]) -> String {
    let schemas: Vec<String> = path
        .iter()
        .map(|schema| {
            if schema.starts_with("pg_temp_") {
                "pg_temp".to_owned()
            } else {
                quote(schema)
            }
        })
        .collect();
    format!(
        "SET LOCAL search_path = {}",
        if schemas.is_empty() {
            "''".to_owned()
        } else {
            schemas.join(", ")
        }
    )
}

/// The GRANTs of exactly what was reported.
fn grants(names: &Names, statement: &Statement) -> String {
    let mut sql = String::new();
    let schemas: BTreeSet<&String> = names
        .catalog
        .relations
        .keys()
        .chain(&names.namespace.search_path)
        .filter(|schema| !schema.starts_with("pg_temp") && !schema.starts_with("pg_toast"))
        .collect();
    for schema in schemas {
        let _ = writeln!(sql, "GRANT ALL ON SCHEMA {} TO {PROBE};", quote(schema));
    }
    let definition = statement.kind == StatementKind::Ddl;
    // Nothing is written by it, but the server asks as if it were.
    let plan = statement.kind == StatementKind::Explain { analyze: false };
    for used in statement
        .relations
        .iter()
        .chain(&statement.implied.relations)
    {
        if used.relation.oid == 0 {
            continue;
        }
        let mut rights = rights(names, used);
        if statement.kind == StatementKind::Lock && used.access.contains(&Access::Select) {
            // The weakest lock, which is a read: of the table, no column will do.
            rights.push("SELECT".to_owned());
        }
        if definition {
            rights.extend(["REFERENCES".to_owned(), "TRIGGER".to_owned()]);
        }
        if plan {
            rights.extend([
                "INSERT".to_owned(),
                "UPDATE".to_owned(),
                "DELETE".to_owned(),
            ]);
        }
        let relation = &used.relation;
        let mut grant = |rights: &str, schema: &str, name: &str| {
            let (schema, name) = (quote(schema), quote(name));
            let _ = writeln!(sql, "GRANT {rights} ON {schema}.{name} TO {PROBE};");
        };
        if !rights.is_empty() {
            grant(&rights.join(", "), &relation.schema, &relation.name);
        }
        if definition {
            // A trigger is made on every part; who may define on the whole may define on them.
            for (schema, name) in parts(names, &relation.schema, &relation.name) {
                grant("TRIGGER", schema, name);
            }
        }
    }
    sql
}

/// Everything that inherits from a relation.
fn parts<'n>(names: &'n Names, schema: &str, name: &str) -> Vec<(&'n str, &'n str)> {
    let children = |schema: &str, name: &str| {
        let relation = names.catalog.relation(schema, name);
        relation.into_iter().flat_map(|relation| &relation.children)
    };
    let mut found: Vec<(&str, &str)> = Vec::new();
    let mut next: Vec<&(String, String)> = children(schema, name).collect();
    while let Some((schema, name)) = next.pop() {
        if !found.contains(&(schema, name)) {
            found.push((schema, name));
            next.extend(children(schema, name));
        }
    }
    found
}

fn rights(names: &Names, used: &RelationUse) -> Vec<String> {
    let columns = |fits: &dyn Fn(&ColumnUse) -> bool| -> String {
        let mut list: Vec<String> = used
            .columns
            .iter()
            .filter(|(_, uses)| uses.iter().any(fits))
            .map(|(column, _)| quote(&column.column))
            .collect();
        if list.is_empty() {
            // Any column will do, then.
            let relation = names
                .catalog
                .relation(&used.relation.schema, &used.relation.name);
            list.extend(
                relation
                    .and_then(|relation| relation.columns.first())
                    .map(|column| quote(&column.name)),
            );
        }
        if list.is_empty() {
            String::new()
        } else {
            format!(" ({})", list.join(", "))
        }
    };
    let read = |how: &ColumnUse| !how.is_written();
    let inserted = |how: &ColumnUse| *how == ColumnUse::Inserted;
    let updated = |how: &ColumnUse| *how == ColumnUse::Updated;
    // Some statements ask for the right on the table, where all its columns are read.
    let whole = names
        .catalog
        .relation(&used.relation.schema, &used.relation.name)
        .is_some_and(|relation| {
            relation.columns.iter().all(|column| {
                used.columns
                    .iter()
                    .any(|(of, uses)| of.attnum == column.attnum && uses.iter().any(read))
            })
        });
    let sequence = names
        .relations
        .get(&used.relation.oid)
        .is_some_and(|named| named.kind == b'S');
    used.access
        .iter()
        .map(|access| match access {
            Access::Select if whole => "SELECT".to_owned(),
            Access::Select => format!("SELECT{}", columns(&read)),
            Access::Insert => format!("INSERT{}", columns(&inserted)),
            Access::Update if sequence => "UPDATE".to_owned(),
            Access::Update => format!("UPDATE{}", columns(&updated)),
            Access::Delete => "DELETE".to_owned(),
            Access::Truncate | Access::Lock => "TRUNCATE".to_owned(),
        })
        // The weakest lock asks for the right to read.
        .chain(
            used.access
                .contains(&Access::Lock)
                .then(|| "SELECT".to_owned()),
        )
        .collect()
}

/// An identifier in quotes.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
