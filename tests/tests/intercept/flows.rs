//! H6: what flows to destinations that nobody named begin with.

use cordon::intercept::{BypassAttempt, Counter, RecogniseAction, Scope, Way};

use crate::{
    bytes::{self, Cut},
    rig::{Process, Rig, Server},
};

/// The client hears of it at once.
const ECONNABORTED: &str = "errno 103";
const ENOMEM: &str = "errno 12";

fn host(_: &std::path::Path) -> Scope {
    Scope::Host
}

/// Has `process` send this to `to`; gives what it reads then, and the report.
fn refused(rig: &Rig, process: &mut Process, to: &str, sent: &str) -> (String, BypassAttempt) {
    process.tell(&format!("flow {to} {sent}"));
    let attempt = rig.attempt();
    (process.answer(), attempt)
}

/// Each start-up, in pieces of each kind, over each family, is stopped before it is whole.
#[test]
fn h6_a_start_up_of_a_database_is_dropped_on_any_port_in_any_pieces() {
    let rig = Rig::new(host);
    let (mut job, id) = rig.job("job");
    let mut seen = 0;
    for (name, startup, way) in bytes::startups() {
        for cut in Cut::ALL {
            for family in 0..3 {
                let server = Server::start();
                let to = match family {
                    0 => server.v4().to_string(),
                    1 => server.v6().to_string(),
                    _ => server.mapped(),
                };
                let at = format!("{name} {cut:?} {to}");
                let (answer, attempt) = refused(&rig, &mut job, &to, &cut.apply(&startup));
                assert_eq!(answer, ECONNABORTED, "{at}");
                assert_eq!(attempt.way, way, "{at}");
                assert!(attempt.refused, "{at}");
                let conn = &attempt.conn;
                assert_eq!(
                    (conn.pid, conn.job_cgroup_id),
                    (job.pid(), Some(id)),
                    "{at}"
                );
                assert_eq!(conn.original.port(), server.port(), "{at}");
                seen += 1;
                assert_eq!(rig.count(Counter::FlowRefused), seen, "{at}");
                let received = server.received();
                assert!(received < startup.len(), "{at}: {received} bytes");
                if cut == Cut::Whole {
                    assert_eq!(received, 0, "{at}");
                }
            }
        }
    }
    assert_eq!(rig.count(Counter::FlowClean), 0);
    assert_eq!(rig.count(Counter::AttemptLost), 0);
}

#[test]
fn h6_an_urgent_byte_does_not_hide_a_start_up() {
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    let server = Server::start();
    let startup = bytes::startup(0x0003_0000);
    let to = server.v4().to_string();
    let (answer, attempt) = refused(
        &rig,
        &mut job,
        &to,
        &format!("!58,{}", bytes::hex(&startup)),
    );
    assert_eq!(answer, ECONNABORTED);
    assert_eq!(attempt.way, Way::Obscured);
    assert_eq!(rig.count(Counter::FlowRefused), 1);
}

#[test]
fn h6_what_other_protocols_begin_with_passes_whole_and_in_pieces() {
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    let mut passed = 0;
    for (name, hello) in bytes::others() {
        for cut in Cut::ALL {
            let server = Server::start();
            let answer = job.ask(&format!("flow {} {}", server.v4(), cut.apply(&hello)));
            assert!(answer.starts_with("said GOT"), "{name} {cut:?}: {answer}");
            server.wait(hello.len());
            passed += 1;
        }
    }
    assert_eq!(rig.count(Counter::FlowWatched), passed);
    assert_eq!(rig.count(Counter::FlowRefused), 0);
    assert!(rig.count(Counter::FlowClean) > 0);
    assert_eq!(rig.try_attempt(), None);
}

#[test]
fn h6_a_process_without_a_job_is_looked_at_in_the_scopes_cgroups_only() {
    let mut rig = Rig::stopped(|folder| {
        let runner = folder.join("runner");
        std::fs::create_dir(&runner).expect("the runner's cgroup");
        Scope::Cgroups(vec![runner])
    });
    rig.start();
    let startup = Cut::Whole.apply(&bytes::startup(0x0003_0000));
    let server = Server::start();
    let mut runner = rig.outsider("runner/listener");
    let to = server.v4().to_string();
    let (answer, attempt) = refused(&rig, &mut runner, &to, &startup);
    assert_eq!(answer, ECONNABORTED);
    assert_eq!(
        (attempt.conn.pid, attempt.conn.job_cgroup_id),
        (runner.pid(), None)
    );
    assert_eq!(server.received(), 0);

    let mut service = rig.outsider("service");
    assert!(
        service
            .ask(&format!("flow {to} {startup}"))
            .starts_with("said GOT")
    );
    assert_eq!(rig.count(Counter::FlowRefused), 1);
    assert_eq!(rig.count(Counter::FlowWatched), 1);
}

#[test]
fn h6_what_is_left_of_an_ended_job_is_looked_at() {
    let mut rig = Rig::stopped(host);
    let (parent, _) = rig.cgroup("jobs");
    rig.recognise(|recognise| recognise.cgroups.push(parent));
    rig.start();
    let (mut job, id) = rig.job("jobs/one");
    rig.interceptor()
        .remove_job(id)
        .expect("the end of the job");
    let server = Server::start();
    let startup = Cut::Whole.apply(&bytes::startup(0x0003_0000));
    let (answer, attempt) = refused(&rig, &mut job, &server.v4().to_string(), &startup);
    assert_eq!(answer, ECONNABORTED);
    assert_eq!(
        (attempt.conn.job_cgroup_id, attempt.conn.cgroup_id),
        (None, id)
    );
    assert_eq!(rig.count(Counter::FlowRefused), 1);
    assert_eq!(server.received(), 0);
}

#[test]
fn h6_exceptions_pass_by_port_and_by_address() {
    let mut rig = Rig::stopped(host);
    let (one, other) = (Server::start(), Server::start());
    let local = std::net::Ipv4Addr::LOCALHOST.into();
    rig.recognise(|recognise| {
        recognise.except = vec![(local, Some(one.port())), (one.v6().ip(), None)];
    });
    rig.start();
    let (mut job, _) = rig.job("job");
    let startup = Cut::Bytewise.apply(&bytes::startup(0x0003_0000));
    for to in [
        one.v4().to_string(),
        one.mapped(),
        one.v6().to_string(),
        other.v6().to_string(),
    ] {
        let answer = job.ask(&format!("flow {to} {startup}"));
        assert!(answer.starts_with("said GOT"), "{to}: {answer}");
    }
    assert_eq!(rig.count(Counter::FlowExcepted), 4);
    let (answer, _) = refused(&rig, &mut job, &other.v4().to_string(), &startup);
    assert_eq!(answer, ECONNABORTED);
}

#[test]
fn h6_a_job_may_use_a_database_that_it_runs_itself_and_no_other_jobs() {
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    let (mut other, _) = rig.job("other");
    // A server in the job, and one of its processes that dials it.
    let at = job.ask("serve").replace("ok ", "");
    let mut client = Process::start(Some(&rig.cgroup("job/below").0));
    let startup = Cut::Whole.apply(&bytes::startup(0x0003_0000));
    let answer = client.ask(&format!("flow {at} {startup}"));
    assert!(answer.starts_with("said GOT"), "{answer}");
    assert_eq!(rig.count(Counter::FlowExcepted), 1);
    let (answer, _) = refused(&rig, &mut other, &at, &startup);
    assert_eq!(answer, ECONNABORTED);
    assert_eq!(rig.count(Counter::FlowRefused), 1);
}

#[test]
fn h6_a_relay_in_the_job_is_stopped_where_it_goes_out() {
    let rig = Rig::new(host);
    let (mut relay, _) = rig.job("job");
    let mut client = Process::start(Some(&rig.cgroup("job/below").0));
    let server = Server::start();
    let at = relay
        .ask(&format!("relay {}", server.v4()))
        .replace("ok ", "");
    let startup = Cut::Whole.apply(&bytes::startup(0x0003_0000));
    client.tell(&format!("flow {at} {startup}"));
    let attempt = rig.attempt();
    assert_eq!(attempt.conn.pid, relay.pid(), "the relay's own connection");
    assert_eq!(client.answer(), "said", "it hangs up on its client");
    assert_eq!(server.received(), 0);
    assert_eq!(rig.count(Counter::FlowExcepted), 1);
    assert_eq!(rig.count(Counter::FlowRefused), 1);
}

#[test]
fn h6_a_start_up_on_an_accepted_connection_is_dropped() {
    let rig = Rig::new(host);
    let (mut job, id) = rig.job("job");
    // The other end dials the job, and would pass on what it hears.
    let at: std::net::SocketAddr = job
        .ask("serve-startup")
        .replace("ok ", "")
        .parse()
        .expect("an address");
    let mut outside = std::net::TcpStream::connect(at).expect("the job's server");
    let attempt = rig.attempt();
    assert_eq!((attempt.way, attempt.conn.pid), (Way::PostgresStartup, 0));
    assert_eq!(attempt.conn.job_cgroup_id, Some(id));
    let mut heard = Vec::new();
    let read = std::io::Read::read_to_end(&mut outside, &mut heard);
    assert!(read.is_err() && heard.is_empty(), "{read:?} {heard:?}");
    assert_eq!(rig.count(Counter::FlowJoined), 1);
    assert_eq!(rig.count(Counter::FlowRefused), 1);
}

#[test]
fn h6_a_socket_that_connected_before_it_came_into_the_job_is_judged_by_where_it_was_made() {
    let rig = Rig::new(host);
    let (path, id) = rig.cgroup("job");
    rig.interceptor().add_job(id).expect("the job");
    let server = Server::start();
    let startup = Cut::Whole.apply(&bytes::startup(0x0003_0000));
    // Made in the job, connected by it, used after it has left.
    let (mut job, _) = rig.job("job");
    assert_eq!(job.ask(&format!("open {}", server.v4())), "ok");
    job.enter(&rig.cgroup("elsewhere").0);
    assert_eq!(job.ask(&format!("send {startup}")), "ok");
    assert_eq!(rig.attempt().conn.job_cgroup_id, Some(id));
    assert_eq!(job.ask("finish"), ECONNABORTED);
    // Made and connected outside: nobody's in host scope but the host's.
    let mut process = rig.outsider("before");
    assert_eq!(process.ask(&format!("open {}", server.v4())), "ok");
    process.enter(&path);
    assert_eq!(process.ask(&format!("send {startup}")), "ok");
    assert_eq!(process.ask("finish"), "said GOT");
    assert_eq!(rig.count(Counter::FlowRefused), 1);
}

#[test]
fn h6_a_socket_used_again_is_looked_at_again() {
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    let server = Server::start();
    let startup = bytes::hex(&bytes::startup(0x0003_0000));
    job.tell(&format!(
        "flow-again {0} 474554202f204854 {0} {startup}",
        server.v4()
    ));
    let attempt = rig.attempt();
    assert_eq!(attempt.way, Way::PostgresStartup);
    assert_eq!(job.answer(), ECONNABORTED);
    assert_eq!(rig.count(Counter::FlowWatched), 2);
    assert_eq!(rig.count(Counter::FlowClean), 1);
    assert_eq!(server.received(), 8);
}

#[test]
fn h6_a_socket_that_is_bound_to_an_interface_is_dropped_and_ended() {
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    let server = Server::start();
    let startup = bytes::hex(&bytes::startup(0x0003_0000));
    for to in [
        server.v4().to_string(),
        server.v6().to_string(),
        server.mapped(),
    ] {
        assert_eq!(job.ask(&format!("open-on lo {to}")), "ok", "{to}");
        assert_eq!(job.ask(&format!("send {startup}")), "ok", "{to}");
        assert_eq!(rig.attempt().way, Way::PostgresStartup, "{to}");
        assert_eq!(job.ask("finish"), ECONNABORTED, "{to}");
    }
    assert_eq!(rig.count(Counter::FlowRefused), 3);
    assert_eq!(server.received(), 0);
}

/// What is known of a flow counts as the socket's memory, which its process can use up.
#[test]
fn h6_a_socket_that_can_hold_no_more_is_refused() {
    let rig = Rig::new(host);
    let (mut job, id) = rig.job("job");
    let server = Server::start();
    let startup = bytes::hex(&bytes::startup(0x0003_0000));
    for (tried, to) in [server.v4(), server.v6()].into_iter().enumerate() {
        assert_eq!(job.ask(&format!("flow-full {to} {startup}")), ENOMEM);
        let attempt = rig.attempt();
        assert_eq!((attempt.way, attempt.refused), (Way::Obscured, true));
        assert_eq!(attempt.conn.pid, job.pid());
        assert_eq!(attempt.destination(), Some(to));
        assert_eq!(rig.count(Counter::FlowNoStorage), tried as u64 + 1);
    }
    assert_eq!(server.accepted(), 0);
    assert_eq!(
        job.ask(&format!("flow-full {} {startup}", rig.db_v4())),
        ENOMEM
    );
    assert_eq!(rig.count(Counter::RefusedNoStorage), 1);
    assert_eq!(rig.db.accepted(), 0);

    // One that is accepted.
    let at: std::net::SocketAddr = job
        .ask("serve-startup-full")
        .replace("ok ", "")
        .parse()
        .expect("an address");
    let mut outside = std::net::TcpStream::connect(at).expect("the job's server");
    let attempt = rig.attempt();
    assert_eq!(
        (attempt.way, attempt.conn.job_cgroup_id),
        (Way::Obscured, Some(id))
    );
    let mut heard = Vec::new();
    let read = std::io::Read::read_to_end(&mut outside, &mut heard);
    assert!(read.is_err() && heard.is_empty(), "{read:?} {heard:?}");
    assert!(rig.count(Counter::FlowNoStorage) >= 3);
}

#[test]
fn h6_data_in_the_syn_and_mptcp_are_looked_at() {
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    let startup = bytes::hex(&bytes::startup(0x0003_0000));
    let mut refused = 0;
    let mptcp = std::fs::read_to_string("/proc/sys/net/mptcp/enabled");
    let mptcp = mptcp.is_ok_and(|enabled| enabled.trim() == "1");
    for flavour in ["fastopen", "mptcp"] {
        if flavour == "mptcp" && !mptcp {
            eprintln!("skipped: this kernel has no MPTCP");
            continue;
        }
        let server = Server::start();
        for to in [server.v4(), server.v6()] {
            job.tell(&format!("flow-{flavour} {to} {startup}"));
            assert_eq!(rig.attempt().way, Way::PostgresStartup, "{flavour} {to}");
            let answer = job.answer();
            assert!(answer.starts_with("errno"), "{flavour} {to}: {answer}");
            refused += 1;
            assert_eq!(rig.count(Counter::FlowRefused), refused, "{flavour} {to}");
        }
        assert_eq!(server.received(), 0, "{flavour}");
    }
}

#[test]
fn h6_what_is_only_reported_passes_and_what_is_off_is_not_looked_at() {
    let startup = Cut::Whole.apply(&bytes::startup(0x0003_0000));
    let server = Server::start();
    let mut rig = Rig::stopped(host);
    rig.recognise(|recognise| recognise.action = RecogniseAction::Report);
    rig.start();
    let (mut job, _) = rig.job("job");
    let flow = format!("flow {} {startup}", server.v4());
    assert!(job.ask(&flow).starts_with("said GOT"));
    let attempt = rig.attempt();
    assert_eq!(
        (attempt.way, attempt.refused),
        (Way::PostgresStartup, false)
    );
    assert_eq!(rig.count(Counter::FlowReported), 1);

    rig.stop();
    rig.recognise(|recognise| recognise.action = RecogniseAction::Off);
    rig.start();
    assert!(job.ask(&flow).starts_with("said GOT"));
    assert_eq!(rig.count(Counter::FlowWatched), 0);
    assert_eq!(rig.try_attempt(), None);
}

#[test]
fn h6_while_the_daemon_is_away_start_ups_are_dropped() {
    let mut rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    let server = Server::start();
    rig.stop();
    job.tell(&format!(
        "impatient-flow {} {}",
        server.v4(),
        bytes::hex(&bytes::startup(0x0003_0000))
    ));
    assert_eq!(
        job.answer(),
        "errno 11",
        "nobody ends the connection; the client gives up"
    );
    assert_eq!(server.received(), 0);
    assert_eq!(
        server.accepted(),
        1,
        "it was the second line that stopped it"
    );
}

#[test]
fn a_destination_that_is_protected_later_is_not_passed_by_a_flow_that_was_clean() {
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    let server = Server::start();
    assert_eq!(job.ask(&format!("open {}", server.v4())), "ok");
    assert_eq!(job.ask("send 474554202f"), "ok");
    server.wait(5);
    assert_eq!(rig.count(Counter::FlowClean), 1);
    rig.interceptor()
        .protect(&[server.v4()])
        .expect("protecting it");
    assert_eq!(job.ask("send 474554202f"), "ok");
    assert_eq!(rig.attempt().way, Way::StrayConnection);
    assert_eq!(job.ask("finish"), ECONNABORTED);
    assert_eq!(server.received(), 5);
    assert!(rig.count(Counter::DroppedPacket) >= 1);
}
