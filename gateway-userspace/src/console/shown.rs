//! What leaves the server as data: with everything marked that a reader could take for something
//! else.

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::Value;

use crate::approval::visible;

/// An answer as JSON. Every text in it, whatever its source, is made visible as `cordon approvals
/// show` prints it: control, invisible, look-alike and direction-changing characters as `<U+XXXX>`.
#[derive(Debug)]
pub struct Shown<T>(pub T);

impl<T: Serialize> IntoResponse for Shown<T> {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(json(&self.0)));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        response
    }
}

/// The JSON of a value, its texts made visible.
pub fn json(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(value) => mark(value).to_string(),
        Err(error) => {
            tracing::error!(%error, "an answer of the console cannot be written as JSON");
            r#"{"error":"the daemon cannot write its answer; see its log"}"#.to_owned()
        }
    }
}

fn mark(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(visible(&text)),
        Value::Array(values) => Value::Array(values.into_iter().map(mark).collect()),
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(key, value)| (visible(&key), mark(value)))
                .collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_made_visible_keys_and_nested_ones_among_them() {
        let text = json(&serde_json::json!({
            "a\u{202e}b": ["\u{430}", { "c": "x\u{1b}[2J" }, 1, null, true],
        }));
        assert_eq!(
            text,
            r#"{"a<U+202E>b":["<U+0430>",{"c":"x<U+001B>[2J"},1,null,true]}"#
        );
    }
}
