//! The programs in the kernel: whether they are there, and what a connect meets.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{
    dial::{self, Answer},
    finding::Finding,
};
use crate::{
    config::Config,
    intercept::{self, Attachment},
};

const AREA: &str = "programs";

/// Looks at the programs, then dials every protected address from outside of the gateway.
pub fn check(config: &Config, daemon: bool) -> Vec<Finding> {
    let attached = attached(config);
    let mut findings = vec![attached];
    let mut addresses: BTreeMap<SocketAddr, &str> = BTreeMap::new();
    for database in &config.databases {
        for address in database.addresses() {
            addresses.entry(address).or_insert(&database.dbname);
        }
    }
    findings.extend(
        addresses
            .into_iter()
            .map(|(address, dbname)| connect(config, address, dbname, daemon)),
    );
    findings
}

fn attached(config: &Config) -> Finding {
    let check = "attached";
    let mend = "restart the daemon: it attaches what is missing. If they go again, somebody with root removes them";
    let programs = match intercept::attachments(&config.intercept.pin_dir) {
        Ok(programs) => programs,
        Err(error) => {
            return Finding::problem(
                AREA,
                check,
                format!("{:#}", anyhow::Error::from(error)),
                mend,
            );
        }
    };
    let bad: Vec<String> = programs
        .iter()
        .filter_map(|(name, attachment)| match attachment {
            Attachment::Attached => None,
            Attachment::Detached => Some(format!("{name} is detached")),
            Attachment::Missing => Some(format!("{name} is missing")),
        })
        .collect();
    if bad.is_empty() {
        Finding::ok(
            AREA,
            check,
            format!("all {}, at the cgroup root", programs.len()),
        )
    } else {
        Finding::problem(AREA, check, bad.join(", "), mend)
    }
}

fn connect(config: &Config, address: SocketAddr, dbname: &str, daemon: bool) -> Finding {
    let check = format!("connect to {address}");
    let away = "connects pass the programs: see `attached` above; close the database to this host until they are back";
    let (pid, answer) = match dial::outside(config, address, dbname) {
        Ok(dialled) => dialled,
        Err(error) => return Finding::skipped(AREA, check, format!("{error:#}")),
    };
    match (answer, daemon) {
        // The refusal names the process: the kernel's evidence of this very connect.
        (Answer::Error { message, .. }, _) if message.contains(&format!("process {pid} (")) => {
            Finding::ok(
                AREA,
                check,
                "a process without a job was redirected, and refused by Cordon",
            )
        }
        (Answer::Error { code, message }, _) => Finding::problem(
            AREA,
            check,
            format!("the database itself answered a process without a job: {code} {message}"),
            away,
        ),
        (Answer::Other { tag }, _) => Finding::problem(
            AREA,
            check,
            format!("the database itself answered a process without a job (message `{tag}`)"),
            away,
        ),
        (Answer::Refused { error }, false) => Finding::ok(
            AREA,
            check,
            format!("refused while the daemon is away: {error}"),
        ),
        (Answer::Refused { error }, true) => Finding::problem(
            AREA,
            check,
            format!("refused, and not by Cordon's proxy: {error}"),
            "the daemon runs, but the programs do not know its listener: restart the daemon; is there a second one with another `pin_dir`?",
        ),
        (Answer::Silence, _) => Finding::problem(
            AREA,
            check,
            "no answer in time",
            "packets are dropped: an earlier program is still attached, or a firewall is in the way. `bpftool cgroup tree` shows what is attached",
        ),
        (Answer::Closed, _) => Finding::problem(
            AREA,
            check,
            "the connection was closed without an answer",
            "look into the daemon's log: the kernel's evidence of the connection did not reach it, or something else listens there",
        ),
    }
}
