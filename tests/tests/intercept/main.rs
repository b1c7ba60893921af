//! The kernel side, proven with real programs, cgroups, processes and sockets. Needs root.
//!
//! Every test also looks at a counter of the programs, so that none passes because a hook did not
//! run.

mod bytes;
mod child;
mod flows;
mod nat;
mod rig;
mod speak;

use cordon::intercept::{Claim, Counter, InterceptError, Interceptor, Scope, Way};

use crate::rig::{Process, ROLE, Rig};

const EACCES: &str = "errno 13";
const EPERM: &str = "errno 1";
const ECONNREFUSED: &str = "errno 111";

/// Not a test: the body of the processes the tests start.
#[test]
fn a_process_of_a_job_obeys() {
    if std::env::var_os(ROLE).is_some() {
        child::serve().expect("the parent's commands");
    }
}

fn host(_: &std::path::Path) -> Scope {
    Scope::Host
}

#[test]
fn h1_a_connect_over_ipv4_reaches_the_proxy_with_the_kernels_evidence() {
    let rig = Rig::new(host);
    let (mut job, id) = rig.job("job");
    assert_eq!(job.ask("uid 65534"), "ok");
    let answer = job.ask(&format!("connect plain {}", rig.db_v4()));
    assert_eq!(
        answer,
        format!("PROXY peer {}", rig.db_v4()),
        "getpeername shows the original"
    );

    let conn = rig.proxy().take_one();
    assert_eq!(conn.original, rig.db_v4());
    assert_eq!((conn.job_cgroup_id, conn.cgroup_id), (Some(id), id));
    assert_eq!((conn.pid, conn.uid), (job.pid(), 65534));
    assert!(!conn.comm.is_empty() && conn.boot_ns > 0 && conn.cookie > 0);
    assert!(conn.netns_cookie > 0);
    assert_eq!(rig.db.accepted(), 0);
    assert_eq!(rig.count(Counter::RedirectedJob), 1);
    assert_eq!(rig.count(Counter::Published), 1);
    assert_eq!(rig.count(Counter::PeernameShown), 1);
}

#[test]
fn h1_a_connect_over_ipv6_reaches_the_proxy() {
    let rig = Rig::new(host);
    let (mut job, id) = rig.job("job");
    let answer = job.ask(&format!("connect plain {}", rig.db_v6()));
    assert_eq!(answer, format!("PROXY peer {}", rig.db_v6()));
    let conn = rig.proxy().take_one();
    assert_eq!((conn.original, conn.job_cgroup_id), (rig.db_v6(), Some(id)));
    assert_eq!(rig.count(Counter::RedirectedJob), 1);
    assert_eq!(rig.db.accepted(), 0);
}

#[test]
fn h1_a_connect_over_mapped_ipv6_is_the_ipv4_destination() {
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    let mapped = format!("[::ffff:127.0.0.1]:{}", rig.db.port);
    assert_eq!(
        job.ask(&format!("connect plain {mapped}")),
        format!("PROXY peer {mapped}")
    );
    assert_eq!(rig.proxy().take_one().original, rig.db_v4());
    assert_eq!(rig.count(Counter::RedirectedJob), 1);
    assert_eq!(rig.db.accepted(), 0);
}

#[test]
fn h1_a_destination_without_a_route_is_served_all_the_same() {
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    for to in [rig.far_v4(), rig.far_v6()] {
        assert_eq!(
            job.ask(&format!("connect plain {to}")),
            format!("PROXY peer {to}")
        );
        assert_eq!(rig.proxy().take_one().original, to);
    }
    assert_eq!(rig.count(Counter::RedirectedJob), 2);
}

#[test]
fn h2_every_kind_of_connect_is_redirected() {
    let rig = Rig::new(host);
    let (mut job, id) = rig.job("job");
    let (v4, v6) = (rig.db_v4(), rig.db_v6());
    let mapped = format!("[::ffff:127.0.0.1]:{}", rig.db.port);
    let mut redirected = 0;
    for (flavour, to) in [
        ("nonblocking", v4.to_string()),
        ("nonblocking", v6.to_string()),
        ("fastopen", v4.to_string()),
        ("fastopen", v6.to_string()),
        ("fastopen", mapped.clone()),
        ("fastopen-connect", v4.to_string()),
        ("fastopen-connect", v6.to_string()),
        ("from:::ffff:127.0.0.7", mapped),
        ("from:127.0.0.7", v4.to_string()),
        ("mptcp", v4.to_string()),
        ("mptcp", v6.to_string()),
    ] {
        let answer = job.ask(&format!("connect {flavour} {to}"));
        // A kernel without MPTCP says EPROTONOSUPPORT or ENOPROTOOPT.
        if flavour == "mptcp" && matches!(answer.as_str(), "errno 93" | "errno 92") {
            eprintln!("skipped: this kernel has no MPTCP");
            continue;
        }
        redirected += 1;
        assert!(answer.starts_with("PROXY"), "{flavour} {to}: {answer}");
        let conn = rig.proxy().take_one();
        assert_eq!(conn.job_cgroup_id, Some(id), "{flavour} {to}");
        assert_eq!(conn.original.port(), rig.db.port, "{flavour} {to}");
        assert_eq!(
            rig.count(Counter::RedirectedJob),
            redirected,
            "{flavour} {to}"
        );
    }
    assert_eq!(rig.db.accepted(), 0);
}

#[test]
fn h1_other_addresses_of_this_host_are_no_way_round() {
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    let port = rig.db.port;
    let mut addresses = vec![
        format!("0.0.0.0:{port}"),
        format!("[::]:{port}"),
        format!("127.3.2.1:{port}"),
    ];
    addresses.push(format!("[::ffff:0.0.0.0]:{port}"));
    addresses.push(format!("[::ffff:127.9.9.9]:{port}"));
    // An address of a network interface, where there is one.
    let route = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
    if route.connect("192.0.2.77:9").is_ok()
        && let Ok(own) = route.local_addr()
        && !own.ip().is_loopback()
    {
        addresses.push(format!("{}:{port}", own.ip()));
    }
    for to in &addresses {
        let answer = job.ask(&format!("connect plain {to}"));
        assert!(answer.starts_with("PROXY"), "{to}: {answer}");
    }
    assert_eq!(rig.count(Counter::RedirectedJob), addresses.len() as u64);
    assert_eq!(rig.db.accepted(), 0);
}

#[test]
fn h4_a_nested_cgroup_belongs_to_its_job() {
    let rig = Rig::new(host);
    let (mut job, id) = rig.job("job");
    let (deep, deep_id) = rig.cgroup("job/a/b/c");
    job.enter(&deep);
    assert!(
        job.ask(&format!("connect plain {}", rig.db_v4()))
            .starts_with("PROXY")
    );
    let conn = rig.proxy().take_one();
    assert_eq!((conn.job_cgroup_id, conn.cgroup_id), (Some(id), deep_id));
    assert_eq!(rig.count(Counter::RedirectedJob), 1);
}

#[test]
fn h4_with_host_scope_a_process_without_a_job_is_redirected_without_one() {
    let rig = Rig::new(host);
    let mut other = rig.outsider("other");
    assert!(
        other
            .ask(&format!("connect plain {}", rig.db_v4()))
            .starts_with("PROXY")
    );
    assert_eq!(rig.proxy().take_one().job_cgroup_id, None);
    assert_eq!(rig.count(Counter::RedirectedNoJob), 1);
    assert_eq!(rig.db.accepted(), 0);
}

#[test]
fn h4_a_process_that_leaves_its_job_loses_it() {
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    job.enter(&rig.cgroup("sibling").0);
    assert!(
        job.ask(&format!("connect plain {}", rig.db_v4()))
            .starts_with("PROXY")
    );
    assert_eq!(rig.proxy().take_one().job_cgroup_id, None);
    assert_eq!(rig.count(Counter::RedirectedNoJob), 1);
}

#[test]
fn h4_a_process_in_the_gateways_cgroup_is_not_the_gateway() {
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    let gateway = rig
        .interceptor()
        .cgroup_root()
        .join(&rig.config().gateway_cgroup);
    job.enter(&gateway);
    assert!(
        job.ask(&format!("connect plain {}", rig.db_v4()))
            .starts_with("PROXY")
    );
    assert_eq!(rig.proxy().take_one().job_cgroup_id, None);
    assert_eq!(rig.count(Counter::RedirectedNoJob), 1);
    assert_eq!(rig.db.accepted(), 0);
}

#[test]
fn the_gateway_itself_reaches_the_database() {
    let rig = Rig::new(host);
    for to in [rig.db_v4(), rig.db_v6()] {
        let stream = std::net::TcpStream::connect(to).expect("the database");
        assert_eq!(stream.peer_addr().expect("a peer"), to);
    }
    assert_eq!(rig.count(Counter::PassedGateway), 2);
    assert_eq!(rig.count(Counter::RedirectedNoJob), 0);
}

#[test]
fn with_cgroup_scope_only_what_is_below_is_refused_for_having_no_job() {
    let rig = Rig::new(|folder| {
        let runner = folder.join("runner");
        std::fs::create_dir(&runner).expect("the runner's cgroup");
        Scope::Cgroups(vec![runner])
    });
    let mut service = rig.outsider("service");
    assert!(
        service
            .ask(&format!("connect plain {}", rig.db_v4()))
            .starts_with("DB")
    );
    assert_eq!(rig.count(Counter::PassedOutOfScope), 1);

    let mut runner = rig.outsider("runner/listener");
    assert!(
        runner
            .ask(&format!("connect plain {}", rig.db_v4()))
            .starts_with("PROXY")
    );
    assert_eq!(rig.proxy().take_one().job_cgroup_id, None);
    assert_eq!(rig.count(Counter::RedirectedNoJob), 1);

    let (mut job, id) = rig.job("elsewhere");
    assert!(
        job.ask(&format!("connect plain {}", rig.db_v6()))
            .starts_with("PROXY")
    );
    assert_eq!(rig.proxy().take_one().job_cgroup_id, Some(id));
    assert_eq!(rig.db.accepted(), 1);
}

#[test]
fn a_scope_cgroup_that_was_made_anew_is_found_again() {
    let rig = Rig::new(|_| Scope::Host);
    let (runner, _) = rig.cgroup("runner");
    let scope = Scope::Cgroups(vec![runner.clone()]);
    assert_eq!(
        rig.interceptor().set_scope(scope).expect("the scope"),
        Vec::<std::path::PathBuf>::new()
    );
    std::fs::remove_dir(&runner).expect("removing it");
    assert_eq!(
        rig.interceptor().refresh_scope().expect("the scope"),
        vec![runner.clone()]
    );
    let mut process = rig.outsider("runner");
    assert_eq!(
        rig.interceptor().refresh_scope().expect("the scope"),
        Vec::<std::path::PathBuf>::new()
    );
    assert!(
        process
            .ask(&format!("connect plain {}", rig.db_v4()))
            .starts_with("PROXY")
    );
    assert_eq!(rig.count(Counter::RedirectedNoJob), 1);
}

#[test]
fn h5_a_socket_made_before_the_job_is_redirected() {
    let rig = Rig::new(host);
    let (path, id) = rig.cgroup("job");
    rig.interceptor().add_job(id).expect("the job");
    for (family, to) in [("4", rig.db_v4()), ("6", rig.db_v6())] {
        let mut process = rig.outsider("before");
        assert_eq!(process.ask(&format!("make {family}")), "ok");
        process.enter(&path);
        assert!(process.ask(&format!("use {to}")).starts_with("PROXY"));
        assert_eq!(rig.proxy().take_one().job_cgroup_id, Some(id));
    }
    assert_eq!(rig.count(Counter::RedirectedJob), 2);
    assert_eq!(rig.db.accepted(), 0);
}

#[test]
fn h5_a_socket_passed_in_from_outside_is_redirected() {
    let rig = Rig::new(host);
    let mut outside = rig.outsider("outside");
    let (mut job, id) = rig.job("job");
    assert_eq!(outside.ask("make 4"), "ok");
    outside.pass_socket(&mut job).expect("passing the socket");
    assert!(
        job.ask(&format!("use {}", rig.db_v4()))
            .starts_with("PROXY")
    );
    assert_eq!(rig.proxy().take_one().job_cgroup_id, Some(id));
    assert_eq!(rig.count(Counter::RedirectedJob), 1);
    assert_eq!(rig.db.accepted(), 0);
}

#[test]
fn a_socket_used_again_speaks_for_its_new_destination_only() {
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    let plain = std::net::TcpListener::bind("127.0.0.1:0").expect("an unprotected server");
    let to = plain.local_addr().expect("its address");
    let server = std::thread::spawn(move || {
        use std::io::Write;
        let (mut stream, _) = plain.accept().expect("a client");
        stream.write_all(b"PLAIN\n").expect("a client that reads");
    });
    let answer = job.ask(&format!("reuse {} {to}", rig.db_v4()));
    assert_eq!(answer, format!("PLAIN peer {to}"));
    server.join().expect("the server");
    assert_eq!(rig.count(Counter::ClearedRecord), 1);

    // From one protected destination to another.
    let answer = job.ask(&format!("reuse {} {}", rig.db_v4(), rig.far_v4()));
    assert_eq!(answer, format!("PROXY peer {}", rig.far_v4()));
    let last = rig.proxy().take().pop().expect("a claim");
    assert_eq!(last.original, rig.far_v4());
}

#[test]
fn h7_in_another_network_namespace_connects_are_refused() {
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    assert_eq!(job.ask("new-netns"), "ok");
    for to in [rig.db_v4(), rig.db_v6(), rig.far_v4(), rig.far_v6()] {
        assert_eq!(
            job.ask(&format!("connect plain {to}")),
            ECONNREFUSED,
            "{to}"
        );
    }
    assert_eq!(rig.count(Counter::RefusedNoListener), 4);
}

#[test]
fn h10_the_proxys_port_cannot_be_dialled_directly() {
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    let port = rig.config().port;
    let ways = [
        "127.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
    ];
    for (dialled, way) in ways.iter().enumerate() {
        assert_eq!(
            job.ask(&format!("connect plain {way}:{port}")),
            EACCES,
            "{way}"
        );
        assert_eq!(
            rig.count(Counter::RefusedDirect),
            dialled as u64 + 1,
            "{way}"
        );
    }
    let attempt = rig.attempt();
    assert_eq!(
        (attempt.way, attempt.conn.pid),
        (Way::DirectDial, job.pid())
    );
    assert_eq!(rig.proxy().strangers(), 0);
    // The gateway may, and is a stranger: it has no record.
    drop(std::net::TcpStream::connect(rig.proxy_v4()).expect("the proxy"));
}

#[test]
fn h10_a_connection_the_kernel_did_not_redirect_has_no_record() {
    let rig = Rig::new(host);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let stream = std::net::TcpStream::connect(listener.local_addr().expect("its address"))
        .expect("a connection");
    let (peer, local) = (
        stream.local_addr().expect("an address"),
        stream.peer_addr().expect("an address"),
    );
    assert_eq!(rig.interceptor().claim(peer, local), None);
    assert_eq!(rig.count(Counter::Published), 0);
}

#[test]
fn datagrams_to_a_protected_destination_are_refused() {
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    let mapped = format!("[::ffff:127.0.0.1]:{}", rig.db.port);
    let mut other = rig.outsider("other");
    for to in [
        rig.db_v4().to_string(),
        rig.db_v6().to_string(),
        mapped,
        rig.far_v4().to_string(),
    ] {
        assert_eq!(job.ask(&format!("udp-connect {to}")), EACCES, "{to}");
        assert_eq!(job.ask(&format!("udp-send {to}")), EACCES, "{to}");
        assert_eq!(other.ask(&format!("udp-send {to}")), EACCES, "{to}");
    }
    assert_eq!(rig.count(Counter::RefusedProtocol), 4);
    assert_eq!(rig.count(Counter::RefusedDatagram), 8);
    assert_eq!(
        job.ask("udp-send 127.0.0.1:9"),
        "ok",
        "other destinations are free"
    );
}

#[test]
fn h3_a_raw_packet_to_a_protected_destination_is_dropped() {
    let rig = Rig::new(host);
    // Of no job, and so free to have raw sockets; but not to reach the database.
    let mut other = rig.outsider("other");
    assert_eq!(other.ask(&format!("raw-syn {}", rig.db_v4())), EPERM);
    assert_eq!(rig.count(Counter::DroppedPacket), 1);
    let attempt = rig.attempt();
    assert_eq!(attempt.way, Way::StrayPacket);
    assert_eq!(attempt.conn.original, rig.db_v4());
    assert_eq!(rig.db.accepted(), 0);
}

#[test]
fn h3_a_job_gets_no_raw_socket_but_those_of_ping() {
    let rig = Rig::new(host);
    let (mut job, id) = rig.job("job");
    for (refused, protocol) in (1..).zip(["255", "6", "17", "89"]) {
        assert_eq!(job.ask(&format!("raw-socket {protocol}")), EPERM);
        let attempt = rig.attempt();
        assert_eq!((attempt.way, attempt.conn.pid), (Way::RawSocket, job.pid()));
        assert_eq!(attempt.conn.job_cgroup_id, Some(id));
        assert_eq!(rig.count(Counter::RefusedRawSocket), refused);
    }
    assert_eq!(job.ask("raw-socket 1"), "ok", "ICMP");
    let mut other = rig.outsider("other");
    assert_eq!(other.ask("raw-socket 6"), "ok", "the host's own");
    assert_eq!(rig.count(Counter::RefusedRawSocket), 4);
}

#[test]
fn h3_tcp_from_a_raw_socket_is_dropped_wherever_it_goes() {
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    let server = rig::Server::start();
    assert_eq!(job.ask(&format!("raw-syn-of-ping {}", server.v4())), EPERM);
    assert_eq!(rig.count(Counter::DroppedRawPacket), 1);
    assert_eq!(server.accepted(), 0);
}

#[test]
fn h3_an_unprivileged_job_gets_no_packet_socket() {
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    assert_eq!(job.ask("uid 65534"), "ok");
    assert_eq!(job.ask("packet-socket"), EPERM);
    // A raw one is refused by its lack of rights before the programs are asked.
    assert_eq!(job.ask("raw-socket 6"), EPERM);
    assert_eq!(
        job.ask(&format!("connect plain {}", rig.proxy_v4())),
        EACCES
    );
    assert_eq!(rig.count(Counter::RefusedDirect), 1);
}

#[test]
fn h5_a_connection_older_than_the_programs_carries_no_more_data_and_is_ended() {
    let mut rig = Rig::stopped(host);
    let mut old = [rig.outsider("old4"), rig.outsider("old6")];
    for (old, to) in old.iter_mut().zip([rig.db_v4(), rig.db_v6()]) {
        assert!(old.ask(&format!("hold {to}")).starts_with("DB"));
    }
    rig.start();
    for (old, to) in old.iter_mut().zip([rig.db_v4(), rig.db_v6()]) {
        assert_eq!(old.ask("write hello"), "ok", "the kernel takes the data");
        let attempt = rig.attempt();
        assert_eq!(
            (attempt.way, attempt.conn.original),
            (Way::StrayConnection, to)
        );
        assert!(attempt.refused);
        assert_eq!(old.ask("finish"), "errno 103", "it fails at once");
    }
    assert!(rig.count(Counter::DroppedPacket) >= 2);
    assert_eq!(rig.db.received(), 0);
}

#[test]
fn h5_a_connected_socket_from_before_the_job_or_passed_in_carries_no_data() {
    let mut rig = Rig::stopped(host);
    let (path, id) = rig.cgroup("job");
    rig.set_live_jobs(&[id]);
    // Connected while nothing was intercepted; the first is moved, of the other the socket.
    let (mut moved, mut outside) = (rig.outsider("moved"), rig.outsider("outside"));
    assert!(
        moved
            .ask(&format!("hold {}", rig.db_v4()))
            .starts_with("DB")
    );
    assert!(
        outside
            .ask(&format!("keep {}", rig.db_v4()))
            .starts_with("DB")
    );
    rig.start();
    moved.enter(&path);
    assert_eq!(moved.ask("write hello"), "ok");
    assert_eq!(rig.attempt().way, Way::StrayConnection);
    assert_eq!(moved.ask("finish"), "errno 103");

    let mut job = Process::start(Some(&path));
    outside.pass_socket(&mut job).expect("passing the socket");
    assert_eq!(job.ask("adopt"), "ok");
    assert_eq!(job.ask("write hello"), "ok");
    assert_eq!(rig.attempt().way, Way::StrayConnection);
    assert_eq!(job.ask("finish"), "errno 103");
    assert!(rig.count(Counter::DroppedPacket) >= 2);
    assert_eq!(rig.db.received(), 0);
}

#[test]
fn h5_a_socket_of_a_job_that_goes_to_a_process_outside_stays_what_it_is() {
    let rig = Rig::new(host);
    let (mut job, id) = rig.job("job");
    let mut outside = rig.outsider("outside");
    assert_eq!(job.ask("make 4"), "ok");
    job.pass_socket(&mut outside).expect("passing the socket");
    let answer = outside.ask(&format!("use {}", rig.db_v4()));
    assert!(answer.starts_with("PROXY"), "{answer}");
    assert_eq!(rig.proxy().take_one().job_cgroup_id, None, "not {id}'s");
    assert_eq!(rig.count(Counter::RedirectedNoJob), 1);
    assert_eq!(rig.db.accepted(), 0);
}

#[test]
fn h2_a_connect_by_io_uring_is_redirected() {
    let rig = Rig::new(host);
    let (mut job, id) = rig.job("job");
    let mut redirected = 0;
    for flavour in ["plain", "socket", "sqpoll"] {
        for to in [rig.db_v4(), rig.db_v6()] {
            let answer = job.ask(&format!("uring {flavour} {to}"));
            // Where the host forbids it, there is nothing to get round by.
            if answer == EPERM || answer == "errno 38" {
                eprintln!("skipped: this host forbids io_uring ({answer})");
                return;
            }
            assert_eq!(answer, format!("PROXY peer {to}"), "{flavour}");
            let conn = rig.proxy().take_one();
            assert_eq!(conn.job_cgroup_id, Some(id), "{flavour} {to}");
            assert_eq!(conn.pid, job.pid(), "{flavour} {to}");
            redirected += 1;
            assert_eq!(rig.count(Counter::RedirectedJob), redirected, "{flavour}");
        }
    }
    assert_eq!(rig.db.accepted(), 0);
}

/// The kernel's thread that polls a ring is the process's that made it, not the one's that uses it.
#[test]
fn h2_a_ring_that_a_process_outside_lends_is_no_way_round() {
    for scope in [host, |_: &std::path::Path| Scope::Cgroups(Vec::new())] {
        let rig = Rig::new(scope);
        let (path, id) = rig.cgroup("job");
        rig.interceptor().add_job(id).expect("the job");
        let mut lender = rig.outsider("lender");
        for to in [rig.db_v4(), rig.db_v6()] {
            let dial = format!("uring-lent {} {to}", path.display());
            if rig.config().scope == Scope::Host {
                let answer = lender.ask(&dial);
                if answer == EPERM || answer == "errno 38" {
                    eprintln!("skipped: this host forbids io_uring ({answer})");
                    return;
                }
                assert_eq!(answer, "said PROXY", "{to}");
                assert_eq!(rig.proxy().take_one().job_cgroup_id, None, "{to}");
            } else {
                // The connect is an outsider's; the socket is the job's.
                lender.tell(&dial);
                let attempt = rig.attempt();
                assert_eq!(attempt.way, Way::StrayConnection, "{to}");
                assert_eq!(attempt.conn.job_cgroup_id, Some(id), "{to}");
                assert_eq!(lender.answer(), "errno 103", "{to}");
                assert!(rig.count(Counter::DroppedPacket) > 0, "{to}");
            }
        }
        assert_eq!(rig.db.accepted(), 0);
    }
}

#[test]
fn h10_only_the_gateway_binds_the_proxys_port() {
    let mut rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    let port = rig.config().port;
    for at in ["127.0.0.1", "0.0.0.0", "[::1]", "[::]"] {
        assert_eq!(job.ask(&format!("bind {at}:{port}")), EACCES, "{at}");
    }
    assert_eq!(rig.count(Counter::RefusedBind), 4);
    rig.stop();
    assert_eq!(
        job.ask(&format!("bind 127.0.0.1:{port}")),
        EACCES,
        "while the daemon is away too"
    );
}

#[test]
fn h10_a_listener_without_the_gateways_mark_gets_no_connection() {
    let rig = Rig::stopped(host);
    // Was there before the programs, so that no hook saw its bind.
    let squatter = std::net::TcpListener::bind(rig.proxy_v4()).expect("the port");
    let mut rig = rig;
    rig.start();
    let (mut job, _) = rig.job("job");
    assert_eq!(
        job.ask(&format!("connect plain {}", rig.db_v4())),
        ECONNREFUSED
    );
    assert_eq!(rig.count(Counter::RefusedNoListener), 1);
    squatter.set_nonblocking(true).expect("the squatter");
    let idle = squatter.accept().expect_err("no client");
    assert_eq!(idle.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn h8_while_the_daemon_is_away_connects_are_refused() {
    let mut rig = Rig::new(host);
    let (mut job, id) = rig.job("job");
    let mut other = rig.outsider("other");
    assert!(
        job.ask(&format!("connect plain {}", rig.db_v4()))
            .starts_with("PROXY")
    );
    rig.stop();
    for to in [rig.db_v4(), rig.db_v6()] {
        assert_eq!(job.ask(&format!("connect plain {to}")), ECONNREFUSED);
        assert_eq!(other.ask(&format!("connect plain {to}")), ECONNREFUSED);
    }
    // Started, but not listening yet; the job is still live.
    rig.set_live_jobs(&[id]);
    rig.start();
    assert_eq!(
        job.ask(&format!("connect plain {}", rig.db_v4())),
        ECONNREFUSED
    );
    assert_eq!(rig.count(Counter::RefusedNoListener), 1);
    rig.listen();
    assert!(
        job.ask(&format!("connect plain {}", rig.db_v4()))
            .starts_with("PROXY")
    );
    assert_eq!(rig.proxy().take_one().job_cgroup_id, Some(id));
    assert_eq!(rig.count(Counter::RedirectedJob), 1);
    assert_eq!(rig.db.accepted(), 0);
}

#[test]
fn h9_a_job_that_ended_while_the_daemon_was_away_is_none_after_it() {
    let mut rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    rig.stop();
    rig.start();
    rig.listen();
    assert!(
        job.ask(&format!("connect plain {}", rig.db_v4()))
            .starts_with("PROXY")
    );
    assert_eq!(rig.proxy().take_one().job_cgroup_id, None);
    assert_eq!(rig.count(Counter::RedirectedNoJob), 1);
}

#[test]
fn h9_a_removed_job_is_no_job_at_once() {
    let rig = Rig::new(host);
    let (mut job, id) = rig.job("job");
    rig.interceptor().remove_job(id).expect("removing the job");
    rig.interceptor()
        .remove_job(id)
        .expect("removing it again changes nothing");
    assert!(
        job.ask(&format!("connect plain {}", rig.db_v4()))
            .starts_with("PROXY")
    );
    assert_eq!(rig.proxy().take_one().job_cgroup_id, None);
    rig.interceptor()
        .set_jobs(&[id])
        .expect("registering it again");
    assert!(
        job.ask(&format!("connect plain {}", rig.db_v4()))
            .starts_with("PROXY")
    );
    assert_eq!(rig.proxy().take_one().job_cgroup_id, Some(id));
    assert_eq!(rig.count(Counter::RedirectedNoJob), 1);
    assert_eq!(rig.count(Counter::RedirectedJob), 1);
}

#[test]
fn h8_restarts_under_load_let_no_connection_through() {
    let mut rig = Rig::new(host);
    let (_, id) = rig.cgroup("job");
    rig.set_live_jobs(&[id]);
    let (mut job, _) = rig.job("job");
    let mut other = rig.outsider("other");
    assert_eq!(job.ask(&format!("repeat {}", rig.db_v4())), "ok");
    assert_eq!(other.ask(&format!("repeat {}", rig.db_v6())), "ok");
    let mut served = 0;
    for _ in 0..8 {
        rig.stop();
        rig.start();
        rig.listen();
        rig.wait(Counter::RedirectedJob, 1);
        rig.wait(Counter::RedirectedNoJob, 1);
        served += rig.count(Counter::RedirectedJob);
    }
    let (job, other) = (job.ask("stop"), other.ask("stop"));
    assert!(
        job.contains("PROXY=") && other.contains("PROXY="),
        "{job}; {other}"
    );
    assert!(
        !job.contains("DB=") && !other.contains("DB="),
        "{job}; {other}"
    );
    assert!(
        !job.contains("STRANGER=") && !other.contains("STRANGER="),
        "{job}; {other}"
    );
    assert_eq!(rig.db.accepted(), 0);
    assert!(served >= 8);
    println!("job: {job}; other: {other}");
}

#[test]
fn two_thousand_connections_at_once_are_all_claimed_rightly() {
    let mut rig = Rig::new(host);
    let (mut first, first_id) = rig.job("first");
    let (mut second, second_id) = rig.job("second");
    let (v4, v6) = (rig.db_v4(), rig.db_v6());
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| first.ask(&format!("many 4 250 {v4}")));
        let two = scope.spawn(|| second.ask(&format!("many 4 250 {v6}")));
        (
            one.join().expect("the first job"),
            two.join().expect("the second job"),
        )
    });
    assert_eq!(
        (one.as_str(), two.as_str()),
        ("ok PROXY=1000", "ok PROXY=1000")
    );
    assert_eq!(rig.proxy().strangers(), 0);

    let seen = rig.proxy().take();
    let of = |id, to| {
        let pid = if id == first_id {
            first.pid()
        } else {
            second.pid()
        };
        seen.iter()
            .filter(|conn| conn.job_cgroup_id == Some(id) && conn.original == to && conn.pid == pid)
            .count()
    };
    assert_eq!((of(first_id, v4), of(second_id, v6)), (1000, 1000));
    let cookies: std::collections::BTreeSet<u64> = seen.iter().map(|conn| conn.cookie).collect();
    assert_eq!(cookies.len(), 2000, "each has its own socket");
    assert_eq!(rig.count(Counter::RedirectedJob), 2000);
    assert_eq!(rig.count(Counter::Published), 2000);
    assert_eq!(rig.count(Counter::PublishFailed), 0);
    drop((first, second));
    rig.proxy = None;
    rig.wait(Counter::Unpublished, 2000);
}

#[test]
fn protection_can_change_while_the_daemon_runs() {
    let rig = Rig::new(host);
    let (mut job, _) = rig.job("job");
    rig.interceptor().protect(&[]).expect("protecting nothing");
    assert!(
        job.ask(&format!("connect plain {}", rig.db_v4()))
            .starts_with("DB")
    );
    rig.interceptor()
        .protect(&[rig.db_v4()])
        .expect("protecting it again");
    assert!(
        job.ask(&format!("connect plain {}", rig.db_v4()))
            .starts_with("PROXY")
    );
    assert_eq!(rig.count(Counter::RedirectedJob), 1);
}

#[test]
fn a_second_daemon_is_refused_while_one_runs() {
    let rig = Rig::new(host);
    let second = Interceptor::start(rig.config()).err();
    assert!(
        matches!(second, Some(InterceptError::AlreadyRunning { .. })),
        "{second:?}"
    );
    let removal = cordon::intercept::detach_all(&rig.config().pin_dir).err();
    assert!(
        matches!(removal, Some(InterceptError::AlreadyRunning { .. })),
        "{removal:?}"
    );
    let (mut job, _) = rig.job("job");
    assert!(
        job.ask(&format!("connect plain {}", rig.db_v4()))
            .starts_with("PROXY")
    );
    assert_eq!(rig.count(Counter::RedirectedJob), 1);
}

#[test]
fn after_uninstalling_nothing_is_intercepted() {
    let mut rig = Rig::new(host);
    let mut other = rig.outsider("other");
    assert!(
        other
            .ask(&format!("connect plain {}", rig.db_v4()))
            .starts_with("PROXY")
    );
    assert_eq!(rig.count(Counter::RedirectedNoJob), 1);
    rig.stop();
    cordon::intercept::detach_all(&rig.config().pin_dir).expect("uninstalling");
    assert!(!rig.config().pin_dir.exists());
    assert!(
        other
            .ask(&format!("connect plain {}", rig.db_v4()))
            .starts_with("DB")
    );
}

/// Starts a daemon in a process of its own, with one live job.
fn daemon(rig: &Rig, job: u64) -> Process {
    let mut daemon = Process::start(None);
    let config = rig.config();
    let answer = daemon.ask(&format!(
        "daemon {} {} {} {} {job}",
        config.pin_dir.display(),
        config.port,
        config.gateway_cgroup.display(),
        rig.db_v4(),
    ));
    assert_eq!(answer, "ok");
    daemon
}

#[test]
fn a_gateway_outside_its_cgroup_is_not_the_gateway() {
    let mut rig = Rig::stopped(host);
    let mut daemon = daemon(&rig, rig.cgroup("job").1);
    let connect = format!("connect plain {}", rig.db_v4());
    assert!(daemon.ask(&connect).starts_with("DB"));
    daemon.enter(&rig.cgroup("elsewhere").0);
    assert!(daemon.ask(&connect).starts_with("PROXY"));
    assert_eq!(rig.db.accepted(), 1);
    drop(daemon);
    rig.start();
    assert_eq!(
        rig.count(Counter::PassedGateway),
        0,
        "the programs are this daemon's now"
    );
}

#[test]
fn h8_a_daemon_that_is_killed_leaves_the_database_shut() {
    let rig = Rig::stopped(host);
    let (_, id) = rig.cgroup("job");
    let daemon = daemon(&rig, id);
    let mut rig = rig;
    let mut job = Process::start(Some(&rig.cgroup("job").0));
    assert!(
        job.ask(&format!("connect plain {}", rig.db_v4()))
            .starts_with("PROXY")
    );
    assert_eq!(job.ask(&format!("repeat {}", rig.db_v4())), "ok");
    drop(daemon); // SIGKILL
    rig.set_live_jobs(&[id]);
    rig.start();
    rig.listen();
    rig.wait(Counter::RedirectedJob, 1);
    let counts = job.ask("stop");
    assert!(counts.contains("PROXY="), "{counts}");
    assert!(!counts.contains("DB="), "{counts}");
    assert_eq!(rig.db.accepted(), 0);
}
