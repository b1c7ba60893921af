//! COPY's formats, whole and cut at every byte.

use std::sync::Arc;

use bytes::BytesMut;

use super::{CopyCount, CopyFormat, CopyMasker};
use crate::masking::{
    ColumnShape, Detections, Detector, Format, MalformedRow, MaskKey, MaskKind, Redaction,
    RowMasker, Rules, TypeKind,
};

/// Columns by type; the second is masked by `mask`, the others are scanned for addresses.
fn masker(format: Format, types: &[u32], mask: &str) -> Arc<RowMasker> {
    let shape: Vec<ColumnShape> = types
        .iter()
        .map(|oid| ColumnShape {
            name: "c".to_owned(),
            table_oid: 0,
            attnum: 0,
            type_oid: *oid,
            format,
        })
        .collect();
    let mut detections = Detections::default();
    detections.add(Detector::Email, MaskKind::Redact);
    let rules = Rules {
        redactions: &[Redaction {
            column: 1,
            mask: MaskKind::parse(mask).unwrap(),
            path: None,
        }],
        detections: &detections,
    };
    let key = MaskKey::new(&[7; 32]);
    Arc::new(RowMasker::bind(rules, &shape, &|_| TypeKind::Other, &key).unwrap())
}

fn format(options: &[(&str, &str)]) -> CopyFormat {
    let options: Vec<(String, String)> = options
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    CopyFormat::parse(Some(&options)).unwrap()
}

fn run(
    masker: &Arc<RowMasker>,
    format: &CopyFormat,
    pieces: &[&[u8]],
) -> Result<(Vec<u8>, CopyCount), MalformedRow> {
    let mut copy = CopyMasker::new(masker.clone(), format.clone());
    let mut out = BytesMut::new();
    let mut total = CopyCount::default();
    for piece in pieces {
        let count = copy.mask(piece, &mut out)?;
        total.rows += count.rows;
        total.cells += count.cells;
    }
    copy.finish()?;
    Ok((out.to_vec(), total))
}

/// The same in one piece, in single bytes, and in two pieces cut anywhere.
fn masked(masker: &Arc<RowMasker>, format: &CopyFormat, data: &[u8]) -> (Vec<u8>, CopyCount) {
    let whole = run(masker, format, &[data]).unwrap();
    let bytes: Vec<&[u8]> = data.chunks(1).collect();
    assert_eq!(run(masker, format, &bytes).as_ref(), Ok(&whole));
    for cut in 0..data.len() {
        let (one, two) = data.split_at(cut);
        assert_eq!(
            run(masker, format, &[one, two]).as_ref(),
            Ok(&whole),
            "cut at {cut}"
        );
    }
    whole
}

fn text(options: &[(&str, &str)], mask: &str, data: &str) -> String {
    let (out, _) = masked(
        &masker(Format::Text, &[23, 25, 25], mask),
        &format(options),
        data.as_bytes(),
    );
    String::from_utf8(out).unwrap()
}

#[test]
fn rows_of_the_text_format() {
    assert_eq!(
        text(
            &[],
            "partial",
            "1\talice\tmail to x@example.com\n2\t\\N\t\\N\n3\ta\\tb\\\\c\tplain \\n\n"
        ),
        "1\ta***\tmail to [redacted]\n2\t\\N\t\\N\n3\ta***\tplain \\n\n"
    );
    assert_eq!(
        text(
            &[("delimiter", "|"), ("null", "-"), ("header", "")],
            "partial",
            "id|na\\|me|x@example.com\n1|\\|lice|a\\|b x@example.com\n2|-|-\n"
        ),
        "id|na\\|me|x@example.com\n1|\\|***|a\\|b [redacted]\n2|-|-\n"
    );
    assert_eq!(text(&[], "null", "1\talice\t\n"), "1\t\\N\t\n");
}

#[test]
fn rows_of_the_csv_format() {
    assert_eq!(
        text(
            &[("format", "csv"), ("header", "true")],
            "partial",
            "id,name,note\n1,alice,\"a, \"\"b\"\"\nx@example.com\"\n2,,\n3,\"\",\"plain, text\"\n"
        ),
        "id,name,note\n1,a***,\"a, \"\"b\"\"\n[redacted]\"\n2,,\n3,\"***\",\"plain, text\"\n"
    );
    assert_eq!(
        text(
            &[
                ("format", "csv"),
                ("delimiter", ";"),
                ("quote", "'"),
                ("escape", "\\"),
                ("null", "NULL"),
                ("force_quote", "*")
            ],
            "last4",
            "'1';'it\\'s 12345;678';'\\\\ x@example.com'\n'2';NULL;'NULL'\n"
        ),
        "'1';'****;678';'\\\\ [redacted]'\n'2';NULL;'NULL'\n"
    );
    // What a mask makes may need quotes where the value needed none.
    assert_eq!(
        text(
            &[("format", "csv"), ("delimiter", "*")],
            "partial",
            "1*alice*x\n"
        ),
        "1*\"a***\"*x\n"
    );
    assert_eq!(
        text(
            &[("format", "csv"), ("null", "[redacted]")],
            "redact",
            "1,alice,x\n"
        ),
        "1,\"[redacted]\",x\n"
    );
    assert_eq!(text(&[("format", "csv")], "null", "1,alice,x\n"), "1,,x\n");
}

fn binary(rows: &[&[Option<&[u8]>]]) -> Vec<u8> {
    let mut data = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\x03ext".to_vec();
    for row in rows {
        data.extend(i16::try_from(row.len()).unwrap().to_be_bytes());
        for value in *row {
            match value {
                None => data.extend((-1_i32).to_be_bytes()),
                Some(value) => {
                    data.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
                    data.extend_from_slice(value);
                }
            }
        }
    }
    data.extend((-1_i16).to_be_bytes());
    data
}

#[test]
fn rows_of_the_binary_format() {
    let plain = binary(&[
        &[
            Some(&[0, 0, 0, 1]),
            Some(b"alice"),
            Some(b"x@example.com\n"),
        ],
        &[None, None, Some(b"plain")],
    ]);
    let shown = binary(&[
        &[Some(&[0, 0, 0, 1]), Some(b"a***"), Some(b"[redacted]\n")],
        &[None, None, Some(b"plain")],
    ]);
    let masker = masker(Format::Binary, &[23, 25, 25], "partial");
    let binary = format(&[("format", "binary")]);
    let (out, count) = masked(&masker, &binary, &plain);
    assert_eq!(out, shown);
    assert_eq!(count, CopyCount { rows: 2, cells: 2 });
    for cut in 0..plain.len() {
        let cut = run(&masker, &binary, &[&plain[..cut]]);
        assert!(matches!(cut, Err(MalformedRow::Truncated)), "{cut:?}");
    }
    let mut long = plain.clone();
    long.push(0);
    assert!(run(&masker, &binary, &[&long]).is_err());
    let mut other = plain;
    other[0] = b'X';
    assert_eq!(
        run(&masker, &binary, &[&other]).err(),
        Some(MalformedRow::Signature)
    );
}

#[test]
fn rows_that_are_not_as_described_are_refused() {
    for (options, data) in [
        (&[][..], "1\talice\n"),
        (&[], "1\ta\tb\tc\n"),
        (&[], "\n"),
        (&[], "1\talice\tb"),
        (&[("format", "csv")], "1,\"alice,b\n"),
        (&[("format", "csv")], "1,alice\n"),
    ] {
        let masker = masker(Format::Text, &[23, 25, 25], "partial");
        let result = run(&masker, &format(options), &[data.as_bytes()]);
        assert!(result.is_err(), "{data}: {result:?}");
    }
}

#[test]
fn a_message_comes_out_as_one_message_with_its_length() {
    let masker = masker(Format::Text, &[23, 25, 25], "partial");
    let mut copy = CopyMasker::new(masker, format(&[]));
    let mut out = BytesMut::new();
    assert!(copy.message(b"1\tali", &mut out).is_ok());
    assert!(out.is_empty());
    assert!(copy.message(b"ce\tx\n", &mut out).is_ok());
    assert_eq!(&out[..], b"d\0\0\0\x0d1\ta***\tx\n");
}
