//! Login at an `OpenID` Connect provider: authorization code with PKCE (RFC 7636), `state` and
//! `nonce`; sessions are kept here and never in the browser.

mod cookie;
mod pending;
mod provider;
mod rate;
mod session;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use axum::{
    Extension, Router,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};

use self::{cookie::Cookie, pending::Pending, provider::Provider, rate::Rate, session::Sessions};
use super::{
    app::{Access, App, Asker, random_text},
    guard::{Changer, is_equal},
    page::{Note, note},
    peer::Dialled,
    person::Person,
    refused::Refused,
};
use crate::{
    config::ConsoleTcp,
    identity::{Host, Tokens},
};

pub use session::SessionKey;

/// Longest value that the provider may send back.
const MAX_VALUE: usize = 4096;

/// The login, and who has logged in.
pub struct Login {
    config: ConsoleTcp,
    provider: Provider,
    tokens: Tokens,
    pending: Pending,
    sessions: Sessions,
    rate: Rate,
}

impl Login {
    /// Nobody has logged in yet.
    ///
    /// # Errors
    /// If TLS towards the provider cannot be set up.
    pub fn new(config: &ConsoleTcp, host: &Arc<dyn Host>) -> Result<Self, String> {
        Ok(Self {
            provider: Provider::new(&config.login, format!("{}/callback", config.origin))?,
            tokens: Tokens::new(std::slice::from_ref(&config.login.issuer), host),
            pending: Pending::default(),
            sessions: Sessions::new(config.login.idle, config.login.max_duration),
            rate: Rate::default(),
            config: config.clone(),
        })
    }

    /// How it is configured.
    pub fn config(&self) -> &ConsoleTcp {
        &self.config
    }

    /// Who has logged in with these cookies. `counts`: keeps the login from ending for idleness.
    pub fn asker(&self, headers: &HeaderMap, counts: bool) -> Option<Asker> {
        let cookie = self.session_cookie().of(headers)?;
        self.sessions.find(cookie, Instant::now(), counts)
    }

    /// Whether a login has not ended.
    pub fn is_open(&self, session: &SessionKey) -> bool {
        self.sessions.is_open(session, Instant::now())
    }

    fn session_cookie(&self) -> Cookie {
        Cookie::session(self.config.is_secure())
    }

    fn login_cookie(&self) -> Cookie {
        Cookie::login(self.config.is_secure())
    }

    /// Begins a login: where the browser goes, and the cookie that ties the answer to it.
    async fn begin(&self, from: IpAddr) -> Result<(String, HeaderValue), Refused> {
        self.limit(from)?;
        let endpoints = self
            .provider
            .endpoints()
            .await
            .map_err(|error| unavailable(&error))?;
        let secret = random_text()?;
        let start = pending::Start {
            nonce: random_text()?,
            verifier: random_text()?,
            browser: secret.clone(),
        };
        let state = random_text()?;
        let url = self.provider.authorization(&endpoints, &state, &start)?;
        self.pending.add(state, start, Instant::now())?;
        Ok((url, self.login_cookie().set(&secret)?))
    }

    /// Ends a login with what the provider sent back: the session's cookie.
    async fn finish(
        &self,
        answer: &BTreeMap<String, String>,
        headers: &HeaderMap,
        from: IpAddr,
    ) -> Result<HeaderValue, Refused> {
        self.limit(from)?;
        let of = |key: &str| answer.get(key).map(String::as_str);
        let state = of("state").ok_or_else(stale)?;
        // Used up, whatever comes of it.
        let start = self.pending.take(state, Instant::now()).ok_or_else(stale)?;
        let browser = self.login_cookie().of(headers).unwrap_or_default();
        if !is_equal(browser.as_bytes(), start.browser.as_bytes()) {
            return Err(Refused::forbidden(
                "this login was begun in another browser; begin again here",
            ));
        }
        // RFC 9207: the answer is this provider's and not another one's.
        if of("iss").is_some_and(|issuer| issuer != self.config.login.issuer.url) {
            return Err(Refused::forbidden(
                "the answer is of another identity provider; begin again",
            ));
        }
        if let Some(error) = of("error") {
            return Err(Refused::forbidden(format!(
                "the identity provider refused the login: {error} {}",
                of("error_description").unwrap_or_default()
            )));
        }
        let code = of("code").ok_or_else(stale)?;
        let token = self
            .provider
            .exchange(code, &start.verifier)
            .await
            .map_err(|error| unavailable(&error))?;
        let person = self.person(&token, &start.nonce).await?;
        // A new session whatever cookie came along, and the end of the one that it named.
        if let Some(old) = self.session_cookie().of(headers) {
            self.sessions.end(&SessionKey::of(old));
        }
        tracing::info!(
            person = person.account(),
            name = person.name,
            role = person.role.word(),
            "login on the console"
        );
        let cookie = self.sessions.open(person, Instant::now())?;
        self.session_cookie().set(&cookie)
    }

    async fn person(&self, token: &str, nonce: &str) -> Result<Person, Refused> {
        let verified = self
            .tokens
            .verify(token, SystemTime::now())
            .await
            .map_err(|error| {
                Refused::forbidden(format!("the identity provider's token is refused: {error}"))
            })?;
        let claim = |name: &str| verified.claims().get(name).and_then(|value| value.as_str());
        if !claim("nonce").is_some_and(|found| is_equal(found.as_bytes(), nonce.as_bytes())) {
            return Err(Refused::forbidden(
                "the identity provider's token is of another login (`nonce`); begin again",
            ));
        }
        // A token for several audiences was asked for by one of them: by us?
        let several = verified
            .claims()
            .get("aud")
            .is_some_and(|aud| aud.as_array().is_some_and(|audiences| audiences.len() > 1));
        let party = claim("azp");
        if party.is_some_and(|party| party != self.config.login.client_id)
            || several && party.is_none()
        {
            return Err(Refused::forbidden(
                "the identity provider's token was issued to another client (`azp`)",
            ));
        }
        Person::of_token(&verified, &self.config.login).ok_or_else(|| {
            Refused::forbidden(format!(
                "none of your groups may use the console; whoever runs this host adds one to `console.login` (claim `{}`)",
                self.config.login.issuer.groups_claim
            ))
        })
    }

    fn limit(&self, from: IpAddr) -> Result<(), Refused> {
        if self.rate.allows(from, Instant::now()) {
            Ok(())
        } else {
            Err(Refused::busy("too many logins from here; wait a minute"))
        }
    }
}

fn stale() -> Refused {
    Refused::forbidden(
        "this login was not begun here, was used already or took too long; begin again",
    )
}

fn unavailable(error: &str) -> Refused {
    tracing::warn!(error, "the console's identity provider cannot be asked");
    Refused::fault("the identity provider cannot be asked now; see the daemon's log, or try again")
}

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/login", get(begin))
        .route("/callback", get(finish))
        .route("/logout", post(logout))
}

async fn begin(
    State(app): State<Arc<App>>,
    Extension(dialled): Extension<Arc<Dialled>>,
) -> Response {
    let Access::Login(login) = &app.access else {
        return Refused::missing("nobody logs in here: the socket tells who asks").into_response();
    };
    match login.begin(dialled.address()).await {
        Ok((url, cookie)) => redirect(&url, cookie),
        Err(refused) => failed(&refused),
    }
}

async fn finish(
    State(app): State<Arc<App>>,
    Extension(dialled): Extension<Arc<Dialled>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Access::Login(login) = &app.access else {
        return Refused::missing("nobody logs in here: the socket tells who asks").into_response();
    };
    let answer = parse(query.as_deref().unwrap_or_default());
    let outcome = match answer {
        Ok(answer) => login.finish(&answer, &headers, dialled.address()).await,
        Err(refused) => Err(refused),
    };
    match outcome {
        Ok(session) => {
            let mut response = note(
                StatusCode::OK,
                "You are logged in",
                "The console opens now.",
                Note::Onward,
            );
            let cookies = response.headers_mut();
            cookies.append(header::SET_COOKIE, session);
            if let Ok(gone) = login.login_cookie().clear() {
                cookies.append(header::SET_COOKIE, gone);
            }
            response
        }
        Err(refused) => failed(&refused),
    }
}

/// The values of a query, each name once.
fn parse(query: &str) -> Result<BTreeMap<String, String>, Refused> {
    let wrong = || Refused::bad("the identity provider's answer is not understood; begin again");
    let mut url = reqwest::Url::parse("query:").map_err(|_never| wrong())?;
    url.set_query(Some(query));
    let mut values = BTreeMap::new();
    for (key, value) in url.query_pairs() {
        if value.len() > MAX_VALUE
            || values
                .insert(key.into_owned(), value.into_owned())
                .is_some()
        {
            return Err(wrong());
        }
    }
    Ok(values)
}

fn redirect(url: &str, cookie: HeaderValue) -> Response {
    let Ok(location) = HeaderValue::from_str(url) else {
        return failed(&Refused::fault(
            "the identity provider's URL cannot be used",
        ));
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(header::LOCATION, location);
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response
}

fn failed(refused: &Refused) -> Response {
    tracing::warn!(reason = refused.message(), "login on the console refused");
    note(
        refused.status(),
        "The login did not work",
        refused.message(),
        Note::Again,
    )
}

async fn logout(State(app): State<Arc<App>>, changer: Changer) -> Response {
    let (Access::Login(login), Some(session)) = (&app.access, &changer.asker.session) else {
        return Refused::missing("nobody logs in here: the socket tells who asks").into_response();
    };
    login.sessions.end(session);
    let mut response = super::shown::Shown(serde_json::json!({})).into_response();
    if let Ok(gone) = login.session_cookie().clear() {
        response.headers_mut().append(header::SET_COOKIE, gone);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_sent_twice_or_too_long_is_refused() {
        assert_eq!(parse("state=a%20b&code=c").unwrap()["state"], "a b");
        assert!(parse("state=a&state=b").is_err());
        assert!(parse(&format!("state={}", "a".repeat(MAX_VALUE + 1))).is_err());
    }
}
