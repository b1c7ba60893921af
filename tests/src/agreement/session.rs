//! Runs a script as psql would, and asks for a judgement before each statement.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use cordon::sql::{FunctionClass, StatementKind};

use super::{
    judge::{self, Reading},
    names::Names,
    report::{Report, Verdict},
    script::{Event, Script, Variables},
    wire::{Answer, Wire},
};

/// Where scripts run.
#[derive(Clone, Debug)]
pub struct Place {
    /// The server's socket.
    pub socket: PathBuf,
    /// Database.
    pub database: String,
    /// Settings of each connection.
    pub options: Vec<(String, String)>,
    /// The environment that scripts ask for with `\getenv`.
    pub environment: Vec<(String, String)>,
}

/// The superuser of the cluster.
const SUPERUSER: &str = "postgres";

impl Place {
    /// A connection as superuser.
    pub fn connect(&self) -> Result<Wire> {
        self.connect_as(SUPERUSER, &self.database)
    }

    fn connect_as(&self, user: &str, database: &str) -> Result<Wire> {
        let options: Vec<(&str, &str)> = self
            .options
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        Wire::connect(&self.socket, user, database, &options)
    }
}

/// One script under judgement.
struct Session<'p> {
    place: &'p Place,
    wire: Wire,
    names: Names,
    script: Script,
    variables: Variables,
    /// `\if` around the current line: for each, whether its branch runs, and whether one has run.
    branches: Vec<(bool, bool)>,
    /// Definitions were changed in the open transaction.
    defined: bool,
    /// The connection is the superuser's, who may become the probe.
    superuser: bool,
    name: String,
}

/// Runs one script and adds what was found to the report.
pub fn run_script(place: &Place, name: &str, text: String, report: &mut Report) -> Result<()> {
    let mut wire = place.connect()?;
    let names = Names::read(&mut wire)?;
    let mut session = Session {
        place,
        wire,
        names,
        script: Script::new(text),
        variables: [
            ("VERBOSITY", "default"),
            ("DBNAME", place.database.as_str()),
            ("USER", SUPERUSER),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        branches: Vec::new(),
        defined: false,
        superuser: true,
        name: name.to_owned(),
    };
    while let Some(event) = {
        let standard = session.wire.standard_strings;
        session.script.next(&session.variables, standard)
    } {
        match event {
            Event::Sql(text) => {
                if session.active() {
                    session
                        .statement(&text, report)
                        .with_context(|| format!("in {name}: {text}"))?;
                }
            }
            Event::Command { name, args, line } => {
                if !session.command(&name, &args, &line, report)? {
                    break;
                }
            }
        }
    }
    report.catalog_reads += session.names.reads;
    Ok(())
}

impl Session<'_> {
    fn active(&self) -> bool {
        self.branches.iter().all(|(runs, _)| *runs)
    }

    /// Judges one text, then runs it for what follows.
    fn statement(&mut self, text: &str, report: &mut Report) -> Result<Answer> {
        let failed = self.wire.status == b'E';
        let mut reading = judge::read(text, &self.names);
        if !failed && judge::needs_fresh_names(&reading) && self.names.refresh(&mut self.wire)? {
            reading = judge::read(text, &self.names);
        }
        let judgement = match &reading {
            Reading::Understood(statement) if !failed && self.superuser => {
                Some(judge::judge(&mut self.wire, &self.names, text, statement)?)
            }
            Reading::Understood(_) | Reading::Several(_) | Reading::Refused(_) => None,
        };
        let answer = {
            let script = &mut self.script;
            let mut data = std::iter::from_fn(|| Some(script.take_data()));
            self.wire.run(text, &mut data)?
        };
        self.follow(&reading, &answer);
        report.add(&Verdict {
            file: &self.name,
            text,
            failed_transaction: failed,
            reading: &reading,
            judgement: judgement.as_ref(),
            answer: &answer,
        });
        Ok(answer)
    }

    /// Notes what the statement may have changed.
    fn follow(&mut self, reading: &Reading, answer: &Answer) {
        let calls = match reading {
            Reading::Understood(statement) => {
                statement.kind == StatementKind::Ddl
                    || statement.functions.iter().any(|function| {
                        function.class == FunctionClass::Other && function.schema != "pg_catalog"
                    })
            }
            Reading::Several(_) | Reading::Refused(_) => true,
        };
        for tag in &answer.tags {
            let first = tag.split(' ').next().unwrap_or_default();
            match first {
                "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "COPY" | "EXPLAIN"
                | "EXECUTE" => {
                    self.defined |= calls;
                    self.names.catalog_stale |= calls;
                }
                "BEGIN" | "START" | "SAVEPOINT" | "RELEASE" | "SHOW" | "DECLARE" | "CLOSE"
                | "FETCH" | "MOVE" | "PREPARE" | "DEALLOCATE" | "LOCK" | "LISTEN" | "UNLISTEN"
                | "NOTIFY" => {}
                "SET" | "RESET" => self.names.namespace_stale = true,
                "COMMIT" | "ROLLBACK" => {
                    self.names.namespace_stale = true;
                    self.names.catalog_stale |= self.defined;
                    if tag != "ROLLBACK" || self.wire.status == b'I' {
                        self.defined &= self.wire.status != b'I';
                    }
                }
                _ => {
                    self.defined |= self.wire.status != b'I';
                    self.names.catalog_stale = true;
                }
            }
        }
    }

    /// `false`: the script ends here.
    fn command(
        &mut self,
        name: &str,
        args: &[String],
        line: &str,
        report: &mut Report,
    ) -> Result<bool> {
        let arg = |at: usize| args.get(at).map_or("", String::as_str);
        match name {
            "if" => {
                let around = self.active();
                let runs = around && is_true(arg(0));
                self.branches.push((runs, runs || !around));
            }
            "elif" | "else" => {
                if let Some((runs, done)) = self.branches.last_mut() {
                    *runs = !*done && (name == "else" || is_true(arg(0)));
                    *done |= *runs;
                }
            }
            "endif" => {
                self.branches.pop();
            }
            _ if !self.active() => {}
            "q" | "quit" => return Ok(false),
            "set" => {
                let value = args.get(1..).unwrap_or_default().concat();
                self.variables.insert(arg(0).to_owned(), value);
            }
            "unset" => {
                self.variables.remove(arg(0));
            }
            "getenv" => {
                let value = self
                    .place
                    .environment
                    .iter()
                    .find(|(name, _)| name == arg(1));
                if let Some((_, value)) = value {
                    self.variables.insert(arg(0).to_owned(), value.clone());
                }
            }
            "r" | "reset" => {
                self.script.take_buffer();
            }
            "c" | "connect" => self.connect(args)?,
            "g" | "gx" | "crosstabview" | "watch" => {
                let text = self.script.take_buffer();
                if !text.is_empty() {
                    self.statement(&text, report)?;
                }
            }
            "gset" => {
                let text = self.script.take_buffer();
                let answer = self.statement(&text, report)?;
                if let [row] = answer.rows.as_slice() {
                    for (label, cell) in answer.labels.iter().zip(row) {
                        let variable = format!("{}{label}", arg(0));
                        match cell {
                            Some(cell) => self.variables.insert(variable, cell.clone()),
                            None => self.variables.remove(&variable),
                        };
                    }
                }
            }
            "gexec" => {
                let text = self.script.take_buffer();
                let answer = self.statement(&text, report)?;
                for text in answer.rows.iter().flatten().flatten() {
                    self.statement(text, report)?;
                }
            }
            "gdesc" => {
                self.script.take_buffer();
                report.skipped_commands += 1;
            }
            "copy" => self.client_copy(line, report)?,
            // What only changes how psql shows things.
            "pset" | "a" | "t" | "x" | "f" | "echo" | "qecho" | "warn" | "timing" | "setenv"
            | "p" | "errverbose" | "o" | "encoding" | "?" | "h" | "help" | "prompt" | ""
            | "unrestrict" | "restrict" => {}
            _ => report.skipped_commands += 1,
        }
        Ok(true)
    }

    fn connect(&mut self, args: &[String]) -> Result<()> {
        let given = |at: usize| args.get(at).map(String::as_str).filter(|arg| *arg != "-");
        let database = given(0)
            .unwrap_or(&self.place.database)
            .trim_matches('"')
            .to_owned();
        let current = self.variables.get("USER").cloned();
        let user = match given(1) {
            Some(user) => user.trim_matches('"').to_owned(),
            None => current.unwrap_or_else(|| SUPERUSER.to_owned()),
        };
        // A failed \connect leaves psql without a connection, or with the old one.
        let Ok(mut wire) = self.place.connect_as(&user, &database) else {
            return Ok(());
        };
        let superuser = wire.rows("SHOW is_superuser")?;
        self.superuser = superuser.first().and_then(|row| row.first()?.as_deref()) == Some("on");
        self.names = Names::read(&mut wire)?;
        self.wire = wire;
        self.variables.insert("USER".to_owned(), user);
        Ok(())
    }

    /// `\copy table from stdin|'file'`, `\copy ... to ...`.
    fn client_copy(&mut self, line: &str, report: &mut Report) -> Result<()> {
        let lower = line.to_ascii_lowercase();
        let Some((before, rest)) = lower
            .find(" from ")
            .map(|at| (&line[..at], line[at + 6..].trim_start()))
        else {
            report.skipped_commands += 1;
            return Ok(());
        };
        let (source, options) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
        let text = format!("COPY {before} FROM STDIN {options}");
        if source.eq_ignore_ascii_case("stdin") || source.eq_ignore_ascii_case("pstdin") {
            self.statement(&text, report)?;
            return Ok(());
        }
        let Ok(data) = fs::read(Path::new(source.trim_matches('\''))) else {
            report.skipped_commands += 1;
            return Ok(());
        };
        // Not judged: the text is ours.
        let answer = self.wire.run(&text, &mut std::iter::once(data))?;
        self.follow(&Reading::Several(1), &answer);
        report.skipped_commands += 1;
        Ok(())
    }
}

fn is_true(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["t", "true", "on", "yes", "y", "1"].contains(&text.as_str())
}
