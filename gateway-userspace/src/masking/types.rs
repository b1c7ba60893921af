//! PostgreSQL types, as far as masks know them.

/// What the catalog says of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeKind {
    /// A base type. Its name and whether it comes from an extension tell the text-like ones.
    Base {
        /// `citext` and `hstore` are known by name: extensions have no fixed oids.
        name: String,
    },
    /// An array of this type.
    Array(u32),
    /// A domain over this type.
    Domain(u32),
    /// A composite type with fields of these types.
    Composite(Vec<u32>),
    /// A range.
    Range,
    /// A multirange.
    Multirange,
    /// An enum, a pseudo-type, or unknown to the catalog.
    Other,
}

/// What a mask can do with a type's wire values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WireType {
    /// Text whose two wire formats are the same bytes: text, varchar, name, citext.
    Text,
    /// `char(n)`: text, padded with spaces that do not count.
    Bpchar,
    /// xml.
    Xml,
    /// smallint.
    Int2,
    /// integer.
    Int4,
    /// bigint.
    Int8,
    /// real.
    Float4,
    /// double precision.
    Float8,
    /// numeric.
    Numeric,
    /// boolean.
    Bool,
    /// date.
    Date,
    /// time.
    Time,
    /// time with time zone.
    Timetz,
    /// timestamp.
    Timestamp,
    /// timestamp with time zone.
    Timestamptz,
    /// interval.
    Interval,
    /// uuid.
    Uuid,
    /// json.
    Json,
    /// jsonb.
    Jsonb,
    /// bytea.
    Bytea,
    /// inet.
    Inet,
    /// cidr.
    Cidr,
    /// macaddr.
    Macaddr,
    /// macaddr8.
    Macaddr8,
    /// hstore, of the extension.
    Hstore,
    /// An array of this type.
    Array(u32, Box<Self>),
    /// A composite with fields of these types.
    Composite(Box<[(u32, Self)]>),
    /// `record`: a composite whose fields only the values tell.
    Record,
    /// Any range.
    Range,
    /// Any multirange.
    Multirange,
    /// Any other: enums, geometry, extensions.
    Unknown,
}

/// Types within types, at most. What is deeper is unknown.
const MOST_DEPTH: usize = 8;

impl WireType {
    /// The type with an oid of `pg_type`, taken apart as `types` says.
    pub(super) fn of(oid: u32, types: &dyn Fn(u32) -> TypeKind) -> Self {
        Self::resolve(oid, types, 0)
    }

    fn resolve(oid: u32, types: &dyn Fn(u32) -> TypeKind, depth: usize) -> Self {
        if let Some(known) = Self::built_in(oid) {
            return known;
        }
        if depth >= MOST_DEPTH {
            return Self::Unknown;
        }
        match types(oid) {
            TypeKind::Base { name } => match name.as_str() {
                "citext" => Self::Text,
                "hstore" => Self::Hstore,
                _ => Self::Unknown,
            },
            TypeKind::Array(element) => {
                Self::Array(element, Box::new(Self::resolve(element, types, depth + 1)))
            }
            TypeKind::Domain(base) => Self::resolve(base, types, depth + 1),
            TypeKind::Composite(fields) => Self::Composite(
                fields
                    .into_iter()
                    .map(|field| (field, Self::resolve(field, types, depth + 1)))
                    .collect(),
            ),
            TypeKind::Range => Self::Range,
            TypeKind::Multirange => Self::Multirange,
            TypeKind::Other => Self::Unknown,
        }
    }

    /// The built-in type with this oid. These oids never change.
    pub(super) fn built_in(oid: u32) -> Option<Self> {
        let array = |element: u32, of: Self| Self::Array(element, Box::new(of));
        Some(match oid {
            16 => Self::Bool,
            17 => Self::Bytea,
            // name, text, varchar
            19 | 25 | 1043 => Self::Text,
            1042 => Self::Bpchar,
            20 => Self::Int8,
            21 => Self::Int2,
            23 => Self::Int4,
            114 => Self::Json,
            142 => Self::Xml,
            650 => Self::Cidr,
            700 => Self::Float4,
            701 => Self::Float8,
            774 => Self::Macaddr8,
            829 => Self::Macaddr,
            869 => Self::Inet,
            1003 => array(19, Self::Text),
            1009 => array(25, Self::Text),
            1014 => array(1042, Self::Bpchar),
            1015 => array(1043, Self::Text),
            1082 => Self::Date,
            1083 => Self::Time,
            1114 => Self::Timestamp,
            1184 => Self::Timestamptz,
            1186 => Self::Interval,
            1266 => Self::Timetz,
            1700 => Self::Numeric,
            2249 => Self::Record,
            2950 => Self::Uuid,
            3802 => Self::Jsonb,
            _ => return None,
        })
    }
}
