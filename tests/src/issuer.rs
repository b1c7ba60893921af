//! A small token issuer: discovery document and key set over HTTP on loopback, signed tokens, and
//! logins of people.

use std::{
    io::{BufRead, BufReader, Read, Write},
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

use crate::people::{Fault, People, Reply};

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
    jwks: Value,
    signer: Arc<Signer>,
    people: Arc<People>,
    offered: Arc<Mutex<Option<String>>>,
}

/// What a job of the tests shows to be given a token, as GitHub's jobs do.
pub const TOKEN_BEARER: &str = "bearer-of-the-job-3d1c";

/// What signs its tokens.
#[derive(Debug)]
struct Signer {
    url: String,
    es: EcdsaKeyPair,
    rsa: rsa::KeyPair,
    serial: AtomicU64,
}

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
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "code_challenge_methods_supported": ["S256"],
            "id_token_signing_alg_values_supported": ["ES256", "RS256"],
            "response_types_supported": ["code", "id_token"],
            "subject_types_supported": ["public"],
        });
        let signer = Arc::new(Signer {
            url,
            es,
            rsa,
            serial: AtomicU64::new(0),
        });
        let people = Arc::new(People::default());
        let offered: Arc<Mutex<Option<String>>> = Arc::default();
        let service = Arc::new(Service {
            offered: Arc::clone(&offered),
            keys: jwks.to_string(),
            discovery: discovery.to_string(),
            signer: Arc::clone(&signer),
            people: Arc::clone(&people),
        });
        thread::Builder::new()
            .name("issuer".to_owned())
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    // One each: a browser opens connections that it does not use at once.
                    let service = Arc::clone(&service);
                    thread::spawn(move || {
                        // A client that goes away is its own problem.
                        let _ = service.answer(&stream);
                    });
                }
            })?;
        Ok(Self {
            jwks,
            signer,
            people,
            offered,
        })
    }

    /// Gives this token to whoever asks at `/job-token` with [`TOKEN_BEARER`] for [`AUDIENCE`], once.
    pub fn offer(&self, token: String) {
        *self.offered.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
    }

    /// Makes a person known, who can log in under this name with these claims.
    pub fn add_person(&self, name: &str, claims: Value) {
        self.people.add(name, claims);
    }

    /// What logins go wrong by from now on.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.people.set_fault(fault);
    }

    /// The issuer's URL, as in `iss`.
    pub fn url(&self) -> &str {
        &self.signer.url
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
        self.signer.issue(algorithm, claims)
    }
}

impl Signer {
    fn issue(&self, algorithm: Algorithm, claims: &Value) -> Result<String> {
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

/// What is served over HTTP.
struct Service {
    keys: String,
    discovery: String,
    signer: Arc<Signer>,
    people: Arc<People>,
    offered: Arc<Mutex<Option<String>>>,
}

impl Service {
    /// The token that is offered, as GitHub gives it.
    fn job_token(&self, query: &str, authorization: &str) -> Reply {
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        let right = authorization == format!("Bearer {TOKEN_BEARER}")
            && query.contains(&format!("audience={AUDIENCE}"));
        match offered.take().filter(|_| right) {
            Some(token) => Reply::Json(json!({ "count": 1, "value": token }).to_string()),
            None => Reply::Refused("there is no token for you".to_owned()),
        }
    }

    fn answer(&self, mut stream: &TcpStream) -> Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut reader = BufReader::new(stream);
        let mut request = String::new();
        reader.read_line(&mut request)?;
        let (mut length, mut authorization) = (0, String::new());
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? <= 2 {
                break;
            }
            let (name, value) = header.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse()?,
                "authorization" => value.trim().clone_into(&mut authorization),
                _ => {}
            }
        }
        let mut body = String::new();
        reader.take(length).read_to_string(&mut body)?;
        let target = request.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let reply = match path {
            "/.well-known/openid-configuration" => Reply::Json(self.discovery.clone()),
            "/jwks" => Reply::Json(self.keys.clone()),
            "/job-token" => self.job_token(query, &authorization),
            "/authorize" => self.people.authorize(query),
            "/token" => match self.people.token(&authorization, &body) {
                Ok(claims) => Reply::Json(
                    json!({ "token_type": "Bearer", "access_token": "unused", "id_token": self.signer.issue(Algorithm::Rs256, &claims)? }).to_string(),
                ),
                Err(error) => Reply::Refused(error),
            },
            _ => Reply::Refused("nothing is here".to_owned()),
        };
        let (status, more, body) = match reply {
            Reply::Json(body) => (
                "200 OK",
                "Content-Type: application/json\r\n".to_owned(),
                body,
            ),
            Reply::Page(body) => ("200 OK", "Content-Type: text/html\r\n".to_owned(), body),
            Reply::Redirect(to) => ("302 Found", format!("Location: {to}\r\n"), String::new()),
            Reply::Refused(why) => ("400 Bad Request", String::new(), why),
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )?;
        Ok(())
    }
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
