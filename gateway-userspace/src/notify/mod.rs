//! Tells: posts what happens to requests for approval to the configured webhooks.
//!
//! Follows the changes of [`Approvals`] in a task of its own, so that no statement and no answer
//! ever waits for a receiver. Each webhook has a bounded queue and tries again for a while; what
//! is lost is in the log, and the queue of requests is unharmed.

mod card;
mod message;
mod post;
mod slack;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::{broadcast::error::RecvError, mpsc};

use crate::{
    admin::ApprovalView,
    approval::{Approvals, ChangeKind, Changes},
    config::{Notify, NotifyEvent},
};

use message::Message;
use post::Poster;

/// Messages that may wait for one webhook.
const QUEUE: usize = 256;

/// The webhooks cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the webhook {name} cannot be used: {problem}")]
pub struct NotifyError {
    name: String,
    problem: String,
}

/// Starts to tell what `changes` brings, and first that those of `withdrawn` ended with the
/// daemon's last run. Must be called within a tokio runtime.
///
/// # Errors
/// If a webhook cannot be used as it is configured.
pub fn start(
    config: &Notify,
    approvals: Approvals,
    changes: Changes,
    withdrawn: &[String],
) -> Result<(), NotifyError> {
    if config.webhooks.is_empty() {
        return Ok(());
    }
    let mut queues = Vec::with_capacity(config.webhooks.len());
    for webhook in &config.webhooks {
        let poster = Poster::new(webhook).map_err(|problem| NotifyError {
            name: webhook.name.clone(),
            problem,
        })?;
        let (sender, messages) = mpsc::channel(QUEUE);
        tokio::spawn(poster.run(messages));
        queues.push(Queue {
            name: webhook.name.clone(),
            events: webhook.events.clone(),
            sender,
        });
    }
    let teller = Teller {
        approvals,
        console: config.console_url.as_deref().map(Arc::from),
        queues,
    };
    for id in withdrawn {
        teller.tell(id, NotifyEvent::Withdrawn);
    }
    tokio::spawn(teller.follow(changes));
    Ok(())
}

struct Teller {
    approvals: Approvals,
    console: Option<Arc<str>>,
    queues: Vec<Queue>,
}

struct Queue {
    name: String,
    events: Vec<NotifyEvent>,
    sender: mpsc::Sender<Arc<Message>>,
}

impl Teller {
    async fn follow(self, mut changes: Changes) {
        loop {
            match changes.recv().await {
                Ok(change) => {
                    if let Some(event) = event(change.kind) {
                        self.tell(&change.id, event);
                    }
                }
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "changes of requests for approval were not told");
                }
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn tell(&self, id: &str, event: NotifyEvent) {
        // So long ago that it is not shown any more.
        let Ok(view) = self.approvals.show(id) else {
            return;
        };
        let message = Arc::new(Message::new(event, view, self.console.as_deref()));
        for Queue {
            name,
            events,
            sender,
        } in &self.queues
        {
            if events.contains(&event) && sender.try_send(Arc::clone(&message)).is_err() {
                tracing::warn!(
                    webhook = %name,
                    approval = id,
                    "a message is lost: too many wait for the webhook already"
                );
            }
        }
    }
}

/// What a webhook is told of a change.
fn event(kind: ChangeKind) -> Option<NotifyEvent> {
    match kind {
        ChangeKind::Requested => Some(NotifyEvent::Requested),
        ChangeKind::Approved | ChangeKind::Denied => Some(NotifyEvent::Decided),
        ChangeKind::Expired => Some(NotifyEvent::Expired),
        ChangeKind::Withdrawn => Some(NotifyEvent::Withdrawn),
        ChangeKind::Updated | ChangeKind::Used => None,
    }
}

/// Who must approve: `2 of dba and 1 of security`.
fn whom(view: &ApprovalView) -> String {
    let needs = view.needs.iter().map(|need| {
        let group = need.group.as_deref().unwrap_or("the approvers");
        format!("{} of {group}", need.count)
    });
    needs.collect::<Vec<_>>().join(" and ")
}
