//! What receivers are sent, and how.

use serde_json::Value;

use super::{card, message::Message, slack};
use crate::{
    admin::{AnswerView, ApprovalView, NeedView},
    config::NotifyEvent,
};

fn view(statement: &str) -> ApprovalView {
    ApprovalView {
        id: "apr-0123456789ab".into(),
        state: "pending".into(),
        session: "ses-1".into(),
        job: "job-1".into(),
        requester: "github <!channel> *repo*".into(),
        process: "psql (4242)".into(),
        database: "shop".into(),
        statement: statement.into(),
        parameters: vec![Some("1".into()), None],
        parameter_types: Vec::new(),
        effects: vec!["delete public.orders".into()],
        estimated_rows: Some(41),
        warnings: vec!["no WHERE clause: it touches every row".into()],
        run_url: Some("https://github.com/acme/shop/actions/runs/42".into()),
        step: None,
        statement_number: 3,
        before: Vec::new(),
        why: "deleting needs approval".into(),
        rule: "g: approve[0]".into(),
        needs: vec![NeedView {
            group: Some("dba".into()),
            count: 2,
            approved: 0,
        }],
        approved_by: Vec::new(),
        created: "2026-01-02T03:04:05.000000Z".into(),
        expires: "2026-01-02T03:19:05.000000Z".into(),
        on_hold: "wait".into(),
        answers: Vec::new(),
        used: None,
        ended: None,
        ended_because: None,
    }
}

fn message(event: NotifyEvent, view: ApprovalView) -> Message {
    Message::new(event, view, Some("https://cordon.example"))
}

/// Every text in a value, with the `type` of the object that holds it.
fn texts(value: &Value, within: &str, into: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            let kind = members
                .get("type")
                .and_then(Value::as_str)
                .unwrap_or(within);
            for (key, member) in members {
                if let (Value::String(text), "text") = (member, key.as_str()) {
                    into.push((kind.to_owned(), text.clone()));
                } else {
                    texts(member, kind, into);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, within, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

const HOSTILE: &str = "DELETE FROM orders -- <!everyone> <https://evil|ok> [x](https://evil) *b* `c` <at>all</at> \u{202e}\u{430} & more";

#[test]
fn slack_reads_nothing_into_what_an_agent_wrote() {
    let body = slack::body(&message(NotifyEvent::Requested, view(HOSTILE)));
    let mut found = Vec::new();
    texts(&body, "", &mut found);
    assert!(
        found
            .iter()
            .any(|(_, text)| text.contains("&lt;!everyone&gt;"))
    );
    for (kind, text) in &found {
        assert!(!text.contains(['<', '>']), "{text}");
        assert!(text.is_ascii(), "{text}");
        // Outside of plain text only what is our own.
        assert!(
            kind == "plain_text" || text == "Approval apr-0123456789ab is asked for",
            "{kind}: {text}"
        );
    }
    let text = body.to_string();
    assert!(
        text.contains("&lt;U+202E&gt;&lt;U+0430&gt; &amp; more"),
        "{text}"
    );
    assert!(text.contains("https://cordon.example/#/queue/apr-0123456789ab"));
    for field in body["blocks"][1]["fields"].as_array().unwrap() {
        assert!(field["text"].as_str().unwrap().chars().count() <= 2_000);
    }
}

#[test]
fn teams_reads_nothing_into_what_an_agent_wrote() {
    let body = card::body(&message(NotifyEvent::Requested, view(HOSTILE)));
    let mut found = Vec::new();
    texts(&body, "", &mut found);
    for (kind, text) in &found {
        assert!(text.is_ascii(), "{text}");
        assert!(
            kind == "TextRun" || text == "Approval apr-0123456789ab is asked for",
            "{kind}: {text}"
        );
    }
    let content = &body["attachments"][0]["content"];
    assert!(content.get("msteams").is_none());
    assert_eq!(
        content["actions"][0]["url"],
        "https://cordon.example/#/queue/apr-0123456789ab"
    );
}

#[test]
fn messages_stay_below_what_receivers_take() {
    let long = format!("DELETE FROM orders /* {} */", "<>&".repeat(100_000));
    let mut request = view(&long);
    request.requester = "x".repeat(10_000);
    let message = message(NotifyEvent::Requested, request);
    // Teams takes 28 KB, a text of Slack's 3,000 characters.
    assert!(card::body(&message).to_string().len() < 28_000);
    let slack = slack::body(&message);
    assert!(slack.to_string().len() < 60_000);
    let statement = message.statement();
    assert!(
        statement.contains("298525 more characters: read all of it"),
        "{statement}"
    );
    let json = message.json();
    assert_eq!(json["data"]["cut"], true);
    assert!(
        json["data"]["approval"]["statement"]
            .as_str()
            .unwrap()
            .len()
            <= 65_536
    );
}

#[test]
fn programs_get_the_request_as_it_is() {
    let mut denied = view(HOSTILE);
    denied.state = "denied".into();
    denied.answers = vec![AnswerView {
        by: "alice".into(),
        approve: false,
        reason: Some("wrong table".into()),
        at: "2026-01-02T03:05:05.000000Z".into(),
    }];
    let message = message(NotifyEvent::Decided, denied);
    let json = message.json();
    assert_eq!(json["type"], "approval.decided");
    assert_eq!(json["data"]["approval"]["statement"], HOSTILE);
    assert_eq!(json["data"]["approval"]["answers"][0]["by"], "alice");
    assert_eq!(json["data"]["cut"], false);
    assert_eq!(message.headline(), "Approval apr-0123456789ab is denied");
    assert!(
        message
            .facts()
            .contains(&("Answer", "denied by alice: wrong table".into()))
    );
}
