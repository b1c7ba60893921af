//! Reads a folder of policy files.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    error::{PolicyError, Problem},
    policy::Policy,
    resolve::Resolver,
};

/// Larger files are a mistake, or an attack on the daemon's memory.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The texts of a folder's policy files, and what could not be read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sources {
    texts: Vec<(PathBuf, String)>,
    problems: Vec<Problem>,
}

impl Sources {
    /// Reads every `*.yaml` of a folder, in order of their names. Hidden files and test cases
    /// (`*.test.yaml`) are left out.
    pub fn read(dir: &Path) -> Self {
        let mut sources = Self::default();
        match list(dir) {
            Err(problem) => sources.problems.push(problem),
            Ok(files) => {
                for file in files {
                    match read(&file) {
                        Ok(text) => sources.texts.push((file, text)),
                        Err(problem) => sources.problems.push(problem),
                    }
                }
            }
        }
        sources
    }
}

impl Policy {
    /// Loads the policy files of a folder. If anything is wrong with any of them, nothing is loaded
    /// and every problem is reported.
    pub fn load(dir: &Path) -> Result<Self, PolicyError> {
        Self::of(Sources::read(dir))
    }

    /// As [`Policy::load`], of files that are read already.
    pub fn of(sources: Sources) -> Result<Self, PolicyError> {
        let Sources {
            texts,
            mut problems,
        } = sources;
        if texts.is_empty() && !problems.is_empty() {
            return Err(PolicyError::new(problems));
        }
        match Self::from_sources(&texts) {
            Ok(policy) if problems.is_empty() => Ok(policy),
            Ok(_) => Err(PolicyError::new(problems)),
            Err(error) => {
                problems.extend(error.problems().iter().cloned());
                Err(PolicyError::new(problems))
            }
        }
    }

    /// Makes a policy from texts; the paths serve the messages.
    pub fn from_sources(sources: &[(PathBuf, String)]) -> Result<Self, PolicyError> {
        let mut resolver = Resolver::default();
        for (path, text) in sources {
            resolver.add(path, text);
        }
        resolver.finish()
    }
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, Problem> {
    let problem = |path: &Path, message: String| Problem {
        file: path.to_owned(),
        position: None,
        message,
        excerpt: None,
    };
    let entries = fs::read_dir(dir)
        .map_err(|error| problem(dir, format!("the policy folder cannot be read: {error}")))?;
    writable_by_all(dir)?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry
            .map_err(|error| problem(dir, format!("the policy folder cannot be read: {error}")))?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml") if is_policy_file(&path) => files.push(path),
            // A rule that its author believes in force must not be passed over in silence.
            Some("yml") => {
                let wanted = path.with_extension("yaml");
                let wanted = wanted
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                return Err(problem(
                    &path,
                    format!("policy files end in .yaml; rename it to {wanted}"),
                ));
            }
            Some(_) | None => {}
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(problem(
            dir,
            "the policy folder has no *.yaml file; without one nobody may do anything".to_owned(),
        ));
    }
    Ok(files)
}

/// True for the files that make a policy: `*.yaml`, but for hidden ones and test cases.
pub fn is_policy_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".yaml") && !name.starts_with('.') && !is_test_file(path)
}

/// True for test cases of a policy: `*.test.yaml`.
pub fn is_test_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".test.yaml") && !name.starts_with('.')
}

fn read(path: &Path) -> Result<String, Problem> {
    let problem = |message: String| Problem {
        file: path.to_owned(),
        position: None,
        message,
        excerpt: None,
    };
    let metadata =
        fs::metadata(path).map_err(|error| problem(format!("cannot be read: {error}")))?;
    if !metadata.is_file() {
        return Err(problem("is not a regular file".to_owned()));
    }
    writable_by_all(path)?;
    if metadata.len() > MAX_FILE_BYTES {
        return Err(problem(format!(
            "is larger than {} MiB; split it into several files",
            MAX_FILE_BYTES >> 20
        )));
    }
    fs::read_to_string(path).map_err(|error| problem(format!("cannot be read: {error}")))
}

/// A policy that any process of the host can change is none.
fn writable_by_all(path: &Path) -> Result<(), Problem> {
    let problem = |message: String| Problem {
        file: path.to_owned(),
        position: None,
        message,
        excerpt: None,
    };
    let metadata =
        fs::metadata(path).map_err(|error| problem(format!("cannot be read: {error}")))?;
    if metadata.permissions().mode() & 0o002 != 0 {
        return Err(problem(format!(
            "can be changed by every user of this host; run: chmod o-w {}",
            path.display()
        )));
    }
    Ok(())
}
