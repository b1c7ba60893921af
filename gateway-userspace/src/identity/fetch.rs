//! Talking to an issuer: its documents, its token endpoint, tokens for the job at hand. Bounded in
//! size and time, never redirected.

use std::{net::IpAddr, sync::Arc, time::Duration};

use reqwest::{Client, RequestBuilder, Url, redirect::Policy};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_DOCUMENT: usize = 1024 * 1024;

/// Whether the URL's host is this host, whatever the name service says.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        None => false,
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback()),
    }
}

/// Talks to one issuer.
#[derive(Debug)]
pub(crate) struct Fetcher {
    tls: Client,
    loopback: Client,
}

impl Fetcher {
    /// `roots`: whom to trust; `None`: the system's roots.
    pub(crate) fn new(roots: Option<Arc<RootCertStore>>) -> Result<Self, String> {
        let roots = match roots {
            Some(roots) => roots,
            // Without roots every https fetch fails, and says so; http on loopback needs none.
            None => {
                crate::config::system_roots().unwrap_or_else(|_| Arc::new(RootCertStore::empty()))
            }
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("cannot set up TLS: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = |direct: bool| {
            let builder = Client::builder()
                .tls_backend_preconfigured(config.clone())
                .redirect(Policy::none())
                .timeout(TIMEOUT)
                .referer(false)
                .user_agent(concat!("cordon/", env!("CARGO_PKG_VERSION")));
            let builder = if direct { builder.no_proxy() } else { builder };
            builder
                .build()
                .map_err(|error| format!("cannot set up the HTTP client: {error}"))
        };
        Ok(Self {
            tls: client(false)?,
            loopback: client(true)?,
        })
    }

    /// The document at `url`; https, or http on loopback.
    pub(crate) async fn get(&self, url: &str) -> Result<Vec<u8>, String> {
        self.get_as(url, None).await
    }

    /// As [`Fetcher::get`], with this token as proof of who asks.
    pub(crate) async fn get_as(&self, url: &str, bearer: Option<&str>) -> Result<Vec<u8>, String> {
        let (client, parsed) = self.client(url)?;
        let mut request = client.get(parsed);
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        answer(url, request).await
    }

    /// What `url` answers to a form; https, or http on loopback. `basic`: user name and password.
    pub(crate) async fn post_form(
        &self,
        url: &str,
        form: &[(&str, &str)],
        basic: Option<(&str, &str)>,
    ) -> Result<Vec<u8>, String> {
        let (client, parsed) = self.client(url)?;
        let mut body = Url::parse("form:").map_err(|error| error.to_string())?;
        body.query_pairs_mut().extend_pairs(form);
        let body = body.query().unwrap_or_default().to_owned();
        let mut request = client
            .post(parsed)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .body(body);
        if let Some((user, password)) = basic {
            request = request.basic_auth(user, Some(password));
        }
        answer(url, request).await
    }

    fn client(&self, url: &str) -> Result<(&Client, Url), String> {
        let parsed = Url::parse(url).map_err(|error| format!("`{url}` is not a URL: {error}"))?;
        let client = match parsed.scheme() {
            "https" => &self.tls,
            "http" if is_loopback(&parsed) => &self.loopback,
            _ => return Err(format!("`{url}` is neither https nor http on loopback")),
        };
        Ok((client, parsed))
    }
}

async fn answer(url: &str, request: RequestBuilder) -> Result<Vec<u8>, String> {
    let failed =
        |error: reqwest::Error| format!("cannot fetch {url}: {}", chain(&error.without_url()));
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status();
    if status.is_redirection() {
        return Err(format!(
            "{url} answers with a redirect ({status}), which is not followed; configure the final URL"
        ));
    }
    if status != reqwest::StatusCode::OK {
        return Err(format!("{url} answers with {status}"));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_DOCUMENT {
            return Err(format!(
                "the document at {url} is larger than {MAX_DOCUMENT} bytes"
            ));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
