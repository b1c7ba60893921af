//! Reads the catalog of a running database: through the daemon, which holds its credentials, or
//! over a connection of the command's own.

use std::{
    env, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, anyhow, bail, ensure};
use reqwest::Url;
use zeroize::Zeroizing;

use crate::{
    admin::rfc3339,
    config::{Login, PasswordSource, Secret, read_roots, system_roots},
    protocol::postgres::{ask::ask, backend::Destination},
    sql::{CATALOG_QUERIES, NAMESPACE_SQL, SavedCatalog},
    transport::UpstreamTls,
    upstream::{self, Admin},
};

/// Reads the catalog at a destination. Nothing but the system catalog is read, in one read-only
/// snapshot.
///
/// # Errors
/// If the database cannot be reached, refuses, or is none that Cordon knows.
pub async fn read(destination: &Destination<'_>, database: &str) -> anyhow::Result<SavedCatalog> {
    let queries: Vec<&str> = std::iter::once(NAMESPACE_SQL)
        .chain(CATALOG_QUERIES.iter().copied())
        .collect();
    let mut answers = ask(destination, &queries)
        .await
        .context("the catalog cannot be read")?;
    let namespace = if answers.rows.is_empty() {
        None
    } else {
        answers.rows.remove(0).pop()
    };
    SavedCatalog::new(
        database.to_owned(),
        answers.server,
        rfc3339(SystemTime::now()),
        namespace.context("the search path cannot be read")?,
        answers.rows,
    )
    .context("the catalog cannot be read")
}

/// Start-up parameters of connections that read catalogs.
pub fn parameters() -> [(String, String); 3] {
    [
        ("application_name", "cordon policy"),
        ("client_encoding", "UTF8"),
        ("default_transaction_read_only", "on"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// Reads the catalog at `postgres://user@host:port/database?sslmode=..&sslrootcert=..`.
///
/// # Errors
/// If the address is not one, or the database cannot be reached.
pub async fn connect(url: &str, name: Option<&str>) -> anyhow::Result<SavedCatalog> {
    let server = Server::parse(url)?;
    let password = server.password()?;
    let upstream = server.resolve().await?;
    let destination = Destination {
        address: &upstream.address,
        host: &upstream.host,
        tls: upstream.tls.as_ref(),
        database: &upstream.dbname,
        user: &server.user,
        password: password.as_bytes(),
        parameters: &parameters(),
    };
    read(&destination, name.unwrap_or(&server.database)).await
}

/// Who administers the database at such an address.
///
/// # Errors
/// If the address is not one.
pub async fn admin(url: &str) -> anyhow::Result<Admin> {
    let server = Server::parse(url)?;
    let password = match server.password()? {
        empty if empty.is_empty() => PasswordSource::None,
        password => PasswordSource::Environment(Secret::new(password.to_string())),
    };
    let login = Login {
        user: server.user.clone(),
        password,
    };
    Ok(Admin::new(server.resolve().await?, login))
}

#[derive(Debug, PartialEq, Eq)]
enum Tls {
    VerifyFull(Option<PathBuf>),
    Require,
    Disable,
}

#[derive(Debug, PartialEq, Eq)]
struct Server {
    host: String,
    port: u16,
    database: String,
    user: String,
    tls: Tls,
}

impl Server {
    /// Where it is.
    async fn resolve(&self) -> anyhow::Result<upstream::Server> {
        let address = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .with_context(|| format!("the host {} cannot be found", self.host))?
            .next()
            .with_context(|| format!("the host {} has no address", self.host))?;
        let tls = match &self.tls {
            Tls::VerifyFull(None) => {
                let roots = system_roots().map_err(|error| anyhow!(error))?;
                Some(UpstreamTls::verified(rustls::RootCertStore::clone(&roots))?)
            }
            Tls::VerifyFull(Some(file)) => {
                let roots = read_roots(file).map_err(|error| anyhow!(error))?;
                Some(UpstreamTls::verified(rustls::RootCertStore::clone(&roots))?)
            }
            Tls::Require => Some(UpstreamTls::unverified()?),
            Tls::Disable => None,
        };
        Ok(upstream::Server {
            address: address.into(),
            host: self.host.clone(),
            tls,
            dbname: self.database.clone(),
        })
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        const SHAPE: &str = "write postgres://user@host:port/database?sslmode=verify-full";
        let url = Url::parse(text).with_context(|| format!("this is no address; {SHAPE}"))?;
        ensure!(
            matches!(url.scheme(), "postgres" | "postgresql"),
            "the address begins with `{}:`; {SHAPE}",
            url.scheme()
        );
        ensure!(
            url.password().is_none(),
            "a password in an argument can be read by every user of this host; put it into PGPASSWORD or ~/.pgpass"
        );
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .with_context(|| format!("the address names no host; {SHAPE}"))?;
        let user = decoded(url.username())?;
        ensure!(!user.is_empty(), "the address names no user; {SHAPE}");
        let database = decoded(url.path().trim_start_matches('/'))?;
        ensure!(
            !database.is_empty() && !database.contains('/'),
            "the address names no database; {SHAPE}"
        );
        let mut mode = "verify-full".to_owned();
        let mut root = None;
        for (key, value) in url.query_pairs() {
            match key.as_ref() {
                "sslmode" => mode = value.into_owned(),
                "sslrootcert" if value == "system" => root = None,
                "sslrootcert" => root = Some(PathBuf::from(value.as_ref())),
                other => {
                    bail!("the parameter `{other}` is not known here; known: sslmode, sslrootcert")
                }
            }
        }
        let tls = match mode.as_str() {
            "verify-full" => Tls::VerifyFull(root),
            "require" => Tls::Require,
            "disable" => Tls::Disable,
            other => bail!(
                "sslmode={other} is not offered; write verify-full (the default), require (encrypts, verifies nothing) or disable"
            ),
        };
        Ok(Self {
            // An IPv6 address stands in brackets in a URL only.
            host: decoded(host.trim_start_matches('[').trim_end_matches(']'))?,
            port: url.port().unwrap_or(5432),
            database,
            user,
            tls,
        })
    }

    /// From PGPASSWORD, or the file that libpq would take it from; empty if there is none.
    fn password(&self) -> anyhow::Result<Zeroizing<String>> {
        if let Ok(password) = env::var("PGPASSWORD") {
            return Ok(Zeroizing::new(password));
        }
        let file = env::var_os("PGPASSFILE")
            .map(PathBuf::from)
            .or_else(|| env::home_dir().map(|home| home.join(".pgpass")));
        match file {
            Some(file) if file.is_file() => self.password_in(&file),
            Some(_) | None => Ok(Zeroizing::default()),
        }
    }

    fn password_in(&self, file: &Path) -> anyhow::Result<Zeroizing<String>> {
        let cannot = || format!("the password file {} cannot be read", file.display());
        // The lowest six bits are the rights of the group and of others.
        let mode = fs::metadata(file).with_context(cannot)?.mode();
        ensure!(
            mode.trailing_zeros() >= 6,
            "other users have access to the password file {0}; run `chmod 0600 {0}`",
            file.display()
        );
        let text = Zeroizing::new(fs::read_to_string(file).with_context(cannot)?);
        let port = self.port.to_string();
        let wanted = [&self.host, &port, &self.database, &self.user];
        let line = text.lines().find_map(|line| {
            let fields = fields(line)?;
            let (last, first) = fields.split_last()?;
            let fits = first.len() == wanted.len()
                && first
                    .iter()
                    .zip(wanted)
                    .all(|(field, wanted)| field.as_str() == "*" || field.as_str() == wanted);
            fits.then(|| last.clone())
        });
        Ok(line.unwrap_or_default())
    }
}

/// The fields of a line of a password file: colons between, backslashes before what is meant as
/// it stands.
fn fields(line: &str) -> Option<Vec<Zeroizing<String>>> {
    if line.starts_with('#') || line.is_empty() {
        return None;
    }
    let mut fields = vec![Zeroizing::new(String::new())];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            // Colons in the password itself need no backslash.
            ':' if fields.len() < 5 => fields.push(Zeroizing::default()),
            '\\' => fields.last_mut()?.push(chars.next()?),
            c => fields.last_mut()?.push(c),
        }
    }
    Some(fields)
}

/// A part of a URL without its percent signs.
fn decoded(part: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = rest
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .with_context(|| format!("`{part}` has a % that two hex digits do not follow"))?;
        bytes.push(digits);
        rest = rest.get(2..).unwrap_or_default();
    }
    String::from_utf8(bytes).with_context(|| format!("`{part}` is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_address_is_read_and_verified_by_default() {
        let server =
            Server::parse("postgres://ann%40x@db.internal:6543/my%20shop").expect("an address");
        assert_eq!(
            (server.host.as_str(), server.port, server.database.as_str()),
            ("db.internal", 6543, "my shop")
        );
        assert_eq!(
            (server.user.as_str(), &server.tls),
            ("ann@x", &Tls::VerifyFull(None))
        );
        let server =
            Server::parse("postgresql://a@[::1]/d?sslmode=verify-full&sslrootcert=/etc/ca.pem")
                .expect("an address");
        assert_eq!((server.host.as_str(), server.port), ("::1", 5432));
        assert_eq!(server.tls, Tls::VerifyFull(Some("/etc/ca.pem".into())));
        let server = Server::parse("postgres://a@h/d?sslmode=disable").expect("an address");
        assert_eq!(server.tls, Tls::Disable);
    }

    #[test]
    fn what_is_no_address_or_tells_a_password_is_refused() {
        for (text, why) in [
            ("shop", "no address"),
            ("mysql://a@h/d", "begins with"),
            ("postgres://a:secret@h/d", "PGPASSWORD"),
            ("postgres://h/d", "no user"),
            ("postgres://a@h", "no database"),
            ("postgres://a@h/d?sslmode=prefer", "not offered"),
            ("postgres://a@h/d?options=-c", "not known here"),
            ("postgres://a%zz@h/d", "hex digits"),
        ] {
            let error = Server::parse(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_password_file_is_read_as_libpq_reads_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pgpass");
        let text = "# of the tests\nother:*:*:*:no\nh:5432:d:a\\:b:pa\\\\ss:word\n*:*:*:*:last\n";
        fs::write(&file, text).expect("writable");
        let server = |text: &str| Server::parse(text).expect("an address");
        let mode = |mode| {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("permissions");
        };
        mode(0o600);
        let found = |text: &str| {
            server(text)
                .password_in(&file)
                .expect("readable")
                .to_string()
        };
        assert_eq!(found("postgres://a%3Ab@h/d"), "pa\\ss:word");
        assert_eq!(found("postgres://c@h/d"), "last");
        mode(0o644);
        let error = server("postgres://c@h/d")
            .password_in(&file)
            .expect_err("open to others");
        assert!(error.to_string().contains("chmod 0600"), "{error}");
    }
}
