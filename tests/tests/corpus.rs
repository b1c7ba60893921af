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
const DIFFERENCES: &str = include_str!("../corpus/differences.json");
const SCHEMA: &str = include_str!("../corpus/schema.sql");
const PROGRAMS: [(&str, &str); 2] = [
    ("replay.py", include_str!("../corpus/replay.py")),
    ("wire.py", include_str!("../corpus/wire.py")),
];

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

/// A statement whose outcome differs by design.
struct Difference {
    recording: String,
    statement: String,
    reason: String,
}

impl Difference {
    fn all() -> Result<Vec<Self>> {
        let list: Value = serde_json::from_str(DIFFERENCES)?;
        let list = list.as_array().context("the differences are no list")?;
        let word = |entry: &Value, key: &str| -> Result<String> {
            let word = entry[key].as_str();
            Ok(word
                .with_context(|| format!("{entry} has no {key}"))?
                .to_owned())
        };
        list.iter()
            .map(|entry| {
                Ok(Self {
                    recording: word(entry, "recording")?,
                    statement: word(entry, "statement")?,
                    reason: word(entry, "reason")?,
                })
            })
            .collect()
    }

    /// Only the outcome may differ: a refusal is none of these.
    fn covers(&self, recording: &Recording, statement: &Value, seen: &Value) -> bool {
        let sql = statement["sql"].as_str().unwrap_or_default();
        !is_refusal(seen) && recording.name == self.recording && sql.contains(&self.statement)
    }
}

fn is_refusal(seen: &Value) -> bool {
    let words = seen["message"].as_str().unwrap_or_default();
    words.starts_with("cordon:")
}

/// What must be the same: the SQLSTATE, the command's tag with its count of rows, and the columns
/// of the result, but for the oids of types that the recording made itself.
fn outcome(value: &Value) -> (String, String, Vec<String>) {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let columns = value["columns"].as_array().into_iter().flatten();
    let columns = columns.filter_map(Value::as_str).map(|column| {
        let (name, kind) = column.rsplit_once(':').unwrap_or((column, ""));
        let made = kind.parse::<u32>().is_ok_and(|oid| oid >= 16384);
        format!("{name}:{}", if made { "made" } else { kind })
    });
    (text("code"), text("tag"), columns.collect())
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
fn f13_what_real_tools_send_passes_and_ends_as_it_does_directly() -> Result<()> {
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

    let differences = Difference::all()?;
    let mut applied = BTreeSet::new();
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
                let known = differences
                    .iter()
                    .position(|difference| difference.covers(recording, statement, seen));
                if let Some(index) = known {
                    applied.insert(index);
                    continue;
                }
                refused += usize::from(is_refusal(seen));
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
    for (index, difference) in differences.iter().enumerate() {
        let Difference {
            recording,
            statement,
            reason,
        } = difference;
        println!("by design, {recording}: `{statement}`: {reason}");
        let replayed = recordings.iter().any(|played| played.name == *recording);
        ensure!(
            applied.contains(&index) || !replayed,
            "{recording}: `{statement}` does not differ any more; remove it from differences.json"
        );
    }
    daemon.require_alive()?;
    daemon.verify_evidence()?.success()?;
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}
