//! What the policy tools are given: a policy, a catalog.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail, ensure};
use clap::Args;

use crate::{
    admin::{Request, Response},
    cli::{
        catalog,
        client::{self, ControlArgs, runtime},
        fit::load_policy,
    },
    config::{Config, DEFAULT_PATH},
    policy::Policy,
    session::OpenCatalog,
    sql::SavedCatalog,
};

/// Larger files are no catalogs.
const MAX_CATALOG: u64 = 256 << 20;

/// Where the policy is.
#[derive(Args, Clone, Debug)]
pub struct PolicyFolder {
    /// The policy's folder; default: that of the configuration, whose names are checked too.
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
}

impl PolicyFolder {
    /// Loads the policy.
    pub fn load(&self) -> anyhow::Result<Arc<Policy>> {
        let policy = match &self.dir {
            Some(dir) => Policy::load(dir)?,
            None => load_policy(&Config::load(&self.config)?)?,
        };
        Ok(Arc::new(policy))
    }
}

/// Where the catalog of a database is taken from.
#[derive(Args, Clone, Debug)]
pub struct CatalogSource {
    /// A catalog saved by `cordon policy catalog --save`; several for several databases.
    #[arg(long, value_name = "FILE", conflicts_with = "connect")]
    catalog: Vec<PathBuf>,
    /// Read it from a running database: postgres://user@host:port/database; the password is taken
    /// from PGPASSWORD or ~/.pgpass. Default: the daemon reads it.
    #[arg(long, value_name = "URL")]
    connect: Option<String>,
    #[command(flatten)]
    control: ControlArgs,
}

impl CatalogSource {
    /// True if a source is named, so that it is not the daemon by default.
    pub fn is_given(&self) -> bool {
        self.connect.is_some() || !self.catalog.is_empty()
    }

    /// The catalog of a database, as policies name it, read with `login` where it is read now.
    pub fn open(&self, database: &str, login: Option<&str>) -> anyhow::Result<OpenCatalog> {
        let (saved, from) = self.saved(database, login)?;
        open(&saved, from, login)
    }

    fn saved(&self, database: &str, login: Option<&str>) -> anyhow::Result<(SavedCatalog, String)> {
        if let Some(url) = &self.connect {
            let saved = runtime()?.block_on(catalog::connect(url, Some(database)))?;
            return Ok((saved, format!("database {database}")));
        }
        if self.catalog.is_empty() {
            let saved = through_daemon(&self.control.control, database, login).context(
                "no catalog is given (--catalog FILE or --connect URL), and the daemon cannot read it",
            )?;
            return Ok((saved, format!("database {database}, by the daemon")));
        }
        let mut files = Vec::new();
        for file in &self.catalog {
            files.push((load(file)?, file.display().to_string()));
        }
        if let [_only] = files.as_slice() {
            return files.pop().context("one file");
        }
        match files
            .into_iter()
            .find(|(saved, _)| saved.database == database)
        {
            Some(found) => Ok(found),
            None => bail!("none of the catalogs given is of the database {database}"),
        }
    }
}

/// Asks the daemon for the catalog of a protected database.
pub fn through_daemon(
    control: &Path,
    database: &str,
    login: Option<&str>,
) -> anyhow::Result<SavedCatalog> {
    let request = Request::Catalog {
        database: database.to_owned(),
        login: login.map(str::to_owned),
    };
    match client::ask(control, &request)? {
        Response::Catalog(saved) => Ok(*saved),
        Response::Done
        | Response::Job(_)
        | Response::Jobs { .. }
        | Response::Approvals { .. }
        | Response::Requests { .. }
        | Response::Status(_)
        | Response::DatabaseChecks { .. }
        | Response::EvidenceKey { .. }
        | Response::Error { .. } => Err(client::unexpected()),
    }
}

/// Reads a saved catalog.
pub fn load(file: &Path) -> anyhow::Result<SavedCatalog> {
    let cannot = || format!("the catalog {} cannot be used", file.display());
    let size = fs::metadata(file).with_context(cannot)?.len();
    ensure!(
        size <= MAX_CATALOG,
        "the catalog {} is larger than {} MiB",
        file.display(),
        MAX_CATALOG >> 20
    );
    let text = fs::read_to_string(file).with_context(cannot)?;
    SavedCatalog::parse(&text).with_context(cannot)
}

/// Makes a saved catalog ready for use; `login`: whose session it is to be.
pub fn open(
    saved: &SavedCatalog,
    from: String,
    login: Option<&str>,
) -> anyhow::Result<OpenCatalog> {
    let unusable = format!("the catalog of {from} cannot be used");
    OpenCatalog::open(saved, from, login).context(unusable)
}
