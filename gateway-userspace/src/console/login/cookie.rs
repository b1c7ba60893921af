//! The two cookies of the console.

use axum::http::{HeaderMap, HeaderValue, header};

use crate::console::refused::Refused;

/// A cookie: its name and how far it goes.
#[derive(Clone, Copy, Debug)]
pub struct Cookie {
    name: &'static str,
    /// Where it is sent, and from where.
    scope: &'static str,
    secure: bool,
}

impl Cookie {
    /// The cookie of a session: sent with requests of the console's own pages only. Over https its
    /// name makes browsers take it from this very host over https alone (RFC 6265bis, 4.1.3.2).
    pub fn session(secure: bool) -> Self {
        Self {
            name: if secure {
                "__Host-cordon-session"
            } else {
                "cordon-session"
            },
            scope: "SameSite=Strict",
            secure,
        }
    }

    /// The cookie that ties a login to the browser it was begun in. The answer comes from the
    /// provider's page, so that it cannot be strict.
    pub fn login(secure: bool) -> Self {
        Self {
            name: if secure {
                "__Host-cordon-login"
            } else {
                "cordon-login"
            },
            scope: "SameSite=Lax; Max-Age=600",
            secure,
        }
    }

    /// Its value. Two of the name are none: one may have been put beside ours by another page of
    /// this host.
    pub fn of(self, headers: &HeaderMap) -> Option<&str> {
        let mut found = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == self.name)
            .map(|(_, value)| value);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// Sets it.
    pub fn set(self, value: &str) -> Result<HeaderValue, Refused> {
        self.header(value, self.scope)
    }

    /// Takes it away.
    pub fn clear(self) -> Result<HeaderValue, Refused> {
        self.header("", "SameSite=Strict; Max-Age=0")
    }

    fn header(self, value: &str, scope: &str) -> Result<HeaderValue, Refused> {
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!("{}={value}; Path=/; HttpOnly; {scope}{secure}", self.name);
        HeaderValue::from_str(&text)
            .map_err(|_not_ascii| Refused::fault("the cookie cannot be written"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_kept_from_scripts_other_sites_and_other_hosts() {
        let cookie = Cookie::session(true).set("x").unwrap();
        assert_eq!(
            cookie.to_str().unwrap(),
            "__Host-cordon-session=x; Path=/; HttpOnly; SameSite=Strict; Secure"
        );
        let mut headers = HeaderMap::new();
        headers.append(
            header::COOKIE,
            HeaderValue::from_static("a=b; cordon-session=v"),
        );
        assert_eq!(Cookie::session(false).of(&headers), Some("v"));
        assert_eq!(Cookie::session(true).of(&headers), None);
        headers.append(header::COOKIE, HeaderValue::from_static("cordon-session=w"));
        assert_eq!(Cookie::session(false).of(&headers), None, "two are none");
    }
}
