//! A file of test cases as written, and as it is used.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_saphyr::{Location, Spanned};

use crate::{
    cli::policy::job::KnownJob,
    identity::{Assurance, JobIdentity},
    masking::{MASK_WORDS, MaskKind},
};

/// A file of test cases.
#[derive(Debug)]
pub struct TestFile {
    /// The saved catalog, if the file names one.
    pub catalog: Option<PathBuf>,
    /// The database, as the policy names it.
    pub database: String,
    /// The cases.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Its line.
    pub line: u64,
    /// The statements; the last one is what is expected of.
    pub sql: String,
    /// Whose job.
    pub job: KnownJob,
    /// The effective search path, if it is not the catalog's.
    pub search_path: Option<Vec<String>>,
    /// What is expected.
    pub expected: Expected,
}

/// What is expected of a case.
#[derive(Debug)]
pub struct Expected {
    /// `allow`, `hold` or `deny`.
    pub verdict: &'static str,
    /// Masks by output column; columns that are not listed are in clear. `None`: not looked at.
    pub masks: Option<BTreeMap<String, String>>,
    /// The grants that allow it. `None`: not looked at.
    pub grants: Option<Vec<String>>,
    /// A text that the reason, its rule or its hint contains.
    pub reason: Option<String>,
}

/// What is wrong with a file; prints as `file:line:column: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    file: PathBuf,
    position: Option<(u64, u64)>,
    message: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some((line, column)) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}", self.message)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: Spanned<String>,
    #[serde(default)]
    catalog: Option<String>,
    database: Spanned<String>,
    job: JobFile,
    cases: Vec<Spanned<CaseFile>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobFile {
    issuer: Spanned<String>,
    #[serde(default)]
    assurance: Option<Spanned<String>>,
    #[serde(default)]
    claims: BTreeMap<String, Value>,
    #[serde(default)]
    groups: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    name: Spanned<String>,
    sql: Spanned<String>,
    expect: Spanned<String>,
    #[serde(default)]
    job: Option<JobFile>,
    #[serde(default)]
    search_path: Option<Vec<String>>,
    #[serde(default)]
    masks: Option<Spanned<BTreeMap<String, MaskWord>>>,
    #[serde(default)]
    grants: Option<Vec<String>>,
    #[serde(default)]
    reason: Option<String>,
}

/// A mask's word; `null` comes as YAML's null.
#[derive(Debug)]
struct MaskWord(String);

impl<'de> Deserialize<'de> for MaskWord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = Option::<String>::deserialize(deserializer)?;
        Ok(Self(word.unwrap_or_else(|| "null".to_owned())))
    }
}

impl TestFile {
    /// Reads the text of a file; every problem of it is told.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Vec<Wrong>> {
        let options = serde_saphyr::options! {
            strict_booleans: true,
            merge_keys: serde_saphyr::options::MergeKeyPolicy::Error,
            with_snippet: false,
        };
        let file: Written = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| vec![Wrong::of(path, &error)])?;
        let mut check = Check {
            path,
            wrong: Vec::new(),
        };
        let cases = check.cases(file);
        if check.wrong.is_empty() {
            Ok(cases)
        } else {
            Err(check.wrong)
        }
    }
}

impl Wrong {
    fn of(path: &Path, error: &serde_saphyr::Error) -> Self {
        let text = error.without_snippet().to_string();
        // The place is printed in front of the message.
        let cut = text.rfind(" at line ").unwrap_or(text.len());
        Self {
            file: path.to_owned(),
            position: error
                .location()
                .map(|at| (at.line(), at.column()))
                .filter(|(line, _)| *line > 0),
            message: text.get(..cut).unwrap_or(&text).to_owned(),
        }
    }
}

struct Check<'a> {
    path: &'a Path,
    wrong: Vec<Wrong>,
}

impl Check<'_> {
    fn say(&mut self, at: Location, message: String) {
        self.wrong.push(Wrong {
            file: self.path.to_owned(),
            position: Some((at.line(), at.column())).filter(|(line, _)| *line > 0),
            message,
        });
    }

    fn cases(&mut self, file: Written) -> TestFile {
        let Written {
            version,
            catalog,
            database,
            job,
            cases,
        } = file;
        if version.value != "1" {
            self.say(
                version.referenced,
                format!("version {} is not known; write `version: 1`", version.value),
            );
        }
        if cases.is_empty() {
            self.say(database.referenced, "the file has no case".to_owned());
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut names: BTreeMap<String, u64> = BTreeMap::new();
        let job = self.job(job);
        let cases = cases
            .into_iter()
            .map(|case| {
                let at = case.value.name.referenced;
                let case = self.case(case.value, &job);
                if let Some(line) = names.insert(case.name.clone(), case.line) {
                    self.say(
                        at,
                        format!(
                            "the name `{}` is taken by the case in line {line}",
                            case.name
                        ),
                    );
                }
                case
            })
            .collect();
        TestFile {
            catalog: catalog.map(|catalog| folder.join(catalog)),
            database: database.value,
            cases,
        }
    }

    fn case(&mut self, case: CaseFile, job: &KnownJob) -> Case {
        let CaseFile {
            name,
            sql,
            expect,
            job: own,
            search_path,
            masks,
            grants,
            reason,
        } = case;
        let verdict = ["allow", "hold", "deny"]
            .into_iter()
            .find(|word| *word == expect.value);
        if verdict.is_none() {
            self.say(
                expect.referenced,
                format!(
                    "`expect: {}` is not known; known: allow, hold, deny",
                    expect.value
                ),
            );
        }
        if sql.value.trim().is_empty() {
            self.say(sql.referenced, "there is no statement".to_owned());
        }
        let masks = masks.map(|masks| {
            let at = masks.referenced;
            let words = masks.value.into_iter().map(|(column, MaskWord(word))| {
                // Those on parts of a document stand behind their paths.
                let parts = word.starts_with('$');
                if !parts && MaskKind::parse(&word).is_err() {
                    self.say(
                        at,
                        format!(
                            "the mask `{word}` is not known; known: {}",
                            MASK_WORDS.join(", ")
                        ),
                    );
                }
                (column, word)
            });
            words.collect()
        });
        Case {
            name: name.value,
            line: name.referenced.line(),
            sql: sql.value,
            job: own.map_or_else(|| job.clone(), |own| self.job(own)),
            search_path,
            expected: Expected {
                verdict: verdict.unwrap_or("deny"),
                masks,
                grants,
                reason,
            },
        }
    }

    fn job(&mut self, job: JobFile) -> KnownJob {
        let JobFile {
            issuer,
            assurance,
            claims,
            groups,
        } = job;
        let assurance = match &assurance {
            None => Assurance::OidcVerified,
            Some(word) => match word.value.as_str() {
                "oidc-verified" => Assurance::OidcVerified,
                "runner-asserted" => Assurance::RunnerAsserted,
                other => {
                    let message = format!(
                        "`assurance: {other}` is not known; known: runner-asserted, oidc-verified"
                    );
                    self.say(word.referenced, message);
                    Assurance::RunnerAsserted
                }
            },
        };
        KnownJob {
            identity: JobIdentity::supposed(issuer.value, assurance, groups, claims),
            note: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "version: 1
catalog: shop.catalog.json
database: shop
job: { issuer: github, claims: { repository_id: \"123456\", run_attempt: 2 } }
cases:
  - name: orders
    sql: SELECT id FROM orders
    expect: allow
    masks: { id: null }
    grants: [agent]
  - name: secrets
    sql: SELECT * FROM secrets
    expect: deny
    reason: secrets
    job: { issuer: gitlab, assurance: runner-asserted, groups: [team] }
";

    fn wrong(text: &str) -> Vec<String> {
        match TestFile::parse(Path::new("p/x.test.yaml"), text) {
            Ok(cases) => panic!("{cases:?}"),
            Err(wrong) => wrong.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn cases_are_read_with_the_job_of_their_file_or_their_own() {
        let cases = TestFile::parse(Path::new("p/x.test.yaml"), GOOD).expect("good");
        assert_eq!(
            cases.catalog.as_deref(),
            Some(Path::new("p/shop.catalog.json"))
        );
        let [orders, secrets] = cases.cases.as_slice() else {
            panic!("two cases")
        };
        assert_eq!((orders.line, orders.job.identity.issuer()), (6, "github"));
        assert_eq!(orders.job.identity.claims()["run_attempt"], 2);
        let masks = orders.expected.masks.as_ref().expect("masks");
        assert_eq!(masks["id"], "null");
        assert_eq!(secrets.job.identity.issuer(), "gitlab");
        assert_eq!(secrets.job.identity.groups(), ["team"]);
        assert_eq!(secrets.expected.verdict, "deny");
    }

    #[test]
    fn mistakes_are_told_with_their_place_all_of_them_at_once() {
        let text = GOOD
            .replace("expect: allow", "expect: alow")
            .replace("{ id: null }", "{ id: hash }")
            .replace("name: secrets", "name: orders")
            .replace("version: 1", "version: 2");
        let found = wrong(&text);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(
            found[0].starts_with("p/x.test.yaml:1:10: version 2"),
            "{found:?}"
        );
        assert!(found[1].contains(":8:13: `expect: alow`"), "{found:?}");
        assert!(found[2].contains("the mask `hash`"), "{found:?}");
        assert!(
            found[3].contains("taken by the case in line 6"),
            "{found:?}"
        );
        let unknown = wrong(&GOOD.replace("expect: deny", "expects: deny"));
        assert!(unknown[0].contains("expects"), "{unknown:?}");
        assert!(
            wrong("version: 1\ndatabase: x\njob: { issuer: a }\ncases: []\n")[0]
                .contains("no case")
        );
    }
}
