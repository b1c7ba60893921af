//! Webhooks: what receivers are told, signed, and again where they did not take it.

use std::{fmt::Write as _, sync::Arc};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use cordon_tests::{
    LivePsql, Receiver, Setup, Stand, daemon::APPROVERS, host::eventually, policies,
    receiver::Delivery,
};
use ring::hmac;
use tokio_rustls::rustls;

const KEY: &str = "a key that only the two of us know";
const DELETE: &str =
    "DELETE FROM public.orders WHERE id = 5 /* <!channel> p\u{430}yroll \u{202e} */;";

/// A stand whose requests are told to receivers of these formats.
fn stand(receivers: &[(&Receiver, &str, &str)]) -> Result<(tempdir::Dir, Stand)> {
    stand_trusting(receivers, "")
}

/// As [`stand`], with a CA for the receivers.
fn stand_trusting(
    receivers: &[(&Receiver, &str, &str)],
    ca: &str,
) -> Result<(tempdir::Dir, Stand)> {
    let dir = tempdir::Dir::new()?;
    let key = dir.secret("key", KEY)?;
    let trusted = if ca.is_empty() {
        String::new()
    } else {
        format!("      ca_file: {}\n", dir.secret("ca.pem", ca)?)
    };
    let mut further = "notify:\n  console_url: https://cordon.example/\n  webhooks:\n".to_owned();
    for (index, (receiver, format, events)) in receivers.iter().enumerate() {
        let url = dir.secret(&format!("url-{index}"), receiver.url())?;
        write!(
            further,
            "    - name: hook-{index}\n      url_file: {url}\n      format: {format}\n      key_file: {key}\n      events: [{events}]\n{trusted}"
        )?;
    }
    let stand = Stand::start(&Setup {
        policy: policies::SHOP.replace("hold: 30s", "hold: 10m"),
        further,
        ..Setup::default()
    })?;
    Ok((dir, stand))
}

mod tempdir {
    //! A folder for secrets that goes away.

    use std::{fs, os::unix::fs::PermissionsExt};

    use anyhow::Result;
    use cordon_tests::host::Scratch;

    pub struct Dir(Scratch);

    impl Dir {
        pub fn new() -> Result<Self> {
            Ok(Self(Scratch::new("hooks")?))
        }

        pub fn secret(&self, name: &str, text: &str) -> Result<String> {
            let path = self.0.path().join(name);
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            Ok(path.display().to_string())
        }
    }
}

fn held(stand: &Stand) -> Result<(LivePsql, String)> {
    let mut session = stand.job().live()?;
    session.send(DELETE)?;
    let id = stand.daemon.wait_for_held()?;
    Ok((session, id))
}

/// Fails unless the delivery is signed with the key.
fn check_signature(delivery: &Delivery) -> Result<()> {
    let signed = format!(
        "{}.{}.{}",
        delivery.header("webhook-id"),
        delivery.header("webhook-timestamp"),
        delivery.body
    );
    let tag = delivery
        .header("webhook-signature")
        .strip_prefix("v1,")
        .context("no signature")?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    ensure!(
        hmac::verify(&key, signed.as_bytes(), &STANDARD.decode(tag)?).is_ok(),
        "the signature is wrong: {delivery:?}"
    );
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    let sent: u64 = delivery.header("webhook-timestamp").parse()?;
    ensure!(now.abs_diff(sent) < 300, "the time is wrong: {delivery:?}");
    Ok(())
}

#[test]
fn programs_are_told_every_step_signed_and_with_the_whole_request() -> Result<()> {
    let receiver = Receiver::start(&[])?;
    let (_secrets, stand) =
        stand(&[(&receiver, "json", "requested, decided, expired, withdrawn")])?;
    let (mut session, id) = held(&stand)?;
    let is = |kind: &'static str, id: &str| {
        let id = id.to_owned();
        move |delivery: &Delivery| {
            delivery.json().is_ok_and(|body| {
                body["type"] == kind && body["data"]["approval"]["id"] == id.as_str()
            })
        }
    };
    let asked = receiver.wait_for("request", is("approval.requested", &id))?;
    check_signature(&asked)?;
    let body = asked.json()?;
    ensure!(
        body["data"]["approval"]["statement"]
            .as_str()
            .is_some_and(|text| text.contains("p\u{430}yroll")),
        "{body}"
    );
    ensure!(
        body["data"]["url"] == format!("https://cordon.example/#/queue/{id}"),
        "{body}"
    );
    stand
        .daemon
        .answer(APPROVERS[0], "deny", &id, "not that one")?
        .success()?;
    session.sync()?;
    let decided = receiver.wait_for("decision", is("approval.decided", &id))?;
    check_signature(&decided)?;
    let approval = &decided.json()?["data"]["approval"];
    ensure!(
        approval["state"] == "denied" && approval["answers"][0]["reason"] == "not that one",
        "{approval}"
    );
    let (session, second) = held(&stand)?;
    session.kill()?;
    let gone = receiver.wait_for("withdrawal", is("approval.withdrawn", &second))?;
    check_signature(&gone)?;
    Ok(())
}

#[test]
fn what_is_not_taken_is_sent_again_and_nobody_waits_for_it() -> Result<()> {
    let receiver = Receiver::start(&[503, 429])?;
    // Nobody listens there: the other one is told all the same.
    let closed = Receiver::start(&[])?;
    let (_secrets, stand) = stand(&[
        (&receiver, "json", "requested"),
        (&closed, "json", "expired"),
    ])?;
    let (mut session, id) = held(&stand)?;
    // Answered while the receiver is still being tried.
    stand
        .daemon
        .answer(APPROVERS[0], "approve", &id, "")?
        .success()?;
    ensure!(session.sync()?.sqlstates().is_empty(), "it did not run");
    let taken = receiver.wait_for("third try", |delivery| delivery.status == 204)?;
    check_signature(&taken)?;
    let all = receiver.deliveries();
    let ids: Vec<&str> = all
        .iter()
        .map(|delivery| delivery.header("webhook-id"))
        .collect();
    ensure!(
        all.len() == 3 && ids.iter().all(|other| *other == ids[0]),
        "{all:?}"
    );
    ensure!(
        closed.deliveries().is_empty(),
        "it was told what it is not to be told"
    );
    Ok(())
}

#[test]
fn chats_are_told_with_everything_of_the_agents_visible_and_without_effect() -> Result<()> {
    let (slack, teams) = (Receiver::start(&[])?, Receiver::start(&[])?);
    let (_secrets, mut stand) = stand(&[
        (&slack, "slack", "requested, withdrawn"),
        (&teams, "teams", "requested, decided"),
    ])?;
    let (session, id) = held(&stand)?;
    let with_id = |delivery: &Delivery| delivery.body.contains(&id);
    let message = slack.wait_for("message", with_id)?;
    check_signature(&message)?;
    for shown in [
        "&lt;!channel&gt; p&lt;U+0430&gt;yroll &lt;U+202E&gt;",
        "1 of dba",
    ] {
        ensure!(message.body.contains(shown), "{shown}: {}", message.body);
    }
    ensure!(
        message.body.is_ascii() && !message.body.contains("<!"),
        "{}",
        message.body
    );
    let card = teams.wait_for("card", with_id)?.json()?;
    let content = &card["attachments"][0]["content"];
    ensure!(content["type"] == "AdaptiveCard", "{card}");
    ensure!(
        card.to_string()
            .contains("<!channel> p<U+0430>yroll <U+202E>"),
        "{card}"
    );
    // A restart withdraws it, and says so where it was told.
    stand.daemon.kill()?;
    drop(session);
    stand.daemon.restart()?;
    slack.wait_for("withdrawal", |delivery| {
        delivery
            .body
            .contains(&format!("Approval {id} is withdrawn"))
    })?;
    Ok(())
}

#[test]
fn an_https_receiver_is_told_only_if_its_certificate_is_trusted() -> Result<()> {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()?
    .with_no_client_auth()
    .with_single_cert(
        vec![certified.cert.der().clone()],
        rustls::pki_types::PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into()),
    )?;
    let tls = Arc::new(tls);
    let receiver = Receiver::start_with(&[], "https", move |stream| {
        let session = rustls::ServerConnection::new(Arc::clone(&tls))?;
        Ok(Box::new(rustls::StreamOwned::new(session, stream)))
    })?;
    let (_secrets, trusting) =
        stand_trusting(&[(&receiver, "json", "requested")], &certified.cert.pem())?;
    let (_waits, id) = held(&trusting)?;
    let with = |id: &str| {
        let id = id.to_owned();
        move |delivery: &Delivery| delivery.body.contains(&id)
    };
    check_signature(&receiver.wait_for("request", with(&id))?)?;

    // One that does not know the certificate sends nothing there, and says so.
    let (_others, wary) = stand(&[(&receiver, "json", "requested")])?;
    let (_waits, second) = held(&wary)?;
    eventually("the failure to be in the log", || {
        Ok(wary
            .daemon
            .log()?
            .contains("a message was not taken")
            .then_some(()))
    })?;
    ensure!(
        !receiver.deliveries().iter().any(with(&second)),
        "it was sent to somebody who is not trusted"
    );
    Ok(())
}
