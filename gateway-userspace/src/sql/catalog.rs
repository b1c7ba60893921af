//! A snapshot of a database's catalog, as far as names need it.

use std::collections::HashMap;

/// What a session's names are resolved in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Namespace {
    /// The effective search path (`current_schemas(true)`), temp schema and `pg_catalog`
    /// included, in order of lookup.
    pub search_path: Vec<String>,
    /// `current_user`.
    pub user: String,
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
}

/// A relation of the catalog.
#[derive(Clone, Debug)]
pub struct Relation {
    /// `pg_class.oid`.
    pub oid: u32,
    /// `pg_class.relkind`.
    pub kind: u8,
    /// Live columns in order of `attnum` (user columns only).
    pub columns: Vec<Column>,
    /// For views and materialised views: `pg_get_viewdef` with an empty search path.
    pub definition: Option<String>,
    /// Has rewrite rules other than a view's own SELECT rule.
    pub has_rules: bool,
    /// Has user triggers.
    pub has_triggers: bool,
    /// Row type oid (`pg_class.reltype`).
    pub row_type: u32,
    /// Temporary.
    pub temporary: bool,
    /// Direct inheritance and partition children, by (schema, name).
    pub children: Vec<(String, String)>,
}

/// A column of a relation.
#[derive(Clone, Debug)]
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
}

/// A function of the catalog.
#[derive(Clone, Debug)]
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
}

/// An operator of the catalog.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Schema.
    pub schema: String,
    /// `oprcode` function oid.
    pub function_oid: u32,
}
