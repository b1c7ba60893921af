//! Key sets from a server that is down, changes, or misbehaves.

use serde_json::json;

use super::*;
use crate::identity::testing::{TestKey, Web, issuer_at, keys_of};

fn set(keys: &[serde_json::Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn keys_at(web: &Web) -> IssuerKeys {
    keys_of(&issuer_at(
        "https://issuer.test",
        JwksSource::Url(web.url("/jwks")),
    ))
}

fn unavailable(result: Result<VerifyingKey, KeysError>) -> String {
    match result.unwrap_err() {
        KeysError::Unavailable { reason, .. } => reason,
        KeysError::Unknown { .. } => panic!("the keys are said to be there"),
    }
}

#[tokio::test]
async fn a_known_key_is_fetched_once() {
    let web = Web::start();
    web.body(&set(&[
        TestKey::es256().jwk("a"),
        TestKey::rs256().jwk("b"),
    ]));
    let keys = keys_at(&web);
    let now = Instant::now();
    assert_eq!(
        keys.key("a", now).await.unwrap().algorithm,
        Algorithm::ES256
    );
    assert_eq!(
        keys.key("b", now).await.unwrap().algorithm,
        Algorithm::RS256
    );
    assert_eq!(web.requests(), 1);
}

#[tokio::test]
async fn a_rotated_key_is_found_after_the_pause_and_not_by_asking_often() {
    let web = Web::start();
    web.body(&set(&[TestKey::es256().jwk("a")]));
    let keys = keys_at(&web);
    let now = Instant::now();
    keys.key("a", now).await.unwrap();
    web.body(&set(&[TestKey::es256().jwk("b")]));
    for second in 0..30 {
        let error = keys
            .key("b", now + Duration::from_secs(second))
            .await
            .unwrap_err();
        assert_eq!(
            error,
            KeysError::Unknown {
                issuer: "test".to_owned(),
                kid: "b".to_owned()
            }
        );
    }
    assert_eq!(web.requests(), 1);
    keys.key("b", now + REFRESH_PAUSE).await.unwrap();
    assert_eq!(web.requests(), 2);
    assert!(
        keys.key("a", now + REFRESH_PAUSE).await.is_err(),
        "a withdrawn key is gone"
    );
}

#[tokio::test]
async fn the_last_good_set_serves_for_a_day_while_the_issuer_is_down() {
    let web = Web::start();
    web.body(&set(&[TestKey::es256().jwk("a")]));
    let keys = keys_at(&web);
    let now = Instant::now();
    keys.key("a", now).await.unwrap();
    web.raw("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    keys.key("a", now + REFRESH_AFTER).await.unwrap();
    assert_eq!(
        web.requests(),
        2,
        "an hour later the set was asked for again"
    );
    keys.key(
        "a",
        now + KEEP_LAST_GOOD.saturating_sub(Duration::from_secs(1)),
    )
    .await
    .unwrap();
    let reason = unavailable(keys.key("a", now + KEEP_LAST_GOOD).await);
    assert!(reason.contains("503"), "{reason}");
}

#[tokio::test]
async fn an_issuer_that_is_down_is_said_to_be_and_is_asked_again() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let down = keys_of(&issuer_at(
        "https://issuer.test",
        JwksSource::Url(format!("http://{closed}/jwks")),
    ));
    let reason = unavailable(down.key("a", Instant::now()).await);
    assert!(
        reason.contains("cannot fetch") && reason.contains("refused"),
        "{reason}"
    );

    let web = Web::start();
    web.raw("");
    let keys = keys_at(&web);
    let now = Instant::now();
    assert!(keys.key("a", now).await.is_err());
    web.body(&set(&[TestKey::es256().jwk("a")]));
    keys.key("a", now + REFRESH_PAUSE).await.unwrap();
}

/// The clock is the tests' own: nobody waits.
#[tokio::test(start_paused = true)]
async fn an_issuer_that_does_not_answer_in_time_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let keys = keys_of(&issuer_at(
        crate::identity::testing::ISSUER,
        JwksSource::Url(url),
    ));
    let error = keys.key("key-1", Instant::now()).await.unwrap_err();
    assert!(
        matches!(&error, KeysError::Unavailable { reason, .. } if reason.contains("timed out")),
        "{error}"
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (web, elsewhere) = (Web::start(), Web::start());
    elsewhere.body(&set(&[TestKey::es256().jwk("a")]));
    web.raw(&format!(
        "HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        elsewhere.url("/jwks")
    ));
    let reason = unavailable(keys_at(&web).key("a", Instant::now()).await);
    assert!(reason.contains("redirect"), "{reason}");
    assert_eq!(elsewhere.requests(), 0);
}

#[tokio::test]
async fn an_oversized_answer_is_refused_with_and_without_a_length() {
    let body = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(2 * 1024 * 1024));
    let web = Web::start();
    web.body(&body);
    assert!(unavailable(keys_at(&web).key("a", Instant::now()).await).contains("larger"));
    web.raw(&format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}"
    ));
    assert!(unavailable(keys_at(&web).key("a", Instant::now()).await).contains("larger"));
}

#[tokio::test]
async fn garbage_and_sets_without_usable_keys_are_refused() {
    let mut small = TestKey::rs256().jwk("weak");
    // 1024 bits.
    small["n"] = json!(URL_SAFE_NO_PAD.encode([0xc1; 128]));
    let mut encryption = TestKey::es256().jwk("enc");
    encryption["use"] = json!("enc");
    let mut other_curve = TestKey::es256().jwk("curve");
    other_curve["crv"] = json!("P-384");
    let mut other_algorithm = TestKey::rs256().jwk("ps");
    other_algorithm["alg"] = json!("PS256");
    let mut nameless = TestKey::es256().jwk("x");
    nameless.as_object_mut().unwrap().remove("kid");
    let symmetric = json!({ "kty": "oct", "kid": "oct", "k": "AAAA", "alg": "HS256" });
    let twice = TestKey::es256().jwk("a");
    for body in [
        "<html>".to_owned(),
        "{}".to_owned(),
        "[]".to_owned(),
        set(&[]),
        set(&[
            small,
            encryption,
            other_curve,
            other_algorithm,
            nameless,
            symmetric,
            json!(1),
        ]),
        set(&[twice.clone(), twice]),
    ] {
        let web = Web::start();
        web.body(&body);
        let keys = keys_at(&web);
        for kid in ["a", "weak", "enc", "curve", "ps", "oct"] {
            assert!(!unavailable(keys.key(kid, Instant::now()).await).is_empty());
        }
    }
}

#[tokio::test]
async fn keys_are_found_through_the_discovery_document_of_this_issuer_only() {
    let (web, jwks) = (Web::start(), Web::start());
    jwks.body(&set(&[TestKey::es256().jwk("a")]));
    let url = web.url("");
    let keys = || keys_of(&issuer_at(&url, JwksSource::Discovery));
    web.body(&json!({ "issuer": url, "jwks_uri": jwks.url("/keys") }).to_string());
    keys().key("a", Instant::now()).await.unwrap();
    web.body(&json!({ "issuer": "https://other.test", "jwks_uri": jwks.url("/keys") }).to_string());
    assert!(unavailable(keys().key("a", Instant::now()).await).contains("another issuer"));
    web.body(&json!({ "issuer": url, "jwks_uri": "http://192.0.2.1/keys" }).to_string());
    assert!(
        unavailable(keys().key("a", Instant::now()).await)
            .contains("neither https nor http on loopback")
    );
    web.body(&json!({ "issuer": url, "jwks_uri": "file:///etc/passwd" }).to_string());
    assert!(unavailable(keys().key("a", Instant::now()).await).contains("neither"));
}

#[tokio::test]
async fn a_key_set_that_everybody_can_change_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, set(&[TestKey::es256().jwk("a")])).unwrap();
    let keys = || {
        keys_of(&issuer_at(
            "https://issuer.test",
            JwksSource::File(path.clone()),
        ))
    };
    keys().key("a", Instant::now()).await.unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert!(unavailable(keys().key("a", Instant::now()).await).contains("chmod"));
}

#[test]
fn loopback_is_told_by_the_address_and_not_by_a_lookalike() {
    let is = |url: &str| super::super::is_loopback(&reqwest::Url::parse(url).unwrap());
    assert!(
        is("http://127.0.0.1:80/")
            && is("http://[::1]/")
            && is("http://localhost/")
            && is("http://[::ffff:127.0.0.1]/")
    );
    assert!(
        !is("http://127.0.0.1.evil.test/")
            && !is("http://localhost.evil.test/")
            && !is("http://10.0.0.1/")
    );
}
