//! Requests to the console without a browser, and logins at it step by step.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::output::Output;

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Headers by their names in lower case; several of one name one after the other.
    pub headers: BTreeMap<String, Vec<String>>,
    /// Body.
    pub body: String,
}

impl Reply {
    /// Parses what `curl --include` printed.
    pub fn parse(text: &str) -> Result<Self> {
        let (head, body) = text
            .split_once("\r\n\r\n")
            .with_context(|| format!("no answer: {text:?}"))?;
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .context("no status")?
            .parse()?;
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').context("no header")?;
            let values = headers.entry(name.to_ascii_lowercase()).or_default();
            values.push(value.trim().to_owned());
        }
        Ok(Self {
            status,
            headers,
            body: body.to_owned(),
        })
    }

    /// The only header of this name.
    pub fn header(&self, name: &str) -> Result<&str> {
        match self.headers.get(name).map(Vec::as_slice) {
            Some([one]) => Ok(one),
            other => anyhow::bail!("the header {name} is {other:?} in {self:?}"),
        }
    }

    /// The value of the cookie of this name that it sets.
    pub fn cookie(&self, name: &str) -> Result<String> {
        let cookies = self.headers.get("set-cookie").cloned().unwrap_or_default();
        cookies
            .iter()
            .find_map(|cookie| cookie.strip_prefix(&format!("{name}=")))
            .and_then(|rest| rest.split(';').next())
            .map(str::to_owned)
            .with_context(|| format!("no cookie {name} in {cookies:?}"))
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON: {self:?}"))
    }

    /// Fails unless it has this status.
    pub fn expect(self, status: u16) -> Result<Self> {
        ensure!(
            self.status == status,
            "{status} was expected, and this came: {self:?}"
        );
        Ok(self)
    }
}

/// The arguments of curl for a request; further ones follow.
pub const CURL: [&str; 6] = [
    "curl",
    "--silent",
    "--include",
    "--max-time",
    "30",
    "--http1.1",
];

/// Asks, with these arguments of curl.
pub fn curl(args: &[&str]) -> Result<Reply> {
    curl_with(args, "")
}

/// As [`curl`], with a text for its standard input.
fn curl_with(args: &[&str], input: &str) -> Result<Reply> {
    let [program, fixed @ ..] = CURL;
    let mut child = Command::new(program)
        .args(fixed)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // What the server does not want to read any more is not sent.
    let _ = child
        .stdin
        .take()
        .context("no standard input")?
        .write_all(input.as_bytes());
    let output: Output = child.wait_with_output()?.into();
    let output = output.success()?;
    Reply::parse(&output.stdout)
}

/// Somebody who has logged in.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Where the console is: `http://127.0.0.1:1234`.
    pub origin: String,
    /// Their cookie, as it is sent.
    pub cookie: String,
    /// Their token against forged requests.
    pub csrf: String,
}

/// A login that has been begun: what the browser knows then.
#[derive(Clone, Debug)]
pub struct Begun {
    /// The cookie that ties the login to the browser, as it is sent.
    pub cookie: String,
    /// Where the provider sends the browser back to.
    pub callback: String,
}

/// Begins a login, and lets the provider take it as this person's.
pub fn begin(origin: &str, person: &str) -> Result<Begun> {
    let begun = curl(&[&format!("{origin}/login")])?.expect(303)?;
    let cookie = format!("cordon-login={}", begun.cookie("cordon-login")?);
    let provider = begun.header("location")?;
    let decided = curl(&[&format!("{provider}&as={person}")])?.expect(302)?;
    Ok(Begun {
        cookie,
        callback: decided.header("location")?.to_owned(),
    })
}

impl Visitor {
    /// Logs in as a person that the issuer knows.
    pub fn log_in(origin: &str, person: &str) -> Result<Self> {
        let begun = begin(origin, person)?;
        let done = curl(&[&begun.callback, "--cookie", &begun.cookie])?.expect(200)?;
        let cookie = format!("cordon-session={}", done.cookie("cordon-session")?);
        let mut visitor = Self {
            origin: origin.to_owned(),
            cookie,
            csrf: String::new(),
        };
        let me = visitor.get("/api/me")?.expect(200)?.json()?;
        me["csrf"]
            .as_str()
            .context("no token")?
            .clone_into(&mut visitor.csrf);
        Ok(visitor)
    }

    /// Asks for something.
    pub fn get(&self, path: &str) -> Result<Reply> {
        curl(&[&format!("{}{path}", self.origin), "--cookie", &self.cookie])
    }

    /// Changes something as the console's page does.
    pub fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        let headers = [
            format!("origin: {}", self.origin),
            format!("x-cordon-csrf: {}", self.csrf),
        ];
        self.post_with(path, body, &headers)
    }

    /// Changes something, with these headers besides the cookie.
    pub fn post_with(&self, path: &str, body: &Value, headers: &[String]) -> Result<Reply> {
        let (url, body) = (format!("{}{path}", self.origin), body.to_string());
        let mut args = vec![
            url.as_str(),
            "--cookie",
            &self.cookie,
            "--header",
            "content-type: application/json",
            "--data-binary",
            "@-",
            // No `100 Continue` before the answer.
            "--header",
            "expect:",
        ];
        for header in headers {
            args.extend(["--header", header]);
        }
        curl_with(&args, &body)
    }
}
