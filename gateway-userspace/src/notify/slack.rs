//! Messages of Slack's Block Kit.

use serde_json::{Value, json};

use super::message::Message;

/// Longest text of a block, in characters, each of which may take five when it is escaped.
const MAX_TEXT: usize = 3_000 / 5;

/// The body for an incoming webhook. What an agent wrote stands in `plain_text` objects, in which
/// Slack reads neither markup nor mentions.
pub(super) fn body(message: &Message) -> Value {
    let headline = message.headline();
    let mut blocks = vec![json!({
        "type": "header",
        "text": plain(&headline),
    })];
    // A section takes ten fields.
    for facts in message.facts().chunks(10) {
        let fields: Vec<Value> = facts
            .iter()
            .map(|(name, value)| plain(&format!("{name}: {value}")))
            .collect();
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    let statement: Vec<char> = message.statement().chars().collect();
    for part in statement.chunks(MAX_TEXT) {
        let part: String = part.iter().collect();
        blocks.push(json!({ "type": "section", "text": plain(&part) }));
    }
    if let Some(link) = &message.link {
        blocks.push(json!({
            "type": "actions",
            "elements": [{
                "type": "button",
                "text": plain("Open in the console"),
                "url": link,
                "action_id": "open",
            }],
        }));
    }
    // For notifications, which show no blocks. Nothing in it is the agent's.
    json!({ "text": escaped(&headline), "blocks": blocks })
}

fn plain(text: &str) -> Value {
    let text: String = text.chars().take(MAX_TEXT).collect();
    json!({ "type": "plain_text", "text": escaped(&text), "emoji": false })
}

/// Slack's three control characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            other => out.push(other),
        }
    }
    out
}
