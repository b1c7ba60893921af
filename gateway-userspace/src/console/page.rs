//! The page itself: one document, its style and its script in it.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::digest::{SHA256, digest};

use super::app::{Access, App};

const SHELL: &str = include_str!("page/console.html");
const STYLE: &str = include_str!("page/console.css");
// One script, whose parts share their names with each other and with nobody else.
const SCRIPT: &str = concat!(
    "\"use strict\";\n(() => {\n",
    include_str!("page/base.js"),
    include_str!("page/queue.js"),
    include_str!("page/recorded.js"),
    include_str!("page/explain.js"),
    include_str!("page/host.js"),
    include_str!("page/main.js"),
    "})();\n"
);
const LOGIN: &str = include_str!("page/login.html");
const LOGIN_SCRIPT: &str = include_str!("page/login.js");

/// The documents, and what browsers may do with them.
pub struct Page {
    console: String,
    policy: String,
}

impl Page {
    /// `provider`: URL of the identity provider, to which the login leads.
    pub fn new(provider: Option<&str>) -> Self {
        let provider = provider.and_then(|url| reqwest::Url::parse(url).ok());
        let provider = provider.map_or(String::new(), |url| {
            format!(" {}", url.origin().ascii_serialization())
        });
        Self {
            console: SHELL
                .replace("{{style}}", STYLE)
                .replace("{{script}}", SCRIPT),
            // Nothing but this very style and these scripts; no text can become markup or code.
            policy: format!(
                "default-src 'none'; script-src '{}' '{}'; style-src '{}'; connect-src 'self'; \
                 form-action 'self'{provider}; base-uri 'none'; frame-ancestors 'none'; \
                 require-trusted-types-for 'script'; trusted-types 'none'",
                hash(SCRIPT),
                hash(LOGIN_SCRIPT),
                hash(STYLE),
            ),
        }
    }

    /// The Content-Security-Policy of every answer.
    pub fn policy(&self) -> &str {
        &self.policy
    }
}

fn hash(text: &str) -> String {
    format!(
        "sha256-{}",
        STANDARD.encode(digest(&SHA256, text.as_bytes()))
    )
}

/// A document of few words, such as the one before the login. `text` becomes text, never markup.
pub(super) fn note(status: StatusCode, heading: &str, text: &str, more: Note) -> Response {
    let (link, label, refresh) = match more {
        Note::Login => ("login", "Log in", ""),
        Note::Again => ("/", "Try again", ""),
        // The page is then opened by this one and not by the identity provider's, whose requests
        // carry no strict cookies.
        Note::Onward => (
            "/",
            "Open the console",
            r#"<meta http-equiv="refresh" content="0;url=/">"#,
        ),
    };
    let document = LOGIN
        .replace("{{style}}", STYLE)
        .replace("{{script}}", LOGIN_SCRIPT)
        .replace("{{refresh}}", refresh)
        .replace("{{heading}}", &escaped(heading))
        .replace("{{link}}", link)
        .replace("{{label}}", label)
        .replace("{{text}}", &escaped(text));
    (status, Html(document)).into_response()
}

/// What a note leads to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Note {
    /// To the login.
    Login,
    /// To the start.
    Again,
    /// To the console, at once.
    Onward,
}

fn escaped(text: &str) -> String {
    crate::approval::visible_line(text)
        .chars()
        .fold(String::new(), |mut out, c| {
            match c {
                '&' => out.push_str("&amp;"),
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '"' => out.push_str("&quot;"),
                '\'' => out.push_str("&#39;"),
                c => out.push(c),
            }
            out
        })
}

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/", get(open))
}

async fn open(
    State(app): State<Arc<App>>,
    axum::Extension(dialled): axum::Extension<Arc<super::peer::Dialled>>,
    headers: HeaderMap,
) -> Response {
    match (app.asker(&headers, &dialled, true), &app.access) {
        (Ok(_), _) => ([(header::VARY, "Cookie")], Html(app.page.console.clone())).into_response(),
        (Err(_), Access::Login(_)) => note(
            StatusCode::UNAUTHORIZED,
            "Log in to Cordon",
            "Who you are decides what you may see and answer.",
            Note::Login,
        ),
        (Err(refused), Access::Socket(_)) => note(
            refused.status(),
            "Not for you",
            refused.message(),
            Note::Again,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_needs_nothing_from_elsewhere() {
        let page = Page::new(Some("https://login.test/realms/a"));
        assert!(!page.console.contains("{{"), "a place is not filled");
        for outside in [
            "http://",
            "https://",
            "url(",
            "@import",
            " src=",
            "innerHTML",
        ] {
            assert!(
                !page.console.contains(outside),
                "the page names {outside:?}"
            );
        }
        // An attribute with a style or a handler would not be allowed by the policy.
        for inline in [" style=", " onclick=", " onload="] {
            assert!(!SHELL.contains(inline) && !LOGIN.contains(inline));
        }
        assert!(
            page.policy()
                .contains("form-action 'self' https://login.test;")
        );
    }

    #[test]
    fn what_a_provider_answers_is_text_in_the_page() {
        let response = escaped("<script>alert('x')</script>\u{202e}&");
        assert_eq!(
            response,
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&lt;U+202E&gt;&amp;"
        );
    }
}
