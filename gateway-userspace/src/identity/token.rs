//! Verification of job tokens: ID tokens of `OpenID` Connect, signed with RS256 or ES256.
//!
//! The signature is checked by the token library; the claims are checked here, since the library
//! takes an array for `iss`, rounds fractional times and knows no cap on lifetimes.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Validation, errors::ErrorKind};
use ring::digest;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Host, crypto,
    jwks::{IssuerKeys, KeysError, shown},
    preset::{self, Mismatch},
};
use crate::config::{Issuer, Preset, TokenExpiry};

const MAX_TOKEN: usize = 16 * 1024;
const MAX_GROUPS: usize = 1000;

/// What is wrong with a token. Never contains the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Larger than any honest token.
    #[error("the token is {size} bytes long; at most {MAX_TOKEN} are accepted")]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// Not a token at all.
    #[error("this is not a signed token (JWT): {0}")]
    Malformed(&'static str),
    /// An algorithm that is not accepted, `none` and HMAC among them.
    #[error("the token's algorithm `{0}` is not accepted; issuers must sign with RS256 or ES256")]
    Algorithm(String),
    /// The header demands an extension.
    #[error("the token's header demands extensions (`crit`), and none are supported")]
    Critical,
    /// No key id.
    #[error("the token does not say which key signed it (`kid`)")]
    NoKeyId,
    /// An issuer that is not configured.
    #[error(
        "the token's issuer `{0}` is not configured; add it to `issuers` if its jobs may use Cordon"
    )]
    UnknownIssuer(String),
    /// No key to check it with.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The key is for another algorithm.
    #[error("the token says {token}, but its key is for {key}")]
    AlgorithmMismatch {
        /// Algorithm of the header.
        token: &'static str,
        /// Algorithm of the key.
        key: &'static str,
    },
    /// The signature is wrong.
    #[error("the token's signature is not valid; it was changed, or signed by somebody else")]
    Signature,
    /// A claim is missing.
    #[error("the token has no `{0}` claim")]
    MissingClaim(&'static str),
    /// A claim has the wrong type.
    #[error("the token's `{0}` claim is not of the right type")]
    BadClaim(String),
    /// For somebody else.
    #[error(
        "the token is for the audience {found}, not `{expected}`; request it with the audience `{expected}`"
    )]
    Audience {
        /// The configured audience.
        expected: String,
        /// The token's.
        found: String,
    },
    /// Over.
    #[error("the token expired {} seconds ago; request a new one", .0.as_secs())]
    Expired(Duration),
    /// Not yet begun.
    #[error("the token is not valid before {} seconds from now (`nbf`); compare the clocks", .0.as_secs())]
    NotYetValid(Duration),
    /// Issued in the future.
    #[error("the token was issued {} seconds in the future (`iat`); compare the clocks", .0.as_secs())]
    IssuedInFuture(Duration),
    /// Of a job that is not what it seems.
    #[error("the token is not accepted: {0}; `forks: allow` at its issuer accepts such jobs")]
    Suspect(&'static str),
    /// Valid for too long.
    #[error("the token is valid for {} seconds, but at most {} are accepted from `{issuer}` (`max_lifetime`)", .lifetime.as_secs(), .accepted.as_secs())]
    Lifetime {
        /// Configured name of the issuer.
        issuer: String,
        /// The token's lifetime.
        lifetime: Duration,
        /// The cap.
        accepted: Duration,
    },
}

/// A token that passed every check.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedToken {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) groups: Vec<String>,
    pub(super) claims: BTreeMap<String, Value>,
    /// When it stops being accepted, leeway included.
    pub(super) expires: SystemTime,
    /// The CI system, if it is a known one.
    pub(super) preset: Option<Preset>,
    /// Its end is the job's.
    pub(super) ends_job: bool,
    /// What makes it this token: issuer and `jti`, or a digest of all of it.
    pub(super) once: [u8; 32],
}

impl VerifiedToken {
    /// The configured name of its issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }
    /// Its `sub`.
    pub fn subject(&self) -> &str {
        &self.subject
    }
    /// Values of its issuer's groups claim.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }
    /// All its claims.
    pub fn claims(&self) -> &BTreeMap<String, Value> {
        &self.claims
    }
}

/// Verifies tokens of the configured issuers.
pub struct Tokens {
    issuers: Vec<(Issuer, IssuerKeys)>,
}

impl Tokens {
    /// Prepares the check; keys are fetched when the first token needs them.
    pub fn new(issuers: &[Issuer], host: &Arc<dyn Host>) -> Self {
        crypto::install();
        Self {
            issuers: issuers
                .iter()
                .map(|issuer| (issuer.clone(), IssuerKeys::new(issuer, host)))
                .collect(),
        }
    }

    /// The issuer of this configured name.
    pub(super) fn issuer(&self, name: &str) -> Option<&Issuer> {
        let mut issuers = self.issuers.iter().map(|(issuer, _)| issuer);
        issuers.find(|issuer| issuer.name == name)
    }

    /// Verifies a token at this time.
    pub async fn verify(&self, token: &str, now: SystemTime) -> Result<VerifiedToken, TokenError> {
        let unverified = Unverified::read(token)?;
        let (issuer, keys) = self
            .issuers
            .iter()
            .find(|(issuer, _)| issuer.url == unverified.issuer)
            .ok_or_else(|| TokenError::UnknownIssuer(shown(&unverified.issuer)))?;
        let key = keys.key(&unverified.kid, Instant::now()).await?;
        if key.algorithm != unverified.algorithm {
            return Err(TokenError::AlgorithmMismatch {
                token: name(unverified.algorithm),
                key: name(key.algorithm),
            });
        }
        // The claims are checked below.
        let mut validation = Validation::new(key.algorithm);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        let verified = jsonwebtoken::decode::<BTreeMap<String, Value>>(
            token,
            &key.key,
            &validation,
        )
        .map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => TokenError::Signature,
            _ => TokenError::Malformed("its header, claims or signature are not of the right form"),
        })?;
        check(verified.claims, token, issuer, now)
    }
}

fn name(algorithm: Algorithm) -> &'static str {
    if algorithm == Algorithm::RS256 {
        "RS256"
    } else {
        "ES256"
    }
}

/// What must be known before the signature can be checked. Nothing else is taken from it.
struct Unverified {
    algorithm: Algorithm,
    kid: String,
    issuer: String,
}

impl Unverified {
    fn read(token: &str) -> Result<Self, TokenError> {
        #[derive(Deserialize)]
        struct Header {
            alg: Option<String>,
            kid: Option<String>,
            crit: Option<Value>,
        }
        #[derive(Deserialize)]
        struct Payload {
            iss: Option<String>,
        }
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLarge { size: token.len() });
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(_signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed("it does not have three parts"));
        };
        let header = URL_SAFE_NO_PAD
            .decode(header)
            .map_err(|_shown_without_the_token| {
                TokenError::Malformed("its header is not base64url")
            })?;
        let header: Header =
            serde_json::from_slice(&header).map_err(|_shown_without_the_token| {
                TokenError::Malformed("its header is not the JSON of one")
            })?;
        // First of all, so that nothing is ever checked in a way the token chose.
        let algorithm = match header.alg.as_deref() {
            Some("RS256") => Algorithm::RS256,
            Some("ES256") => Algorithm::ES256,
            Some(other) => return Err(TokenError::Algorithm(shown(other))),
            None => return Err(TokenError::Algorithm("(missing)".to_owned())),
        };
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        let kid = header
            .kid
            .filter(|kid| !kid.is_empty())
            .ok_or(TokenError::NoKeyId)?;
        let payload = URL_SAFE_NO_PAD
            .decode(payload)
            .map_err(|_shown_without_the_token| {
                TokenError::Malformed("its payload is not base64url")
            })?;
        let payload: Payload =
            serde_json::from_slice(&payload).map_err(|_shown_without_the_token| {
                TokenError::Malformed("its payload is not the JSON of one")
            })?;
        let issuer = payload.iss.ok_or(TokenError::MissingClaim("iss"))?;
        Ok(Self {
            algorithm,
            kid,
            issuer,
        })
    }
}

/// Checks the claims of a token whose signature is right.
fn check(
    claims: BTreeMap<String, Value>,
    token: &str,
    issuer: &Issuer,
    now: SystemTime,
) -> Result<VerifiedToken, TokenError> {
    if text(&claims, "iss")? != issuer.url {
        return Err(TokenError::UnknownIssuer("(ambiguous)".to_owned()));
    }
    audience(&claims, &issuer.audience)?;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let exp = time(&claims, "exp")?.ok_or(TokenError::MissingClaim("exp"))?;
    let nbf = time(&claims, "nbf")?;
    let iat = time(&claims, "iat")?;
    let end = exp
        .checked_add(issuer.leeway)
        .ok_or_else(|| TokenError::BadClaim("exp".to_owned()))?;
    if now >= end {
        return Err(TokenError::Expired(now.saturating_sub(exp)));
    }
    let latest_start = now + issuer.leeway;
    if let Some(nbf) = nbf.filter(|nbf| *nbf > latest_start) {
        return Err(TokenError::NotYetValid(nbf.saturating_sub(now)));
    }
    if let Some(iat) = iat.filter(|iat| *iat > latest_start) {
        return Err(TokenError::IssuedInFuture(iat.saturating_sub(now)));
    }
    // Without a start the cap means nothing, so one of the two must be there.
    let start = iat.or(nbf).ok_or(TokenError::MissingClaim("iat"))?;
    let lifetime = exp.saturating_sub(start);
    if lifetime > issuer.max_lifetime {
        return Err(TokenError::Lifetime {
            issuer: issuer.name.clone(),
            lifetime,
            accepted: issuer.max_lifetime,
        });
    }
    if let Some(preset) = issuer.preset {
        preset::check_claims(preset, &claims, issuer.forks).map_err(|mismatch| match mismatch {
            Mismatch::Missing(claim) => TokenError::MissingClaim(claim),
            Mismatch::Suspect(what) => TokenError::Suspect(what),
            Mismatch::Type(claim) | Mismatch::Differs { claim, .. } | Mismatch::Unnamed(claim) => {
                TokenError::BadClaim(claim.to_owned())
            }
        })?;
    }
    let subject = text(&claims, "sub")?.to_owned();
    let groups = groups(&claims, &issuer.groups_claim)?;
    let once = once(&claims, token, issuer)?;
    let expires = UNIX_EPOCH
        .checked_add(end)
        .ok_or_else(|| TokenError::BadClaim("exp".to_owned()))?;
    Ok(VerifiedToken {
        issuer: issuer.name.clone(),
        subject,
        groups,
        claims,
        expires,
        preset: issuer.preset,
        ends_job: issuer.token_expiry == TokenExpiry::EndJob,
        once,
    })
}

fn text<'a>(
    claims: &'a BTreeMap<String, Value>,
    claim: &'static str,
) -> Result<&'a str, TokenError> {
    let value = claims.get(claim).ok_or(TokenError::MissingClaim(claim))?;
    value
        .as_str()
        .ok_or_else(|| TokenError::BadClaim(claim.to_owned()))
}

fn time(
    claims: &BTreeMap<String, Value>,
    claim: &'static str,
) -> Result<Option<Duration>, TokenError> {
    let Some(value) = claims.get(claim) else {
        return Ok(None);
    };
    // RFC 7519 allows fractions of a second.
    value
        .as_u64()
        .map(Duration::from_secs)
        .or_else(|| {
            value
                .as_f64()
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        })
        .map(Some)
        .ok_or_else(|| TokenError::BadClaim(claim.to_owned()))
}

fn audience(claims: &BTreeMap<String, Value>, expected: &str) -> Result<(), TokenError> {
    let found = claims.get("aud").ok_or(TokenError::MissingClaim("aud"))?;
    let found: Vec<&str> = match found {
        Value::String(one) => vec![one],
        Value::Array(many) => many
            .iter()
            .map(|one| {
                one.as_str()
                    .ok_or_else(|| TokenError::BadClaim("aud".to_owned()))
            })
            .collect::<Result<_, _>>()?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            return Err(TokenError::BadClaim("aud".to_owned()));
        }
    };
    if found.contains(&expected) {
        return Ok(());
    }
    Err(TokenError::Audience {
        expected: expected.to_owned(),
        found: format!("`{}`", shown(&found.join("`, `"))),
    })
}

fn groups(claims: &BTreeMap<String, Value>, claim: &str) -> Result<Vec<String>, TokenError> {
    let bad = || TokenError::BadClaim(claim.to_owned());
    match claims.get(claim) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(groups)) if groups.len() <= MAX_GROUPS => groups
            .iter()
            .map(|group| group.as_str().map(str::to_owned).ok_or_else(bad))
            .collect(),
        Some(_) => Err(bad()),
    }
}

/// Tokens with a `jti` are told apart by it, others by all of their signed content. Not by the
/// signature: who changes an ECDSA signature into its other valid form must not gain a new token.
fn once(
    claims: &BTreeMap<String, Value>,
    token: &str,
    issuer: &Issuer,
) -> Result<[u8; 32], TokenError> {
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
    let (kind, value) = match claims.get("jti") {
        None | Some(Value::Null) => (b'd', signed),
        Some(Value::String(jti)) => (b'j', jti.as_str()),
        Some(_) => return Err(TokenError::BadClaim("jti".to_owned())),
    };
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&[kind]);
    context.update(&(issuer.url.len() as u64).to_be_bytes());
    context.update(issuer.url.as_bytes());
    context.update(value.as_bytes());
    let mut once = [0; 32];
    once.copy_from_slice(context.finish().as_ref());
    Ok(once)
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
