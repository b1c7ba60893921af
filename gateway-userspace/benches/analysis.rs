//! What it costs to understand and judge a statement: one that the session has seen before, and one
//! that is new to it. `cargo xtask bench`.

use std::{cell::RefCell, fmt::Write};

use cordon::{session::Desk, sql::split};
use divan::{Bencher, black_box};

const STATEMENTS: [&str; 5] = [
    "point select",
    "join of five tables",
    "star query",
    "IN list of 1,000",
    "migration",
];

fn main() {
    divan::main();
}

fn text(name: &str) -> String {
    match name {
        "point select" => "SELECT id, email, country FROM customers WHERE id = $1".to_owned(),
        "join of five tables" => "SELECT c.id, c.country, o.status, i.product, i.quantity, n.body, s.quantity \
             FROM customers AS c JOIN orders AS o ON o.customer_id = c.id \
             JOIN order_items AS i ON i.order_id = o.id \
             LEFT JOIN order_notes AS n ON n.order_id = o.id \
             LEFT JOIN imports AS s ON s.sku = i.product \
             WHERE c.country = $1 AND o.placed_at > now() - interval '30 days' \
             ORDER BY o.placed_at DESC LIMIT 50"
            .to_owned(),
        // The shape of query 25 of TPC-DS.
        "star query" => "SELECT c.country, c.name, i.product, i.line, sum(o.total) AS ordered, \
             sum(r.total) AS returned, sum(s.price) AS stock \
             FROM orders AS o, orders AS r, imports AS s, order_notes AS d1, order_notes AS d2, \
             order_notes AS d3, customers AS c, order_items AS i \
             WHERE d1.id = 4 AND d1.author = 'clerk' AND d1.order_id = o.id AND i.order_id = o.id \
             AND c.id = o.customer_id AND o.customer_id = r.customer_id AND o.note = r.note \
             AND o.status = r.status AND r.id = d2.order_id AND d2.id BETWEEN 4 AND 10 \
             AND d2.author = 'clerk' AND i.product = s.sku AND i.quantity = s.quantity \
             AND d3.order_id = d2.order_id AND d3.id BETWEEN 4 AND 10 AND d3.author = 'clerk' \
             GROUP BY c.country, c.name, i.product, i.line \
             ORDER BY c.country, c.name, i.product, i.line LIMIT 100"
            .to_owned(),
        "IN list of 1,000" => {
            let mut text = "SELECT id, status FROM orders WHERE customer_id IN (0".to_owned();
            for id in 1..1_000 {
                let _ = write!(text, ", {}", id * 37);
            }
            text + ")"
        }
        "migration" => "CREATE TABLE invoices (id bigserial PRIMARY KEY, \
             order_id integer NOT NULL REFERENCES orders (id) ON DELETE CASCADE, \
             number text NOT NULL UNIQUE, amount numeric(12, 2) NOT NULL DEFAULT 0 CHECK (amount >= 0), \
             issued timestamptz NOT NULL DEFAULT now(), paid timestamptz, \
             CONSTRAINT paid_later CHECK (paid IS NULL OR paid >= issued))"
            .to_owned(),
        other => panic!("no statement is called {other}"),
    }
}

fn desk() -> Desk {
    Desk::open().expect("a session")
}

/// The cache's answer, with everything that says whether it still holds.
#[divan::bench(args = STATEMENTS)]
fn seen_before(bencher: Bencher<'_, '_>, name: &str) {
    let mut desk = desk();
    let text = text(name);
    desk.read(&text).expect("understood");
    assert!(desk.again(&text), "it is kept");
    let desk = RefCell::new(desk);
    bencher.bench_local(|| desk.borrow_mut().again(black_box(&text)));
}

/// Grammar, names and verdict, on the threads that the daemon uses for it.
#[divan::bench(args = STATEMENTS)]
fn new(bencher: Bencher<'_, '_>, name: &str) {
    let text = text(name);
    let desk = RefCell::new(desk());
    bencher.bench_local(|| {
        desk.borrow_mut()
            .read(black_box(&text))
            .expect("understood")
    });
}

/// `PostgreSQL`'s grammar alone.
#[divan::bench(args = STATEMENTS)]
fn grammar(bencher: Bencher<'_, '_>, name: &str) {
    let text = text(name);
    bencher.bench_local(|| split(black_box(&text)));
}
