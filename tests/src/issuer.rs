//! A small token issuer: discovery document and key set over HTTP on loopback, and signed tokens.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    rsa,
    signature::{self, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};

/// The audience that the tests' daemons expect.
pub const AUDIENCE: &str = "cordon-tests";

/// `repository_id` of the tests' grants.
pub const REPOSITORY: &str = "123456";

const ES_KID: &str = "es-1";
const RSA_KID: &str = "rsa-1";

/// The signature algorithm of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA P-256.
    Es256,
    /// RSA PKCS#1 v1.5.
    Rs256,
}

/// An issuer with one EC and one RSA key.
#[derive(Debug)]
pub struct Issuer {
    url: String,
    jwks: Value,
    es: EcdsaKeyPair,
    rsa: rsa::KeyPair,
    serial: AtomicU64,
    offered: Arc<Mutex<Option<String>>>,
}

/// What a job of the tests shows to be given a token, as GitHub's jobs do.
pub const TOKEN_BEARER: &str = "bearer-of-the-job-3d1c";

impl Issuer {
    /// Makes keys and starts to serve. The server lives as long as the process.
    pub fn start() -> Result<Self> {
        let random = SystemRandom::new();
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random)
            .map_err(|e| anyhow!("making an EC key: {e}"))?;
        let es = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random)
            .map_err(|e| anyhow!("EC key: {e}"))?;
        // ring cannot make RSA keys; this one signs tokens for tests and nothing else.
        let rsa = rsa::KeyPair::from_pkcs8(include_bytes!("../fixtures/issuer-rsa-2048.pk8"))
            .map_err(|e| anyhow!("the RSA fixture: {e}"))?;
        let jwks = key_set(&es, &rsa)?;

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("binding the issuer")?;
        let url = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
        let discovery = json!({
            "issuer": url,
            "jwks_uri": format!("{url}/jwks"),
            "id_token_signing_alg_values_supported": ["ES256", "RS256"],
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
        });
        let (keys, discovery) = (jwks.to_string(), discovery.to_string());
        let offered: Arc<Mutex<Option<String>>> = Arc::default();
        let offers = offered.clone();
        thread::Builder::new()
            .name("issuer".to_owned())
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    // A client that goes away is its own problem.
                    let _ = answer(&stream, &discovery, &keys, &offers);
                }
            })?;
        Ok(Self {
            url,
            jwks,
            es,
            rsa,
            serial: AtomicU64::new(0),
            offered,
        })
    }

    /// Gives this token to whoever asks at `/token` with [`TOKEN_BEARER`] for [`AUDIENCE`], once.
    pub fn offer(&self, token: String) {
        *self.offered.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
    }

    /// The issuer's URL, as in `iss`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The key set.
    pub fn jwks(&self) -> &Value {
        &self.jwks
    }

    /// Writes the key set to a file.
    pub fn write_jwks(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.jwks.to_string())
            .with_context(|| format!("writing {}", path.display()))
    }

    /// A token for the tests' repository, with these claims added or replaced (`null` removes
    /// one), signed with ES256.
    pub fn issue(&self, claims: &Value) -> Result<String> {
        self.issue_with(Algorithm::Es256, claims)
    }

    /// As [`Issuer::issue`], with the algorithm chosen.
    pub fn issue_with(&self, algorithm: Algorithm, claims: &Value) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let mut all = json!({
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "repo:acme/shop:ref:refs/heads/main",
            "iat": now,
            "nbf": now,
            "exp": now + 300,
            "jti": format!("jti-{}-{}", crate::host::unique(), self.serial.fetch_add(1, Ordering::Relaxed)),
            "repository_id": REPOSITORY,
            "ref": "refs/heads/main",
            "run_id": "4242",
        });
        if let (Some(all), Some(extra)) = (all.as_object_mut(), claims.as_object()) {
            for (name, value) in extra {
                if value.is_null() {
                    all.remove(name);
                } else {
                    all.insert(name.clone(), value.clone());
                }
            }
        }
        self.sign(algorithm, &all)
    }

    fn sign(&self, algorithm: Algorithm, claims: &Value) -> Result<String> {
        let header = match algorithm {
            Algorithm::Es256 => json!({ "typ": "JWT", "alg": "ES256", "kid": ES_KID }),
            Algorithm::Rs256 => json!({ "typ": "JWT", "alg": "RS256", "kid": RSA_KID }),
        };
        let signed = format!(
            "{}.{}",
            encode(header.to_string().as_bytes()),
            encode(claims.to_string().as_bytes())
        );
        let random = SystemRandom::new();
        let signature = match algorithm {
            Algorithm::Es256 => {
                let signature = self
                    .es
                    .sign(&random, signed.as_bytes())
                    .map_err(|e| anyhow!("signing: {e}"))?;
                encode(signature.as_ref())
            }
            Algorithm::Rs256 => {
                let mut signature = vec![0; self.rsa.public().modulus_len()];
                self.rsa
                    .sign(
                        &signature::RSA_PKCS1_SHA256,
                        &random,
                        signed.as_bytes(),
                        &mut signature,
                    )
                    .map_err(|e| anyhow!("signing: {e}"))?;
                encode(&signature)
            }
        };
        Ok(format!("{signed}.{signature}"))
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn key_set(es: &EcdsaKeyPair, rsa: &rsa::KeyPair) -> Result<Value> {
    // Uncompressed point: 0x04, x, y.
    let point = es.public_key().as_ref();
    let (x, y) = point
        .get(1..)
        .and_then(|xy| xy.split_at_checked(32))
        .context("unexpected length of an EC point")?;
    let rsa = rsa::PublicKeyComponents::<Vec<u8>>::from(rsa.public());
    Ok(json!({ "keys": [
        { "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": ES_KID, "x": encode(x), "y": encode(y) },
        { "kty": "RSA", "use": "sig", "alg": "RS256", "kid": RSA_KID, "n": encode(&rsa.n), "e": encode(&rsa.e) },
    ]}))
}

fn answer(
    mut stream: &TcpStream,
    discovery: &str,
    keys: &str,
    offered: &Mutex<Option<String>>,
) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    let mut bearer = false;
    while reader.read_line(&mut header)? > 2 {
        let (name, value) = header.split_once(':').unwrap_or_default();
        bearer |= name.eq_ignore_ascii_case("authorization")
            && value.trim() == format!("Bearer {TOKEN_BEARER}");
        header.clear();
    }
    let given;
    let (status, body) = match request.split(' ').nth(1) {
        Some(path) if path.starts_with("/token?") => {
            let asked = path.contains(&format!("audience={AUDIENCE}"));
            let mut offered = offered.lock().unwrap_or_else(PoisonError::into_inner);
            match offered.take().filter(|_| bearer && asked) {
                Some(token) => {
                    given = json!({ "count": 1, "value": token }).to_string();
                    ("200 OK", given.as_str())
                }
                None => ("403 Forbidden", "{}"),
            }
        }
        Some("/.well-known/openid-configuration") => ("200 OK", discovery),
        Some("/jwks") => ("200 OK", keys),
        _ => ("404 Not Found", "{}"),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_verify_against_the_published_keys() -> Result<()> {
        let issuer = Issuer::start()?;
        for algorithm in [Algorithm::Es256, Algorithm::Rs256] {
            let token =
                issuer.issue_with(algorithm, &json!({ "ref": "refs/heads/x", "run_id": null }))?;
            let (signed, signature) = token.rsplit_once('.').context("no signature")?;
            let signature = URL_SAFE_NO_PAD.decode(signature)?;
            let part = |key: usize, name: &str| -> Result<Vec<u8>> {
                let text = issuer.jwks()["keys"][key][name]
                    .as_str()
                    .context("missing in the key set")?;
                Ok(URL_SAFE_NO_PAD.decode(text)?)
            };
            let verified = match algorithm {
                Algorithm::Es256 => {
                    let point = [vec![4], part(0, "x")?, part(0, "y")?].concat();
                    signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                        .verify(signed.as_bytes(), &signature)
                }
                Algorithm::Rs256 => signature::RsaPublicKeyComponents {
                    n: part(1, "n")?,
                    e: part(1, "e")?,
                }
                .verify(
                    &signature::RSA_PKCS1_2048_8192_SHA256,
                    signed.as_bytes(),
                    &signature,
                ),
            };
            assert!(verified.is_ok(), "{algorithm:?}");
            let claims = signed.split_once('.').context("no claims")?.1;
            let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
            assert_eq!(claims["ref"], "refs/heads/x");
            assert!(claims.get("run_id").is_none());
        }
        Ok(())
    }
}
