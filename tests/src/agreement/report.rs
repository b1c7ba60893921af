//! Counts, and the cases behind them.

use std::collections::BTreeMap;
use std::fmt::Write;

use cordon::sql::NotUnderstood;
use serde_json::{Value, json};

use super::judge::{Judgement, Reading, Ruling};
use super::wire::Answer;

/// Cases of one count that are kept as examples.
const EXAMPLES: usize = 400;

/// Everything known of one statement.
#[derive(Debug)]
pub struct Verdict<'v> {
    /// The script.
    pub file: &'v str,
    /// The text.
    pub text: &'v str,
    /// The transaction around it had failed.
    pub failed_transaction: bool,
    /// The analysis.
    pub reading: &'v Reading,
    /// The server's word, where it was asked.
    pub judgement: Option<&'v Judgement>,
    /// What running it gave.
    pub answer: &'v Answer,
}

/// A statement, and what is to be said of it.
#[derive(Clone, Debug)]
struct Case {
    file: String,
    text: String,
    what: String,
}

/// A count with the reasons behind it.
#[derive(Clone, Debug, Default)]
struct Tally {
    /// By reason: count, and some cases.
    by_reason: BTreeMap<String, (u64, Vec<Case>)>,
}

impl Tally {
    fn add(&mut self, reason: String, case: Case) {
        let (count, cases) = self.by_reason.entry(reason).or_default();
        *count += 1;
        if cases.len() < EXAMPLES {
            cases.push(case);
        }
    }

    /// The sum.
    fn total(&self) -> u64 {
        self.by_reason.values().map(|(count, _)| count).sum()
    }

    /// Reasons, most frequent first.
    fn sorted(&self) -> Vec<(&String, &(u64, Vec<Case>))> {
        let mut all: Vec<_> = self.by_reason.iter().collect();
        all.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        all
    }

    fn json(&self, cases: bool) -> Value {
        self.sorted()
            .into_iter()
            .map(|(reason, (count, list))| {
                let list: Vec<Value> = list
                    .iter()
                    .map(|case| json!({ "file": case.file, "text": case.text, "what": case.what }))
                    .collect();
                if cases {
                    json!({ "reason": reason, "count": count, "cases": list })
                } else {
                    json!({ "reason": reason, "count": count })
                }
            })
            .collect()
    }
}

/// What was found in one corpus.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Name of the corpus.
    pub corpus: String,
    /// Scripts.
    pub files: u64,
    /// Texts that were sent.
    pub statements: u64,
    /// Understood.
    pub understood: u64,
    /// Judged by the server's permission checks.
    pub by_privileges: u64,
    /// Judged by the server's locks.
    pub by_locks: u64,
    /// Judged by at least one of them.
    pub judged: u64,
    /// Understood, but not judged by either.
    not_judged: Tally,
    /// Touched by the server, and not reported.
    missed: Tally,
    /// Not understood, although the server runs it.
    refused: Tally,
    /// Refused whoever asks: it reaches the server's disk or loads code into it.
    by_design: Tally,
    /// Not understood, and the server fails too.
    refused_by_both: Tally,
    /// Reported, but not locked by the server.
    over: Tally,
    /// Commands of psql that were not run.
    pub skipped_commands: u64,
    /// How often the catalog was read.
    pub catalog_reads: u64,
    /// How long it took.
    pub seconds: f64,
}

impl Report {
    /// An empty one.
    pub fn new(corpus: &str) -> Self {
        Self {
            corpus: corpus.to_owned(),
            ..Self::default()
        }
    }

    /// Counts one statement.
    pub fn add(&mut self, verdict: &Verdict<'_>) {
        self.statements += 1;
        let case = |what: &str| Case {
            file: verdict.file.to_owned(),
            text: verdict.text.to_owned(),
            what: what.to_owned(),
        };
        match verdict.reading {
            Reading::Refused(error) => {
                let message = error.to_string();
                let tally = if let Some(server) = &verdict.answer.error {
                    let same = server.message == message || verdict.failed_transaction;
                    let reason = format!(
                        "{}{}",
                        class(error),
                        if same { ", in the same words" } else { "" }
                    );
                    let what = format!("{message} | {}: {}", server.sqlstate, server.message);
                    self.refused_by_both.add(reason, case(&what));
                    return;
                } else if is_by_design(&message) {
                    &mut self.by_design
                } else {
                    &mut self.refused
                };
                let reason = format!("{}: {}", class(error), normal(&message));
                tally.add(reason, case(&message));
                return;
            }
            Reading::Several(_) => {
                self.understood += 1;
                return self
                    .not_judged
                    .add("several statements in one message".to_owned(), case(""));
            }
            Reading::Understood(_) => self.understood += 1,
        }
        let Some(judgement) = verdict.judgement else {
            let why = if verdict.failed_transaction {
                "in a transaction that has failed"
            } else {
                "in a session that is no superuser's"
            };
            return self.not_judged.add(why.to_owned(), case(""));
        };
        for over in &judgement.over {
            self.over.add(over.clone(), case(over));
        }
        let mut judged = false;
        let mut why = None;
        for (ruling, count) in [
            (&judgement.locks, &mut self.by_locks),
            (&judgement.privileges, &mut self.by_privileges),
        ] {
            match ruling {
                Ruling::Agrees => {
                    judged = true;
                    *count += 1;
                }
                Ruling::NotJudged(reason) => why = Some(reason),
                Ruling::Missed(what) => {
                    judged = true;
                    *count += 1;
                    self.missed.add(normal(what), case(what));
                }
            }
        }
        match why {
            Some(why) if !judged => self.not_judged.add(why.clone(), case("")),
            Some(_) | None => self.judged += u64::from(judged),
        }
    }

    /// Statements that touch what was not reported.
    pub fn under_reported(&self) -> u64 {
        self.missed.total()
    }

    /// For machines.
    pub fn json(&self) -> Value {
        json!({
            "corpus": self.corpus,
            "files": self.files,
            "statements": self.statements,
            "understood": self.understood,
            "judged": self.judged,
            "judged_by_privileges": self.by_privileges,
            "judged_by_locks": self.by_locks,
            "under_reported": self.missed.total(),
            "under_reports": self.missed.json(true),
            "not_understood": self.refused.total(),
            "not_understood_reasons": self.refused.json(true),
            "refused_by_design": self.by_design.total(),
            "refused_by_the_server_too": self.refused_by_both.total(),
            "refused_by_the_server_too_reasons": self.refused_by_both.json(true),
            "not_judged": self.not_judged.total(),
            "not_judged_reasons": self.not_judged.json(false),
            "over_reported": self.over.total(),
            "over_reports": self.over.json(true),
            "skipped_commands": self.skipped_commands,
            "seconds": self.seconds,
        })
    }
}

/// True for what no policy can allow.
fn is_by_design(message: &str) -> bool {
    [
        "COPY with a file",
        "COPY with PROGRAM",
        "LOAD runs a library",
    ]
    .iter()
    .any(|start| message.starts_with(start))
}

fn class(error: &NotUnderstood) -> &'static str {
    match error {
        NotUnderstood::Syntax { .. } => "syntax",
        NotUnderstood::Limit(_) => "limit",
        NotUnderstood::Unsupported(_) => "construct",
        NotUnderstood::UnknownName { .. } => "name",
    }
}

/// A message with the names in it left out, so that like ones count as one.
fn normal(message: &str) -> String {
    let mut words = Vec::new();
    let mut quoted = false;
    for word in message.split(' ') {
        let starts = word.starts_with('"') || word.starts_with('\'');
        let ends = word
            .trim_end_matches([',', ';', ':', '.'])
            .ends_with(['"', '\'']);
        if quoted {
            quoted = !ends;
            continue;
        }
        let name = starts
            || word.contains(|letter: char| letter.is_ascii_digit() || matches!(letter, '_' | '('))
            || word.trim_end_matches(['.', ',', ';', ':']).contains('.');
        if name {
            quoted = starts && !(ends && word.len() > 1);
            words.push("…");
        } else {
            words.push(word);
        }
    }
    words.join(" ")
}

/// What one row of the table shows.
type Count = fn(&Report) -> u64;

/// The table and the lists of cases.
pub fn print(reports: &[Report]) -> String {
    let mut out = String::new();
    let line = |out: &mut String, name: &str, cell: &dyn Fn(&Report) -> String| {
        let _ = write!(out, "{name:<28}");
        for report in reports {
            let _ = write!(out, "{:>14}", cell(report));
        }
        out.push('\n');
    };
    out.push('\n');
    line(&mut out, "", &|report| report.corpus.clone());
    let rows: [(&str, Count); 15] = [
        ("files", |report| report.files),
        ("statements", |report| report.statements),
        ("understood", |report| report.understood),
        ("judged", |report| report.judged),
        ("  by privileges", |report| report.by_privileges),
        ("  by locks", |report| report.by_locks),
        ("not judged", |report| report.not_judged.total()),
        ("not understood", |report| report.refused.total()),
        ("refused by design", |report| report.by_design.total()),
        ("refused, the server fails too", |report| {
            report.refused_by_both.total()
        }),
        ("over-reported", |report| report.over.total()),
        ("UNDER-REPORTED", |report| report.missed.total()),
        ("psql commands left out", |report| report.skipped_commands),
        ("catalog reads", |report| report.catalog_reads),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds of a run"
        )]
        ("seconds", |report| report.seconds as u64),
    ];
    for (name, value) in rows {
        line(&mut out, name, &|report| value(report).to_string());
    }
    for report in reports {
        for (title, tally) in [
            ("not judged", &report.not_judged),
            ("not understood, by reason", &report.refused),
            ("refused by design", &report.by_design),
            ("refused, and the server fails too", &report.refused_by_both),
        ] {
            if tally.total() > 0 {
                let _ = writeln!(out, "\n{}: {title}", report.corpus);
            }
            for (reason, (count, _)) in tally.sorted() {
                let _ = writeln!(out, "{count:>7}  {reason}");
            }
        }
        for (reason, (count, cases)) in report.missed.sorted() {
            let _ = writeln!(out, "\nunder-reported {count}x: {reason}");
            for case in cases {
                let _ = writeln!(
                    out,
                    "  {}: {}\n    {}",
                    case.file,
                    case.what,
                    case.text.replace('\n', "\n    ")
                );
            }
        }
    }
    out
}
