//! Statements and what they do.

use super::shop::short;

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (sql, expected) in cases {
        let found = short(sql);
        if found != *expected {
            wrong.push(format!("{sql}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn plain_columns_keep_their_origin_under_any_name() {
    check(&[
        ("select id, email as x from customers", "customers:S(id=o,email=o) -> id=customers.id x=customers.email"),
    ]);
}
