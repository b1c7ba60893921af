//! `arch`: which module of the daemon may use which.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::step::root;

/// What a module's files may name with `crate::`, besides their own module: a whole module, or one
/// name of it. A module that is not listed wires others together (`cli`, `admin`, `config`,
/// `telemetry` and the crate's root), and may use all of them.
///
/// Bytes know nothing of policy, policy knows nothing of bytes, and nothing below `protocol` names
/// one: that is what keeps a second database protocol a matter of one new folder.
const RULES: &[(&str, &[&str])] = &[
    ("sql", &[]),
    ("masking", &[]),
    ("transport", &[]),
    ("audit", &[]),
    ("intercept", &[]),
    ("identity", &["config", "intercept"]),
    ("policy", &["identity", "masking", "sql"]),
    ("upstream", &["config", "identity", "policy", "transport"]),
    ("approval", &["admin", "audit", "policy", "sql"]),
    ("notify", &["admin", "approval", "audit", "config"]),
    (
        "session",
        &[
            "admin::EarlierView",
            "approval",
            "audit",
            "config",
            "identity",
            "masking",
            "policy",
            "sql",
            "telemetry",
        ],
    ),
    (
        "protocol",
        &[
            "identity::IdentityRefusal",
            "identity::Principal",
            "intercept::InterceptedConn",
            "masking",
            "policy::Admission",
            "policy::GrantRole",
            "session",
            "sql",
            "transport",
            "upstream",
        ],
    ),
    (
        "console",
        &[
            "admin", "approval", "audit", "config", "identity", "policy", "session", "sql",
        ],
    ),
    (
        "warden",
        &[
            "audit::FileLogKeys",
            "audit::KeySlot",
            "audit::LogKeys",
            "config",
            "identity::Host",
            "identity::KernelJobs",
            "identity::LocalHost",
            "intercept",
            "policy::LocalFolder",
            "policy::PolicyFolder",
            "policy::Sources",
            "policy::Stamp",
            "transport::AuthorityFiles",
            "transport::AuthorityKey",
        ],
    ),
    (
        "listen",
        &[
            "audit::BypassAttempted",
            "audit::ConnectionRefused",
            "audit::RefusalCause",
            "identity",
            "intercept",
            "protocol",
            "session",
        ],
    ),
];

/// Checks the daemon's sources.
pub fn run() -> Result<()> {
    let sources = root().join("gateway-userspace/src");
    let mut files = Vec::new();
    collect(&sources, &mut files)?;
    let mut violations = Vec::new();
    for file in &files {
        let text =
            fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let path = file.strip_prefix(&sources).unwrap_or(file);
        violations.extend(check(path, &text));
    }
    if !violations.is_empty() {
        bail!(
            "{} uses against the dependency rule (ARCHITECTURE.md; bytes know nothing of policy, \
             policy knows nothing of bytes):\n  {}",
            violations.len(),
            violations.join("\n  ")
        );
    }
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The violations in one file, which is given by its path below `src`.
fn check(path: &Path, text: &str) -> Vec<String> {
    let parts: Vec<String> = path
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    let Some(module) = parts.first() else {
        return Vec::new();
    };
    let Some((_, allowed)) = RULES.iter().find(|(name, _)| name == module) else {
        return Vec::new();
    };
    // A test may build what it needs.
    if parts
        .iter()
        .any(|part| part == "tests" || part == "testing" || part.ends_with("_tests"))
    {
        return Vec::new();
    }
    let own_protocol = (module == "protocol" && parts.len() > 2).then(|| parts[1].as_str());
    let mut violations = Vec::new();
    for (number, used) in uses(text) {
        let mut names = used.split("::");
        let (first, second) = (names.next().unwrap_or_default(), names.next());
        let line = format!("{}:{number}: `{module}` uses `{used}`", path.display());
        if first == module {
            // One protocol does not name another; the table above them names all.
            if let (Some(own), Some(other)) = (own_protocol, second)
                && other != own
                && is_protocol_folder(other)
            {
                violations.push(line);
            }
        } else if !allowed.contains(&first)
            && !allowed.contains(&used.as_str())
            && first.starts_with(|c: char| c.is_lowercase())
        {
            violations.push(line);
        }
    }
    violations
}

fn is_protocol_folder(name: &str) -> bool {
    root()
        .join("gateway-userspace/src/protocol")
        .join(name)
        .is_dir()
}

/// Every `crate::a::b` of a file with its line, groups opened up. Comments and the unit tests at
/// the file's end do not count.
fn uses(text: &str) -> BTreeSet<(usize, String)> {
    let code = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    let stripped: String = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = BTreeSet::new();
    for (offset, prefix) in stripped.match_indices("crate::") {
        let before = stripped[..offset].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let line = stripped[..offset].matches('\n').count() + 1;
        let rest = &stripped[offset + prefix.len()..];
        let (module, group) = match rest.split_once('{') {
            Some((module, group)) => (module.trim_end_matches("::"), Some(group)),
            None => (rest, None),
        };
        match group {
            Some(group) if module.is_empty() => {
                found.extend(members(group).into_iter().map(|path| (line, path)));
            }
            Some(group) if rest.starts_with(&format!("{module}::{{")) && is_name(module) => {
                let names = split_group(group).into_iter();
                found.extend(names.map(|name| (line, first_two(&format!("{module}::{name}")))));
            }
            _ => {
                found.insert((line, first_two(rest)));
            }
        }
    }
    found
}

/// The members of a group, up to its closing brace, by their first two names.
fn members(group: &str) -> Vec<String> {
    let mut found = Vec::new();
    for member in split_group(group) {
        match member.split_once("::{") {
            Some((module, inner)) if !module.contains("::") => {
                let names = split_group(inner);
                found.extend(
                    names
                        .iter()
                        .map(|name| first_two(&format!("{module}::{name}"))),
                );
            }
            _ => found.push(first_two(member)),
        }
    }
    found
}

/// What stands between the commas of a group, up to its closing brace.
fn split_group(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0_usize, 0, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let member = group[start..at].trim();
                if !member.is_empty() {
                    found.push(member);
                }
                start = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

fn first_two(path: &str) -> String {
    let end = path
        .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .unwrap_or(path.len());
    path[..end]
        .split("::")
        .filter(|name| !name.is_empty())
        .take(2)
        .collect::<Vec<_>>()
        .join("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_below_may_not_use_one_above() {
        let text = "use crate::policy::Verdict;\n";
        assert_eq!(check(Path::new("sql/parse.rs"), text).len(), 1);
        assert_eq!(
            check(Path::new("session/gate.rs"), text),
            Vec::<String>::new()
        );
        assert_eq!(check(Path::new("sql.rs"), text).len(), 1);
    }

    #[test]
    fn groups_and_paths_in_code_are_seen() {
        let text = "use crate::{\n    identity::{Principal, resolve},\n    session::Gate,\n};\n\
                    fn f() { crate::telemetry::dial() }\n";
        let found: Vec<String> = uses(text).into_iter().map(|(_, path)| path).collect();
        assert_eq!(
            found,
            [
                "identity::Principal",
                "identity::resolve",
                "session::Gate",
                "telemetry::dial"
            ]
        );
        assert_eq!(check(Path::new("policy/evaluate.rs"), text).len(), 2);
    }

    #[test]
    fn one_name_of_a_module_may_be_allowed() {
        let allowed = "use crate::identity::{IdentityRefusal, Principal};\n";
        let more = "use crate::identity::{Jobs, Principal};\nuse crate::identity::*;\n";
        let file = Path::new("protocol/postgres/serve.rs");
        assert_eq!(check(file, allowed), Vec::<String>::new());
        assert_eq!(check(file, more).len(), 2);
        assert_eq!(
            check(Path::new("protocol/postgres/tests.rs"), more),
            Vec::<String>::new()
        );
    }

    #[test]
    fn comments_tests_and_other_crates_do_not_count() {
        let text = "//! See [`crate::session`].\nuse other_crate::session::X;\n\
                    #[cfg(test)]\nmod tests {\n    use crate::session::Gate;\n}\n";
        assert_eq!(check(Path::new("sql/parse.rs"), text), Vec::<String>::new());
    }

    #[test]
    fn the_wiring_may_use_everything() {
        let text = "use crate::{intercept::Interceptor, protocol::postgres};\n";
        assert_eq!(check(Path::new("cli/run.rs"), text), Vec::<String>::new());
        assert_eq!(check(Path::new("main.rs"), text), Vec::<String>::new());
    }
}
