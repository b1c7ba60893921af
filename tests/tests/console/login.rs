//! The login: what is replayed, stolen, mixed up or forged in it gets nobody in.

use anyhow::{Context, Result, ensure};
use cordon_tests::{
    people::Fault,
    web::{Visitor, begin, curl},
};
use serde_json::json;

use crate::desk::{Desk, login_lines, start};

#[test]
fn a_login_counts_once_and_in_the_browser_it_was_begun_in() -> Result<()> {
    let desk = Desk::start()?;
    let origin = &desk.origin;

    // Stolen on its way back: without the cookie, or with that of another login.
    let begun = begin(origin, "alice")?;
    let refused = curl(&[&begun.callback])?.expect(403)?;
    ensure!(refused.body.contains("another browser"), "{refused:?}");
    // Even then it is used up: whoever was robbed begins anew, and so does the thief.
    curl(&[&begun.callback, "--cookie", &begun.cookie])?.expect(403)?;
    let (mine, theirs) = (begin(origin, "alice")?, begin(origin, "bob")?);
    curl(&[&theirs.callback, "--cookie", &mine.cookie])?.expect(403)?;

    // Replayed.
    let begun = begin(origin, "alice")?;
    let done = curl(&[&begun.callback, "--cookie", &begun.cookie])?.expect(200)?;
    let cookie = done.cookie("cordon-session")?;
    ensure!(
        cookie.len() == 43 && !begun.cookie.ends_with(&cookie),
        "{done:?}"
    );
    curl(&[&begun.callback, "--cookie", &begun.cookie])?.expect(403)?;

    // A code of another login: its verifier is not ours.
    let (mine, theirs) = (begin(origin, "alice")?, begin(origin, "bob")?);
    let code = |callback: &str| -> Result<(String, String)> {
        let (path, rest) = callback.split_once("code=").context("no code")?;
        let (code, state) = rest.split_once("&state=").context("no state")?;
        Ok((code.to_owned(), format!("{path}code={{}}&state={state}")))
    };
    let (stolen, _) = code(&theirs.callback)?;
    let (_, callback) = code(&mine.callback)?;
    let injected = callback.replace("{}", &stolen);
    let refused = curl(&[&injected, "--cookie", &mine.cookie])?.expect(500)?;
    ensure!(refused.cookie("cordon-session").is_err(), "{refused:?}");

    // What the provider did not send, or sent for another one.
    for (query, status) in [
        ("", 403),
        ("code=a", 403),
        ("code=a&state=b", 403),
        ("code=a&state=b&state=c", 400),
    ] {
        curl(&[&format!("{origin}/callback?{query}")])?.expect(status)?;
    }
    let mixed = begin(origin, "alice")?;
    let other = format!("{}&iss=https%3A%2F%2Fother.test", mixed.callback);
    let refused = curl(&[&other, "--cookie", &mixed.cookie])?.expect(403)?;
    ensure!(
        refused.body.contains("another identity provider"),
        "{refused:?}"
    );
    let denied = begin(origin, "alice")?;
    let url = format!(
        "{}&error=access_denied&error_description=%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        denied.callback.replace("code=", "nothing=")
    );
    let refused = curl(&[&url, "--cookie", &denied.cookie])?.expect(403)?;
    ensure!(
        refused.body.contains("&lt;script&gt;") && !refused.body.contains("<script>alert"),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn a_cookie_from_before_the_login_is_never_taken_over_and_ends_with_it() -> Result<()> {
    let desk = Desk::start()?;
    let planted = "B".repeat(43);
    let begun = begin(&desk.origin, "alice")?;
    let cookies = format!("{}; cordon-session={planted}", begun.cookie);
    let done = curl(&[&begun.callback, "--cookie", &cookies])?.expect(200)?;
    let first = done.cookie("cordon-session")?;
    ensure!(first != planted, "the planted cookie is the session's");
    let with = |cookie: &str| Visitor {
        origin: desk.origin.clone(),
        cookie: format!("cordon-session={cookie}"),
        csrf: String::new(),
    };
    with(&planted).get("/api/me")?.expect(401)?;
    with(&first).get("/api/me")?.expect(200)?;
    // Two cookies of the name: one of them was put there by somebody else.
    let two = format!("{first}; cordon-session={planted}");
    with(&two).get("/api/me")?.expect(401)?;

    // A further login ends the session that the browser had.
    let begun = begin(&desk.origin, "alice")?;
    let cookies = format!("{}; cordon-session={first}", begun.cookie);
    let done = curl(&[&begun.callback, "--cookie", &cookies])?.expect(200)?;
    ensure!(done.cookie("cordon-session")? != first);
    with(&first).get("/api/me")?.expect(401)?;

    let alice = desk.visitor("alice")?;
    alice.post("/logout", &json!({}))?.expect(200)?;
    alice.get("/api/me")?.expect(401)?;
    Ok(())
}

#[test]
fn a_token_with_a_fault_and_a_person_without_a_role_do_not_get_in() -> Result<()> {
    let desk = Desk::start()?;
    for (fault, word) in [
        (Fault::WrongNonce, "nonce"),
        (Fault::OtherAudience, "audience"),
        (Fault::OtherParty, "azp"),
    ] {
        desk.stand.issuer.set_fault(Some(fault));
        let begun = begin(&desk.origin, "alice")?;
        let refused = curl(&[&begun.callback, "--cookie", &begun.cookie])?.expect(403)?;
        ensure!(
            refused.body.contains(word) && refused.cookie("cordon-session").is_err(),
            "{refused:?}"
        );
    }
    desk.stand.issuer.set_fault(None);
    let begun = begin(&desk.origin, "nora")?;
    let refused = curl(&[&begun.callback, "--cookie", &begun.cookie])?.expect(403)?;
    ensure!(refused.body.contains("none of your groups"), "{refused:?}");
    Ok(())
}

#[test]
fn logins_are_limited_and_an_idle_one_ends() -> Result<()> {
    let desk = Desk::with("    idle: 1s\n    max_duration: 1h\n")?;
    let alice = desk.visitor("alice")?;
    cordon_tests::host::eventually("the session to end", || {
        // Events are no sign of the person.
        let reply = curl(&[
            &format!("{}/api/events", desk.origin),
            "--cookie",
            &alice.cookie,
        ])?;
        Ok((reply.status == 401 || reply.body.contains("event: over")).then_some(()))
    })?;
    alice.get("/api/me")?.expect(401)?;
    let limited = (0..60).find_map(|_| {
        let reply = curl(&[&format!("{}/login", desk.origin)]).ok()?;
        (reply.status == 429).then_some(reply)
    });
    let limited = limited.context("sixty logins in a row were begun")?;
    ensure!(limited.body.contains("wait a minute"), "{limited:?}");
    Ok(())
}

#[test]
fn with_tls_cookies_are_bound_to_the_host_and_browsers_told_to_stay_with_it() -> Result<()> {
    let port = cordon_tests::host::free_port()?;
    let folder = cordon_tests::host::Scratch::new("console-tls")?;
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let (certificate, key) = (folder.path().join("tls.pem"), folder.path().join("tls.key"));
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, private)?;
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let stand = start(&format!(
        "  address: 127.0.0.1:{port}\n  certificate_file: {certificate}\n  key_file: {key}\n{}",
        login_lines("")
    ))?;
    let origin = format!("https://127.0.0.1:{port}");
    let begun = curl(&["--cacert", &certificate, &format!("{origin}/login")])?.expect(303)?;
    let cookies = begun.headers.get("set-cookie").context("no cookie")?;
    ensure!(
        cookies
            .iter()
            .all(|cookie| cookie.starts_with("__Host-cordon-login=")
                && cookie.contains("; Path=/; HttpOnly;")
                && cookie.ends_with("; Secure")),
        "{cookies:?}"
    );
    ensure!(
        begun
            .header("strict-transport-security")?
            .starts_with("max-age=")
    );
    ensure!(
        begun
            .header("location")?
            .contains("redirect_uri=https%3A%2F%2F127.0.0.1")
    );
    // In clear there is nothing at all.
    ensure!(curl(&[&format!("http://127.0.0.1:{port}/")]).is_err());
    drop(stand);
    Ok(())
}
