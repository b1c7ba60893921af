//! Any rows, COPY data, errors and notices may come from a server: what is protected in them does
//! not reach the client.

use std::{cell::RefCell, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    client::{exchange, messages, startup, with_stand},
    planted::{Cells, Input, MAIL, MARKER, Planted},
    server::{CUSTOMERS, Column, Script},
    stand::{Arrival, Cut, Stand},
};
use crate::protocol::postgres::wire::{
    put_cstr, put_execute, put_message, put_parse, put_sync, put_terminate,
};

const RULES: &str = "    allow: [{ all: '*.*' }]\n    mask:\n      - { column: '*.*.email', with: partial }\n      - { column: '*.*.ssn', with: redact }\n      - { column: '*.*.country', with: token }\n      - { column: '*.*.phone', with: last4 }\n      - { column: '*.*.profile', path: '$.address.street', with: redact }\n      - { detect: [email], with: redact }\n";

const SELECT: &str = "SELECT id, name, email, ssn, country, phone, profile FROM public.customers";

/// Types that the server may say a protected column has.
const TYPES: [u32; 14] = [
    1043, 25, 17, 114, 3802, 1009, 2950, 1700, 18, 19, 1042, 2249, 705, 99_999,
];

/// How the rows are asked for, and so how they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `DataRow`s in text.
    Text,
    /// `DataRow`s in binary.
    Binary,
    /// COPY TO in text, with this delimiter.
    CopyText(u8),
    /// COPY TO in CSV: delimiter, quote and escape, and whether a header comes first.
    CopyCsv(u8, u8, u8, bool),
    /// COPY TO in binary.
    CopyBinary,
}

/// Statements, and how their results come.
const WAYS: [(&str, Kind); 7] = [
    ("", Kind::Text),
    ("", Kind::Binary),
    ("TO STDOUT", Kind::CopyText(b'\t')),
    ("TO STDOUT (DELIMITER '|')", Kind::CopyText(b'|')),
    (
        "TO STDOUT (FORMAT csv)",
        Kind::CopyCsv(b',', b'"', b'"', false),
    ),
    (
        "TO STDOUT (FORMAT csv, HEADER, DELIMITER ';', QUOTE '$', ESCAPE '\\')",
        Kind::CopyCsv(b';', b'$', b'\\', true),
    ),
    ("TO STDOUT (FORMAT binary)", Kind::CopyBinary),
];

thread_local! {
    static STAND: RefCell<Option<Stand>> = const { RefCell::new(None) };
}

/// Asks for protected columns, and lets the server answer as the input says: the first byte tells
/// how they are asked for, the second how the answer is cut into reads, the third of which type the
/// server says a column is.
///
/// # Panics
/// If something does not hold.
pub fn pg_backend_rows(input: &[u8]) {
    let [way, reads, kind, rest @ ..] = input else {
        return;
    };
    let (options, format) = WAYS[usize::from(*way) % WAYS.len()];
    let statement: String = if options.is_empty() {
        SELECT.to_owned()
    } else {
        format!("COPY ({SELECT}) {options}")
    };
    let mut columns: Vec<Column> = CUSTOMERS.to_vec();
    columns[3].3 = TYPES[usize::from(*kind) % TYPES.len()];
    let mut bytes = BytesMut::from(&startup(&[("user", "u"), ("database", "shop")])[..]);
    if way % 2 == 0 && format != Kind::Binary {
        put_message(&mut bytes, b'Q', |out| put_cstr(out, statement.as_bytes()));
    } else {
        put_parse(&mut bytes, b"", statement.as_bytes(), &[]);
        put_message(&mut bytes, b'B', |out| {
            out.put_slice(b"\0\0\0\0\0\0\0\x01\0");
            out.put_u8(u8::from(format == Kind::Binary));
        });
        put_execute(&mut bytes, b"");
        put_sync(&mut bytes);
    }
    put_message(&mut bytes, b'Q', |out| put_cstr(out, b"SELECT 1"));
    put_terminate(&mut bytes);
    let arrival = Arrival {
        cut: Cut::Nowhere,
        script: Script {
            shapes: vec![(SELECT, columns)],
            only: statement,
            results: Some(result(rest, format)),
            breaks_off: false,
            cut: Cut::pieces(*reads),
        },
    };
    let seen = with_stand(&STAND, RULES, |stand| {
        stand.connect(arrival, |stream| exchange(stream, &bytes))
    });
    hidden(&seen);
}

/// Neither marker stands in what the client got, nor in the COPY data put together.
fn hidden(seen: &[u8]) {
    let copied: Vec<u8> = messages(seen)
        .into_iter()
        .filter(|(tag, _)| *tag == b'd')
        .flat_map(|(_, body)| body.iter().copied())
        .collect();
    for bytes in [seen, &copied] {
        for marker in [MARKER, MAIL] {
            assert!(
                !bytes.windows(marker.len()).any(|part| part == marker),
                "{} reached the client: {}",
                String::from_utf8_lossy(marker),
                bytes.escape_ascii(),
            );
        }
    }
}

/// What the server sends up to the end of the statement.
fn result(input: &[u8], format: Kind) -> Arc<[Bytes]> {
    let mut input = Input::new(input);
    let mut answer = Planted::new(format);
    answer.begin();
    while let Some(kind) = input.byte() {
        match kind % 16 {
            0..=7 => {
                let cells = Cells::take(&mut input);
                answer.row(&cells, &mut input);
            }
            8 => answer.report(b'N', &mut input),
            9 => answer.notification(&mut input),
            10 => {
                answer.report(b'E', &mut input);
                return answer.pieces();
            }
            11 => answer.raw(&mut input),
            12 => answer.cut(),
            13 => answer.data(&mut input),
            _ => {}
        }
    }
    answer.end();
    answer.pieces()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::{client::to_its_end, mutate_wire, seeds};

    #[test]
    fn what_must_hold_holds_for_the_seeds_and_their_mutations() {
        to_its_end(|| {
            for (_, seed) in seeds::rows() {
                pg_backend_rows(&seed);
                for round in 0..40 {
                    pg_backend_rows(&mutate_wire(&seed, round));
                }
            }
        });
    }

    /// Otherwise the target would look at errors only.
    #[test]
    fn rows_of_each_kind_reach_the_client() {
        for (way, (_, format)) in WAYS.iter().enumerate() {
            let input = [0, 1, 1, 1, 1, 1, 1, 1];
            let pieces = result(&input, *format);
            assert!(!pieces.is_empty());
            let way = u8::try_from(way).unwrap();
            pg_backend_rows(&[&[way, 0, 0][..], &input].concat());
        }
    }
}
