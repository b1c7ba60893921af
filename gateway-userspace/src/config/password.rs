//! Where the password of a login is, and how it is had.

use std::{
    fmt,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{io::AsyncReadExt, process::Command};
use zeroize::Zeroizing;

use super::{Secret, secret};

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long its answer is used before it is asked again. Short-lived tokens of cloud databases are
/// good for some minutes.
const KEPT: Duration = Duration::from_mins(1);
/// Longest answer, in bytes.
const MAX_ANSWER: u64 = 64 * 1024;

/// Where the password of a login is. Read before it is needed, so that a mistake shows at the
/// start; files and credentials again at each login, so that a new password needs no restart.
#[derive(Clone, Debug)]
pub enum PasswordSource {
    /// The server asks for none.
    None,
    /// A file that only its owner can read.
    File(PathBuf),
    /// A variable of the daemon's environment, read at the start.
    Environment(Secret),
    /// What a command prints; it is started without a shell.
    Command(Arc<PasswordCommand>),
    /// Another process has it.
    Kept(KeptPassword),
}

/// Keeps the passwords of logins for a process that may not read them all.
pub trait PasswordKeeper: fmt::Debug + Send + Sync {
    /// The password of a login as it is now. May block for as long as a command may take.
    ///
    /// # Errors
    /// What failed, without a word of what a command printed.
    fn password(&self, login: &LoginName) -> Result<Secret, String>;

    /// The server did not take the password.
    fn refused(&self, login: &LoginName);
}

/// Names a login of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LoginName {
    /// The configured name of the database.
    pub database: String,
    /// Its role.
    pub user: String,
    /// The one who makes the roles of jobs, not one of the logins.
    pub admin: bool,
}

/// A password that another process keeps.
#[derive(Clone, Debug)]
pub struct KeptPassword {
    keeper: Arc<dyn PasswordKeeper>,
    login: LoginName,
}

/// A command that prints a password.
#[derive(Debug)]
pub struct PasswordCommand {
    argv: Vec<String>,
    answer: Mutex<Option<(Instant, Secret)>>,
}

impl PartialEq for PasswordSource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::File(one), Self::File(other)) => one == other,
            (Self::Environment(one), Self::Environment(other)) => one == other,
            (Self::Command(one), Self::Command(other)) => one.argv == other.argv,
            (Self::Kept(one), Self::Kept(other)) => one.login == other.login,
            (
                Self::None
                | Self::File(_)
                | Self::Environment(_)
                | Self::Command(_)
                | Self::Kept(_),
                _,
            ) => false,
        }
    }
}

impl Eq for PasswordSource {}

impl PasswordSource {
    /// A file, which is read once to see that it can be.
    pub(super) fn file(path: PathBuf) -> Result<Self, String> {
        secret::read(&path)?;
        Ok(Self::File(path))
    }

    /// A variable of this process.
    pub(super) fn environment(name: &str) -> Result<Self, String> {
        match std::env::var(name) {
            Ok(value) if !value.is_empty() => Ok(Self::Environment(Secret::new(value))),
            Ok(_) => Err(format!("the variable {name} of the daemon is empty")),
            Err(std::env::VarError::NotPresent) => Err(format!(
                "the variable {name} is not set in the daemon's environment; set it in its unit (EnvironmentFile=)"
            )),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(format!("the variable {name} of the daemon is not UTF-8"))
            }
        }
    }

    /// A credential that systemd hands to the unit (`LoadCredential=`, `LoadCredentialEncrypted=`).
    pub(super) fn credential(name: &str) -> Result<Self, String> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(format!("`{name}` is not the name of a credential"));
        }
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
            format!(
                "there is no credential {name}, as the daemon was not given any; add `LoadCredential={name}:FILE` to its unit"
            )
        })?;
        Self::file(PathBuf::from(folder).join(name))
    }

    /// A command: its program with an absolute path, and its arguments.
    pub(super) fn command(argv: Vec<String>) -> Result<Self, String> {
        match argv.first() {
            Some(program) if program.starts_with('/') => {}
            Some(program) => {
                return Err(format!(
                    "`{program}` is not an absolute path; it is started without a shell and without a search path"
                ));
            }
            None => return Err("the command is empty".to_owned()),
        }
        Ok(Self::Command(Arc::new(PasswordCommand {
            argv,
            answer: Mutex::default(),
        })))
    }

    /// The password as it is now; empty where the server asks for none.
    ///
    /// # Errors
    /// What failed, without a word of what a command printed.
    pub async fn read(&self) -> Result<Secret, String> {
        match self {
            Self::None => Ok(Secret::new(String::new())),
            Self::File(path) => secret::read(path),
            Self::Environment(secret) => Ok(secret.clone()),
            Self::Command(command) => command.ask().await,
            Self::Kept(kept) => {
                let KeptPassword { keeper, login } = kept.clone();
                tokio::task::spawn_blocking(move || keeper.password(&login))
                    .await
                    .map_err(|error| error.to_string())?
            }
        }
    }

    /// The server did not take the password: what was kept of it is of no use.
    pub fn refused(&self) {
        match self {
            Self::Command(command) => {
                *command
                    .answer
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = None;
            }
            Self::Kept(kept) => kept.keeper.refused(&kept.login),
            Self::None | Self::File(_) | Self::Environment(_) => {}
        }
    }

    /// The same password, asked of a process that keeps it.
    pub(super) fn kept_by(&mut self, keeper: &Arc<dyn PasswordKeeper>, login: LoginName) {
        match self {
            Self::None => {}
            Self::File(_) | Self::Environment(_) | Self::Command(_) | Self::Kept(_) => {
                *self = Self::Kept(KeptPassword {
                    keeper: Arc::clone(keeper),
                    login,
                });
            }
        }
    }
}

impl PasswordCommand {
    async fn ask(&self) -> Result<Secret, String> {
        let kept = self
            .answer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some((at, secret)) = kept
            && at.elapsed() < KEPT
        {
            return Ok(secret);
        }
        let secret = tokio::time::timeout(PATIENCE, self.run())
            .await
            .map_err(|_elapsed| {
                format!(
                    "{} did not print a password in {} s",
                    self.program(),
                    PATIENCE.as_secs()
                )
            })??;
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), secret.clone()));
        Ok(secret)
    }

    fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    async fn run(&self) -> Result<Secret, String> {
        let program = self.program();
        let cannot = |error: std::io::Error| format!("cannot run {program}: {error}");
        let mut child = Command::new(program)
            .args(self.argv.iter().skip(1))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        let mut text = Zeroizing::new(String::new());
        if let Some(stdout) = child.stdout.take() {
            stdout
                .take(MAX_ANSWER)
                .read_to_string(&mut text)
                .await
                .map_err(cannot)?;
        }
        let status = child.wait().await.map_err(cannot)?;
        if !status.success() {
            return Err(format!(
                "{program} ended with {status}; run it as the daemon's user to see why"
            ));
        }
        let password = text.strip_suffix('\n').unwrap_or(&text);
        if password.is_empty() || password.contains(['\n', '\0']) {
            return Err(format!("{program} did not print one line with a password"));
        }
        Ok(Secret::new(password.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn command(script: &str) -> PasswordSource {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        PasswordSource::command(argv).unwrap()
    }

    #[tokio::test]
    async fn a_command_is_asked_once_until_the_server_refuses_its_answer() {
        let folder = tempfile::tempdir().unwrap();
        let count = folder.path().join("count");
        let source = command(&format!("echo x >> {0}; wc -l < {0}", count.display()));
        assert_eq!(source.read().await.unwrap().expose(), "1");
        assert_eq!(source.read().await.unwrap().expose(), "1");
        source.refused();
        assert_eq!(source.read().await.unwrap().expose(), "2");
    }

    #[tokio::test]
    async fn a_command_that_fails_or_prints_no_password_says_so_without_its_output() {
        for script in ["echo s3cret; exit 3", "true", "printf 'two\\ns3cret\\n'"] {
            let error = command(script).read().await.unwrap_err();
            assert!(error.contains("/bin/sh"), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn commands_have_an_absolute_path_and_credentials_a_plain_name() {
        assert!(PasswordSource::command(vec!["sh".to_owned()]).is_err());
        assert!(PasswordSource::command(Vec::new()).is_err());
        for name in ["", "../shadow", "a/b", ".hidden"] {
            assert!(PasswordSource::credential(name).is_err(), "{name}");
        }
    }

    #[tokio::test]
    async fn a_file_is_read_anew_for_each_login() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let write = |text: &str| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        };
        write("one\n");
        let source = PasswordSource::file(path.clone()).unwrap();
        assert_eq!(source.read().await.unwrap().expose(), "one");
        write("two\n");
        assert_eq!(source.read().await.unwrap().expose(), "two");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(source.read().await.is_err());
    }
}
