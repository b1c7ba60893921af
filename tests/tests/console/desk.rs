//! A stand with a console, and people who may log in at it.

use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use cordon_tests::{
    LivePsql, Setup, Stand,
    browser::Browser,
    host::free_port,
    people::CLIENT_ID,
    policies,
    web::{Reply, Visitor},
};
use serde_json::{Value, json};

/// Deletes one row, and needs one approval.
pub const DELETE: &str = "DELETE FROM public.orders WHERE id = 5 RETURNING id;";
/// Whether it is still there.
pub const LEFT: &str = "SELECT count(*) FROM public.orders WHERE id = 5";

/// A stand with a console that people log in at.
pub struct Desk {
    pub stand: Stand,
    pub origin: String,
}

impl Desk {
    pub fn start() -> Result<Self> {
        Self::with("")
    }

    /// The one that tests share which hold nothing and log in seldom.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Desk, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::start().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow!("the shared fixture did not start: {error}"))
    }

    /// With further lines below `login`.
    pub fn with(more: &str) -> Result<Self> {
        let port = free_port()?;
        let stand = start(&format!(
            "  address: 127.0.0.1:{port}\n{}",
            login_lines(more)
        ))?;
        for (name, claims) in people() {
            stand.issuer.add_person(name, claims);
        }
        Ok(Self {
            stand,
            origin: format!("http://127.0.0.1:{port}"),
        })
    }

    /// Sends a statement that is held; gives the session and the approval's id.
    pub fn held(&self, sql: &str) -> Result<(LivePsql, String)> {
        let mut session = self.stand.job().live()?;
        session.send(sql)?;
        let id = self.stand.daemon.wait_for_held()?;
        Ok((session, id))
    }

    pub fn visitor(&self, person: &str) -> Result<Visitor> {
        Visitor::log_in(&self.origin, person)
    }

    /// A browser in which this person has logged in.
    pub fn browser(&self, person: &str) -> Result<Browser> {
        let browser = Browser::start()?;
        browser.open(&self.origin)?;
        browser.click("a.primary")?;
        browser.click(&format!("a#{person}"))?;
        browser.wait_for_text(person)?;
        browser.wait(
            "the page to be live",
            "return document.getElementById('link')?.dataset.state === 'on'",
        )?;
        Ok(browser)
    }

    pub fn rows_left(&self) -> Result<u64> {
        self.stand.cluster.count(LEFT)
    }
}

/// A stand with these lines below `console:`; `{issuer}` is the issuer's URL.
pub fn start(console: &str) -> Result<Stand> {
    Stand::start(&Setup {
        policy: policies::SHOP.replace("hold: 30s", "hold: 10m"),
        console: Some(console.to_owned()),
        ..Setup::default()
    })
}

/// The `login` of a console.
pub fn login_lines(more: &str) -> String {
    format!(
        "  login:\n    issuer: {{issuer}}\n    client_id: {CLIENT_ID}\n    \
         client_secret_file: {{here}}/secrets/console\n    \
         approvers: {{ dba: [database-admins] }}\n    auditors: [audit]\n    viewers: [staff]\n{more}"
    )
}

/// Alice and bob answer, olga looks at everything, victor sees what waits, nora nothing. The job's
/// `actor` is octo, who is an administrator, too.
fn people() -> [(&'static str, Value); 6] {
    let person = |name: &str, groups: &[&str]| {
        json!({
            "sub": format!("id-of-{name}"), "preferred_username": name,
            "email": format!("{name}@shop.test"), "groups": groups,
        })
    };
    [
        ("alice", person("alice", &["staff", "database-admins"])),
        ("bob", person("bob", &["database-admins"])),
        ("octo", person("octo", &["database-admins"])),
        ("olga", person("olga", &["staff", "audit"])),
        ("victor", person("victor", &["staff"])),
        ("nora", person("nora", &["sales"])),
    ]
}

/// The state of a held statement, as this visitor sees it.
pub fn state(visitor: &Visitor, id: &str) -> Result<String> {
    let reply = visitor.get(&format!("/api/approvals/{id}"))?.expect(200)?;
    let state = reply.json()?["state"].as_str().map(str::to_owned);
    state.context("no state")
}

/// What a refusal says.
pub fn error(reply: &Reply) -> Result<String> {
    let error = reply.json()?["error"].as_str().map(str::to_owned);
    error.with_context(|| format!("no refusal: {reply:?}"))
}
