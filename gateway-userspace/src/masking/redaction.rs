//! What is to be hidden ([`Redaction`]) and the shape of the result it is bound to.

/// How a value is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MaskKind {
    /// A fixed text; type-true zero for other types where one is declared, else NULL.
    Redact,
    /// NULL.
    Null,
    /// First character and, for e-mail addresses, the domain; constant number of stars.
    Partial,
    /// `a***@example.com` shape; like `Partial` for what is not an e-mail address.
    Email,
    /// The last four characters; constant number of stars before.
    Last4,
    /// Keyed HMAC-SHA-256 token, stable within the policy's key.
    Token,
}

/// One output column to be masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Redaction {
    /// Index of the output column, from 0.
    pub column: usize,
    /// The mask.
    pub mask: MaskKind,
}

/// Wire format of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Text.
    Text,
    /// Binary.
    Binary,
}

/// One column of a result as the server describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnShape {
    /// Label.
    pub name: String,
    /// Table the column comes from, 0 if none.
    pub table_oid: u32,
    /// Attribute number in that table, 0 if none.
    pub attnum: i16,
    /// Type oid.
    pub type_oid: u32,
    /// Format of the values to come.
    pub format: Format,
}
