//! Which columns a statement writes in rows that it adds, and which in rows that are there.

use super::shop::{catalog, namespace, one_in};
use crate::sql::ColumnUse;

/// The columns of `orders` that are written like this.
fn columns(sql: &str, how: ColumnUse) -> Vec<String> {
    let statement = match one_in(&catalog(), &namespace(), sql) {
        Ok(statement) => statement,
        Err(error) => panic!("{sql}: {error}"),
    };
    statement
        .relations
        .iter()
        .filter(|used| used.relation.name == "orders")
        .flat_map(|used| &used.columns)
        .filter(|(_, uses)| uses.contains(&how))
        .map(|(column, _)| column.column.clone())
        .collect()
}

#[test]
fn what_is_inserted_is_told_from_what_is_updated_clause_by_clause() {
    let cases: [(&str, &[&str], &[&str]); 5] = [
        (
            "insert into orders (id, note) values (1, 'x')",
            &["id", "note"],
            &[],
        ),
        ("update orders set note = 'x' where id = 1", &[], &["note"]),
        (
            "insert into orders (id, note) values (1, 'x') on conflict (id) do update set status = 'paid'",
            &["id", "note"],
            &["status"],
        ),
        (
            "merge into orders o using customers c on o.customer_id = c.id when matched then update set note = 'x' when not matched then insert (id, status) values (c.id, 'open')",
            &["id", "status"],
            &["note"],
        ),
        ("copy orders (id, note) from stdin", &["id", "note"], &[]),
    ];
    for (sql, inserted, updated) in cases {
        assert_eq!(columns(sql, ColumnUse::Inserted), inserted, "{sql}");
        assert_eq!(columns(sql, ColumnUse::Updated), updated, "{sql}");
    }
}
