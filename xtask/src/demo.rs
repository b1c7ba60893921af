//! `cargo xtask demo`: what Cordon does, shown with a real server, real psql and real hooks, in a
//! transcript that a person can read. It asserts what it shows.

use std::{fs, io::Write, process::Command, sync::Arc};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use cordon_tests::{
    Cluster, Daemon, Issuer, LivePsql, Output, Setup, canary,
    daemon::{APPROVERS, files_below},
    host::{self, eventually},
    output::sqlstates,
    tools,
};

use crate::{
    build,
    ensure::ensure_packages,
    step::{bold, green, red, yellow},
    test::PACKAGES,
};

/// Arguments of `cargo xtask demo`.
#[derive(Args)]
pub struct Demo {
    /// Leave everything running afterwards, say how to connect and what to try, and remove it on
    /// Enter or Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Do not install anything; say what is missing.
    #[arg(long)]
    no_install: bool,
}

/// Builds, then shows.
pub fn run(args: &Demo) -> Result<()> {
    host::require_root()?;
    ensure_packages(PACKAGES, args.no_install)?;
    build::daemon(false, args.no_install)?;

    // Ctrl-C ends this program; the fixtures' clean-up process removes what is left.
    title("A database, an issuer of tokens, and Cordon");
    let cluster = Arc::new(Cluster::start()?);
    say(&format!(
        "PostgreSQL with a small shop listens on {}",
        cluster.address()
    ));
    let issuer = Arc::new(Issuer::start()?);
    say(&format!(
        "A token issuer serves its keys on {}",
        issuer.url()
    ));
    let daemon = Daemon::start(&cluster, &issuer, &Setup::default())?;
    say("Cordon is ready: every connect to that address from a job now ends in its proxy");

    let mut show = Show { daemon, cluster };
    show.masked()?;
    show.prepared()?;
    show.refused()?;
    show.direct_dial()?;
    show.held()?;
    show.job_end()?;
    show.replay()?;
    show.tamper()?;
    println!("\n{}", green(&bold("Everything was as promised.")));
    if args.keep {
        show.keep()?;
    }
    Ok(())
}

struct Show {
    // Stopped in this order: the daemon needs its database until its end.
    daemon: Daemon,
    cluster: Arc<Cluster>,
}

impl Show {
    fn masked(&self) -> Result<()> {
        title("An allowed query: e-mail addresses arrive masked");
        let sql = "SELECT id, name, email, ssn FROM public.customers ORDER BY id";
        let output = self.psql(&[sql])?.success()?;
        canary::none_in("the result", &output.all())?;
        ensure!(
            output.stdout.matches("@canary.example").count() == 5,
            "not five masked addresses: {}",
            output.all()
        );
        promise("no address and no tax number reached the job");
        Ok(())
    }

    fn prepared(&self) -> Result<()> {
        title("The same prepared statement twice: masked each time");
        let output = self.psql(&[
            "PREPARE contact (int) AS SELECT name, email FROM public.customers WHERE id = $1",
            "EXECUTE contact (1)",
            "EXECUTE contact (2)",
        ])?;
        let output = output.success()?;
        canary::none_in("the results", &output.all())?;
        ensure!(
            output.stdout.matches("@canary.example").count() == 2,
            "not two masked addresses: {}",
            output.all()
        );
        promise("the second execution is masked like the first");
        Ok(())
    }

    fn refused(&self) -> Result<()> {
        title("A table that no grant names: refused, and the session goes on");
        let output = self.psql(&[
            "SELECT value FROM public.secrets",
            "SELECT count(*) FROM public.orders",
        ])?;
        ensure!(
            output.sqlstates() == ["42501"],
            "not refused: {}",
            output.all()
        );
        for part in ["DETAIL:", "HINT:", "(ref "] {
            ensure!(output.stderr.contains(part), "no {part}: {}", output.all());
        }
        ensure!(
            output.stdout.contains('5'),
            "the session did not go on: {}",
            output.all()
        );
        ensure!(
            !self
                .cluster
                .statements()?
                .iter()
                .any(|sql| sql.contains("secrets")),
            "it reached the database"
        );
        promise("the statement never reached the database");
        Ok(())
    }

    fn direct_dial(&self) -> Result<()> {
        title("A direct dial with the right password: there is no way round");
        let password = "app-direct-2b7d";
        let direct = Output::from(
            self.cluster
                .direct_psql("app", password)?
                .args(["-A", "-t", "-c", "SELECT current_user"])
                .output()?,
        );
        ensure!(
            direct.stdout.trim() == "app",
            "the password should work outside of a job: {}",
            direct.all()
        );
        say("outside of a job the login `app` works: the server says current_user = app");
        let inside = self
            .daemon
            .job()
            .env("PGPASSWORD", password)
            .sql("SELECT current_user")?
            .success()?;
        ensure!(
            inside.stdout.trim() == "agent_rw",
            "not the gateway's login: {}",
            inside.all()
        );
        say(
            "inside a job the same command speaks to Cordon: current_user = agent_rw, Cordon's own login",
        );

        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
            .arg(self.daemon.runner_cgroup().procs());
        command
            .arg(tools::postgres("psql")?)
            .args(["-X", "-c", "SELECT 1"])
            .current_dir("/");
        command
            .env_clear()
            .envs(self.cluster.client_env("app", password));
        let nobody = Output::from(command.output()?);
        print_output(&nobody);
        ensure!(
            nobody.code == Some(2) && nobody.stdout.is_empty(),
            "served without a job: {}",
            nobody.all()
        );
        promise(
            "a process of the runner without a job is refused, and told so in the database's own protocol",
        );
        Ok(())
    }

    fn held(&self) -> Result<()> {
        title("A DELETE is held until a human agrees, and runs once");
        let sql = "DELETE FROM public.orders WHERE id = 5 RETURNING id, status, total;";
        prompt(&[sql]);
        let mut session = self.live()?;
        session.send(sql)?;
        let id = self.daemon.wait_for_held()?;
        println!("{}", yellow(&session.wait_for_message(&id)?));
        ensure!(
            self.cluster.count("SELECT count(*) FROM public.orders")? == 5,
            "it did not wait"
        );

        let [approver, _] = APPROVERS;
        command(&format!("{approver}$ cordon approvals show {id}"));
        print_output(&self.shown(approver, &["approvals", "show", &id])?);
        command(&format!(
            "{approver}$ cordon approvals approve {id} --reason 'test order'"
        ));
        self.daemon
            .answer(approver, "approve", &id, "test order")?
            .success()?;
        let output = session.sync()?;
        print_output(&output);
        ensure!(
            output.sqlstates().is_empty() && output.stdout.starts_with("5|"),
            "it did not run: {}",
            output.all()
        );
        let runs = self
            .cluster
            .statements()?
            .iter()
            .filter(|sql| sql.contains("DELETE FROM public.orders"))
            .count();
        ensure!(runs == 1, "it ran {runs} times");
        let again = self.daemon.answer(approver, "approve", &id, "")?;
        ensure!(
            again.code != Some(0),
            "the approval could be used again: {}",
            again.all()
        );
        promise("the server ran it exactly once, and the approval is used up");
        Ok(())
    }

    fn job_end(&self) -> Result<()> {
        title("The end of a job ends its sessions");
        let mut session = self.live()?;
        prompt(&["SELECT count(*) FROM public.orders;"]);
        print_output(&session.query("SELECT count(*) FROM public.orders;")?);
        let status = self.cordon("root", &["job", "status"])?.success()?;
        let id = status
            .stdout
            .split('"')
            .find(|word| word.starts_with("job-"))
            .context("no job is listed")?
            .to_owned();
        command(&format!("root# cordon job end {id}"));
        self.cordon("root", &["job", "end", &id])?.success()?;
        let rest = session.finish()?;
        eventually("the backends to be gone", || {
            Ok(self.cluster.logins()?.is_empty().then_some(()))
        })?;
        if !sqlstates(&rest.stderr).is_empty() {
            print_output(&rest);
        }
        promise("the session is closed and the database has no backend of the job any more");
        Ok(())
    }

    fn replay(&self) -> Result<()> {
        title("Every session can be replayed: statements, verdicts, outcomes");
        let dir = self.daemon.evidence_dir().display().to_string();
        let list = self.cordon("root", &["sessions", "list", "--dir", &dir])?;
        let session = list
            .json()?
            .as_array()
            .into_iter()
            .flatten()
            .find(|session| session["denied"].as_u64().is_some_and(|denied| denied > 0))
            .and_then(|session| session["session"].as_str().map(str::to_owned))
            .context("no session with a refusal is listed")?;
        command(&format!(
            "auditor# cordon sessions replay {session} --instant"
        ));
        let replay = self.shown(
            "root",
            &["sessions", "replay", &session, "--instant", "--dir", &dir],
        )?;
        let lines: Vec<&str> = replay.stdout.lines().collect();
        for line in lines.iter().take(30) {
            println!("  {line}");
        }
        if lines.len() > 30 {
            println!("  ... {} lines more", lines.len() - 30);
        }
        ensure!(
            replay.stdout.contains("public.secrets"),
            "the refused statement is not in it"
        );
        canary::none_in("the replay", &replay.all())?;
        promise(
            "the record tells what was asked, decided and returned, and holds no protected value",
        );
        Ok(())
    }

    fn tamper(&mut self) -> Result<()> {
        title("The evidence verifies; one changed byte is detected");
        self.daemon.terminate()?;
        let dir = self.daemon.evidence_dir();
        command(&format!(
            "auditor# cordon evidence verify --dir {}",
            dir.display()
        ));
        let good = self.daemon.verify_evidence()?.success()?;
        print_output(&good);
        let mut files = files_below(&dir.join("segments"))?;
        files.sort_by_key(|file| {
            fs::metadata(file)
                .map(|data| data.len())
                .unwrap_or_default()
        });
        let file = files.pop().context("no evidence")?;
        let original = fs::read(&file)?;
        let mut changed = original.clone();
        let middle = changed.len() / 2;
        *changed.get_mut(middle).context("the evidence is empty")? ^= 1;
        fs::write(&file, changed)?;
        say(&format!(
            "one bit of {} is changed",
            file.strip_prefix(&dir).unwrap_or(&file).display()
        ));
        let bad = self.daemon.verify_evidence()?;
        print_output(&bad);
        ensure!(bad.code != Some(0), "the change was not detected");
        fs::write(&file, original)?;
        self.daemon.verify_evidence()?.success()?;
        promise("a change of one bit does not go unnoticed");
        self.daemon.restart()
    }

    fn keep(&self) -> Result<()> {
        let token = self.daemon.scratch().path().join("tokens/try-it");
        fs::write(&token, self.daemon.issuer().issue(&serde_json::json!({}))?)?;
        let cordon = self.daemon.scratch().path().join("cordon");
        let [approver, _] = APPROVERS;
        title("It keeps running; in another terminal, as root");
        println!(
            "  export CORDON_CONTROL={control}\n  \
             {cordon} job run --token-file {token} --user nobody -- \\\n    \
             psql 'host=127.0.0.1 port={port} user=app dbname=shop password=anything'\n",
            control = self.daemon.control().display(),
            cordon = cordon.display(),
            token = token.display(),
            port = self.cluster.port(),
        );
        println!("  The token is good for one job within five minutes. Try:");
        for sql in [
            "TABLE public.customers;",
            "SELECT value FROM public.secrets;",
            "DELETE FROM public.orders WHERE id = 1;",
            "SELECT id FROM public.customers ORDER BY ssn;",
        ] {
            println!("    {sql}");
        }
        println!(
            "  and answer what is held:\n    runuser -u {approver} -- env CORDON_CONTROL=$CORDON_CONTROL {cordon} approvals list\n",
            cordon = cordon.display()
        );
        print!("{}", bold("Enter or Ctrl-C removes everything. "));
        std::io::stdout().flush()?;
        std::io::stdin().read_line(&mut String::new())?;
        Ok(())
    }

    /// Runs statements with psql in a job and prints what it prints.
    fn psql(&self, sqls: &[&str]) -> Result<Output> {
        prompt(sqls);
        let mut args = vec!["-P", "pager=off"];
        for sql in sqls {
            args.extend(["-c", sql]);
        }
        let output = Output::from(self.daemon.job().psql_command(&args)?.output()?);
        print_output(&output);
        Ok(output)
    }

    fn live(&self) -> Result<LivePsql> {
        self.daemon.job().live()
    }

    /// As `cordon`, printed as on a terminal.
    fn shown(&self, user: &str, args: &[&str]) -> Result<Output> {
        let mut command = self.daemon.cli_as(user, args)?;
        let output = Output::from(command.env("CLICOLOR_FORCE", "1").output()?);
        if output.code != Some(0) {
            bail!("cordon {} failed: {}", args.join(" "), output.all());
        }
        Ok(output)
    }

    fn cordon(&self, user: &str, args: &[&str]) -> Result<Output> {
        let output = Output::from(self.daemon.cli_as(user, args)?.output()?);
        if output.code != Some(0) {
            bail!("cordon {} failed: {}", args.join(" "), output.all());
        }
        Ok(output)
    }
}

fn title(text: &str) {
    println!("\n{}", bold(&format!("── {text} ──")));
}

fn say(text: &str) {
    println!("  {text}");
}

fn command(text: &str) {
    println!("{}", bold(text));
}

fn prompt(sqls: &[&str]) {
    for sql in sqls {
        command(&format!("agent$ psql> {sql}"));
    }
}

fn promise(text: &str) {
    println!("{} {text}", green("✔"));
}

fn print_output(output: &Output) {
    for line in output.stdout.lines() {
        println!("  {line}");
    }
    // Where in the server's source an error was raised helps nobody here.
    for line in output
        .stderr
        .lines()
        .filter(|line| !line.starts_with("LOCATION:"))
    {
        let line = format!("  {line}");
        println!(
            "{}",
            if line.contains("NOTICE") {
                yellow(&line)
            } else {
                red(&line)
            }
        );
    }
}
