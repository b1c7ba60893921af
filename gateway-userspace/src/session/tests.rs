//! What sessions share of statements, and what they never share.

use std::{path::PathBuf, sync::Arc};

use super::{
    Gate, Session, Understood,
    names::Snapshot,
    reading::ReadingKey,
    seat::{example, gate, seat},
};
use crate::{policy::Verdict, sql::Catalog};

const POLICY: &str = "version: 1\ngrants:\n  \
- name: clear\n    who: { issuer: clear }\n    database: shop\n    role: { login: agent }\n    allow: [{ all: '*.*' }]\n  \
- name: masked\n    who: { issuer: masked }\n    database: shop\n    role: { login: agent }\n    allow: [{ all: '*.*' }]\n    mask: [{ column: public.customers.email, with: redact }]\n  \
- name: orders\n    who: { issuer: orders }\n    database: shop\n    role: { login: agent }\n    allow: [{ select: public.orders }]\n";

const CUSTOMERS: &str = "SELECT id, email FROM customers";

struct Office {
    gate: Arc<Gate>,
    names: Snapshot,
    folder: PathBuf,
}

impl Office {
    fn open(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("cordon-{name}-{}", std::process::id()));
        Self {
            gate: gate(&folder, POLICY).unwrap(),
            names: example().unwrap(),
            folder,
        }
    }

    async fn seat(&self, issuer: &str) -> Session {
        seat(&self.gate, issuer, "agent", &self.names)
            .await
            .unwrap()
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn understand(session: &mut Session, text: &str) -> Arc<Understood> {
    let parsed = session.split(text).await.unwrap();
    session.analyze(&parsed[0]).await.unwrap()
}

fn same(one: &Understood, other: &Understood) -> bool {
    Arc::ptr_eq(&one.reading, &other.reading)
}

#[tokio::test]
async fn sessions_share_what_a_statement_means_and_never_what_they_may_do() {
    let office = Office::open("share");
    let (mut clear, mut masked, mut orders) = (
        office.seat("clear").await,
        office.seat("masked").await,
        office.seat("orders").await,
    );
    // Twice: the second time each session has it from its own cache.
    for _ in 0..2 {
        let in_clear = understand(&mut clear, CUSTOMERS).await;
        let hidden = understand(&mut masked, CUSTOMERS).await;
        let denied = understand(&mut orders, CUSTOMERS).await;
        assert!(same(&in_clear, &hidden) && same(&in_clear, &denied));
        let redactions = |understood: &Understood| {
            let obligations = understood.obligations();
            obligations.map(|obligations| obligations.redactions.len())
        };
        assert_eq!(redactions(&in_clear), Some(0), "{:?}", in_clear.verdict);
        assert_eq!(redactions(&hidden), Some(1), "{:?}", hidden.verdict);
        assert!(matches!(denied.verdict, Verdict::Deny(_)), "{denied:?}");
        assert!(hidden.protects() && !in_clear.protects());
    }
}

#[tokio::test]
async fn a_reading_is_not_found_in_another_catalog_or_under_another_login() {
    let mut office = Office::open("names");
    let mut first = office.seat("clear").await;
    let mut other_login = seat(&office.gate, "clear", "somebody", &office.names)
        .await
        .unwrap();
    let mut catalog = Catalog::clone(&office.names.catalog);
    catalog.version = Catalog::empty().version;
    office.names.catalog = Arc::new(catalog);
    let mut other_catalog = office.seat("clear").await;
    let one = understand(&mut first, CUSTOMERS).await;
    let under_login = understand(&mut other_login, CUSTOMERS).await;
    let in_catalog = understand(&mut other_catalog, CUSTOMERS).await;
    assert!(!same(&one, &under_login) && !same(&one, &in_catalog));
}

#[tokio::test]
async fn a_reading_ends_with_the_last_session_that_knows_it() {
    let office = Office::open("ends");
    let mut session = office.seat("clear").await;
    let namespace = session.names.namespace.clone().unwrap();
    let key = ReadingKey {
        text: CUSTOMERS.into(),
        catalog: office.names.catalog.version,
        namespace,
    };
    understand(&mut session, CUSTOMERS).await;
    assert!(office.gate.readings.get(&key).is_some());
    session.close("done").await;
    assert!(office.gate.readings.get(&key).is_none());
}

#[tokio::test]
async fn what_one_session_fetches_says_nothing_of_what_another_fetches() {
    let office = Office::open("fetch");
    let (mut one, mut other) = (office.seat("clear").await, office.seat("clear").await);
    let customers = understand(&mut one, CUSTOMERS).await;
    let orders = understand(&mut other, "SELECT id FROM orders").await;
    one.bind_cursor("c".to_owned(), customers);
    other.bind_cursor("c".to_owned(), orders);
    let fetch = "FETCH ALL FROM c";
    let (here, there) = (
        understand(&mut one, fetch).await,
        understand(&mut other, fetch).await,
    );
    assert_eq!(here.reading.relations(), ["public.customers"]);
    assert_eq!(there.reading.relations(), ["public.orders"]);
}
