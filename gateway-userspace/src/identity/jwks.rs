//! An issuer's keys: fetched, cached, refreshed when a key is not known.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::{Host, fetch::Fetcher};
use crate::config::{Issuer, JwksSource};

/// An unknown key makes the set be fetched again, but not more often than this.
const REFRESH_PAUSE: Duration = Duration::from_secs(30);
/// A set is fetched again after this even if every key is known, so that withdrawn keys go.
const REFRESH_AFTER: Duration = Duration::from_hours(1);
/// If it cannot be fetched, the last good set is used this long.
const KEEP_LAST_GOOD: Duration = Duration::from_hours(24);
const MAX_KEYS: usize = 1000;
const MIN_RSA_BITS: usize = 2048;
const MAX_RSA_BITS: usize = 8192;
const P256_COORDINATE: usize = 32;

/// Why there is no key for a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// The issuer has no such key.
    #[error("the issuer `{issuer}` publishes no usable key `{kid}`; if the key is new, try again in {} seconds", REFRESH_PAUSE.as_secs())]
    Unknown {
        /// Configured name of the issuer.
        issuer: String,
        /// Key id asked for.
        kid: String,
    },
    /// The issuer's keys cannot be had.
    #[error("the keys of the issuer `{issuer}` are not available: {reason}")]
    Unavailable {
        /// Configured name of the issuer.
        issuer: String,
        /// What failed.
        reason: String,
    },
}

/// A key and the one algorithm it may be used with.
#[derive(Clone, Debug)]
pub(super) struct VerifyingKey {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

/// The keys of one issuer.
pub(super) struct IssuerKeys {
    name: String,
    url: String,
    source: JwksSource,
    host: Arc<dyn Host>,
    fetcher: Result<Fetcher, String>,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    keys: HashMap<String, VerifyingKey>,
    fetched: Option<Instant>,
    attempted: Option<Instant>,
    failure: Option<String>,
}

impl IssuerKeys {
    pub(super) fn new(issuer: &Issuer, host: &Arc<dyn Host>) -> Self {
        Self {
            name: issuer.name.clone(),
            url: issuer.url.clone(),
            source: issuer.jwks.clone(),
            host: Arc::clone(host),
            fetcher: Fetcher::new(issuer.roots.clone()),
            cache: Mutex::default(),
        }
    }

    /// The key with this id.
    pub(super) async fn key(&self, kid: &str, now: Instant) -> Result<VerifyingKey, KeysError> {
        // Held while fetching: whoever else needs the keys waits for the one fetch.
        let mut cache = self.cache.lock().await;
        let age = cache
            .fetched
            .map(|fetched| now.saturating_duration_since(fetched));
        let fresh = age.is_some_and(|age| age < REFRESH_AFTER);
        let paused = cache
            .attempted
            .is_some_and(|attempted| now.saturating_duration_since(attempted) < REFRESH_PAUSE);
        let at_hand = fresh && cache.keys.contains_key(kid);
        if !paused && !at_hand {
            cache.attempted = Some(now);
            match self.fetch().await {
                Ok(keys) => {
                    cache.keys = keys;
                    cache.fetched = Some(now);
                    cache.failure = None;
                }
                Err(reason) => {
                    tracing::warn!(
                        issuer = self.name,
                        error = reason,
                        "cannot refresh the issuer's keys"
                    );
                    cache.failure = Some(reason);
                }
            }
        }
        let age = cache
            .fetched
            .map(|fetched| now.saturating_duration_since(fetched));
        let usable = age.is_some_and(|age| age < KEEP_LAST_GOOD);
        match (cache.keys.get(kid).filter(|_| usable), &cache.failure) {
            (Some(key), _) => Ok(key.clone()),
            (None, Some(reason)) => Err(KeysError::Unavailable {
                issuer: self.name.clone(),
                reason: reason.clone(),
            }),
            (None, None) => Err(KeysError::Unknown {
                issuer: self.name.clone(),
                kid: shown(kid),
            }),
        }
    }

    async fn fetch(&self) -> Result<HashMap<String, VerifyingKey>, String> {
        let document = match &self.source {
            JwksSource::File(path) => self
                .host
                .key_set(path)
                .map_err(|error| format!("cannot read the key set {}: {error}", path.display()))?,
            JwksSource::Url(url) => self.get(url).await?,
            JwksSource::Discovery => self.get(&self.discover().await?).await?,
        };
        let keys = parse(&document)?;
        if keys.is_empty() {
            return Err("the key set holds no key usable for RS256 or ES256".to_owned());
        }
        Ok(keys)
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>, String> {
        self.fetcher.as_ref().map_err(Clone::clone)?.get(url).await
    }

    async fn discover(&self) -> Result<String, String> {
        #[derive(Deserialize)]
        struct Discovery {
            issuer: String,
            jwks_uri: String,
        }
        let url = format!(
            "{}/.well-known/openid-configuration",
            self.url.trim_end_matches('/')
        );
        let found: Discovery = serde_json::from_slice(&self.get(&url).await?)
            .map_err(|error| format!("{url} is not a discovery document: {error}"))?;
        if found.issuer != self.url {
            return Err(format!(
                "{url} is the document of another issuer, {}; correct the issuer's `url`",
                shown(&found.issuer)
            ));
        }
        Ok(found.jwks_uri)
    }
}

/// A key as published. References to keys elsewhere (`jku`, `x5u`) are not even read.
#[derive(Deserialize)]
struct Published {
    kid: String,
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Parses a key set. Keys that cannot be used here are left out: issuers publish other kinds too.
fn parse(document: &[u8]) -> Result<HashMap<String, VerifyingKey>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(document)
        .map_err(|error| format!("not a key set (JWKS): {error}"))?;
    if set.keys.len() > MAX_KEYS {
        return Err(format!("the key set holds more than {MAX_KEYS} keys"));
    }
    let mut keys = HashMap::new();
    for value in set.keys {
        let Ok(published) = serde_json::from_value::<Published>(value) else {
            continue;
        };
        let Some(key) = usable(&published) else {
            continue;
        };
        if keys.insert(published.kid.clone(), key).is_some() {
            // Which of the two would be meant is anybody's guess.
            return Err(format!(
                "the key set holds two keys with the id {}",
                shown(&published.kid)
            ));
        }
    }
    Ok(keys)
}

fn usable(key: &Published) -> Option<VerifyingKey> {
    if key.kid.is_empty() || key.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return None;
    }
    let is_for = |algorithm: &str| key.alg.as_deref().is_none_or(|alg| alg == algorithm);
    let decode = |text: &Option<String>| {
        URL_SAFE_NO_PAD
            .decode(text.as_deref()?.trim_end_matches('='))
            .ok()
    };
    match key.kty.as_str() {
        "RSA" if is_for("RS256") => {
            let (n, e) = (decode(&key.n)?, decode(&key.e)?);
            // ring wants the numbers without leading zeros; some issuers publish one.
            let n = n.get(n.iter().position(|byte| *byte != 0)?..)?;
            let e = e.get(e.iter().position(|byte| *byte != 0)?..)?;
            let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
            (MIN_RSA_BITS..=MAX_RSA_BITS)
                .contains(&bits)
                .then(|| VerifyingKey {
                    algorithm: Algorithm::RS256,
                    key: DecodingKey::from_rsa_raw_components(n, e),
                })
        }
        "EC" if is_for("ES256") && key.crv.as_deref() == Some("P-256") => {
            let (x, y) = (decode(&key.x)?, decode(&key.y)?);
            if x.len() != P256_COORDINATE || y.len() != P256_COORDINATE {
                return None;
            }
            let key = DecodingKey::from_ec_components(
                &URL_SAFE_NO_PAD.encode(x),
                &URL_SAFE_NO_PAD.encode(y),
            )
            .ok()?;
            Some(VerifyingKey {
                algorithm: Algorithm::ES256,
                key,
            })
        }
        _ => None,
    }
}

/// Text of a peer, safe and short enough for a message.
pub(super) fn shown(text: &str) -> String {
    let short: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        format!("{short}..")
    } else {
        short
    }
}

#[cfg(test)]
#[path = "jwks_tests.rs"]
mod tests;
