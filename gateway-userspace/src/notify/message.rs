//! What is told, before it is put into a receiver's format.

use serde_json::{Value, json};

use super::whom;
use crate::{
    admin::ApprovalView,
    approval::{visible, visible_line},
    config::NotifyEvent,
};

/// Longest statement shown in a chat message, in characters.
const MAX_SHOWN: usize = 1_500;
/// Longest other text, in characters.
const MAX_FIELD: usize = 300;
/// Longest statement and longest value in a message for programs, in bytes.
const MAX_RAW: usize = 64 * 1024;

/// Something that happened to a request.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) event: NotifyEvent,
    pub(super) view: ApprovalView,
    /// The request in the console.
    pub(super) link: Option<String>,
}

impl Message {
    pub(super) fn new(event: NotifyEvent, view: ApprovalView, console: Option<&str>) -> Self {
        // Ids are hex digits; nothing has to be escaped.
        let link = console.map(|console| format!("{console}/#/queue/{}", view.id));
        Self { event, view, link }
    }

    /// For programs: the request as it is, in full but for very long texts.
    pub(super) fn json(&self) -> Value {
        let mut view = self.view.clone();
        let mut cut = shorten(&mut view.statement);
        for value in view.parameters.iter_mut().flatten() {
            cut |= shorten(value);
        }
        json!({
            "type": format!("approval.{}", self.event.word()),
            "data": {
                "approval": view,
                "cut": cut,
                "url": self.link,
            },
        })
    }

    /// One line of what happened. Nothing in it is the agent's.
    pub(super) fn headline(&self) -> String {
        let id = &self.view.id;
        match self.event {
            NotifyEvent::Requested => format!("Approval {id} is asked for"),
            NotifyEvent::Decided => match (self.view.state.as_str(), self.view.answers.last()) {
                ("pending", Some(_)) => format!("Approval {id}: one more agrees, others must too"),
                (state, _) => format!("Approval {id} is {state}"),
            },
            NotifyEvent::Expired => format!("Approval {id} has expired"),
            NotifyEvent::Withdrawn => format!("Approval {id} is withdrawn"),
        }
    }

    /// What is told besides, by name. Texts are visible, and may be the agent's.
    pub(super) fn facts(&self) -> Vec<(&'static str, String)> {
        let view = &self.view;
        let mut facts = vec![
            ("Requester", line(&view.requester)),
            ("Database", line(&view.database)),
            ("Effects", line(&view.effects.join("; "))),
        ];
        if let Some(rows) = view.estimated_rows {
            facts.push(("Rows", format!("about {rows}, as the planner guesses")));
        }
        if !view.warnings.is_empty() {
            facts.push(("Warning", line(&view.warnings.join("; "))));
        }
        facts.push(("Needs", line(&whom(view))));
        if let Some(answer) = view.answers.last() {
            let word = if answer.approve { "approved" } else { "denied" };
            let reason = answer
                .reason
                .as_ref()
                .map_or_else(String::new, |reason| format!(": {reason}"));
            facts.push(("Answer", line(&format!("{word} by {}{reason}", answer.by))));
        }
        if let Some(reason) = &view.ended_because {
            facts.push(("Because", line(reason)));
        }
        if let Some(url) = &view.run_url {
            facts.push(("Run", line(url)));
        }
        facts.push(("Expires", line(&view.expires)));
        facts
    }

    /// The statement, visible, and cut where it is long: then whoever answers must read it elsewhere.
    pub(super) fn statement(&self) -> String {
        let shown = visible(&self.view.statement);
        match cut(&shown, MAX_SHOWN) {
            None => shown,
            Some((start, rest)) => format!(
                "{start}\n[{rest} more characters: read all of it with `cordon approvals show {}` before you answer]",
                self.view.id
            ),
        }
    }
}

fn line(text: &str) -> String {
    let shown = visible_line(text);
    match cut(&shown, MAX_FIELD) {
        None => shown,
        Some((start, rest)) => format!("{start} [{rest} more characters]"),
    }
}

/// The first `most` characters and how many follow, if any do.
fn cut(text: &str, most: usize) -> Option<(&str, usize)> {
    let (at, _) = text.char_indices().nth(most)?;
    let (start, rest) = text.split_at(at);
    Some((start, rest.chars().count()))
}

/// True if something was cut off.
fn shorten(text: &mut String) -> bool {
    if text.len() <= MAX_RAW {
        return false;
    }
    let mut end = MAX_RAW;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    true
}
