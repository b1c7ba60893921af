//! A refusal is an error in the right place, with help, and the connection goes on as it would
//! after any failed statement.

use anyhow::{Result, ensure};
use cordon_tests::{Setup, Stand, canary};

#[test]
fn a_refused_table_is_an_error_with_detail_hint_and_reference_and_the_session_goes_on() -> Result<()>
{
    let stand = Stand::shared()?;
    let mut session = stand.job().live()?;
    let output = session
        .query("SELECT value FROM public.secrets;")?
        .refused_with("42501")?;
    for part in ["public.secrets", "DETAIL:", "agent-shop", "HINT:", "(ref "] {
        ensure!(
            output.stderr.contains(part),
            "no `{part}`: {}",
            output.all()
        );
    }
    ensure!(
        session
            .query("SELECT count(*) FROM public.orders;")?
            .lines()
            == ["5"],
        "the session is lost"
    );
    Ok(())
}

#[test]
fn inside_a_transaction_a_refusal_aborts_it_as_an_error_does() -> Result<()> {
    let stand = Stand::start(&Setup::default())?;
    let mut session = stand.job().live()?;
    session.query("BEGIN;")?;
    ensure!(
        session
            .query("UPDATE public.orders SET note = 'lost' WHERE id = 1;")?
            .sqlstates()
            .is_empty(),
        "not allowed"
    );
    session
        .query("SELECT value FROM public.secrets;")?
        .refused_with("42501")?;
    for after in ["SELECT count(*) FROM public.orders;", "EXECUTE nowhere;"] {
        session.query(after)?.refused_with("25P02")?;
    }
    ensure!(
        session.query("COMMIT;")?.sqlstates().is_empty(),
        "the transaction cannot be ended"
    );
    ensure!(
        session
            .query("SELECT note FROM public.orders WHERE id = 1;")?
            .lines()
            == ["gift wrap"],
        "it was committed"
    );
    Ok(())
}

#[test]
fn a_savepoint_recovers_from_a_refusal() -> Result<()> {
    let stand = Stand::shared()?;
    let mut session = stand.job().live()?;
    session.query("BEGIN; SAVEPOINT s;")?;
    session
        .query("SELECT value FROM public.secrets;")?
        .refused_with("42501")?;
    session.query("ROLLBACK TO s;")?;
    ensure!(
        session
            .query("SELECT count(*) FROM public.orders;")?
            .lines()
            == ["5"],
        "the savepoint did not help"
    );
    session.query("ROLLBACK;")?;
    Ok(())
}

/// What names mean cannot be looked up in a failed transaction; it must still be possible to end
/// it.
#[test]
fn a_failure_right_after_a_definition_leaves_a_transaction_that_can_be_ended() -> Result<()> {
    let stand = Stand::shared()?;
    let mut session = stand.job().live()?;
    for end in ["ROLLBACK;", "COMMIT;"] {
        for failing in [
            "SELEC 1;",
            "SELECT value FROM public.secrets;",
            "SELECT 1/0;",
        ] {
            let begun = session.query("BEGIN; CREATE TEMP TABLE scratch (id integer);")?;
            ensure!(begun.sqlstates().is_empty(), "{}", begun.all());
            let failed = session.query(failing)?;
            ensure!(!failed.sqlstates().is_empty(), "{failing} did not fail");
            session.query("SELECT 1;")?.refused_with("25P02")?;
            let ended = session.query(end)?;
            ensure!(
                ended.sqlstates().is_empty(),
                "{end} after {failing}: {}",
                ended.all()
            );
            ensure!(session.query("SELECT 1;")?.lines() == ["1"], "lost");
            session
                .query("SELECT id FROM scratch;")?
                .refused_with("42P01")?;
        }
    }
    Ok(())
}

/// F6, P10: each statement of a text is decided; what stands before a refused one is undone with
/// it, as in one implicit transaction.
#[test]
fn of_several_statements_in_one_query_a_refused_one_stops_and_undoes_the_others() -> Result<()> {
    let stand = Stand::start(&Setup::default())?;
    let job = stand.job();
    let output = job.sql("UPDATE public.orders SET note = 'lost' WHERE id = 1; SELECT value FROM public.secrets; SELECT 3")?;
    let output = output.refused_with("42501")?;
    ensure!(
        !output.stdout.contains('3'),
        "what follows was run: {}",
        output.all()
    );
    canary::none_in("the result", &output.all())?;
    ensure!(
        stand
            .cluster
            .admin("SELECT note FROM public.orders WHERE id = 1")?
            == "gift wrap",
        "the first one was kept"
    );
    Ok(())
}

#[test]
fn syntax_errors_and_unknown_names_read_as_the_servers_own() -> Result<()> {
    let stand = Stand::shared()?;
    let mut session = stand.job().live()?;
    for (sql, code, message) in [
        ("SELEC 1;", "42601", "syntax error at or near \"SELEC\""),
        (
            "SELECT * FROM public.nope;",
            "42P01",
            "relation \"public.nope\" does not exist",
        ),
        (
            "SELECT nope FROM public.orders;",
            "42703",
            "column \"nope\" does not exist",
        ),
        (
            "SELECT nope(1);",
            "42883",
            "function nope(integer) does not exist",
        ),
    ] {
        let output = session.query(sql)?.refused_with(code)?;
        ensure!(output.stderr.contains(message), "{sql}: {}", output.all());
    }
    Ok(())
}

#[test]
fn an_allowed_write_works_within_its_columns_only() -> Result<()> {
    let stand = Stand::start(&Setup::default())?;
    let mut session = stand.job().live()?;
    ensure!(session.query("UPDATE public.orders SET status = 'paid', note = 'ok' WHERE id = 2 RETURNING id, status;")?.lines() == ["2|paid"], "refused");
    session
        .query("UPDATE public.orders SET total = 1 WHERE id = 2;")?
        .refused_with("42501")?;
    session
        .query("UPDATE public.orders SET (status, customer_id) = ('paid', 2) WHERE id = 2;")?
        .refused_with("42501")?;
    ensure!(
        session
            .query(
                "INSERT INTO public.order_notes (order_id, body) VALUES (2, 'seen') RETURNING id;"
            )?
            .lines()
            == ["100"],
        "refused"
    );
    session
        .query("DELETE FROM public.owned_other;")?
        .refused_with("42501")?;
    ensure!(
        stand
            .cluster
            .admin("SELECT status, note, total FROM public.orders WHERE id = 2")?
            == "paid|ok|12.00",
        "wrong row"
    );
    Ok(())
}

/// What cannot run anyway is refused in the server's own words: its hints help agents most.
#[test]
fn errors_that_are_the_servers_come_with_its_hints() -> Result<()> {
    let stand = Stand::shared()?;
    for (sql, sqlstate, hint) in [
        (
            "SELECT o.statuss FROM public.orders o",
            "42703",
            "Perhaps you meant to reference the column \"o.status\".",
        ),
        (
            "SELECT orders.id FROM public.orders o",
            "42P01",
            "Perhaps you meant to reference the table alias \"o\".",
        ),
        (
            "SELECT U&'wrong: \\061'",
            "42601",
            "Unicode escapes must be \\XXXX or \\+XXXXXX.",
        ),
        (
            "SELECT nosuch('x'::date)",
            "42883",
            "No function matches the given name and argument types.",
        ),
    ] {
        let mut session = stand.job().live()?;
        for _ in 0..2 {
            let output = session.query(&format!("{sql};"))?.refused_with(sqlstate)?;
            ensure!(output.all().contains(hint), "{sql}: {}", output.all());
            ensure!(!output.all().contains("cordon"), "{sql}: {}", output.all());
        }
        // In a transaction too, which it fails.
        let output = session
            .query(&format!("BEGIN; {sql};"))?
            .refused_with(sqlstate)?;
        ensure!(output.all().contains(hint), "{sql}: {}", output.all());
        session.query("SELECT 1;")?.refused_with("25P02")?;
        ensure!(session.query("ROLLBACK;")?.sqlstates().is_empty(), "stuck");
        ensure!(session.query("SELECT 7;")?.lines() == ["7"], "lost");
    }
    Ok(())
}
