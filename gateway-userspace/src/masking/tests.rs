//! Masks through whole rows: every mask, type and format.

use bytes::BytesMut;

use super::*;

const TEXTS: [u32; 4] = [19, 25, 1042, 1043];
const XML: u32 = 142;
const ALL_MASKS: [MaskKind; 6] = [
    MaskKind::Redact,
    MaskKind::Null,
    MaskKind::Partial,
    MaskKind::Email,
    MaskKind::Last4,
    MaskKind::Token,
];
const FORMATS: [Format; 2] = [Format::Text, Format::Binary];
/// Every type the masks know, and some that they do not: point, xml, int4[], record, an extension's.
const TYPES: [u32; 33] = [
    16, 17, 19, 20, 21, 23, 25, 114, 650, 700, 701, 774, 829, 869, 1003, 1009, 1014, 1015, 1042,
    1043, 1082, 1083, 1114, 1184, 1186, 1266, 1700, 2950, 3802, 600, 142, 1007, 91_234,
];

fn key() -> MaskKey {
    MaskKey::new(&[7; 32])
}

fn column(type_oid: u32, format: Format) -> ColumnShape {
    ColumnShape {
        name: "c".to_owned(),
        table_oid: 1,
        attnum: 1,
        type_oid,
        format,
    }
}

fn shape(types: &[u32]) -> Vec<ColumnShape> {
    types.iter().map(|oid| column(*oid, Format::Text)).collect()
}

fn row(cells: &[Option<&[u8]>]) -> Vec<u8> {
    let mut row = i16::try_from(cells.len())
        .unwrap_or_default()
        .to_be_bytes()
        .to_vec();
    for cell in cells {
        match cell {
            None => row.extend((-1_i32).to_be_bytes()),
            Some(value) => {
                row.extend(i32::try_from(value.len()).unwrap_or_default().to_be_bytes());
                row.extend_from_slice(value);
            }
        }
    }
    row
}

/// The cells of one `DataRow` message, checked to be whole.
fn cells(message: &[u8]) -> Vec<Option<Vec<u8>>> {
    assert_eq!(message[0], b'D');
    let word = |at: usize| {
        i32::from_be_bytes([
            message[at],
            message[at + 1],
            message[at + 2],
            message[at + 3],
        ])
    };
    assert_eq!(usize::try_from(word(1)), Ok(message.len() - 1));
    let count = i16::from_be_bytes([message[5], message[6]]);
    let mut at = 7;
    let mut cells = Vec::new();
    for _ in 0..count {
        let length = word(at);
        at += 4;
        match usize::try_from(length) {
            Ok(length) => {
                cells.push(Some(message[at..at + length].to_vec()));
                at += length;
            }
            Err(_) => cells.push(None),
        }
    }
    assert_eq!(at, message.len());
    cells
}

fn bind(redactions: &[Redaction], shape: &[ColumnShape]) -> Result<RowMasker, Unmaskable> {
    let rules = Rules {
        redactions,
        detections: &Detections::default(),
    };
    RowMasker::bind(rules, shape, &|_| TypeKind::Other, &key())
}

fn masker(redactions: &[(usize, MaskKind)], shape: &[ColumnShape]) -> RowMasker {
    let redactions: Vec<Redaction> = redactions
        .iter()
        .map(|(column, mask)| Redaction {
            column: *column,
            mask: *mask,
            path: None,
        })
        .collect();
    match bind(&redactions, shape) {
        Ok(masker) => masker,
        Err(error) => panic!("{error}"),
    }
}

fn masked(masker: &RowMasker, row: &[u8]) -> (Vec<Option<Vec<u8>>>, u32) {
    let mut out = BytesMut::from(&b"before"[..]);
    match masker.mask(row, &mut out) {
        Ok(proof) => {
            assert_eq!(proof.range(), 6..out.len());
            (cells(&out[6..]), proof.masked())
        }
        Err(error) => panic!("{error}"),
    }
}

fn one(mask: MaskKind, type_oid: u32, format: Format, value: Option<&[u8]>) -> Option<Vec<u8>> {
    let masker = masker(&[(0, mask)], &[column(type_oid, format)]);
    let (mut cells, count) = masked(&masker, &row(&[value]));
    assert_eq!(count, u32::from(value.is_some()));
    cells.remove(0)
}

#[test]
fn passthrough_copies_the_row_as_it_is() {
    let masker = RowMasker::passthrough();
    assert!(masker.is_passthrough());
    let body = row(&[Some(b"a"), None, Some(b"")]);
    let mut out = BytesMut::new();
    let Ok(proof) = masker.mask(&body, &mut out) else {
        panic!("passes")
    };
    assert_eq!((proof.range(), proof.masked()), (0..out.len(), 0));
    assert_eq!(&out[5..], body);
    assert_eq!(cells(&out), [Some(b"a".to_vec()), None, Some(Vec::new())]);
    assert!(self::masker(&[], &shape(&[25])).is_passthrough());
}

#[test]
fn only_the_named_columns_change() {
    let masker = masker(
        &[(3, MaskKind::Redact), (1, MaskKind::Partial)],
        &shape(&[25, 25, 23, 25, 25]),
    );
    assert!(!masker.is_passthrough());
    let (cells, count) = masked(
        &masker,
        &row(&[
            Some(b"keep"),
            Some(b"alice@example.com"),
            None,
            Some(b"secret"),
            Some(b"end"),
        ]),
    );
    let expected: [Option<&[u8]>; 5] = [
        Some(b"keep"),
        Some(b"a***@example.com"),
        None,
        Some(b"[redacted]"),
        Some(b"end"),
    ];
    assert_eq!(cells, expected.map(|cell| cell.map(<[u8]>::to_vec)));
    assert_eq!(count, 2);
}

#[test]
fn null_stays_null_under_every_mask() {
    for mask in ALL_MASKS {
        for oid in TYPES {
            for format in FORMATS {
                assert_eq!(one(mask, oid, format, None), None);
            }
        }
    }
}

#[test]
fn text_masks_are_the_same_in_both_formats_and_null_for_other_types() {
    let value: &[u8] = b"alice@example.com";
    for format in FORMATS {
        for oid in TYPES {
            for (mask, shown) in [
                (MaskKind::Partial, "a***@example.com"),
                (MaskKind::Email, "a***@example.com"),
                (MaskKind::Last4, "****.com"),
            ] {
                let expected = TEXTS.contains(&oid).then(|| shown.as_bytes().to_vec());
                assert_eq!(
                    one(mask, oid, format, Some(value)),
                    expected,
                    "{mask:?} {oid} {format:?}"
                );
            }
            let token = one(MaskKind::Token, oid, format, Some(value));
            assert_eq!(token.is_some(), TEXTS.contains(&oid) || oid == XML, "{oid}");
            assert!(token.is_none_or(|token| token.starts_with(b"tok_") && token.len() == 28));
            assert_eq!(one(MaskKind::Null, oid, format, Some(value)), None);
        }
    }
}

#[test]
fn redact_is_true_to_the_type_in_text_format() {
    let expected: [(u32, Option<&str>); 33] = [
        (16, Some("f")),
        (17, Some("\\x")),
        (19, Some("[redacted]")),
        (20, Some("0")),
        (21, Some("0")),
        (23, Some("0")),
        (25, Some("[redacted]")),
        (114, Some("\"[redacted]\"")),
        (650, Some("0.0.0.0/32")),
        (700, Some("0")),
        (701, Some("0")),
        (774, Some("00:00:00:00:00:00:00:00")),
        (829, Some("00:00:00:00:00:00")),
        (869, Some("0.0.0.0")),
        (1003, Some("{}")),
        (1009, Some("{}")),
        (1014, Some("{}")),
        (1015, Some("{}")),
        (1042, Some("[redacted]")),
        (1043, Some("[redacted]")),
        (1082, Some("1970-01-01")),
        (1083, Some("00:00:00")),
        (1114, Some("1970-01-01 00:00:00")),
        (1184, Some("1970-01-01 00:00:00+00")),
        (1186, Some("00:00:00")),
        (1266, Some("00:00:00+00")),
        (1700, Some("0")),
        (2950, Some("00000000-0000-0000-0000-000000000000")),
        (3802, Some("\"[redacted]\"")),
        (600, None),
        (142, Some("[redacted]")),
        (1007, None),
        (91_234, None),
    ];
    for (oid, text) in expected {
        let cell = one(MaskKind::Redact, oid, Format::Text, Some(b"123"));
        assert_eq!(cell, text.map(|text| text.as_bytes().to_vec()), "{oid}");
    }
}

/// M11: drivers must be able to decode the value. `postgres-protocol` decodes as they do.
#[test]
fn redact_is_true_to_the_type_in_binary_format() {
    use postgres_protocol::types as pg;
    let cell = |oid: u32| {
        one(
            MaskKind::Redact,
            oid,
            Format::Binary,
            Some(b"\x01\x02\x03\x04"),
        )
        .unwrap_or_default()
    };
    assert!(!pg::bool_from_sql(&cell(16)).unwrap_or(true));
    assert!(cell(17).is_empty());
    assert_eq!(pg::int8_from_sql(&cell(20)).ok(), Some(0));
    assert_eq!(pg::int2_from_sql(&cell(21)).ok(), Some(0));
    assert_eq!(pg::int4_from_sql(&cell(23)).ok(), Some(0));
    assert_eq!(pg::float4_from_sql(&cell(700)).ok(), Some(0.0));
    assert_eq!(pg::float8_from_sql(&cell(701)).ok(), Some(0.0));
    assert_eq!(pg::date_from_sql(&cell(1082)).ok(), Some(-10_957));
    assert_eq!(pg::time_from_sql(&cell(1083)).ok(), Some(0));
    assert_eq!(
        pg::timestamp_from_sql(&cell(1114)).ok(),
        Some(-946_684_800_000_000)
    );
    assert_eq!(
        pg::timestamp_from_sql(&cell(1184)).ok(),
        Some(-946_684_800_000_000)
    );
    assert_eq!(pg::uuid_from_sql(&cell(2950)).ok(), Some([0; 16]));
    assert_eq!(pg::macaddr_from_sql(&cell(829)).ok(), Some([0; 6]));
    for oid in [650, 869] {
        let cell = cell(oid);
        let inet = pg::inet_from_sql(&cell);
        let decoded = inet
            .map(|inet| (inet.addr().to_string(), inet.netmask()))
            .ok();
        assert_eq!(decoded, Some(("0.0.0.0".to_owned(), 32)), "{oid}");
    }
    for (oid, element) in [(1003, 19), (1009, 25), (1014, 1042), (1015, 1043)] {
        let cell = cell(oid);
        let array = pg::array_from_sql(&cell);
        assert_eq!(
            array
                .map(|array| (array.element_type(), array.has_nulls()))
                .ok(),
            Some((element, false)),
            "{oid}"
        );
    }
    // Fields of numeric: digits, weight, sign, scale; of timetz: microseconds, zone; of interval:
    // microseconds, days, months.
    assert_eq!(cell(1700), [0; 8]);
    assert_eq!(cell(1266), [0; 12]);
    assert_eq!(cell(1186), [0; 16]);
    assert_eq!(cell(774), [0; 8]);
    assert_eq!(cell(114), b"\"[redacted]\"");
    assert_eq!(cell(3802), b"\x01\"[redacted]\"");
    for oid in TEXTS {
        assert_eq!(cell(oid), b"[redacted]");
    }
    for oid in [600, 1007, 91_234] {
        assert_eq!(
            one(MaskKind::Redact, oid, Format::Binary, Some(b"\x01")),
            None,
            "{oid}"
        );
    }
}

#[test]
fn m19_what_is_shown_does_not_depend_on_the_length() {
    for mask in ALL_MASKS {
        for oid in TYPES {
            for format in FORMATS {
                let lengths: std::collections::BTreeSet<Option<usize>> = [17, 18, 100, 10_000]
                    .iter()
                    .map(|length| {
                        one(mask, oid, format, Some(&b"x".repeat(*length))).map(|cell| cell.len())
                    })
                    .collect();
                assert_eq!(lengths.len(), 1, "{mask:?} {oid} {format:?}");
            }
        }
    }
}

#[test]
fn empty_values_are_masked_too() {
    assert_eq!(
        one(MaskKind::Partial, 25, Format::Text, Some(b"")),
        Some(b"***".to_vec())
    );
    assert_eq!(
        one(MaskKind::Redact, 25, Format::Text, Some(b"")),
        Some(b"[redacted]".to_vec())
    );
    assert_eq!(
        one(MaskKind::Last4, 25, Format::Text, Some(b"")),
        Some(b"****".to_vec())
    );
    assert_eq!(one(MaskKind::Null, 25, Format::Text, Some(b"")), None);
}

#[test]
fn m12_a_cell_of_many_megabytes_is_masked() {
    let huge = b"marker ".repeat(3 << 20);
    for mask in ALL_MASKS {
        let cell = one(mask, 25, Format::Text, Some(&huge)).unwrap_or_default();
        assert!(cell.len() < 32, "{mask:?}");
    }
}

#[test]
fn redactions_that_do_not_fit_the_result_are_refused() {
    let refused = |redactions: &[Redaction]| bind(redactions, &shape(&[25, 25])).err();
    let redaction = |column| Redaction {
        column,
        mask: MaskKind::Redact,
        path: None,
    };
    assert_eq!(
        refused(&[redaction(2)]),
        Some(Unmaskable::NoSuchColumn {
            column: 2,
            columns: 2
        })
    );
    assert_eq!(
        refused(&[redaction(usize::MAX)]),
        Some(Unmaskable::NoSuchColumn {
            column: usize::MAX,
            columns: 2
        })
    );
    assert_eq!(
        refused(&[redaction(1), redaction(1)]),
        Some(Unmaskable::Twice { column: 1 })
    );
    assert_eq!(refused(&[redaction(1), redaction(0)]), None);
}

#[test]
fn malformed_rows_are_refused_and_leave_nothing_behind() {
    let masker = masker(&[(1, MaskKind::Redact)], &shape(&[25, 25]));
    let good = row(&[Some(b"abc"), Some(b"def")]);
    let refused = |row: &[u8]| {
        let mut out = BytesMut::from(&b"before"[..]);
        let error = masker.mask(row, &mut out).err();
        assert_eq!(&out[..], b"before");
        error
    };
    for cut in 0..good.len() {
        assert_eq!(
            refused(&good[..cut]),
            Some(MalformedRow::Truncated),
            "cut at {cut}"
        );
    }
    let mut long = good.clone();
    long.push(0);
    assert_eq!(refused(&long), Some(MalformedRow::Trailing));
    let with_length = |length: i32| {
        let mut row = good.clone();
        row[9..13].copy_from_slice(&length.to_be_bytes());
        row
    };
    assert_eq!(refused(&with_length(-2)), Some(MalformedRow::Length(-2)));
    assert_eq!(
        refused(&with_length(i32::MIN)),
        Some(MalformedRow::Length(i32::MIN))
    );
    assert_eq!(
        refused(&with_length(i32::MAX)),
        Some(MalformedRow::Truncated)
    );
    assert_eq!(refused(&with_length(4)), Some(MalformedRow::Truncated));
    assert_eq!(refused(&with_length(2)), Some(MalformedRow::Trailing));
    assert_eq!(refused(&with_length(-1)), Some(MalformedRow::Trailing));
    assert_eq!(
        refused(&row(&[Some(b"a")])),
        Some(MalformedRow::Columns {
            found: 1,
            expected: 2
        })
    );
    assert_eq!(
        refused(&row(&[None, None, None])),
        Some(MalformedRow::Columns {
            found: 3,
            expected: 2
        })
    );
    assert_eq!(
        refused(b"\xff\xff"),
        Some(MalformedRow::Columns {
            found: usize::MAX,
            expected: 2
        })
    );
}

/// Steps of xorshift64*: the same numbers on every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap_or(0) % limit
    }
}

const MARKER: &[u8] = b"PLANTED-MARKER";

#[test]
fn a_planted_value_never_comes_through_whatever_the_row() {
    let mut numbers = Numbers(0x5eed);
    for _ in 0..20_000 {
        let width = 1 + numbers.below(12);
        let shape: Vec<ColumnShape> = (0..width)
            .map(|_| column(TYPES[numbers.below(TYPES.len())], FORMATS[numbers.below(2)]))
            .collect();
        let redactions: Vec<(usize, MaskKind)> = (0..width)
            .map(|index| (index, numbers.below(12)))
            .filter_map(|(index, mask)| ALL_MASKS.get(mask).map(|mask| (index, *mask)))
            .collect();
        let mut values = Vec::new();
        for index in 0..width {
            let mut value: Vec<u8> = (0..numbers.below(20))
                .map(|_| u8::try_from(numbers.below(256)).unwrap_or(0))
                .collect();
            if redactions.iter().any(|(column, _)| *column == index) {
                value.extend_from_slice(MARKER);
                value.extend((0..numbers.below(4)).map(|_| b"a@.-"[numbers.below(4)]));
            }
            values.push((numbers.below(8) > 0).then_some(value));
        }
        let body = row(&values.iter().map(Option::as_deref).collect::<Vec<_>>());
        let masker = masker(&redactions, &shape);
        let (cells, count) = masked(&masker, &body);
        let mut expected = 0;
        for (index, (cell, value)) in cells.iter().zip(&values).enumerate() {
            if redactions.iter().any(|(column, _)| *column == index) {
                expected += u32::from(value.is_some());
                let shown = cell.as_deref().unwrap_or_default();
                assert!(
                    !shown.windows(MARKER.len()).any(|window| window == MARKER),
                    "{shape:?}"
                );
            } else {
                assert_eq!(cell, value);
            }
        }
        assert_eq!(count, expected);
    }
}

#[test]
fn no_bytes_make_the_masker_panic_or_let_a_value_through() {
    let mut numbers = Numbers(0xbad);
    let masker = masker(
        &[(0, MaskKind::Redact), (2, MaskKind::Token)],
        &shape(&[25, 23, 25]),
    );
    for _ in 0..20_000 {
        let mut body = row(&[Some(MARKER), Some(b"1"), Some(MARKER)]);
        for _ in 0..=numbers.below(4) {
            let at = numbers.below(body.len());
            body[at] = u8::try_from(numbers.below(256)).unwrap_or(0);
        }
        body.truncate(body.len() - numbers.below(3));
        let mut out = BytesMut::new();
        if masker.mask(&body, &mut out).is_ok() {
            assert_eq!(cells(&out).len(), 3);
        } else {
            assert!(out.is_empty());
        }
    }
}
