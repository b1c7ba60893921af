//! Posts messages to one webhook, signed, and again where that fails.
//!
//! The signature is that of the Standard Webhooks specification: HMAC-SHA-256 over
//! `id.timestamp.body`, in base64 behind `v1,`.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Client, StatusCode, Url, redirect::Policy};
use ring::{hmac, rand::SecureRandom as _, rand::SystemRandom};
use rustls::{ClientConfig, RootCertStore, crypto};
use tokio::sync::mpsc;

use super::{card, message::Message, slack};
use crate::{
    audit::{to_hex, wall_micros},
    config::{Webhook, WebhookFormat},
};

/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses between the tries; after the last of them the message is lost.
const PAUSES: [Duration; 8] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(30),
    Duration::from_mins(1),
];

/// Posts to one webhook, one message after the other.
pub(super) struct Poster {
    name: String,
    url: Url,
    format: WebhookFormat,
    key: Option<hmac::Key>,
    client: Client,
}

/// A message was not taken.
struct Failure {
    problem: String,
    /// It may be taken later.
    again: bool,
}

impl Poster {
    pub(super) fn new(webhook: &Webhook) -> Result<Self, String> {
        let url = Url::parse(webhook.url.expose()).map_err(|error| error.to_string())?;
        let roots = match &webhook.roots {
            Some(roots) => Arc::clone(roots),
            None if url.scheme() == "http" => Arc::new(RootCertStore::empty()),
            None => crate::config::system_roots()?,
        };
        let tls = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("cannot set up TLS: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(Policy::none())
            .timeout(TIMEOUT)
            .referer(false)
            .user_agent(concat!("cordon/", env!("CARGO_PKG_VERSION")));
        // What is on this host needs no proxy.
        let builder = if url.scheme() == "http" {
            builder.no_proxy()
        } else {
            builder
        };
        let client = builder
            .build()
            .map_err(|error| format!("cannot set up the HTTP client: {error}"))?;
        let key = webhook
            .key
            .as_ref()
            .map(|key| key_of(key.expose()))
            .transpose()?;
        Ok(Self {
            name: webhook.name.clone(),
            url,
            format: webhook.format,
            key,
            client,
        })
    }

    /// Posts what comes, until nothing more can come.
    pub(super) async fn run(self, mut messages: mpsc::Receiver<Arc<Message>>) {
        while let Some(message) = messages.recv().await {
            self.deliver(&message).await;
        }
    }

    async fn deliver(&self, message: &Message) {
        let body = match self.format {
            WebhookFormat::Json => message.json(),
            WebhookFormat::Slack => slack::body(message),
            WebhookFormat::Teams => card::body(message),
        }
        .to_string();
        // The same in every try, so that the receiver can tell a repetition.
        let Some(id) = new_id() else {
            tracing::error!(webhook = %self.name, "no random id for a message");
            return;
        };
        let mut pauses = PAUSES.iter();
        loop {
            let Err(failure) = self.post(&id, &body).await else {
                return;
            };
            let pause = pauses.next().filter(|_| failure.again);
            tracing::warn!(
                webhook = %self.name,
                approval = %message.view.id,
                problem = %failure.problem,
                retry_in = ?pause,
                "a message was not taken"
            );
            let Some(pause) = pause else { return };
            tokio::time::sleep(*pause).await;
        }
    }

    async fn post(&self, id: &str, body: &str) -> Result<(), Failure> {
        let timestamp = (wall_micros() / 1_000_000).to_string();
        let mut request = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", &timestamp);
        if let Some(key) = &self.key {
            request = request.header("webhook-signature", signature(key, id, &timestamp, body));
        }
        // The URL may be a secret.
        let failed = |error: reqwest::Error| Failure {
            problem: chain(&error.without_url()),
            again: true,
        };
        let status = request
            .body(body.to_owned())
            .send()
            .await
            .map_err(failed)?
            .status();
        if status.is_success() {
            return Ok(());
        }
        let again = status.is_server_error()
            || matches!(
                status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
            );
        Err(Failure {
            problem: format!("the receiver answers {status}"),
            again,
        })
    }
}

/// A key that begins with `whsec_` is base64 behind it; any other is its bytes.
fn key_of(written: &str) -> Result<hmac::Key, String> {
    let decoded;
    let bytes = match written.strip_prefix("whsec_") {
        None => written.as_bytes(),
        Some(encoded) => {
            decoded = STANDARD
                .decode(encoded)
                .map_err(|error| format!("its key is no base64 behind whsec_: {error}"))?;
            &decoded
        }
    };
    Ok(hmac::Key::new(hmac::HMAC_SHA256, bytes))
}

fn signature(key: &hmac::Key, id: &str, timestamp: &str, body: &str) -> String {
    let tag = hmac::sign(key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag.as_ref()))
}

fn new_id() -> Option<String> {
    let mut bytes = [0; 12];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(format!("msg_{}", to_hex(&bytes)))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // The example of <https://www.standardwebhooks.com>, and of its libraries.
        let key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed = signature(
            &key,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            "{\"test\": 2432232314}",
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(key_of("whsec_%%%").is_err());
    }
}
