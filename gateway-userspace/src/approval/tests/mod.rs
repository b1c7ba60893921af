//! EVASIONS F12: approve one thing, run another.

mod durable;
mod refused;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::*;
use crate::{
    audit::{AppendError, Event},
    policy::{ApprovalRequirement, OnHold, Quorum},
    sql::{Access, Implied, Namespace, RelationRef, RelationUse, Rights, Statement, StatementKind},
};

/// Keeps events; can refuse them, or hold them up.
#[derive(Default)]
struct Fake {
    events: Mutex<Vec<Event>>,
    full: AtomicBool,
    gate: tokio::sync::RwLock<()>,
}

impl Fake {
    fn names(&self) -> Vec<&'static str> {
        let name = |event: &Event| match event {
            Event::ApprovalRequested(_) => "requested",
            Event::ApprovalDecided(decided) if decided.approve => "approve",
            Event::ApprovalDecided(_) => "deny",
            Event::ApprovalRefused(_) => "refused",
            Event::ApprovalExpired(_) => "expired",
            Event::ApprovalWithdrawn(_) => "withdrawn",
            Event::ApprovalUsed(_) => "used",
            _ => "other",
        };
        self.events.lock().unwrap().iter().map(name).collect()
    }
}

impl Ledger for Fake {
    fn record(&self, event: Event) -> Recording<'_> {
        Box::pin(async move {
            let _open = self.gate.read().await;
            if self.full.load(Ordering::SeqCst) {
                return Err(AppendError::Write(Arc::from("no space")));
            }
            self.events.lock().unwrap().push(event);
            Ok(())
        })
    }

    fn record_later(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }
}

fn store() -> (Approvals, Arc<Fake>) {
    let fake = Arc::new(Fake::default());
    (Approvals::new(fake.clone()), fake)
}

fn statement() -> Statement {
    Statement {
        text: "DELETE FROM orders WHERE id = $1".into(),
        kind: StatementKind::Delete,
        relations: vec![RelationUse {
            relation: RelationRef {
                schema: "public".into(),
                name: "orders".into(),
                oid: 16_384,
            },
            access: BTreeSet::from([Access::Delete, Access::Select]),
            columns: BTreeMap::new(),
            system: false,
            temporary: false,
            rights: Rights::Session,
        }],
        functions: Vec::new(),
        implied: Implied::default(),
        ddl: Vec::new(),
        settings: Vec::new(),
        output: None,
        unlimited: false,
        executes: None,
        catalog_version: 7,
    }
}

fn namespace() -> Namespace {
    Namespace {
        search_path: vec!["pg_catalog".into(), "public".into()],
        user: "orders_agent".into(),
        database: "shop".to_owned(),
        roles: Vec::new(),
    }
}

const ONE: BoundParameter<'static> = BoundParameter {
    type_oid: 23,
    binary: false,
    value: Some(b"1"),
};

fn bind(
    session: &str,
    statement: &Statement,
    namespace: &Namespace,
    parameters: &[BoundParameter<'_>],
) -> Binding {
    Binding::of(&Bound {
        session: Some(session),
        job: "job-1",
        database: "shop",
        login: "orders_agent",
        statement,
        definitions: "of then",
        namespace,
        parameters,
    })
}

fn binding() -> Binding {
    bind("ses-1", &statement(), &namespace(), &[ONE])
}

fn request(group: Option<&str>, count: u32) -> ApprovalRequest {
    ApprovalRequest {
        session: "ses-1".into(),
        job: "job-1".into(),
        statement_number: 4,
        requester: "github repo:acme/shop".into(),
        requester_uid: 1_000,
        requester_names: vec!["Octo-Cat".into()],
        process: "psql (4242)".into(),
        database: "shop".into(),
        statement: statement().text,
        parameters: vec![Some("1".into())],
        parameter_types: vec![Some("integer".into())],
        effects: vec!["delete public.orders (reads id)".into()],
        warnings: Vec::new(),
        run_url: None,
        step: None,
        before: Vec::new(),
        why: "deleting needs approval".into(),
        requirement: ApprovalRequirement {
            rule: "agent-orders: approve[0]".into(),
            quorums: vec![Quorum {
                group: group.map(Into::into),
                count,
            }],
            hold: Duration::from_mins(15),
            hold_in_transaction: Duration::from_mins(2),
            on_hold: OnHold::Wait,
        },
        binding: binding(),
    }
}

fn login(subject: &str, alias: &str) -> Approver {
    Approver {
        id: ApproverId::Oidc {
            issuer: "https://login.test".into(),
            subject: subject.into(),
        },
        aliases: vec![alias.into()],
        ..person(subject, 0)
    }
}

fn person(name: &str, uid: u32) -> Approver {
    Approver {
        name: name.into(),
        id: ApproverId::User(uid),
        aliases: Vec::new(),
        groups: vec!["dba".into()],
        inside_job: None,
    }
}

async fn approved(store: &Approvals) -> Approved {
    let held = store.submit(request(Some("dba"), 1)).await.unwrap();
    store
        .decide(held.id(), &person("alice", 2_001), true, None)
        .await
        .unwrap();
    match held.wait().await {
        ApprovalOutcome::Approved { by } => assert_eq!(by, ["alice"]),
        other => panic!("{other:?}"),
    }
    let approved = held.approved();
    // The test's session goes on waiting.
    std::mem::forget(held);
    approved
}

#[tokio::test]
async fn an_approved_statement_runs_once() {
    let (store, fake) = store();
    let held = store.submit(request(Some("dba"), 1)).await.unwrap();
    let id = held.id().to_owned();
    assert_eq!(store.list()[0].state, "pending");
    let view = store
        .decide(
            &id[..8],
            &person("alice", 2_001),
            true,
            Some("ticket 7".into()),
        )
        .await
        .unwrap();
    assert_eq!(
        (view.state.as_str(), view.approved_by),
        ("approved", vec!["alice".to_owned()])
    );
    let ApprovalOutcome::Approved { .. } = held.wait().await else {
        panic!("not approved")
    };
    let proof = held.approved();
    assert!(proof.matches(&binding()));
    let redeemed = proof.redeem(&binding()).await.unwrap();
    assert_eq!(
        (redeemed.id(), redeemed.by()),
        (id.as_str(), ["alice".to_owned()].as_slice())
    );
    // The proof is used up, and there is no second one.
    assert!(matches!(
        held.wait().await,
        ApprovalOutcome::Withdrawn { .. }
    ));
    drop(held);
    assert_eq!(fake.names(), ["requested", "approve", "used"]);
}

#[tokio::test]
async fn an_approval_is_not_for_anything_else() {
    let other_text = Statement {
        text: "DELETE FROM orders WHERE id > $1".into(),
        ..statement()
    };
    let mut other_oid = statement();
    other_oid.relations[0].relation.oid = 16_999;
    let mut other_access = statement();
    other_access.relations[0].access = BTreeSet::from([Access::Delete]);
    let other_schema = |namespace: &Namespace| {
        Binding::of(&Bound {
            session: Some("ses-1"),
            job: "job-1",
            database: "shop",
            login: "orders_agent",
            statement: &statement(),
            definitions: "of now",
            namespace,
            parameters: &[ONE],
        })
    };
    let mut shadowed = namespace();
    shadowed.search_path.swap(0, 1);
    let two = BoundParameter {
        value: Some(b"2"),
        ..ONE
    };
    let null = BoundParameter { value: None, ..ONE };
    let binary = BoundParameter {
        binary: true,
        ..ONE
    };
    let text_type = BoundParameter {
        type_oid: 25,
        ..ONE
    };
    let same = namespace();
    for (what, other) in [
        ("text", bind("ses-1", &other_text, &same, &[ONE])),
        ("relation", bind("ses-1", &other_oid, &same, &[ONE])),
        ("access", bind("ses-1", &other_access, &same, &[ONE])),
        ("definitions", other_schema(&same)),
        (
            "search path",
            bind("ses-1", &statement(), &shadowed, &[ONE]),
        ),
        ("session", bind("ses-2", &statement(), &same, &[ONE])),
        ("parameter", bind("ses-1", &statement(), &same, &[two])),
        ("NULL", bind("ses-1", &statement(), &same, &[null])),
        ("format", bind("ses-1", &statement(), &same, &[binary])),
        ("type", bind("ses-1", &statement(), &same, &[text_type])),
        (
            "more parameters",
            bind("ses-1", &statement(), &same, &[ONE, ONE]),
        ),
        ("no parameters", bind("ses-1", &statement(), &same, &[])),
    ] {
        let (store, fake) = store();
        let proof = approved(&store).await;
        assert!(!proof.matches(&other), "{what}");
        assert_eq!(
            proof.redeem(&other).await,
            Err(RedeemError::OtherEffect),
            "{what}"
        );
        assert_eq!(
            fake.names(),
            ["requested", "approve", "withdrawn"],
            "{what}"
        );
    }
}

#[test]
fn parts_of_a_binding_cannot_be_shifted_into_one_another() {
    let same = namespace();
    let value = |value| BoundParameter {
        value: Some(value),
        ..ONE
    };
    let first = bind("s", &statement(), &same, &[value(b"ab"), value(b"c")]);
    assert_ne!(
        first,
        bind("s", &statement(), &same, &[value(b"a"), value(b"bc")])
    );
    assert_ne!(
        bind("s", &statement(), &same, &[value(b"")]),
        bind(
            "s",
            &statement(),
            &same,
            &[BoundParameter { value: None, ..ONE }]
        )
    );
    let parts = |session, job| {
        Binding::of(&Bound {
            session: Some(session),
            job,
            database: "d",
            login: "l",
            statement: &statement(),
            definitions: "",
            namespace: &namespace(),
            parameters: &[],
        })
    };
    assert_ne!(parts("ab", "c"), parts("a", "bc"));
    assert_eq!(parts("ab", "c"), parts("ab", "c"));
}

#[tokio::test]
async fn the_requester_never_approves() {
    let (store, fake) = store();
    let held = store.submit(request(None, 1)).await.unwrap();
    let own = store
        .decide(held.id(), &person("runner", 1_000), true, None)
        .await;
    assert!(matches!(own, Err(DecideError::Requester(_))), "{own:?}");
    // Nor does the person who started the job, whatever they are called here.
    let own = store
        .decide(held.id(), &login("4711", "octo-cat"), true, None)
        .await;
    assert!(matches!(own, Err(DecideError::Requester(_))), "{own:?}");
    let inside = Approver {
        inside_job: Some("job-9".into()),
        ..person("alice", 2_001)
    };
    assert!(matches!(
        store.decide(held.id(), &inside, true, None).await,
        Err(DecideError::InsideJob(_))
    ));
    assert!(matches!(
        store.decide(held.id(), &inside, false, None).await,
        Err(DecideError::InsideJob(_))
    ));
    assert_eq!(held.view().state, "pending");
    assert_eq!(
        fake.names(),
        ["requested", "refused", "refused", "refused", "refused"]
    );
}

#[tokio::test]
async fn nobody_counts_twice_by_answering_as_a_user_and_as_a_person_who_logged_in() {
    let (store, _) = store();
    let held = store.submit(request(None, 2)).await.unwrap();
    let alice = person("alice", 2_001);
    store.decide(held.id(), &alice, true, None).await.unwrap();
    let again = store
        .decide(held.id(), &login("4711", "Alice"), true, None)
        .await;
    assert!(
        matches!(again, Err(DecideError::AlreadyApproved(_))),
        "{again:?}"
    );
    let bob = login("4712", "bob");
    let view = store.decide(held.id(), &bob, true, None).await.unwrap();
    assert_eq!(view.state, "approved");
}

#[tokio::test]
async fn only_members_of_the_group_answer() {
    let (store, _) = store();
    let held = store.submit(request(Some("security"), 1)).await.unwrap();
    let wrong = store
        .decide(held.id(), &person("alice", 2_001), true, None)
        .await;
    assert!(matches!(wrong, Err(DecideError::NotApprover { .. })));
    let any = store.submit(request(None, 1)).await.unwrap();
    let nobody = Approver {
        groups: Vec::new(),
        ..person("mallory", 2_009)
    };
    assert!(matches!(
        store.decide(any.id(), &nobody, false, None).await,
        Err(DecideError::NotApprover { .. })
    ));
    assert!(
        store
            .decide(any.id(), &person("alice", 2_001), true, None)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn two_groups_must_both_agree_and_a_member_of_both_counts_for_each() {
    let both = |counts: [u32; 2]| {
        let mut request = request(None, 1);
        request.requirement.quorums = ["dba", "security"]
            .into_iter()
            .zip(counts)
            .map(|(group, count)| Quorum {
                group: Some(group.into()),
                count,
            })
            .collect();
        request
    };
    let of = |name: &str, uid, groups: &[&str]| Approver {
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..person(name, uid)
    };
    let (store, fake) = store();
    let held = store.submit(both([2, 1])).await.unwrap();
    for (who, state, counts) in [
        (of("alice", 2_001, &["dba"]), "pending", [1, 0]),
        (of("carol", 2_003, &["security"]), "pending", [1, 1]),
        // One of them too many does not stand in for the other group.
        (of("dave", 2_004, &["security"]), "pending", [1, 2]),
        (of("bob", 2_002, &["dba"]), "approved", [2, 2]),
    ] {
        let view = store.decide(held.id(), &who, true, None).await.unwrap();
        assert_eq!(view.state, state, "{who:?}");
        let approved: Vec<u32> = view.needs.iter().map(|need| need.approved).collect();
        assert_eq!(approved, counts, "{who:?}");
    }
    assert!(matches!(
        held.wait().await,
        ApprovalOutcome::Approved { .. }
    ));
    let complete: Vec<bool> = fake
        .events
        .lock()
        .unwrap()
        .iter()
        .filter_map(|event| match event {
            Event::ApprovalDecided(decided) => Some(decided.complete),
            _ => None,
        })
        .collect();
    assert_eq!(complete, [false, false, false, true]);

    let held = store.submit(both([1, 1])).await.unwrap();
    let outsider = of("eve", 2_005, &["finance"]);
    assert!(matches!(
        store.decide(held.id(), &outsider, true, None).await,
        Err(DecideError::NotApprover { .. })
    ));
    let member = of("fay", 2_006, &["dba", "security"]);
    let view = store.decide(held.id(), &member, true, None).await.unwrap();
    assert_eq!(view.state, "approved");

    // Any one of them may deny.
    let held = store.submit(both([1, 1])).await.unwrap();
    let one = of("carol", 2_003, &["security"]);
    let view = store.decide(held.id(), &one, false, None).await.unwrap();
    assert_eq!(view.state, "denied");
}

#[tokio::test]
async fn a_quorum_of_two_needs_two_people() {
    let (store, fake) = store();
    let held = store.submit(request(Some("dba"), 2)).await.unwrap();
    let view = store
        .decide(held.id(), &person("alice", 2_001), true, None)
        .await
        .unwrap();
    assert_eq!(
        (view.state.as_str(), view.approved_by.len()),
        ("pending", 1)
    );
    assert!(matches!(
        store
            .decide(held.id(), &person("alice", 2_001), true, None)
            .await,
        Err(DecideError::AlreadyApproved(_))
    ));
    // Another name of the same user, or another user of the same name, is the same person.
    assert!(matches!(
        store
            .decide(held.id(), &person("alicia", 2_001), true, None)
            .await,
        Err(DecideError::AlreadyApproved(_))
    ));
    assert!(matches!(
        store
            .decide(held.id(), &person("alice", 2_005), true, None)
            .await,
        Err(DecideError::AlreadyApproved(_))
    ));
    store
        .decide(held.id(), &person("bob", 2_002), true, None)
        .await
        .unwrap();
    let ApprovalOutcome::Approved { by } = held.wait().await else {
        panic!("not approved")
    };
    assert_eq!(by, ["alice", "bob"]);
    assert_eq!(
        fake.names(),
        [
            "requested",
            "approve",
            "refused",
            "refused",
            "refused",
            "approve"
        ]
    );
}

#[tokio::test]
async fn the_first_denial_ends_it() {
    let (store, fake) = store();
    let held = store.submit(request(Some("dba"), 2)).await.unwrap();
    store
        .decide(held.id(), &person("alice", 2_001), true, None)
        .await
        .unwrap();
    store
        .decide(
            held.id(),
            &person("bob", 2_002),
            false,
            Some("wrong table".into()),
        )
        .await
        .unwrap();
    let late = store
        .decide(held.id(), &person("carol", 2_003), true, None)
        .await;
    assert!(
        matches!(&late, Err(DecideError::Ended { state, .. }) if state == "denied"),
        "{late:?}"
    );
    match held.wait().await {
        ApprovalOutcome::Denied { by, reason } => assert_eq!(
            (by.as_str(), reason.as_deref()),
            ("bob", Some("wrong table"))
        ),
        other => panic!("{other:?}"),
    }
    assert_eq!(fake.names(), ["requested", "approve", "deny"]);
}

#[tokio::test]
async fn of_two_approvers_who_answer_at_once_the_first_on_record_wins() {
    let (store, fake) = store();
    let held = store.submit(request(Some("dba"), 1)).await.unwrap();
    let closed = fake.gate.write().await;
    let mut answers = Vec::new();
    for (name, uid, approve) in [("alice", 2_001, true), ("bob", 2_002, false)] {
        let (store, id) = (store.clone(), held.id().to_owned());
        answers.push(tokio::spawn(async move {
            store.decide(&id, &person(name, uid), approve, None).await
        }));
    }
    tokio::task::yield_now().await;
    drop(closed);
    let first = answers.remove(0).await.unwrap();
    let second = answers.remove(0).await.unwrap();
    assert_eq!(
        u8::from(first.is_ok()) + u8::from(second.is_ok()),
        1,
        "{first:?} {second:?}"
    );
    let outcome = held.wait().await;
    assert_eq!(
        matches!(outcome, ApprovalOutcome::Approved { .. }),
        first.is_ok()
    );
    // Only the answer that counts is on record.
    assert_eq!(fake.names().len(), 2, "{:?}", fake.names());
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_request_expires() {
    let (store, fake) = store();
    let held = store.submit(request(Some("dba"), 1)).await.unwrap();
    assert!(
        tokio::time::timeout(Duration::from_secs(15 * 60 - 1), held.wait())
            .await
            .is_err()
    );
    assert!(matches!(held.wait().await, ApprovalOutcome::Expired));
    let late = store
        .decide(held.id(), &person("alice", 2_001), true, None)
        .await;
    assert!(
        matches!(&late, Err(DecideError::Ended { state, .. }) if state == "expired"),
        "{late:?}"
    );
    drop(held);
    assert_eq!(fake.names(), ["requested", "expired"]);
    assert_eq!(store.list()[0].state, "expired");
}

#[tokio::test(start_paused = true)]
async fn an_approval_that_is_not_used_in_time_is_gone() {
    let (store, fake) = store();
    let proof = approved(&store).await;
    tokio::time::advance(Duration::from_mins(16)).await;
    assert_eq!(proof.redeem(&binding()).await, Err(RedeemError::Expired));
    assert_eq!(fake.names(), ["requested", "approve", "expired"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_recorded_after_the_expiry_has_no_effect() {
    let (store, fake) = store();
    let held = store.submit(request(Some("dba"), 1)).await.unwrap();
    let closed = fake.gate.write().await;
    let answer = tokio::spawn({
        let (store, id) = (store.clone(), held.id().to_owned());
        async move { store.decide(&id, &person("alice", 2_001), true, None).await }
    });
    assert!(matches!(held.wait().await, ApprovalOutcome::Expired));
    drop(closed);
    assert!(matches!(
        answer.await.unwrap(),
        Err(DecideError::Ended { .. })
    ));
    assert!(matches!(held.wait().await, ApprovalOutcome::Expired));
}

#[tokio::test]
async fn a_session_that_goes_away_withdraws_its_request() {
    let (store, fake) = store();
    let held = store.submit(request(Some("dba"), 1)).await.unwrap();
    let id = held.id().to_owned();
    drop(held);
    let late = store.decide(&id, &person("alice", 2_001), true, None).await;
    assert!(
        matches!(&late, Err(DecideError::Ended { state, .. }) if state == "withdrawn"),
        "{late:?}"
    );
    let other = store.submit(request(Some("dba"), 1)).await.unwrap();
    store.withdraw_job("job-2", "ended");
    assert_eq!(store.open(), 1);
    store.withdraw_job("job-1", "the job ended");
    assert!(
        matches!(other.wait().await, ApprovalOutcome::Withdrawn { reason } if reason == "the job ended")
    );
    assert!(!store.withdraw(other.id(), "again"));
    drop(other);
    assert_eq!(
        fake.names(),
        ["requested", "withdrawn", "requested", "withdrawn"]
    );
}

#[tokio::test]
async fn what_is_not_on_record_has_no_effect() {
    let (store, fake) = store();
    let held = store.submit(request(Some("dba"), 1)).await.unwrap();
    fake.full.store(true, Ordering::SeqCst);
    assert!(matches!(
        store
            .decide(held.id(), &person("alice", 2_001), true, None)
            .await,
        Err(DecideError::Record(_))
    ));
    assert_eq!(held.view().state, "pending");
    assert!(held.view().approved_by.is_empty());
    assert!(matches!(
        store.submit(request(Some("dba"), 1)).await,
        Err(SubmitError::Record(_))
    ));
    assert_eq!(store.open(), 1);
}

#[tokio::test]
async fn one_job_cannot_fill_the_approvers_list() {
    let (store, _) = store();
    let mut held = Vec::new();
    let refused = loop {
        match store.submit(request(Some("dba"), 1)).await {
            Ok(one) => held.push(one),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, SubmitError::TooMany));
    assert_eq!(held.len(), 64);
    assert!(
        store
            .submit(ApprovalRequest {
                job: "job-2".into(),
                ..request(Some("dba"), 1)
            })
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn requests_are_found_by_prefixes_that_name_one() {
    let (store, _) = store();
    let mut held = Vec::new();
    // By the pigeonhole principle two of seventeen begin with the same digit.
    for _ in 0..17 {
        held.push(store.submit(request(Some("dba"), 1)).await.unwrap());
    }
    let id = held[0].id();
    assert_eq!(store.show(id).unwrap().id, id);
    assert_eq!(store.show(&id[4..]).unwrap().id, id);
    assert!((0..16).any(|digit| matches!(
        store.show(&format!("apr-{digit:x}")),
        Err(DecideError::Ambiguous(_))
    )));
    for nothing in ["", "apr-", "apr-zz", "*"] {
        assert!(
            matches!(store.show(nothing), Err(DecideError::Unknown(_))),
            "{nothing}"
        );
    }
}

#[tokio::test]
async fn every_step_stands_in_a_real_log() {
    let dir = tempfile::tempdir().unwrap();
    let config = crate::audit::LogConfig::new(dir.path(), crate::audit::Fsync::Risky, "host");
    let (log, _) = crate::audit::Log::open(config).unwrap();
    let store = Approvals::new(log.clone());
    approved(&store).await.redeem(&binding()).await.unwrap();
    log.close("test").await.unwrap();
    let report = crate::audit::verify(dir.path(), crate::audit::VerifyOptions::default());
    assert_eq!(report.problem, None);
    for kind in ["approval-requested", "approval-decided", "approval-used"] {
        assert_eq!(report.events.get(kind), Some(&1), "{kind}");
    }
}

#[tokio::test]
async fn whoever_follows_sees_every_change_in_order() {
    let (store, _) = store();
    let mut changes = store.subscribe();
    let held = store.submit(request(Some("dba"), 2)).await.unwrap();
    let id = held.id().to_owned();
    store
        .decide(&id, &person("alice", 2_001), true, None)
        .await
        .unwrap();
    store
        .decide(&id, &person("bob", 2_002), true, None)
        .await
        .unwrap();
    held.approved().redeem(&binding()).await.unwrap();
    drop(held);
    let other = store.submit(request(Some("dba"), 1)).await.unwrap();
    let (second, carol) = (other.id().to_owned(), person("carol", 2_003));
    store.decide(&second, &carol, false, None).await.unwrap();
    drop(other);
    drop(store.submit(request(Some("dba"), 1)).await.unwrap());
    let mut seen = Vec::new();
    while let Ok(change) = changes.try_recv() {
        seen.push((change.id == id, change.kind));
    }
    assert_eq!(
        seen,
        [
            (true, ChangeKind::Requested),
            (true, ChangeKind::Approved),
            (true, ChangeKind::Approved),
            (true, ChangeKind::Used),
            (false, ChangeKind::Requested),
            (false, ChangeKind::Denied),
            (false, ChangeKind::Requested),
            (false, ChangeKind::Withdrawn),
        ]
    );
}

#[tokio::test]
async fn somebody_who_logged_in_is_not_the_user_of_the_same_number() {
    let (store, fake) = store();
    let login = |subject: &str| Approver {
        id: ApproverId::Oidc {
            issuer: "https://login.example".into(),
            subject: subject.into(),
        },
        ..person(subject, 0)
    };
    let held = store.submit(request(Some("dba"), 3)).await.unwrap();
    for who in [login("1000"), login("7"), person("alice", 2_001)] {
        store.decide(held.id(), &who, true, None).await.unwrap();
    }
    assert_eq!(held.view().state, "approved");
    assert_eq!(held.view().answers.len(), 3);
    let events = fake.events.lock().unwrap();
    let Event::ApprovalDecided(first) = &events[1] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (first.uid, first.subject.as_deref()),
        (None, Some("https://login.example 1000"))
    );
}
