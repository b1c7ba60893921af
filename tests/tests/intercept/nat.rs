//! The host's own NAT, as for containers' published ports and services of a cluster: a packet goes
//! elsewhere than its socket is connected to. In a network namespace of its own, with the rules.

use std::process::{Command, Stdio};

use cordon::intercept::{Counter, Scope, Way};

use crate::{
    bytes::{self, Cut},
    rig::{Rig, Server},
};

const INSIDE: &str = "CORDON_INTERCEPT_TEST_NAT";
const ECONNABORTED: &str = "errno 103";

/// Whether this is the process inside; otherwise runs `test` there.
fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        run("ip", &["link", "set", "lo", "up"], "");
        return true;
    }
    let exe = std::env::current_exe().expect("this binary");
    let status = Command::new("unshare")
        .arg("--net")
        .arg(exe)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare of util-linux");
    assert!(status.success(), "inside: {status}");
    false
}

fn run(program: &str, args: &[&str], input: &str) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut pipe = child.stdin.take().expect("its input");
    std::io::Write::write_all(&mut pipe, input.as_bytes()).expect("its input");
    drop(pipe);
    let status = child.wait().expect("its end");
    assert!(status.success(), "{program} {args:?}: {status}");
}

/// What is sent to port `from` of this host goes to port `to`.
fn redirect(from: u16, to: u16) {
    let rules = ["ip", "ip6"].map(|family| {
        format!(
            "table {family} cordon_test_{from} {{
                chain output {{
                    type nat hook output priority -100;
                    tcp dport {from} redirect to :{to}
                }}
            }}
            "
        )
    });
    run("nft", &["-f", "-"], &rules.concat());
}

fn host(_: &std::path::Path) -> Scope {
    Scope::Host
}

#[test]
fn h1_an_address_that_the_hosts_nat_makes_a_protected_one_is_no_way_round() {
    if !is_inside("nat::h1_an_address_that_the_hosts_nat_makes_a_protected_one_is_no_way_round") {
        return;
    }
    let rig = Rig::new(host);
    let (mut job, id) = rig.job("job");
    redirect(7777, rig.db.port);
    let database = [rig.db_v4(), rig.db_v6(), rig.db_v4()];
    let ways = ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"];
    for (to, database) in ways.iter().zip(database) {
        let to = format!("{to}:7777");
        job.tell(&format!("connect plain {to}"));
        let attempt = rig.attempt();
        assert_eq!(attempt.way, Way::StrayConnection, "{to}");
        assert_eq!(attempt.destination(), Some(database), "{to}");
        assert_eq!(
            (attempt.conn.pid, attempt.conn.job_cgroup_id),
            (job.pid(), Some(id)),
            "{to}"
        );
        assert_eq!(job.answer(), ECONNABORTED, "{to}");
    }
    assert!(rig.count(Counter::DroppedPacket) >= 3);
    assert_eq!(rig.db.accepted(), 0);

    // A socket older than the programs.
    let mut rig = rig;
    rig.stop();
    cordon::intercept::detach_all(&rig.config().pin_dir).expect("taking the programs away");
    let answer = job.ask("hold 127.0.0.1:7777");
    assert!(answer.starts_with("DB"), "{answer}");
    assert_eq!(job.ask("write first"), "ok");
    rig.db.wait(5);
    rig.set_live_jobs(&[id]);
    rig.start();
    assert_eq!(job.ask("write second"), "ok");
    assert_eq!(rig.attempt().way, Way::StrayConnection);
    assert_eq!(job.ask("finish"), ECONNABORTED);
    assert_eq!(rig.db.received(), 5);
}

#[test]
fn h6_a_start_up_behind_the_hosts_nat_is_dropped_and_its_connection_ended() {
    if !is_inside("nat::h6_a_start_up_behind_the_hosts_nat_is_dropped_and_its_connection_ended") {
        return;
    }
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    let server = Server::start();
    redirect(7778, server.port());
    for cut in Cut::ALL {
        for to in ["127.0.0.1:7778", "[::1]:7778"] {
            let startup = cut.apply(&bytes::startup(0x0003_0000));
            job.tell(&format!("flow {to} {startup}"));
            let attempt = rig.attempt();
            assert_eq!(attempt.way, Way::PostgresStartup, "{cut:?} {to}");
            assert_eq!(attempt.conn.original.port(), server.port(), "{cut:?} {to}");
            assert_eq!(job.answer(), ECONNABORTED, "{cut:?} {to}");
        }
    }
    assert_eq!(rig.count(Counter::FlowRefused), 2 * Cut::ALL.len() as u64);
}
