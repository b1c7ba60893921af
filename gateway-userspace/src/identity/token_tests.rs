//! Tokens that must be refused, and how. Keys and tokens are real.

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::identity::testing::{AUDIENCE, ISSUER, TestKey, b64, claims, issuer, tokens};

struct Setup {
    _folder: TempDir,
    key: TestKey,
    tokens: Tokens,
    now: SystemTime,
}

fn setup_with(key: TestKey) -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let tokens = tokens(issuer(folder.path(), &[key.jwk("key-1")]));
    Setup {
        _folder: folder,
        key,
        tokens,
        now: SystemTime::now(),
    }
}

fn setup() -> Setup {
    setup_with(TestKey::es256())
}

impl Setup {
    async fn verify(&self, claims: &Value) -> Result<VerifiedToken, TokenError> {
        self.tokens.verify(&self.key.token(claims), self.now).await
    }

    /// Verifies right claims with one of them changed; `Null` removes it.
    async fn with(&self, claim: &str, value: Value) -> Result<VerifiedToken, TokenError> {
        let mut claims = claims(self.now);
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(claim),
            value => claims
                .as_object_mut()
                .unwrap()
                .insert(claim.to_owned(), value),
        };
        self.verify(&claims).await
    }

    fn seconds(&self) -> u64 {
        self.now.duration_since(UNIX_EPOCH).unwrap().as_secs()
    }
}

#[tokio::test]
async fn a_right_token_is_accepted_with_its_claims_in_both_algorithms() {
    for key in [TestKey::es256(), TestKey::rs256()] {
        let setup = setup_with(key);
        let token = setup.verify(&claims(setup.now)).await.unwrap();
        assert_eq!(
            (token.issuer(), token.subject()),
            ("test", "repo:acme/shop")
        );
        assert_eq!(token.groups, ["builders"]);
        assert_eq!(token.claims["repository_id"], "123456");
    }
}

#[tokio::test]
async fn an_unsigned_token_is_refused() {
    let setup = setup();
    for alg in ["none", "None", "NONE", ""] {
        let header = b64(json!({ "alg": alg, "kid": "key-1" }).to_string().as_bytes());
        let payload = b64(claims(setup.now).to_string().as_bytes());
        for signature in ["", "AAAA"] {
            let error = setup
                .tokens
                .verify(&format!("{header}.{payload}.{signature}"), setup.now)
                .await
                .unwrap_err();
            assert_eq!(error, TokenError::Algorithm(alg.to_owned()));
        }
    }
}

#[tokio::test]
async fn a_token_signed_with_the_public_key_as_hmac_secret_is_refused() {
    let setup = setup_with(TestKey::rs256());
    let jwk = setup.key.jwk("key-1");
    let secret = ring::hmac::Key::new(
        ring::hmac::HMAC_SHA256,
        jwk["n"].as_str().unwrap().as_bytes(),
    );
    for alg in ["HS256", "HS384", "HS512"] {
        let header = b64(json!({ "alg": alg, "kid": "key-1" }).to_string().as_bytes());
        let message = format!("{header}.{}", b64(claims(setup.now).to_string().as_bytes()));
        let token = format!(
            "{message}.{}",
            b64(ring::hmac::sign(&secret, message.as_bytes()).as_ref())
        );
        assert_eq!(
            setup.tokens.verify(&token, setup.now).await.unwrap_err(),
            TokenError::Algorithm(alg.to_owned())
        );
    }
}

#[tokio::test]
async fn a_key_is_used_with_its_own_algorithm_only() {
    let setup = setup();
    let token = setup.key.sign(
        &json!({ "alg": "RS256", "kid": "key-1" }),
        &claims(setup.now),
    );
    assert_eq!(
        setup.tokens.verify(&token, setup.now).await.unwrap_err(),
        TokenError::AlgorithmMismatch {
            token: "RS256",
            key: "ES256"
        }
    );
}

#[tokio::test]
async fn a_changed_or_foreign_signature_is_refused() {
    for key in [TestKey::es256(), TestKey::rs256()] {
        let setup = setup_with(key);
        let token = setup.key.token(&claims(setup.now));
        let (message, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = message.split_once('.').unwrap();
        let mut admin = claims(setup.now);
        admin["repository_id"] = json!("1");
        let changed = format!("{header}.{}.{signature}", b64(admin.to_string().as_bytes()));
        assert_eq!(
            setup.tokens.verify(&changed, setup.now).await.unwrap_err(),
            TokenError::Signature
        );
        assert_eq!(
            setup
                .tokens
                .verify(&format!("{message}."), setup.now)
                .await
                .unwrap_err(),
            TokenError::Signature
        );
    }
    let setup = setup();
    let foreign = TestKey::es256().token(&claims(setup.now));
    assert_eq!(
        setup.tokens.verify(&foreign, setup.now).await.unwrap_err(),
        TokenError::Signature
    );
}

#[tokio::test]
async fn a_key_that_the_token_brings_along_is_not_used() {
    let setup = setup();
    let own = TestKey::es256();
    for header in [
        json!({ "alg": "ES256", "kid": "key-1", "jwk": own.jwk("key-1") }),
        json!({ "alg": "ES256", "kid": "key-1", "jku": "http://127.0.0.1:9/jwks", "x5u": "http://127.0.0.1:9/x" }),
    ] {
        assert!(
            setup
                .tokens
                .verify(&own.sign(&header, &claims(setup.now)), setup.now)
                .await
                .is_err()
        );
    }
    let critical = json!({ "alg": "ES256", "kid": "key-1", "crit": ["b64"], "b64": false });
    let token = setup.key.sign(&critical, &claims(setup.now));
    assert_eq!(
        setup.tokens.verify(&token, setup.now).await.unwrap_err(),
        TokenError::Critical
    );
}

#[tokio::test]
async fn an_unknown_or_missing_key_id_is_refused() {
    let setup = setup();
    let unknown = setup.key.sign(
        &json!({ "alg": "ES256", "kid": "key-2" }),
        &claims(setup.now),
    );
    assert!(
        matches!(setup.tokens.verify(&unknown, setup.now).await.unwrap_err(), TokenError::Keys(KeysError::Unknown { kid, .. }) if kid == "key-2")
    );
    let missing = setup
        .key
        .sign(&json!({ "alg": "ES256" }), &claims(setup.now));
    assert_eq!(
        setup.tokens.verify(&missing, setup.now).await.unwrap_err(),
        TokenError::NoKeyId
    );
}

#[tokio::test]
async fn the_issuer_must_be_exact() {
    let setup = setup();
    for iss in [
        format!("{ISSUER}/"),
        ISSUER.to_uppercase(),
        format!("{ISSUER}.evil.test"),
        String::new(),
    ] {
        assert_eq!(
            setup.with("iss", json!(iss)).await.unwrap_err(),
            TokenError::UnknownIssuer(iss)
        );
    }
    assert_eq!(
        setup.with("iss", Value::Null).await.unwrap_err(),
        TokenError::MissingClaim("iss")
    );
    assert!(matches!(
        setup.with("iss", json!([ISSUER])).await.unwrap_err(),
        TokenError::Malformed(_)
    ));
}

#[tokio::test]
async fn the_audience_must_be_exact_or_one_of_an_array() {
    let setup = setup();
    setup.with("aud", json!(["other", AUDIENCE])).await.unwrap();
    for aud in [
        json!("sts.example"),
        json!(""),
        json!([]),
        json!(["other"]),
        json!(format!("{AUDIENCE} ")),
    ] {
        assert!(matches!(
            setup.with("aud", aud).await.unwrap_err(),
            TokenError::Audience { .. }
        ));
    }
    for aud in [json!(1), json!({ AUDIENCE: true }), json!([AUDIENCE, 1])] {
        assert_eq!(
            setup.with("aud", aud).await.unwrap_err(),
            TokenError::BadClaim("aud".to_owned())
        );
    }
    assert_eq!(
        setup.with("aud", Value::Null).await.unwrap_err(),
        TokenError::MissingClaim("aud")
    );
}

#[tokio::test]
async fn an_expired_token_is_refused_once_the_leeway_is_over() {
    let setup = setup();
    let now = setup.seconds();
    let mut old = claims(setup.now);
    old["iat"] = json!(now - 300);
    old["nbf"] = json!(now - 300);
    old["exp"] = json!(now - 29);
    setup.verify(&old).await.unwrap();
    old["exp"] = json!(now - 31);
    assert!(
        matches!(setup.verify(&old).await.unwrap_err(), TokenError::Expired(ago) if ago.as_secs() == 31)
    );
    assert_eq!(
        setup.with("exp", Value::Null).await.unwrap_err(),
        TokenError::MissingClaim("exp")
    );
    for exp in [json!("soon"), json!(-1), json!(1e300), json!([])] {
        assert_eq!(
            setup.with("exp", exp).await.unwrap_err(),
            TokenError::BadClaim("exp".to_owned())
        );
    }
    assert!(setup.with("exp", json!(u64::MAX)).await.is_err());
}

#[tokio::test]
async fn a_token_from_the_future_is_refused() {
    let setup = setup();
    let now = setup.seconds();
    setup.with("nbf", json!(now + 29)).await.unwrap();
    assert!(matches!(
        setup.with("nbf", json!(now + 60)).await.unwrap_err(),
        TokenError::NotYetValid(_)
    ));
    assert!(matches!(
        setup.with("iat", json!(now + 60)).await.unwrap_err(),
        TokenError::IssuedInFuture(_)
    ));
}

#[tokio::test]
async fn a_token_that_is_valid_for_too_long_is_refused() {
    let setup = setup();
    let now = setup.seconds();
    setup.with("exp", json!(now + 600)).await.unwrap();
    assert!(
        matches!(setup.with("exp", json!(now + 601)).await.unwrap_err(), TokenError::Lifetime { lifetime, .. } if lifetime.as_secs() == 601)
    );
    let mut no_start = claims(setup.now);
    for claim in ["iat", "nbf"] {
        no_start.as_object_mut().unwrap().remove(claim);
    }
    assert_eq!(
        setup.verify(&no_start).await.unwrap_err(),
        TokenError::MissingClaim("iat")
    );
}

#[tokio::test]
async fn groups_must_be_a_list_of_names() {
    let setup = setup();
    assert!(
        setup
            .with("groups", Value::Null)
            .await
            .unwrap()
            .groups
            .is_empty()
    );
    for groups in [json!("dba"), json!([1]), json!({ "dba": true })] {
        assert_eq!(
            setup.with("groups", groups).await.unwrap_err(),
            TokenError::BadClaim("groups".to_owned())
        );
    }
}

#[tokio::test]
async fn garbage_is_refused_without_repeating_it() {
    let setup = setup();
    let token = setup.key.token(&claims(setup.now));
    let huge = format!("{token}{}", "A".repeat(MAX_TOKEN));
    assert!(matches!(
        setup.tokens.verify(&huge, setup.now).await.unwrap_err(),
        TokenError::TooLarge { .. }
    ));
    let header = token.split('.').next().unwrap();
    let not_json = b64(b"SECRETSECRET");
    for garbage in [
        "SECRETSECRET".to_owned(),
        "..".to_owned(),
        "SECRET.SECRET.SECRET".to_owned(),
        format!("{token}.SECRET"),
        format!(" {token}"),
        format!("{not_json}.{not_json}.{not_json}"),
        format!("{header}.{not_json}.SECRET"),
        format!("{header}.{}.SECRET", b64(b"[1]")),
        String::new(),
        "\0\0\0".to_owned(),
    ] {
        let error = setup.tokens.verify(&garbage, setup.now).await.unwrap_err();
        assert!(!error.to_string().contains("SECRET"), "{error}");
    }
    // Every cut of a right token is refused.
    for end in 0..token.len() {
        assert!(setup.tokens.verify(&token[..end], setup.now).await.is_err());
    }
}

#[tokio::test]
async fn text_of_a_token_cannot_disturb_a_terminal_or_log() {
    let setup = setup();
    let error = setup
        .with("iss", json!(format!("\x1b[2J\n{}", "x".repeat(1000))))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        !error.contains(['\x1b', '\n']) && error.len() < 300,
        "{error}"
    );
}

#[tokio::test]
async fn a_token_is_itself_by_jti_or_by_its_signed_content() {
    let setup = setup();
    let right = claims(setup.now);
    let (one, again) = (
        setup.verify(&right).await.unwrap(),
        setup.verify(&right).await.unwrap(),
    );
    assert_eq!(
        one.once, again.once,
        "a second signature does not make a second token"
    );
    let mut anonymous = right.clone();
    anonymous.as_object_mut().unwrap().remove("jti");
    let (first, second) = (
        setup.verify(&anonymous).await.unwrap(),
        setup.verify(&anonymous).await.unwrap(),
    );
    assert_eq!(first.once, second.once);
    assert_ne!(first.once, one.once);
    anonymous["sub"] = json!("other");
    assert_ne!(setup.verify(&anonymous).await.unwrap().once, first.once);
    assert_eq!(
        setup.with("jti", json!(7)).await.unwrap_err(),
        TokenError::BadClaim("jti".to_owned())
    );
}
