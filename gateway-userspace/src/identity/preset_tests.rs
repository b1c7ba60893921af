//! Tokens of each CI system, in the shape that it issues them in, signed by a key of the tests.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::{
    config::Issuer,
    identity::{
        TokenError, Tokens, VerifiedToken,
        testing::{ISSUER, TestKey, issuer, tokens},
    },
};

const PRESETS: [(Preset, &str); 5] = [
    (Preset::Github, include_str!("testdata/github.json")),
    (Preset::Gitlab, include_str!("testdata/gitlab.json")),
    (Preset::Buildkite, include_str!("testdata/buildkite.json")),
    (Preset::Circleci, include_str!("testdata/circleci.json")),
    (Preset::Jenkins, include_str!("testdata/jenkins.json")),
];

/// The claims of a recorded token, issued now.
fn recorded(preset: Preset) -> Value {
    let (_, text) = PRESETS
        .into_iter()
        .find(|(known, _)| *known == preset)
        .unwrap();
    let mut claims: Value = serde_json::from_str(text).unwrap();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let fields = claims.as_object_mut().unwrap();
    let lifetime = fields.remove("lifetime").unwrap().as_u64().unwrap();
    fields.insert("iss".to_owned(), json!(ISSUER));
    fields.insert("iat".to_owned(), json!(now));
    // GitLab's begins five seconds early.
    fields.insert("nbf".to_owned(), json!(now - 5));
    fields.insert("exp".to_owned(), json!(now + lifetime));
    claims
}

struct Issued {
    _folder: TempDir,
    key: TestKey,
    tokens: Tokens,
}

impl Issued {
    fn by(preset: Preset, change: impl FnOnce(&mut Issuer)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = TestKey::rs256();
        let mut issuer = issuer(folder.path(), &[key.jwk("key-1")]);
        issuer.preset = Some(preset);
        issuer.max_lifetime = preset.max_lifetime();
        change(&mut issuer);
        let tokens = tokens(issuer);
        Self {
            _folder: folder,
            key,
            tokens,
        }
    }

    async fn verify(&self, claims: &Value) -> Result<VerifiedToken, TokenError> {
        let token = self.key.token(claims);
        self.tokens.verify(&token, SystemTime::now()).await
    }
}

fn with(preset: Preset, claim: &str, value: Value) -> Value {
    let mut claims = recorded(preset);
    let fields = claims.as_object_mut().unwrap();
    if value.is_null() {
        fields.remove(claim);
    } else {
        fields.insert(claim.to_owned(), value);
    }
    claims
}

#[tokio::test]
async fn a_recorded_token_of_each_system_is_accepted_and_one_without_its_claims_is_not() {
    for (preset, _) in PRESETS {
        let issued = Issued::by(preset, |_| {});
        let token = issued.verify(&recorded(preset)).await;
        assert!(token.is_ok(), "{preset:?}: {token:?}");
        for claim in shape(preset).required {
            let error = issued
                .verify(&with(preset, claim, Value::Null))
                .await
                .unwrap_err();
            assert_eq!(error, TokenError::MissingClaim(claim), "{preset:?}");
            let error = issued
                .verify(&with(preset, claim, json!(["x"])))
                .await
                .unwrap_err();
            assert_eq!(
                error,
                TokenError::BadClaim((*claim).to_owned()),
                "{preset:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_token_that_lives_longer_than_its_system_issues_them_is_refused() {
    for (preset, _) in PRESETS {
        let issued = Issued::by(preset, |_| {});
        let mut claims = recorded(preset);
        let late = claims["iat"].as_u64().unwrap() + preset.max_lifetime().as_secs() + 60;
        claims["exp"] = json!(late);
        let error = issued.verify(&claims).await.unwrap_err();
        assert!(
            matches!(error, TokenError::Lifetime { .. }),
            "{preset:?}: {error}"
        );
    }
    assert_eq!(Preset::Github.max_lifetime(), Duration::from_mins(10));
}

#[tokio::test]
async fn jobs_that_are_not_what_they_seem_are_refused_unless_the_issuer_says_so() {
    for (preset, claim, value, part) in [
        // The fork's project is 99; its code runs in project 20.
        (
            Preset::Gitlab,
            "project_id",
            json!("99"),
            "merge request from a fork",
        ),
        (
            Preset::Github,
            "event_name",
            json!("pull_request_target"),
            "pull_request_target",
        ),
        (
            Preset::Circleci,
            "oidc.circleci.com/ssh-rerun",
            json!(true),
            "with SSH",
        ),
    ] {
        let claims = with(preset, claim, value);
        let error = Issued::by(preset, |_| {})
            .verify(&claims)
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(part) && text.contains("forks: allow"),
            "{text}"
        );
        let allowed = Issued::by(preset, |issuer| issuer.forks = true);
        assert!(allowed.verify(&claims).await.is_ok(), "{preset:?}");
    }
}

fn claims_of(preset: Preset) -> BTreeMap<String, Value> {
    serde_json::from_value(recorded(preset)).unwrap()
}

/// The environment that a runner of this system would make for the recorded token.
fn environment(preset: Preset) -> Vec<(&'static str, String)> {
    let claims = claims_of(preset);
    let mut variables: Vec<_> = shape(preset)
        .ties
        .iter()
        .filter_map(|(claim, variable)| Some((*variable, spelled(claims.get(*claim)?)?)))
        .collect();
    if preset == Preset::Gitlab {
        variables.push(("CI_PROJECT_ID", "20".to_owned()));
    }
    variables
}

fn environment_of(variables: &[(&str, String)]) -> Environment {
    let mut text = Vec::new();
    for (name, value) in variables {
        text.extend_from_slice(format!("{name}={value}\0").as_bytes());
    }
    Environment::parsed(&text)
}

#[test]
fn a_token_of_another_job_than_the_runners_is_told_by_every_tie() {
    for (preset, _) in PRESETS {
        let claims = claims_of(preset);
        let right = environment(preset);
        assert_eq!(
            check_environment(preset, &claims, &environment_of(&right), true),
            Ok(())
        );
        for at in 0..right.len() {
            let mut wrong = right.clone();
            wrong[at].1.push('0');
            let found = check_environment(preset, &claims, &environment_of(&wrong), true);
            assert!(
                matches!(found, Err(Mismatch::Differs { variable, .. }) if variable == right[at].0),
                "{preset:?} {}: {found:?}",
                right[at].0
            );
        }
        // What names the job must be there where a runner's hook asks, and need not elsewhere.
        let empty = Environment::default();
        assert!(matches!(
            check_environment(preset, &claims, &empty, true),
            Err(Mismatch::Unnamed(_))
        ));
        assert_eq!(check_environment(preset, &claims, &empty, false), Ok(()));
    }
}

#[test]
fn the_runners_word_names_the_job_or_counts_for_nothing() {
    for (preset, _) in PRESETS {
        let claims = asserted(preset, &environment_of(&environment(preset))).unwrap();
        let token = claims_of(preset);
        for (claim, value) in &claims {
            assert_eq!(spelled(value), spelled(&token[claim]), "{preset:?} {claim}");
        }
        assert!(matches!(
            asserted(preset, &Environment::default()),
            Err(Mismatch::Unnamed(_))
        ));
    }
}
