//! Masks what COPY TO sends, row by row, in each of its formats.

mod binary;
mod csv;
mod format;
#[cfg(test)]
mod tests;
mod text;

pub use format::{CopyFormat, UnknownFormat};

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::{MalformedRow, RowMasker, mask::Written};

/// Masks the data of one COPY TO. Data may come cut anywhere; what is not a whole row yet waits
/// for the rest.
#[derive(Debug)]
pub struct CopyMasker {
    masker: Arc<RowMasker>,
    format: CopyFormat,
    /// The beginning of a row whose end has not come.
    held: BytesMut,
    state: State,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The line with the columns' names, or the signature of the binary format.
    Header,
    Rows,
    /// Binary: the end was there.
    Ended,
}

/// What was masked of a piece of data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyCount {
    /// Whole rows.
    pub rows: u64,
    /// Values masked.
    pub cells: u64,
}

/// Where a row ends, if it does.
enum Piece {
    /// After so many bytes.
    Whole(usize),
    /// More has to come.
    Partial,
}

impl CopyMasker {
    /// Masks rows as `masker` says, which was bound to the columns in COPY's format.
    pub fn new(masker: Arc<RowMasker>, format: CopyFormat) -> Self {
        let state = match &format {
            CopyFormat::Text(text) if !text.header => State::Rows,
            CopyFormat::Csv(csv) if !csv.header => State::Rows,
            CopyFormat::Text(_) | CopyFormat::Csv(_) | CopyFormat::Binary => State::Header,
        };
        Self {
            masker,
            format,
            held: BytesMut::new(),
            state,
        }
    }

    /// Appends what stands for a piece of the data.
    ///
    /// # Errors
    /// If it is not what was described; nothing more may be shown.
    pub fn mask(&mut self, data: &[u8], out: &mut BytesMut) -> Result<CopyCount, MalformedRow> {
        let mut count = CopyCount::default();
        if self.held.is_empty() {
            let used = self.rows(data, out, &mut count)?;
            self.held
                .extend_from_slice(data.get(used..).unwrap_or_default());
        } else {
            self.held.extend_from_slice(data);
            let held = self.held.split().freeze();
            let used = self.rows(&held, out, &mut count)?;
            self.held
                .extend_from_slice(held.get(used..).unwrap_or_default());
        }
        Ok(count)
    }

    /// The end of the data.
    ///
    /// # Errors
    /// If a row is cut off, or the end of the binary format did not come.
    pub fn finish(&self) -> Result<(), MalformedRow> {
        let ended = match &self.format {
            CopyFormat::Text(_) | CopyFormat::Csv(_) => true,
            CopyFormat::Binary => self.state == State::Ended,
        };
        if ended && self.held.is_empty() {
            Ok(())
        } else {
            Err(MalformedRow::Truncated)
        }
    }

    /// Masks the whole rows of `data`; how many bytes they are.
    fn rows(
        &mut self,
        data: &[u8],
        out: &mut BytesMut,
        count: &mut CopyCount,
    ) -> Result<usize, MalformedRow> {
        let mut used = 0;
        loop {
            let rest = data.get(used..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(used);
            }
            let header = self.state == State::Header;
            let end = match (&self.format, self.state) {
                (_, State::Ended) => return Err(MalformedRow::Trailing),
                (CopyFormat::Text(_), _) => text::end(rest),
                (CopyFormat::Csv(csv), _) => csv::end(csv, rest),
                (CopyFormat::Binary, State::Header) => binary::header(rest)?,
                (CopyFormat::Binary, State::Rows) => binary::end(rest)?,
            };
            let Piece::Whole(length) = end else {
                return Ok(used);
            };
            let row = rest.get(..length).ok_or(MalformedRow::Truncated)?;
            used += length;
            if header {
                // Names, which are no values.
                out.extend_from_slice(row);
                self.state = State::Rows;
                continue;
            }
            let cells = match &self.format {
                CopyFormat::Text(text) => text::mask(&self.masker, text, row, out)?,
                CopyFormat::Csv(csv) => csv::mask(&self.masker, csv, row, out)?,
                CopyFormat::Binary if row == binary::END => {
                    self.state = State::Ended;
                    out.extend_from_slice(row);
                    continue;
                }
                CopyFormat::Binary => self.masker.append_masked(row, out)?,
            };
            count.rows += 1;
            count.cells += u64::from(cells);
        }
    }
}

/// Splits a line into fields and masks them: `next` takes a field off the line, `put` writes what
/// stands for one.
struct Fields<'m, 'o> {
    masker: &'m RowMasker,
    out: &'o mut BytesMut,
    masked: BytesMut,
    index: usize,
    cells: u32,
}

impl<'m, 'o> Fields<'m, 'o> {
    fn new(masker: &'m RowMasker, out: &'o mut BytesMut) -> Self {
        Self {
            masker,
            out,
            masked: BytesMut::new(),
            index: 0,
            cells: 0,
        }
    }

    /// Masks the next field, `raw` as it is written; `value` gives what it means, `None` if that
    /// is NULL.
    fn field<'v>(
        &mut self,
        raw: &[u8],
        value: impl FnOnce() -> Option<std::borrow::Cow<'v, [u8]>>,
        null: &[u8],
        put: impl FnOnce(&[u8], &mut BytesMut),
    ) {
        let cell = self.masker.cell(self.index);
        self.index += 1;
        let Some((cell, value)) = cell.and_then(|cell| Some((cell, value()?))) else {
            self.out.extend_from_slice(raw);
            return;
        };
        self.masked.clear();
        match cell.write(&value, &mut self.masked) {
            Written::Same => {
                self.out.extend_from_slice(raw);
                return;
            }
            Written::Null => self.out.extend_from_slice(null),
            Written::Replaced => put(&self.masked, self.out),
        }
        self.cells += 1;
    }

    /// The number of values masked, if the line had as many fields as the result has columns.
    fn finish(self) -> Result<u32, MalformedRow> {
        self.masker.check_columns(self.index)?;
        Ok(self.cells)
    }
}

impl CopyMasker {
    /// Appends a `CopyData` message in place of another, given without its length and tag.
    ///
    /// # Errors
    /// As [`CopyMasker::mask`].
    pub fn message(&mut self, data: &[u8], out: &mut BytesMut) -> Result<CopyCount, MalformedRow> {
        let start = out.len();
        out.put_u8(b'd');
        out.put_u32(0);
        let count = match self.mask(data, out) {
            Ok(count) => count,
            Err(error) => {
                out.truncate(start);
                return Err(error);
            }
        };
        let length =
            i32::try_from(out.len() - start - 1).map_err(|_error| MalformedRow::TooLong)?;
        if length == 4 {
            // Nothing but the beginning of a row.
            out.truncate(start);
        } else if let Some(word) = out.get_mut(start + 1..start + 5) {
            word.copy_from_slice(&length.to_be_bytes());
        }
        Ok(count)
    }
}
