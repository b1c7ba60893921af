//! What else a job can reach on this host: database sockets, container engines, groups that are as
//! good as root.

use super::{
    finding::Finding,
    runners::{self, Runner},
    sockets::{self, Kind},
};
use crate::config::Config;

const AREA: &str = "reach";

/// Looks at all of it.
pub fn check(config: &Config) -> Vec<Finding> {
    let runners = match runners::of(config) {
        Ok(runners) => runners,
        Err(error) => return vec![Finding::skipped(AREA, "runners", error)],
    };
    let mut findings: Vec<Finding> = runners.iter().map(standing).collect();
    let protected: Vec<u16> = config
        .addresses()
        .iter()
        .map(std::net::SocketAddr::port)
        .collect();
    let mut reached = 0;
    for (path, kind) in sockets::listening() {
        let who: Vec<&str> = runners
            .iter()
            .filter(|runner| sockets::reaches(runner, &path))
            .map(|runner| runner.name.as_str())
            .collect();
        if who.is_empty() {
            continue;
        }
        reached += 1;
        let check = path.display().to_string();
        let seen = format!("{} can connect", who.join(", "));
        findings.push(match kind {
            Kind::Engine => Finding::problem(
                AREA,
                check,
                format!("a container engine's socket: {seen}"),
                "whoever has it is root: take the runner out of the socket's group, use a rootless engine",
            ),
            Kind::Postgres(port) if protected.contains(&port) => Finding::problem(
                AREA,
                check,
                format!("a socket of a server at a protected port, which no program sees: {seen}"),
                "set `unix_socket_directories` or `unix_socket_permissions` of the server so that jobs cannot reach it",
            ),
            Kind::Postgres(_) | Kind::Mysql => Finding::warning(
                AREA,
                check,
                format!("a database's socket: {seen}"),
                "if it is a protected database's, close it to the runner: Unix sockets are not intercepted",
            ),
        });
    }
    if reached == 0 {
        findings.push(Finding::ok(
            AREA,
            "sockets",
            "no database's and no container engine's socket is in reach",
        ));
    }
    findings
}

fn standing(runner: &Runner) -> Finding {
    let check = format!("runner {}", runner.name);
    if runner.uid == 0 {
        return Finding::problem(
            AREA,
            check,
            "jobs run as root",
            "run the runner's service as a user of its own: root can take the programs out of the kernel",
        );
    }
    let strong = runner.strong_groups();
    if strong.is_empty() {
        return Finding::ok(AREA, check, "no root, and in no group that is as good");
    }
    Finding::problem(
        AREA,
        check,
        format!("in group {}", strong.join(", ")),
        format!(
            "membership is as good as root: `gpasswd -d {} {}`",
            runner.name,
            strong.first().copied().unwrap_or_default()
        ),
    )
}
