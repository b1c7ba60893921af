//! What is known of a value while a statement is walked: where it comes from.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// `text` and `varchar`: a conversion between them changes nothing.
const TEXT: [u32; 2] = [25, 1043];

/// A column of a relation that the statement uses: index of the relation's use, `attnum`.
pub(super) type ColumnId = (usize, i16);

/// How a value relates to its origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Shape {
    /// A literal, a parameter, or computed from no column at all.
    #[default]
    Constant,
    /// One column's value, unchanged.
    Direct,
    /// Unchanged, from one of several columns.
    Merged,
    /// Computed.
    Derived,
}

/// A value: its origins, its shape, and as much of its type as the walk needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Value<'a> {
    /// Columns that it depends on; those of views and of what is behind them.
    pub origins: BTreeSet<ColumnId>,
    /// Relation to the origins.
    pub shape: Shape,
    /// Type oid, 0 if not known.
    pub type_oid: u32,
    /// Fields, if it is a row whose fields are known.
    pub fields: Option<Rc<Vec<Field<'a>>>>,
}

/// A field of a row value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field<'a> {
    pub name: Cow<'a, str>,
    pub value: Value<'a>,
}

impl<'a> Value<'a> {
    /// A value that depends on no column.
    pub fn constant() -> Self {
        Self::default()
    }

    /// A constant of a known type.
    pub fn of_type(type_oid: u32) -> Self {
        Self {
            type_oid,
            ..Self::default()
        }
    }

    /// Adds what another value depends on; the result is computed.
    pub fn absorb(&mut self, other: &Self) {
        self.origins.extend(other.origins.iter().copied());
        if other.shape != Shape::Constant {
            self.shape = Shape::Derived;
        }
    }

    /// The value after some computation over it.
    pub fn derived(mut self) -> Self {
        if self.shape != Shape::Constant {
            self.shape = Shape::Derived;
        }
        self.type_oid = 0;
        self.fields = None;
        self
    }

    /// Computed from all of these.
    pub fn combine<'v>(values: impl IntoIterator<Item = &'v Self>) -> Self
    where
        'a: 'v,
    {
        let mut all = Self::constant();
        for value in values {
            all.absorb(value);
        }
        all
    }

    /// Either this or the other, unchanged: an arm of a set operation, a merged join column.
    pub fn merge(&self, other: &Self) -> Self {
        let mut merged = self.clone();
        merged.origins.extend(other.origins.iter().copied());
        let both_text = TEXT.contains(&self.type_oid) && TEXT.contains(&other.type_oid);
        let same_type = (self.type_oid == other.type_oid && self.type_oid != 0) || both_text;
        let same_field = self.origins == other.origins && self.shape == other.shape;
        merged.shape = match (self.shape, other.shape) {
            (Shape::Constant, Shape::Constant) => Shape::Constant,
            _ if same_field => self.shape,
            (Shape::Derived, _) | (_, Shape::Derived) => Shape::Derived,
            // A constant takes the column's type, not the other way round.
            (Shape::Constant, _) | (_, Shape::Constant) => Shape::Merged,
            (Shape::Direct | Shape::Merged, Shape::Direct | Shape::Merged) if same_type => {
                Shape::Merged
            }
            // Different types: one of them is converted.
            (Shape::Direct | Shape::Merged, Shape::Direct | Shape::Merged) => Shape::Derived,
        };
        if !same_type {
            let constant_left = self.shape == Shape::Constant && self.type_oid == 0;
            merged.type_oid = if constant_left { other.type_oid } else { 0 };
            if other.shape == Shape::Constant && other.type_oid == 0 {
                merged.type_oid = self.type_oid;
            }
        }
        if self.fields != other.fields {
            merged.fields = None;
        }
        merged
    }

    /// A row of these fields.
    pub fn row(fields: Vec<Field<'a>>) -> Self {
        let mut row = Self::combine(fields.iter().map(|field| &field.value));
        if row.shape != Shape::Constant {
            row.shape = Shape::Derived;
        }
        row.fields = Some(Rc::new(fields));
        row
    }
}

/// A column of a FROM item, a CTE or a result.
#[derive(Clone, Debug)]
pub(super) struct Col<'a> {
    pub name: Cow<'a, str>,
    pub value: Value<'a>,
    /// Set once something refers to it.
    pub used: Rc<Cell<bool>>,
}

impl<'a> Col<'a> {
    pub fn new(name: impl Into<Cow<'a, str>>, value: Value<'a>) -> Self {
        Self {
            name: name.into(),
            value,
            used: Rc::default(),
        }
    }

    /// Takes the value.
    pub fn take(&self) -> Value<'a> {
        self.used.set(true);
        self.value.clone()
    }
}
