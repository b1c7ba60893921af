//! What is accepted, and how errors point at their place.

use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

const MINIMAL: &str = "\
issuers:
  - name: github
    url: https://token.actions.githubusercontent.com
    audience: cordon
databases:
  - name: shop
    address: 127.0.0.1:5432
    tls: disable
    logins:
      - user: orders_agent
policy_dir: policy.d
";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/cordon/cordon.yaml"))
}

/// The minimal configuration with one text in it replaced by another.
fn with(from: &str, to: &str) -> String {
    assert!(MINIMAL.contains(from));
    MINIMAL.replacen(from, to, 1)
}

#[track_caller]
fn refused(text: &str, line: u64, parts: &[&str]) -> ConfigError {
    let error = parse(text).expect_err("this is not accepted");
    let shown = error.to_string();
    assert!(
        shown.starts_with(&format!("/etc/cordon/cordon.yaml:{line}:")),
        "{shown}"
    );
    for part in parts {
        assert!(shown.contains(part), "{shown}");
    }
    error
}

#[test]
fn only_issuers_databases_and_policy_dir_must_be_given() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.state_dir, Path::new("/var/lib/cordon"));
    assert_eq!(
        config.control_socket(),
        Path::new("/run/cordon/control.sock")
    );
    assert_eq!(config.ca_file(), Path::new("/run/cordon/ca.pem"));
    assert_eq!(
        config.intercept,
        Intercept {
            scope: Scope::Host,
            pin_dir: "/sys/fs/bpf/cordon".into(),
            port: 15431,
            recognise: Recognise {
                action: RecogniseAction::Refuse,
                host: false,
                except: [].into(),
            },
            namespaces: Namespaces::Serve,
            unix_sockets: UnixSockets::Refuse,
        }
    );
    assert_eq!(config.jobs.cgroup.as_str(), "/cordon.jobs");
    assert_eq!(config.jobs.max_duration, Duration::from_hours(6));
    assert!(config.jobs.runners.is_empty() && config.approvers.is_empty());
    assert_eq!(config.evidence.fsync, Fsync::Always);
    assert_eq!(config.policy_dir, Path::new("/etc/cordon/policy.d"));
    let issuer = &config.issuers[0];
    assert_eq!(
        (issuer.max_lifetime, issuer.leeway),
        (Duration::from_mins(10), Duration::from_secs(30))
    );
    assert_eq!(
        (&issuer.jwks, issuer.groups_claim.as_str()),
        (&JwksSource::Discovery, "groups")
    );
    for key in ["issuers", "databases", "policy_dir"] {
        let without: String = MINIMAL.replace(key, &format!("x_{key}"));
        assert!(parse(&without).is_err(), "{key} is needed");
    }
}

#[test]
fn what_is_recognised_where_is_read() {
    let text = with(
        "policy_dir:",
        "intercept:\n  unix_sockets: report\n  recognise:\n    action: report\n    host: true\n    except: [\"127.0.0.1:5433\", 10.0.0.7, \"[::1]\", \"[fd00::1]:3306\"]\npolicy_dir:",
    );
    let intercept = parse(&text).unwrap().intercept;
    assert_eq!(intercept.unix_sockets, UnixSockets::Report);
    assert_eq!(intercept.recognise.action, RecogniseAction::Report);
    assert!(intercept.recognise.host);
    let except = [
        ("127.0.0.1", Some(5433)),
        ("10.0.0.7", None),
        ("::1", None),
        ("fd00::1", Some(3306)),
    ];
    assert_eq!(
        intercept.recognise.except,
        except.map(|(ip, port)| (ip.parse().unwrap(), port)).into()
    );
    for wrong in [
        "{ action: drop }",
        "{ except: [\"0.0.0.0:1\"] }",
        "{ port: 1 }",
    ] {
        let text = with(
            "policy_dir:",
            &format!("intercept: {{ recognise: {wrong} }}\npolicy_dir:"),
        );
        assert!(parse(&text).is_err(), "{wrong}");
    }
}

#[test]
fn the_example_is_accepted_with_every_key_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let ca = rcgen::generate_simple_self_signed(["ca.test".to_owned()])
        .unwrap()
        .cert
        .pem();
    std::fs::write(folder.path().join("ca.pem"), ca).unwrap();
    put_secret(&folder, "password", "s3cret\n", 0o600);
    let example = include_str!("../../../docs/examples/cordon.yaml")
        .replace("db.internal:5432", "127.0.0.1:5432")
        .replace("/etc/cordon/db-ca.pem", "ca.pem")
        .replace("/etc/cordon/secrets/orders_agent", "password")
        .replace("user: cordon", "user: \"4711\"")
        .replace("[runner]", "[root, 1234]")
        .replace("[alice, bob]", "[nobody, 1001]")
        .replace("[carol]", "[1002]");
    let config = Config::parse(&example, &folder.path().join("cordon.yaml")).unwrap();
    assert_eq!(config.jobs.runners, [0, 1234].into());
    assert_eq!(config.approvers["dba"], [65534, 1001].into());
    assert_eq!(config.approver_groups(1001), ["dba"]);
    assert!(config.approver_groups(0).is_empty());
    assert_eq!(
        config.issuers[0].jwks,
        JwksSource::Url("https://token.actions.githubusercontent.com/.well-known/jwks".to_owned())
    );
    let database = &config.databases[0];
    assert_eq!(
        (database.tls, database.roots.len()),
        (TlsMode::VerifyFull, 1)
    );
    assert_eq!(
        database.login("orders_agent").unwrap().password,
        PasswordSource::File(folder.path().join("password"))
    );
    assert!(!format!("{config:?}").contains("s3cret"));
    assert!(matches!(
        &config.console.as_ref().unwrap().at,
        ConsoleAt::Socket(path) if path == Path::new("/run/cordon/console.sock")
    ));
    // The line that is commented out in the example.
    let scoped = example.replace(
        "  scope: host\n",
        "  scope: { cgroups: [/system.slice/actions.runner.service] }\n",
    );
    let config = Config::parse(&scoped, &folder.path().join("cordon.yaml")).unwrap();
    assert_eq!(
        config.intercept.scope,
        Scope::Cgroups(vec![
            CgroupPath::new("system.slice/actions.runner.service").unwrap()
        ])
    );
}

#[test]
fn unknown_keys_are_refused_with_their_place_and_the_nearest_known_one() {
    let error = refused(
        &with("issuers:", "isuers:"),
        1,
        &["unknown key `isuers`", "did you mean `issuers`?"],
    );
    assert_eq!((error.line(), error.column()), (Some(1), Some(1)));
    let error = refused(
        &with("    audience:", "    audiense:"),
        4,
        &["unknown key `audiense`", "did you mean `audience`?"],
    );
    assert_eq!(error.column(), Some(5));
    refused(
        &with("      - user:", "      - usre:"),
        10,
        &["did you mean `user`?"],
    );
    refused(
        &with("policy_dir:", "evidence: { fsink: always }\npolicy_dir:"),
        11,
        &["did you mean `fsync`?"],
    );
    refused(
        &with("policy_dir:", "elephants: 1\npolicy_dir:"),
        11,
        &["unknown key `elephants`", "known here: "],
    );
}

#[test]
fn unknown_values_are_refused_with_their_place() {
    refused(
        &with("tls: disable", "tls: verify_full"),
        8,
        &["unknown value `verify_full`", "did you mean `verify-full`?"],
    );
    refused(
        &with("policy_dir:", "evidence: { fsync: never }\npolicy_dir:"),
        11,
        &["never"],
    );
    refused(
        &with("policy_dir:", "intercept: { scope: hots }\npolicy_dir:"),
        11,
        &["did you mean `host`?"],
    );
}

#[test]
fn witnesses_have_a_key_a_url_and_a_quorum_that_can_be_met() {
    let one = "{ url: \"http://127.0.0.1:1/w\", key: \"w.example/one+08d7d4a3+BAw5WVc8s+BHuMsA0/Zlkai+aU9GHXnJNhh7SD+23kuS\" }";
    let evidence = |text: &str| {
        with(
            "policy_dir:",
            &format!("evidence: {{ {text} }}\npolicy_dir:"),
        )
    };
    let config = parse(&evidence(&format!("witnesses: [{one}]"))).unwrap();
    let witnesses = config.evidence.witnesses.unwrap();
    assert_eq!((witnesses.quorum, witnesses.every.as_secs()), (1, 10));
    assert_eq!(witnesses.list[0].key.name(), "w.example/one");
    for (text, words) in [
        (format!("witnesses: [{one}, {one}]"), "named twice"),
        (
            format!("witnesses: [{one}], witness_quorum: 2"),
            "from 1 to 1",
        ),
        (
            format!("witnesses: [{one}], witness_quorum: 0"),
            "from 1 to 1",
        ),
        (format!("witnesses: [{one}], witness_every: 1ms"), "1ms"),
        ("witnesses: []".to_owned(), "is empty"),
        ("witness_quorum: 1".to_owned(), "no `witnesses`"),
        (
            format!(
                "witnesses: [{}]",
                one.replace("http://127.0.0.1:1", "http://w.example")
            ),
            "not encrypted",
        ),
        (
            format!("witnesses: [{}]", one.replace("08d7", "18d7")),
            "no witness's key",
        ),
        // A log's own kind of key.
        (
            format!("witnesses: [{}]", one.replace("BAw5", "AQw5")),
            "no witness's key",
        ),
    ] {
        refused(&evidence(&text), 11, &[words]);
    }
}

#[test]
fn missing_keys_and_broken_yaml_are_refused_with_their_place() {
    let error = parse(&with("    audience: cordon\n", "")).unwrap_err();
    assert!(
        error.to_string().contains("`audience` is missing") && error.line().is_some(),
        "{error}"
    );
    assert!(parse("issuers: [").unwrap_err().line().is_some());
    assert!(parse("").is_err());
    assert!(parse("- a\n").is_err());
    refused(&format!("{MINIMAL}policy_dir: twice\n"), 12, &["uplicate"]);
    refused(&with("address: 127.0.0.1:5432", "address: [1]"), 7, &[]);
}

#[test]
fn durations_are_read_with_their_units_only() {
    let jobs = |written: &str| {
        parse(&with(
            "policy_dir:",
            &format!("jobs: {{ max_duration: {written} }}\npolicy_dir:"),
        ))
    };
    for (written, seconds) in [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172_800)] {
        assert_eq!(
            jobs(written).unwrap().jobs.max_duration,
            Duration::from_secs(seconds)
        );
    }
    for written in [
        "90",
        "10 minutes",
        "m",
        "1m1h",
        "-1s",
        "1.5h",
        "\"\"",
        "99999999999999999999s",
        "0s",
        "99d",
    ] {
        let error = jobs(written).unwrap_err();
        assert_eq!(error.line(), Some(11), "{error}");
    }
}

#[test]
fn addresses_are_resolved_and_compared_as_the_kernel_reports_them() {
    let config = parse(&with("    tls:", "    dbname: shop_production\n    aliases: [\"[::ffff:10.0.0.7]:5432\", \"[fd00::1]:6432\"]\n    tls:")).unwrap();
    let at = |address: &str| address.parse::<SocketAddr>().unwrap();
    assert_eq!(
        config.addresses(),
        [
            at("127.0.0.1:5432"),
            at("10.0.0.7:5432"),
            at("[fd00::1]:6432")
        ]
        .into()
    );
    for address in [
        "127.0.0.1:5432",
        "[::ffff:127.0.0.1]:5432",
        "10.0.0.7:5432",
        "[fd00::1]:6432",
    ] {
        for name in ["shop", "shop_production"] {
            assert_eq!(config.database_for(at(address), name).unwrap().name, "shop");
        }
        assert!(config.database_for(at(address), "other").is_none());
    }
    assert!(config.database_for(at("127.0.0.1:5433"), "shop").is_none());
    assert!(config.database_for(at("127.0.0.2:5432"), "shop").is_none());
    assert_eq!(
        parse(&with("127.0.0.1:5432", "127.0.0.1"))
            .unwrap()
            .databases[0]
            .port,
        5432
    );
    for wrong in [
        "127.0.0.1:0",
        "127.0.0.1:70000",
        "127.0.0.1:x",
        "0.0.0.0:5432",
        "\"[::1\"",
        "\"::1:5432\"",
        "\"\"",
        "no-such-host.invalid:5432",
    ] {
        refused(&with("127.0.0.1:5432", wrong), 7, &[]);
    }
}

#[test]
fn a_client_can_always_tell_which_database_it_means() {
    let second = |name: &str, rest: &str| {
        with(
            "policy_dir:",
            &format!(
                "  - name: {name}\n    address: 127.0.0.1:5432\n    tls: disable\n    logins: [{{ user: a }}]\n{rest}policy_dir:"
            ),
        )
    };
    assert_eq!(parse(&second("stock", "")).unwrap().databases.len(), 2);
    refused(&second("shop", ""), 11, &["two databases named `shop`"]);
    refused(
        &second("stock", "    dbname: shop\n"),
        15,
        &["share an address and a name"],
    );
}

#[test]
fn keys_come_encrypted_or_from_this_host() {
    let jwks = |written: &str| {
        parse(&with(
            "audience: cordon",
            &format!("audience: cordon\n    jwks: {written}"),
        ))
    };
    assert_eq!(
        jwks("keys.json").unwrap().issuers[0].jwks,
        JwksSource::File("/etc/cordon/keys.json".into())
    );
    assert_eq!(
        jwks("/x/keys.json").unwrap().issuers[0].jwks,
        JwksSource::File("/x/keys.json".into())
    );
    assert!(matches!(
        jwks("http://127.0.0.1:8080/k").unwrap().issuers[0].jwks,
        JwksSource::Url(_)
    ));
    for wrong in [
        "http://issuer.test/keys",
        "ftp://issuer.test/keys",
        "http://localhost.evil.test/k",
        "https://user:pw@issuer.test/k",
    ] {
        assert_eq!(jwks(wrong).unwrap_err().line(), Some(5));
    }
    refused(
        &with(
            "https://token.actions.githubusercontent.com",
            "http://issuer.test",
        ),
        3,
        &["not encrypted"],
    );
    refused(
        &with("https://token.actions.githubusercontent.com", "nonsense"),
        3,
        &["not a URL"],
    );
}

#[test]
fn unknown_users_and_bad_paths_are_refused_with_their_place() {
    refused(
        &with(
            "policy_dir:",
            "jobs: { runners: [no-such-user] }\npolicy_dir:",
        ),
        11,
        &["no user `no-such-user`"],
    );
    refused(
        &with(
            "policy_dir:",
            "approvers:\n  dba:\n    - no-such-user\npolicy_dir:",
        ),
        13,
        &["no user"],
    );
    refused(
        &with("policy_dir:", "jobs: { cgroup: ../x }\npolicy_dir:"),
        11,
        &[".."],
    );
    refused(
        &with("policy_dir:", "jobs: { cgroup: / }\npolicy_dir:"),
        11,
        &["root cgroup"],
    );
    refused(
        &with("policy_dir:", "intercept: { pin_dir: /tmp/x }\npolicy_dir:"),
        11,
        &["/sys/fs/bpf"],
    );
    refused(
        &with("policy_dir:", "intercept: { port: 0 }\npolicy_dir:"),
        11,
        &["port"],
    );
    refused(
        &with(
            "policy_dir:",
            "intercept: { scope: { cgroups: [] } }\npolicy_dir:",
        ),
        11,
        &["empty"],
    );
    refused(
        &with("policy_dir:", "state_dir: relative\npolicy_dir:"),
        11,
        &["absolute"],
    );
    refused(
        &with("policy_dir:", "version: 2\npolicy_dir:"),
        11,
        &["version"],
    );
    refused(
        &with("tls: disable", "tls: require\n    ca_file: x.pem"),
        9,
        &["no effect"],
    );
    refused(&with("name: shop", "name: \"a/b\""), 6, &["letters"]);
}

fn put_secret(folder: &TempDir, name: &str, text: &str, mode: u32) {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn secrets_that_others_can_reach_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = with(
        "user: orders_agent",
        "user: orders_agent\n        password_file: password",
    );
    let load = || Config::parse(&text, &folder.path().join("cordon.yaml"));
    assert!(
        load()
            .unwrap_err()
            .to_string()
            .contains("cannot read the secret file")
    );
    for (content, mode, part) in [
        ("s3cret", 0o604, "chmod 0600"),
        ("s3cret", 0o602, "chmod 0600"),
        ("", 0o600, "is empty"),
        ("\n", 0o600, "is empty"),
    ] {
        put_secret(&folder, "password", content, mode);
        let error = load().unwrap_err();
        assert!(
            error.to_string().contains(part) && error.line() == Some(11),
            "{error}"
        );
        assert!(!error.to_string().contains("s3cret"));
    }
    for (content, kept) in [
        ("s3cret", "s3cret"),
        ("s3cret\r\n", "s3cret"),
        (" two words \n\n", " two words \n"),
    ] {
        put_secret(&folder, "password", content, 0o640);
        load().unwrap();
        assert_eq!(
            secret::read(&folder.path().join("password"))
                .unwrap()
                .expose(),
            kept
        );
    }
    std::os::unix::fs::chown(folder.path().join("password"), Some(65534), None).unwrap();
    assert!(
        load()
            .unwrap_err()
            .to_string()
            .contains("belongs to uid 65534")
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::load(Path::new("/nonexistent/cordon.yaml")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/nonexistent/cordon.yaml: cannot read"),
        "{error}"
    );
    assert_eq!(error.line(), None);
}

#[test]
fn webhooks_are_checked_and_their_secrets_read() {
    let dir = TempDir::new().unwrap();
    let secret = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let key = secret("key", "0123456789abcdef\n");
    let url = secret("url", "https://hooks.example/T0/B0/secret\n");
    let with = |hook: &str| {
        format!(
            "{MINIMAL}notify:\n  console_url: https://cordon.example/\n  webhooks:\n    - name: a\n      {hook}\n"
        )
    };
    let config = parse(&with(&format!(
        "url_file: {url}\n      key_file: {key}\n      events: [requested, expired]"
    )))
    .unwrap();
    assert_eq!(
        config.notify.console_url.as_deref(),
        Some("https://cordon.example")
    );
    let hook = &config.notify.webhooks[0];
    assert_eq!(hook.url.expose(), "https://hooks.example/T0/B0/secret");
    assert_eq!(hook.key.as_ref().unwrap().expose(), "0123456789abcdef");
    assert_eq!(
        (hook.format, hook.events.as_slice()),
        (
            WebhookFormat::Json,
            [NotifyEvent::Requested, NotifyEvent::Expired].as_slice()
        )
    );
    assert!(!format!("{config:?}").contains("B0"));
    let slack = parse(&with("url: http://127.0.0.1:9/x\n      format: slack")).unwrap();
    assert_eq!(slack.notify.webhooks[0].events.len(), 4);

    let short = secret("short", "too short");
    let plain = secret("plain", "http://hooks.example/secret-path");
    for (hook, line, part) in [
        ("format: slack".to_owned(), 15, "needs `url`, or `url_file`"),
        (
            format!("url: https://x.example\n      url_file: {url}\n      format: slack"),
            16,
            "not both",
        ),
        ("url: https://x.example".to_owned(), 15, "needs a `key_file`"),
        (
            format!("url: https://x.example\n      key_file: {short}"),
            17,
            "shorter than 16 bytes",
        ),
        (format!("url_file: {plain}\n      format: teams"), 16, "https, or http on loopback"),
        ("url: http://x.example\n      format: teams".to_owned(), 16, "http on loopback"),
        ("url: https://x.example\n      format: slack\n      events: []".to_owned(), 18, "events is empty"),
        ("url: https://x.example\n      format: slack\n      events: [seen]".to_owned(), 18, "unknown value `seen`"),
        (
            "url: https://x.example\n      format: slack\n    - name: a\n      url: https://x.example\n      format: slack".to_owned(),
            18,
            "two webhooks named `a`",
        ),
        ("url: https://x.example\n      secret: x".to_owned(), 17, "unknown key `secret`"),
    ] {
        let error = refused(&with(&hook), line, &[part]);
        assert!(!error.to_string().contains("secret-path"), "{error}");
    }
}

/// The minimal configuration with these lines below `console:`.
fn console(lines: &str) -> Result<Config, ConfigError> {
    parse(&format!("{MINIMAL}console:\n{lines}"))
}

const LOGIN: &str = "  login:\n    issuer: https://login.test\n    client_id: c\n    approvers: { dba: [admins] }\n";

#[test]
fn a_console_on_tcp_wants_a_login_and_beyond_loopback_tls_and_its_name() {
    let local = console(&format!("  address: 127.0.0.1:8440\n{LOGIN}")).unwrap();
    let Some(Console {
        at: ConsoleAt::Tcp(tcp),
        ..
    }) = &local.console
    else {
        panic!("not on TCP: {:?}", local.console);
    };
    assert_eq!(tcp.origin, "http://127.0.0.1:8440");
    assert!(!tcp.is_secure() && tcp.tls.is_none());
    assert_eq!(tcp.login.scopes, ["openid", "profile", "email"]);
    assert_eq!(tcp.login.issuer.audience, "c");
    assert_eq!(
        local.notify.console_url.as_deref(),
        Some("http://127.0.0.1:8440")
    );
    assert!(local.has_approvers("dba") && !local.has_approvers("other"));
    // A proxy on this host does TLS.
    let behind = console(&format!(
        "  address: '[::1]:8440'\n  url: https://cordon.test/\n{LOGIN}"
    ))
    .unwrap();
    let ConsoleAt::Tcp(tcp) = behind.console.unwrap().at else {
        panic!("not on TCP");
    };
    assert!(tcp.is_secure() && tcp.origin == "https://cordon.test");

    let refused = |lines: &str, part: &str| {
        let error = console(lines).unwrap_err();
        assert!(
            error.to_string().contains(part) && error.line().is_some(),
            "{error}"
        );
    };
    refused("  address: 127.0.0.1:8440\n", "wants a `login`");
    refused(&format!("  address: 0.0.0.0:8440\n{LOGIN}"), "wants TLS");
    refused(
        &format!("  address: 10.0.0.1:8440\n  url: https://a.test\n{LOGIN}"),
        "wants TLS",
    );
    refused(
        &format!("  address: 127.0.0.1:8440\n  url: http://a.test\n{LOGIN}"),
        "not encrypted",
    );
    refused(
        &format!("  address: 127.0.0.1:8440\n  url: https://a.test/console\n{LOGIN}"),
        "scheme, host and port only",
    );
    refused(
        &format!("  address: localhost:8440\n{LOGIN}"),
        "not an address with a port",
    );
    refused(
        &format!(
            "  address: 127.0.0.1:8440\n{}",
            LOGIN.replace("[admins]", "[]")
        ),
        "nobody could use",
    );
    refused(
        &format!(
            "  address: 127.0.0.1:8440\n{}",
            LOGIN.replace("https:", "http:")
        ),
        "not encrypted",
    );
    refused(
        &format!("  address: 127.0.0.1:8440\n  viewers: [root]\n{LOGIN}"),
        "users of this host",
    );
    refused("  viewers: [root]\n", "write one of the two");
    refused(
        &format!("  socket: /run/c.sock\n{LOGIN}"),
        "no effect on a socket",
    );
    refused("  socket: c.sock\n", "absolute");
    let on_socket = console("  socket: /run/c.sock\n  auditors: [root]\n").unwrap();
    assert_eq!(on_socket.console.unwrap().auditors, [0].into());
}
