//! Limits of the policy: what passes one is ended there, told so, and recorded; the session and its
//! transaction are as after any other error.

use anyhow::{Context, Result, ensure};
use cordon_tests::{
    Stand, policies,
    raw::{self, Seen},
};
use serde_json::Value;

/// Everything is allowed, within limits.
fn stand(limits: &str) -> Result<Stand> {
    let policy = policies::ALLOW_ALL.replace(
        "role: { login: agent_rw }\n",
        &format!("role: {{ login: agent_rw }}\n    limits: {{ {limits} }}\n"),
    );
    ensure!(policy.contains("limits:"), "the fixture has changed");
    Stand::with_policy(&policy)
}

/// The shop's policy within limits, where statements may sleep.
fn slow_shop(limits: &str) -> Result<String> {
    let policy = policies::SHOP.replace("hold: 30s", limits).replace(
        "[public.order_total]",
        "[public.order_total, pg_catalog.pg_sleep]",
    );
    ensure!(
        policy.contains(limits) && policy.contains("pg_sleep"),
        "the fixture has changed"
    );
    Ok(policy)
}

/// The statements of all sessions, as `cordon sessions` tells them.
fn statements(stand: &Stand) -> Result<Vec<Value>> {
    let dir = stand.daemon.evidence_dir().display().to_string();
    let list = |args: &[&str]| -> Result<Value> {
        let mut args = args.to_vec();
        args.extend(["--dir", &dir, "--json"]);
        cordon_tests::Output::from(stand.daemon.cli(&args).output()?)
            .success()?
            .json()
    };
    let mut statements = Vec::new();
    for session in list(&["sessions", "list"])?.as_array().context("no list")? {
        let id = session["session"].as_str().context("no id")?;
        let shown = list(&["sessions", "show", id])?;
        statements.extend(
            shown["statements"]
                .as_array()
                .with_context(|| shown.to_string())?
                .clone(),
        );
    }
    Ok(statements)
}

/// What a client that asks for more than ten rows must see: ten, then the error.
fn cut_at_ten(name: &str, seen: &Seen<'_>, state: &str) -> Result<()> {
    ensure!(
        seen.sqlstates() == ["54000"] && seen.rows().len() == 10,
        "{name}: {:?}, {} rows",
        seen.sqlstates(),
        seen.rows().len()
    );
    ensure!(seen.0["state"] == state, "{name}: {}", seen.0);
    for (field, part) in [
        ("M", "more than 10 rows"),
        ("D", "everything: limits.rows"),
        ("H", "raise limits.rows in grant everything"),
    ] {
        ensure!(seen.field(field)?.contains(part), "{name}: {}", seen.0);
    }
    Ok(())
}

#[test]
fn after_exactly_the_allowed_rows_a_statement_ends_and_its_transaction_fails() -> Result<()> {
    let stand = stand("rows: 10")?;
    let shown = raw::run(&stand.job(), raw::LIMITS, &["200"])?;
    let seen = |name: &str| -> Result<Seen<'_>> {
        ensure!(!shown[name].is_null(), "no step {name}");
        Ok(Seen(&shown[name]))
    };
    for how in ["simple", "extended", "binary"] {
        let ten = seen(&format!("{how} ten"))?;
        ensure!(
            ten.sqlstates().is_empty() && ten.rows().len() == 10,
            "{how} ten: {}",
            ten.0
        );
        for name in ["eleven", "many"] {
            cut_at_ten(name, &seen(&format!("{how} {name}"))?, "I")?;
        }
    }
    for name in ["ten", "eleven", "many"] {
        for after in ["after simple", "after extended"] {
            let alive = seen(&format!("{after} {name}"))?;
            ensure!(alive.rows() == [[Some("alive")]], "{after} {name}");
        }
    }
    for name in ["eleven", "many"] {
        for (step, state) in [
            ("block", "E"),
            ("extended block", "E"),
            ("pipeline", "I"),
            ("fetch the rest of", "E"),
        ] {
            if name == "eleven" && step.starts_with("fetch") {
                continue;
            }
            let step = format!("{step} {name}");
            cut_at_ten(&step, &seen(&step)?, state)?;
        }
        ensure!(
            seen(&format!("in the failed block {name}"))?.sqlstates() == ["25P02"],
            "the block of {name} has not failed"
        );
        for step in ["end of the block", "end of the extended block"] {
            let end = seen(&format!("{step} {name}"))?;
            ensure!(end.0["tags"][0] == "ROLLBACK", "{step} {name}: {}", end.0);
        }
        for step in ["several", "several, the last"] {
            let step = format!("{step} {name}");
            cut_at_ten(&step, &seen(&step)?, "I")?;
        }
        for step in ["pipeline of two", "pipeline of two queries"] {
            let two = seen(&format!("{step} {name}"))?;
            ensure!(
                two.sqlstates() == ["54000"]
                    && two.rows().len() == 11
                    && two.rows().last() == Some(&vec![Some("alive")]),
                "{step} {name}: {}",
                two.0
            );
        }
        for format in ["text", "csv", "binary"] {
            for how in ["copy", "extended copy"] {
                let step = format!("{how} {format} {name}");
                cut_at_ten(&step, &seen(&step)?, "I")?;
            }
        }
        let first = seen(&format!("fetch ten of {name}"))?;
        ensure!(first.rows().len() == 10, "{}", first.0);
        for (step, rows, errors) in [
            ("first", 4, [].as_slice()),
            ("second", 4, &[]),
            ("third", 2, &["54000"]),
        ] {
            let part = seen(&format!("portal, {step} four of {name}"))?;
            ensure!(
                part.rows().len() == rows && part.sqlstates() == errors,
                "{step} four of {name}: {}",
                part.0
            );
        }
        let step = format!("portal in one pipeline of {name}");
        cut_at_ten(&step, &seen(&step)?, "I")?;
    }
    for format in ["text", "csv", "binary"] {
        let ten = seen(&format!("copy {format} ten"))?;
        ensure!(ten.sqlstates().is_empty(), "{format}: {}", ten.0);
        if format != "binary" {
            // A header line is no row.
            let ten = seen(&format!("headed copy {format} ten"))?;
            ensure!(
                ten.sqlstates().is_empty() && ten.rows().len() == 11,
                "{format}: {}",
                ten.0
            );
            let eleven = seen(&format!("headed copy {format} eleven"))?;
            ensure!(
                eleven.sqlstates() == ["54000"] && eleven.rows().len() == 11,
                "{format}: {}",
                eleven.0
            );
        }
    }
    for step in [
        "returning",
        "extended returning",
        "returning in a pipeline",
        "returning before another",
        "large rows",
        "large copied rows",
        "executed in SQL",
        "closed behind",
    ] {
        cut_at_ten(step, &seen(step)?, "I")?;
    }
    // Nothing of what failed was kept.
    let kept = stand
        .cluster
        .admin("SELECT string_agg(sku, ' ' ORDER BY sku) FROM public.imports")?;
    ensure!(kept == "A-1 A-2", "a change survived: {kept}");
    ensure!(
        shown["wrong"] == 0,
        "{} statements were met by the cancel request of the one before",
        shown["wrong"]
    );
    let recorded = statements(&stand)?;
    ensure!(
        recorded.iter().any(|statement| {
            let end = &statement["completed"];
            end["outcome"]["is"] == "limited"
                && end["outcome"]["limit"] == "rows"
                && end["outcome"]["most"] == 10
                && end["outcome"]["rule"] == "everything: limits.rows"
                && end["rows"] == 10
        }),
        "no cut is on record: {recorded:?}"
    );
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}

/// Runs argv, one statement each, in one session, and then in another one of the same job.
const EACH: &str = r#"
out = []
for text in sys.argv[2:]:
    if text == "--again":
        raw = logged_in()
        continue
    if not out:
        raw = logged_in()
    raw.send(query(text) if sys.argv[1] == "simple" else parse(text) + bind() + execute() + SYNC)
    out.append(raw.seen())
json.dump({"steps": out}, sys.stdout)
"#;

fn each(stand: &Stand, how: &str, statements: &[&str]) -> Result<Vec<Value>> {
    let mut args = vec![how];
    args.extend(statements);
    let shown = raw::run(&stand.job(), EACH, &args)?;
    shown["steps"]
        .as_array()
        .cloned()
        .with_context(|| shown.to_string())
}

#[test]
fn bytes_are_those_of_the_rows_that_the_client_gets() -> Result<()> {
    let stand = stand("bytes: 1000")?;
    // A row of one column of 100 bytes: 2 for the count of columns, 4 for the length.
    for (sql, rows, cut) in [
        (
            "SELECT repeat('x', 100) FROM generate_series(1, 9)",
            9,
            false,
        ),
        (
            "SELECT repeat('x', 100) FROM generate_series(1, 10)",
            9,
            true,
        ),
        (
            "SELECT repeat('x', 100) FROM generate_series(1, 1000000)",
            9,
            true,
        ),
        ("SELECT repeat('x', 994)", 1, false),
        ("SELECT repeat('x', 995)", 0, true),
        ("SELECT repeat('x', 1000000)", 0, true),
        // A line of COPY ends in a line feed.
        (
            "COPY (SELECT repeat('x', 99) FROM generate_series(1, 10)) TO STDOUT",
            10,
            false,
        ),
        (
            "COPY (SELECT repeat('x', 99) FROM generate_series(1, 11)) TO STDOUT",
            10,
            true,
        ),
    ] {
        for how in ["simple", "extended"] {
            let steps = each(&stand, how, &[sql, "SELECT 1"])?;
            let [result, after] = steps.as_slice() else {
                anyhow::bail!("{steps:?}")
            };
            let seen = Seen(result);
            ensure!(
                seen.rows().len() == rows && seen.sqlstates().is_empty() != cut,
                "{how} {sql}: {} rows, {:?}",
                seen.rows().len(),
                seen.sqlstates()
            );
            if cut {
                ensure!(
                    seen.field("M")?.contains("more than 1000 bytes")
                        && seen.field("D")?.contains("everything: limits.bytes"),
                    "{}",
                    seen.0
                );
            }
            ensure!(Seen(after).rows() == [[Some("1")]], "{after}");
        }
    }
    Ok(())
}

#[test]
fn what_a_session_returns_counts_together_and_another_session_starts_anew() -> Result<()> {
    let stand = stand("session_rows: 15, session_bytes: 10kB")?;
    let ten = "SELECT generate_series(1, 10)";
    let wide = "SELECT repeat('x', 6000)";
    for how in ["simple", "extended"] {
        let steps = each(
            &stand,
            how,
            &[
                ten,
                ten,
                "SELECT 1",
                "UPDATE public.orders SET note = 'seen' WHERE id = 1",
                "--again",
                wide,
                wide,
                ten,
            ],
        )?;
        let wanted = [
            (10, None),
            (5, Some("limits.session_rows")),
            (0, Some("limits.session_rows")),
            (0, None),
            (1, None),
            (0, Some("limits.session_bytes")),
            (10, None),
        ];
        ensure!(steps.len() == wanted.len(), "{steps:?}");
        for (step, (rows, rule)) in steps.iter().zip(wanted) {
            let seen = Seen(step);
            ensure!(seen.rows().len() == rows, "{how}: {step}");
            match rule {
                None => ensure!(seen.sqlstates().is_empty(), "{how}: {step}"),
                Some(rule) => ensure!(
                    seen.sqlstates() == ["54000"] && seen.field("D")?.contains(rule),
                    "{how}: {step}"
                ),
            }
        }
    }
    Ok(())
}

/// Opens a COPY FROM STDIN and sends nothing.
const STUCK_COPY: &str = r#"
raw = logged_in()
copy = "COPY public.imports (sku, quantity) FROM STDIN"
extended = sys.argv[1] == "extended"
raw.send(parse(copy) + bind() + execute() + FLUSH if extended else query(copy))
tag = b""
while tag not in (b"G", b"E"):
    tag = raw.message()[0]
raw.send(frame(b"d", b"stuck\t1\n"))
out = {"asked": tag.decode()}
if extended:
    # An error without ReadyForQuery: that comes after Sync.
    error = raw.message()
    raw.send(SYNC)
    out["failed"] = raw.seen()
    out["failed"]["errors"].append(fields(error[1]))
else:
    out["failed"] = raw.seen()
raw.send(query("SELECT 1"))
out["after"] = raw.seen()
json.dump(out, sys.stdout)
"#;

#[test]
fn a_statement_whose_time_is_over_is_cancelled_wherever_it_waits() -> Result<()> {
    let stand = stand("statement: 1s")?;
    let sleep = "SELECT pg_sleep(600)";
    for how in ["simple", "extended"] {
        for (sql, state) in [
            (sleep, "I"),
            ("DO $$ BEGIN PERFORM pg_sleep(600); END $$", "I"),
            ("COPY (SELECT pg_sleep(600)) TO STDOUT", "I"),
        ] {
            let steps = each(
                &stand,
                how,
                &[
                    sql, "SELECT 1", "BEGIN", sql, "SELECT 1", "ROLLBACK", "SELECT 1",
                ],
            )?;
            let [first, after, _, in_block, failed, _, last] = steps.as_slice() else {
                anyhow::bail!("{steps:?}")
            };
            for (step, state) in [(first, state), (in_block, "E")] {
                let seen = Seen(step);
                ensure!(
                    seen.sqlstates() == ["57014"]
                        && seen.field("M")?.contains("ran longer than 1s")
                        && seen.field("D")?.contains("everything: limits.statement")
                        && seen.0["state"] == state,
                    "{how} {sql}: {step}"
                );
            }
            ensure!(Seen(after).rows() == [[Some("1")]], "{after}");
            ensure!(Seen(failed).sqlstates() == ["25P02"], "{failed}");
            ensure!(Seen(last).rows() == [[Some("1")]], "{last}");
        }
    }
    // While it waits for data that never come.
    for how in ["simple", "extended"] {
        let shown = raw::run(&stand.job(), STUCK_COPY, &[how])?;
        ensure!(shown["asked"] == "G", "{shown}");
        let failed = Seen(&shown["failed"]);
        ensure!(
            failed.sqlstates() == ["57014"] && failed.field("D")?.contains("limits.statement"),
            "{how}: {shown}"
        );
        ensure!(
            Seen(&shown["after"]).rows() == [[Some("1")]],
            "{how}: {shown}"
        );
    }
    // Behind a lock, where the database has not even read it.
    let mut holder = stand.job().live()?;
    holder.query("BEGIN; LOCK TABLE public.orders IN ACCESS EXCLUSIVE MODE;")?;
    for how in ["simple", "extended"] {
        let steps = each(
            &stand,
            how,
            &["SELECT count(*) FROM public.orders", "SELECT 1"],
        )?;
        let [waiting, after] = steps.as_slice() else {
            anyhow::bail!("{steps:?}")
        };
        ensure!(
            Seen(waiting).sqlstates() == ["57014"]
                && Seen(waiting).field("D")?.contains("limits.statement"),
            "{how}: {waiting}"
        );
        ensure!(Seen(after).rows() == [[Some("1")]], "{how}: {after}");
    }
    drop(holder);
    let recorded = statements(&stand)?;
    let limited: Vec<_> = recorded
        .iter()
        .filter(|statement| statement["completed"]["outcome"]["is"] == "limited")
        .collect();
    ensure!(
        limited.len() >= 12
            && limited.iter().all(|statement| {
                statement["completed"]["outcome"]["limit"] == "statement"
                    && statement["completed"]["outcome"]["most"] == 1_000
            }),
        "{limited:?}"
    );
    Ok(())
}

#[test]
fn each_statement_of_a_pipeline_has_its_own_time() -> Result<()> {
    let stand = stand("statement: 1s")?;
    // Together they take longer than one may.
    let shown = raw::run(
        &stand.job(),
        r#"
raw = logged_in()
part = parse("SELECT pg_sleep(0.4)") + bind() + execute()
raw.send(part * 4 + SYNC)
together = raw.seen()
raw.send(part + parse("SELECT pg_sleep(600)") + bind() + execute() + part + SYNC)
json.dump({"together": together, "second": raw.seen()}, sys.stdout)
"#,
        &[],
    )?;
    ensure!(
        Seen(&shown["together"]).sqlstates().is_empty(),
        "{}",
        shown["together"]
    );
    let second = Seen(&shown["second"]);
    ensure!(
        second.sqlstates() == ["57014"] && second.rows().len() == 1,
        "{}",
        second.0
    );
    Ok(())
}

#[test]
fn a_session_whose_time_is_over_ends_idle_busy_or_held() -> Result<()> {
    let policy = slow_shop("hold: 10m, session: 3s")?;
    let stand = Stand::with_policy(&policy)?;
    for sql in [
        "",
        "SELECT pg_sleep(600)",
        "DELETE FROM public.orders WHERE id = 5",
    ] {
        let shown = raw::run(
            &stand.job(),
            r"
raw = logged_in()
if sys.argv[1]:
    raw.send(query(sys.argv[1]))
json.dump(raw.seen(), sys.stdout)
",
            &[sql],
        )?;
        let seen = Seen(&shown);
        ensure!(
            seen.sqlstates() == ["57P01"]
                && seen.closed()
                && seen.field("S")? == "FATAL"
                && seen.field("D")?.contains("agent-shop: limits.session")
                && seen.field("M")?.contains("3s"),
            "{sql}: {shown}"
        );
    }
    ensure!(stand.daemon.held()?.is_empty(), "a statement is still held");
    ensure!(
        stand
            .cluster
            .count("SELECT count(*) FROM public.orders WHERE id = 5")?
            == 1,
        "it ran"
    );
    let evidence = stand.daemon.evidence_text()?;
    let ended = r#""limit":{"limit":"session","most":3000,"rule":"agent-shop: limits.session"}"#;
    ensure!(evidence.matches(ended).count() == 3, "{evidence}");
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}

#[test]
fn a_statement_above_the_rate_is_refused_with_the_time_to_come_again() -> Result<()> {
    let stand = stand("statements_per_minute: 5")?;
    for how in ["simple", "extended"] {
        // The end of a transaction counts for nothing: what was allowed can be kept.
        let steps = each(
            &stand,
            how,
            &[
                "SELECT 1", "BEGIN", "SELECT 2", "COMMIT", "SELECT 3", "--again", "SELECT 4",
                "SELECT 5", "SELECT 6", "ROLLBACK", "SELECT 7",
            ],
        )?;
        ensure!(steps.len() == 10, "{steps:?}");
        for (index, step) in steps.iter().enumerate() {
            let seen = Seen(step);
            if matches!(index, 7 | 9) {
                let hint = seen.field("H")?;
                ensure!(
                    seen.sqlstates() == ["53400"]
                        && hint.starts_with("retry in ")
                        && seen.field("D")?.contains("limits.statements_per_minute"),
                    "{how} {index}: {step}"
                );
            } else {
                ensure!(seen.sqlstates().is_empty(), "{how} {index}: {step}");
            }
        }
    }
    let evidence = stand.daemon.evidence_text()?;
    ensure!(
        evidence.contains(r#""code":"too-often","sqlstate":"53400""#),
        "the refusal is not on record"
    );
    Ok(())
}

#[test]
fn the_time_that_a_statement_is_held_is_not_its_own() -> Result<()> {
    let policy = slow_shop("hold: 10m, statement: 1s")?;
    let stand = Stand::with_policy(&policy)?;
    let mut session = stand.job().live()?;
    session.send("DELETE FROM public.orders WHERE id = 5 RETURNING id;")?;
    let id = stand.daemon.wait_for_held()?;
    // Another statement's limit strikes meanwhile: more than a second has passed.
    let other = stand.job().sql("SELECT pg_sleep(600)")?;
    ensure!(other.sqlstates() == ["57014"], "{}", other.all());
    let [approver, _] = cordon_tests::daemon::APPROVERS;
    stand
        .daemon
        .answer(approver, "approve", &id, "")?
        .success()?;
    let output = session.sync()?;
    ensure!(
        output.sqlstates().is_empty() && output.lines() == ["5"],
        "{}",
        output.all()
    );
    Ok(())
}

/// What real drivers make of it: the error is theirs to catch, and their connection goes on.
#[test]
fn drivers_see_an_error_of_their_own_and_go_on() -> Result<()> {
    let stand = stand("rows: 10")?;
    let program = include_str!("../fixtures/drivers/limits.py");
    let seen: Value = stand.job().driver(program, &[])?.success()?.json()?;
    let steps = seen.as_object().context("no steps")?;
    for (name, step) in steps {
        if name.contains(" after ") {
            ensure!(
                step["rows"] == 1 && step["error"].is_null(),
                "{name}: {step}"
            );
            continue;
        }
        if name.starts_with("kept by") {
            ensure!(step["rows"] == 0, "{name}: {step}");
            continue;
        }
        if name.ends_with("exactly_ten") || name.ends_with("many_inserts") {
            ensure!(step["error"].is_null(), "{name}: {step}");
            continue;
        }
        let detail = step["detail"].as_str().unwrap_or_default();
        ensure!(
            step["error"] == "54000" && detail.contains("everything: limits.rows"),
            "{name}: {step}"
        );
        // Those that show rows as they come have shown ten; a cursor's batches end before.
        let rows = step["rows"].as_u64().unwrap_or(u64::MAX);
        let wanted: &[u64] = match name.as_str() {
            "psycopg row_by_row" | "psycopg copied" | "psycopg by_cursor" => &[10],
            "asyncpg by_cursor" => &[8],
            _ => &[0],
        };
        ensure!(wanted.contains(&rows), "{name}: {step}");
    }
    ensure!(steps.len() > 25, "{} steps", steps.len());
    Ok(())
}
