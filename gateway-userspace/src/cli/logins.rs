//! Whether the daemon can log in at the databases, for `cordon doctor`.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::{
    admin::DatabaseCheckView,
    config::{self, Config, TlsMode},
    protocol::postgres::{
        Database,
        backend::{self, BackendError, Destination},
    },
    upstream::{Admin, Server},
};

/// Logs in with every login and every admin, all at once.
pub async fn check(config: &Config, databases: &[Arc<Database>]) -> Vec<DatabaseCheckView> {
    let mut checks: Vec<std::pin::Pin<Box<dyn Future<Output = DatabaseCheckView> + Send>>> =
        Vec::new();
    for known in &config.databases {
        let Some(database) = databases.iter().find(|served| served.name == known.name) else {
            continue;
        };
        for user in known.logins.keys() {
            checks.push(Box::pin(login(known, database, user)));
        }
        if let Some(admin) = &known.admin {
            checks.push(Box::pin(admin_login(known, database, admin)));
        }
    }
    join_all(checks).await
}

async fn login(known: &config::Database, database: &Database, user: &str) -> DatabaseCheckView {
    let attempt = async {
        let credential = database
            .logins
            .credential(user, &database.name)
            .await
            .map_err(BackendError::Credential)?;
        let destination = Destination {
            address: &database.address,
            host: &database.host,
            tls: database.tls.as_ref(),
            database: &database.dbname,
            user,
            password: &credential.password,
            parameters: &[("application_name".to_owned(), "cordon doctor".to_owned())],
        };
        backend::connect(&destination).await
    };
    let (error, version) = match attempt.await {
        Ok(backend) => {
            let version = backend.parameters.get(b"server_version".as_slice());
            (
                None,
                version.map(|version| String::from_utf8_lossy(version).into_owned()),
            )
        }
        Err(error) => (Some(format!("{:#}", anyhow::Error::from(error))), None),
    };
    view(known, user, false, error, version)
}

async fn admin_login(
    known: &config::Database,
    database: &Database,
    admin: &config::Admin,
) -> DatabaseCheckView {
    let server = Server {
        address: database.address.clone(),
        host: database.host.clone(),
        tls: database.tls.clone(),
        dbname: database.dbname.clone(),
    };
    let outcome = Admin::new(server, admin.login.clone()).connect().await;
    let error = outcome
        .err()
        .map(|error| format!("{:#}", anyhow::Error::from(error)));
    view(known, &admin.login.user, true, error, None)
}

fn view(
    known: &config::Database,
    user: &str,
    admin: bool,
    error: Option<String>,
    version: Option<String>,
) -> DatabaseCheckView {
    let verified = match known.tls {
        TlsMode::VerifyFull => error.is_none(),
        TlsMode::Require | TlsMode::Disable => false,
    };
    DatabaseCheckView {
        database: known.name.clone(),
        user: user.to_owned(),
        admin,
        error,
        version,
        verified,
    }
}
