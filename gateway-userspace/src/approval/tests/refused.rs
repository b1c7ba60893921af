//! Statements that are refused until they are approved, and sent again.

use super::*;

fn asking() -> ApprovalRequest {
    let mut request = request(Some("dba"), 1);
    request.requirement.on_hold = OnHold::Refuse;
    request
}

async fn waits(store: &Approvals, request: ApprovalRequest) -> String {
    match store.ask(request).await.unwrap() {
        Asked::Waits(waiting) => waiting.id().to_owned(),
        Asked::Approved(approved) => panic!("{approved:?}"),
    }
}

async fn ready(store: &Approvals, request: ApprovalRequest) -> Approved {
    match store.ask(request).await.unwrap() {
        Asked::Approved(approved) => approved,
        Asked::Waits(waiting) => panic!("{waiting:?}"),
    }
}

#[tokio::test]
async fn it_is_asked_about_once_and_runs_once() {
    let (store, fake) = store();
    let id = waits(&store, asking()).await;
    // Sent again too early, it is not asked about twice.
    assert_eq!(waits(&store, asking()).await, id);
    store
        .decide(&id, &person("alice", 2_001), true, None)
        .await
        .unwrap();
    let (first, second) = (ready(&store, asking()).await, ready(&store, asking()).await);
    assert_eq!(first.redeem(&binding()).await.unwrap().id(), id);
    assert_eq!(second.redeem(&binding()).await, Err(RedeemError::Used));
    assert!(store.show(&id).unwrap().used.is_some());
    assert_ne!(waits(&store, asking()).await, id);
    assert_eq!(fake.names(), ["requested", "approve", "used", "requested"]);
}

#[tokio::test]
async fn f12_anything_else_is_decided_anew() {
    let two = BoundParameter {
        value: Some(b"2"),
        ..ONE
    };
    let other_parameter = || ApprovalRequest {
        binding: bind("ses-1", &statement(), &namespace(), &[two]),
        ..asking()
    };
    let other_job = || ApprovalRequest {
        job: "job-2".into(),
        ..asking()
    };
    let (store, _) = store();
    let id = waits(&store, asking()).await;
    store
        .decide(&id, &person("alice", 2_001), true, None)
        .await
        .unwrap();
    for other in [other_parameter(), other_job()] {
        assert_ne!(waits(&store, other).await, id);
    }
    assert_eq!(store.show(&id).unwrap().state, "approved");
    // The policy asks for somebody else meanwhile: what was approved is not enough.
    let mut stricter = asking();
    stricter.requirement.quorums[0].group = Some("security".into());
    let new = waits(&store, stricter).await;
    assert_ne!(new, id);
    assert_eq!(store.show(&id).unwrap().state, "withdrawn");
    // One that waits on its connection is for that connection only.
    let held = store.submit(request(Some("dba"), 1)).await.unwrap();
    store
        .decide(held.id(), &person("alice", 2_001), true, None)
        .await
        .unwrap();
    assert_ne!(waits(&store, asking()).await, held.id());
}

#[tokio::test(start_paused = true)]
async fn an_approval_counts_for_as_long_as_an_answer_was_waited_for() {
    let (store, fake) = store();
    let id = waits(&store, asking()).await;
    tokio::time::sleep(Duration::from_mins(14)).await;
    store
        .decide(&id, &person("alice", 2_001), true, None)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_mins(14)).await;
    let approved = ready(&store, asking()).await;
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(approved.redeem(&binding()).await, Err(RedeemError::Expired));
    assert_ne!(waits(&store, asking()).await, id);
    assert_eq!(
        fake.names(),
        ["requested", "approve", "expired", "requested"]
    );
}

#[tokio::test]
async fn r5_an_approval_does_not_outlive_its_job() {
    let (store, _) = store();
    let id = waits(&store, asking()).await;
    store
        .decide(&id, &person("alice", 2_001), true, None)
        .await
        .unwrap();
    let approved = ready(&store, asking()).await;
    store.withdraw_job("job-1", "the job has ended");
    assert!(matches!(
        approved.redeem(&binding()).await,
        Err(RedeemError::Withdrawn(_))
    ));
    assert_ne!(waits(&store, asking()).await, id);
}
