//! What masks and detectors cost on typical rows: `cargo bench -p cordon --bench masking`.

use bytes::BytesMut;
use cordon::masking::{
    ColumnShape, Detections, Detector, Format, MaskKey, MaskKind, Redaction, RowMasker, Rules,
    TypeKind,
};
use divan::{Bencher, counter::BytesCount};

fn main() {
    divan::main();
}

/// Kinds of cells without anything to find, and one with.
const TEXTS: [(&str, &str); 6] = [
    (
        "prose",
        "The parcel was left with a neighbour because nobody answered the door, and the driver noted that the bell did not work; please try again in the afternoon.",
    ),
    (
        "log",
        "2024-11-25 10:30:45.123 INFO worker-17 job 482113 took 1834 ms, 918273 bytes, status 200 path /api/v2/orders/48211?page=3",
    ),
    (
        "json",
        r#"{"id": 48211, "status": "shipped", "items": [{"sku": "A-1042", "qty": 3, "price": 19.99}], "placed_at": "2024-11-25T10:30:45Z"}"#,
    ),
    ("uuid", "f47ac10b-58cc-4372-a567-0e02b2c3d479"),
    (
        "base64",
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg",
    ),
    (
        "findings",
        "Please write to alice.miller@example.com or call +49 30 901820; the card was 4111 1111 1111 1111.",
    ),
];

fn names() -> [&'static str; 6] {
    TEXTS.map(|(name, _)| name)
}

fn row(cells: &[&[u8]]) -> Vec<u8> {
    let mut row = u16::try_from(cells.len())
        .unwrap_or_default()
        .to_be_bytes()
        .to_vec();
    for cell in cells {
        row.extend(u32::try_from(cell.len()).unwrap_or_default().to_be_bytes());
        row.extend_from_slice(cell);
    }
    row
}

fn masker(types: &[u32], redactions: &[(usize, MaskKind)], detect: bool) -> RowMasker {
    let shape: Vec<ColumnShape> = types
        .iter()
        .map(|oid| ColumnShape {
            name: "c".to_owned(),
            table_oid: 0,
            attnum: 0,
            type_oid: *oid,
            format: Format::Text,
        })
        .collect();
    let redactions: Vec<Redaction> = redactions
        .iter()
        .map(|(column, mask)| Redaction {
            column: *column,
            mask: *mask,
            path: None,
        })
        .collect();
    let mut detections = Detections::default();
    if detect {
        for (detector, _) in Detector::WORDS {
            detections.add(detector, MaskKind::Redact);
        }
    }
    let rules = Rules {
        redactions: &redactions,
        detections: &detections,
    };
    RowMasker::bind(rules, &shape, &|_| TypeKind::Other, &MaskKey::new(&[7; 32]))
        .expect("the rules fit")
}

fn run(bencher: Bencher<'_, '_>, masker: &RowMasker, row: &[u8]) {
    let mut out = BytesMut::with_capacity(1 << 16);
    bencher.counter(BytesCount::new(row.len())).bench_local(|| {
        out.clear();
        divan::black_box(masker.mask(divan::black_box(row), &mut out)).expect("a whole row")
    });
}

/// All detectors over one cell.
#[divan::bench(args = names())]
fn detect_cell(bencher: Bencher<'_, '_>, name: &str) {
    let text = TEXTS
        .iter()
        .find(|(known, _)| *known == name)
        .map_or("", |(_, text)| text);
    run(bencher, &masker(&[25], &[], true), &row(&[text.as_bytes()]));
}

/// All detectors over a cell of 64 KiB.
#[divan::bench(args = names())]
fn detect_large_cell(bencher: Bencher<'_, '_>, name: &str) {
    let text = TEXTS
        .iter()
        .find(|(known, _)| *known == name)
        .map_or("", |(_, text)| text);
    let text = format!("{text} ").repeat((64 << 10) / (text.len() + 1));
    run(bencher, &masker(&[25], &[], true), &row(&[text.as_bytes()]));
}

const ORDER: [&[u8]; 8] = [
    b"48211",
    b"1042",
    b"shipped",
    b"left with a neighbour, second floor",
    b"34.50",
    b"2024-11-25 10:30:45+00",
    b"alice.miller@example.com",
    b"Alice Miller",
];
const ORDER_TYPES: [u32; 8] = [23, 23, 25, 25, 1700, 1184, 25, 25];

/// A row of an order, of about 120 bytes: as it is, with two masked columns, with detectors.
#[divan::bench]
fn order_row_as_it_is(bencher: Bencher<'_, '_>) {
    run(bencher, &masker(&ORDER_TYPES, &[], false), &row(&ORDER));
}

#[divan::bench]
fn order_row_with_two_masks(bencher: Bencher<'_, '_>) {
    let masks = [(6, MaskKind::Partial), (7, MaskKind::Redact)];
    run(bencher, &masker(&ORDER_TYPES, &masks, false), &row(&ORDER));
}

#[divan::bench]
fn order_row_with_two_masks_and_detectors(bencher: Bencher<'_, '_>) {
    let masks = [(6, MaskKind::Partial), (7, MaskKind::Redact)];
    run(bencher, &masker(&ORDER_TYPES, &masks, true), &row(&ORDER));
}

#[divan::bench(args = ["token", "digits keep 4", "last4"])]
fn mask_a_card(bencher: Bencher<'_, '_>, mask: &str) {
    let kind = MaskKind::parse(mask).expect("a mask");
    run(
        bencher,
        &masker(&[25], &[(0, kind)], false),
        &row(&[b"4111 1111 1111 1111"]),
    );
}
