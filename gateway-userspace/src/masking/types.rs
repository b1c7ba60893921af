//! PostgreSQL types by their fixed oids, as far as masks know them.

/// What a mask can do with a type's wire values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireType {
    /// Text whose two wire formats are the same bytes: text, varchar, bpchar, name.
    Text,
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
    /// An array of the text type with this oid.
    TextArray(u32),
    /// Any other: enums, domains of a client's making, extensions, composites, ranges.
    Unknown,
}

impl WireType {
    /// The type with an oid of `pg_type`. The oids of built-in types never change.
    pub(super) fn of(oid: u32) -> Self {
        match oid {
            16 => Self::Bool,
            17 => Self::Bytea,
            // name, text, bpchar, varchar
            19 | 25 | 1042 | 1043 => Self::Text,
            20 => Self::Int8,
            21 => Self::Int2,
            23 => Self::Int4,
            114 => Self::Json,
            650 => Self::Cidr,
            700 => Self::Float4,
            701 => Self::Float8,
            774 => Self::Macaddr8,
            829 => Self::Macaddr,
            869 => Self::Inet,
            1003 => Self::TextArray(19),
            1009 => Self::TextArray(25),
            1014 => Self::TextArray(1042),
            1015 => Self::TextArray(1043),
            1082 => Self::Date,
            1083 => Self::Time,
            1114 => Self::Timestamp,
            1184 => Self::Timestamptz,
            1186 => Self::Interval,
            1266 => Self::Timetz,
            1700 => Self::Numeric,
            2950 => Self::Uuid,
            3802 => Self::Jsonb,
            _ => Self::Unknown,
        }
    }
}
