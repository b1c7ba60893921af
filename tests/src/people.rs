//! The part of the issuer that people log in at: authorization code flow with PKCE.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

/// The console's client id in the tests.
pub const CLIENT_ID: &str = "cordon-console";
/// Its secret.
pub const CLIENT_SECRET: &str = "console s3cret/+";

/// Something that the provider does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its tokens carry the nonce of another login.
    WrongNonce,
    /// Its tokens are for another client.
    OtherAudience,
    /// Its tokens were asked for by another client.
    OtherParty,
}

/// People, and the logins that are under way.
#[derive(Debug, Default)]
pub(crate) struct People {
    known: Mutex<BTreeMap<String, Value>>,
    codes: Mutex<HashMap<String, Code>>,
    fault: Mutex<Option<Fault>>,
    serial: AtomicU64,
}

#[derive(Clone, Debug)]
struct Code {
    person: String,
    redirect: String,
    challenge: String,
    nonce: String,
}

/// What the provider answers.
pub(crate) enum Reply {
    Page(String),
    Redirect(String),
    Json(String),
    Refused(String),
}

impl People {
    pub(crate) fn add(&self, name: &str, claims: Value) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(name.to_owned(), claims);
    }

    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// The login page: a link for everybody there is; with `as`, what follows from it.
    pub(crate) fn authorize(&self, query: &str) -> Reply {
        let values = form(query);
        let of = |name: &str| values.get(name).cloned().unwrap_or_default();
        let right = [
            ("response_type", "code"),
            ("client_id", CLIENT_ID),
            ("code_challenge_method", "S256"),
        ];
        for (name, value) in right {
            if of(name) != value {
                return Reply::Refused(format!("{name} is {:?}", of(name)));
            }
        }
        if !of("scope").split(' ').any(|scope| scope == "openid") || of("nonce").len() < 43 {
            return Reply::Refused("no openid scope, or no nonce".to_owned());
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let person = of("as");
        if !known.contains_key(&person) {
            let links: Vec<String> = known
                .keys()
                .map(|name| format!("<p><a id=\"{name}\" href=\"/authorize?{query}&as={name}\">Log in as {name}</a></p>"))
                .collect();
            return Reply::Page(format!(
                "<!doctype html><title>Login</title><h1>Who are you?</h1>{}",
                links.join("").replace('&', "&amp;")
            ));
        }
        let code = format!("code-{}", self.serial.fetch_add(1, Ordering::Relaxed));
        let redirect = of("redirect_uri");
        let target = format!("{redirect}?code={code}&state={}", of("state"));
        self.codes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(
                code,
                Code {
                    person,
                    redirect,
                    challenge: of("code_challenge"),
                    nonce: of("nonce"),
                },
            );
        Reply::Redirect(target)
    }

    /// Redeems a code: the claims of the ID token, or the error. Each code once, by the right
    /// client with the right secret and verifier.
    pub(crate) fn token(&self, authorization: &str, body: &str) -> Result<Value, String> {
        let values = form(body);
        let of = |name: &str| values.get(name).cloned().unwrap_or_default();
        let expected = base64::engine::general_purpose::STANDARD
            .encode(format!("{CLIENT_ID}:console+s3cret%2F%2B"));
        if authorization != format!("Basic {expected}") {
            return Err("invalid_client".to_owned());
        }
        let code = self
            .codes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&of("code"))
            .ok_or("invalid_grant: no such code")?;
        let challenge =
            URL_SAFE_NO_PAD.encode(digest(&SHA256, of("code_verifier").as_bytes()).as_ref());
        if of("grant_type") != "authorization_code"
            || of("redirect_uri") != code.redirect
            || challenge != code.challenge
        {
            return Err("invalid_grant".to_owned());
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut claims = known.get(&code.person).cloned().unwrap_or_default();
        claims["aud"] = json!(CLIENT_ID);
        claims["nonce"] = json!(code.nonce);
        match *self.fault.lock().unwrap_or_else(PoisonError::into_inner) {
            None => {}
            Some(Fault::WrongNonce) => claims["nonce"] = json!("0".repeat(43)),
            Some(Fault::OtherAudience) => claims["aud"] = json!("another-client"),
            Some(Fault::OtherParty) => claims["azp"] = json!("another-client"),
        }
        Ok(claims)
    }
}

/// `a=b&c=d`, decoded.
pub(crate) fn form(text: &str) -> BTreeMap<String, String> {
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
