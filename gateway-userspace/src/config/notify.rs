//! Who is told of requests for approval.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use rustls::RootCertStore;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{ConfigError, Secret, resolve::Place, secret};

/// A shorter key could be guessed.
const MIN_KEY: usize = 16;

/// Who is told of requests for approval.
#[derive(Clone, Debug, Default)]
pub struct Notify {
    /// Where the console is for people, without a slash at its end; links lead there.
    pub console_url: Option<String>,
    /// Where messages are sent, with unique names.
    pub webhooks: Vec<Webhook>,
}

/// A place that messages are posted to.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Its name, for the log.
    pub name: String,
    /// Where: https, or http on loopback. For chat services this is a secret.
    pub url: Secret,
    /// What the messages look like.
    pub format: WebhookFormat,
    /// The key that signs them.
    pub key: Option<Secret>,
    /// What it is told of; at least one.
    pub events: Vec<NotifyEvent>,
    /// Roots for its TLS connections; `None`: the system's.
    pub roots: Option<Arc<RootCertStore>>,
}

/// What messages look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WebhookFormat {
    /// The event and the whole request, for programs.
    #[default]
    Json,
    /// A message of Slack's Block Kit.
    Slack,
    /// A message of Microsoft Teams with an Adaptive Card.
    Teams,
}

/// What can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotifyEvent {
    /// A statement waits for approval.
    Requested,
    /// Somebody approved or denied it.
    Decided,
    /// Nobody answered in time, or the approval was not used in time.
    Expired,
    /// It was taken back.
    Withdrawn,
}

impl NotifyEvent {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Requested,
        Self::Decided,
        Self::Expired,
        Self::Withdrawn,
    ];

    /// Its word in the configuration and in messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Decided => "decided",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// `notify` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NotifyFile {
    pub(super) console_url: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) webhooks: Vec<Spanned<WebhookFile>>,
}

/// A webhook as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookFile {
    pub(super) name: Spanned<String>,
    pub(super) url: Option<Spanned<String>>,
    pub(super) url_file: Option<Spanned<PathBuf>>,
    pub(super) format: Option<WebhookFormat>,
    pub(super) key_file: Option<Spanned<PathBuf>>,
    pub(super) events: Option<Spanned<Vec<NotifyEvent>>>,
    pub(super) ca_file: Option<Spanned<PathBuf>>,
}

impl Place<'_> {
    pub(super) fn notify(&self, written: NotifyFile) -> Result<Notify, ConfigError> {
        let console_url = match written.console_url {
            None => None,
            Some(url) => {
                self.url(&url)?;
                Some(url.value.trim_end_matches('/').to_owned())
            }
        };
        let mut names = BTreeSet::new();
        let mut webhooks = Vec::with_capacity(written.webhooks.len());
        for webhook in written.webhooks {
            let at = webhook.referenced;
            let webhook = self.webhook(webhook)?;
            if !names.insert(webhook.name.clone()) {
                return Err(self.error(
                    at,
                    format!("there are two webhooks named `{}`", webhook.name),
                ));
            }
            webhooks.push(webhook);
        }
        Ok(Notify {
            console_url,
            webhooks,
        })
    }

    fn webhook(&self, written: Spanned<WebhookFile>) -> Result<Webhook, ConfigError> {
        let (at, webhook) = (written.referenced, written.value);
        let read = |file: &Spanned<PathBuf>| {
            secret::read(&self.beside(&file.value))
                .map_err(|message| self.error(file.referenced, message))
        };
        let url = match (webhook.url, webhook.url_file) {
            (Some(url), None) => url,
            (None, Some(file)) => {
                let secret = read(&file)?;
                Spanned::new(
                    secret.expose().trim().to_owned(),
                    file.referenced,
                    file.defined,
                )
            }
            (None, None) => {
                return Err(self.error(
                    at,
                    "a webhook needs `url`, or `url_file` with the URL in it",
                ));
            }
            (Some(url), Some(_)) => {
                return Err(self.error(
                    url.referenced,
                    "a webhook has `url` or `url_file`, not both",
                ));
            }
        };
        // Not repeated in the error: it may be a secret.
        self.url(&url).map_err(|_secret| {
            self.error(
                url.referenced,
                "the URL of a webhook is https, or http on loopback, without user name and password",
            )
        })?;
        let key = webhook.key_file.as_ref().map(read).transpose()?;
        let format = webhook.format.unwrap_or_default();
        match (&key, &webhook.key_file) {
            (Some(key), Some(file)) if key.expose().len() < MIN_KEY => {
                return Err(self.error(
                    file.referenced,
                    format!(
                        "the key is shorter than {MIN_KEY} bytes; make one with `openssl rand -hex 32`"
                    ),
                ));
            }
            (None, _) if format == WebhookFormat::Json => {
                return Err(self.error(
                    at,
                    "a webhook of the format json needs a `key_file`: its receiver must be able to tell who sent it",
                ));
            }
            _ => {}
        }
        let events = match webhook.events {
            None => NotifyEvent::ALL.to_vec(),
            Some(events) if events.value.is_empty() => {
                return Err(self.error(
                    events.referenced,
                    "the list of events is empty; name one, or leave `events` out for all",
                ));
            }
            Some(events) => events.value,
        };
        let roots = match &webhook.ca_file {
            None => None,
            Some(path) => Some(self.roots(path)?),
        };
        Ok(Webhook {
            name: webhook.name.value,
            url: Secret::new(url.value),
            format,
            key,
            events,
            roots,
        })
    }
}
