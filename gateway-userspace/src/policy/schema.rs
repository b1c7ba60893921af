//! The JSON Schema of policy files, for editors.
//!
//! It is made of the same tables of keys and words that the loader reads, so that it cannot lag
//! behind it. What JSON Schema cannot say (bounds of times, names that must exist) the loader says.

use serde_json::{Map, Value, json};

use super::{
    fields::Quantity,
    grant::{ASSURANCE_WORDS, FILTER_WORDS, MODE_WORDS, RESULT_WORDS, Verb},
    resolve::{
        BY_KEYS, BYTES, COUNT, FILE_KEYS, GRANT_KEYS, HOLD, LIMIT_KEYS, MASK_KEYS, PER_MINUTE,
        ROLE_KEYS, ROWS, SESSION, STATEMENT, WHO_KEYS,
    },
    verdict::ON_HOLD_WORDS,
};
use crate::masking::{Detector, MASK_WORDS};

/// The draft that editors know best.
const DRAFT: &str = "http://json-schema.org/draft-07/schema#";
/// As `quantity::duration` reads it: units in falling order.
const DURATION: &str = r"^(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";
const SIZE: &str = "^[0-9]+(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)?$";
const DIGITS: &str = "^[0-9]+$";

/// The schema of a policy file.
pub fn schema() -> Value {
    let mut schema = mapping("A policy file of Cordon.", &FILE_KEYS, &FILE_KEYS, file);
    if let Value::Object(members) = &mut schema {
        members.insert("$schema".to_owned(), json!(DRAFT));
        members.insert("title".to_owned(), json!("Cordon policy"));
    }
    schema
}

/// A mapping with these keys and no other.
fn mapping(what: &str, keys: &[&str], required: &[&str], of: fn(&str) -> Option<Value>) -> Value {
    let properties: Map<String, Value> = keys
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), of(key)?)))
        .collect();
    json!({
        "description": what,
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

fn text(what: &str) -> Value {
    json!({ "description": what, "type": "string", "minLength": 1 })
}

fn words<T>(what: &str, words: &[(T, &'static str)]) -> Value {
    let words: Vec<&str> = words.iter().map(|(_, word)| *word).collect();
    json!({ "description": what, "enum": words })
}

fn list(what: &str, items: Value) -> Value {
    let mut list = json!({ "description": what, "type": "array" });
    if let Value::Object(members) = &mut list {
        members.insert("items".to_owned(), items);
    }
    list
}

/// One text, or a list of them.
fn texts(what: &str, of: &Value) -> Value {
    json!({
        "description": what,
        "anyOf": [of, { "type": "array", "minItems": 1, "items": of }],
    })
}

/// What a quantity is for, and how it is written.
fn about<T>(what: &str, kind: &Quantity<T>) -> String {
    format!(
        "{what} Between {} and {}: {}.",
        kind.least.1, kind.most.1, kind.what
    )
}

fn time(what: &str, kind: &Quantity<std::time::Duration>) -> Value {
    json!({ "description": about(what, kind), "type": "string", "pattern": DURATION })
}

/// Digits, as a number or in quotes.
fn number(what: &str, kind: &Quantity<u64>) -> Value {
    json!({
        "description": about(what, kind),
        "anyOf": [
            { "type": "integer", "minimum": kind.least.0, "maximum": kind.most.0 },
            { "type": "string", "pattern": DIGITS },
        ],
    })
}

fn size(what: &str, kind: &Quantity<u64>) -> Value {
    json!({
        "description": about(what, kind),
        "anyOf": [
            { "type": "integer", "minimum": kind.least.0, "maximum": kind.most.0 },
            { "type": "string", "pattern": SIZE },
        ],
    })
}

fn file(key: &str) -> Option<Value> {
    Some(match key {
        "version" => json!({ "description": "The format's version.", "enum": [1, "1"] }),
        "grants" => {
            let mut grants = list("Who may do what in which database.", grant_schema());
            if let Value::Object(members) = &mut grants {
                members.insert("minItems".to_owned(), json!(1));
            }
            grants
        }
        _ => return None,
    })
}

fn grant_schema() -> Value {
    let mut schema = mapping(
        "What a job may do in a database.",
        &GRANT_KEYS,
        &["name", "who", "database"],
        grant,
    );
    if let Value::Object(members) = &mut schema {
        members.insert(
            "dependencies".to_owned(),
            json!({ "allow": ["role"], "approve": ["role"] }),
        );
        let rules = ["allow", "approve", "deny", "mask", "limits"]
            .map(|section| json!({ "required": [section] }));
        members.insert("anyOf".to_owned(), json!(rules));
    }
    schema
}

fn grant(key: &str) -> Option<Value> {
    Some(match key {
        "name" => json!({
            "description": "Unique in the whole policy; refusals name it.",
            "type": "string",
            "pattern": "^[A-Za-z0-9_.-]{1,64}$",
        }),
        "why" => text("Why it exists, for people."),
        "who" => mapping(
            "Whom it is for. Every condition must hold.",
            &WHO_KEYS,
            &["issuer"],
            who,
        ),
        "database" => text("The database, as the configuration names it."),
        "role" => {
            let mut schema = mapping("The database role to log in as.", &ROLE_KEYS, &[], role);
            if let Value::Object(members) = &mut schema {
                let one = ROLE_KEYS.map(|key| json!({ "required": [key] }));
                members.insert("oneOf".to_owned(), json!(one));
            }
            schema
        }
        "mode" => words(
            "`observe` records what the grant would refuse or hold, and lets it pass.",
            &MODE_WORDS,
        ),
        "on_hold" => on_hold_schema(),
        "results" => words(
            "`withheld` keeps results out of the recordings, but for their number, size and digest.",
            &RESULT_WORDS,
        ),
        "limits" => mapping(
            "How much, how long and how often. Of all grants of a job the narrowest holds.",
            &LIMIT_KEYS,
            &[],
            limit,
        ),
        "allow" => list("What is allowed.", rule(false)),
        "approve" => list("What waits for people, and is allowed by them.", rule(true)),
        "deny" => list("What is refused, whatever allows it.", rule(false)),
        "mask" => list(
            "Columns whose values are never shown in clear.",
            mask_schema(),
        ),
        _ => return None,
    })
}

fn who(key: &str) -> Option<Value> {
    Some(match key {
        "issuer" => text("The configured name of the token's issuer."),
        "assurance" => words("The least proof of identity.", &ASSURANCE_WORDS),
        "claims" => {
            let value = json!({ "type": ["string", "number", "boolean"] });
            let values = texts(
                "One of these values; * matches any run of characters.",
                &value,
            );
            json!({
                "description": "Claims of the job's token, and the values that match.",
                "type": "object",
                "additionalProperties": values,
            })
        }
        "groups" => list(
            "One of these is enough; none listed: no condition.",
            text("A group."),
        ),
        _ => return None,
    })
}

fn role(key: &str) -> Option<Value> {
    match key {
        "login" => Some(text("A login of the configuration.")),
        "per_job" => Some(json!({
            "description": "A role made for each job, which holds what its grants give and is gone when it ends.",
            "enum": [true, "true"],
        })),
        _ => None,
    }
}

fn limit(key: &str) -> Option<Value> {
    Some(match key {
        "hold" => time("How long a statement waits for approval.", &HOLD),
        "hold_in_transaction" => time(
            "How long one waits whose transaction keeps locks meanwhile.",
            &HOLD,
        ),
        "session" => time("How long a session may last.", &SESSION),
        "statement" => time("How long a statement may run.", &STATEMENT),
        "rows" => number("Rows that one statement may return.", &ROWS),
        "bytes" => size("Bytes that one statement may return.", &BYTES),
        "session_rows" => number("Rows that one session may return.", &ROWS),
        "session_bytes" => size("Bytes that one session may return.", &BYTES),
        "statements_per_minute" => number(
            "Statements that a job may send to the database within any 60 seconds.",
            &PER_MINUTE,
        ),
        _ => return None,
    })
}

/// A rule has one verb; that of an approve rule says by whom, too.
fn rule(approve: bool) -> Value {
    let target = json!({ "type": "string", "minLength": 1 });
    let mut properties = Map::new();
    for (verb, word) in Verb::WORDS {
        properties.insert(word.to_owned(), texts(verb_about(verb), &target));
    }
    let one_verb = Verb::WORDS.map(|(_, word)| json!({ "required": [word] }));
    let mut required = Vec::new();
    if approve {
        required.push("by");
        properties.insert(
            "by".to_owned(),
            mapping("Who must approve.", &BY_KEYS, &[], by),
        );
        properties.insert("on_hold".to_owned(), on_hold_schema());
    }
    json!({
        "description": "One verb and what it is about: schema.name, `*` within a part, columns in parentheses.",
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
        "oneOf": one_verb,
    })
}

fn on_hold_schema() -> Value {
    words(
        "`wait` holds the statement on its connection, `refuse` refuses it until it is approved.",
        &ON_HOLD_WORDS,
    )
}

fn verb_about(verb: Verb) -> &'static str {
    match verb {
        Verb::Select => "Reading; can be narrowed to columns.",
        Verb::Insert => "Adding rows; can be narrowed to columns.",
        Verb::Update => "Changing and locking rows; can be narrowed to columns.",
        Verb::Delete => "Removing rows.",
        Verb::Truncate => "Removing all rows.",
        Verb::Call => "Calling functions and procedures.",
        Verb::Ddl => "Creating, altering and dropping.",
        Verb::Set => "Settings of applications and extensions, by name.",
        Verb::All => "All of these, and what has no verb of its own.",
    }
}

fn by(key: &str) -> Option<Value> {
    Some(match key {
        "group" => text("Approvers' group of the configuration; left out: any approver."),
        "count" => number("How many different people.", &COUNT),
        _ => return None,
    })
}

fn mask_schema() -> Value {
    let mut schema = mapping(
        "Protected columns, or what is looked for in the others, and how it is shown.",
        &MASK_KEYS,
        &["with"],
        mask,
    );
    if let Value::Object(members) = &mut schema {
        let needs = |key: &str| json!({ "required": [key] });
        members.insert(
            "oneOf".to_owned(),
            json!([needs("column"), needs("detect")]),
        );
        members.insert(
            "dependencies".to_owned(),
            json!({ "path": ["column"], "where": ["column"] }),
        );
    }
    schema
}

/// A mask, with its parameter.
fn with() -> Value {
    let (with, plain): (Vec<&str>, Vec<&str>) = MASK_WORDS
        .into_iter()
        .partition(|word| matches!(*word, "bucket" | "digits"));
    let patterns = with.into_iter().map(|word| {
        let parameter = match word {
            "bucket" => " (month|year|[0-9]+)",
            _ => "( keep [1-4])?",
        };
        json!({ "type": "string", "pattern": format!("^{word}{parameter}$") })
    });
    // YAML reads a bare `null` as its own null; the loader takes it for the word.
    let mut any = vec![json!({ "enum": plain }), json!({ "type": "null" })];
    any.extend(patterns);
    json!({ "description": "How they are shown.", "anyOf": any })
}

fn mask(key: &str) -> Option<Value> {
    Some(match key {
        "column" => texts(
            "schema.table.column, `*` within a part.",
            &json!({ "type": "string", "minLength": 1 }),
        ),
        "path" => text("Where in a JSON document: $.name, .*, .** and [*]; the rest is shown."),
        "detect" => {
            let words: Vec<&str> = Detector::WORDS.iter().map(|(_, word)| *word).collect();
            texts(
                "What is looked for in values that no rule masks.",
                &json!({ "enum": words }),
            )
        }
        "with" => with(),
        "where" => words(
            "What a protected column may decide in a statement.",
            &FILTER_WORDS,
        ),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Write,
        path::PathBuf,
        process::{Command, Stdio},
    };

    use super::*;
    use crate::policy::Policy;

    /// Reads `[schema, documents]`, prints what is wrong with each document.
    const VALIDATE: &str = "\
import json, sys
from jsonschema.validators import validator_for
schema, documents = json.load(sys.stdin)
Validator = validator_for(schema, default=None)
Validator.check_schema(schema)
validator = Validator(schema)
print(json.dumps([[error.message for error in validator.iter_errors(document)] for document in documents]))
";

    /// What a validator of its own (Debian's `python3-jsonschema`) finds wrong with each document.
    fn errors(documents: &[Value]) -> Vec<Vec<String>> {
        let mut python = Command::new("/usr/bin/python3")
            .args(["-c", VALIDATE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let input = json!([schema(), documents]).to_string();
        let mut stdin = python.stdin.take().expect("a pipe");
        stdin.write_all(input.as_bytes()).expect("python3 reads");
        drop(stdin);
        let output = python.wait_with_output().expect("python3");
        assert!(
            output.status.success(),
            "python3-jsonschema is missing, or the schema is none"
        );
        let errors: Vec<Vec<String>> = serde_json::from_slice(&output.stdout).expect("a list");
        assert_eq!(errors.len(), documents.len());
        errors
    }

    fn json(text: &str) -> Value {
        serde_saphyr::from_str(text).expect("YAML")
    }

    fn loads(text: &str) -> bool {
        Policy::from_sources(&[(PathBuf::from("p.yaml"), text.to_owned())]).is_ok()
    }

    #[test]
    fn every_key_of_the_loader_is_described() {
        type Section = (&'static [&'static str], fn(&str) -> Option<Value>);
        let sections: [Section; 7] = [
            (&FILE_KEYS, file),
            (&GRANT_KEYS, grant),
            (&WHO_KEYS, who),
            (&ROLE_KEYS, role),
            (&LIMIT_KEYS, limit),
            (&BY_KEYS, by),
            (&MASK_KEYS, mask),
        ];
        for (keys, of) in sections {
            for key in keys {
                assert!(
                    of(key).is_some_and(|s| s["description"].is_string()),
                    "{key}"
                );
            }
            assert_eq!(of("something else"), None);
        }
    }

    #[test]
    fn the_policies_of_tests_and_documentation_are_valid() {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let (mut paths, mut documents) = (Vec::new(), Vec::new());
        for folder in [
            "tests/fixtures/policies",
            "docs/examples",
            "docs/examples/shop",
        ] {
            for entry in fs::read_dir(root.join(folder)).expect(folder) {
                let path = entry.expect("an entry").path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if !name.ends_with(".yaml") || name.ends_with(".test.yaml") || name == "cordon.yaml"
                {
                    continue;
                }
                let text = fs::read_to_string(&path).expect("a file");
                assert!(loads(&text), "{}", path.display());
                documents.push(json(&text));
                paths.push(path);
            }
        }
        for (path, errors) in paths.iter().zip(errors(&documents)) {
            assert!(errors.is_empty(), "{}: {errors:?}", path.display());
        }
        assert!(paths.len() >= 7, "{} files", paths.len());
    }

    const GOOD: &str = "version: 1\ngrants:\n  - name: g\n    who: { issuer: i, claims: { a: [x, 7, true] } }\n    database: d\n    role: { login: l }\n    mode: enforce\n    on_hold: wait\n    results: withheld\n    limits: { hold: 15m, hold_in_transaction: 1m, session: 1h30m, statement: 500ms, rows: 10, bytes: 1MiB, session_rows: '7', session_bytes: 9, statements_per_minute: 600 }\n    allow: [{ select: [public.a, public.b] }]\n    approve: [{ delete: public.a, by: { group: dba, count: 2 }, on_hold: refuse }]\n    deny: [{ all: secret.* }]\n    mask: [{ column: public.a.b, with: null, where: any }]\n";

    /// The text with one part replaced.
    fn with(part: &str, other: &str) -> String {
        assert!(GOOD.contains(part), "{part}");
        GOOD.replacen(part, other, 1)
    }

    #[test]
    fn what_the_loader_refuses_for_its_form_the_schema_refuses_too() {
        assert!(loads(GOOD));
        assert!(errors(&[json(GOOD)])[0].is_empty());
        let bad = [
            with("version: 1", "version: 2"),
            with("version: 1\n", ""),
            with("    database: d\n", ""),
            with("    role: { login: l }\n", ""),
            with("name: g", "name: a grant"),
            with("issuer: i, ", ""),
            with("issuer: i", "issuers: i"),
            with("mode: enforce", "mode: dry-run"),
            with("hold: 15m", "hold: 15"),
            with("hold: 15m", "hold: 15 m"),
            with("session: 1h30m", "session: 30m1h"),
            with("rows: 10,", "rows: 10k,"),
            with("rows: 10,", "rows: 0,"),
            with("bytes: 1MiB", "bytes: 1M"),
            with("statements_per_minute", "statements_per_second"),
            with("select: [public.a, public.b]", "read: public.a"),
            with("select: [public.a, public.b]", "select: []"),
            with(
                "select: [public.a, public.b]",
                "select: public.a, update: public.a",
            ),
            with("[{ select: [public.a, public.b] }]", "{ select: public.a }"),
            with(", by: { group: dba, count: 2 }", ""),
            with("count: 2", "count: 21"),
            with("all: secret.* }", "all: secret.*, by: { group: dba } }"),
            with("with: null", "with: star"),
            with(", with: null", ""),
            with("where: any", "where: like"),
            "version: 1\ngrants: []\n".to_owned(),
            "version: 1\ngrants:\n  - { name: g, who: { issuer: i }, database: d }\n".to_owned(),
            with("claims: { a: [x, 7, true] }", "claims: { a: { b: c } }"),
        ];
        let documents: Vec<Value> = bad.iter().map(|text| json(text)).collect();
        for (text, errors) in bad.iter().zip(errors(&documents)) {
            assert!(!loads(text), "the loader takes {text}");
            assert!(!errors.is_empty(), "the schema takes {text}");
        }
    }
}
