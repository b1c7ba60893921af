//! Roles that are made for jobs: what they hold, and that they end with the job (list R).

use std::{fs, sync::Arc, time::Instant};

use anyhow::{Context, Result, ensure};
use cordon_tests::{
    Cluster, Daemon, Issuer, LivePsql, Output, Setup, Stand, daemon::APPROVERS, host::eventually,
    policies,
};

const ADMIN: &str = "cordon_admin";
const ADMIN_PASSWORD: &str = "gateway-only-admin-77c1";
const SUPERUSER_PASSWORD: &str = "superuser-only-0a4e";

/// How the admin makes roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Itself, with CREATEROLE.
    Itself,
    /// By procedures; it may make none itself.
    Procedures,
}

/// The shop, owned by a role that is no superuser, and an admin who is none either.
const OWNED: &str = "
CREATE ROLE shop_owner;
CREATE TABLE public.tickets (id serial PRIMARY KEY, body text);
DO $$ DECLARE r regclass; BEGIN
  FOR r IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm') LOOP
    EXECUTE format('ALTER TABLE %s OWNER TO shop_owner', r);
  END LOOP;
END $$;
ALTER FUNCTION public.order_total(integer) OWNER TO shop_owner;
";

fn stand(by: By, policy: &str) -> Result<Stand> {
    stand_with(by, policy, ADMIN_PASSWORD)
}

fn stand_with(by: By, policy: &str, password: &str) -> Result<Stand> {
    let cluster = Arc::new(Cluster::start()?);
    cluster.admin(OWNED)?;
    let rights = match by {
        By::Itself => "CREATEROLE",
        By::Procedures => "NOCREATEROLE",
    };
    cluster.admin(&format!(
        "CREATE ROLE {ADMIN} LOGIN {rights} PASSWORD '{ADMIN_PASSWORD}'; ALTER ROLE postgres PASSWORD '{SUPERUSER_PASSWORD}'"
    ))?;
    if by == By::Itself {
        cluster.admin(&format!("GRANT shop_owner TO {ADMIN}"))?;
    }
    let issuer = Arc::new(Issuer::start()?);
    let keys = match by {
        By::Itself => "connections: 20",
        By::Procedures => "procedures: true, connections: 20",
    };
    let setup = Setup {
        policy: policy.to_owned(),
        admin: Some((ADMIN.to_owned(), password.to_owned(), keys.to_owned())),
        ..Setup::default()
    };
    let daemon = Daemon::start(&cluster, &issuer, &setup)?;
    let stand = Stand {
        daemon,
        cluster,
        issuer,
    };
    if by == By::Procedures {
        install(&stand)?;
    }
    Ok(stand)
}

/// `cordon database prepare --install`, as a superuser would run it.
fn install(stand: &Stand) -> Result<()> {
    let url = format!(
        "postgres://postgres@127.0.0.1:{}/shop?sslmode=verify-full&sslrootcert={}",
        stand.cluster.port(),
        stand.cluster.ca_file().display()
    );
    let mut command = stand.daemon.cli(&[
        "database",
        "prepare",
        "--admin",
        ADMIN,
        "--owner",
        "shop_owner",
        "--install",
        &url,
    ]);
    command.env("PGPASSWORD", SUPERUSER_PASSWORD);
    Output::from(command.output()?).success()?;
    Ok(())
}

const JOB_ROLES: &str = r"SELECT rolname FROM pg_roles WHERE rolname LIKE 'cordon\_job\_%'";

fn job_role(stand: &Stand) -> Result<String> {
    let role = stand.cluster.admin(JOB_ROLES)?;
    ensure!(
        role.starts_with("cordon_job_") && !role.contains('\n'),
        "expected one role of a job: {role:?}"
    );
    Ok(role)
}

fn wait_until_gone(stand: &Stand) -> Result<()> {
    eventually("the job's role to be gone", || {
        Ok(stand.cluster.admin(JOB_ROLES)?.is_empty().then_some(()))
    })?;
    let backends = stand.cluster.count(
        "SELECT count(*) FROM pg_stat_activity AS s LEFT JOIN pg_roles AS r ON r.oid = s.usesysid \
         WHERE s.backend_type = 'client backend' AND (r.rolname IS NULL OR r.rolname LIKE 'cordon\\_job\\_%')",
    )?;
    ensure!(backends == 0, "{backends} sessions outlive their role");
    Ok(())
}

fn end_job(stand: &Stand) -> Result<()> {
    let status = Output::from(stand.daemon.cli(&["job", "status"]).output()?).success()?;
    let job = status
        .stdout
        .split('"')
        .find(|word| word.starts_with("job-"))
        .context("no job is listed")?
        .to_owned();
    Output::from(stand.daemon.cli(&["job", "end", &job]).output()?).success()?;
    Ok(())
}

/// What the server itself answers to the role of a running job: no Cordon in between.
fn directly(stand: &Stand, role: &str, sql: &str) -> Result<Output> {
    const SEAM: &str = "known-to-this-test-alone";
    stand
        .cluster
        .admin(&format!("ALTER ROLE \"{role}\" PASSWORD '{SEAM}'"))?;
    let mut psql = stand.cluster.direct_psql(role, SEAM)?;
    Ok(psql.args(["-A", "-t", "-q", "-c", sql]).output()?.into())
}

fn served(session: &mut LivePsql, sql: &str) -> Result<Vec<String>> {
    let output = session.query(sql)?;
    ensure!(output.stderr.is_empty(), "{sql}: {}", output.all());
    Ok(output.lines().iter().map(|&line| line.to_owned()).collect())
}

fn a_role_holds_what_the_grants_say(by: By) -> Result<()> {
    let stand = stand(by, policies::PER_JOB)?;
    let mut session = stand.job().live()?;
    for _twice in 0..2 {
        let user = served(&mut session, "SELECT current_user;")?;
        ensure!(user.first() == Some(&job_role(&stand)?), "{user:?}");
        served(&mut session, "SELECT count(*) FROM public.orders;")?;
        served(
            &mut session,
            "SELECT id, customer FROM public.order_overview;",
        )?;
        served(
            &mut session,
            "INSERT INTO public.tickets (body) VALUES ('from a sequence');",
        )?;
        served(
            &mut session,
            "UPDATE public.orders SET status = 'paid' WHERE id = 2;",
        )?;
        served(&mut session, "SELECT public.order_total(1);")?;
        let mail = served(
            &mut session,
            "SELECT email FROM public.customers WHERE id = 1;",
        )?;
        ensure!(!mail.concat().contains("kq7vd"), "not masked: {mail:?}");
    }
    let role = job_role(&stand)?;
    let attributes = stand.cluster.admin(&format!(
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolcanlogin, rolconnlimit, \
         rolvaliduntil BETWEEN now() AND now() + interval '61 minutes', rolpassword LIKE 'SCRAM-SHA-256$%' \
         FROM pg_authid WHERE rolname = '{role}'"
    ))?;
    ensure!(attributes == "f|f|f|f|f|t|20|t|t", "{attributes}");

    // The analysis is out of the way: the server alone says what the role may do.
    for sql in [
        "SELECT id, status, note, total FROM public.orders",
        "SELECT id, name, email FROM public.customers",
        "SELECT id, body FROM public.order_notes",
        "UPDATE public.orders SET note = 'x' WHERE id = 1",
        "INSERT INTO public.order_notes (id, order_id, body) VALUES (900, 1, 'x')",
        // Held by the policy: it runs once it is approved.
        "DELETE FROM public.order_notes WHERE id = 900",
        "SELECT public.order_total(1)",
    ] {
        directly(&stand, &role, sql)?
            .success()
            .with_context(|| sql.to_owned())?;
    }
    let holds = stand.cluster.admin(&format!(
        "SELECT g.rolname FROM pg_auth_members AS m JOIN pg_roles AS g ON g.oid = m.roleid \
         JOIN pg_roles AS j ON j.oid = m.member WHERE j.rolname = '{role}'"
    ))?;
    ensure!(
        holds.starts_with("cordon_grant_") && !holds.contains('\n'),
        "{holds}"
    );
    for sql in [
        "SELECT ssn FROM public.customers",
        "SELECT * FROM public.customers",
        "SELECT value FROM public.secrets",
        "SELECT author FROM public.order_notes",
        "SELECT * FROM public.tickets",
        "UPDATE public.orders SET total = 0",
        "UPDATE public.customers SET email = 'x'",
        "INSERT INTO public.orders (customer_id) VALUES (1)",
        "DELETE FROM public.tickets",
        "TRUNCATE public.order_notes",
        "SELECT nextval('public.invoice_number')",
        "CREATE TABLE public.own (a integer)",
        "ALTER TABLE public.orders ADD COLUMN a integer",
        "DROP TABLE public.tickets",
        "CREATE ROLE other",
        "SET ROLE shop_owner",
        "SET SESSION AUTHORIZATION postgres",
        "COPY public.orders TO PROGRAM 'cat'",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT rolpassword FROM pg_authid",
    ] {
        directly(&stand, &role, sql)?
            .refused_with("42501")
            .with_context(|| sql.to_owned())?;
    }
    // R4: the role that holds the privileges is no way to more.
    directly(
        &stand,
        &role,
        &format!("SET ROLE \"{holds}\"; SELECT value FROM public.secrets"),
    )?
    .refused_with("42501")?;
    session.finish()?;
    wait_until_gone(&stand)?;
    let evidence = stand.daemon.evidence_text()?;
    ensure!(
        evidence.contains(&role) && evidence.contains("role-changed"),
        "the role is not in the evidence"
    );
    stand.daemon.verify_evidence()?.success()?;
    Ok(())
}

#[test]
fn g8_a_jobs_role_holds_what_its_grants_say_where_the_admin_makes_roles_itself() -> Result<()> {
    a_role_holds_what_the_grants_say(By::Itself)
}

#[test]
fn g8_a_jobs_role_holds_what_its_grants_say_where_procedures_make_it() -> Result<()> {
    a_role_holds_what_the_grants_say(By::Procedures)
}

#[test]
fn procedures_touch_nothing_but_cordons_own_roles_and_are_for_the_admin_alone() -> Result<()> {
    let stand = stand(By::Procedures, policies::PER_JOB)?;
    let grant = "cordon_grant_00000000_0000000000000000_00000000";
    let job = "cordon_job_00000000_0000000000000000_00000000";
    let verifier = format!("SCRAM-SHA-256$4096:AAAA${0}:{0}", "A".repeat(44));
    let as_admin = |sql: &str| -> Result<Output> {
        let mut psql = stand.cluster.direct_psql(ADMIN, ADMIN_PASSWORD)?;
        Ok(psql.args(["-c", sql]).output()?.into())
    };
    for sql in [
        "SELECT cordon.drop_role('agent_rw')".to_owned(),
        "SELECT cordon.end_job_role('postgres')".to_owned(),
        format!("SELECT cordon.make_job_role('postgres', '{verifier}', '60', '1', '{grant}')"),
        format!("SELECT cordon.make_job_role('{job}', '{verifier}', '60', '1', 'shop_owner')"),
        format!("SELECT cordon.make_job_role('{job}', 'in clear', '60', '1', '{grant}')"),
        format!("SELECT cordon.make_job_role('{job}', '{verifier}', '999999999', '1', '{grant}')"),
        format!("SELECT cordon.change_job_role('agent_rw', '{grant}')"),
        format!("SELECT cordon.change_job_role('{job}', 'postgres')"),
        // pg_authid, pg_read_file.
        format!(
            "SELECT cordon.make_grant_role('{grant}', '[{{\"on\": \"table\", \"oid\": 1260, \"privilege\": \"SELECT\"}}]')"
        ),
        format!(
            "SELECT cordon.make_grant_role('{grant}', '[{{\"on\": \"routine\", \"oid\": 2624}}]')"
        ),
        format!(
            "SELECT cordon.make_grant_role('{grant}', '[{{\"on\": \"table\", \"oid\": 1259, \"privilege\": \"ALL\"}}]')"
        ),
    ] {
        as_admin(&sql)?
            .refused_with("22023")
            .with_context(|| sql.clone())?;
    }
    for sql in [
        "CREATE ROLE x",
        "SELECT * FROM public.orders",
        "DROP SCHEMA cordon CASCADE",
    ] {
        as_admin(sql)?
            .refused_with("42501")
            .with_context(|| sql.to_owned())?;
    }
    let mut psql = stand.cluster.direct_psql("app", "app-direct-2b7d")?;
    let sql = format!("SELECT cordon.drop_role('{job}')");
    Output::from(psql.args(["-c", &sql]).output()?).refused_with("42501")?;
    Ok(())
}

#[test]
fn r1_a_role_goes_only_after_its_sessions_have_gone() -> Result<()> {
    let stand = stand(By::Itself, policies::PER_JOB)?;
    let mut sessions = Vec::new();
    let job = stand.job();
    // Three sessions of one job: a shell that runs three psqls.
    let script = "for i in 1 2 3; do (psql -X -c 'SELECT pg_sleep(600)' &) ; done; sleep 600";
    let mut child = job.command(&["/bin/sh", "-c", script])?.spawn()?;
    let active = "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'cordon\\_job\\_%' AND state = 'active'";
    eventually("three statements to run", || {
        Ok((stand.cluster.count(active)? == 3).then_some(()))
    })?;
    sessions.push(job_role(&stand)?);
    end_job(&stand)?;
    wait_until_gone(&stand)?;
    child.wait()?;
    let log = stand.cluster.log()?;
    ensure!(
        !log.contains("invalid role OID") && !log.contains("does not exist\" while"),
        "a session lived on without its role"
    );
    Ok(())
}

#[test]
fn r1_from_the_last_process_to_the_last_backend_is_measured() -> Result<()> {
    const RUNS: usize = 50;
    let stand = stand(By::Itself, policies::PER_JOB)?;
    let mut watcher = stand.cluster.live_admin()?;
    let mut took = Vec::new();
    for _run in 0..RUNS {
        let mut session = stand.job().live()?;
        session.send("SELECT pg_sleep(600);")?;
        let active = "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'cordon\\_job\\_%' AND state = 'active' AND query LIKE '%pg_sleep(600)%';";
        eventually("the statement to run", || {
            Ok((watcher.query(active)?.lines() == ["1"]).then_some(()))
        })?;
        session.kill()?;
        let ended = Instant::now();
        let left = "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'cordon\\_job\\_%';";
        while watcher.query(left)?.lines() != ["0"] {
            ensure!(
                ended.elapsed() < cordon_tests::host::PATIENCE,
                "the backend stays"
            );
        }
        took.push(ended.elapsed());
        drop(session);
        eventually("the role to be gone", || {
            Ok(stand.cluster.admin(JOB_ROLES)?.is_empty().then_some(()))
        })?;
    }
    took.sort();
    println!(
        "from the last process of a job to its last backend, {RUNS} runs: median {:?}, worst {:?}",
        took.get(RUNS / 2).context("no runs")?,
        took.last().context("no runs")?
    );
    Ok(())
}

/// A statement that takes every cancel request for an error it can go on after.
const STUBBORN: &str = "DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$;";

#[test]
fn r2_a_statement_that_ignores_cancel_requests_ends_with_the_job_under_a_fixed_login() -> Result<()>
{
    let stand = Stand::with_policy(policies::ALLOW_ALL)?;
    let mut session = stand.job().live()?;
    session.send(STUBBORN)?;
    let running = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'agent_rw' AND state = 'active' AND wait_event = 'PgSleep'";
    eventually("the statement to run", || {
        Ok((stand.cluster.count(running)? == 1).then_some(()))
    })?;
    end_job(&stand)?;
    eventually("the backend to be gone", || {
        Ok(stand.cluster.logins()?.is_empty().then_some(()))
    })?;
    drop(session);
    Ok(())
}

#[test]
fn r2_a_statement_ends_with_the_job_and_its_role() -> Result<()> {
    let stand = stand(By::Procedures, policies::PER_JOB)?;
    let mut session = stand.job().live()?;
    session.send("SELECT pg_sleep(600);")?;
    let running = "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'cordon\\_job\\_%' AND state = 'active'";
    eventually("the statement to run", || {
        Ok((stand.cluster.count(running)? == 1).then_some(()))
    })?;
    end_job(&stand)?;
    wait_until_gone(&stand)?;
    drop(session);
    Ok(())
}

#[test]
fn r3_a_role_that_owns_objects_loses_everything_else_and_nothing_is_destroyed_or_handed_on()
-> Result<()> {
    let mut stand = stand(By::Itself, policies::PER_JOB)?;
    let mut session = stand.job().live()?;
    served(&mut session, "SELECT 1;")?;
    let role = job_role(&stand)?;
    stand.cluster.admin(&format!(
        "ALTER TABLE public.owned_plain OWNER TO \"{role}\"; SELECT lo_create(4711); ALTER LARGE OBJECT 4711 OWNER TO \"{role}\""
    ))?;
    end_job(&stand)?;
    session.finish()?;
    let state = format!(
        "SELECT rolcanlogin, (SELECT count(*) FROM pg_auth_members WHERE member = a.oid), rolpassword IS NULL FROM pg_authid AS a WHERE rolname = '{role}'"
    );
    eventually("the role to be without login and rights", || {
        Ok((stand.cluster.admin(&state)? == "f|0|t").then_some(()))
    })?;
    let kept = stand.cluster.admin(
        "SELECT (SELECT count(*) FROM public.owned_plain), (SELECT relowner::regrole FROM pg_class WHERE oid = 'public.owned_plain'::regclass), \
         (SELECT count(*) FROM pg_largeobject_metadata WHERE oid = 4711)",
    )?;
    ensure!(kept == format!("2|{role}|1"), "{kept}");
    eventually("the evidence to say that the role is left", || {
        let evidence = stand.daemon.evidence_text()?;
        Ok(evidence.contains("\"change\":\"left\"").then_some(()))
    })?;
    // Once somebody has taken the objects over, the next look removes it.
    stand
        .cluster
        .admin(&format!("REASSIGN OWNED BY \"{role}\" TO shop_owner"))?;
    stand.daemon.terminate()?;
    stand.daemon.restart()?;
    wait_until_gone(&stand)
}

#[test]
fn r4_a_job_cannot_take_on_another_role_and_its_grants_role_ends_with_the_policy() -> Result<()> {
    let stand = stand(By::Itself, policies::PER_JOB)?;
    let mut session = stand.job().live()?;
    served(&mut session, "SELECT 1;")?;
    let holds = stand
        .cluster
        .admin(r"SELECT rolname FROM pg_roles WHERE rolname LIKE 'cordon\_grant\_%'")?;
    for sql in [
        format!("SET ROLE \"{holds}\";"),
        format!("SELECT set_config('role', '{holds}', false);"),
        "SET SESSION AUTHORIZATION shop_owner;".to_owned(),
    ] {
        let output = session.query(&sql)?;
        ensure!(output.sqlstates() == ["42501"], "{sql}: {}", output.all());
    }
    // Nobody logs in as the role that holds the privileges, whatever its password.
    stand
        .cluster
        .admin(&format!("ALTER ROLE \"{holds}\" PASSWORD 'x'"))?;
    let mut psql = stand.cluster.direct_psql(&holds, "x")?;
    let output = Output::from(psql.args(["-c", "SELECT 1"]).output()?);
    ensure!(
        output.stderr.contains("not permitted to log in"),
        "{}",
        output.all()
    );
    session.finish()?;
    wait_until_gone(&stand)?;
    stand.daemon.write_policy(policies::SHOP)?;
    eventually("the grant's role to be gone", || {
        let left = stand
            .cluster
            .count(r"SELECT count(*) FROM pg_roles WHERE rolname LIKE 'cordon\_grant\_%'")?;
        Ok((left == 0).then_some(()))
    })
}

#[test]
fn r5_an_approval_does_not_outlive_the_job() -> Result<()> {
    let stand = stand(By::Itself, policies::PER_JOB)?;
    let mut session = stand.job().live()?;
    session.send("DELETE FROM public.orders WHERE id = 5;")?;
    let id = stand.daemon.wait_for_held()?;
    end_job(&stand)?;
    session.finish()?;
    let [approver, _] = APPROVERS;
    let answer = stand.daemon.answer(approver, "approve", &id, "")?;
    ensure!(
        answer.code != Some(0),
        "approved after the end: {}",
        answer.all()
    );
    wait_until_gone(&stand)?;
    ensure!(
        stand
            .cluster
            .count("SELECT count(*) FROM public.orders WHERE id = 5")?
            == 1,
        "the statement ran"
    );
    Ok(())
}

#[test]
fn r5_privileges_follow_the_policy_and_end_where_it_gives_none() -> Result<()> {
    let stand = stand(By::Itself, policies::PER_JOB)?;
    let mut session = stand.job().live()?;
    let secrets = "SELECT count(name) FROM public.secrets;";
    ensure!(
        session.query(secrets)?.sqlstates() == ["42501"],
        "not refused"
    );
    let role = job_role(&stand)?;
    let more = policies::PER_JOB.replace(
        "      - update: public.orders (status, note)",
        "      - select: public.secrets (name)",
    );
    stand.daemon.write_policy(&more)?;
    eventually("the new rule to hold in the open session", || {
        Ok((session.query(secrets)?.lines() == ["2"]).then_some(()))
    })?;
    directly(&stand, &role, "UPDATE public.orders SET note = 'x'")?.refused_with("42501")?;
    directly(&stand, &role, "SELECT value FROM public.secrets")?.refused_with("42501")?;
    // Another repository's: this job has nothing any more.
    stand
        .daemon
        .write_policy(&policies::PER_JOB.replace("123456", "999999"))?;
    wait_until_gone(&stand)?;
    session.send("SELECT 1;")?;
    let output = session.finish()?;
    ensure!(
        output.sqlstates() == ["57P01"] && output.lines().is_empty(),
        "{}",
        output.all()
    );
    Ok(())
}

#[test]
fn after_a_crash_the_roles_of_this_host_go_and_those_of_others_stay() -> Result<()> {
    let mut stand = stand(By::Itself, policies::PER_JOB)?;
    let mut session = stand.job().live()?;
    served(&mut session, "SELECT 1;")?;
    let role = job_role(&stand)?;
    stand.daemon.kill()?;
    session.finish()?;
    let mark = fs::read_to_string(stand.daemon.scratch().path().join("state/role-mark"))?;
    ensure!(role.contains(&mark), "{role} does not carry {mark}");
    // Nobody knows its password any more, and it ends by itself.
    let expires = stand.cluster.count(&format!(
        "SELECT count(*) FROM pg_roles WHERE rolname = '{role}' AND rolvaliduntil < now() + interval '61 minutes'"
    ))?;
    ensure!(expires == 1, "the leftover does not expire");
    let place = role.rsplit('_').next().context("no place")?;
    let strangers = [
        format!("cordon_job_ffffffff_0123456789abcdef_{place}"),
        format!("cordon_job_{mark}_0123456789abcdef_ffffffff"),
        format!("cordon_job_{mark}_x"),
    ];
    for stranger in &strangers {
        stand
            .cluster
            .admin(&format!("CREATE ROLE \"{stranger}\" LOGIN"))?;
    }
    stand.daemon.restart()?;
    eventually("the leftover to be gone", || {
        let left = stand.cluster.admin(JOB_ROLES)?;
        Ok((!left.contains(&role)).then_some(()))
    })?;
    let left = stand.cluster.admin(JOB_ROLES)?;
    for stranger in &strangers {
        ensure!(left.contains(stranger.as_str()), "{stranger} was removed");
    }
    ensure!(
        stand.job().sql("SELECT 1")?.success()?.lines() == ["1"],
        "not served after the restart"
    );
    Ok(())
}

#[test]
fn a_stop_of_the_daemon_removes_the_roles_of_its_jobs() -> Result<()> {
    let mut stand = stand(By::Itself, policies::PER_JOB)?;
    let mut session = stand.job().live()?;
    served(&mut session, "SELECT 1;")?;
    stand.daemon.terminate()?;
    session.finish()?;
    let left = stand.cluster.admin(JOB_ROLES)?;
    ensure!(left.is_empty(), "left: {left}");
    Ok(())
}

#[test]
fn without_an_admin_that_works_a_job_is_told_so_and_gets_nothing() -> Result<()> {
    let mut stand = stand_with(By::Itself, policies::PER_JOB, "wrong")?;
    for _twice in 0..2 {
        let output = stand.job().sql("SELECT 1")?;
        ensure!(
            output.code != Some(0) && output.stderr.contains("no role could be made for this job"),
            "{}",
            output.all()
        );
    }
    stand.daemon.require_alive()?;
    ensure!(
        !stand.daemon.log()?.contains("gateway-only"),
        "a password is in the log"
    );
    Ok(())
}
