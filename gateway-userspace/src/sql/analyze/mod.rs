//! The walk: what a statement does, with every name resolved.
//!
//! One file per part of the grammar: [`statement`] tells the kinds apart, [`query`] reads
//! SELECT and CTEs, [`from`] the FROM clause, [`expression`] expressions, [`modify`] data
//! modification, [`define`] data definition, [`names`] looks names up.

mod alter;
mod calls;
mod condition;
mod copy;
mod define;
mod drop;
mod expression;
mod from;
mod implied;
mod json;
mod modify;
mod names;
mod objects;
mod query;
mod rules;
mod schema;
mod scope;
mod select;
mod settings;
mod statement;
mod utility;
mod value;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use pg_query::protobuf::{FuncCall, SelectStmt};
use pg_query::{Node, NodeEnum};

use self::value::{Col, Shape, Value};
use super::catalog::{Catalog, Namespace, Relation, ViewCache, is_system_schema};
use super::grammar::{MAX_DEPTH, Parsed, split};
use super::statement::{
    Access, ColumnRef, ColumnUse, DdlEffect, FunctionClass, FunctionUse, Implied, NotUnderstood,
    OutputColumn, RelationRef, RelationUse, Rights, SettingChange, Statement, StatementKind,
};

/// Most nodes that one analysis visits, the definitions of its views included.
const MAX_STEPS: usize = 2_000_000;
/// Deepest nesting of views in views.
const MAX_VIEWS: usize = 64;

type Result<T> = std::result::Result<T, NotUnderstood>;

/// Resolves every name of a statement and tells what it does.
///
/// Wants a deep stack: call it on [`super::BigStack`].
pub fn analyze(parsed: &Parsed, catalog: &Catalog, namespace: &Namespace) -> Result<Statement> {
    Walk::new(parsed, catalog, namespace, 0).statement()
}

/// One relation and what the statement does to it.
struct Use<'a> {
    schema: &'a str,
    name: &'a str,
    relation: &'a Relation,
    rights: Rights,
    access: BTreeSet<Access>,
    columns: BTreeMap<i16, (&'a str, BTreeSet<ColumnUse>)>,
    /// What a view's columns are behind it, by their order.
    behind: Option<Vec<Value<'a>>>,
}

/// The state of one analysis.
struct Walk<'a> {
    parsed: &'a Parsed,
    catalog: &'a Catalog,
    namespace: &'a Namespace,
    uses: Vec<Use<'a>>,
    functions: BTreeSet<FunctionUse>,
    pure: BTreeSet<(&'a str, &'a str)>,
    /// Types that something is converted to.
    converted: BTreeSet<u32>,
    ddl: Vec<DdlEffect>,
    unlimited: bool,
    executes: Option<String>,
    depth: usize,
    steps: usize,
    views: usize,
    /// Set by any mark on a column of this relation, to see whether a condition limits it.
    watched: Option<usize>,
    watch_hit: bool,
    /// The statement's own leftmost SELECT: the only one that may have INTO.
    into: Option<*const SelectStmt>,
    /// Calls that may be read as SET.
    setters: Vec<*const FuncCall>,
    /// What `name` is for them, where they read it from `pg_settings`.
    setter_name: Option<&'a str>,
    settings: Vec<SettingChange>,
    /// Columns of FROM items that are relations: the relation's use, `attnum`, and whether
    /// something names the column.
    named: Vec<(usize, i16, Rc<Cell<bool>>)>,
}

impl<'a> Walk<'a> {
    fn new(
        parsed: &'a Parsed,
        catalog: &'a Catalog,
        namespace: &'a Namespace,
        views: usize,
    ) -> Self {
        Self {
            parsed,
            catalog,
            namespace,
            uses: Vec::new(),
            functions: BTreeSet::new(),
            pure: BTreeSet::new(),
            converted: BTreeSet::new(),
            ddl: Vec::new(),
            unlimited: false,
            executes: None,
            depth: 0,
            steps: 0,
            views,
            watched: None,
            watch_hit: false,
            into: None,
            setters: Vec::new(),
            setter_name: None,
            settings: Vec::new(),
            named: Vec::new(),
        }
    }

    fn statement(mut self) -> Result<Statement> {
        let parsed = self.parsed;
        let (kind, output) = self.top_level(parsed.node())?;
        let output = output.map(|columns| {
            let mut seen = Vec::with_capacity(columns.len());
            for column in &columns {
                self.mark_output(&column.value);
                seen.push(self.output_column(column));
            }
            seen
        });
        self.finish(kind, output)
    }

    fn finish(
        mut self,
        kind: StatementKind,
        output: Option<Vec<OutputColumn>>,
    ) -> Result<Statement> {
        for (index, attnum, named) in std::mem::take(&mut self.named) {
            let read = |used: &Use<'_>| {
                let uses = used.columns.get(&attnum).map(|(_, uses)| uses);
                uses.is_some_and(|uses| uses.iter().any(|how| !how.is_written()))
            };
            if named.get() && !self.uses.get(index).is_some_and(read) {
                self.mark_column((index, attnum), ColumnUse::Named);
            }
        }
        // For a definition, whoever uses it finds out.
        let implied = if self.views == 0 {
            self.implied()?
        } else {
            Implied::default()
        };
        let mut functions = self.functions;
        for (schema, name) in self.pure {
            if let Some(function) = self
                .catalog
                .functions
                .get(name)
                .and_then(|list| list.iter().find(|function| function.schema == schema))
            {
                functions.insert(FunctionUse {
                    schema: schema.to_owned(),
                    name: name.to_owned(),
                    oid: function.oid,
                    class: FunctionClass::Pure,
                });
            }
        }
        let mut statement = Statement {
            text: self.parsed.text().to_owned(),
            kind,
            relations: self.uses.into_iter().filter_map(Use::finish).collect(),
            functions: functions.into_iter().collect(),
            implied,
            ddl: self.ddl,
            settings: self.settings,
            output,
            unlimited: self.unlimited,
            executes: self.executes,
            catalog_version: self.catalog.version,
        };
        if matches!(statement.kind, StatementKind::Explain { analyze: false }) {
            statement.only_planned();
        }
        Ok(statement)
    }

    fn output_column(&self, column: &Col<'a>) -> OutputColumn {
        let value = &column.value;
        let origins: BTreeSet<ColumnRef> = value
            .origins
            .iter()
            .filter_map(|id| self.column_ref(*id))
            .collect();
        let unchanged = matches!(value.shape, Shape::Direct | Shape::Merged);
        // A view's column and the column behind it are two origins of one unchanged value.
        let direct = value.shape == Shape::Direct && origins.len() == 1;
        OutputColumn {
            name: column.name.to_string(),
            direct,
            merged: unchanged && !direct && !origins.is_empty(),
            origins,
        }
    }

    fn column_ref(&self, (index, attnum): (usize, i16)) -> Option<ColumnRef> {
        let used = self.uses.get(index)?;
        let name = column_name(used.relation, attnum)?;
        Some(ColumnRef {
            relation: used.reference(),
            column: name.to_owned(),
            attnum,
        })
    }

    // ---- effects -------------------------------------------------------------------------

    /// The use of a relation by the statement itself, made on first sight.
    fn use_of(&mut self, schema: &'a str, name: &'a str, relation: &'a Relation) -> usize {
        self.use_with(Rights::Session, schema, name, relation)
    }

    fn use_with(
        &mut self,
        rights: Rights,
        schema: &'a str,
        name: &'a str,
        relation: &'a Relation,
    ) -> usize {
        let known = self
            .uses
            .iter()
            .position(|used| std::ptr::eq(used.relation, relation) && used.rights == rights);
        known.unwrap_or_else(|| {
            self.uses.push(Use {
                schema,
                name,
                relation,
                rights,
                access: BTreeSet::new(),
                columns: BTreeMap::new(),
                behind: None,
            });
            self.uses.len() - 1
        })
    }

    fn access(&mut self, index: usize, access: Access) {
        if let Some(used) = self.uses.get_mut(index) {
            used.access.insert(access);
        }
    }

    fn mark_column(&mut self, (index, attnum): (usize, i16), how: ColumnUse) {
        self.watch_hit |= self.watched == Some(index);
        let Some(used) = self.uses.get_mut(index) else {
            return;
        };
        if let Some(name) = column_name(used.relation, attnum) {
            used.columns
                .entry(attnum)
                .or_insert((name, BTreeSet::new()))
                .1
                .insert(how);
        }
    }

    /// Marks every origin of a value.
    fn mark(&mut self, value: &Value<'a>, how: ColumnUse) {
        for origin in &value.origins {
            self.mark_column(*origin, how);
        }
    }

    fn mark_output(&mut self, value: &Value<'a>) {
        let how = match value.shape {
            Shape::Direct | Shape::Merged => ColumnUse::Output,
            Shape::Constant | Shape::Derived => ColumnUse::Derived,
        };
        self.mark(value, how);
    }

    /// Reads a relation: its columns as values, those of a view with what is behind them.
    fn read(&mut self, schema: &'a str, name: &'a str, relation: &'a Relation) -> Result<usize> {
        let index = self.use_of(schema, name, relation);
        self.access(index, Access::Select);
        self.look_behind(index)?;
        Ok(index)
    }

    /// For a view: analyses its definition and takes over its effects.
    fn look_behind(&mut self, index: usize) -> Result<()> {
        let Some(used) = self.uses.get(index) else {
            return Ok(());
        };
        let (schema, name, view) = (used.schema, used.name, used.relation);
        if used.behind.is_some() || !matches!(view.kind, b'v' | b'm') || is_system(schema) {
            return Ok(());
        }
        let statement = self.view(schema, name, view)?;
        // What an invoker's view names is the reader's to have the right to, under others too.
        let by_invoker = view.security_invoker
            || statement.relations.iter().any(|behind| {
                let RelationRef { schema, name, .. } = &behind.relation;
                let behind = self.catalog.relation(schema, name);
                behind.is_some_and(|relation| relation.security_invoker)
            });
        let mut insides = Vec::with_capacity(statement.relations.len());
        for behind in &statement.relations {
            let reference = &behind.relation;
            let Some((schema, name, relation)) = self
                .catalog
                .relation_entry(&reference.schema, &reference.name)
            else {
                return Err(self.unsupported(format!(
                    "the view {schema}.{name} reads {}.{}, which the catalog does not have",
                    reference.schema, reference.name
                )));
            };
            let rights = self.rights_behind(view, behind.rights);
            let inner = self.use_with(rights, schema, name, relation);
            insides.push(inner);
            for access in &behind.access {
                self.access(inner, *access);
            }
            for (column, uses) in &behind.columns {
                if by_invoker {
                    let named = Rc::new(Cell::new(true));
                    self.named.push((inner, column.attnum, named));
                }
                for how in [ColumnUse::Filter, ColumnUse::Equality] {
                    if uses.contains(&how) {
                        self.mark_column((inner, column.attnum), how);
                    }
                }
            }
        }
        self.functions.extend(statement.functions.iter().cloned());
        let columns = statement.output.as_deref().unwrap_or_default();
        let mut values = Vec::with_capacity(columns.len());
        for column in columns {
            let mut value = Value::constant();
            for origin in &column.origins {
                let reference = &origin.relation;
                // Touched with several rights, it counts for each.
                let before = value.origins.len();
                value.origins.extend(
                    insides
                        .iter()
                        .filter(|inside| {
                            self.uses.get(**inside).is_some_and(|used| {
                                used.schema == reference.schema && used.name == reference.name
                            })
                        })
                        .map(|inside| (*inside, origin.attnum)),
                );
                if value.origins.len() == before {
                    return Err(self.unsupported(format!(
                        "the origin of a column of the view {schema}.{name} is lost"
                    )));
                }
            }
            value.shape = match (column.direct, column.merged, value.origins.is_empty()) {
                (true, _, _) => Shape::Direct,
                (_, true, _) => Shape::Merged,
                (false, false, true) => Shape::Constant,
                (false, false, false) => Shape::Derived,
            };
            values.push(value);
        }
        if values.len() != view.columns.len() {
            return Err(self.unsupported(format!(
                "the view {schema}.{name} has {} columns, but its definition gives {}",
                view.columns.len(),
                values.len()
            )));
        }
        if let Some(used) = self.uses.get_mut(index) {
            used.behind = Some(values);
        }
        Ok(())
    }

    /// The rights with which a view touches what its definition touches with `rights`. What the
    /// session's roles are is asked of the statement itself only: analyses of views are shared.
    fn rights_behind(&self, view: &Relation, rights: Rights) -> Rights {
        let owner = match rights {
            Rights::Session if view.security_invoker => return Rights::Invoker,
            Rights::Session => view.owner,
            Rights::Invoker => return Rights::Invoker,
            Rights::Owner(owner) => owner,
        };
        // An owner that is not known may be one of the session's.
        if owner == 0 || (self.views == 0 && self.namespace.roles.contains(&owner)) {
            Rights::Invoker
        } else {
            Rights::Owner(owner)
        }
    }

    /// The analysis of a view's definition.
    fn view(&self, schema: &str, name: &str, relation: &'a Relation) -> Result<Arc<Statement>> {
        let what = format!("the view {schema}.{name}");
        match &relation.definition {
            Some(definition) => self.definition(&what, definition, &relation.view),
            None => Err(self.unsupported(format!("the catalog has no definition of {what}"))),
        }
    }

    /// The analysis of a text that the catalog holds, from its cache.
    fn definition(&self, what: &str, text: &str, cache: &ViewCache) -> Result<Arc<Statement>> {
        if let Some(known) = cache.get() {
            return known.clone();
        }
        if self.views >= MAX_VIEWS {
            return Err(NotUnderstood::Limit(format!(
                "definitions are nested deeper than {MAX_VIEWS} levels at {what}"
            )));
        }
        let found = self
            .analyze_definition(text)
            .map(Arc::new)
            .map_err(|error| match error {
                NotUnderstood::Limit(why) => NotUnderstood::Limit(why),
                NotUnderstood::Syntax { message, .. }
                | NotUnderstood::Unsupported(message)
                | NotUnderstood::UnknownName { message, .. } => NotUnderstood::Unsupported(
                    format!("the definition of {what} is not understood: {message}"),
                ),
            });
        // Too deep from here may not be too deep from elsewhere.
        if !matches!(found, Err(NotUnderstood::Limit(_))) {
            let _ = cache.set(found.clone());
        }
        found
    }

    fn analyze_definition(&self, text: &str) -> Result<Statement> {
        let parsed = split(text)?;
        let [parsed] = parsed.as_slice() else {
            return Err(self.unsupported("it is not one statement"));
        };
        let namespace = Namespace {
            search_path: self.catalog.search_path.clone(),
            ..self.namespace.clone()
        };
        let mut walk = Walk::new(parsed, self.catalog, &namespace, self.views + 1);
        // On the same stack.
        walk.depth = self.depth;
        match parsed.node() {
            NodeEnum::RuleStmt(rule) => walk.rule(rule),
            _ => walk.statement(),
        }
    }

    /// The value of one column of a relation.
    fn column_value(&self, index: usize, order: usize) -> Value<'a> {
        let Some(used) = self.uses.get(index) else {
            return Value::constant();
        };
        let Some(column) = used.relation.columns.get(order) else {
            return Value::constant();
        };
        let own = (index, column.attnum);
        let mut value = match used.behind.as_ref().and_then(|behind| behind.get(order)) {
            Some(behind) => {
                let mut value = behind.clone();
                if value.shape == Shape::Constant {
                    value.shape = Shape::Derived;
                }
                value
            }
            None => Value {
                shape: Shape::Direct,
                ..Value::default()
            },
        };
        value.origins.insert(own);
        if !column.generated_from.is_empty() {
            value
                .origins
                .extend(column.generated_from.iter().map(|attnum| (index, *attnum)));
            value.shape = Shape::Derived;
        }
        value.type_oid = column.type_oid;
        value
    }

    fn may_have_into(&self, select: &SelectStmt) -> bool {
        self.into
            .is_some_and(|allowed| std::ptr::eq(allowed, select))
    }

    // ---- bounds and errors -----------------------------------------------------------------

    /// Runs `work` one level deeper.
    fn nested<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.deeper(1, work)
    }

    /// Runs `work` deeper by so many levels.
    fn deeper<T>(&mut self, levels: usize, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(NotUnderstood::Limit(
                "the statement takes too many steps to resolve; split it into simpler ones"
                    .to_owned(),
            ));
        }
        if self.depth + levels > MAX_DEPTH {
            return Err(NotUnderstood::Limit(format!(
                "the statement is nested deeper than {MAX_DEPTH} levels; split it into simpler ones"
            )));
        }
        self.depth += levels;
        let result = work(self);
        self.depth -= levels;
        result
    }

    #[expect(clippy::unused_self, reason = "reads like the other errors")]
    fn unsupported(&self, what: impl Into<String>) -> NotUnderstood {
        NotUnderstood::Unsupported(what.into())
    }

    fn unknown(
        &self,
        sqlstate: &'static str,
        location: i32,
        message: impl Into<String>,
    ) -> NotUnderstood {
        NotUnderstood::UnknownName {
            sqlstate,
            message: message.into(),
            position: self.parsed.position(location),
        }
    }
}

impl Use<'_> {
    fn reference(&self) -> RelationRef {
        RelationRef {
            schema: self.schema.to_owned(),
            name: self.name.to_owned(),
            oid: self.relation.oid,
        }
    }

    /// `None` for a relation that was only looked up.
    fn finish(mut self) -> Option<RelationUse> {
        if self.access.is_empty() {
            if self.columns.is_empty() {
                return None;
            }
            self.access.insert(Access::Select);
        }
        let relation = self.reference();
        let writes = [Access::Insert, Access::Update, Access::Delete];
        let reads_a_column = self
            .columns
            .values()
            .any(|(_, uses)| uses.iter().any(|how| !how.is_written()));
        if reads_a_column && writes.iter().any(|write| self.access.contains(write)) {
            self.access.insert(Access::Select);
        }
        let columns = self
            .columns
            .into_iter()
            .map(|(attnum, (name, uses))| {
                let column = ColumnRef {
                    relation: relation.clone(),
                    column: name.to_owned(),
                    attnum,
                };
                (column, uses)
            })
            .collect();
        Some(RelationUse {
            system: is_system(self.schema),
            temporary: self.relation.temporary,
            rights: self.rights,
            access: self.access,
            columns,
            relation,
        })
    }
}

fn is_system(schema: &str) -> bool {
    is_system_schema(schema)
}

/// System columns by name. Views have none.
const SYSTEM_COLUMNS: &[(&str, i16)] = &[
    ("ctid", -1),
    ("xmin", -2),
    ("cmin", -3),
    ("xmax", -4),
    ("cmax", -5),
    ("tableoid", -6),
];

fn system_column(relation: &Relation, name: &str) -> Option<i16> {
    if relation.kind == b'v' {
        return None;
    }
    SYSTEM_COLUMNS
        .iter()
        .find(|(column, _)| *column == name)
        .map(|(_, attnum)| *attnum)
}

fn column_name(relation: &Relation, attnum: i16) -> Option<&str> {
    if attnum < 0 {
        return SYSTEM_COLUMNS
            .iter()
            .find(|(_, at)| *at == attnum)
            .map(|(name, _)| *name);
    }
    // Mostly in place; dropped columns leave holes.
    let guess = usize::try_from(attnum).ok()?.checked_sub(1)?;
    let columns = &relation.columns;
    match columns.get(guess) {
        Some(column) if column.attnum == attnum => Some(&column.name),
        Some(_) | None => columns
            .iter()
            .find(|column| column.attnum == attnum)
            .map(|c| c.name.as_str()),
    }
}

// ---- small helpers over the tree ---------------------------------------------------------------

/// The kind of an optional node.
fn inner(node: Option<&Node>) -> Option<&NodeEnum> {
    node.and_then(|node| node.node.as_ref())
}

/// The text of a `String` node.
fn string(node: &Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::String(string)) => Some(&string.sval),
        _ => None,
    }
}

/// The texts of a list of `String` nodes; `None` if there is another kind among them.
fn strings(nodes: &[Node]) -> Option<Vec<&str>> {
    nodes.iter().map(string).collect()
}
