//! A real browser: headless Chromium, driven through chromedriver (W3C `WebDriver`).

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    host::{PATIENCE, Scratch, eventually, free_port},
    reaper, tools,
};

/// The key of an element's id in answers (`WebDriver`, 12.2).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// What the `Tab` and `Enter` keys are called (`WebDriver`, 17.4.2).
pub const TAB: &str = "\u{e004}";
/// See [`TAB`].
pub const ENTER: &str = "\u{e007}";

/// How a page is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// A wide window, light colours.
    Light,
    /// A wide window, dark colours.
    Dark,
    /// A phone, light colours.
    Phone,
}

/// A browser with one window and an own profile.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    profile: Scratch,
}

impl Browser {
    /// Starts one.
    pub fn start() -> Result<Self> {
        let profile = Scratch::new("browser")?;
        let port = free_port()?;
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting chromedriver; apt-get install chromium chromium-driver")?;
        let pid_file = profile.path().join("driver.pid");
        fs::write(&pid_file, driver.id().to_string())?;
        reaper::at_exit(&reaper::end_process(
            &pid_file,
            &format!("--port={port}"),
            "TERM",
        ))?;
        let mut browser = Self {
            driver,
            port,
            session: String::new(),
            profile,
        };
        eventually("chromedriver to be ready", || {
            let status = browser.call("GET", "/status", None);
            Ok(status
                .is_ok_and(|status| status["ready"] == true)
                .then_some(()))
        })?;
        let folder = browser.profile.path().join("profile");
        let answer = browser.call(
            "POST",
            "/session",
            Some(&json!({ "capabilities": { "alwaysMatch": {
                "browserName": "chrome",
                "goog:chromeOptions": { "args": [
                    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                    "--disable-background-networking", "--disable-component-update", "--disable-sync",
                    "--disable-dev-shm-usage", "--window-size=1280,900",
                    format!("--user-data-dir={}", folder.display()),
                ] },
            } } })),
        )?;
        answer["sessionId"]
            .as_str()
            .context("no session")?
            .clone_into(&mut browser.session);
        Ok(browser)
    }

    /// Opens a page.
    pub fn open(&self, url: &str) -> Result<()> {
        self.post("/url", &json!({ "url": url })).map(|_| ())
    }

    /// Where it is.
    pub fn url(&self) -> Result<String> {
        let url = self.call("GET", &format!("/session/{}/url", self.session), None)?;
        Ok(url.as_str().unwrap_or_default().to_owned())
    }

    /// Runs a script in the page, for what it returns.
    pub fn run(&self, script: &str) -> Result<Value> {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits for a script to return something that is neither null nor false.
    pub fn wait(&self, what: &str, script: &str) -> Result<Value> {
        let found = eventually(what, || {
            // A page that is just being left answers nothing.
            let value = self.run(script).unwrap_or(Value::Null);
            Ok((!value.is_null() && value != json!(false)).then_some(value))
        });
        found.with_context(|| {
            let text = self.run("return location.href + '\\n' + document.body.innerText");
            format!("the page says: {text:?}")
        })
    }

    /// Waits until the page contains a text.
    pub fn wait_for_text(&self, text: &str) -> Result<()> {
        let script = format!(
            "return document.body && document.body.innerText.includes({})",
            json!(text)
        );
        self.wait(&format!("the text {text:?}"), &script)
            .map(|_| ())
    }

    /// Waits for an element that can be seen, and clicks on it.
    pub fn click(&self, css: &str) -> Result<()> {
        let element = self.element(css)?;
        self.post(&format!("/element/{element}/click"), &json!({}))
            .map(|_| ())
    }

    /// Waits for an element, and types into it.
    pub fn fill(&self, css: &str, text: &str) -> Result<()> {
        let element = self.element(css)?;
        self.post(
            &format!("/element/{element}/value"),
            &json!({ "text": text }),
        )
        .map(|_| ())
    }

    /// Presses keys, wherever the focus is.
    pub fn press(&self, keys: &str) -> Result<()> {
        let mut actions = Vec::new();
        for key in keys.chars() {
            actions.push(json!({ "type": "keyDown", "value": key.to_string() }));
            actions.push(json!({ "type": "keyUp", "value": key.to_string() }));
        }
        let actions = json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] });
        self.post("/actions", &actions).map(|_| ())
    }

    /// Presses Tab until the focus is on an element for which the script (with `e` for it) is true.
    pub fn tab_to(&self, condition: &str) -> Result<()> {
        for _ in 0..60 {
            self.press(TAB)?;
            let there = self.run(&format!(
                "const e = document.activeElement; return {condition}"
            ))?;
            if there == json!(true) {
                return Ok(());
            }
        }
        bail!("the Tab key does not lead to {condition}");
    }

    /// Keeps a picture of the page in `target/console-screenshots`, and gives it back.
    pub fn picture(&self, name: &str, look: Look) -> Result<PathBuf> {
        let (width, height, mobile) = match look {
            Look::Light | Look::Dark => (1280, 900, false),
            Look::Phone => (390, 844, true),
        };
        let scheme = if look == Look::Dark { "dark" } else { "light" };
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
        )?;
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile }),
        )?;
        let picture = self.call(
            "GET",
            &format!("/session/{}/screenshot", self.session),
            None,
        )?;
        let bytes = STANDARD.decode(picture.as_str().context("no picture")?)?;
        let folder = tools::profile_dir()?
            .parent()
            .context("no target folder")?
            .join("console-screenshots");
        fs::create_dir_all(&folder)?;
        let file = folder.join(format!("{name}-{look:?}.png").to_lowercase());
        fs::write(&file, bytes)?;
        self.devtools("Emulation.clearDeviceMetricsOverride", &json!({}))?;
        Ok(file)
    }

    fn devtools(&self, command: &str, params: &Value) -> Result<Value> {
        self.post(
            "/goog/cdp/execute",
            &json!({ "cmd": command, "params": params }),
        )
    }

    fn element(&self, css: &str) -> Result<String> {
        let found = eventually(&format!("the element {css}"), || {
            let found = self.post(
                "/element",
                &json!({ "using": "css selector", "value": css }),
            );
            let Ok(found) = found else { return Ok(None) };
            let id = found[ELEMENT].as_str().map(str::to_owned);
            let Some(id) = id else { return Ok(None) };
            let shown = self.call(
                "GET",
                &format!("/session/{}/element/{id}/displayed", self.session),
                None,
            );
            Ok((shown.unwrap_or_default() == json!(true)).then_some(id))
        });
        found.with_context(|| {
            let text = self.run("return location.href + '\\n' + document.body.innerText");
            format!("the page says: {text:?}")
        })
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(
            "POST",
            &format!("/session/{}{path}", self.session),
            Some(body),
        )
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(PATIENCE + Duration::from_secs(10)))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.port,
            body.len()
        )?;
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? <= 2 {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
        }
        let mut text = Vec::new();
        reader.take(length).read_to_end(&mut text)?;
        let answer: Value = serde_json::from_slice(&text).context("chromedriver's answer")?;
        let value = answer["value"].clone();
        ensure!(
            value.get("error").is_none_or(Value::is_null),
            "{method} {path}: {}: {}",
            value["error"],
            value["message"]
        );
        Ok(value)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.call("DELETE", &format!("/session/{}", self.session), None);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
