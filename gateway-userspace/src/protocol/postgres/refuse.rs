//! Turns refusals into bytes, and takes protected values out of the server's own reports.

use bytes::{BufMut, BytesMut};

use super::wire::{HEADER, Report, error_field, error_fields, put_cstr, put_message, put_report};
use crate::session::Refusal;

/// ErrorResponse for a refusal.
pub fn put_refusal(out: &mut BytesMut, refusal: &Refusal) {
    put_report(
        out,
        b'E',
        &Report {
            severity: "ERROR",
            code: refusal.sqlstate(),
            message: &refusal.message(),
            detail: refusal.detail().as_deref(),
            hint: refusal.hint(),
            position: refusal.position(),
        },
    );
}

/// What hides values that a text of the server's may quote; `None`: nothing does.
pub type Screen<'s> = Option<&'s dyn Fn(&[u8]) -> Vec<u8>>;

/// The server's error for the client. With `protects`, the fields that quote values are left
/// out: DETAIL (`Failing row contains (..)`), HINT, WHERE, the internal query; the message of a
/// data exception (class 22) or of anything a function raises quotes values too, and is replaced.
pub fn put_server_error(
    out: &mut BytesMut,
    frame: &[u8],
    fields: &[(u8, &[u8])],
    protects: bool,
    screen: Screen<'_>,
) {
    if protects || screen.is_some() {
        put_redacted(out, b'E', fields, protects, screen);
    } else {
        out.extend_from_slice(frame);
    }
}

/// The server's notice for the client, under the same rule.
pub fn put_notice(out: &mut BytesMut, frame: &[u8], protects: bool, screen: Screen<'_>) {
    if !protects && screen.is_none() {
        out.extend_from_slice(frame);
        return;
    }
    if let Ok(fields) = error_fields(frame.get(HEADER..).unwrap_or_default()) {
        put_redacted(out, b'N', &fields, protects, screen);
    }
}

fn put_redacted(
    out: &mut BytesMut,
    tag: u8,
    fields: &[(u8, &[u8])],
    protects: bool,
    screen: Screen<'_>,
) {
    let sqlstate = error_field(fields, b'C').unwrap_or_default();
    let quotes_values = protects
        && ["22", "P0", "01", "XX", "38", "39"]
            .iter()
            .any(|class| sqlstate.starts_with(class.as_bytes()));
    put_message(out, tag, |out| {
        for (code, value) in fields {
            match code {
                b'D' | b'H' | b'W' | b'q' | b'p' if protects => {}
                b'M' if quotes_values => {
                    out.put_u8(b'M');
                    put_cstr(
                        out,
                        b"the message is withheld: the statement touches protected columns",
                    );
                }
                b'S' | b'V' | b'C' | b'P' | b's' | b't' | b'c' | b'd' | b'n' | b'F' | b'L'
                | b'R' => {
                    out.put_u8(*code);
                    put_cstr(out, value);
                }
                // A field of a server that is newer, or no server: nobody knows what it quotes.
                code if protects && !matches!(code, b'M' | b'D' | b'H' | b'W' | b'q' | b'p') => {}
                code => {
                    out.put_u8(*code);
                    match screen {
                        None => put_cstr(out, value),
                        Some(screen) => put_cstr(out, &screen(value)),
                    }
                }
            }
        }
        out.put_u8(0);
    });
}

/// A notice of our own.
pub fn put_own_notice(out: &mut BytesMut, message: &str, hint: &str) {
    put_report(
        out,
        b'N',
        &Report {
            severity: "NOTICE",
            code: "00000",
            message,
            hint: Some(hint),
            ..Report::default()
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protected_failing_row_does_not_reach_the_client() {
        let mut frame = BytesMut::new();
        put_report(
            &mut frame,
            b'E',
            &Report {
                severity: "ERROR",
                code: "23502",
                message: "null value in column \"id\" violates not-null constraint",
                detail: Some("Failing row contains (null, ada@example.com)."),
                ..Report::default()
            },
        );
        let fields = error_fields(&frame[HEADER..]).unwrap();
        let mut out = BytesMut::new();
        put_server_error(&mut out, &frame, &fields, true, None);
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(!text.contains("ada@example.com"), "{text}");
        assert!(text.contains("violates not-null"), "{text}");
    }

    #[test]
    fn a_field_that_nobody_knows_does_not_reach_the_client() {
        let body = b"SERROR\0VERROR\0C23505\0Mduplicate key\0xada@example.com\0\0";
        let mut frame = BytesMut::new();
        put_message(&mut frame, b'E', |out| out.put_slice(body));
        let fields = error_fields(body).unwrap();
        let shown = |protects: bool, screen: Screen<'_>| {
            let mut out = BytesMut::new();
            put_server_error(&mut out, &frame, &fields, protects, screen);
            String::from_utf8_lossy(&out).into_owned()
        };
        let protected = shown(true, None);
        assert!(protected.contains("Mduplicate key\0"), "{protected:?}");
        assert!(!protected.contains("ada@example.com"), "{protected:?}");
        let screen = |_: &[u8]| b"***".to_vec();
        let screened = shown(false, Some(&screen));
        assert!(screened.contains("x***\0"), "{screened:?}");
    }

    #[test]
    fn a_cast_error_that_quotes_the_value_is_withheld() {
        let mut frame = BytesMut::new();
        put_report(
            &mut frame,
            b'E',
            &Report {
                severity: "ERROR",
                code: "22P02",
                message: "invalid input syntax for type integer: \"ada@example.com\"",
                ..Report::default()
            },
        );
        let fields = error_fields(&frame[HEADER..]).unwrap();
        let mut out = BytesMut::new();
        put_server_error(&mut out, &frame, &fields, true, None);
        assert!(!String::from_utf8_lossy(&out).contains("ada@"));
        let mut clear = BytesMut::new();
        put_server_error(&mut clear, &frame, &fields, false, None);
        assert_eq!(clear, frame);
        let mut screened = BytesMut::new();
        let screen = |text: &[u8]| {
            String::from_utf8_lossy(text)
                .replace("ada@", "***@")
                .into_bytes()
        };
        let screen: Screen<'_> = Some(&screen);
        put_server_error(&mut screened, &frame, &fields, false, screen);
        let screened = String::from_utf8_lossy(&screened).into_owned();
        assert!(
            screened.contains("integer: \"***@example.com\""),
            "{screened}"
        );
    }
}
