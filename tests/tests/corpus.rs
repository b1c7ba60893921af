//! False refusals: what real tools send, replayed through Cordon under the grant that should allow
//! it, compared with the same directly. `tests/corpus/capture.py` records it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
};

use anyhow::{Context, Result, anyhow, ensure};
use cordon_tests::{Cluster, Daemon, Issuer, Output, Setup, canary, host::Scratch, tools};
use serde_json::{Value, json};

const POLICY: &str = include_str!("../fixtures/policies/corpus.yaml");
const SCHEMA: &str = include_str!("../corpus/schema.sql");
const PROGRAMS: [(&str, &str); 2] = [
    ("replay.py", include_str!("../corpus/replay.py")),
    ("wire.py", include_str!("../corpus/wire.py")),
];

/// Statements still refused (`KNOWN_LIMITATIONS.md`, F13), and those whose outcome differs at all: most
/// stand behind a refused one in the same transaction.
const REFUSED: usize = 0;
const DIFFERENT: usize = 0;

/// One file of the corpus.
struct Recording {
    path: PathBuf,
    name: String,
    tool: String,
    role: String,
    statements: Vec<Value>,
}

impl Recording {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)?;
        let recording: Value =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let word = |key: &str| -> Result<String> {
            Ok(recording[key]
                .as_str()
                .with_context(|| format!("{} has no {key}", path.display()))?
                .to_owned())
        };
        let statements = recording["sessions"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|session| session["statements"].as_array().into_iter().flatten())
            .cloned()
            .collect();
        Ok(Self {
            path: path.to_owned(),
            name: path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            tool: word("tool")?,
            role: word("role")?,
            statements,
        })
    }

    fn login(&self) -> &'static str {
        if self.role == "reader" {
            "reader"
        } else {
            "agent_rw"
        }
    }
}

fn corpus() -> Result<Vec<Recording>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/recorded");
    let mut paths = fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    paths.iter().map(|path| Recording::read(path)).collect()
}

/// A cluster with the corpus's schema, and a copy of its database to begin again from.
fn cluster() -> Result<Cluster> {
    let cluster = Cluster::start()?;
    cluster.admin(SCHEMA)?;
    cluster.admin_in("postgres", "CREATE DATABASE template_shop TEMPLATE shop")?;
    Ok(cluster)
}

fn renew(cluster: &Cluster) -> Result<()> {
    for sql in [
        "DROP DATABASE shop WITH (FORCE)",
        "CREATE DATABASE shop TEMPLATE template_shop",
        "GRANT CREATE ON DATABASE shop TO agent_rw",
    ] {
        cluster.admin_in("postgres", sql)?;
    }
    Ok(())
}

/// The replaying program where every user may read it.
fn programs(scratch: &Scratch) -> Result<String> {
    for (name, text) in PROGRAMS {
        scratch.share(name, text.as_bytes())?;
    }
    Ok(scratch.path().join("replay.py").display().to_string())
}

fn directly(cluster: &Cluster, program: &str, recording: &Recording) -> Result<Vec<Value>> {
    let passwords = [("agent_rw", 0), ("reader", 1)];
    let password = passwords
        .iter()
        .find(|(login, _)| *login == recording.login())
        .and_then(|(_, place)| canary::GATEWAY_PASSWORDS.get(*place))
        .context("a login without a password")?;
    let output: Output = Command::new(tools::PYTHON)
        .arg(program)
        .arg(&recording.path)
        .env_clear()
        .envs(cluster.client_env(recording.login(), password))
        .current_dir("/")
        .output()?
        .into();
    list(output)
}

fn through(daemon: &Daemon, program: &str, recording: &Recording) -> Result<Vec<Value>> {
    let file = daemon.scratch().share(
        &format!("{}.json", recording.name),
        &fs::read(&recording.path)?,
    )?;
    let output = daemon
        .job()
        .claims(json!({ "work": recording.role }))
        .env("PGUSER", recording.login())
        .run(&[tools::PYTHON, program, &file.display().to_string()])?;
    list(output)
}

fn list(output: Output) -> Result<Vec<Value>> {
    match output.success()?.json()? {
        Value::Array(outcomes) => Ok(outcomes),
        other => Err(anyhow!("no list of outcomes: {other}")),
    }
}

/// What must be the same: the SQLSTATE, the command's tag, and the columns of the result. How many
/// rows a SELECT gave depends on the moment (sessions, statistics), and so do the oids of types
/// that the recording made itself.
fn outcome(value: &Value) -> (String, String, Vec<String>) {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let tag = text("tag");
    let tags: Vec<&str> = tag
        .split(';')
        .map(|tag| tag.strip_prefix("SELECT").map_or(tag, |_| "SELECT"))
        .collect();
    let columns = value["columns"].as_array().into_iter().flatten();
    let columns = columns.filter_map(Value::as_str).map(|column| {
        let (name, kind) = column.rsplit_once(':').unwrap_or((column, ""));
        let made = kind.parse::<u32>().is_ok_and(|oid| oid >= 16384);
        format!("{name}:{}", if made { "made" } else { kind })
    });
    (text("code"), tags.join(";"), columns.collect())
}

fn describe(recording: &Recording, statement: &Value, direct: &Value, through: &Value) -> String {
    let short = |value: &Value| value.to_string().chars().take(400).collect::<String>();
    format!(
        "{} ({}): {}\n    directly {}\n    through  {}\n",
        recording.name,
        recording.role,
        short(&statement["sql"]),
        short(direct),
        short(through)
    )
}

#[test]
fn no_more_of_the_corpus_is_refused_than_is_known() -> Result<()> {
    let only = std::env::var("CORPUS_ONLY").unwrap_or_default();
    let recordings = corpus()?
        .into_iter()
        .filter(|recording| recording.name.contains(&only))
        .collect::<Vec<_>>();
    ensure!(!recordings.is_empty(), "no recording is named like that");
    let beside = cluster()?;
    let behind = Arc::new(cluster()?);
    let issuer = Arc::new(Issuer::start()?);
    let setup = Setup {
        policy: POLICY.to_owned(),
        ..Setup::default()
    };
    let mut daemon = Daemon::start(&behind, &issuer, &setup)?;
    let scratch = Scratch::new("corpus")?;
    let direct_program = programs(&scratch)?;
    let program = programs(daemon.scratch())?;

    let (mut statements, mut failed) = (0, Vec::new());
    let mut refused = 0;
    let mut touched = false;
    for recording in &recordings {
        if touched {
            renew(&beside)?;
            renew(&behind)?;
        }
        touched = recording.role != "reader";
        let (direct, seen) = thread::scope(|scope| -> Result<_> {
            let direct = scope.spawn(|| directly(&beside, &direct_program, recording));
            let seen = through(&daemon, &program, recording)
                .with_context(|| format!("{} through Cordon", recording.name))?;
            let direct = direct
                .join()
                .map_err(|_panic| anyhow!("the direct run panicked"))?
                .with_context(|| format!("{} directly", recording.name))?;
            Ok((direct, seen))
        })?;
        ensure!(
            direct.len() == recording.statements.len() && seen.len() == direct.len(),
            "{}: {} statements, {} outcomes directly, {} through Cordon",
            recording.name,
            recording.statements.len(),
            direct.len(),
            seen.len()
        );
        statements += direct.len();
        for ((statement, direct), seen) in recording.statements.iter().zip(&direct).zip(&seen) {
            if outcome(direct) != outcome(seen) {
                let words = seen["message"].as_str().unwrap_or_default();
                refused += usize::from(words.starts_with("cordon:"));
                failed.push(describe(recording, statement, direct, seen));
            }
        }
    }
    let tools: BTreeSet<&str> = recordings.iter().map(|r| r.tool.as_str()).collect();
    println!(
        "{statements} statements of {} tools in {} recordings, {refused} refused, {} with another outcome",
        tools.len(),
        recordings.len(),
        failed.len() - refused
    );
    daemon.require_alive()?;
    daemon.verify_evidence()?.success()?;
    // Must only ever fall: to none, when nothing legitimate is refused any more.
    ensure!(
        refused <= REFUSED && failed.len() <= DIFFERENT,
        "{}",
        failed.join("\n")
    );
    Ok(())
}
