//! A snapshot of a database's catalog, as far as names need it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use super::statement::{NotUnderstood, Statement};

/// What a session's names are resolved in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Namespace {
    /// The effective search path (`current_schemas(true)`), temp schema and `pg_catalog`
    /// included, in order of lookup.
    pub search_path: Vec<String>,
    /// `current_user`.
    pub user: String,
    /// `current_database()`: the only one that a name may stand in.
    pub database: String,
    /// Oids of the roles whose objects the session may change: its login's, and those that it is a
    /// member of.
    pub roles: Vec<u32>,
}

/// The catalog of one database at one moment.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Rises with every change; never used twice in a process.
    pub version: u64,
    /// Relations by schema, then name.
    pub relations: HashMap<String, HashMap<String, Relation>>,
    /// Functions by name; all schemas.
    pub functions: HashMap<String, Vec<Function>>,
    /// Operators by name; all schemas. Only those outside `pg_catalog` can be unsafe.
    pub operators: HashMap<String, Vec<Operator>>,
    /// Type names outside `pg_catalog`, by name: schema, oid.
    pub types: HashMap<String, Vec<(String, u32)>>,
    /// Type names in `pg_catalog`.
    pub builtin_types: HashMap<String, u32>,
    /// What is known of each type, by oid.
    pub type_info: HashMap<u32, TypeInfo>,
    /// Casts made by users that call a function.
    pub casts: Vec<Cast>,
    /// Source and target of every implicit cast.
    pub implicit_casts: HashSet<(u32, u32)>,
    /// Foreign keys of user tables.
    pub foreign_keys: Vec<ForeignKey>,
    /// Effective search path of the connection that read the snapshot; view definitions are
    /// written for it.
    pub search_path: Vec<String>,
    /// Where each function oid is: name, place in its list.
    pub(super) function_oids: OnceLock<HashMap<u32, (String, usize)>>,
}

/// A type of the catalog.
#[derive(Clone, Debug, Default)]
pub struct TypeInfo {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// `typtype`: `b`ase, `c`omposite, `d`omain, `e`num, `p`seudo, `r`ange, `m`ultirange.
    pub kind: u8,
    /// Element type of an array, else 0.
    pub element: u32,
    /// Base type of a domain, else 0.
    pub base: u32,
    /// Fields of a composite type: name, type oid.
    pub fields: Vec<(String, u32)>,
    /// The extension that it belongs to.
    pub extension: Option<String>,
    /// For a domain: what its checks and its default run.
    pub code: Vec<Runs>,
}

/// A cast made by a user.
#[derive(Clone, Debug)]
pub struct Cast {
    /// Source type oid.
    pub source: u32,
    /// Target type oid.
    pub target: u32,
    /// `pg_proc.oid` of its function.
    pub function_oid: u32,
    /// `castcontext`: `i`mplicit, `a`ssignment, `e`xplicit.
    pub context: u8,
}

/// A foreign key: what a change of `to` does to `from`.
#[derive(Clone, Debug)]
pub struct ForeignKey {
    /// The referencing table: schema, name.
    pub from: (String, String),
    /// The referenced table: schema, name.
    pub to: (String, String),
    /// `attnum`s of the referenced columns.
    pub to_columns: Vec<i16>,
    /// `confdeltype`: `c`ascade, `n`ull, `d`efault, `a`/`r` none.
    pub on_delete: u8,
    /// `confupdtype`.
    pub on_update: u8,
}

/// A user trigger.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// `tgtype`: bits as `PostgreSQL` defines them.
    pub kind: u16,
    /// `pg_proc.oid` of its function.
    pub function_oid: u32,
}

/// A condition of a row-level security policy.
#[derive(Clone, Debug, Default)]
pub struct RowPolicy {
    /// `polcmd`: `r`ead, `a`dd, `w`rite, `d`elete or `*`.
    pub command: u8,
    /// A SELECT from the table with the condition as its WHERE, written for
    /// [`Catalog::search_path`].
    pub query: String,
    /// The query's analysis.
    pub(super) found: ViewCache,
}

/// A rewrite rule for writes.
#[derive(Clone, Debug, Default)]
pub struct RewriteRule {
    /// `pg_rewrite.ev_type`: `2` update, `3` insert, `4` delete.
    pub event: u8,
    /// It takes the place of the write, whatever is written.
    pub instead: bool,
    /// `pg_get_ruledef`, written for [`Catalog::search_path`].
    pub definition: String,
    /// What its actions do.
    pub(super) found: ViewCache,
}

/// Code that a write to a table runs: column defaults, generated columns, checks, expressions of
/// indexes and partition keys.
#[derive(Clone, Debug)]
pub struct WriteCode {
    /// `attnum` of the column whose default it is; 0: it runs whatever is written.
    pub column: i16,
    /// What runs.
    pub runs: Runs,
}

/// A function or sequence that a definition uses.
#[derive(Clone, Debug)]
pub enum Runs {
    /// `pg_proc.oid` of a function.
    Function(u32),
    /// The next value of a sequence: schema, name.
    Sequence(String, String),
}

/// What a definition's text does, found once per snapshot.
pub(super) type ViewCache = OnceLock<Result<Arc<Statement>, NotUnderstood>>;

/// A relation of the catalog.
#[derive(Clone, Debug, Default)]
pub struct Relation {
    /// `pg_class.oid`.
    pub oid: u32,
    /// `pg_class.relkind`.
    pub kind: u8,
    /// Live columns in order of `attnum` (user columns only).
    pub columns: Vec<Column>,
    /// For views and materialised views: `pg_get_viewdef`, written for [`Catalog::search_path`].
    pub definition: Option<String>,
    /// Has rewrite rules other than a view's own SELECT rule.
    pub has_rules: bool,
    /// Those rules; not of the server's own relations.
    pub rules: Vec<RewriteRule>,
    /// Has user triggers.
    pub has_triggers: bool,
    /// Row type oid (`pg_class.reltype`).
    pub row_type: u32,
    /// Temporary.
    pub temporary: bool,
    /// Direct inheritance and partition children, by (schema, name).
    pub children: Vec<(String, String)>,
    /// For an index: schema and name of its table.
    pub index_on: Option<(String, String)>,
    /// User triggers.
    pub triggers: Vec<Trigger>,
    /// For views: what is behind is read with the rights of the one who reads the view.
    pub security_invoker: bool,
    /// Its owner's role oid.
    pub owner: u32,
    /// Conditions of the policies, if row-level security is enabled.
    pub policies: Vec<RowPolicy>,
    /// What runs when it is written to, besides triggers.
    pub code: Vec<WriteCode>,
    /// The definition's analysis.
    pub(super) view: ViewCache,
}

/// A column of a relation.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// Name.
    pub name: String,
    /// `attnum`, from 1.
    pub attnum: i16,
    /// Type oid.
    pub type_oid: u32,
    /// NOT NULL.
    pub not_null: bool,
    /// GENERATED ALWAYS AS expression, if any.
    pub generated: bool,
    /// `attnum`s of the columns that a generated column is computed from.
    pub generated_from: Vec<i16>,
}

/// A function of the catalog.
#[derive(Clone, Debug, Default)]
pub struct Function {
    /// Schema.
    pub schema: String,
    /// `pg_proc.oid`.
    pub oid: u32,
    /// Number of arguments; variadic functions take any number from `args - 1`.
    pub args: usize,
    /// Arguments with defaults.
    pub defaults: usize,
    /// Variadic.
    pub variadic: bool,
    /// `provolatile`: `i`, `s` or `v`.
    pub volatility: u8,
    /// `prokind`: `f`, `p`, `a` or `w`.
    pub kind: u8,
    /// SECURITY DEFINER.
    pub security_definer: bool,
    /// `proretset`.
    pub returns_set: bool,
    /// Names of OUT/TABLE columns, for functions in FROM.
    pub out_columns: Vec<String>,
    /// Oid of the return type.
    pub return_type: u32,
    /// Types of the OUT/TABLE columns.
    pub out_types: Vec<u32>,
    /// The extension that it belongs to.
    pub extension: Option<String>,
    /// Written in C or built in: only a superuser can have made it.
    pub compiled: bool,
    /// Types of the input arguments, in order.
    pub arg_types: Vec<u32>,
}

/// An operator of the catalog.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Schema.
    pub schema: String,
    /// `oprcode` function oid.
    pub function_oid: u32,
}

/// True for the schemas that `PostgreSQL` itself owns.
pub fn is_system_schema(schema: &str) -> bool {
    schema == "pg_catalog"
        || schema == "information_schema"
        || schema == "pg_toast"
        || schema.starts_with("pg_toast_temp_")
}

impl Catalog {
    /// The relation `schema.name`.
    pub fn relation(&self, schema: &str, name: &str) -> Option<&Relation> {
        self.relations.get(schema)?.get(name)
    }

    /// The keys under which a relation is stored, so that they live as long as the catalog.
    pub(super) fn relation_entry(
        &self,
        schema: &str,
        name: &str,
    ) -> Option<(&str, &str, &Relation)> {
        let (schema, relations) = self.relations.get_key_value(schema)?;
        let (name, relation) = relations.get_key_value(name)?;
        Some((schema, name, relation))
    }

    /// Every table that `schema.name` inherits from or is a partition of, however far up. A
    /// read of one of those reads `schema.name` too, and their columns are the same data.
    pub fn ancestors(&self, schema: &str, name: &str) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        let mut next = vec![(schema.to_owned(), name.to_owned())];
        while let Some(child) = next.pop() {
            for (parent_schema, relations) in &self.relations {
                for (parent, relation) in relations {
                    if relation.children.contains(&child) {
                        let parent = (parent_schema.clone(), parent.clone());
                        if found.insert(parent.clone()) {
                            next.push(parent);
                        }
                    }
                }
            }
        }
        found
    }

    /// A function by oid, with its name.
    pub fn function_by_oid(&self, oid: u32) -> Option<(&str, &Function)> {
        let index = self.function_oids.get_or_init(|| {
            let mut index = HashMap::new();
            for (name, functions) in &self.functions {
                for (place, function) in functions.iter().enumerate() {
                    index.insert(function.oid, (name.clone(), place));
                }
            }
            index
        });
        let (name, place) = index.get(&oid)?;
        let (name, functions) = self.functions.get_key_value(name)?;
        functions
            .get(*place)
            .map(|function| (name.as_str(), function))
    }
}
