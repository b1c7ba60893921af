//! What one statement does, as far as policy, masking and the session need to know.

use std::collections::{BTreeMap, BTreeSet};

/// A relation as the live catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelationRef {
    /// Schema name, unquoted.
    pub schema: String,
    /// Relation name, unquoted.
    pub name: String,
    /// `pg_class.oid`; 0 for a relation the statement itself creates.
    pub oid: u32,
}

/// A column of a relation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ColumnRef {
    /// The relation.
    pub relation: RelationRef,
    /// Column name, unquoted.
    pub column: String,
    /// `pg_attribute.attnum`; negative for system columns.
    pub attnum: i16,
}

/// What a statement does to one relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Access {
    /// Reads rows (also UPDATE/DELETE with a WHERE or RETURNING that reads).
    Select,
    /// Adds rows.
    Insert,
    /// Changes rows; also `FOR UPDATE/SHARE` row locks.
    Update,
    /// Removes rows.
    Delete,
    /// `TRUNCATE`.
    Truncate,
    /// `LOCK TABLE`, but for `ACCESS SHARE`, which is a read.
    Lock,
}

/// How a statement uses a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ColumnUse {
    /// Reaches the result unchanged as a plain output column.
    Output,
    /// Reaches the result through an expression, aggregate, cast or set operation.
    Derived,
    /// Decides which rows or in which order: WHERE, JOIN, GROUP, HAVING, ORDER, DISTINCT,
    /// window, LIMIT, CASE condition, ON CONFLICT.
    Filter,
    /// Decides which rows, in a WHERE clause, by built-in equality with constants and parameters
    /// of the statement alone: `=`, `IN`, `= ANY`, under `AND` and `OR` only.
    Equality,
    /// Feeds a value that is written (INSERT ... SELECT, SET x = col).
    Source,
    /// Is written by rows that are added.
    Inserted,
    /// Is written in rows that are there.
    Updated,
    /// Named, and no more: nothing depends on its value (a column of `*` in a sub-select that
    /// nobody takes). The server still asks for the right to read it.
    Named,
}

impl ColumnUse {
    /// True if it only takes a value: nothing of what it holds is read.
    pub fn is_written(self) -> bool {
        match self {
            Self::Inserted | Self::Updated => true,
            Self::Output
            | Self::Derived
            | Self::Filter
            | Self::Equality
            | Self::Source
            | Self::Named => false,
        }
    }
}

/// Whose rights the server asks for where a relation is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rights {
    /// The session's: the statement itself touches it.
    Session,
    /// The session's, although it stands behind a view: an invoker's, or one that the session made
    /// or could make anew.
    Invoker,
    /// Those of the owner of the view that names it, by role oid.
    Owner(u32),
}

/// One relation and everything the statement does with it. A relation that is touched with several
/// rights is listed with each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationUse {
    /// The relation.
    pub relation: RelationRef,
    /// What is done to it.
    pub access: BTreeSet<Access>,
    /// Its columns, by how they are used. A `SELECT count(*)` reads a relation and no column.
    pub columns: BTreeMap<ColumnRef, BTreeSet<ColumnUse>>,
    /// True if it lives in `pg_catalog`, `information_schema` or a toast schema.
    pub system: bool,
    /// True if it is a temporary table of this session.
    pub temporary: bool,
    /// With whose rights.
    pub rights: Rights,
}

/// A function, operator, cast or aggregate resolved to what it is in the catalog. When the
/// overload cannot be told from argument types, every candidate is listed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionUse {
    /// Schema name.
    pub schema: String,
    /// Function name.
    pub name: String,
    /// `pg_proc.oid`.
    pub oid: u32,
    /// How the reviewed table classifies it.
    pub class: FunctionClass,
}

/// The classes of the reviewed table of built-in functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FunctionClass {
    /// Computes from its arguments (or the clock, or randomness) only.
    Pure,
    /// Reads the system catalog (`pg_get_viewdef`, `pg_table_is_visible`, `has_*_privilege`).
    Catalog,
    /// Everything else: side effects, other sessions, files, network, text that runs, unknown,
    /// and every function outside `pg_catalog`. Needs a grant that names it.
    Other,
}

/// One column of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputColumn {
    /// The label.
    pub name: String,
    /// Every base column that the value depends on, through views, sub-selects, CTEs and joins.
    pub origins: BTreeSet<ColumnRef>,
    /// True if the value *is* one base column's value, unchanged (then `origins` has one
    /// element); for set operations and the like, see `merged`.
    pub direct: bool,
    /// True if the value is unchanged but may come from one of several base columns
    /// (UNION arms, JOIN USING of an outer join).
    pub merged: bool,
}

/// Data definition, by what it does to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DdlAction {
    /// CREATE.
    Create,
    /// ALTER, RENAME, COMMENT, SECURITY LABEL.
    Alter,
    /// DROP.
    Drop,
}

/// The object of data definition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DdlEffect {
    /// What is done.
    pub action: DdlAction,
    /// The kind as SQL names it, lower case: `table`, `index`, `view`, `schema`, `function` ...
    pub object_kind: String,
    /// Schema of the object (for schemas: their own name); the creation schema when unqualified.
    pub schema: String,
    /// Name of the object. For an index or trigger, the table it belongs to is in `on`.
    pub name: String,
    /// The table that an index, trigger, policy, rule or constraint belongs to.
    pub on: Option<RelationRef>,
    /// True if other objects may go with it (CASCADE).
    pub cascade: bool,
    /// True if the object is a temporary table.
    pub temporary: bool,
}

/// What kind of statement it is: what the session must do around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// Nothing between the semicolons.
    Empty,
    /// SELECT, VALUES, TABLE.
    Select,
    /// INSERT.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// MERGE.
    Merge,
    /// TRUNCATE.
    Truncate,
    /// Data definition; see `Statement::ddl`.
    Ddl,
    /// COPY (relation or query) TO STDOUT.
    CopyOut {
        /// True unless the format is plain text.
        not_text: bool,
        /// Its options by name, each with its value as text, empty if it has none; `None`: one
        /// of them is of a kind that is not known.
        options: Option<Vec<(String, String)>>,
        /// A SELECT or other statement with the same columns and rows; `None`: it cannot be told.
        source: Option<String>,
    },
    /// COPY relation FROM STDIN.
    CopyIn,
    /// BEGIN, COMMIT, SAVEPOINT and their like.
    Transaction(TransactionControl),
    /// SET, RESET; see `Statement::settings`.
    Set,
    /// SHOW.
    Show {
        /// Setting name, lower case.
        name: String,
    },
    /// DECLARE name CURSOR FOR query; the query's effects and output are the statement's.
    DeclareCursor {
        /// Cursor name.
        name: String,
        /// WITH HOLD.
        hold: bool,
    },
    /// FETCH or MOVE.
    Fetch {
        /// Cursor name.
        name: String,
        /// True for MOVE, which returns no rows.
        moves: bool,
    },
    /// CLOSE.
    CloseCursor {
        /// Cursor name; `None` for ALL.
        name: Option<String>,
    },
    /// SQL PREPARE; the inner statement's effects and output are the statement's.
    Prepare {
        /// Statement name.
        name: String,
        /// The text of the inner statement.
        body: String,
    },
    /// SQL EXECUTE.
    Execute {
        /// Statement name.
        name: String,
    },
    /// DEALLOCATE.
    Deallocate {
        /// Statement name; `None` for ALL.
        name: Option<String>,
    },
    /// EXPLAIN; with `analyze` the inner statement's effects are the statement's.
    Explain {
        /// EXPLAIN ANALYZE.
        analyze: bool,
    },
    /// LOCK TABLE.
    Lock,
    /// LISTEN, UNLISTEN.
    Listen,
    /// NOTIFY.
    Notify,
    /// DISCARD.
    Discard,
    /// VACUUM, ANALYZE, REINDEX, CLUSTER, CHECKPOINT, REFRESH MATERIALIZED VIEW.
    Maintenance,
    /// GRANT, REVOKE, roles, ownership.
    Privilege,
    /// DO, CALL.
    Procedural,
}

/// Transaction control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransactionControl {
    /// BEGIN, START TRANSACTION.
    Begin,
    /// COMMIT, END.
    Commit,
    /// ROLLBACK, ABORT.
    Rollback,
    /// SAVEPOINT.
    Savepoint,
    /// RELEASE.
    Release,
    /// ROLLBACK TO.
    RollbackTo,
}

/// A change of a setting, by SET, RESET or `set_config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingChange {
    /// Setting name, lower case; `all` for RESET ALL.
    pub name: String,
    /// What it becomes.
    pub value: SettingValue,
    /// Until the end of the transaction only.
    pub local: bool,
}

/// What a setting becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingValue {
    /// This text.
    To(String),
    /// What the session began with: DEFAULT, RESET.
    Default,
    /// A parameter of the statement, by its number from 1.
    Parameter(i32),
}

/// One statement, understood in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its text, without the separating semicolon.
    pub text: String,
    /// What kind of statement it is.
    pub kind: StatementKind,
    /// Every relation it touches, those behind views included.
    pub relations: Vec<RelationUse>,
    /// Every function and operator that is not plainly safe by name, and all called by name.
    pub functions: Vec<FunctionUse>,
    /// What the database does by itself for it.
    pub implied: Implied,
    /// Data definition effects.
    pub ddl: Vec<DdlEffect>,
    /// The settings that it changes.
    pub settings: Vec<SettingChange>,
    /// The columns of the result; `None` if it returns no rows.
    pub output: Option<Vec<OutputColumn>>,
    /// For UPDATE and DELETE: true if no WHERE clause limits the rows.
    pub unlimited: bool,
    /// The prepared statement that it runs: EXECUTE, also under EXPLAIN and CREATE TABLE AS. What
    /// that does is not in here: see [`Statement::running`].
    pub executes: Option<String>,
    /// The catalog the names were resolved against.
    pub catalog_version: u64,
}

impl Statement {
    /// This statement, which runs a prepared one, together with what that does: its arguments may
    /// call functions and read tables of their own.
    #[must_use]
    pub fn running(&self, prepared: &Self) -> Self {
        let mut all = prepared.clone();
        all.text.clone_from(&self.text);
        all.relations.extend(self.relations.iter().cloned());
        all.functions.extend(self.functions.iter().cloned());
        all.implied
            .relations
            .extend(self.implied.relations.iter().cloned());
        all.implied
            .functions
            .extend(self.implied.functions.iter().cloned());
        if matches!(self.kind, StatementKind::Execute { .. }) {
            return all;
        }
        all.kind = self.kind.clone();
        all.output.clone_from(&self.output);
        if !self.ddl.is_empty() {
            // CREATE TABLE AS: what would be shown is stored.
            for uses in all
                .relations
                .iter_mut()
                .flat_map(|u| u.columns.values_mut())
            {
                if uses.remove(&ColumnUse::Output) | uses.remove(&ColumnUse::Derived) {
                    uses.insert(ColumnUse::Source);
                }
            }
            all.ddl.extend(self.ddl.iter().cloned());
        }
        if matches!(self.kind, StatementKind::Explain { analyze: false }) {
            all.only_planned();
        }
        all
    }

    /// Nothing is written by an EXPLAIN without ANALYZE; but the plan tells of every relation's
    /// statistics.
    pub(super) fn only_planned(&mut self) {
        for used in &mut self.relations {
            used.access = BTreeSet::from([Access::Select]);
            used.columns.retain(|_, uses| {
                uses.retain(|how| !how.is_written());
                !uses.is_empty()
            });
        }
        self.ddl.clear();
        self.unlimited = false;
    }
}

/// What the database's own definitions do for a statement: conditions of row-level security
/// policies, column defaults, checks, expressions of indexes.
///
/// Whoever defined them decided that they run; what they read reaches nobody. So rules are not
/// asked about them. The server does ask for the login's right to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Implied {
    /// Relations that conditions read; sequences that defaults advance, as updated.
    pub relations: Vec<RelationUse>,
    /// Functions, but for those that only compute.
    pub functions: Vec<FunctionUse>,
}

/// Why a text is refused before any policy is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUnderstood {
    /// `PostgreSQL`'s grammar does not accept it. The session passes such a text's syntax error on
    /// as SQLSTATE 42601.
    #[error("{message}")]
    Syntax {
        /// The parser's message, as `PostgreSQL` words it.
        message: String,
        /// Position in characters, from 1.
        position: Option<usize>,
    },
    /// A cap was exceeded (size, depth, operator run), or the bytes are not UTF-8.
    #[error("{0}")]
    Limit(String),
    /// A construct that the walk does not know or cannot resolve.
    #[error("{0}")]
    Unsupported(String),
    /// A name that the catalog does not have; the session may refresh the catalog and retry.
    /// SQLSTATE as `PostgreSQL` would give (42P01 relation, 42703 column, 42883 function, 3F000).
    #[error("{message}")]
    UnknownName {
        /// SQLSTATE.
        sqlstate: &'static str,
        /// As `PostgreSQL` words it: `relation "x" does not exist`.
        message: String,
        /// Position in characters, from 1.
        position: Option<usize>,
    },
}
