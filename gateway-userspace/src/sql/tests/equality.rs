//! Which conditions compare a column with the statement's own values, and no more.

use super::shop::{catalog, namespace, one_in};
use crate::sql::{Catalog, ColumnUse, Function, Operator};

/// How `customers.email` is used.
fn uses(catalog: &Catalog, sql: &str) -> Vec<ColumnUse> {
    let statement = match one_in(catalog, &namespace(), sql) {
        Ok(statement) => statement,
        Err(error) => panic!("{sql}: {error}"),
    };
    statement
        .relations
        .iter()
        .filter(|used| used.relation.name == "customers")
        .flat_map(|used| &used.columns)
        .filter(|(column, _)| column.column == "email")
        .flat_map(|(_, uses)| uses.iter().copied())
        .collect()
}

#[test]
fn equality_with_constants_and_parameters_is_told_from_other_conditions() {
    let catalog = catalog();
    for sql in [
        "select id from customers where email = 'x'",
        "select id from customers where 'x' = email",
        "select id from customers where email = $1",
        "select id from customers where email = $1::text::varchar",
        "select id from customers where email operator(pg_catalog.=) 'x'",
        "select id from customers where id > 3 and (email = 'x' or email = 'y')",
        "select id from customers where email in ('x', $1)",
        "select id from customers where email = any ($1)",
        "select id from customers where email = any (array['x', $1])",
        "select id from customers where email = any ('{x,y}'::text[])",
        "select s.id from (select id, email as e from customers) s where s.e = 'x'",
        "select o.id from orders o where exists (select 1 from customers c where c.email = 'x' and c.id = o.customer_id)",
        "update customers set country = 'de' where email = 'x'",
        "delete from customers where id = 1 or email = $1",
    ] {
        assert_eq!(uses(&catalog, sql), [ColumnUse::Equality], "{sql}");
    }
    assert_eq!(
        uses(&catalog, "select email from customers where email = 'x'"),
        [ColumnUse::Output, ColumnUse::Equality]
    );
}

#[test]
fn m3_every_other_condition_stays_a_filter() {
    let catalog = catalog();
    for sql in [
        "select id from customers where email <> 'x'",
        "select id from customers where email like 'x'",
        "select id from customers where email > 'x'",
        "select id from customers where not email = 'x'",
        "select id from customers where not (id = 1 and email = 'x')",
        "select id from customers where email not in ('x')",
        "select id from customers where email = all (array['x'])",
        "select id from customers where email <> any (array['x'])",
        "select id from customers where email is null",
        "select id from customers where (email = 'x') is true",
        "select id from customers where (email = 'x') = true",
        "select id from customers where email is not distinct from 'x'",
        "select id from customers where lower(email) = 'x'",
        "select id from customers where email::text = 'x'",
        "select id from customers where email collate \"C\" = 'x'",
        "select id from customers where (email, id) = ('x', 1)",
        "select id from customers where email = ssn",
        "select id from customers where email = lower('x')",
        "select id from customers where email = 'x' || 'y'",
        "select id from customers where email = (select 'x')",
        "select id from customers where email in (select note from orders)",
        "select c.id from customers c, (values ('x'), ('y')) v(e) where c.email = v.e",
        "select c.id from customers c join orders o on c.email = 'x'",
        "select c.id from customers c, orders o where c.email = o.note",
        "select id from customers where case when email = 'x' then true end",
        "select id from customers where coalesce(email = 'x', false)",
        "select id from customers group by id, email having email = 'x'",
        "select count(*) filter (where email = 'x') from customers",
        "update customers set country = 'de' where not (email = 'x')",
        "delete from customers where not (id = 1 or not email = 'x')",
    ] {
        let found = uses(&catalog, sql);
        assert!(found.contains(&ColumnUse::Filter), "{sql}: {found:?}");
        assert!(!found.contains(&ColumnUse::Equality), "{sql}: {found:?}");
    }
    for sql in [
        "select email = 'x' from customers",
        "select email = any (array['x']) from customers",
    ] {
        assert_eq!(uses(&catalog, sql), [ColumnUse::Derived], "{sql}");
    }
    assert_eq!(
        uses(
            &catalog,
            "select id from customers where email = 'x' order by email"
        ),
        [ColumnUse::Filter, ColumnUse::Equality]
    );
}

#[test]
fn an_operator_of_that_name_that_nobody_reviewed_is_no_equality() {
    let mut catalog = catalog();
    catalog
        .operators
        .entry("=".to_owned())
        .or_default()
        .push(Operator {
            schema: "public".to_owned(),
            function_oid: 77_001,
        });
    catalog
        .functions
        .entry("leak".to_owned())
        .or_default()
        .push(Function {
            oid: 77_001,
            schema: "public".to_owned(),
            ..Function::default()
        });
    let sql = "select id from customers where email = 'x'";
    assert_eq!(uses(&catalog, sql), [ColumnUse::Filter]);
    let sql = "select id from customers where email operator(pg_catalog.=) 'x'";
    assert_eq!(uses(&catalog, sql), [ColumnUse::Equality]);
}
