//! What every request passes: whose it is meant for, whether a job asks, whether another site does;
//! and what every answer says to the browser.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};

use super::{
    api,
    app::{Access, App, Asker},
    events, login, page,
    peer::Dialled,
    refused::Refused,
};

/// Largest body of a request: a statement to explain, and more than that.
const MAX_BODY: usize = 256 * 1024;
/// The header that carries the token against forged requests.
pub(super) const CSRF_HEADER: &str = "x-cordon-csrf";

/// Everything that the console answers.
pub(super) fn router(app: Arc<App>) -> Router {
    page::routes()
        .merge(login::routes())
        .merge(events::routes())
        .merge(api::routes())
        .fallback(|| async { Refused::missing("there is nothing here") })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), check))
        .with_state(app)
}

async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let allowed = admit(&app, &request);
    let mut response = match allowed {
        Ok(()) => next.run(request).await,
        Err(refused) => {
            tracing::warn!(
                status = refused.status().as_u16(),
                reason = refused.message(),
                "request on the console refused"
            );
            refused.into_response()
        }
    };
    protect(&app, response.headers_mut());
    response
}

fn admit(app: &Arc<App>, request: &Request) -> Result<(), Refused> {
    let dialled = dialled(request.extensions())?;
    if let Some(job) = dialled.job(&app.config, &app.jobs) {
        return Err(Refused::forbidden(format!(
            "a process inside of a job gets nothing from the console (this one is in {job})"
        )));
    }
    is_meant(app, request.headers())
}

fn dialled(extensions: &axum::http::Extensions) -> Result<Arc<Dialled>, Refused> {
    extensions
        .get::<Arc<Dialled>>()
        .cloned()
        .ok_or_else(|| Refused::fault("the connection is not known"))
}

/// A page of another site can have its name lead here (DNS rebinding); its Host then is not ours.
fn is_meant(app: &App, headers: &HeaderMap) -> Result<(), Refused> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    let host = host.filter(|_| hosts.next().is_none()).unwrap_or_default();
    let ours = match &app.access {
        Access::Login(login) => {
            login
                .config()
                .origin
                .split_once("://")
                .map(|(_, ours)| ours)
                == Some(host)
        }
        // Forwarded to some loopback port of the person's own machine.
        Access::Socket(_) => is_local_name(host),
    };
    if ours {
        return Ok(());
    }
    Err(Refused::forbidden(format!(
        "the console does not answer to the name {host:?}; {}",
        match &app.access {
            Access::Login(login) => format!("open {}", login.config().origin),
            Access::Socket(_) => "open it as localhost".to_owned(),
        }
    )))
}

/// `localhost`, `127.0.0.1` or `[::1]`, with any port.
fn is_local_name(host: &str) -> bool {
    let is_port = |rest: &str| {
        rest.is_empty()
            || rest.strip_prefix(':').is_some_and(|port| {
                (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())
            })
    };
    ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|name| host.strip_prefix(name).is_some_and(is_port))
}

/// Whether a request comes from the console's own page.
pub(super) fn is_own(app: &App, headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    };
    let Some(origin) = text(header::ORIGIN) else {
        return false;
    };
    let ours = match &app.access {
        Access::Login(login) => login.config().origin == origin,
        // The Host has been looked at.
        Access::Socket(_) => {
            origin.strip_prefix("http://").is_some_and(is_local_name)
                && origin.strip_prefix("http://") == text(header::HOST)
        }
    };
    ours && is_same_site(headers)
}

/// What the browser itself says of where the request comes from, if it does.
fn is_same_site(headers: &HeaderMap) -> bool {
    headers
        .get("sec-fetch-site")
        .is_none_or(|site| site == "same-origin")
}

/// Who asks to see something.
pub(super) struct Reader {
    pub(super) asker: Asker,
    pub(super) dialled: Arc<Dialled>,
}

impl FromRequestParts<Arc<App>> for Reader {
    type Rejection = Refused;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &Arc<App>,
    ) -> Result<Self, Self::Rejection> {
        let dialled = dialled(&parts.extensions)?;
        if !is_same_site(&parts.headers) {
            return Err(Refused::forbidden("another site asks"));
        }
        let counts = parts.uri.path() != events::PATH;
        let asker = app.asker(&parts.headers, &dialled, counts)?;
        Ok(Self { asker, dialled })
    }
}

/// Who asks to change something, from the console's own page.
pub(super) struct Changer {
    pub(super) asker: Asker,
}

impl FromRequestParts<Arc<App>> for Changer {
    type Rejection = Refused;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &Arc<App>,
    ) -> Result<Self, Self::Rejection> {
        let dialled = dialled(&parts.extensions)?;
        let asker = app.asker(&parts.headers, &dialled, true)?;
        let refused = |what: &str| {
            tracing::warn!(
                person = asker.person.account(),
                path = parts.uri.path(),
                reason = what,
                "a change on the console refused"
            );
            Refused::forbidden(format!("{what}; reload the console's page and try again"))
        };
        if parts.method != Method::POST || !is_own(app, &parts.headers) {
            return Err(refused(
                "the request does not come from the console's own page",
            ));
        }
        let token = parts.headers.get(CSRF_HEADER).map(HeaderValue::as_bytes);
        if !token.is_some_and(|token| is_equal(token, asker.csrf.as_bytes())) {
            return Err(refused(
                "the request does not carry the token of the console's page",
            ));
        }
        Ok(Self { asker })
    }
}

/// Compares digests, so that the time it takes tells nothing of where the two differ.
pub(super) fn is_equal(a: &[u8], b: &[u8]) -> bool {
    let digest = |bytes| ring::digest::digest(&ring::digest::SHA256, bytes);
    digest(a).as_ref() == digest(b).as_ref()
}

fn protect(app: &App, headers: &mut HeaderMap) {
    let policy = HeaderValue::from_str(app.page.policy());
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=()",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        policy.unwrap_or_else(|_not_ascii| HeaderValue::from_static("default-src 'none'")),
    );
    if let Access::Login(login) = &app.access
        && login.config().is_secure()
    {
        headers.insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarded_socket_answers_to_this_machines_names_only() {
        for name in [
            "localhost",
            "localhost:8440",
            "127.0.0.1:1",
            "[::1]:65535",
            "[::1]",
        ] {
            assert!(is_local_name(name), "{name}");
        }
        for name in [
            "",
            "localhost.evil.test",
            "localhost:",
            "localhost:x",
            "localhost:8440.evil.test",
            "127.0.0.1.evil.test",
            "127.0.0.2",
            "evil.test:8440",
            "localhost:123456",
        ] {
            assert!(!is_local_name(name), "{name}");
        }
    }
}
