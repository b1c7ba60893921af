//! What exactly an approval is for.

use ring::digest::{Context, SHA256};

use crate::sql::{Access, ColumnUse, DdlAction, FunctionClass, Namespace, Statement};

/// Everything that an approval fixes. If any of it differs when the statement is to run, the
/// approval is not for it.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    /// Session id, where it is for the statement that waits in it.
    pub session: Option<&'a str>,
    /// Job id.
    pub job: &'a str,
    /// Database, by its configured name.
    pub database: &'a str,
    /// The upstream login role.
    pub login: &'a str,
    /// The statement: text, resolved objects with their oids.
    pub statement: &'a Statement,
    /// The version of the definitions that it relies on.
    pub definitions: &'a str,
    /// What its names were resolved in.
    pub namespace: &'a Namespace,
    /// Bind values, as the client sent them.
    pub parameters: &'a [BoundParameter<'a>],
}

/// A bind value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundParameter<'a> {
    /// Type oid; 0 if the client left it to the server.
    pub type_oid: u32,
    /// True for the binary format.
    pub binary: bool,
    /// The value; `None` is NULL.
    pub value: Option<&'a [u8]>,
}

/// SHA-256 over the canonical form of a [`Bound`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Binding([u8; 32]);

impl Binding {
    /// The digest of exactly this.
    pub fn of(bound: &Bound<'_>) -> Self {
        let mut frames = Frames::new();
        frames.list(bound.session.iter(), |frames, session| frames.text(session));
        for text in [
            bound.job,
            bound.database,
            bound.login,
            &bound.statement.text,
            &bound.namespace.user,
            bound.definitions,
        ] {
            frames.text(text);
        }
        frames.list(bound.namespace.search_path.iter(), |frames, schema| {
            frames.text(schema);
        });
        frames.list(bound.parameters.iter(), |frames, parameter| {
            frames.number(u64::from(parameter.type_oid));
            frames.number(u64::from(parameter.binary));
            frames.list(parameter.value.iter(), |frames, value| frames.bytes(value));
        });
        frames.statement(bound.statement);
        let mut digest = [0; 32];
        digest.copy_from_slice(frames.0.finish().as_ref());
        Self(digest)
    }

    /// As hex, for the evidence.
    pub fn hex(&self) -> String {
        crate::audit::to_hex(&self.0)
    }
}

impl std::fmt::Debug for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Binding({})", self.hex())
    }
}

/// Canonical framing: every part carries its length, every list its count, so that no two
/// different values have the same bytes.
struct Frames(Context);

impl Frames {
    fn new() -> Self {
        let mut context = Context::new(&SHA256);
        context.update(b"cordon approval binding 2\n");
        Self(context)
    }

    fn number(&mut self, number: u64) {
        self.0.update(&number.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn list<T>(
        &mut self,
        items: impl ExactSizeIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) {
        self.number(items.len() as u64);
        for item in items {
            each(self, item);
        }
    }

    fn statement(&mut self, statement: &Statement) {
        self.number(u64::from(statement.unlimited));
        self.list(statement.relations.iter(), |frames, used| {
            frames.text(&used.relation.schema);
            frames.text(&used.relation.name);
            frames.number(u64::from(used.relation.oid));
            frames.list(used.access.iter(), |frames, access| {
                frames.number(access_code(*access));
            });
            frames.list(used.columns.iter(), |frames, (column, uses)| {
                frames.number(u64::from(column.relation.oid));
                frames.text(&column.column);
                frames.text(&column.attnum.to_string());
                frames.list(uses.iter(), |frames, column_use| {
                    frames.number(use_code(*column_use));
                });
            });
        });
        self.list(statement.functions.iter(), |frames, function| {
            frames.text(&function.schema);
            frames.text(&function.name);
            frames.number(u64::from(function.oid));
            frames.number(class_code(function.class));
        });
        self.list(statement.ddl.iter(), |frames, ddl| {
            frames.number(action_code(ddl.action));
            frames.text(&ddl.object_kind);
            frames.text(&ddl.schema);
            frames.text(&ddl.name);
            frames.number(u64::from(ddl.cascade));
            frames.list(ddl.on.iter(), |frames, relation| {
                frames.text(&relation.schema);
                frames.text(&relation.name);
                frames.number(u64::from(relation.oid));
            });
        });
    }
}

const fn access_code(access: Access) -> u64 {
    match access {
        Access::Select => 0,
        Access::Insert => 1,
        Access::Update => 2,
        Access::Delete => 3,
        Access::Truncate => 4,
        Access::Lock => 5,
    }
}

const fn use_code(column_use: ColumnUse) -> u64 {
    match column_use {
        ColumnUse::Output => 0,
        ColumnUse::Derived => 1,
        ColumnUse::Filter => 2,
        ColumnUse::Source => 3,
        ColumnUse::Inserted => 4,
        ColumnUse::Named => 5,
        ColumnUse::Equality => 6,
        ColumnUse::Updated => 7,
    }
}

const fn class_code(class: FunctionClass) -> u64 {
    match class {
        FunctionClass::Pure => 0,
        FunctionClass::Catalog => 1,
        FunctionClass::Other => 2,
    }
}

const fn action_code(action: DdlAction) -> u64 {
    match action {
        DdlAction::Create => 0,
        DdlAction::Alter => 1,
        DdlAction::Drop => 2,
    }
}
