//! Messages of Microsoft Teams with an Adaptive Card.

use serde_json::{Value, json};

use super::message::Message;

/// The body for a workflow's webhook. What an agent wrote stands in text runs, in which Teams reads
/// no markup; mentions would need an entry in `msteams.entities`.
pub(super) fn body(message: &Message) -> Value {
    let mut parts = vec![json!({
        "type": "TextBlock",
        "size": "medium",
        "weight": "bolder",
        "wrap": true,
        "text": message.headline(),
    })];
    for (name, value) in message.facts() {
        parts.push(json!({
            "type": "RichTextBlock",
            "inlines": [
                { "type": "TextRun", "text": format!("{name}: "), "weight": "bolder" },
                { "type": "TextRun", "text": value },
            ],
        }));
    }
    parts.push(json!({
        "type": "RichTextBlock",
        "separator": true,
        "inlines": [
            { "type": "TextRun", "text": message.statement(), "fontType": "monospace" },
        ],
    }));
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": parts,
    });
    if let (Some(link), Value::Object(members)) = (&message.link, &mut card) {
        members.insert(
            "actions".to_owned(),
            json!([{ "type": "Action.OpenUrl", "title": "Open in the console", "url": link }]),
        );
    }
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": card,
        }],
    })
}
