//! Values within values, in text as the server writes them and in binary.

use std::sync::Arc;

use bytes::BytesMut;

use crate::masking::{
    Detections, Detector, Format, JsonPath, MaskKey, MaskKind, TypeKind,
    detect::Scanner,
    mask::{CellMask, Written},
    types::WireType,
};

const COMPOSITE: u32 = 90_001;
const DOMAIN: u32 = 90_002;
const HSTORE: u32 = 90_003;
const COMPOSITES: u32 = 90_004;
const DOMAINS: u32 = 90_005;
const LOOP: u32 = 90_006;
const RANGE: u32 = 90_007;

/// A catalog: a composite of text, int4 and the domain; arrays of it and of the domain over text.
fn types(oid: u32) -> TypeKind {
    match oid {
        COMPOSITE => TypeKind::Composite(vec![25, 23, DOMAIN]),
        DOMAIN => TypeKind::Domain(25),
        HSTORE => TypeKind::Base {
            name: "hstore".to_owned(),
        },
        COMPOSITES => TypeKind::Array(COMPOSITE),
        DOMAINS => TypeKind::Array(DOMAIN),
        LOOP => TypeKind::Array(LOOP),
        RANGE => TypeKind::Range,
        _ => TypeKind::Other,
    }
}

fn key() -> MaskKey {
    MaskKey::new(&[7; 32])
}

fn bind(mask: &str, oid: u32, format: Format) -> CellMask {
    let kind = MaskKind::parse(mask).unwrap();
    CellMask::bind(kind, &WireType::of(oid, &types), format, &key())
}

fn scanner() -> Arc<Scanner> {
    let mut detections = Detections::default();
    detections.add(Detector::Email, MaskKind::Redact);
    Arc::new(Scanner::new(&detections, &key()))
}

fn scan(oid: u32, format: Format) -> CellMask {
    CellMask::bind_scan(&scanner(), &WireType::of(oid, &types), format).unwrap()
}

/// `None`: NULL. What stays as it is comes back as it is.
fn bytes(mask: &CellMask, value: &[u8]) -> Option<Vec<u8>> {
    let mut out = BytesMut::from(&b"before"[..]);
    let written = mask.write(value, &mut out);
    let appended = out.split_off(6);
    assert_eq!(&out[..], b"before");
    match written {
        Written::Same => {
            assert!(appended.is_empty());
            Some(value.to_vec())
        }
        Written::Null => {
            assert!(appended.is_empty());
            None
        }
        Written::Replaced => Some(appended.to_vec()),
    }
}

fn text(mask: &CellMask, value: &str) -> Option<String> {
    bytes(mask, value.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn elements_of_text_arrays_are_masked_one_by_one() {
    let partial = bind("partial", 1009, Format::Text);
    for (plain, shown) in [
        ("{}", "{}"),
        ("{alice,NULL,\"a,b}\"}", "{\"a***\",NULL,\"a***\"}"),
        (
            "{{alice,bob},{carol,dave}}",
            "{{\"a***\",\"b***\"},{\"c***\",\"d***\"}}",
        ),
        ("[2:3]={alice,bob}", "[2:3]={\"a***\",\"b***\"}"),
        ("{\"\\\"x\\\\y\",\"NULL\"}", "{\"\\\"***\",\"N***\"}"),
    ] {
        assert_eq!(text(&partial, plain).as_deref(), Some(shown), "{plain}");
    }
    for malformed in ["", "alice", "{alice", "{alice}x", "}", "{\"alice}"] {
        assert_eq!(text(&partial, malformed), None, "{malformed}");
    }
    assert_eq!(
        text(&bind("redact", 1009, Format::Text), "{alice}").as_deref(),
        Some("{}")
    );
    assert_eq!(
        text(&bind("partial", DOMAINS, Format::Text), "{alice}").as_deref(),
        Some("{\"a***\"}")
    );
    // Too deep to be known.
    assert_eq!(
        bytes(&bind("partial", LOOP, Format::Text), b"{alice}"),
        None
    );
}

#[test]
fn scanned_arrays_change_only_where_something_is_found() {
    let mask = scan(1009, Format::Text);
    for plain in ["{}", "{a,\"b c\",NULL,\"\\\\\"}", "[0:0]={x}"] {
        assert_eq!(text(&mask, plain).as_deref(), Some(plain));
    }
    assert_eq!(
        text(&mask, "{a,\"to \\\"x@example.com\\\"\",b}").as_deref(),
        Some("{a,\"to \\\"[redacted]\\\"\",b}")
    );
}

/// Dimensions with their lower bounds, then elements.
fn array(element: u32, dimensions: &[i32], values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut bytes = i32::try_from(dimensions.len())
        .unwrap()
        .to_be_bytes()
        .to_vec();
    let nulls = i32::from(values.iter().any(Option::is_none));
    bytes.extend(nulls.to_be_bytes());
    bytes.extend(element.to_be_bytes());
    for dimension in dimensions {
        bytes.extend(dimension.to_be_bytes());
        bytes.extend(1_i32.to_be_bytes());
    }
    for value in values {
        put(&mut bytes, *value);
    }
    bytes
}

fn put(bytes: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => bytes.extend((-1_i32).to_be_bytes()),
        Some(value) => {
            bytes.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(value);
        }
    }
}

#[test]
fn elements_of_binary_arrays_are_masked_one_by_one() {
    let partial = bind("partial", 1009, Format::Binary);
    let plain = array(
        25,
        &[2, 2],
        &[Some(b"alice"), None, Some(b"bob"), Some(b"")],
    );
    let shown = array(
        25,
        &[2, 2],
        &[Some(b"a***"), None, Some(b"b***"), Some(b"***")],
    );
    assert_eq!(bytes(&partial, &plain), Some(shown));
    let empty = array(25, &[], &[]);
    assert_eq!(bytes(&partial, &empty), Some(empty.clone()));
    assert_eq!(
        bytes(&bind("redact", 1009, Format::Binary), &plain),
        Some(empty)
    );
    for cut in 0..plain.len() {
        assert_eq!(bytes(&partial, &plain[..cut]), None, "cut at {cut}");
    }
    let mut long = plain.clone();
    long.push(0);
    assert_eq!(bytes(&partial, &long), None);
    let mut huge = plain;
    huge[12..16].copy_from_slice(&i32::MAX.to_be_bytes());
    assert_eq!(bytes(&partial, &huge), None);
}

#[test]
fn an_element_that_becomes_null_sets_the_arrays_flag() {
    // Months of what is no date.
    let mask = CellMask::Array(
        Box::new(bind("bucket month", 1082, Format::Binary)),
        Format::Binary,
    );
    let infinity = i32::MAX.to_be_bytes();
    let day = 0_i32.to_be_bytes();
    let shown = bytes(&mask, &array(1082, &[2], &[Some(&infinity), Some(&day)]));
    assert_eq!(shown, Some(array(1082, &[2], &[None, Some(&day)])));
}

#[test]
fn fields_of_composites_are_masked_by_their_types() {
    let redact = bind("redact", COMPOSITE, Format::Text);
    assert_eq!(
        text(&redact, "(\"Alice, \"\"A\"\"\",42,x)").as_deref(),
        Some("(\"[redacted]\",\"0\",\"[redacted]\")")
    );
    let partial = bind("partial", COMPOSITE, Format::Text);
    assert_eq!(
        text(&partial, "(alice,42,)").as_deref(),
        Some("(\"a***\",,)")
    );
    assert_eq!(
        text(&partial, "(\"\\\\x\"\"yz\",,\"\")").as_deref(),
        Some("(\"\\\\***\",,\"***\")")
    );
    for malformed in [
        "",
        "(",
        "()",
        "(a)",
        "(a,b)",
        "(a,b,c,d)",
        "(a,b,\"c)",
        "a,b,c",
    ] {
        assert_eq!(text(&partial, malformed), None, "{malformed}");
    }
    let several = bind("partial", COMPOSITES, Format::Text);
    assert_eq!(
        text(&several, "{\"(alice,1,\\\"b c\\\")\"}").as_deref(),
        Some("{\"(\\\"a***\\\",,\\\"b***\\\")\"}")
    );
}

fn record(fields: &[(u32, Option<&[u8]>)]) -> Vec<u8> {
    let mut bytes = i32::try_from(fields.len()).unwrap().to_be_bytes().to_vec();
    for (oid, value) in fields {
        bytes.extend(oid.to_be_bytes());
        put(&mut bytes, *value);
    }
    bytes
}

#[test]
fn fields_of_binary_composites_are_masked_by_their_types() {
    let four = 4_i32.to_be_bytes();
    let plain = record(&[(25, Some(b"alice")), (23, Some(&four)), (DOMAIN, None)]);
    let redacted = record(&[
        (25, Some(b"[redacted]")),
        (23, Some(&[0; 4])),
        (DOMAIN, None),
    ]);
    assert_eq!(
        bytes(&bind("redact", COMPOSITE, Format::Binary), &plain),
        Some(redacted)
    );
    let partial = bind("partial", COMPOSITE, Format::Binary);
    let shown = record(&[(25, Some(b"a***")), (23, None), (DOMAIN, None)]);
    assert_eq!(bytes(&partial, &plain), Some(shown));
    for cut in 0..plain.len() {
        assert_eq!(bytes(&partial, &plain[..cut]), None, "cut at {cut}");
    }
}

#[test]
fn records_without_a_type_are_scanned_by_what_their_fields_are() {
    let address = &b"x@example.com"[..];
    let plain = record(&[
        (25, Some(address)),
        (17, Some(address)),
        (3802, Some(b"\x01{\"a\": \"x@example.com\"}")),
    ]);
    let shown = record(&[
        (25, Some(b"[redacted]")),
        (17, Some(address)),
        (3802, Some(b"\x01{\"a\": \"[redacted]\"}")),
    ]);
    assert_eq!(bytes(&scan(2249, Format::Binary), &plain), Some(shown));
    assert_eq!(
        text(&scan(2249, Format::Text), "(1,\"a x@example.com\",)").as_deref(),
        Some("(1,\"a [redacted]\",)")
    );
}

#[test]
fn values_of_hstore_are_masked_and_keys_are_scanned() {
    let partial = bind("partial", HSTORE, Format::Text);
    assert_eq!(
        text(&partial, "\"name\"=>\"Alice \\\"A\\\"\", \"age\"=>NULL").as_deref(),
        Some("\"name\"=>\"A***\", \"age\"=>NULL")
    );
    assert_eq!(
        text(&bind("redact", HSTORE, Format::Text), "\"a\"=>\"b\"").as_deref(),
        Some("")
    );
    assert_eq!(
        text(
            &scan(HSTORE, Format::Text),
            "\"x@example.com\"=>\"1\", \"b\"=>\"y@example.com\""
        )
        .as_deref(),
        Some("\"[redacted]\"=>\"1\", \"b\"=>\"[redacted]\"")
    );
    let pairs = |values: &[Option<&[u8]>]| {
        let mut bytes = i32::try_from(values.len() / 2)
            .unwrap()
            .to_be_bytes()
            .to_vec();
        for value in values {
            put(&mut bytes, *value);
        }
        bytes
    };
    let plain = pairs(&[Some(b"name"), Some(b"alice"), Some(b"age"), None]);
    let shown = pairs(&[Some(b"name"), Some(b"a***"), Some(b"age"), None]);
    assert_eq!(
        bytes(&bind("partial", HSTORE, Format::Binary), &plain),
        Some(shown)
    );
    assert_eq!(
        bytes(&bind("partial", HSTORE, Format::Binary), &plain[..9]),
        None
    );
}

#[test]
fn redacted_ranges_are_empty() {
    assert_eq!(
        text(&bind("redact", RANGE, Format::Text), "[1,5)").as_deref(),
        Some("empty")
    );
    assert_eq!(
        bytes(&bind("redact", RANGE, Format::Binary), b"x"),
        Some(vec![1])
    );
    assert_eq!(text(&bind("partial", RANGE, Format::Text), "[1,5)"), None);
}

fn paths(paths: &[(&str, &str)], scanner: Option<&Arc<Scanner>>) -> CellMask {
    let paths = paths
        .iter()
        .map(|(path, mask)| {
            (
                JsonPath::parse(path).unwrap(),
                MaskKind::parse(mask).unwrap(),
            )
        })
        .collect();
    CellMask::bind_paths(paths, &WireType::Json, Format::Text, scanner, &key())
}

#[test]
fn parts_of_documents_are_masked_by_path() {
    for (rules, plain, shown) in [
        (
            &[("$.a.b", "redact")][..],
            r#"{"a": {"b": "x", "c": "y"}, "b": "z"}"#,
            r#"{"a": {"b": "[redacted]", "c": "y"}, "b": "z"}"#,
        ),
        // Arrays, numbers, truth, and what is null.
        (
            &[("$.a", "redact")],
            r#"[{"a": 1}, {"a": [true, 2.5e3]}, {"a": null}, {"b": 1}]"#,
            r#"[{"a": 0}, {"a": "[redacted]"}, {"a": null}, {"b": 1}]"#,
        ),
        (
            &[("$.**.ssn", "null")],
            r#"{"x":{"ssn":"1","y":[{"ssn":{"z":1}}]},"ssn":3}"#,
            r#"{"x":{"ssn":null,"y":[{"ssn":null}]},"ssn":null}"#,
        ),
        // Another mask goes down to every value within.
        (
            &[("$.p", "partial")],
            r#"{"p": {"name": "Alice", "tags": ["Bobby", {"x": "Carol"}], "n": 1}, "q": "Dave"}"#,
            r#"{"p": {"name": "A***", "tags": ["B***", {"x": "C***"}], "n": null}, "q": "Dave"}"#,
        ),
        // The stricter rule holds within the other.
        (
            &[("$.p", "partial"), ("$.p.x", "redact")],
            r#"{"p": {"x": "Alice", "y": "Bobby"}}"#,
            r#"{"p": {"x": "[redacted]", "y": "B***"}}"#,
        ),
        (
            &[("$.born", "bucket year"), ("$.pay", "bucket 1000")],
            r#"{"born": "1984-05-17", "pay": 48211.5, "x": {"pay": 1}}"#,
            r#"{"born": "1984-01-01", "pay": 48000, "x": {"pay": 1}}"#,
        ),
        // Spelt with escapes, twice, and with space around.
        (
            &[("$.em", "redact")],
            "{\"e\\u006d\" : \"a\\\"b\" ,\n\"em\":\"c\",\"f\":{}, \"g\":[] }",
            "{\"e\\u006d\" : \"[redacted]\" ,\n\"em\":\"[redacted]\",\"f\":{}, \"g\":[] }",
        ),
        (&[("$", "redact")], "\"x\"", "\"[redacted]\""),
        (&[("$.a", "redact")], "{}", "{}"),
        (&[("$.a", "redact")], "12", "12"),
    ] {
        assert_eq!(
            text(&paths(rules, None), plain).as_deref(),
            Some(shown),
            "{plain}"
        );
    }
}

#[test]
fn documents_that_cannot_be_read_are_null() {
    let mask = paths(&[("$.a", "redact")], None);
    for malformed in [
        "",
        "{",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "[1 2]",
        "{\"b\":\"x}",
        "1 1",
        "]",
        "{\"a\":1]",
    ] {
        assert_eq!(text(&mask, malformed), None, "{malformed}");
    }
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert_eq!(text(&mask, &deep).as_deref(), Some(deep.as_str()));
    let versioned = CellMask::bind_paths(
        vec![(JsonPath::parse("$.a").unwrap(), MaskKind::Redact)],
        &WireType::Jsonb,
        Format::Binary,
        None,
        &key(),
    );
    assert_eq!(
        bytes(&versioned, b"\x01{\"a\": 1}"),
        Some(b"\x01{\"a\": 0}".to_vec())
    );
    assert_eq!(bytes(&versioned, b"\x02{\"a\": 1}"), None);
}

#[test]
fn what_no_path_hides_is_scanned() {
    let scanner = scanner();
    let mask = paths(&[("$.a", "partial")], Some(&scanner));
    assert_eq!(
        text(&mask, r#"{"a": "Alice", "b": ["to bob@example.com", 1], "x@example.com": "\u0061@example.com"}"#).as_deref(),
        Some(r#"{"a": "A***", "b": ["to [redacted]", 1], "[redacted]": "[redacted]"}"#)
    );
    let mask = scan(114, Format::Text);
    assert_eq!(
        text(&mask, "{\"a\": \"x\\n\\\"y@example.com\\\"\\u0001\"}").as_deref(),
        Some("{\"a\": \"x\\u000a\\\"[redacted]\\\"\\u0001\"}")
    );
    assert_eq!(
        text(&mask, "{\"a\": \"b\\n\"}").as_deref(),
        Some("{\"a\": \"b\\n\"}")
    );
}
