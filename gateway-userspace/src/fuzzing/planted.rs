//! A server's answer with markers where values are protected.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::rows::Kind;
use crate::protocol::postgres::wire::{put_cstr, put_message};

/// Stands in every protected value. No other byte of an answer is its `Q`.
pub(super) const MARKER: &[u8] = b"zQ7mArKeR9xK";
/// Stands in values that a detector finds.
pub(super) const MAIL: &[u8] = b"zedQ7@example.org";

const COLUMNS: usize = 7;
const NAME: usize = 1;
const SSN: usize = 3;
const PROFILE: usize = 6;

/// What is left of an input.
pub(super) struct Input<'i>(&'i [u8]);

impl<'i> Input<'i> {
    pub fn new(bytes: &'i [u8]) -> Self {
        Self(bytes)
    }

    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(harmless(*first))
    }

    /// Up to 255 bytes, without what the markers have alone.
    fn bytes(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte().unwrap_or_default()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken.iter().copied().map(harmless).collect()
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn pick<'t, T: ?Sized>(&mut self, of: &[&'t T]) -> &'t T {
        of[usize::from(self.byte().unwrap_or_default()) % of.len()]
    }
}

fn harmless(byte: u8) -> u8 {
    if byte == b'Q' { b'q' } else { byte }
}

/// The values of one row.
pub(super) struct Cells(Vec<Option<Vec<u8>>>);

impl Cells {
    pub fn take(input: &mut Input<'_>) -> Self {
        let cells = (0..COLUMNS).map(|column| {
            let kind = input.byte().unwrap_or_default() % 8;
            if kind == 0 {
                return None;
            }
            Some(match column {
                0 => input.bytes(),
                NAME => name(kind, input),
                SSN => [&input.bytes(), MARKER, &input.bytes()].concat(),
                PROFILE => profile(kind, input),
                // Also of an address, whose domain is shown.
                _ => [MARKER, &input.bytes()].concat(),
            })
        });
        Self(cells.collect())
    }
}

/// A value that only the detector looks at.
fn name(kind: u8, input: &mut Input<'_>) -> Vec<u8> {
    match kind {
        1 => MAIL.to_vec(),
        2 => [b"write to ", MAIL, b" or call"].concat(),
        _ => input.bytes(),
    }
}

/// A document in which one value is protected.
fn profile(kind: u8, input: &mut Input<'_>) -> Vec<u8> {
    let marker = String::from_utf8_lossy(MARKER).into_owned();
    let street = format!("{}{marker}", input.text());
    let document = serde_json::json!({
        "a": input.text(),
        "address": { "city": input.text(), "street": street },
        "z": [1, input.text()],
    });
    match kind {
        1 => format!(r#"{{"address":{{"street":"x"}},"address":{{"street":"{marker}"}}}}"#),
        2 => format!(r#"{{"address":{{"street":{{"deep":["{marker}"]}}}}}}"#),
        3 => {
            let mut text = document.to_string();
            let end = text.len() - usize::from(input.byte().unwrap_or_default()) % text.len();
            while !text.is_char_boundary(end.min(text.len())) {
                text.pop();
            }
            text.truncate(end);
            text
        }
        4 => format!("{document}{}", input.text()),
        _ => document.to_string(),
    }
    .into_bytes()
}

/// The answer so far.
pub(super) struct Planted {
    format: Kind,
    bytes: BytesMut,
    pieces: Vec<Bytes>,
    /// COPY data that waits to be cut into messages.
    data: BytesMut,
    /// Something came that may shift what follows: no more markers.
    shifted: bool,
}

impl Planted {
    pub fn new(format: Kind) -> Self {
        Self {
            format,
            bytes: BytesMut::new(),
            pieces: Vec::new(),
            data: BytesMut::new(),
            shifted: false,
        }
    }

    fn copies(&self) -> bool {
        !matches!(self.format, Kind::Text | Kind::Binary)
    }

    /// What comes before the first row.
    pub fn begin(&mut self) {
        match self.format {
            Kind::Text | Kind::Binary => return,
            Kind::CopyCsv(delimiter, _, _, true) => {
                let names = ["id", "name", "email", "ssn", "country", "phone", "profile"];
                let header = names.join(&char::from(delimiter).to_string());
                self.data.put_slice(header.as_bytes());
                self.data.put_u8(b'\n');
            }
            Kind::CopyBinary => self.data.put_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0"),
            Kind::CopyText(_) | Kind::CopyCsv(..) => {}
        }
        let binary = u8::from(self.format == Kind::CopyBinary);
        put_message(&mut self.bytes, b'H', |out| {
            out.put_u8(binary);
            out.put_i16(7);
            for _ in 0..7 {
                out.put_i16(i16::from(binary));
            }
        });
        if !self.data.is_empty() {
            self.flush();
        }
    }

    /// A row; some of the data may stay behind for the next message.
    pub fn row(&mut self, cells: &Cells, input: &mut Input<'_>) {
        if self.shifted {
            return;
        }
        match self.format {
            Kind::Text => put_message(&mut self.bytes, b'D', |out| put_cells(out, cells, false)),
            Kind::Binary => put_message(&mut self.bytes, b'D', |out| put_cells(out, cells, true)),
            Kind::CopyBinary => put_cells(&mut self.data, cells, true),
            Kind::CopyText(delimiter) => put_line(&mut self.data, cells, delimiter, text_field),
            Kind::CopyCsv(delimiter, quote, escape, _) => {
                put_line(&mut self.data, cells, delimiter, |out, cell| {
                    csv_field(out, cell, quote, escape);
                });
            }
        }
        if self.copies() {
            let cut = usize::from(input.byte().unwrap_or_default());
            if cut < 128 {
                self.flush();
            } else if cut < self.data.len() {
                let part = self.data.split_to(cut);
                put_message(&mut self.bytes, b'd', |out| out.put_slice(&part));
            }
        }
    }

    fn flush(&mut self) {
        let data = self.data.split();
        put_message(&mut self.bytes, b'd', |out| out.put_slice(&data));
    }

    /// An error or a notice, which quotes a value wherever such reports do.
    pub fn report(&mut self, tag: u8, input: &mut Input<'_>) {
        const STATES: [&[u8]; 8] = [
            b"22P02", b"23505", b"P0001", b"42P01", b"XX000", b"57014", b"01000", b"00000",
        ];
        let state = input.pick(&STATES);
        let quotes = [&b"22"[..], b"P0", b"XX", b"01"]
            .iter()
            .any(|class| state.starts_with(class));
        let count = usize::from(input.byte().unwrap_or_default() % 8);
        let fields: Vec<(u8, Vec<u8>)> = (0..count)
            .map(|_| {
                let code = *input.pick(&[
                    &b'D', &b'H', &b'W', &b'q', &b'p', &b'M', &b'x', &b's', &b'R',
                ]);
                let mut value = input.bytes();
                value.retain(|byte| *byte != 0);
                if b"DHWqpx".contains(&code) || (code == b'M' && quotes) {
                    value.extend_from_slice(MARKER);
                }
                (code, value)
            })
            .collect();
        put_message(&mut self.bytes, tag, |out| {
            for (code, value) in [(b'S', &b"ERROR"[..]), (b'V', b"ERROR"), (b'C', state)] {
                out.put_u8(code);
                put_cstr(out, value);
            }
            for (code, value) in fields {
                out.put_u8(code);
                put_cstr(out, &value);
            }
            out.put_u8(0);
        });
    }

    /// What a trigger may send.
    pub fn notification(&mut self, input: &mut Input<'_>) {
        let mut payload = input.bytes();
        payload.retain(|byte| *byte != 0);
        payload.extend_from_slice(MARKER);
        put_message(&mut self.bytes, b'A', |out| {
            out.put_i32(7);
            put_cstr(out, b"channel");
            put_cstr(out, &payload);
        });
    }

    /// What comes may stand anywhere but inside a row that has a marker: it would no longer be the
    /// value that is protected.
    fn shift(&mut self) {
        self.shifted = true;
        if !self.data.is_empty() {
            self.flush();
        }
    }

    /// Any message.
    pub fn raw(&mut self, input: &mut Input<'_>) {
        self.shift();
        let tag = input.byte().unwrap_or_default();
        let body = input.bytes();
        put_message(&mut self.bytes, tag, |out| out.put_slice(&body));
    }

    /// Any COPY data.
    pub fn data(&mut self, input: &mut Input<'_>) {
        if self.copies() {
            self.shift();
            let body = input.bytes();
            put_message(&mut self.bytes, b'd', |out| out.put_slice(&body));
        }
    }

    /// The gateway gets what there is so far before it gets more.
    pub fn cut(&mut self) {
        let piece = self.bytes.split().freeze();
        self.pieces.push(piece);
    }

    /// The statement ends well.
    pub fn end(&mut self) {
        if self.format == Kind::CopyBinary {
            self.data.put_i16(-1);
        }
        if self.copies() {
            self.flush();
            put_message(&mut self.bytes, b'c', |_| {});
        }
        put_message(&mut self.bytes, b'C', |out| put_cstr(out, b"SELECT 1"));
    }

    pub fn pieces(mut self) -> Arc<[Bytes]> {
        self.cut();
        self.pieces.into()
    }
}

/// A row as `DataRow` has it, and COPY's binary format.
fn put_cells(out: &mut BytesMut, cells: &Cells, binary: bool) {
    out.put_i16(i16::try_from(cells.0.len()).unwrap_or_default());
    for (column, cell) in cells.0.iter().enumerate() {
        let Some(cell) = cell else {
            out.put_i32(-1);
            continue;
        };
        // The version of jsonb.
        let version = binary && column == PROFILE;
        out.put_i32(i32::try_from(cell.len() + usize::from(version)).unwrap_or_default());
        if version {
            out.put_u8(1);
        }
        out.put_slice(cell);
    }
}

fn put_line(
    out: &mut BytesMut,
    cells: &Cells,
    delimiter: u8,
    field: impl Fn(&mut BytesMut, Option<&[u8]>),
) {
    for (index, cell) in cells.0.iter().enumerate() {
        if index > 0 {
            out.put_u8(delimiter);
        }
        field(out, cell.as_deref());
    }
    out.put_u8(b'\n');
}

fn text_field(out: &mut BytesMut, cell: Option<&[u8]>) {
    let Some(cell) = cell else {
        return out.put_slice(b"\\N");
    };
    for byte in cell {
        match byte {
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            b'\\' | b'|' => out.put_slice(&[b'\\', *byte]),
            byte => out.put_u8(*byte),
        }
    }
}

fn csv_field(out: &mut BytesMut, cell: Option<&[u8]>, quote: u8, escape: u8) {
    let Some(cell) = cell else { return };
    out.put_u8(quote);
    for byte in cell {
        if *byte == quote || *byte == escape {
            out.put_u8(escape);
        }
        out.put_u8(*byte);
    }
    out.put_u8(quote);
}
