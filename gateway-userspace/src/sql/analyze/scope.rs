//! Where names are looked up: the FROM items and CTEs of each query level.
//!
//! This follows the server's own rules (`parse_relation.c`): which items a name can see, that
//! an inner level wins, that items to the left are seen by LATERAL only, that a join hides its
//! sides' columns, and that a CTE's name wins over a table's.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pg_query::protobuf;

use super::value::{Col, Field, Value};

/// A FROM item as names see it.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    /// Name for `name.column`; empty if it has none.
    pub name: Cow<'a, str>,
    /// For a relation without alias: schema, so that `schema.name.column` finds it.
    pub schema: Option<&'a str>,
    /// The relation's use, if it is one with system columns.
    pub relation: Option<usize>,
    /// Type oid of its rows, 0 if not known.
    pub row_type: u32,
    /// Columns in order.
    pub columns: Rc<Vec<Col<'a>>>,
    /// Columns are not all known: any name may be one, and has this value.
    pub open: Option<Value<'a>>,
    /// `name.column` finds it.
    pub by_name: bool,
    /// A bare `column` finds it, and `*` includes it.
    pub by_column: bool,
    /// Seen by LATERAL only, while FROM is being read.
    pub lateral_only: bool,
    /// May be referred to by LATERAL at all.
    pub lateral_ok: bool,
}

impl<'a> Item<'a> {
    pub fn new(name: impl Into<Cow<'a, str>>, columns: Vec<Col<'a>>) -> Self {
        Self {
            name: name.into(),
            schema: None,
            relation: None,
            row_type: 0,
            columns: Rc::new(columns),
            open: None,
            by_name: true,
            by_column: true,
            lateral_only: false,
            lateral_ok: true,
        }
    }

    /// The whole row, with its fields.
    pub fn row(&self) -> Value<'a> {
        let fields = self
            .columns
            .iter()
            .map(|col| Field {
                name: col.name.clone(),
                value: col.take(),
            })
            .collect();
        let mut row = Value::row(fields);
        row.type_oid = self.row_type;
        if let Some(open) = &self.open {
            row.absorb(open);
            row.fields = None;
        }
        row
    }
}

/// One query level.
#[derive(Debug)]
pub(super) struct Scope<'s, 'a> {
    pub parent: Option<&'s Scope<'s, 'a>>,
    pub items: Vec<Item<'a>>,
    /// Names of a WITH clause at this level.
    pub ctes: Option<&'s CteList<'a>>,
    /// A LATERAL item of this level is being read.
    pub lateral: bool,
    /// Sub-selects and functions of FROM, in joins too: what they compute runs whether it is
    /// taken or not.
    pub computed: Vec<Item<'a>>,
}

impl<'s, 'a> Scope<'s, 'a> {
    pub fn child(parent: Option<&'s Scope<'s, 'a>>) -> Self {
        Scope {
            parent,
            items: Vec::new(),
            ctes: None,
            lateral: false,
            computed: Vec::new(),
        }
    }

    /// The items that names may see at this level now.
    pub fn visible(&self) -> impl Iterator<Item = &Item<'a>> {
        self.items
            .iter()
            .filter(|item| !item.lateral_only || self.lateral)
    }

    /// This level and those around it.
    pub fn levels(&self) -> impl Iterator<Item = &Scope<'s, 'a>> {
        std::iter::successors(Some(self), |scope| scope.parent)
    }

    /// The CTE of that name, and the level whose WITH clause holds it.
    pub fn cte(&self, name: &str) -> Option<(&Scope<'s, 'a>, &CteList<'a>, usize)> {
        self.levels().find_map(|scope| {
            let list = scope.ctes?;
            let index = list.find(name)?;
            Some((scope, list, index))
        })
    }
}

/// The names of one WITH clause.
#[derive(Debug)]
pub(super) struct CteList<'a> {
    pub entries: Vec<Cte<'a>>,
    /// How many are visible: all for RECURSIVE, those before the one being read otherwise.
    pub visible: Cell<usize>,
}

impl CteList<'_> {
    fn find(&self, name: &str) -> Option<usize> {
        self.entries
            .iter()
            .take(self.visible.get())
            .position(|cte| cte.node.ctename == name)
    }
}

/// One CTE.
#[derive(Debug)]
pub(super) struct Cte<'a> {
    pub node: &'a protobuf::CommonTableExpr,
    pub state: RefCell<CteState<'a>>,
    /// Something referred to it.
    pub referred: Cell<bool>,
}

/// How far a CTE is read.
#[derive(Clone, Debug)]
pub(super) enum CteState<'a> {
    /// Not yet.
    Unread,
    /// Its query is being read. A recursive one has columns once its first arm is read.
    Reading(Option<Rc<Vec<Col<'a>>>>),
    /// Done; `None` if it returns nothing.
    Read(Option<Rc<Vec<Col<'a>>>>),
}
