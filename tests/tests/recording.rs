//! What is kept of a session's messages: all of it, as the client saw it, without personal data,
//! and nothing passes that is not kept.

use std::fs;

use anyhow::{Context, Result, ensure};
use cordon_tests::{Output, Setup, Stand, canary, host::eventually, policies, raw};
use serde_json::{Value, json};

/// The latest session that is closed and whose recording has its end, as `export` writes it.
fn exported(stand: &Stand, format: &str) -> Result<String> {
    let dir = stand.daemon.evidence_dir().display().to_string();
    eventually("the recording's end", || {
        let report = stand.daemon.verify_offline()?.success()?.json()?;
        Ok((report["unended_recordings"] == 0 && report["recorded_sessions"] != 0).then_some(()))
    })?;
    let list = stand
        .daemon
        .cli(&["sessions", "list", "--json", "--dir", &dir])
        .output()?;
    let list = Output::from(list).success()?.json()?;
    let session = list
        .as_array()
        .and_then(|sessions| sessions.last())
        .and_then(|session| session["session"].as_str())
        .context("no session")?;
    let arguments = [
        "sessions", "export", session, "--format", format, "--dir", &dir,
    ];
    let output = stand.daemon.cli(&arguments).output()?;
    Ok(Output::from(output).success()?.stdout)
}

fn lines(export: &str) -> Result<Vec<Value>> {
    let lines = export.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().context("not JSON lines")
}

/// Rows, column names and command tags that the client was sent.
fn seen(lines: &[Value]) -> Vec<String> {
    let said = |line: &Value| match line["message"].as_str() {
        Some("RowDescription") => Some(line["columns"].to_string()),
        Some("DataRow") => Some(line["values"].to_string()),
        Some("CommandComplete") => line["text"].as_str().map(str::to_owned),
        Some("ErrorResponse") => line["code"].as_str().map(str::to_owned),
        Some(_) | None => None,
    };
    lines.iter().filter_map(said).collect()
}

#[test]
fn g7_a_session_is_recorded_as_the_client_saw_it_and_every_change_of_it_is_found() -> Result<()> {
    let stand = Stand::start(&Setup::default())?;
    stand.job().sqls(&[
        "SELECT id, email, ssn FROM public.customers WHERE id <= 2 ORDER BY id",
        "SELECT value FROM public.secrets",
        "UPDATE public.orders SET note = '<script>alert(1)</script>' WHERE id = 1",
    ])?;
    let export = exported(&stand, "jsonl")?;
    let lines = lines(&export)?;
    let mut seen = seen(&lines);
    if seen.last().is_some_and(|last| last == "57P01") {
        // The job ends with its last process: that can be known before psql's farewell is read.
        seen.pop();
    }
    ensure!(
        seen.len() == 6
            && seen[0] == r#"["id","email","ssn"]"#
            && seen[1].starts_with(r#"["1","a***@"#)
            && seen[2].starts_with(r#"["2","b***@"#)
            && seen[3..] == ["SELECT 2", "42501", "UPDATE 1"],
        "{seen:?}"
    );
    let events: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["event"]["type"].as_str())
        .collect();
    ensure!(
        events.first() == Some(&"session-opened") && events.last() == Some(&"session-closed"),
        "{events:?}"
    );
    ensure!(
        lines
            .iter()
            .any(|line| line["from"] == "client" && line["message"] == "Query"),
        "the client's messages are missing"
    );
    canary::none_in("the export", &export)?;
    canary::none_in("the recordings", &stand.daemon.evidence_text()?)?;

    let page = exported(&stand, "html")?;
    ensure!(
        page.contains("&lt;script&gt;alert(1)")
            && !page.contains("<script")
            && page.contains("a***@"),
        "{page}"
    );
    // Nothing is loaded from anywhere.
    for outside in ["http:", "https:", "src=", "url(", "<link", "@import"] {
        ensure!(!page.contains(outside), "the page contains {outside}");
    }

    let dir = stand.daemon.evidence_dir();
    let file = fs::read_dir(dir.join("recordings"))?
        .next()
        .context("no recording")??
        .path();
    let good = fs::read(&file)?;
    let mut changed = good.clone();
    let middle = good.len() / 2;
    changed[middle] ^= 1;
    for (what, bytes) in [
        ("changed", changed),
        ("cut", good[..good.len() - 1].to_vec()),
    ] {
        fs::write(&file, bytes)?;
        let outcomes = [
            stand.daemon.verify_offline()?,
            stand.daemon.verify_evidence()?,
        ];
        for outcome in outcomes {
            ensure!(
                outcome.code == Some(1) && outcome.json()?["problem"]["entry"].is_u64(),
                "{what}: {}",
                outcome.all()
            );
        }
    }
    fs::remove_file(&file)?;
    let outcome = stand.daemon.verify_offline()?;
    ensure!(outcome.code == Some(1), "removed: {}", outcome.all());
    fs::write(&file, good)?;
    stand.daemon.verify_offline()?.success()?;
    Ok(())
}

#[test]
fn e3_personal_data_in_statements_parameters_and_results_is_not_kept_in_clear() -> Result<()> {
    const CARD: &str = "4111111111111111";
    const EMAIL: &str = "jane.roe@example.org";
    const IBAN: &str = "DE89370400440532013000";
    let stand = Stand::with_policy(policies::ALLOW_ALL)?;
    // Literals, bind values in both protocols' ways, results, COPY in both directions.
    let psql = [
        format!("SELECT '{EMAIL}' AS address, {CARD} AS card"),
        format!("PREPARE p AS SELECT $1::text; EXECUTE p('{IBAN}')"),
        format!("COPY (SELECT '{EMAIL}') TO STDOUT"),
        format!("SELECT nothing_{EMAIL}"),
    ];
    let psql: Vec<&str> = psql.iter().map(String::as_str).collect();
    let output = stand.job().sqls(&psql)?;
    // The client is shown what it asked for.
    ensure!(
        output.stdout.contains(EMAIL)
            && output.stdout.contains(CARD)
            && output.stdout.contains(IBAN),
        "{}",
        output.all()
    );
    let bound = format!(
        "import os, psycopg\n\
         with psycopg.connect('') as c:\n    \
             for binary in (False, True):\n        \
                 print(c.execute('SELECT %s, %b', ('{EMAIL}', b'{CARD}'), binary=binary).fetchone())\n"
    );
    stand.job().driver(&bound, &[])?.success()?;
    exported(&stand, "jsonl")?;
    let evidence = stand.daemon.evidence_text()?;
    for value in [CARD, EMAIL, IBAN, "jane.roe"] {
        ensure!(!evidence.contains(value), "{value} is kept in clear");
    }
    ensure!(
        evidence.contains("xxxx.xxx@xxxxxxx.xxx") && evidence.contains("0000000000000000"),
        "what was blotted out is not there at all"
    );
    stand.daemon.verify_offline()?.success()?;
    Ok(())
}

#[test]
fn results_are_kept_up_to_a_size_or_by_policy_not_at_all() -> Result<()> {
    let rows = "SELECT repeat('row', 100) FROM generate_series(1, 1000)";
    let limited = Setup {
        policy: policies::ALLOW_ALL.to_owned(),
        evidence: "  recorded_result: 10KiB\n".to_owned(),
        ..Setup::default()
    };
    let stand = Stand::start(&limited)?;
    stand.job().sqls(&[rows, "SELECT 'short'"])?.success()?;
    let withheld = |lines: &[Value]| -> (u64, u64) {
        let rows = lines
            .iter()
            .filter(|line| line["tag"] == "D" && line["from"] == "server");
        rows.fold(
            (0, 0),
            |(kept, left_out), line| match line["withheld"]["messages"].as_u64() {
                None => (kept + 1, left_out),
                Some(messages) => (kept, left_out + messages),
            },
        )
    };
    let (kept, left_out) = withheld(&lines(&exported(&stand, "jsonl")?)?);
    ensure!(
        kept > 10 && kept + left_out == 1001 && left_out > 900,
        "{kept}, {left_out}"
    );
    drop(stand);

    let policy = policies::ALLOW_ALL.replacen("    allow:", "    results: withheld\n    allow:", 1);
    let stand = Stand::with_policy(&policy)?;
    stand.job().sqls(&[rows, "SELECT 'short'"])?.success()?;
    let lines = lines(&exported(&stand, "jsonl")?)?;
    ensure!(withheld(&lines) == (0, 1001), "{:?}", withheld(&lines));
    ensure!(
        seen(&lines).contains(&"SELECT 1000".to_owned()),
        "what is no row is kept: {:?}",
        seen(&lines)
    );
    ensure!(
        !stand.daemon.evidence_text()?.contains("rowrow"),
        "rows are kept"
    );
    Ok(())
}

#[test]
fn e4_on_a_full_disk_traffic_stops_with_an_error_and_goes_on_when_there_is_room() -> Result<()> {
    let stand = Stand::start(&Setup {
        policy: policies::ALLOW_ALL.to_owned(),
        state_bytes: Some(8 * 1024 * 1024),
        ..Setup::default()
    })?;
    let mut session = stand.job().live()?;
    session.query("CREATE TABLE public.full_disk (n int);")?;
    let filler = stand.daemon.state_dir().join("filler");
    let fill = || -> Result<()> {
        let mut file = fs::File::create(&filler)?;
        let mut block = vec![7_u8; 64 * 1024];
        while !block.is_empty() {
            if std::io::Write::write_all(&mut file, &block).is_err() {
                // Down to the last page.
                block.truncate(block.len() / 2);
            }
        }
        Ok(())
    };
    let mut ran = 0;
    for round in 0..3 {
        fill()?;
        // What fits into the last pages still runs: then nothing does.
        let refused = eventually("a refusal", || {
            let output = session.query("INSERT INTO public.full_disk VALUES (1);")?;
            let refused = output.sqlstates() == ["58000"];
            ran += u64::from(!refused);
            Ok(refused.then_some(output))
        })?;
        ensure!(
            refused.stderr.contains("recorded") || refused.stderr.contains("evidence"),
            "round {round}: {}",
            refused.all()
        );
        // Nobody else comes in.
        let other = stand.job().sql("SELECT 1")?;
        ensure!(other.code != Some(0), "round {round}: {}", other.all());
        fs::remove_file(&filler)?;
        eventually("the session to go on", || {
            let output = session.query("INSERT INTO public.full_disk VALUES (2);")?;
            let went = output.sqlstates().is_empty();
            ran += u64::from(went);
            Ok(went.then_some(()))
        })?;
    }
    session.finish()?;
    let rows = stand
        .cluster
        .count("SELECT count(*) FROM public.full_disk")?;
    ensure!(rows == ran, "{rows} rows, {ran} statements");
    // Everything that ran is on record, decided and recorded.
    let lines = lines(&exported(&stand, "jsonl")?)?;
    let inserted = seen(&lines)
        .iter()
        .filter(|tag| *tag == "INSERT 0 1")
        .count();
    let allowed = lines
        .iter()
        .filter(|line| line["event"]["decision"]["is"] == "allow")
        .filter(|line| {
            line["event"]["text"]
                .as_str()
                .is_some_and(|t| t.starts_with("INSERT"))
        })
        .count();
    ensure!(
        inserted as u64 == ran && allowed as u64 >= ran,
        "{ran} ran, {inserted} recorded, {allowed} allowed"
    );
    stand.daemon.verify_offline()?.success()?;
    Ok(())
}

#[test]
fn e4_the_time_of_a_statement_ends_it_at_the_database_while_nothing_can_be_recorded() -> Result<()>
{
    let stand = Stand::start(&Setup {
        policy: policies::ALLOW_ALL.replace(
            "role: { login: agent_rw }\n",
            "role: { login: agent_rw }\n    limits: { statement: 10s }\n",
        ),
        state_bytes: Some(8 * 1024 * 1024),
        ..Setup::default()
    })?;
    // It begins, is held up until the disk is full, sends more than may wait for the recording, and
    // would then run on.
    let mut holder = stand.cluster.live_admin()?;
    holder.query("SELECT pg_advisory_lock(7);")?;
    let query = "SELECT CASE WHEN n = 0 THEN pg_advisory_lock(7)::text \
                 WHEN n < 200 THEN repeat(md5(n::text), 128) \
                 ELSE pg_sleep(600)::text END FROM generate_series(0, 200) n";
    let client = stand
        .job()
        .psql_command(&["-q", "-o", "/dev/null", "-c", query])?
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
    let running = || {
        stand.cluster.count(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(600)%' \
             AND pid <> pg_backend_pid()",
        )
    };
    eventually("the statement to wait", || {
        let waiting = stand
            .cluster
            .count("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'")?;
        Ok((waiting == 1).then_some(()))
    })?;
    let filler = stand.daemon.state_dir().join("filler");
    let mut file = fs::File::create(&filler)?;
    let mut block = vec![7_u8; 64 * 1024];
    while !block.is_empty() {
        if std::io::Write::write_all(&mut file, &block).is_err() {
            block.truncate(block.len() / 2);
        }
    }
    // Its space is free again as soon as its name is gone.
    drop(file);
    holder.query("SELECT pg_advisory_unlock(7);")?;
    eventually("the end of the statement at the database", || {
        Ok((running()? == 0).then_some(()))
    })?;
    ensure!(filler.exists(), "there is room again");
    fs::remove_file(&filler)?;
    let output = Output::from(client.wait_with_output()?);
    ensure!(
        output.code != Some(0) && output.stderr.contains("ran longer than 10s"),
        "{}",
        output.all()
    );
    stand.daemon.verify_offline()?.success()?;
    Ok(())
}

/// Calls `lower` by its number, and says what came.
const CALL: &str = r"
raw = logged_in()
raw.send(call(870, b'JANE.ROE@EXAMPLE.COM'))
order, values = '', []
while not order.endswith('Z'):
    tag, body = raw.message()
    order += tag.decode('latin1')
    if tag == b'V':
        values.append(body[4:].decode())
raw.send(frame(b'X'))
print(json.dumps([order, values]))
";

/// P8: what a function that is called by its number takes and gives is masked, recorded and withheld
/// as of any statement.
#[test]
fn p8_a_function_call_is_masked_recorded_and_withheld_as_the_select_it_stands_for() -> Result<()> {
    let call = |policy: &str| -> Result<(Stand, Value)> {
        let stand = Stand::with_policy(policy)?;
        let answer = raw::run(&stand.job(), CALL, &[])?;
        Ok((stand, answer))
    };
    // In the client's hands, but not in the recording.
    let (stand, answer) = call(policies::ALLOW_ALL)?;
    ensure!(
        answer == json!(["VZ", ["jane.roe@example.com"]]),
        "{answer}"
    );
    let export = exported(&stand, "jsonl")?;
    ensure!(
        export.contains("FunctionCallResponse") && export.contains("pg_catalog\\\".\\\"lower"),
        "{export}"
    );
    let evidence = stand.daemon.evidence_text()?.to_lowercase();
    ensure!(!evidence.contains("jane.roe"), "kept in clear: {export}");
    stand.daemon.verify_offline()?.success()?;
    drop(stand);

    let masks = "\n    mask: [{ detect: [email], with: redact }]\n";
    let (_stand, answer) = call(&format!("{}{masks}", policies::ALLOW_ALL.trim_end()))?;
    ensure!(
        answer[0] == "VZ" && answer[1] != json!(["jane.roe@example.com"]),
        "{answer}"
    );

    let policy = policies::ALLOW_ALL.replacen("    allow:", "    results: withheld\n    allow:", 1);
    let (stand, _) = call(&policy)?;
    let lines = lines(&exported(&stand, "jsonl")?)?;
    ensure!(
        lines
            .iter()
            .any(|line| line["tag"] == "V" && line["withheld"]["messages"] == 1),
        "{lines:?}"
    );
    Ok(())
}
