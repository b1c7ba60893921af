//! Messages from the client, and those that we send to the server.

use bytes::{BufMut, BytesMut};

use super::{Body, Malformed, put_cstr, put_message};

/// A message from the client after start-up. Borrowed from the read buffer.
#[derive(Debug)]
pub enum FrontendMessage<'a> {
    /// `Q`: one or more statements.
    Query(&'a [u8]),
    /// `P`.
    Parse(Parse<'a>),
    /// `B`.
    Bind(Bind<'a>),
    /// `D`.
    Describe(Target<'a>),
    /// `E`.
    Execute {
        /// Portal name.
        portal: &'a [u8],
        /// Most rows to return; 0 is no limit.
        max_rows: i32,
    },
    /// `C`.
    Close(Target<'a>),
    /// `H`.
    Flush,
    /// `S`.
    Sync,
    /// `d`.
    CopyData,
    /// `c`.
    CopyDone,
    /// `f`.
    CopyFail,
    /// `X`.
    Terminate,
    /// `F`; never forwarded.
    FunctionCall(Call<'a>),
    /// `p`: only meaningful while authenticating.
    Password,
    /// A tag that no frontend message has.
    Unknown(u8),
}

/// What Describe and Close name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A prepared statement.
    Statement(&'a [u8]),
    /// A portal.
    Portal(&'a [u8]),
}

/// `P`: prepare a statement.
#[derive(Debug)]
pub struct Parse<'a> {
    /// Statement name; empty is the unnamed statement.
    pub name: &'a [u8],
    /// The text.
    pub query: &'a [u8],
    /// Parameter type oids as given.
    pub types: Vec<u32>,
}

/// `B`: bind parameters to a statement.
#[derive(Debug)]
pub struct Bind<'a> {
    /// Portal name.
    pub portal: &'a [u8],
    /// Statement name.
    pub statement: &'a [u8],
    /// Format codes of the parameters: none, one for all, or one each.
    pub parameter_formats: Vec<i16>,
    /// Values; `None` is NULL.
    pub parameters: Vec<Option<&'a [u8]>>,
    /// Format codes of the result: none, one for all, or one each.
    pub result_formats: Vec<i16>,
}

/// `F`: call a function by its oid, without any SQL text.
#[derive(Debug)]
pub struct Call<'a> {
    /// `pg_proc.oid`.
    pub function: u32,
    /// Format codes of the arguments: none, one for all, or one each.
    pub formats: Vec<i16>,
    /// Values; `None` is NULL.
    pub arguments: Vec<Option<&'a [u8]>>,
    /// Format code of the result.
    pub result_format: i16,
}

impl<'a> FrontendMessage<'a> {
    /// Decodes one message from its tag and body.
    ///
    /// # Errors
    /// If fields are missing, or bytes are left over.
    pub fn decode(tag: u8, body: &'a [u8]) -> Result<Self, Malformed> {
        let mut fields = Body(body);
        let message = match tag {
            b'Q' => Self::Query(fields.cstr()?),
            b'P' => {
                let name = fields.cstr()?;
                let query = fields.cstr()?;
                let count = fields.count()?;
                let types = (0..count).map(|_| fields.u32()).collect::<Result<_, _>>()?;
                Self::Parse(Parse { name, query, types })
            }
            b'B' => {
                let portal = fields.cstr()?;
                let statement = fields.cstr()?;
                let parameter_formats = formats(&mut fields)?;
                let parameters = values(&mut fields)?;
                let result_formats = formats(&mut fields)?;
                Self::Bind(Bind {
                    portal,
                    statement,
                    parameter_formats,
                    parameters,
                    result_formats,
                })
            }
            b'D' => Self::Describe(target(&mut fields)?),
            b'E' => Self::Execute {
                portal: fields.cstr()?,
                max_rows: fields.i32()?,
            },
            b'C' => Self::Close(target(&mut fields)?),
            b'H' => Self::Flush,
            b'S' => Self::Sync,
            b'd' => return Ok(Self::CopyData),
            b'c' => Self::CopyDone,
            b'f' => {
                fields.cstr()?;
                Self::CopyFail
            }
            b'X' => Self::Terminate,
            b'F' => Self::FunctionCall(Call {
                function: fields.u32()?,
                formats: formats(&mut fields)?,
                arguments: values(&mut fields)?,
                result_format: fields.i16()?,
            }),
            b'p' => return Ok(Self::Password),
            unknown => return Ok(Self::Unknown(unknown)),
        };
        fields.end()?;
        Ok(message)
    }
}

fn target<'a>(fields: &mut Body<'a>) -> Result<Target<'a>, Malformed> {
    match fields.u8()? {
        b'S' => Ok(Target::Statement(fields.cstr()?)),
        b'P' => Ok(Target::Portal(fields.cstr()?)),
        _ => Err(Malformed),
    }
}

fn formats(fields: &mut Body<'_>) -> Result<Vec<i16>, Malformed> {
    let count = fields.count()?;
    (0..count).map(|_| fields.i16()).collect()
}

fn values<'a>(fields: &mut Body<'a>) -> Result<Vec<Option<&'a [u8]>>, Malformed> {
    let count = fields.count()?;
    let mut values = Vec::with_capacity(count.min(fields.0.len() / 4));
    for _ in 0..count {
        values.push(match fields.i32()? {
            -1 => None,
            len => Some(fields.bytes(usize::try_from(len).map_err(|_neg| Malformed)?)?),
        });
    }
    Ok(values)
}

/// `Parse` with the given types.
pub fn put_parse(out: &mut BytesMut, name: &[u8], query: &[u8], types: &[u32]) {
    put_message(out, b'P', |out| {
        put_cstr(out, name);
        put_cstr(out, query);
        out.put_u16(u16::try_from(types.len()).unwrap_or(u16::MAX));
        for &oid in types {
            out.put_u32(oid);
        }
    });
}

/// `Bind` with the given formats and values.
pub fn put_bind(
    out: &mut BytesMut,
    portal: &[u8],
    statement: &[u8],
    formats: &[i16],
    values: &[Option<&[u8]>],
    result_formats: &[i16],
) {
    let put_formats = |out: &mut BytesMut, formats: &[i16]| {
        out.put_u16(u16::try_from(formats.len()).unwrap_or(u16::MAX));
        for format in formats {
            out.put_i16(*format);
        }
    };
    put_message(out, b'B', |out| {
        put_cstr(out, portal);
        put_cstr(out, statement);
        put_formats(out, formats);
        out.put_u16(u16::try_from(values.len()).unwrap_or(u16::MAX));
        for value in values {
            match value {
                Some(value) => {
                    out.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
                    out.extend_from_slice(value);
                }
                None => out.put_i32(-1),
            }
        }
        put_formats(out, result_formats);
    });
}

/// `Bind` without parameters, results in text.
pub fn put_bind_empty(out: &mut BytesMut, portal: &[u8], statement: &[u8]) {
    put_message(out, b'B', |out| {
        put_cstr(out, portal);
        put_cstr(out, statement);
        out.put_u16(0);
        out.put_u16(0);
        out.put_u16(0);
    });
}

/// `Bind` with parameters and results in text.
pub fn put_bind_texts(out: &mut BytesMut, portal: &[u8], statement: &[u8], parameters: &[&str]) {
    put_message(out, b'B', |out| {
        put_cstr(out, portal);
        put_cstr(out, statement);
        out.put_u16(0);
        out.put_u16(u16::try_from(parameters.len()).unwrap_or(u16::MAX));
        for text in parameters {
            out.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
            out.extend_from_slice(text.as_bytes());
        }
        out.put_u16(0);
    });
}

/// `Describe` a statement (`S`) or portal (`P`).
pub fn put_describe(out: &mut BytesMut, kind: u8, name: &[u8]) {
    put_message(out, b'D', |out| {
        out.put_u8(kind);
        put_cstr(out, name);
    });
}

/// `Execute` without a row limit.
pub fn put_execute(out: &mut BytesMut, portal: &[u8]) {
    put_message(out, b'E', |out| {
        put_cstr(out, portal);
        out.put_i32(0);
    });
}

/// `Close` a statement (`S`) or portal (`P`).
pub fn put_close(out: &mut BytesMut, kind: u8, name: &[u8]) {
    put_message(out, b'C', |out| {
        out.put_u8(kind);
        put_cstr(out, name);
    });
}

/// `Sync`.
pub fn put_sync(out: &mut BytesMut) {
    put_message(out, b'S', |_| {});
}

/// `Flush`.
pub fn put_flush(out: &mut BytesMut) {
    put_message(out, b'H', |_| {});
}

/// `Terminate`.
pub fn put_terminate(out: &mut BytesMut) {
    put_message(out, b'X', |_| {});
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_bytes_are_an_error() {
        assert!(FrontendMessage::decode(b'S', b"").is_ok());
        assert!(FrontendMessage::decode(b'S', b"x").is_err());
        assert!(FrontendMessage::decode(b'Q', b"select 1\0").is_ok());
        assert!(FrontendMessage::decode(b'Q', b"select 1\0; drop table t\0").is_err());
        assert!(FrontendMessage::decode(b'Q', b"select 1").is_err());
    }

    #[test]
    fn a_bind_is_read_as_it_is_written() {
        let mut out = BytesMut::new();
        let values: [Option<&[u8]>; 3] = [Some(b"ab"), None, Some(b"")];
        put_bind(&mut out, b"p", b"s", &[1, 0, 1], &values, &[1]);
        let body = out.get(super::super::HEADER..).unwrap_or_default();
        let Ok(FrontendMessage::Bind(bind)) = FrontendMessage::decode(b'B', body) else {
            panic!("no Bind");
        };
        assert_eq!((bind.portal, bind.statement), (&b"p"[..], &b"s"[..]));
        assert_eq!(bind.parameter_formats, [1, 0, 1]);
        assert_eq!(bind.parameters, values);
        assert_eq!(bind.result_formats, [1]);
    }

    #[test]
    fn a_function_call_is_read_to_its_end() {
        let body = b"\0\0\x03\xbb\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x01";
        let Ok(FrontendMessage::FunctionCall(call)) = FrontendMessage::decode(b'F', body) else {
            panic!("no FunctionCall");
        };
        assert_eq!((call.function, call.result_format), (955, 1));
        assert_eq!(call.formats, [1]);
        assert_eq!(call.arguments, [Some(&b"x"[..]), None]);
        assert!(FrontendMessage::decode(b'F', &body[..body.len() - 1]).is_err());
        assert!(FrontendMessage::decode(b'F', &[body, &b"\0"[..]].concat()).is_err());
    }

    #[test]
    fn a_bind_with_a_length_past_its_end_is_an_error() {
        let body = b"\0\0\0\0\0\x01\0\0\0\x09ab\0\0";
        assert!(FrontendMessage::decode(b'B', body).is_err());
        let negative = b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0";
        assert!(FrontendMessage::decode(b'B', negative).is_err());
    }
}
