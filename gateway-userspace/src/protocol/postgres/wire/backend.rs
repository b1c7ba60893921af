//! Messages from the server, and those that we send to the client.

use bytes::{BufMut, BytesMut};

use super::{Body, Malformed, put_cstr, put_message};
use crate::masking::{ColumnShape, Format};

/// Reads a RowDescription body. The formats are those of the message; a description of a
/// statement (not a portal) has format 0 everywhere.
///
/// # Errors
/// If the body is malformed.
pub fn row_description(body: &[u8]) -> Result<Vec<ColumnShape>, Malformed> {
    let mut fields = Body(body);
    let count = fields.count()?;
    let mut shape = Vec::with_capacity(count.min(body.len() / 19 + 1));
    for _ in 0..count {
        let name = String::from_utf8_lossy(fields.cstr()?).into_owned();
        let table_oid = fields.u32()?;
        let attnum = fields.i16()?;
        let type_oid = fields.u32()?;
        let _type_len = fields.i16()?;
        let _type_modifier = fields.i32()?;
        let format = format(fields.i16()?)?;
        shape.push(ColumnShape {
            name,
            table_oid,
            attnum,
            type_oid,
            format,
        });
    }
    fields.end()?;
    Ok(shape)
}

/// A format code.
///
/// # Errors
/// If it is neither 0 nor 1.
pub fn format(code: i16) -> Result<Format, Malformed> {
    match code {
        0 => Ok(Format::Text),
        1 => Ok(Format::Binary),
        _ => Err(Malformed),
    }
}

/// The fields of an ErrorResponse or NoticeResponse, in order.
///
/// # Errors
/// If the body is malformed.
pub fn error_fields(body: &[u8]) -> Result<Vec<(u8, &[u8])>, Malformed> {
    let mut fields = Body(body);
    let mut list = Vec::with_capacity(8);
    loop {
        match fields.u8()? {
            0 => break,
            code => list.push((code, fields.cstr()?)),
        }
    }
    fields.end()?;
    Ok(list)
}

/// The value of one field of an ErrorResponse.
pub fn error_field<'a>(fields: &[(u8, &'a [u8])], code: u8) -> Option<&'a [u8]> {
    fields
        .iter()
        .find(|(field, _)| *field == code)
        .map(|(_, value)| *value)
}

/// What an ErrorResponse or NoticeResponse of our own says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report<'a> {
    /// `ERROR`, `FATAL`, `NOTICE`, `WARNING`.
    pub severity: &'a str,
    /// SQLSTATE.
    pub code: &'a str,
    /// Message.
    pub message: &'a str,
    /// DETAIL.
    pub detail: Option<&'a str>,
    /// HINT.
    pub hint: Option<&'a str>,
    /// Position in characters, from 1.
    pub position: Option<usize>,
}

/// ErrorResponse (`E`) or NoticeResponse (`N`).
pub fn put_report(out: &mut BytesMut, tag: u8, report: &Report<'_>) {
    put_message(out, tag, |out| {
        let mut field = |code: u8, text: &str| {
            out.put_u8(code);
            // A NUL would end the field early.
            for byte in text.bytes() {
                out.put_u8(if byte == 0 { b'?' } else { byte });
            }
            out.put_u8(0);
        };
        field(b'S', report.severity);
        field(b'V', report.severity);
        field(b'C', report.code);
        field(b'M', report.message);
        if let Some(detail) = report.detail {
            field(b'D', detail);
        }
        if let Some(hint) = report.hint {
            field(b'H', hint);
        }
        if let Some(position) = report.position {
            field(b'P', &position.to_string());
        }
        out.put_u8(0);
    });
}

/// ReadyForQuery with a transaction status.
pub fn put_ready(out: &mut BytesMut, status: u8) {
    put_message(out, b'Z', |out| out.put_u8(status));
}

/// BackendKeyData. Protocol 3.0 has secrets of four bytes, 3.2 of 4 to 256.
pub fn put_backend_key(out: &mut BytesMut, pid: u32, secret: &[u8]) {
    put_message(out, b'K', |out| {
        out.put_u32(pid);
        out.put_slice(secret);
    });
}

/// ParameterStatus.
pub fn put_parameter_status(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    put_message(out, b'S', |out| {
        put_cstr(out, name);
        put_cstr(out, value);
    });
}

/// AuthenticationOk.
pub fn put_authentication_ok(out: &mut BytesMut) {
    put_message(out, b'R', |out| out.put_u32(0));
}

/// NegotiateProtocolVersion: the version agreed on and the options that we do not know. The whole
/// version, as servers send it; the documentation speaks of the minor one.
pub fn put_negotiate_version(out: &mut BytesMut, minor: u32, unknown: &[Vec<u8>]) {
    put_message(out, b'v', |out| {
        out.put_u32(3 << 16 | minor);
        out.put_u32(u32::try_from(unknown.len()).unwrap_or(u32::MAX));
        for name in unknown {
            put_cstr(out, name);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_report_reads_back() {
        let mut out = BytesMut::new();
        let report = Report {
            severity: "ERROR",
            code: "42501",
            message: "no\0pe",
            detail: Some("d"),
            hint: None,
            position: Some(3),
        };
        put_report(&mut out, b'E', &report);
        let fields = error_fields(&out[5..]).unwrap();
        assert_eq!(error_field(&fields, b'C'), Some(&b"42501"[..]));
        assert_eq!(error_field(&fields, b'M'), Some(&b"no?pe"[..]));
        assert_eq!(error_field(&fields, b'P'), Some(&b"3"[..]));
        assert_eq!(error_field(&fields, b'H'), None);
    }
}
