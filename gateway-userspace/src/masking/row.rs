//! Masks `DataRow` messages.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::{
    ColumnShape, Detections, JsonPath, MaskKind, Redaction, TypeKind,
    detect::Scanner,
    key::MaskKey,
    mask::{CellMask, Written},
    types::WireType,
};

/// What is hidden in a result.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'r> {
    /// The columns that are masked.
    pub redactions: &'r [Redaction],
    /// What is looked for in the others.
    pub detections: &'r Detections,
}

/// Rules bound to the shape of one result. Made once per shape, used for every row.
#[derive(Clone, Debug)]
pub struct RowMasker {
    /// One entry per column up to the last masked one; empty: nothing is masked.
    cells: Box<[Option<CellMask>]>,
    /// Columns of the result.
    columns: usize,
}

/// Proof that a whole `DataRow` message stands in the buffer, masked as it must be. What writes to
/// a client takes this and nothing else for a row.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a masked row is to be written to the client"]
pub struct MaskedRow {
    start: usize,
    end: usize,
    masked: u32,
}

/// Why redactions do not fit a result; it must not be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmaskable {
    /// The analysis and the server disagree about the result.
    #[error("column {column} is to be masked, but the result has {columns} columns")]
    NoSuchColumn {
        /// Index of the column, from 0.
        column: usize,
        /// Columns of the result.
        columns: usize,
    },
    /// Two masks for one column, or a mask on the column and one on a part of it.
    #[error("column {column} is to be masked in two ways")]
    Twice {
        /// Index of the column, from 0.
        column: usize,
    },
}

/// A row that cannot be what the server described; it must not be shown, nor anything after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedRow {
    /// The message ends before its content.
    #[error("the row ends inside a column")]
    Truncated,
    /// Bytes follow the last column.
    #[error("bytes follow the last column of the row")]
    Trailing,
    /// A length below -1.
    #[error("a column of the row has the length {0}")]
    Length(i32),
    /// Other than the result was described with.
    #[error("the row has {found} columns, the result was described with {expected}")]
    Columns {
        /// Columns of the row.
        found: usize,
        /// Columns of the description.
        expected: usize,
    },
    /// The binary format of COPY does not begin as it must.
    #[error("the data does not begin with the signature of COPY's binary format")]
    Signature,
    /// The message would be longer than the protocol can say.
    #[error("the row is too long for a message")]
    TooLong,
}

impl RowMasker {
    /// Binds rules to a result; `types` is what the catalog says of a type.
    pub fn bind(
        rules: Rules<'_>,
        shape: &[ColumnShape],
        types: &dyn Fn(u32) -> TypeKind,
        key: &MaskKey,
    ) -> Result<Self, Unmaskable> {
        let columns = shape.len();
        if let Some(beyond) = rules.redactions.iter().find(|own| own.column >= columns) {
            return Err(Unmaskable::NoSuchColumn {
                column: beyond.column,
                columns,
            });
        }
        let scanner =
            (!rules.detections.is_empty()).then(|| Arc::new(Scanner::new(rules.detections, key)));
        let mut cells: Vec<Option<CellMask>> = Vec::new();
        for (index, described) in shape.iter().enumerate() {
            let mut own = rules
                .redactions
                .iter()
                .filter(|redaction| redaction.column == index)
                .peekable();
            if own.peek().is_none() && scanner.is_none() {
                continue;
            }
            let of = WireType::of(described.type_oid, types);
            let cell = match (Hidden::of(own, index)?, &scanner) {
                (Hidden::Whole(mask), _) => Some(CellMask::bind(mask, &of, described.format, key)),
                (Hidden::Parts(paths), scanner) => Some(CellMask::bind_paths(
                    paths,
                    &of,
                    described.format,
                    scanner.as_ref(),
                    key,
                )),
                (Hidden::Nothing, Some(scanner)) => {
                    CellMask::bind_scan(scanner, &of, described.format)
                }
                (Hidden::Nothing, None) => None,
            };
            if cell.is_some() {
                cells.resize_with(index, || None);
                cells.push(cell);
            }
        }
        Ok(Self {
            cells: cells.into_boxed_slice(),
            columns,
        })
    }

    /// Masks nothing, for results without protected columns.
    pub fn passthrough() -> Self {
        Self {
            cells: Box::default(),
            columns: 0,
        }
    }

    /// True if rows pass unchanged.
    pub fn is_passthrough(&self) -> bool {
        self.cells.is_empty()
    }

    /// The mask of a column; `None`: its values stay.
    pub(super) fn cell(&self, index: usize) -> Option<&CellMask> {
        self.cells.get(index)?.as_ref()
    }

    /// Columns of the result.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Refuses a row that has more or fewer columns.
    pub(super) fn check_columns(&self, found: impl TryInto<usize>) -> Result<(), MalformedRow> {
        let found = found.try_into().unwrap_or(usize::MAX);
        if found == self.columns {
            Ok(())
        } else {
            Err(MalformedRow::Columns {
                found,
                expected: self.columns,
            })
        }
    }

    /// Appends the whole `DataRow` message for `row`, the message's body after its length word. On
    /// an error `out` is as it was.
    pub fn mask(&self, row: &[u8], out: &mut BytesMut) -> Result<MaskedRow, MalformedRow> {
        let start = out.len();
        match self.append(row, out) {
            Ok(masked) => Ok(MaskedRow {
                start,
                end: out.len(),
                masked,
            }),
            Err(error) => {
                out.truncate(start);
                Err(error)
            }
        }
    }

    fn append(&self, row: &[u8], out: &mut BytesMut) -> Result<u32, MalformedRow> {
        let start = out.len();
        out.reserve(row.len().saturating_add(5));
        out.put_u8(b'D');
        out.put_u32(0);
        let masked = if self.is_passthrough() {
            out.extend_from_slice(row);
            0
        } else {
            self.append_masked(row, out)?
        };
        let length =
            i32::try_from(out.len() - start - 1).map_err(|_error| MalformedRow::TooLong)?;
        let word = out
            .get_mut(start + 1..start + 5)
            .ok_or(MalformedRow::TooLong)?;
        word.copy_from_slice(&length.to_be_bytes());
        Ok(masked)
    }

    /// Appends a row without its message: the number of columns, and each with its length.
    pub(super) fn append_masked(
        &self,
        row: &[u8],
        out: &mut BytesMut,
    ) -> Result<u32, MalformedRow> {
        let (count, mut rest) = row.split_first_chunk().ok_or(MalformedRow::Truncated)?;
        self.check_columns(i16::from_be_bytes(*count))?;
        let mut masked = 0;
        // What stays as it is, is copied in runs that are as long as possible.
        let mut run = row;
        for index in 0..self.columns {
            let (length, after) = rest.split_first_chunk().ok_or(MalformedRow::Truncated)?;
            let length = i32::from_be_bytes(*length);
            let Ok(length) = usize::try_from(length) else {
                if length != -1 {
                    return Err(MalformedRow::Length(length));
                }
                rest = after;
                continue;
            };
            let (value, after) = after
                .split_at_checked(length)
                .ok_or(MalformedRow::Truncated)?;
            if let Some(Some(mask)) = self.cells.get(index) {
                let same = run.len() - rest.len();
                let at = out.len();
                out.extend_from_slice(run.get(..same).ok_or(MalformedRow::Truncated)?);
                if append_cell(mask, value, out)? {
                    run = after;
                    masked += 1;
                } else {
                    out.truncate(at);
                }
            }
            rest = after;
        }
        if !rest.is_empty() {
            return Err(MalformedRow::Trailing);
        }
        out.extend_from_slice(run);
        Ok(masked)
    }
}

/// `false`: the value stays as it is.
fn append_cell(mask: &CellMask, value: &[u8], out: &mut BytesMut) -> Result<bool, MalformedRow> {
    let at = out.len();
    out.put_i32(-1);
    match mask.write(value, out) {
        Written::Same => return Ok(false),
        Written::Null => {}
        Written::Replaced => {
            let length =
                i32::try_from(out.len() - at - 4).map_err(|_error| MalformedRow::TooLong)?;
            let word = out.get_mut(at..at + 4).ok_or(MalformedRow::TooLong)?;
            word.copy_from_slice(&length.to_be_bytes());
        }
    }
    Ok(true)
}

/// What is hidden of one column.
enum Hidden {
    Nothing,
    Whole(MaskKind),
    Parts(Vec<(JsonPath, MaskKind)>),
}

impl Hidden {
    fn of<'r>(
        redactions: impl Iterator<Item = &'r Redaction>,
        column: usize,
    ) -> Result<Self, Unmaskable> {
        let mut hidden = Self::Nothing;
        for redaction in redactions {
            hidden = match (hidden, &redaction.path) {
                (Self::Nothing, None) => Self::Whole(redaction.mask),
                (Self::Nothing, Some(path)) => Self::Parts(vec![(path.clone(), redaction.mask)]),
                (Self::Parts(mut paths), Some(path)) => {
                    paths.push((path.clone(), redaction.mask));
                    Self::Parts(paths)
                }
                (Self::Whole(_), _) | (Self::Parts(_), None) => {
                    return Err(Unmaskable::Twice { column });
                }
            };
        }
        Ok(hidden)
    }
}

impl MaskedRow {
    /// Where the message stands in the buffer it was appended to.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.start..self.end
    }

    /// How many cells were masked.
    pub fn masked(&self) -> u32 {
        self.masked
    }
}
