//! The databases, as the daemon reaches them: nobody else may.

use super::{super::client, finding::Finding};
use crate::{
    admin::{DatabaseCheckView, Request, Response},
    config::{Config, TlsMode},
};

const AREA: &str = "databases";

/// Has the daemon log in everywhere.
pub fn check(config: &Config, daemon: bool) -> Vec<Finding> {
    let mut findings: Vec<Finding> = config
        .databases
        .iter()
        .filter_map(|database| {
            let (seen, mend) = match database.tls {
                TlsMode::VerifyFull => return None,
                TlsMode::Require => (
                    "`tls: require`: anybody could answer in the database's place",
                    "use `tls: verify-full`, with `ca_file` if the server's authority is your own",
                ),
                TlsMode::Disable => (
                    "`tls: disable`: statements and results travel in the clear",
                    "use `tls: verify-full`, unless the database is on this host",
                ),
            };
            Some(Finding::warning(
                AREA,
                format!("{} TLS", database.name),
                seen,
                mend,
            ))
        })
        .collect();
    if !daemon {
        findings.push(Finding::skipped(
            AREA,
            "logins",
            "the daemon does not answer, and nobody else may reach the databases",
        ));
        return findings;
    }
    match client::ask(&config.control_socket(), &Request::CheckDatabases) {
        Ok(Response::DatabaseChecks { checks }) => findings.extend(checks.into_iter().map(one)),
        Ok(_) => findings.push(Finding::skipped(
            AREA,
            "logins",
            client::unexpected().to_string(),
        )),
        Err(error) => findings.push(Finding::skipped(AREA, "logins", format!("{error:#}"))),
    }
    findings
}

fn one(check: DatabaseCheckView) -> Finding {
    let DatabaseCheckView {
        database,
        user,
        admin,
        error,
        version,
        verified,
    } = check;
    let role = if admin { "admin" } else { "login" };
    let name = format!("{database} {role} {user}");
    match error {
        None => {
            let server =
                version.map_or(String::new(), |version| format!(" at PostgreSQL {version}"));
            let tls = if verified {
                ", certificate verified"
            } else {
                ""
            };
            Finding::ok(AREA, name, format!("logged in{server}{tls}"))
        }
        Some(error) => Finding::problem(
            AREA,
            name,
            error,
            "check `address`, `tls`, `ca_file` and the password in the configuration, and that the server (pg_hba.conf, firewalls) lets this host in",
        ),
    }
}
