//! Tokens of GitHub Actions, requested as the job at hand may request them.

use anyhow::{Context, anyhow, bail};
use reqwest::Url;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{cli::client, identity::Fetcher};

const URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const BEARER: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

/// A new token for this audience.
///
/// # Errors
/// If the job may not have one, or GitHub does not answer.
pub(super) fn request_token(audience: &str) -> anyhow::Result<Zeroizing<String>> {
    #[derive(Deserialize)]
    struct Answer {
        value: String,
    }
    let (Ok(url), Ok(bearer)) = (std::env::var(URL), std::env::var(BEARER)) else {
        bail!(
            "this job may not request a token: {URL} is not set; give it `permissions: {{ id-token: write }}` in its workflow"
        );
    };
    let bearer = Zeroizing::new(bearer);
    let mut url = Url::parse(&url).with_context(|| format!("{URL} is not a URL"))?;
    url.query_pairs_mut().append_pair("audience", audience);
    // The default for libraries that ask for one.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let document = client::runtime()?
        .block_on(async {
            let fetcher = Fetcher::new(None)?;
            fetcher.get_as(url.as_str(), Some(&bearer)).await
        })
        .map_err(|error| anyhow!("no token could be requested: {error}"))?;
    let document = Zeroizing::new(document);
    let answer: Answer = serde_json::from_slice(&document)
        .map_err(|_may_hold_it| anyhow!("the answer to the request for a token holds none"))?;
    Ok(Zeroizing::new(answer.value))
}
