//! The protocol's edges: malformed and misplaced messages, start-up parameters, TLS modes, cancel.
//! A server itself was asked what it does with each; Cordon must be as strict or stricter, and
//! must go on serving.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use cordon_tests::{
    Cluster, Daemon, Issuer, Setup, Stand, canary,
    cluster::PLACEHOLDER,
    host::{Scratch, eventually},
    policies,
    raw::{self, Seen},
    tools,
};
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug)]
enum Want {
    /// An error with one of these codes, no row, and then either an end or a session that goes on.
    Error(&'static [&'static str]),
    /// The connection ends (an error before it is welcome), nothing is served.
    Ends,
    /// Either of the two.
    ErrorOrEnd,
    /// Served: these values of the first column.
    Rows(&'static [&'static str]),
    /// Served, and the first error is this one.
    RowsAndError(&'static [&'static str], &'static str),
    /// The login works and nothing else is asked.
    Login,
    /// Login or refusal, but what follows is checked elsewhere; no hang.
    LoginOrError,
}

const PROTOCOL: &[&str] = &["08P01"];
const REFUSED: &[&str] = &["42501", "0A000", "08P01", "28000"];

const CASES: &[(&str, Want)] = &[
    ("startup length 0", Want::Ends),
    ("startup length 1", Want::Ends),
    ("startup length 4", Want::Ends),
    ("startup length 7", Want::Ends),
    ("startup length 2^31-1", Want::Ends),
    ("startup length -1", Want::Ends),
    ("startup of 20000 bytes", Want::Ends),
    ("startup version 2", Want::Ends),
    ("startup version 4", Want::Ends),
    ("startup unknown request code", Want::Ends),
    ("startup without terminator", Want::Ends),
    ("startup key without value", Want::Ends),
    ("startup without user", Want::Ends),
    ("startup with bytes after its end", Want::Ends),
    ("startup text that is http", Want::Ends),
    ("replication=true", Want::Error(REFUSED)),
    ("replication=database", Want::Error(REFUSED)),
    ("replication=yes in options", Want::Error(REFUSED)),
    ("options -c", Want::Error(REFUSED)),
    ("options --role", Want::Error(REFUSED)),
    ("options search_path", Want::LoginOrError),
    ("options conforming strings", Want::Error(REFUSED)),
    ("client_encoding of the startup", Want::LoginOrError),
    ("role in the startup", Want::Error(REFUSED)),
    (
        "another database",
        Want::Error(&["42501", "28000", "3D000"]),
    ),
    ("unknown _pq_ option", Want::Login),
    ("minor version 3.9999", Want::Login),
    ("version 3.2", Want::Login),
    ("SSLRequest with bytes behind it", Want::Ends),
    ("GSSENCRequest, then startup", Want::Login),
    ("GSSENCRequest with bytes behind it", Want::Ends),
    ("SSLRequest, TLS, startup", Want::Login),
    ("direct TLS", Want::Login),
    ("bytewise", Want::Rows(&["1", "5"])),
    ("half-closed", Want::Rows(&["1"])),
    ("unknown tag z", Want::ErrorOrEnd),
    ("unknown tag 0", Want::ErrorOrEnd),
    ("unknown tag 255", Want::ErrorOrEnd),
    ("a server's message", Want::ErrorOrEnd),
    ("length 0", Want::ErrorOrEnd),
    ("length 1", Want::ErrorOrEnd),
    ("length 2", Want::ErrorOrEnd),
    ("length 3", Want::ErrorOrEnd),
    ("length 4 of a query", Want::Error(PROTOCOL)),
    ("length 2^31-1", Want::ErrorOrEnd),
    ("length -1", Want::ErrorOrEnd),
    ("query without NUL", Want::Error(PROTOCOL)),
    ("query with bytes after NUL", Want::Error(PROTOCOL)),
    (
        "query that is not UTF-8",
        Want::Error(&["22021", "0A000", "08P01"]),
    ),
    ("parse with too many types", Want::Error(PROTOCOL)),
    ("parse with a negative count", Want::Error(PROTOCOL)),
    ("parse with bytes left", Want::Error(PROTOCOL)),
    ("parse of two statements", Want::Error(&["42601", "0A000"])),
    ("bind before parse", Want::Error(&["26000"])),
    ("bind with a length beyond the end", Want::Error(PROTOCOL)),
    ("bind with length -2", Want::Error(PROTOCOL)),
    ("bind with bytes left", Want::Error(PROTOCOL)),
    ("bind with format 7", Want::Error(&["22023", "08P01"])),
    ("bind with wrong count", Want::Error(PROTOCOL)),
    ("execute unknown portal", Want::Error(&["34000"])),
    ("execute with bytes left", Want::Error(PROTOCOL)),
    ("describe kind X", Want::Error(PROTOCOL)),
    ("describe unknown", Want::Error(&["26000"])),
    ("close kind X", Want::Error(PROTOCOL)),
    ("close unknown", Want::Login),
    ("sync with a body", Want::Error(PROTOCOL)),
    ("flush with a body", Want::Error(PROTOCOL)),
    ("copy data outside of copy", Want::Rows(&["1"])),
    ("copy fail outside of copy", Want::Rows(&["1"])),
    ("password after login", Want::ErrorOrEnd),
    ("function call", Want::Login),
    (
        "function call of what is not allowed",
        Want::Error(&["42501"]),
    ),
    (
        "function call of what is not there",
        Want::Error(&["42883"]),
    ),
    (
        "function call with an argument too few",
        Want::Error(PROTOCOL),
    ),
    ("function call without its end", Want::Error(PROTOCOL)),
    ("function call with bytes left", Want::Error(PROTOCOL)),
    ("a flood of syncs", Want::Login),
    ("named statement twice", Want::Error(&["42P05"])),
    (
        "two queries in one packet, the second refused",
        Want::RowsAndError(&["1"], "42501"),
    ),
    (
        "error in a pipeline skips to the sync",
        Want::RowsAndError(&["1", "1"], "42501"),
    ),
    ("terminate", Want::Ends),
    ("flush without sync", Want::Rows(&["1"])),
    ("still served", Want::Rows(&["1"])),
];

/// P1, P2, P5, P7, P8, P9, P10, P11, P12.
#[test]
fn each_malformed_or_misplaced_message_costs_one_connection_at_most() -> Result<()> {
    let mut stand = Stand::with_policy(policies::SHOP)?;
    let results = raw::run(&stand.job(), raw::MALFORMED, &[])?;
    let results = results.as_object().context("no results")?;
    let mut wrong = Vec::new();
    for (name, _) in results {
        if !CASES.iter().any(|(case, _)| case == name) {
            wrong.push(format!("{name}: nothing is said about what must happen"));
        }
    }
    for (name, want) in CASES {
        let value = results
            .get(*name)
            .with_context(|| format!("the program has no case `{name}`"))?;
        if let Err(error) = judge(*want, value) {
            wrong.push(format!("{name}: wanted {want:?}, {error}: {value:.600}"));
        }
    }
    canary::none_in("an answer", &serde_json::to_string(results)?)?;
    stand.daemon.require_alive()?;
    ensure!(
        wrong.is_empty(),
        "{} of {} cases:\n{}",
        wrong.len(),
        CASES.len(),
        wrong.join("\n")
    );
    ensure!(
        stand
            .cluster
            .statements()?
            .iter()
            .all(|sql| !sql.contains("secrets")),
        "a refused statement was run"
    );
    // What was refused before a statement was read of it is on record.
    let export = ["evidence", "export", "jsonl", "--dir"];
    let dir = stand.daemon.evidence_dir().display().to_string();
    let entries = eventually("the refusals to be signed", || {
        let export = stand
            .daemon
            .cli(&[&export[..], &[&dir]].concat())
            .output()?;
        let export = cordon_tests::Output::from(export).success()?;
        let refused: Vec<String> = export
            .stdout
            .lines()
            .filter(|line| line.contains("\"message-refused\""))
            .map(str::to_owned)
            .collect();
        let has = |state: &str| refused.iter().any(|line| line.contains(state));
        Ok((has("22021") && has("26000")).then_some(refused))
    })?;
    canary::none_in("a refusal on record", &entries.concat())?;
    Ok(())
}

fn judge(want: Want, value: &Value) -> Result<()> {
    let seen = Seen(value);
    ensure!(!seen.timed_out(), "it hung");
    let codes = seen.sqlstates();
    let first = seen
        .rows()
        .into_iter()
        .filter_map(|row| row.first().copied().flatten())
        .collect::<Vec<_>>();
    match want {
        Want::Error(allowed) => {
            ensure!(
                codes.first().is_some_and(|code| allowed.contains(code)),
                "not this error"
            );
            ensure!(first.is_empty(), "it was served");
        }
        Want::Ends => {
            ensure!(
                seen.closed() && seen.ready() == 0 && first.is_empty(),
                "it was served"
            );
        }
        Want::ErrorOrEnd => {
            ensure!(seen.closed() || !codes.is_empty(), "it was accepted");
            ensure!(first.is_empty(), "it was served");
        }
        Want::Rows(expected) => ensure!(codes.is_empty() && first == expected, "not these rows"),
        Want::RowsAndError(expected, code) => {
            ensure!(
                first == expected && codes.first() == Some(&code),
                "not these rows and this error"
            );
        }
        Want::Login => ensure!(codes.is_empty() && seen.ready() > 0, "it was refused"),
        Want::LoginOrError => ensure!(
            seen.ready() > 0 || !codes.is_empty(),
            "neither served nor told why not"
        ),
    }
    Ok(())
}

#[test]
fn an_unknown_minor_version_and_option_are_negotiated_not_ignored() -> Result<()> {
    let stand = Stand::shared()?;
    let results = raw::run(&stand.job(), raw::MALFORMED, &[])?;
    let options = &results["unknown _pq_ option"]["negotiated"];
    ensure!(
        options[1][0] == "_pq_.nonsense",
        "the unknown option is not listed: {options}"
    );
    let minor = &results["minor version 3.9999"]["negotiated"];
    // The whole version, as servers say it.
    ensure!(minor[0] == (3 << 16) + 2, "3.2 was not offered: {minor}");
    Ok(())
}

/// P1, P2: every TLS mode of libpq, with the strictest verifying Cordon's own CA.
#[test]
fn every_ssl_mode_of_libpq_works() -> Result<()> {
    let stand = Stand::shared()?;
    let ca = stand.daemon.ca_file().display().to_string();
    for (mode, encrypted) in [
        ("disable", false),
        ("allow", false),
        ("prefer", true),
        ("require", true),
        ("verify-ca", true),
        ("verify-full", true),
    ] {
        let job = stand.job().env("PGSSLMODE", mode).env(
            "PGSSLROOTCERT",
            if encrypted { &ca } else { "/nonexistent" },
        );
        let job = if mode == "prefer" || mode == "require" {
            job.env("PGSSLROOTCERT", "/nonexistent")
        } else {
            job
        };
        let output = job
            .psql_command(&["-A", "-t", "-c", "SELECT 'served'", "-c", "\\conninfo"])?
            .output()?;
        let output = cordon_tests::Output::from(output)
            .success()
            .with_context(|| format!("sslmode={mode}"))?;
        ensure!(
            output.stdout.contains("served"),
            "sslmode={mode}: {}",
            output.all()
        );
        ensure!(
            output.stdout.contains("SSL connection") == encrypted,
            "sslmode={mode}: {}",
            output.all()
        );
    }
    Ok(())
}

#[test]
fn the_name_that_a_client_asks_for_is_on_the_certificate() -> Result<()> {
    let stand = Stand::shared()?;
    let job = stand.job().env("PGSSLMODE", "verify-full").env(
        "PGSSLROOTCERT",
        &stand.daemon.ca_file().display().to_string(),
    );
    let named = job
        .clone()
        .env("PGHOST", "db.cordon.test")
        .env("PGHOSTADDR", "127.0.0.1");
    named.sql("SELECT 1")?.success()?;
    Ok(())
}

#[test]
fn an_obsolete_tls_version_is_refused() -> Result<()> {
    let stand = Stand::shared()?;
    let job = stand.job().env("PGSSLMODE", "require");
    // The client may be unwilling itself; it must not be served either way.
    let job = job
        .env("PGSSLMINPROTOCOLVERSION", "TLSv1")
        .env("PGSSLMAXPROTOCOLVERSION", "TLSv1.1");
    let output = job.sql("SELECT 1")?;
    ensure!(
        output.code == Some(2) && output.stdout.is_empty(),
        "{}",
        output.all()
    );
    Ok(())
}

/// A key of the length that the version has, and a cancel request that shows it.
const CANCEL_KEYS: &str = r#"
out = []
for minor in (0, 1, 2):
    raw = Raw()
    login = raw.login(version=196608 + minor)
    # Held until someone answers, or the request cancels it; a notice says so.
    raw.send(query("DELETE FROM public.orders WHERE id = 1"))
    raw.message()
    cancel(raw.key)
    out.append({"negotiated": login.get("negotiated"), "key": len(raw.key), "seen": raw.seen()})
print(json.dumps(out))
"#;

/// P5: 3.2 has longer keys for cancel requests; there is no 3.1.
#[test]
fn protocol_3_2_is_spoken_and_its_longer_cancel_keys_work() -> Result<()> {
    let stand = Stand::shared()?;
    let results = raw::run(&stand.job(), CANCEL_KEYS, &[])?;
    for (minor, negotiated, key) in [
        (0, Value::Null, 8),
        (1, json!([3 << 16, []]), 8),
        (2, Value::Null, 36),
    ] {
        let result = &results[minor];
        ensure!(result["negotiated"] == negotiated, "3.{minor}: {result}");
        ensure!(result["key"] == key, "3.{minor}: {result}");
        ensure!(
            Seen(&result["seen"]).sqlstates() == ["57014"],
            "3.{minor}: {result}"
        );
    }
    Ok(())
}

/// Cancel requests without pause, while names are looked up before every other statement.
const CANCEL_STORM: &str = r#"
import threading
raw = logged_in()
over = threading.Event()
def storm():
    while not over.is_set():
        try:
            cancel(raw.key)
        except OSError:
            pass
thread = threading.Thread(target=storm, daemon=True)
thread.start()


def until(sql, state):
    # These can be cancelled too.
    while True:
        raw.send(query(sql))
        if raw.seen()["state"] == state:
            return


out = []
for number in range(60):
    if number == 30:
        # The rest inside a transaction, which a query of Cordon's own must not fail.
        until("BEGIN", "T")
    raw.send(query("SET search_path = public, pg_temp" if number % 2 else "SET search_path = public"))
    raw.send(query("SELECT %d" % number))
    out.append([raw.seen(), raw.seen()])
    if out[-1][1].get("state") == "E":
        until("ROLLBACK", "I")
        until("BEGIN", "T")
over.set()
thread.join()
raw.send(query("SELECT 'alive'"))
seen = raw.seen()
if seen["errors"]:
    raw.send(query("SELECT 'alive'"))
    seen = raw.seen()
print(json.dumps({"steps": out, "last": seen}))
"#;

/// P4: a request hits the client's statement or nothing, never a query of Cordon's own.
#[test]
fn a_storm_of_cancel_requests_costs_statements_at_most() -> Result<()> {
    let stand = Stand::shared()?;
    let result = raw::run(&stand.job(), CANCEL_STORM, &[])?;
    for (number, pair) in result["steps"]
        .as_array()
        .context("no steps")?
        .iter()
        .enumerate()
    {
        // What follows a cancelled statement of a transaction fails with it.
        let void = pair[0]["state"] == "E";
        for (seen, void) in [(Seen(&pair[0]), false), (Seen(&pair[1]), void)] {
            let codes = seen.sqlstates();
            ensure!(
                seen.ready() == 1
                    && (codes.is_empty() || codes == ["57014"] || (void && codes == ["25P02"])),
                "{number}: {pair}"
            );
        }
        ensure!(
            !Seen(&pair[1]).sqlstates().is_empty()
                || Seen(&pair[1]).rows() == [[Some(number.to_string().as_str())]],
            "{number}: {pair}"
        );
    }
    ensure!(
        Seen(&result["last"]).rows() == [[Some("alive")]],
        "{result}"
    );
    Ok(())
}

/// COPY FROM STDIN that fails before the server reads any data, or at its first row, as a Query,
/// in a Query with more, and as drivers send it.
const FAILED_COPY: &str = r#"
out = {}
for name, sql, data in (
    ("before", "COPY public.parted FROM STDIN (FREEZE)", b"1\n"),
    ("within", "COPY public.parted FROM STDIN", b"no number\n"),
    ("large", "COPY public.parted FROM STDIN", b"no number\n" * 100000),
):
    for way in ("simple", "several", "extended"):
        raw = logged_in()
        for turn in range(2):
            if way == "simple":
                raw.send(query(sql))
            elif way == "several":
                raw.send(query("SELECT 1; " + sql + "; SELECT 2"))
            else:
                raw.send(parse(sql) + bind() + execute() + SYNC)
            tags = b""
            while not tags.endswith(b"G"):
                tags += raw.message()[0]
            # Without waiting for the error, as a client does that has much to send.
            raw.send(frame(b"d", data) + frame(b"c") + (SYNC if way == "extended" else b""))
            seen = [raw.seen()]
            # Of its two Syncs the server ignores the first, or answers both.
            raw.send(query("SELECT 'alive'"))
            seen.append(raw.seen())
            if not seen[-1]["rows"]:
                seen.append(raw.seen())
            out["%s %s %d" % (name, way, turn)] = seen
print(json.dumps(out))
"#;

/// P9: whichever Sync of a failed COPY the server answers, the session goes on.
#[test]
fn a_copy_that_fails_before_or_within_its_data_costs_no_session() -> Result<()> {
    let stand = Stand::with_policy(policies::ALLOW_ALL)?;
    stand.cluster.admin(
        "CREATE TABLE public.parted (id int) PARTITION BY RANGE (id); \
         CREATE TABLE public.part PARTITION OF public.parted FOR VALUES FROM (0) TO (9); \
         GRANT ALL ON public.parted TO agent_rw",
    )?;
    let results = raw::run(&stand.job(), FAILED_COPY, &[])?;
    for (name, seen) in results.as_object().context("no object")? {
        let first = Seen(&seen[0]);
        let codes = first.sqlstates();
        let expected = if name.starts_with("before") {
            "0A000"
        } else {
            "22P02"
        };
        ensure!(codes == [expected], "{name}: {seen}");
        let last = seen
            .as_array()
            .and_then(|all| all.last())
            .context("nothing")?;
        ensure!(Seen(last).rows() == [[Some("alive")]], "{name}: {seen}");
        ensure!(
            name.contains("extended") || seen[2].is_null(),
            "{name}: ready twice: {seen}"
        );
    }
    Ok(())
}

/// Logs in with libpq and says how.
const LIBPQ: &str = r#"
import json, sys, psycopg
try:
    with psycopg.connect(sys.argv[1], connect_timeout=20) as connection:
        info = connection.execute("SELECT 'served'").fetchone()
        print(json.dumps([info[0], connection.info.parameter_status("server_version") is not None, connection.pgconn.ssl_in_use]))
except psycopg.OperationalError as error:
    print(json.dumps([str(error), None, None]))
"#;

const ASYNCPG: &str = r#"
import asyncio, asyncpg, json, os, sys
async def main():
    connection = await asyncpg.connect(host=os.environ["PGHOST"], port=int(os.environ["PGPORT"]), user=os.environ["PGUSER"],
        password=sys.argv[1], database=os.environ["PGDATABASE"], ssl=False)
    print(json.dumps(await connection.fetchval("SELECT 'served'")))
    await connection.close()
asyncio.run(main())
"#;

fn asking() -> Result<Stand> {
    Stand::start(&Setup {
        client_password: Some(PLACEHOLDER.to_owned()),
        ..Setup::default()
    })
}

/// P3: clients that insist on a real authentication, bound to the TLS connection or not.
#[test]
fn clients_that_insist_on_authentication_are_asked_for_the_placeholder() -> Result<()> {
    let stand = asking()?;
    let ca = stand.daemon.ca_file().display().to_string();
    let verified = format!("sslmode=verify-full sslrootcert={ca}");
    for (options, tls) in [
        ("sslmode=disable".to_owned(), false),
        (
            "sslmode=disable require_auth=scram-sha-256".to_owned(),
            false,
        ),
        (format!("{verified} require_auth=scram-sha-256"), true),
        (format!("{verified} channel_binding=require"), true),
        (format!("{verified} channel_binding=disable"), true),
        (
            format!(
                "{verified} channel_binding=require require_auth=scram-sha-256 sslnegotiation=direct"
            ),
            true,
        ),
    ] {
        let output = stand.job().driver(LIBPQ, &[&options])?.success()?.json()?;
        ensure!(
            output == json!(["served", true, tls]),
            "{options}: {output}"
        );
    }
    let output = stand.job().driver(ASYNCPG, &[PLACEHOLDER])?.success()?;
    ensure!(output.json()? == "served", "{}", output.all());
    // psql's own library, an older one.
    let job = stand
        .job()
        .env("PGSSLMODE", "verify-full")
        .env("PGSSLROOTCERT", &ca)
        .env("PGCHANNELBINDING", "require");
    ensure!(
        job.sql("SELECT 'served'")?.success()?.lines() == ["served"],
        "psql"
    );
    Ok(())
}

/// P3: who does not know the placeholder gets no session, and that is on record.
#[test]
fn a_client_with_another_password_is_refused_and_recorded() -> Result<()> {
    let stand = asking()?;
    for mode in ["disable", "require"] {
        let job = stand
            .job()
            .env("PGSSLMODE", mode)
            .env("PGPASSWORD", "guess");
        let output = job.sql("SELECT 1")?;
        ensure!(output.code == Some(2), "{mode}: {}", output.all());
        ensure!(
            output.all().contains("client_password"),
            "{mode}: {}",
            output.all()
        );
    }
    ensure!(
        stand
            .daemon
            .evidence_text()?
            .matches("the password is not the placeholder")
            .count()
            == 2,
        "not recorded"
    );
    ensure!(stand.cluster.logins()?.is_empty(), "it was served");
    stand.job().sql("SELECT 1")?.success()?;
    Ok(())
}

/// P3: messages out of order cost the connection only.
#[test]
fn malformed_authentication_messages_are_refused() -> Result<()> {
    let stand = asking()?;
    let program = r#"
out = []
for answer in (
    frame(b"p", b"SCRAM-SHA-1\0" + struct.pack("!i", 0)),
    frame(b"p", b"SCRAM-SHA-256-PLUS\0" + struct.pack("!i", 0)),
    frame(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", -1)),
    frame(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", 99) + b"n,,n=,r=x"),
    frame(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", 9) + b"y,,n=,r=x"),
    frame(b"p", b"x" * 5000),
    frame(b"p", b"", length=2**31 - 1),
    query("SELECT 1"),
    b"p\0\0",
):
    raw = Raw()
    raw.send(startup())
    first = raw.message()
    raw.send(answer)
    try:
        raw.sock.shutdown(socket.SHUT_WR)
    except OSError:
        # It has refused the answer and hung up already.
        pass
    out.append([first[0].decode(), first[1][:4].hex(), raw.seen()])
print(json.dumps(out))
"#;
    let results = raw::run(&stand.job(), program, &[])?;
    for (index, result) in results.as_array().context("no list")?.iter().enumerate() {
        ensure!(result[0] == "R" && result[1] == "0000000a", "{result}");
        let seen = Seen(&result[2]);
        ensure!(seen.closed() && seen.ready() == 0, "{index}: {result}");
        // The one that says it could bind, where nothing was offered, is answered.
        let served = seen.0["order"]
            .as_str()
            .is_some_and(|order| order.contains('R'));
        ensure!(served == (index == 4), "{index}: {result}");
    }
    stand.job().sql("SELECT 1")?.success()?;
    Ok(())
}

const WAIT_FOR_CANCEL: &str = r#"
import threading
raw = logged_in()
print(raw.key.hex(), flush=True)
def own_cancel():
    sys.stdin.readline()
    cancel(raw.key)
threading.Thread(target=own_cancel).start()
raw.send(query("SELECT pg_sleep(600)"))
seen = raw.seen()
raw.send(query("SELECT 'alive'"))
print(json.dumps([seen, raw.seen()]), flush=True)
"#;

const SEND_CANCEL: &str = "
key = bytes.fromhex(sys.argv[1])
cancel(key)
cancel(key[:4] + bytes(b ^ 1 for b in key[4:]))
print(json.dumps('sent'))
";

/// P4: a cancel request from another job, or with a guessed key, does nothing; the job's own works.
#[test]
fn only_the_same_job_with_the_right_key_can_cancel() -> Result<()> {
    let stand = Stand::with_policy(policies::ALLOW_ALL)?;
    let file = stand
        .daemon
        .scratch()
        .share("wait.py", raw::program(WAIT_FOR_CANCEL).as_bytes())?;
    let mut child = stand
        .job()
        .command(&[tools::PYTHON, &file.display().to_string()])?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let key = lines.next().context("no key")??;
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND state = 'active' AND usename = 'agent_rw'";
    eventually("the statement to run", || {
        Ok((stand.cluster.count(running)? == 1).then_some(()))
    })?;

    raw::run(&stand.job(), SEND_CANCEL, &[&key])?;
    ensure!(
        stand.cluster.count(running)? == 1,
        "another job cancelled the statement"
    );

    writeln!(stdin, "go")?;
    let Some(result) = lines.next() else {
        bail!("the session ended: {:?}", child.wait())
    };
    let result: Value = serde_json::from_str(&result?)?;
    ensure!(Seen(&result[0]).sqlstates() == ["57014"], "{result}");
    ensure!(Seen(&result[1]).rows() == [[Some("alive")]], "{result}");
    child.wait()?;
    Ok(())
}

/// Ends with its process.
struct Between(std::process::Child, u16);

impl Between {
    fn start(certificate: &Path, key: &Path, server: &str) -> Result<Self> {
        let (host, port) = server.rsplit_once(':').context("no port")?;
        let mut child = Command::new(tools::PYTHON)
            .args(["-c", include_str!("../fixtures/raw/between.py")])
            .args([certificate, key])
            .args([host, port])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        Ok(Self(child, line.trim().parse()?))
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// P: with `tls: require` no name is verified, but the login is bound to the certificate that
/// Cordon was shown. The same relay with the server's own certificate is the control.
#[test]
fn a_login_is_worth_nothing_to_somebody_between_cordon_and_the_database() -> Result<()> {
    let cluster = Arc::new(Cluster::start()?);
    let issuer = Arc::new(Issuer::start()?);
    let folder = cluster.ca_file().with_file_name("");
    let scratch = Scratch::new("between")?;
    let key = rcgen::KeyPair::generate()?;
    let certificate =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
    let other = (
        scratch.path().join("other.pem"),
        scratch.path().join("other.key"),
    );
    std::fs::write(&other.0, certificate.pem())?;
    std::fs::write(&other.1, key.serialize_pem())?;
    let own = (folder.join("server.pem"), folder.join("server.key"));
    let policy = policies::ALLOW_ALL.replace("database: shop", "database: relayed");
    for (files, works) in [(own, true), (other, false)] {
        let between = Between::start(&files.0, &files.1, &cluster.address())?;
        let setup = Setup {
            policy: policy.clone(),
            relay: Some((format!("127.0.0.1:{}", between.1), "require")),
            ..Setup::default()
        };
        let daemon = Daemon::start(&cluster, &issuer, &setup)?;
        let output = daemon
            .job()
            .env("PGPORT", &between.1.to_string())
            .sql("SELECT 7")?;
        if works {
            ensure!(output.lines() == ["7"], "{}", output.all());
        } else {
            ensure!(output.all().contains("channel binding"), "{}", output.all());
        }
    }
    Ok(())
}

/// Clients tell their own notifications from others' by the process id.
#[test]
fn the_process_id_that_a_client_is_told_is_its_backends() -> Result<()> {
    let stand = Stand::with_policy(policies::ALLOW_ALL)?;
    let program = r#"
import json
import psycopg
with psycopg.connect(autocommit=True) as conn:
    conn.execute("LISTEN work")
    conn.execute("NOTIFY work, 'hello'")
    [notify] = conn.notifies(timeout=30, stop_after=1)
    asked = conn.execute("SELECT pg_backend_pid()").fetchone()[0]
    print(json.dumps([conn.info.backend_pid, asked, notify.pid]))
"#;
    let pids = stand.job().driver(program, &[])?.success()?.json()?;
    ensure!(
        pids[0].as_u64().is_some_and(|pid| pid > 0) && pids[0] == pids[1] && pids[1] == pids[2],
        "{pids}"
    );
    Ok(())
}

/// The server keeps this name of UTF8 as it is given; others it replaces.
#[test]
fn unicode_is_a_name_of_utf8() -> Result<()> {
    let stand = Stand::with_policy(policies::ALLOW_ALL)?;
    for name in ["UNICODE", "unicode", "utf-8"] {
        let set = format!("SET client_encoding TO '{name}'");
        let output = stand
            .job()
            .sqls(&[&set, "SELECT 'snow \u{2603}'"])?
            .success()
            .with_context(|| name.to_owned())?;
        ensure!(
            output.lines() == ["snow \u{2603}"],
            "{name}: {}",
            output.all()
        );
    }
    let output = stand
        .job()
        .sqls(&["SET client_encoding TO 'LATIN1'", "SELECT 1"])?
        .refused_with("42501")?;
    ensure!(output.lines() == ["1"], "{}", output.all());
    Ok(())
}

/// A session's own time-out that ends while names are looked up for a statement ends the statement,
/// not the session.
#[test]
fn a_time_out_while_names_are_looked_up_is_the_statements() -> Result<()> {
    let stand = Stand::with_policy(policies::ALLOW_ALL)?;
    let mut admin = stand.cluster.live_admin()?;
    let mut session = stand.job().live()?;
    for (timeout, sqlstate) in [("statement_timeout", "57014"), ("lock_timeout", "55P03")] {
        for begin in [true, false] {
            // A new search path makes the session look names up for the next statement. Inside the
            // transaction nothing may have been looked up yet, or the lock would wait for it.
            let begin_now = if begin { "BEGIN;" } else { "" };
            let ready = session.query(&format!(
                "RESET ALL; SELECT 1; SET {timeout} = '1s'; SET search_path = public, pg_temp; \
                 {begin_now} SET search_path = public;"
            ))?;
            ensure!(ready.sqlstates().is_empty(), "{}", ready.all());
            let locked = admin
                .query("BEGIN; LOCK TABLE pg_catalog.pg_inherits IN ACCESS EXCLUSIVE MODE;")?;
            ensure!(locked.sqlstates().is_empty(), "{}", locked.all());
            let failed = session.query("SELECT count(*) FROM orders;")?;
            admin.query("ROLLBACK;")?;
            ensure!(
                failed.sqlstates() == [sqlstate],
                "{timeout}, {begin}: {}",
                failed.all()
            );
            if begin {
                let aborted = session.query("SELECT 1;")?;
                ensure!(aborted.sqlstates() == ["25P02"], "{}", aborted.all());
                session.query("ROLLBACK;")?;
            }
            let after = session.query("SELECT count(*) > 0 FROM orders;")?;
            ensure!(
                after.sqlstates().is_empty() && after.lines() == ["t"],
                "{timeout}, {begin}: {}",
                after.all()
            );
        }
    }
    Ok(())
}

/// What follows a failed statement in a pipeline is void up to Sync, also where it is new to Cordon and
/// the server would have to read it first.
#[test]
fn a_new_statement_behind_a_failed_one_does_not_wait_for_an_answer() -> Result<()> {
    let stand = Stand::with_policy(policies::ALLOW_ALL)?;
    let program = r#"
raw = logged_in()
raw.sock.settimeout(30)
def part(sql, name=""):
    return parse(sql, name=name) + bind(statement=name) + execute()
out = []
for third in ("SELECT 3 FROM orders LIMIT 1", "SELECT 4"):
    raw.send(part("SELECT 1") + part("SELECT 1/0 FROM orders") + part(third, "third") + SYNC)
    out.append(raw.seen())
    # Its name is not taken.
    raw.send(part(third, "third") + SYNC)
    out.append(raw.seen())
    raw.send(frame(b"C", b"Sthird\0") + SYNC)
    raw.seen()
print(json.dumps(out))
"#;
    let shown = raw::run(&stand.job(), program, &[])?;
    let [first, again, second, once_more] = shown.as_array().context("no list")?.as_slice() else {
        bail!("{shown}");
    };
    for (failed, after, value) in [(first, again, "3"), (second, once_more, "4")] {
        let failed = Seen(failed);
        ensure!(
            failed.rows() == [[Some("1")]]
                && failed.sqlstates() == ["22012"]
                && failed.ready() == 1,
            "{shown}"
        );
        ensure!(Seen(after).rows() == [[Some(value)]], "{shown}");
    }
    Ok(())
}

/// Drivers send the next statement when they see the error, before the server is ready.
#[test]
fn a_cancel_request_that_has_met_its_statement_does_not_meet_the_next() -> Result<()> {
    let stand = Stand::with_policy(policies::ALLOW_ALL)?;
    let program = r#"
raw, watcher = logged_in(), logged_in()
raw.send(parse("SELECT pg_sleep(600)") + bind() + execute() + FLUSH)
asleep = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND wait_event = 'PgSleep'"
while True:
    watcher.send(query(asleep))
    if watcher.seen()["rows"] == [["1"]]:
        break
cancel(raw.key)
order = ""
while not order.endswith("E"):
    tag, body = raw.message()
    order += tag.decode()
raw.send(SYNC + query("SELECT 'alive'"))
print(json.dumps([fields(body)["C"], raw.seen(readies=2)]))
"#;
    let shown = raw::run(&stand.job(), program, &[])?;
    ensure!(shown[0] == "57014", "{shown}");
    ensure!(Seen(&shown[1]).rows() == [[Some("alive")]], "{shown}");
    Ok(())
}

/// Counts of parameters have no sign.
#[test]
fn a_statement_may_have_65535_parameters() -> Result<()> {
    let stand = Stand::with_policy(policies::ALLOW_ALL)?;
    let program = r#"
import psycopg
with psycopg.connect() as conn:
    values = list(range(65535))
    sql = "SELECT cardinality(ARRAY[" + ",".join(["%s::int"] * len(values)) + "])"
    print(conn.execute(sql, values).fetchone()[0])
    print(conn.execute("SELECT 'alive'").fetchone()[0])
"#;
    let output = stand.job().driver(program, &[])?.success()?;
    ensure!(output.lines() == ["65535", "alive"], "{}", output.all());
    Ok(())
}
