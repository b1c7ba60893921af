//! What a recorded message says, for people and for other programs.

use serde::Serialize;

use super::wire::{Body, FrontendMessage, Target, error_fields, row_description};
use crate::session::Direction;

/// A message's name in the protocol's documentation, and what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Its name.
    pub message: &'static str,
    /// Its content.
    #[serde(flatten)]
    pub content: Content,
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Content {
    /// Nothing besides its name.
    Nothing {},
    /// One text: SQL, a command tag, COPY data.
    Text {
        /// The text.
        text: String,
    },
    /// Values of a row, or of parameters; `None` is NULL. What is no text is `\x` and hex.
    Values {
        /// The values.
        values: Vec<Option<String>>,
    },
    /// Names of a result's columns.
    Columns {
        /// The names.
        columns: Vec<String>,
    },
    /// An error or a notice.
    Report {
        /// `ERROR`, `NOTICE` ...
        severity: String,
        /// SQLSTATE.
        code: String,
        /// The message.
        text: String,
        /// DETAIL.
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        /// HINT.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// Anything else, in hex.
    Hex {
        /// The body.
        hex: String,
    },
}

impl Content {
    fn text(bytes: &[u8]) -> Self {
        Self::Text { text: value(bytes) }
    }
}

/// Reads a message's body.
pub fn shown(direction: Direction, tag: u8, body: &[u8]) -> Shown {
    match direction {
        Direction::Frontend => frontend(tag, body),
        Direction::Backend => backend(tag, body),
    }
}

fn frontend(tag: u8, body: &[u8]) -> Shown {
    let name = match tag {
        b'Q' => "Query",
        b'P' => "Parse",
        b'B' => "Bind",
        b'D' => "Describe",
        b'E' => "Execute",
        b'C' => "Close",
        b'H' => "Flush",
        b'S' => "Sync",
        b'd' => "CopyData",
        b'c' => "CopyDone",
        b'f' => "CopyFail",
        b'X' => "Terminate",
        b'F' => "FunctionCall",
        b'p' => "Password",
        _ => "unknown",
    };
    let target = |target: Target<'_>| match target {
        Target::Statement(name) => Content::Text {
            text: format!("statement {:?}", value(name)),
        },
        Target::Portal(name) => Content::Text {
            text: format!("portal {:?}", value(name)),
        },
    };
    let values = |values: &[Option<&[u8]>]| Content::Values {
        values: values.iter().map(|of| of.map(value)).collect(),
    };
    let content = match FrontendMessage::decode(tag, body) {
        Ok(FrontendMessage::Query(text)) => Content::text(text),
        Ok(FrontendMessage::Parse(parse)) => Content::text(parse.query),
        Ok(FrontendMessage::Bind(bind)) => values(&bind.parameters),
        Ok(FrontendMessage::FunctionCall(call)) => values(&call.arguments),
        Ok(FrontendMessage::Describe(of) | FrontendMessage::Close(of)) => target(of),
        Ok(FrontendMessage::Execute { portal, .. }) => target(Target::Portal(portal)),
        Ok(FrontendMessage::CopyData | FrontendMessage::CopyFail) => Content::text(body),
        Ok(_) if body.is_empty() => Content::Nothing {},
        Ok(_) | Err(_) => Content::Hex {
            hex: crate::session::hex(body),
        },
    };
    Shown {
        message: name,
        content,
    }
}

fn backend(tag: u8, body: &[u8]) -> Shown {
    let hex = || Content::Hex {
        hex: crate::session::hex(body),
    };
    let (name, content) = match tag {
        b'R' => ("Authentication", Content::Nothing {}),
        b'K' => ("BackendKeyData", Content::Nothing {}),
        b'S' => ("ParameterStatus", pair(body, "=").unwrap_or_else(hex)),
        b'Z' => ("ReadyForQuery", Content::text(body)),
        b'T' => (
            "RowDescription",
            row_description(body).map_or_else(
                |_malformed| hex(),
                |columns| Content::Columns {
                    columns: columns.into_iter().map(|column| column.name).collect(),
                },
            ),
        ),
        b'D' => (
            "DataRow",
            row(body).map_or_else(hex, |values| Content::Values { values }),
        ),
        b'V' => (
            "FunctionCallResponse",
            fields(1, Body(body)).map_or_else(hex, |values| Content::Values { values }),
        ),
        b'd' => ("CopyData", Content::text(body)),
        b'C' => (
            "CommandComplete",
            Content::text(body.strip_suffix(b"\0").unwrap_or(body)),
        ),
        b'E' => ("ErrorResponse", report(body).unwrap_or_else(hex)),
        b'N' => ("NoticeResponse", report(body).unwrap_or_else(hex)),
        b'A' => (
            "NotificationResponse",
            body.get(4..)
                .and_then(|rest| pair(rest, ": "))
                .unwrap_or_else(hex),
        ),
        b'1' => ("ParseComplete", Content::Nothing {}),
        b'2' => ("BindComplete", Content::Nothing {}),
        b'3' => ("CloseComplete", Content::Nothing {}),
        b'n' => ("NoData", Content::Nothing {}),
        b's' => ("PortalSuspended", Content::Nothing {}),
        b'I' => ("EmptyQueryResponse", Content::Nothing {}),
        b'c' => ("CopyDone", Content::Nothing {}),
        b't' => ("ParameterDescription", hex()),
        b'G' => ("CopyInResponse", hex()),
        b'H' => ("CopyOutResponse", hex()),
        b'v' => ("NegotiateProtocolVersion", hex()),
        _ => ("unknown", hex()),
    };
    Shown {
        message: name,
        content,
    }
}

fn row(body: &[u8]) -> Option<Vec<Option<String>>> {
    let mut body = Body(body);
    fields(body.count().ok()?, body)
}

/// So many values, each behind its length.
fn fields(count: usize, mut fields: Body<'_>) -> Option<Vec<Option<String>>> {
    let mut values = Vec::with_capacity(count.min(fields.0.len()));
    for _ in 0..count {
        let length = fields.i32().ok()?;
        values.push(match usize::try_from(length) {
            Ok(length) => Some(value(fields.bytes(length).ok()?)),
            Err(_negative) => None,
        });
    }
    Some(values)
}

fn report(body: &[u8]) -> Option<Content> {
    let fields = error_fields(body).ok()?;
    let field = |wanted: u8| {
        let found = fields.iter().find(|(code, _)| *code == wanted);
        found.map(|(_, text)| value(text))
    };
    Some(Content::Report {
        severity: field(b'V').or_else(|| field(b'S')).unwrap_or_default(),
        code: field(b'C').unwrap_or_default(),
        text: field(b'M').unwrap_or_default(),
        detail: field(b'D'),
        hint: field(b'H'),
    })
}

fn pair(body: &[u8], between: &str) -> Option<Content> {
    let mut fields = Body(body);
    let first = value(fields.cstr().ok()?);
    let second = value(fields.cstr().ok()?);
    Some(Content::Text {
        text: format!("{first}{between}{second}"),
    })
}

/// Text, or hex as the server writes bytea.
fn value(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => text.to_owned(),
        Ok(_) | Err(_) => format!("\\x{}", crate::session::hex(bytes)),
    }
}
