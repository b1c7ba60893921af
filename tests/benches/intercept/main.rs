//! What the programs in the kernel cost: `connect` to unprotected ports, and the packets of flows
//! that were judged. With and without them in alternating rounds of one run, as a job and as
//! somebody else on the host. `cargo xtask bench intercept`; needs root.

#[allow(
    dead_code,
    reason = "the rig of the tests, of which little is used here"
)]
#[path = "../../tests/intercept/bytes.rs"]
mod bytes;
#[allow(
    dead_code,
    reason = "the rig of the tests, of which little is used here"
)]
#[path = "../../tests/intercept/child.rs"]
mod child;
mod measure;
#[allow(
    dead_code,
    reason = "the rig of the tests, of which little is used here"
)]
#[path = "../../tests/intercept/rig.rs"]
mod rig;
#[allow(
    dead_code,
    reason = "the rig of the tests, of which little is used here"
)]
#[path = "../../tests/intercept/speak.rs"]
mod speak;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use aya::programs::loaded_programs;
use cordon::intercept::{Scope, detach_all};

use crate::rig::{Process, ROLE, Rig};

const ROUNDS: usize = 11;

/// What is measured, how often in a round, and in what it is shown.
const KINDS: [(&str, &str, u32, f64, &str); 4] = [
    ("tcp", "connect, TCP", 500, 1000.0, "µs"),
    ("udp", "connect, UDP", 20_000, 1.0, "ns"),
    ("ping-pong", "round trip of 128 bytes", 10_000, 1000.0, "µs"),
    ("bulk", "64 KiB sent", 4000, 1000.0, "µs"),
];

fn main() {
    if std::env::var_os(ROLE).is_some() {
        measure::serve().expect("the parent's commands");
        return;
    }
    let servers = measure::Servers::start().expect("servers on loopback");
    let mut rig = Rig::stopped(|_| Scope::Cgroups(Vec::new()));
    // By their own names: job and somebody else live as long as the bench does.
    let (job_path, id) = rig.cgroup("job");
    rig.set_live_jobs(&[id]);
    let mut job = Process::start(Some(&job_path));
    let mut other = rig.outsider("other");

    let mut table = vec![[Vec::new(), Vec::new(), Vec::new()]; KINDS.len()];
    for _ in 0..ROUNDS {
        // Without the programs, then with them, so that what changes on the host changes for both.
        for (row, (kind, _, count, _, _)) in table.iter_mut().zip(KINDS) {
            row[0].push(ask(&mut job, kind, count, &servers.at(kind)));
        }
        rig.start();
        for (row, (kind, _, count, _, _)) in table.iter_mut().zip(KINDS) {
            row[1].push(ask(&mut job, kind, count, &servers.at(kind)));
            row[2].push(ask(&mut other, kind, count, &servers.at(kind)));
        }
        rig.stop();
        detach_all(&rig.config().pin_dir).expect("taking the programs away");
    }

    println!(
        "processor time of the process, medians of {ROUNDS} rounds, each without and with the programs"
    );
    println!(
        "{:<26} {:>12} {:>14} {:>8} {:>14} {:>8}",
        "", "without", "in a job", "", "elsewhere", ""
    );
    for ((_, name, _, unit, sign), row) in KINDS.iter().zip(&mut table) {
        let [without, job, other] = row.each_mut().map(|values| median(values));
        println!(
            "{name:<26} {:>9.2} {sign} {:>11.2} {sign} {:>+7.1}% {:>11.2} {sign} {:>+7.1}%",
            without / unit,
            job / unit,
            (job / without - 1.0) * 100.0,
            other / unit,
            (other / without - 1.0) * 100.0,
        );
    }

    let before = programs().keys().copied().collect::<BTreeSet<u32>>();
    rig.start();
    let ours: BTreeSet<u32> = programs()
        .into_keys()
        .filter(|id| !before.contains(id))
        .collect();
    println!("\ntime in each program and run, the kernel's own clock included");
    // Slows the programs a little, so not while the rounds last.
    let _counting = aya::sys::enable_stats(aya::sys::Stats::RunTime).expect("statistics");
    for (name, process) in [("in a job", &mut job), ("elsewhere", &mut other)] {
        for (kind, what, count, _, _) in KINDS {
            let at = programs();
            ask(process, kind, count, &servers.at(kind));
            for (id, (program, time, runs)) in programs() {
                let Some((_, time_before, runs_before)) = at.get(&id) else {
                    continue;
                };
                let (time, runs) = (time - time_before, runs - runs_before);
                // Others on the host run through the programs too.
                if ours.contains(&id) && runs >= u64::from(count) / 2 {
                    println!("{name:<10} {what:<26} {program:<18} {:>6} ns", time / runs);
                }
            }
        }
    }
}

/// Name, nanoseconds and runs of each program that is loaded.
fn programs() -> BTreeMap<u32, (String, u64, u64)> {
    loaded_programs()
        .filter_map(Result::ok)
        .map(|info| {
            let name = info.name_as_str().unwrap_or_default().to_owned();
            let nanos = u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX);
            (info.id(), (name, nanos, info.run_count()))
        })
        .collect()
}

/// Nanoseconds for one.
fn ask(process: &mut Process, kind: &str, count: u32, to: &SocketAddr) -> f64 {
    let answer = process.ask(&format!("{kind} {count} {to}"));
    let nanos: f64 = answer
        .parse()
        .unwrap_or_else(|_| panic!("{kind}: {answer}"));
    nanos / f64::from(count)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
