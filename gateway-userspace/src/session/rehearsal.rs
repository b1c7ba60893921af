//! Reads statements as a session would, without one: against a catalog at hand, for tools.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::understand::{fetch_from, refuse_shadowing};
use crate::{
    policy::Kinship,
    sql::{
        Catalog, Namespace, NotUnderstood, Parsed, SettingValue, Statement, StatementKind,
        TransactionControl, analyze, split,
    },
};

/// The names of a session that never was: its search path, cursors and prepared statements, as
/// the statements read so far have left them. Definitions are not followed: the catalog stays
/// what it is.
///
/// Reading wants a deep stack: use it within [`crate::sql::run_on_big_stack`].
#[derive(Clone, Debug)]
pub struct Rehearsal {
    catalog: Arc<Catalog>,
    kinship: Arc<Kinship>,
    schemas: HashSet<String>,
    start: Namespace,
    namespace: Namespace,
    /// The search paths to return to when the transaction is rolled back, and when it ends.
    transaction: Option<(Vec<String>, Vec<String>)>,
    cursors: HashMap<String, Statement>,
    prepared: HashMap<String, String>,
}

impl Rehearsal {
    /// A session in this catalog, whose names mean this at its start.
    pub fn new(catalog: Arc<Catalog>, kinship: Arc<Kinship>, namespace: Namespace) -> Self {
        let functions = catalog.functions.values().flatten();
        let types = catalog.types.values().flatten();
        let schemas = catalog
            .relations
            .keys()
            .chain(functions.map(|function| &function.schema))
            .chain(types.map(|(schema, _)| schema))
            .chain(&namespace.search_path)
            .cloned()
            .collect();
        Self {
            catalog,
            kinship,
            schemas,
            start: namespace.clone(),
            namespace,
            transaction: None,
            cursors: HashMap::new(),
            prepared: HashMap::new(),
        }
    }

    /// Families of tables, for the policy.
    pub fn kinship(&self) -> &Arc<Kinship> {
        &self.kinship
    }

    /// The catalog.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// What names mean now.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Resolves the next names in this effective search path.
    pub fn set_search_path(&mut self, path: Vec<String>) {
        self.namespace.search_path = path;
    }

    /// Understands one statement. What it changes in the session counts once it is
    /// [followed](Self::follow).
    ///
    /// # Errors
    /// If it is not understood.
    pub fn read(&self, parsed: &Parsed) -> Result<Statement, NotUnderstood> {
        let mut statement = analyze(parsed, &self.catalog, &self.namespace)?;
        refuse_shadowing(&statement)?;
        let unknown = |sqlstate, message| NotUnderstood::UnknownName {
            sqlstate,
            message,
            position: None,
        };
        if let StatementKind::Fetch { name, moves } = statement.kind.clone() {
            let cursor = self
                .cursors
                .get(&name)
                .ok_or_else(|| unknown("34000", format!("cursor \"{name}\" does not exist")))?;
            fetch_from(&mut statement, cursor, moves);
        }
        if let Some(name) = &statement.executes {
            let body = self.prepared.get(name).ok_or_else(|| {
                unknown(
                    "26000",
                    format!("prepared statement \"{name}\" does not exist"),
                )
            })?;
            let [inner] = <[Parsed; 1]>::try_from(split(body)?).map_err(|_several| {
                NotUnderstood::Unsupported(format!(
                    "prepared statement \"{name}\" is not one statement"
                ))
            })?;
            let inner = analyze(&inner, &self.catalog, &self.namespace)?;
            if inner.executes.is_some() {
                return Err(NotUnderstood::Unsupported(format!(
                    "prepared statement \"{name}\" cannot be executed through SQL"
                )));
            }
            statement = statement.running(&inner);
        }
        Ok(statement)
    }

    /// Follows what a statement changes for those after it.
    pub fn follow(&mut self, statement: &Statement) {
        for change in &statement.settings {
            if !matches!(change.name.as_str(), "search_path" | "all") {
                continue;
            }
            let path = match &change.value {
                SettingValue::To(value) => self.effective(value),
                SettingValue::Default => self.start.search_path.clone(),
                // Its value is not at hand.
                SettingValue::Parameter(_) => continue,
            };
            self.set_path(path, change.local);
        }
        match &statement.kind {
            StatementKind::Transaction(control) => self.transaction(*control),
            StatementKind::Prepare { name, body } => {
                self.prepared.insert(name.clone(), body.clone());
            }
            StatementKind::Deallocate { name: Some(name) } => {
                self.prepared.remove(name);
            }
            StatementKind::Deallocate { name: None } => self.prepared.clear(),
            StatementKind::DeclareCursor { name, .. } => {
                self.cursors.insert(name.clone(), statement.clone());
            }
            StatementKind::CloseCursor { name: Some(name) } => {
                self.cursors.remove(name);
            }
            StatementKind::CloseCursor { name: None } => self.cursors.clear(),
            StatementKind::Discard => {
                self.prepared.clear();
                self.cursors.clear();
                self.namespace = self.start.clone();
            }
            StatementKind::Set
            | StatementKind::Empty
            | StatementKind::Select
            | StatementKind::Insert
            | StatementKind::Update
            | StatementKind::Delete
            | StatementKind::Merge
            | StatementKind::Truncate
            | StatementKind::Ddl
            | StatementKind::CopyOut { .. }
            | StatementKind::CopyIn
            | StatementKind::Show { .. }
            | StatementKind::Fetch { .. }
            | StatementKind::Execute { .. }
            | StatementKind::Explain { .. }
            | StatementKind::Lock
            | StatementKind::Listen
            | StatementKind::Notify
            | StatementKind::Maintenance
            | StatementKind::Privilege
            | StatementKind::Procedural => {}
        }
    }

    fn set_path(&mut self, path: Vec<String>, local: bool) {
        self.namespace.search_path.clone_from(&path);
        if let Some((_, after)) = &mut self.transaction
            && !local
        {
            *after = path;
        }
    }

    fn transaction(&mut self, control: TransactionControl) {
        match control {
            TransactionControl::Begin => {
                let path = self.namespace.search_path.clone();
                self.transaction.get_or_insert((path.clone(), path));
            }
            TransactionControl::Commit => {
                if let Some((_, after)) = self.transaction.take() {
                    self.namespace.search_path = after;
                }
            }
            TransactionControl::Rollback => {
                if let Some((before, _)) = self.transaction.take() {
                    self.namespace.search_path = before;
                }
            }
            TransactionControl::Savepoint
            | TransactionControl::Release
            | TransactionControl::RollbackTo => {}
        }
    }

    /// The effective search path of a setting: `current_schemas(true)` as the server would give
    /// it, as far as the catalog tells which schemas there are.
    fn effective(&self, setting: &str) -> Vec<String> {
        // The session's temporary schema, where it has one, and pg_catalog come first unless they
        // are named.
        let temporary = |schema: &&String| schema.starts_with("pg_temp_");
        let mut path: Vec<String> = self
            .start
            .search_path
            .iter()
            .filter(temporary)
            .cloned()
            .collect();
        let named: Vec<&str> = setting
            .split(',')
            .map(|part| part.trim().trim_matches(['"', '\'']))
            .map(|part| {
                if part == "$user" {
                    self.namespace.user.as_str()
                } else {
                    part
                }
            })
            .collect();
        if !named.contains(&"pg_catalog") {
            path.push("pg_catalog".to_owned());
        }
        for schema in named {
            let known = self.schemas.contains(schema) && !path.iter().any(|have| have == schema);
            if known {
                path.push(schema.to_owned());
            }
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Column, Relation, run_on_big_stack};

    fn catalog() -> Catalog {
        let mut catalog = Catalog::empty();
        for schema in ["public", "other"] {
            let mut relation = Relation::default();
            relation.oid = 16_384;
            relation.kind = b'r';
            relation.columns = vec![Column {
                name: "id".to_owned(),
                attnum: 1,
                type_oid: 23,
                ..Column::default()
            }];
            catalog
                .relations
                .entry(schema.to_owned())
                .or_default()
                .insert("t".to_owned(), relation);
        }
        catalog
    }

    /// The schemas that each statement of a text reads from, or its error.
    fn schemas(text: &str) -> Vec<String> {
        run_on_big_stack(|| {
            let namespace = Namespace {
                search_path: vec!["pg_catalog".to_owned(), "public".to_owned()],
                user: "agent".to_owned(),
                database: "shop".to_owned(),
                roles: Vec::new(),
            };
            let mut rehearsal =
                Rehearsal::new(Arc::new(catalog()), Arc::new(Kinship::none()), namespace);
            let mut found = Vec::new();
            for parsed in split(text).expect("the grammar reads it") {
                match rehearsal.read(&parsed) {
                    Ok(statement) => {
                        rehearsal.follow(&statement);
                        found.extend(
                            statement
                                .relations
                                .iter()
                                .map(|used| used.relation.schema.clone()),
                        );
                    }
                    Err(error) => found.push(error.to_string()),
                }
            }
            found
        })
        .expect("no panic")
    }

    #[test]
    fn the_search_path_is_followed() {
        assert_eq!(schemas("SELECT id FROM t"), ["public"]);
        assert_eq!(
            schemas(
                "SET search_path = missing, other, public; SELECT id FROM t; RESET search_path; SELECT id FROM t"
            ),
            ["other", "public"]
        );
        assert_eq!(
            schemas(
                "BEGIN; SET LOCAL search_path = other; SELECT id FROM t; COMMIT; SELECT id FROM t"
            ),
            ["other", "public"]
        );
        assert_eq!(
            schemas("BEGIN; SET search_path = other; COMMIT; SELECT id FROM t"),
            ["other"]
        );
        assert_eq!(
            schemas("BEGIN; SET search_path = other; ROLLBACK; SELECT id FROM t"),
            ["public"]
        );
        let refused = schemas("SET search_path = public, pg_catalog");
        assert!(refused[0].contains("pg_catalog"), "{refused:?}");
    }

    #[test]
    fn cursors_and_prepared_statements_are_what_they_select() {
        assert_eq!(
            schemas("DECLARE c CURSOR FOR SELECT id FROM other.t; FETCH c; CLOSE c; FETCH c"),
            ["other", "other", "cursor \"c\" does not exist"]
        );
        assert_eq!(
            schemas("PREPARE p AS SELECT id FROM t; EXECUTE p; DEALLOCATE p; EXECUTE p"),
            [
                "public",
                "public",
                "prepared statement \"p\" does not exist"
            ]
        );
    }
}
