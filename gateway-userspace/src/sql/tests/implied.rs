//! What the database's own definitions do for a statement, and statements that run prepared ones.
//! The notation is that of [`super::shop::shorten`].

use super::shop::{catalog, namespace, one, one_in, short, shorten};
use crate::sql::{RowPolicy, Statement};

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    for (sql, expected) in cases {
        assert_eq!(short(sql), *expected, "{sql}");
    }
}

#[test]
fn m15_what_row_security_reads_is_implied_through_policies_of_policies() {
    check(&[
        (
            "select id from tickets",
            "tickets:S(id=o) implied members:S(login=f,tenant_id=f) implied fn:public.tenant! -> id=tickets.id",
        ),
        (
            "select * from (select count(*) from tickets) s",
            "tickets:S() implied members:S(login=f,tenant_id=f) implied fn:public.tenant! -> count<",
        ),
        (
            "select login from members",
            "members:S(login=o) implied fn:public.tenant! -> login=members.login",
        ),
        // A policy for DELETE does not count for others.
        (
            "delete from tickets where id = 1",
            "tickets:SD(id=f) implied members:S(login=f,tenant_id=f) implied orders:S(id=f) implied fn:public.tenant!",
        ),
        ("truncate tickets", "tickets:T() unlimited"),
    ]);
}

#[test]
fn m15_defaults_and_checks_that_run_are_implied() {
    check(&[
        (
            "insert into tickets (tenant_id) values (1)",
            "tickets:I(tenant_id=w) implied members:S(login=f,tenant_id=f) implied tickets_id_seq:U() implied fn:public.is_code! implied fn:public.tenant!",
        ),
        // The default of a column that is not written does not run, nor the check of its type.
        (
            "update tickets set tenant_id = 2 where id = 1",
            "tickets:SU(id=f,tenant_id=w) implied members:S(login=f,tenant_id=f) implied fn:public.tenant!",
        ),
        (
            "update tickets set id = default, code = 'x' where id = 1",
            "tickets:SU(code=w,id=fw) implied members:S(login=f,tenant_id=f) implied tickets_id_seq:U() implied fn:public.is_code! implied fn:public.tenant!",
        ),
        (
            "update members set login = 'x'",
            "members:U(login=w) implied fn:public.tenant! unlimited",
        ),
        ("select 'x'::code", "implied fn:public.is_code! -> code<"),
    ]);
}

#[test]
fn a_policy_that_is_not_understood_refuses_the_statement() {
    let mut catalog = catalog();
    let orders = catalog
        .relations
        .get_mut("public")
        .and_then(|all| all.get_mut("orders"))
        .expect("exists");
    orders.policies.push(RowPolicy {
        command: b'*',
        query: "SELECT FROM ONLY public.orders WHERE nofunction(id)".to_owned(),
        ..RowPolicy::default()
    });
    let found = shorten(&one_in(&catalog, &namespace(), "select id from orders"));
    assert_eq!(
        found,
        "unsupported: the definition of a row security policy of public.orders is not understood: function nofunction(integer) does not exist"
    );
}

fn statement(sql: &str) -> Statement {
    one(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

#[test]
fn what_runs_a_prepared_statement_does_what_that_does() {
    let prepared = statement("update orders set note = $1 where id = $2 returning status");
    let query = statement("select ssn, lower(email) from customers where id = $1");
    for (sql, inner, alone, together) in [
        (
            "execute p (1)",
            &query,
            "executes p",
            "customers:S(email=d,id=f,ssn=o) -> ssn=customers.ssn lower<customers.email",
        ),
        (
            "explain execute p ('x', order_total(1))",
            &prepared,
            "fn:public.order_total! executes p -> QUERY PLAN<",
            "orders:S(id=f,status=o) fn:public.order_total! -> QUERY PLAN<",
        ),
        (
            "explain (analyze) execute p ('x', 1)",
            &prepared,
            "executes p -> QUERY PLAN<",
            "orders:SU(id=f,note=w,status=o) -> QUERY PLAN<",
        ),
        (
            "create temp table t as execute p (1)",
            &query,
            "ddl:Create table pg_temp.t temp executes p",
            "customers:S(email=s,id=f,ssn=s) ddl:Create table pg_temp.t temp",
        ),
        (
            "explain create table t as execute p (1)",
            &query,
            "executes p -> QUERY PLAN<",
            "customers:S(email=d,id=f,ssn=o) -> QUERY PLAN<",
        ),
        (
            "explain analyze create table t as execute p (1)",
            &query,
            "ddl:Create table public.t executes p -> QUERY PLAN<",
            "customers:S(email=s,id=f,ssn=s) ddl:Create table public.t -> QUERY PLAN<",
        ),
    ] {
        let outer = statement(sql);
        assert_eq!(shorten(&Ok(outer.clone())), alone, "{sql}");
        assert_eq!(shorten(&Ok(outer.running(inner))), together, "{sql}");
    }
}
