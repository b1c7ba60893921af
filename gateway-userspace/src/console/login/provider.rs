//! The identity provider: where it is asked for logins and tokens.

use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Url;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::pending::Start;
use crate::{
    config::{ConsoleLogin, Secret},
    console::refused::Refused,
    identity::{Fetcher, is_loopback},
};

/// The discovery document is fetched again after this.
const REFRESH_AFTER: Duration = Duration::from_hours(1);

/// An `OpenID` Connect provider.
pub struct Provider {
    fetcher: Fetcher,
    issuer: String,
    client_id: String,
    client_secret: Option<Secret>,
    scopes: String,
    redirect: String,
    known: Mutex<Option<(Endpoints, Instant)>>,
}

/// What its discovery document says.
#[derive(Clone, Debug, Deserialize)]
pub struct Endpoints {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Provider {
    /// `redirect`: where it sends people back to.
    pub fn new(login: &ConsoleLogin, redirect: String) -> Result<Self, String> {
        Ok(Self {
            fetcher: Fetcher::new(login.issuer.roots.clone())?,
            issuer: login.issuer.url.clone(),
            client_id: login.client_id.clone(),
            client_secret: login.client_secret.clone(),
            scopes: login.scopes.join(" "),
            redirect,
            known: Mutex::default(),
        })
    }

    /// Its endpoints, from the discovery document.
    pub async fn endpoints(&self) -> Result<Endpoints, String> {
        // Held while fetching: whoever else needs them waits for the one fetch.
        let mut known = self.known.lock().await;
        if let Some((endpoints, at)) = known.as_ref()
            && at.elapsed() < REFRESH_AFTER
        {
            return Ok(endpoints.clone());
        }
        let url = format!(
            "{}/.well-known/openid-configuration",
            self.issuer.trim_end_matches('/')
        );
        let document = self.fetcher.get(&url).await?;
        let found: Endpoints = serde_json::from_slice(&document)
            .map_err(|error| format!("{url} is not a discovery document: {error}"))?;
        if found.issuer != self.issuer {
            return Err(format!(
                "{url} is the document of another issuer; correct `console.login.issuer`"
            ));
        }
        for endpoint in [&found.authorization_endpoint, &found.token_endpoint] {
            let fine =
                Url::parse(endpoint).is_ok_and(|url| url.scheme() == "https" || is_loopback(&url));
            if !fine {
                return Err(format!("{url} names an endpoint without encryption"));
            }
        }
        *known = Some((found.clone(), Instant::now()));
        Ok(found)
    }

    /// Where the browser goes to log in.
    pub fn authorization(
        &self,
        endpoints: &Endpoints,
        state: &str,
        start: &Start,
    ) -> Result<String, Refused> {
        let mut url = Url::parse(&endpoints.authorization_endpoint)
            .map_err(|_checked| Refused::fault("the identity provider's URL cannot be used"))?;
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, start.verifier.as_bytes()));
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", &self.redirect)
            .append_pair("scope", &self.scopes)
            .append_pair("state", state)
            .append_pair("nonce", &start.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    /// The ID token for a code. Errors never contain the code.
    pub async fn exchange(&self, code: &str, verifier: &str) -> Result<String, String> {
        #[derive(Deserialize)]
        struct Answer {
            id_token: String,
        }
        let endpoints = self.endpoints().await?;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect.as_str()),
            ("client_id", self.client_id.as_str()),
            ("code_verifier", verifier),
        ];
        let secret = self.client_secret.as_ref().map(Secret::expose);
        // RFC 6749, 2.3.1: the header is what every server must know; some take the body only.
        let methods = endpoints.token_endpoint_auth_methods_supported.as_deref();
        let in_header = methods
            .is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"));
        let encoded;
        let basic = match secret {
            Some(secret) if in_header => {
                encoded = (form_encoded(&self.client_id), form_encoded(secret));
                Some((encoded.0.as_str(), encoded.1.as_str()))
            }
            Some(secret) => {
                form.push(("client_secret", secret));
                None
            }
            None => None,
        };
        let url = &endpoints.token_endpoint;
        let answer = self.fetcher.post_form(url, &form, basic).await?;
        let answer: Answer = serde_json::from_slice(&answer)
            .map_err(|_may_hold_tokens| format!("{url} answers without an ID token"))?;
        Ok(answer.id_token)
    }
}

fn form_encoded(text: &str) -> String {
    let mut url = match Url::parse("form:") {
        Ok(url) => url,
        Err(_never) => return String::new(),
    };
    url.query_pairs_mut().append_key_only(text);
    url.query().unwrap_or_default().to_owned()
}
