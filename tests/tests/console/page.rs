//! The page in a real browser. Pictures of it are kept in `target/console-screenshots`.

use anyhow::{Result, ensure};
use cordon_tests::browser::{Browser, ENTER, Look, TAB};
use serde_json::json;

use crate::desk::{DELETE, Desk};

fn pictures(browser: &Browser, name: &str) -> Result<()> {
    for look in [Look::Light, Look::Dark, Look::Phone] {
        let file = browser.picture(name, look)?;
        let size = std::fs::metadata(&file)?.len();
        ensure!(size > 5_000, "{} is empty", file.display());
    }
    Ok(())
}

#[test]
fn an_approver_approves_and_denies_in_the_browser_and_the_statements_run_or_do_not() -> Result<()> {
    let desk = Desk::start()?;
    let outside = Browser::start()?;
    outside.open(&desk.origin)?;
    outside.wait_for_text("Log in to Cordon")?;
    pictures(&outside, "login")?;
    drop(outside);

    let browser = desk.browser("alice")?;
    browser.wait_for_text("No statement waits for an answer.")?;
    // It comes by itself.
    let (mut session, id) = desk.held(DELETE)?;
    browser.wait_for_text("DELETE FROM public.orders WHERE id = 5")?;
    let title = browser.run("return document.title")?;
    ensure!(title == json!("(1) Cordon"), "{title}");
    let told = browser.run("return document.getElementById('live').textContent")?;
    ensure!(
        told.as_str()
            .is_some_and(|told| told.contains("repo:acme/shop")),
        "{told}"
    );
    browser.click("a.item")?;
    for needed in [
        id.as_str(),
        "repo:acme/shop:ref:refs/heads/main",
        "delete public.orders",
        "agent-shop: approve[0]",
        "psql",
        "0 of 1 from dba",
    ] {
        browser.wait_for_text(needed)?;
    }
    browser.fill("#reason", "agreed in the change meeting")?;
    pictures(&browser, "queue")?;
    browser.click("button.approve")?;
    ensure!(session.sync()?.lines() == ["5"], "it did not run");
    ensure!(desk.rows_left()? == 0);
    browser.wait_for_text("The statement is approved")?;

    session.send("DELETE FROM public.orders WHERE id = 4;")?;
    let second = desk.stand.daemon.wait_for_held()?;
    browser.click(&format!("a.item[data-id='{second}']"))?;
    browser.wait_for_text(&second)?;
    browser.fill("#reason", "order four is disputed")?;
    browser.click("button.deny")?;
    let output = session.sync()?.refused_with("57014")?;
    ensure!(
        output.stderr.contains("order four is disputed"),
        "{}",
        output.all()
    );
    browser.wait_for_text("The statement is denied")?;
    pictures(&browser, "answered")?;
    let evidence = desk.stand.daemon.evidence_text()?;
    for needed in [
        "agreed in the change meeting",
        "order four is disputed",
        "id-of-alice",
    ] {
        ensure!(evidence.contains(needed), "{needed} is not on record");
    }
    desk.stand.daemon.verify_evidence()?.success()?;

    // A logout ends it; a link out of a message leads to its statement, through the login.
    browser.click("#logout")?;
    browser.wait_for_text("Log in to Cordon")?;
    browser.open("about:blank")?;
    browser.open(&format!("{}/#{second}", desk.origin))?;
    browser.wait_for_text("Log in to Cordon")?;
    browser.click("a.primary")?;
    browser.click("a#bob")?;
    browser.wait_for_text("Statement on shop")?;
    browser.wait_for_text(&second)?;
    let at = browser.url()?;
    ensure!(at == format!("{}/#/queue/{second}", desk.origin), "{at}");
    Ok(())
}

#[test]
fn a_statement_is_approved_with_the_keyboard_alone() -> Result<()> {
    let desk = Desk::start()?;
    let browser = desk.browser("alice")?;
    let (mut session, id) = desk.held(DELETE)?;
    browser.wait_for_text("DELETE FROM public.orders")?;
    browser.tab_to("e.classList.contains('skip')")?;
    browser.press(ENTER)?;
    let on = browser.run("return [document.activeElement.id, location.hash]")?;
    ensure!(on == json!(["main", ""]), "the link leads to {on}");
    browser.tab_to(&format!("e.dataset.id === '{id}'"))?;
    let seen =
        browser.run("const e = document.activeElement; return getComputedStyle(e).outlineStyle")?;
    ensure!(seen == json!("solid"), "the focus cannot be seen: {seen}");
    browser.press(ENTER)?;
    browser.wait(
        "the focus to be on the statement",
        "return document.activeElement.id === 'detail-title'",
    )?;
    browser.tab_to("e.id === 'reason'")?;
    browser.press("fine")?;
    browser.press(TAB)?;
    let on = browser.run("return document.activeElement.textContent")?;
    ensure!(on == json!("Approve"), "{on}");
    browser.press(ENTER)?;
    ensure!(session.sync()?.lines() == ["5"], "it did not run");
    browser.wait_for_text("The statement is approved")?;
    // What a screen reader is told: every control has a name.
    let nameless = browser.run(
        "return [...document.querySelectorAll('button, input, textarea, select, a')]\
         .filter((e) => !(e.labels && e.labels.length) && !e.ariaLabel && !e.textContent.trim())\
         .map((e) => e.outerHTML)",
    )?;
    ensure!(nameless == json!([]), "{nameless}");
    Ok(())
}

/// Markup and code in all that an agent controls.
const EVIL: &str = "<img src=x onerror=\"window.hacked=1\"><script>window.hacked=1</script>";

#[test]
fn what_agents_control_is_shown_as_text_everywhere() -> Result<()> {
    let desk = Desk::start()?;
    let sql = format!(
        "DELETE FROM public.orders WHERE id = 5 AND note <> '{EVIL}' /* \u{202e}esrever p\u{430}yroll */;"
    );
    let mut session = desk
        .stand
        .job()
        .claims(json!({ "sub": format!("repo:{EVIL}"), "actor": EVIL }))
        .env("PGAPPNAME", EVIL)
        .live()?;
    session.query("SELECT id, email FROM public.customers ORDER BY id;")?;
    session.query(&format!("SELECT '{EVIL}' FROM public.secrets;"))?;
    session.send(&sql)?;
    let id = desk.stand.daemon.wait_for_held()?;
    let browser = desk.browser("alice")?;
    browser.click("a.item")?;
    browser.wait_for_text(&id)?;
    let harmless = |place: &str, needles: &[&str]| -> Result<()> {
        for needle in needles {
            browser.wait_for_text(needle)?;
        }
        let found = browser.run(
            "return [window.hacked ?? null, document.querySelectorAll('#main img, #main script, footer img').length]",
        )?;
        ensure!(found == json!([null, 0]), "{place}: {found}");
        Ok(())
    };
    harmless(
        "queue",
        &[
            "<img src=x onerror=",
            "<script>window.hacked=1</script>",
            "<U+202E>",
            "p<U+0430>yroll",
        ],
    )?;
    let marks = browser.run(
        "return [...document.querySelectorAll('#statement mark')].map((e) => e.textContent)",
    )?;
    ensure!(marks == json!(["<U+202E>", "<U+0430>"]), "{marks}");
    pictures(&browser, "disguised")?;
    let alice = desk.visitor("alice")?;
    alice
        .post(
            &format!("/api/approvals/{id}"),
            &json!({ "approve": false, "reason": EVIL }),
        )?
        .expect(200)?;
    session.sync()?.refused_with("57014")?;
    drop(session);

    let go = |hash: &str| browser.run(&format!("location.hash = {}", json!(hash)));
    go("#/sessions")?;
    browser.wait_for_text("Statements")?;
    pictures(&browser, "sessions")?;
    browser.click("td a")?;
    harmless(
        "replay",
        &[
            "Time line",
            "application_name=<img",
            "denied by alice: <img",
        ],
    )?;
    browser.run("document.querySelector('input[type=range]').value = 1; document.querySelector('input[type=range]').dispatchEvent(new Event('input'))")?;
    browser.wait(
        "steps to be ahead",
        "return document.querySelector('li.ahead') !== null",
    )?;
    pictures(&browser, "replay")?;
    browser.click(".player button")?;
    browser.wait("the replay to reach its end", "return document.querySelector('li.ahead') === null && document.querySelector('.player button').textContent === 'Play'")?;

    go("#/refusals")?;
    harmless(
        "refusals",
        &["FROM public.secrets", "<script>window.hacked=1"],
    )?;
    pictures(&browser, "refusals")?;

    go("#/explain")?;
    browser.fill("textarea.sql", "SELECT c.id, upper(c.email) FROM public.customers c; DELETE FROM public.orders WHERE id = 3; SELECT * FROM public.secrets")?;
    browser.click("main form button")?;
    harmless(
        "explain",
        &[
            "Verdict",
            "public.customers.email",
            "agent-shop: approve[0]",
            "What would allow it",
        ],
    )?;
    pictures(&browser, "explain")?;

    go("#/evidence")?;
    browser.click("#verify")?;
    harmless("evidence", &["nothing is wrong"])?;
    pictures(&browser, "evidence")?;

    go("#/host")?;
    harmless("host", &["entries of evidence", "shop at"])?;
    pictures(&browser, "host")?;
    // Nothing was asked of anybody else, and the policy of the page was not broken.
    let outside = browser.run("return performance.getEntriesByType('resource').map((e) => e.name).filter((name) => !name.startsWith(location.origin + '/'))")?;
    ensure!(outside == json!([]), "{outside}");
    Ok(())
}
