//! Statements and what they do, by the shop's catalog. The notation is that of
//! [`super::shop::shorten`]: uses of relations with `o`utput, `d`erived, `f`ilter, `s`ource and
//! `w`ritten columns; `fn:` with `!` where a grant is needed; then the output columns with `=`
//! for direct, `~` for merged and `<` for computed.

use super::shop::{catalog, namespace, one, one_in, shadowed, short, shorten, view};
use crate::sql::{
    Catalog, Function, FunctionClass, Namespace, NotUnderstood, SettingChange, SettingValue,
    StatementKind, TransactionControl, TypeInfo, VOID, run_on_big_stack, split,
};

#[track_caller]
fn check(cases: &[(&str, &str)]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(sql, expected)| {
            let found = short(sql);
            (found != *expected)
                .then(|| format!("{sql}\n  expected {expected}\n  found    {found}"))
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn m1_aliases_and_expressions_keep_the_origin() {
    check(&[
        (
            "select id, email as x from customers",
            "customers:S(email=o,id=o) -> id=customers.id x=customers.email",
        ),
        (
            "select lower(ssn) || 'x', ssn::text, (ssn) from customers",
            "customers:S(ssn=od) -> ?column?<customers.ssn ssn<customers.ssn ssn=customers.ssn",
        ),
        (
            "select email collate \"C\", coalesce(email, ssn), greatest(email, ssn), nullif(email, 'x') from customers",
            "customers:S(email=d,ssn=d) -> email<customers.email coalesce<customers.email+customers.ssn greatest<customers.email+customers.ssn nullif<customers.email",
        ),
        (
            "select * from customers c",
            "customers:S(country=o,email=o,id=o,ssn=o) -> id=customers.id email=customers.email ssn=customers.ssn country=customers.country",
        ),
        (
            "select x from (select ssn as x from customers) s",
            "customers:S(ssn=o) -> x=customers.ssn",
        ),
    ]);
}

#[test]
fn m2_every_shape_of_query_has_lineage() {
    check(&[
        (
            "with a as (select ssn y from customers) select y from a",
            "customers:S(ssn=o) -> y=customers.ssn",
        ),
        (
            "with recursive t(n, s) as (select 1, ssn from customers union all select n + 1, s from t where n < 10) select n, s from t",
            "customers:S(ssn=o) -> n< s=customers.ssn",
        ),
        (
            "with recursive t as (select id, note s from orders union all select c.id, c.ssn from t join customers c on c.id = t.id) select s from t",
            "customers:S(id=f,ssn=o) orders:S(id=f,note=o) -> s~customers.ssn+orders.note",
        ),
        (
            "with recursive a as (select * from b), b as (select ssn from customers) select * from a",
            "customers:S(ssn=o) -> ssn=customers.ssn",
        ),
        (
            "select (select ssn from customers limit 1)",
            "customers:S(ssn=o) -> ssn=customers.ssn",
        ),
        (
            "select ssn from customers union all select status from orders",
            "customers:S(ssn=o) orders:S(status=o) -> ssn~customers.ssn+orders.status",
        ),
        (
            "select ssn from customers union all select 'x'",
            "customers:S(ssn=o) -> ssn~customers.ssn",
        ),
        (
            "select id from customers except select id from orders",
            "customers:S(id=of) orders:S(id=of) -> id~customers.id+orders.id",
        ),
        (
            "select l.ssn from orders o, lateral (select ssn from customers c where c.id = o.customer_id) l",
            "customers:S(id=f,ssn=o) orders:S(customer_id=f) -> ssn=customers.ssn",
        ),
        (
            "select ssn from customers join (values ('a')) v(ssn) using (ssn)",
            "customers:S(ssn=of) -> ssn~customers.ssn",
        ),
        (
            "select * from customers join orders using (id)",
            "customers:S(country=o,email=o,id=of,ssn=o) orders:S(customer_id=o,id=of,note=o,status=o) -> id~customers.id+orders.id email=customers.email ssn=customers.ssn country=customers.country customer_id=orders.customer_id status=orders.status note=orders.note",
        ),
        (
            "table customers",
            "customers:S(country=o,email=o,id=o,ssn=o) -> id=customers.id email=customers.email ssn=customers.ssn country=customers.country",
        ),
        ("values (1, 'a'), (2, 'b')", "-> column1< column2<"),
        (
            "select t from order_items, unnest(tags) t",
            "order_items:S(tags=d) -> t<order_items.tags",
        ),
        (
            "select * from unnest(array['a','b'], array[1,2]) as u(a, b)",
            "-> a< b<",
        ),
        (
            "select * from (values (1), (2)) v(r), unnest(array[r * 10, -r, r % 2]) with ordinality as f(i, o)",
            "-> r< i< o<",
        ),
        (
            "select * from customers c, unnest(array[c.email || '!', 'x' || c.country]) u",
            "customers:S(country=od,email=od,id=o,ssn=o) -> id=customers.id email=customers.email ssn=customers.ssn country=customers.country u<customers.country+customers.email",
        ),
        (
            "select * from coalesce(row(1, 'a')) as c(d int, e text)",
            "-> d< e<",
        ),
        (
            "select tags[1], tags[1:2] from order_items",
            "order_items:S(tags=d) -> tags<order_items.tags tags<order_items.tags",
        ),
        (
            "select array(select ssn from customers)",
            "customers:S(ssn=d) -> array<customers.ssn",
        ),
        (
            "select * from json_each((select to_jsonb(c)::json from customers c limit 1))",
            "customers:S(country=d,email=d,id=d,ssn=d) -> key<customers.country+customers.email+customers.id+customers.ssn value<customers.country+customers.email+customers.id+customers.ssn",
        ),
    ]);
}

#[test]
fn m3_conditions_are_filters() {
    check(&[
        (
            "select c.id from public.customers c where ssn = 'x'",
            "customers:S(id=o,ssn=f) -> id=customers.id",
        ),
        (
            "select count(*) filter (where ssn like '1%') from customers",
            "customers:S(ssn=df) -> count<customers.ssn",
        ),
        (
            "select case when ssn = 'x' then 1 else 0 end from customers",
            "customers:S(ssn=df) -> case<customers.ssn",
        ),
        (
            "select id from orders where customer_id in (select id from customers where ssn between 'a' and 'b')",
            "customers:S(id=f,ssn=f) orders:S(customer_id=f,id=o) -> id=orders.id",
        ),
        (
            "select o.id from orders o join customers c on c.id = o.customer_id and c.ssn = 'x'",
            "customers:S(id=f,ssn=f) orders:S(customer_id=f,id=o) -> id=orders.id",
        ),
        (
            "select exists(select 1 / length(ssn) from customers)",
            "customers:S(ssn=f) -> exists<",
        ),
        (
            "select id from (select id, 1 / length(ssn) x from customers) s",
            "customers:S(id=o,ssn=f) -> id=customers.id",
        ),
        (
            "with s as materialized (select id, 1 / length(ssn) x from customers) select id from s",
            "customers:S(id=o,ssn=f) -> id=customers.id",
        ),
        (
            "select id from (select id, ssn from customers) s",
            "customers:S(id=o,ssn=n) -> id=customers.id",
        ),
        (
            "select id from customers limit (select length(ssn) from customers limit 1)",
            "customers:S(id=o,ssn=f) -> id=customers.id",
        ),
    ]);
}

#[test]
fn m4_grouping_ordering_and_comparing_are_filters() {
    check(&[
        (
            "select country, count(*) from customers group by country having max(ssn) > 'a' order by 2",
            "customers:S(country=of,ssn=f) -> country=customers.country count<",
        ),
        (
            "select distinct email from customers",
            "customers:S(email=of) -> email=customers.email",
        ),
        (
            "select distinct on (country) id from customers",
            "customers:S(country=f,id=o) -> id=customers.id",
        ),
        (
            "select email from customers order by ssn",
            "customers:S(email=o,ssn=f) -> email=customers.email",
        ),
        (
            "select email e from customers group by e",
            "customers:S(email=of) -> e=customers.email",
        ),
        ("select 1 as a union select 2 order by a", "-> a<"),
        (
            "select ssn from customers union select status from orders",
            "customers:S(ssn=of) orders:S(status=of) -> ssn~customers.ssn+orders.status",
        ),
        (
            "select rank() over (partition by country order by ssn) from customers",
            "customers:S(country=df,ssn=df) -> rank<customers.country+customers.ssn",
        ),
        (
            "select sum(id) over w from orders window w as (partition by note)",
            "orders:S(id=d,note=f) -> sum<orders.id",
        ),
        (
            "select string_agg(email, ',' order by ssn) from customers",
            "customers:S(email=d,ssn=df) -> string_agg<customers.email+customers.ssn",
        ),
        (
            "select percentile_disc(0.5) within group (order by ssn) from customers",
            "customers:S(ssn=df) -> percentile_disc<customers.ssn",
        ),
        (
            "select count(distinct ssn) from customers",
            "customers:S(ssn=df) -> count<customers.ssn",
        ),
    ]);
}

#[test]
fn m7_a_row_is_all_of_its_columns() {
    check(&[
        (
            "select c from customers c",
            "customers:S(country=d,email=d,id=d,ssn=d) -> c<customers.country+customers.email+customers.id+customers.ssn",
        ),
        (
            "select row_to_json(c), to_jsonb(c.*), c::text from customers c",
            "customers:S(country=d,email=d,id=d,ssn=d) -> row_to_json<customers.country+customers.email+customers.id+customers.ssn to_jsonb<customers.country+customers.email+customers.id+customers.ssn c<customers.country+customers.email+customers.id+customers.ssn",
        ),
        (
            "select array_agg(c) from customers c",
            "customers:S(country=d,email=d,id=d,ssn=d) -> array_agg<customers.country+customers.email+customers.id+customers.ssn",
        ),
        (
            "select (c).ssn, (c).* from customers c",
            "customers:S(country=o,email=o,id=o,ssn=o) -> ssn=customers.ssn id=customers.id email=customers.email ssn=customers.ssn country=customers.country",
        ),
        (
            "select ssn(c) from customers c",
            "customers:S(country=n,email=n,id=n,ssn=o) -> ssn=customers.ssn",
        ),
        (
            "select c.lower from customers c",
            "customers:S(country=d,email=d,id=d,ssn=d) -> lower<customers.country+customers.email+customers.id+customers.ssn",
        ),
        (
            "select (r).f1 from (select row(ssn, id) r from customers) s",
            "customers:S(id=n,ssn=o) -> f1=customers.ssn",
        ),
        (
            "select row(c.*) from customers c",
            "customers:S(country=d,email=d,id=d,ssn=d) -> row<customers.country+customers.email+customers.id+customers.ssn",
        ),
        (
            "select ctid, tableoid from customers",
            "customers:S(ctid=o,tableoid=o) -> ctid=customers.ctid tableoid=customers.tableoid",
        ),
    ]);
}

#[test]
fn m8_functions_that_run_text_need_a_grant() {
    check(&[
        (
            "select query_to_xml('select ssn from customers', true, true, '')",
            "fn:pg_catalog.query_to_xml! -> query_to_xml<",
        ),
        (
            "select peek(1), order_total(id) from orders",
            "orders:S(id=d) fn:public.order_total! fn:public.peek! -> peek< order_total<orders.id",
        ),
        (
            "select c.peek from customers c",
            "customers:S(country=d,email=d,id=d,ssn=d) fn:public.peek! -> peek<customers.country+customers.email+customers.id+customers.ssn",
        ),
        (
            "select pg_read_file('/etc/passwd'), nextval('x'), set_config('a' || '.b', 'c', true), pg_sleep(1)",
            "fn:pg_catalog.nextval! fn:pg_catalog.pg_read_file! fn:pg_catalog.pg_sleep! fn:pg_catalog.set_config! -> pg_read_file< nextval< set_config< pg_sleep<",
        ),
        (
            "select current_setting('server_version'), current_setting('app.secret'), random(), now()",
            "fn:pg_catalog.current_setting -> current_setting< current_setting< random< now<",
        ),
        (
            "select nofunction(1)",
            "42883: function nofunction(integer) does not exist",
        ),
        ("select * from peek(1)", "fn:public.peek! -> peek<"),
        (
            "select id from orders where order_total(id) > 1 order by peek(id)",
            "orders:S(id=of) fn:public.order_total! fn:public.peek! -> id=orders.id",
        ),
    ]);
}

#[test]
fn f9_a_conversion_to_a_type_with_code_of_its_own_is_a_call() {
    check(&[
        ("select '()'::shape", "fn:public.shape! -> shape<"),
        (
            "select shape(note) from orders",
            "orders:S(note=d) fn:public.shape! -> shape<orders.note",
        ),
        (
            "create table t (s shape)",
            "fn:public.shape! ddl:Create table public.t",
        ),
        (
            "prepare p (shape) as select $1",
            "fn:public.shape! -> ?column?<",
        ),
    ]);
}

#[test]
fn m9_what_is_copied_is_a_source() {
    check(&[
        (
            "create temp table t as select ssn from customers",
            "customers:S(ssn=s) ddl:Create table pg_temp.t temp",
        ),
        (
            "select ssn into evil from customers union all select note from orders",
            "customers:S(ssn=s) orders:S(note=s) ddl:Create table public.evil",
        ),
        (
            "create materialized view m as select ssn from customers",
            "customers:S(ssn=s) ddl:Create materialized view public.m",
        ),
        (
            "insert into orders (id, note) select id, ssn from customers",
            "customers:S(id=s,ssn=s) orders:I(id=w,note=w)",
        ),
        (
            "update orders o set (status, note) = (select email, ssn from customers c where c.id = o.customer_id) where o.id = 1",
            "customers:S(email=s,id=f,ssn=s) orders:SU(customer_id=f,id=f,note=w,status=w)",
        ),
        (
            "alter table customers alter column country type text using ssn",
            "customers:SU(country=w,ssn=s) ddl:Alter table public.customers",
        ),
        (
            "refresh materialized view customers",
            "customers:SI(country=s,email=s,id=s,ssn=s)",
        ),
        (
            "create view v as select ssn from customers",
            "customers:S(ssn=o) ddl:Create view public.v",
        ),
    ]);
}

#[test]
fn m15_views_triggers_rules_and_cascades_are_looked_behind() {
    check(&[
        (
            "select id from contacts",
            "contacts:S(id=o) customers:S(country=f,id=o) -> id~contacts.id+customers.id",
        ),
        (
            "select address, shout from contacts",
            "contacts:S(address=o,shout=d) customers:S(country=f,email=od) -> address~contacts.address+customers.email shout<contacts.shout+customers.email",
        ),
        (
            "select mail from contacts_again",
            "contacts:S(address=o) contacts_again:S(mail=o) customers:S(country=f,email=o) -> mail~contacts.address+contacts_again.mail+customers.email",
        ),
        (
            "insert into contacts (id, address) values (1, 'x')",
            "contacts:I(address=w,id=w) customers:SI(country=f,email=w,id=w)",
        ),
        (
            "delete from contacts where id = 1",
            "contacts:SD(id=f) customers:SD(country=f,id=f)",
        ),
        (
            "insert into audited values (1)",
            "audited:I(id=w) fn:public.write_audit!",
        ),
        (
            "update audited set id = 2 where id = 1",
            "audited:SU(id=fw)",
        ),
        (
            "insert into ruled values (1)",
            "unsupported: public.ruled has rewrite rules, whose actions are not known",
        ),
        (
            "delete from orders where id = 1",
            "order_items:D() orders:SD(id=f)",
        ),
        (
            "truncate orders cascade",
            "order_items:T() orders:T() unlimited",
        ),
        (
            "select id from customers_2024",
            "customers_2024:S(id=o) -> id=customers_2024.id",
        ),
        (
            "select shown from people",
            "people:S(shown=d,ssn=d) -> shown<people.shown+people.ssn",
        ),
    ]);
}

#[test]
fn m17_encoding_does_not_change_the_origin() {
    check(&[(
        "select encode(ssn::bytea, 'hex'), reverse(ssn), translate(ssn, 'a', 'b'), substring(ssn from 1 for 2) from customers",
        "customers:S(ssn=d) -> encode<customers.ssn reverse<customers.ssn translate<customers.ssn substring<customers.ssn",
    )]);
}

#[test]
fn f1_resolved_names_are_compared() {
    check(&[
        (
            "select \"SSN\" from customers",
            "42703: column \"SSN\" does not exist",
        ),
        (
            "select SSN from CUSTOMERS",
            "customers:S(ssn=o) -> ssn=customers.ssn",
        ),
        (
            "select U&\"\\0073sn\" from customers",
            "customers:S(ssn=o) -> ssn=customers.ssn",
        ),
        (
            "select ssn from \"customers\" *",
            "customers:S(ssn=o) -> ssn=customers.ssn",
        ),
        (
            "select ssn from only (customers)",
            "customers:S(ssn=o) -> ssn=customers.ssn",
        ),
        (
            "select ssn from Public.Customers",
            "customers:S(ssn=o) -> ssn=customers.ssn",
        ),
        (
            "update only orders set note = 'x' where id = 1",
            "orders:SU(id=f,note=w)",
        ),
        ("select b\"x\" from (select 1 as b) t", "-> x<"),
    ]);
}

#[test]
fn this_database_can_stand_in_front_of_a_name_and_no_other() {
    check(&[
        (
            "select shop.public.orders.id, public.orders.note from shop.public.orders",
            "orders:S(id=o,note=o) -> id=orders.id note=orders.note",
        ),
        (
            "select shop.public.customers.* from shop.public.customers where shop.public.customers.id = 1",
            "customers:S(country=o,email=o,id=of,ssn=o) -> id=customers.id email=customers.email ssn=customers.ssn country=customers.country",
        ),
        (
            "select shop.pg_catalog.lower(ssn) from customers",
            "customers:S(ssn=d) -> lower<customers.ssn",
        ),
        (
            "create table shop.public.made (id shop.pg_catalog.int4)",
            "ddl:Create table public.made",
        ),
        (
            "drop table if exists shop.public.orders, shop.public.missing cascade",
            "ddl:Drop table public.orders cascade ddl:Drop table public.missing cascade",
        ),
        (
            "alter table shop.public.orders rename to old",
            "ddl:Alter table public.orders ddl:Create table public.old",
        ),
        (
            "comment on column shop.public.customers.ssn is 'x'",
            "ddl:Alter column public.ssn on customers",
        ),
        (
            "select * from x.public.orders",
            "0A000: cross-database references are not implemented: \"x.public.orders\"",
        ),
        (
            "drop table if exists x.public.orders",
            "0A000: cross-database references are not implemented: \"x.public.orders\"",
        ),
        (
            "select x.public.orders.id from orders",
            "0A000: cross-database references are not implemented: x.public.orders.id",
        ),
        (
            "select \"Shop\".pg_catalog.lower('x')",
            "0A000: cross-database references are not implemented: Shop.pg_catalog.lower",
        ),
        (
            "select a.b.c.d.e from orders",
            "42601: improper qualified name (too many dotted names): a.b.c.d.e",
        ),
    ]);
}

#[test]
fn the_lock_of_a_read_is_a_read() {
    check(&[
        ("lock orders in access share mode", "orders:S()"),
        ("lock orders in row share mode", "orders:L()"),
        ("lock orders", "orders:L()"),
    ]);
}

#[test]
fn f3_no_clause_is_left_out() {
    check(&[
        (
            "select id from orders tablesample bernoulli ((select length(ssn) from customers limit 1))",
            "customers:S(ssn=f) orders:S(id=o) -> id=orders.id",
        ),
        (
            "select 1 from rows from (generate_series(1, (select length(ssn) from customers limit 1))) g",
            "customers:S(ssn=f) -> ?column?<",
        ),
        (
            "insert into orders (id) values (1) returning (select ssn from customers limit 1)",
            "customers:S(ssn=o) orders:I(id=w) -> ssn=customers.ssn",
        ),
        (
            "insert into orders (id) values (1) on conflict (id) do update set note = (select ssn from customers limit 1) where exists (select email from customers)",
            "customers:S(email=n,ssn=s) orders:SIU(id=fw,note=w)",
        ),
        (
            "update orders set (note, status) = (select ssn, email from customers limit 1) where id = 1",
            "customers:S(email=s,ssn=s) orders:SU(id=f,note=w,status=w)",
        ),
        (
            "delete from orders where id = (select length(ssn) from customers limit 1)",
            "customers:S(ssn=f) order_items:D() orders:SD(id=f)",
        ),
        (
            "select sum(id) over (order by id rows between (select length(ssn) from customers limit 1) preceding and current row) from orders",
            "customers:S(ssn=df) orders:S(id=df) -> sum<customers.ssn+orders.id",
        ),
        (
            "merge into orders o using customers c on o.customer_id = c.id when matched and c.ssn = 'x' then delete when not matched then insert (id, note) values (c.id, c.email)",
            "customers:S(email=s,id=fs,ssn=f) order_items:D() orders:SID(customer_id=f,id=w,note=w)",
        ),
        (
            "declare x cursor for select ssn from customers",
            "customers:S(ssn=o) -> ssn=customers.ssn",
        ),
        (
            "prepare x as select ssn from customers",
            "customers:S(ssn=o) -> ssn=customers.ssn",
        ),
        (
            "explain analyze insert into orders (note) select ssn from customers",
            "customers:S(ssn=s) orders:I(note=w) -> QUERY PLAN<",
        ),
        (
            "copy (select ssn from customers) to stdout",
            "customers:S(ssn=o) -> ssn=customers.ssn",
        ),
        (
            "select 1 offset (select length(ssn) from customers limit 1)",
            "customers:S(ssn=f) -> ?column?<",
        ),
        (
            "values ((select ssn from customers limit 1))",
            "customers:S(ssn=o) -> column1=customers.ssn",
        ),
        (
            "select interval '1 day' * (select length(ssn) from customers limit 1)",
            "customers:S(ssn=d) -> ?column?<customers.ssn",
        ),
        (
            "create index on orders (lower(note)) where status = 'x'",
            "orders:S(note=f,status=f) ddl:Create index public. on orders",
        ),
        (
            "create table t (a int check (a > (select 1)))",
            "ddl:Create table public.t",
        ),
        (
            "select 1 from orders for update",
            "orders:SU() -> ?column?<",
        ),
        (
            "select o.id from orders o, customers c for share of o",
            "customers:S() orders:SU(id=o) -> id=orders.id",
        ),
    ]);
}

#[test]
fn f4_names_of_ctes_and_tables_are_scoped() {
    check(&[
        (
            "with customers as (select id from orders) select * from customers",
            "orders:S(id=o) -> id=orders.id",
        ),
        (
            "with customers as (select id from orders) select * from public.customers",
            "customers:S(country=o,email=o,id=o,ssn=o) orders:S(id=n) -> id=customers.id email=customers.email ssn=customers.ssn country=customers.country",
        ),
        (
            "with x as (select ssn from customers), customers as (select 1 ssn) select ssn from x",
            "customers:S(ssn=o) -> ssn=customers.ssn",
        ),
        (
            "with x as (with orders as (select 5 as id) select id from orders) select x.id, orders.id from x, orders",
            "orders:S(id=o) -> id< id=orders.id",
        ),
        (
            "select * from (with customers as (select 1 as one) select * from customers) a, customers b",
            "customers:S(country=o,email=o,id=o,ssn=o) -> one< id=customers.id email=customers.email ssn=customers.ssn country=customers.country",
        ),
        (
            "with t as (select 1) select * from t, customers t2 where exists (select from t)",
            "customers:S(country=o,email=o,id=o,ssn=o) -> ?column?< id=customers.id email=customers.email ssn=customers.ssn country=customers.country",
        ),
    ]);
}

#[test]
fn f5_effects_decide_not_the_first_word() {
    check(&[
        (
            "with d as (delete from orders returning id) select * from d",
            "order_items:D() orders:SD(id=o) unlimited -> id=orders.id",
        ),
        (
            "explain analyze delete from orders",
            "order_items:D() orders:D() unlimited -> QUERY PLAN<",
        ),
        (
            "explain delete from orders",
            "order_items:S() orders:S() -> QUERY PLAN<",
        ),
        (
            "explain (analyze off, analyze) delete from orders",
            "order_items:D() orders:D() unlimited -> QUERY PLAN<",
        ),
        (
            "copy (delete from orders returning id) to stdout",
            "order_items:D() orders:SD(id=o) unlimited -> id=orders.id",
        ),
        (
            "select id from orders for update",
            "orders:SU(id=o) -> id=orders.id",
        ),
        (
            "with i as (insert into orders (id) values (1)) select 1",
            "orders:I(id=w) -> ?column?<",
        ),
        (
            "prepare x as delete from orders",
            "order_items:D() orders:D() unlimited",
        ),
    ]);
}

#[test]
fn f7_the_lexing_is_the_servers() {
    check(&[
        (
            "select 'a''b', E'it\\'s', $$ from customers $$, $x1$ -- $x1$ from orders",
            "orders:S() -> ?column?< ?column?< ?column?< ?column?<",
        ),
        (
            "select 1 -- x\r, ssn from customers",
            "customers:S(ssn=o) -> ?column?< ssn=customers.ssn",
        ),
        (
            "select id/**//* /* from customers */ */from orders",
            "orders:S(id=o) -> id=orders.id",
        ),
        (
            "select /* from customers -- */ id from orders -- , ssn from customers",
            "orders:S(id=o) -> id=orders.id",
        ),
    ]);
}

#[test]
fn f8_operators_and_casts_are_functions() {
    check(&[
        ("select 1 === 2", "fn:public.evil_eq! -> ?column?<"),
        (
            "select 1 operator(public.===) 2, 1 operator(pg_catalog.+) 2",
            "fn:public.evil_eq! -> ?column?< ?column?<",
        ),
        (
            "select id from orders where id === any (array[1])",
            "orders:S(id=of) fn:public.evil_eq! -> id=orders.id",
        ),
        (
            "select 'customers'::regclass, cast('x' as text)",
            "fn:pg_catalog.regclassin -> regclass< text<",
        ),
    ]);
}

#[test]
fn f11_destructive_shapes_are_effects() {
    check(&[
        (
            "update orders set status = 'x'",
            "orders:U(status=w) unlimited",
        ),
        (
            "update orders set status = 'x' where true",
            "orders:U(status=w) unlimited",
        ),
        (
            "update orders set status = 'x' where id = id or note = 'a'",
            "orders:SU(id=f,note=f,status=w) unlimited",
        ),
        (
            "update orders set status = 'x' where 1 = 1 and id = 5",
            "orders:SU(id=f,status=w)",
        ),
        (
            "delete from orders where exists (select 1)",
            "order_items:D() orders:D() unlimited",
        ),
        (
            "delete from orders where exists (select 1 from customers c where c.id = orders.customer_id)",
            "customers:S(id=f) order_items:D() orders:SD(customer_id=f)",
        ),
        (
            "merge into orders o using customers c on true when matched then delete",
            "customers:S() order_items:D() orders:SD() unlimited",
        ),
        (
            "truncate customers, orders",
            "customers:T() orders:T() unlimited",
        ),
        (
            "alter table orders drop column note cascade",
            "ddl:Alter table public.orders ddl:Drop column public.note on orders cascade",
        ),
        (
            "drop table orders cascade",
            "ddl:Drop table public.orders cascade",
        ),
        ("drop table nope", "42P01: table \"nope\" does not exist"),
        ("drop table if exists nope", "ddl:Drop table public.nope"),
        (
            "drop schema public cascade",
            "ddl:Drop schema public.public cascade",
        ),
        ("drop owned by bob", "ddl:Drop owned objects .bob"),
        (
            "alter table customers rename to orders2",
            "ddl:Alter table public.customers ddl:Create table public.orders2",
        ),
        (
            "alter table customers set schema private",
            "ddl:Alter table public.customers ddl:Create table private.customers",
        ),
        (
            "alter table orders detach partition customers",
            "ddl:Alter table public.orders ddl:Alter table public.customers",
        ),
        (
            "alter table orders attach partition customers for values from (1) to (2)",
            "ddl:Alter table public.orders ddl:Alter table public.customers",
        ),
        (
            "alter table orders disable trigger all",
            "ddl:Alter table public.orders ddl:Alter trigger public. on orders",
        ),
        (
            "alter table customers disable row level security",
            "ddl:Alter table public.customers ddl:Alter row security public. on customers",
        ),
        (
            "alter table orders owner to bob",
            "ddl:Alter table public.orders",
        ),
        (
            "alter extension x add function peek(int)",
            "ddl:Alter function public.peek ddl:Alter extension .x",
        ),
        (
            "create table child () inherits (customers)",
            "ddl:Alter table public.customers ddl:Create table public.child",
        ),
        (
            "alter table customers add check (ssn <> 'x')",
            "customers:S(ssn=f) ddl:Alter table public.customers",
        ),
        (
            "alter table orders add constraint x foreign key (note) references customers (ssn)",
            "customers:S(ssn=f) ddl:Alter table public.orders",
        ),
        (
            "create rule r as on insert to orders do instead delete from customers",
            "ddl:Create rule public.r on orders",
        ),
        ("lock table customers", "customers:L()"),
        (
            "copy orders from program 'id'",
            "unsupported: COPY with PROGRAM runs a command on the server and is refused; use STDIN or STDOUT",
        ),
        (
            "copy orders to '/tmp/x'",
            "unsupported: COPY with a file reads or writes the server's disk and is refused; use STDIN or STDOUT",
        ),
        (
            "load 'x'",
            "unsupported: LOAD runs a library inside the server and is refused",
        ),
        (
            "prepare transaction 'x'",
            "unsupported: two-phase commit outlives the session and is refused; use COMMIT",
        ),
    ]);
}

#[test]
fn dangerous_differentials_are_read_as_the_server_reads_them() {
    check(&[
        (
            "select 1 end, ssn from customers",
            "customers:S(ssn=o) -> end< ssn=customers.ssn",
        ),
        (
            "insert into orders (id) values (1) returning id end, (select ssn from customers limit 1)",
            "customers:S(ssn=o) orders:SI(id=ow) -> end=orders.id ssn=customers.ssn",
        ),
        (
            "select ssn and from customers",
            "customers:S(ssn=o) -> and=customers.ssn",
        ),
        (
            "select ssn or, ssn like, ssn ilike, ssn collate, ssn regexp from customers",
            "customers:S(ssn=o) -> or=customers.ssn like=customers.ssn ilike=customers.ssn collate=customers.ssn regexp=customers.ssn",
        ),
        (
            "select $€$ from orders -- $€$ , ssn from customers",
            "customers:S(ssn=o) -> ?column?< ssn=customers.ssn",
        ),
        (
            "select 1 #/* x from orders --*/ 2, ssn from customers",
            "customers:S(ssn=o) -> ?column?< ssn=customers.ssn",
        ),
        (
            "select 1 ||/* x from orders --*/ 2, ssn from customers",
            "customers:S(ssn=o) -> ?column?< ssn=customers.ssn",
        ),
        (
            "select id from orders where 1 >/* 2 --*/ 0 and (select true from customers limit 1)",
            "customers:S() orders:S(id=o) -> id=orders.id",
        ),
        (
            "select E'a'\n'\\' from orders --' , ssn from customers",
            "customers:S(ssn=o) -> ?column?< ssn=customers.ssn",
        ),
        (
            "select * from only customers",
            "customers:S(country=o,email=o,id=o,ssn=o) -> id=customers.id email=customers.email ssn=customers.ssn country=customers.country",
        ),
        (
            "select * from only (customers)",
            "customers:S(country=o,email=o,id=o,ssn=o) -> id=customers.id email=customers.email ssn=customers.ssn country=customers.country",
        ),
        (
            "select id, email, ssn, country from customers where false union all table customers",
            "customers:S(country=o,email=o,id=o,ssn=o) -> id=customers.id email=customers.email ssn=customers.ssn country=customers.country",
        ),
        (
            "create table x as table customers",
            "customers:S(country=s,email=s,id=s,ssn=s) ddl:Create table public.x",
        ),
        (
            "select U&\"\\0073sn\" from customers",
            "customers:S(ssn=o) -> ssn=customers.ssn",
        ),
        (
            "select into evil from orders",
            "orders:S() ddl:Create table public.evil",
        ),
        (
            "copy customers to stdout",
            "customers:S(country=o,email=o,id=o,ssn=o) -> id=customers.id email=customers.email ssn=customers.ssn country=customers.country",
        ),
        ("grant select on customers to bob", ""),
        ("vacuum customers", "customers:L()"),
        (
            "create trigger t before insert on orders for each row execute function write_audit()",
            "ddl:Create trigger public.t on orders",
        ),
        (
            "select ssnaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa from customers",
            "42703: column \"ssnaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" does not exist",
        ),
    ]);
}

#[test]
fn m14_the_search_path_decides_which_relation_a_name_means() {
    let path = |names: &[&str]| Namespace {
        search_path: names.iter().map(|name| (*name).to_owned()).collect(),
        user: "agent".to_owned(),
        database: "shop".to_owned(),
        roles: Vec::new(),
    };
    let under =
        |names: &[&str]| shorten(&one_in(&catalog(), &path(names), "select id from orders"));
    assert_eq!(
        under(&["pg_catalog", "public"]),
        "orders:S(id=o) -> id=orders.id"
    );
    assert_eq!(
        under(&["pg_catalog", "private", "public"]),
        "private.orders:S(id=o) -> id=private.orders.id"
    );
    let mut shadowing = catalog();
    let public = shadowing
        .relations
        .get("public")
        .and_then(|all| all.get("customers"))
        .cloned();
    let mut temporary = public.expect("exists");
    temporary.temporary = true;
    temporary.oid += 1;
    shadowing
        .relations
        .entry("pg_temp_3".to_owned())
        .or_default()
        .insert("orders".to_owned(), temporary);
    let found = one_in(
        &shadowing,
        &path(&["pg_temp_3", "pg_catalog", "public"]),
        "select ssn from orders",
    );
    assert_eq!(
        shorten(&found),
        "pg_temp_3.orders:S(ssn=o) -> ssn=pg_temp_3.orders.ssn"
    );
    let found = one_in(
        &shadowing,
        &path(&["pg_temp_3", "pg_catalog", "public"]),
        "select ssn from pg_temp.orders",
    );
    assert_eq!(
        shorten(&found),
        "pg_temp_3.orders:S(ssn=o) -> ssn=pg_temp_3.orders.ssn"
    );
}

#[test]
fn f8_a_function_of_a_users_shadows_a_built_in_one() {
    let found = one_in(
        &shadowed(),
        &namespace(),
        "select lower(ssn) from customers",
    );
    assert_eq!(
        shorten(&found),
        "customers:S(ssn=d) fn:public.lower! -> lower<customers.ssn"
    );
    // Out of the path, it cannot be meant.
    assert_eq!(
        short("select lower(email) from customers"),
        "customers:S(email=d) -> lower<customers.email"
    );
    assert_eq!(
        short("select hidden.lower(email) from customers"),
        "customers:S(email=d) fn:hidden.lower! -> lower<customers.email"
    );
}

#[test]
fn an_overload_that_cannot_take_the_arguments_is_not_meant() {
    const OTHER: u32 = 90_001;
    let mut catalog = catalog();
    let info = TypeInfo {
        schema: "public".to_owned(),
        name: "other".to_owned(),
        kind: b'b',
        ..TypeInfo::default()
    };
    catalog.type_info.insert(OTHER, info);
    let overload = Function {
        schema: "public".to_owned(),
        oid: 90_002,
        args: 1,
        volatility: b'i',
        kind: b'f',
        return_type: OTHER,
        arg_types: vec![OTHER],
        ..Function::default()
    };
    let known = catalog.functions.get_mut("upper").expect("a list");
    known.push(overload);
    let found = |catalog: &Catalog, sql: &str| shorten(&one_in(catalog, &namespace(), sql));
    let safe = "customers:S(email=d) -> upper<customers.email";
    let unsafe_ = "customers:S(email=d) fn:public.upper! -> upper<customers.email";
    assert_eq!(found(&catalog, "select upper(email) from customers"), safe);
    // A text of no known type may become anything.
    assert_eq!(
        found(&catalog, "select upper('x')"),
        "fn:public.upper! -> upper<"
    );
    assert_eq!(
        found(&catalog, "select upper($1)"),
        "fn:public.upper! -> upper<"
    );
    // Unless the server would cast it by itself.
    catalog.implicit_casts.insert((25, OTHER));
    assert_eq!(
        found(&catalog, "select upper(email) from customers"),
        unsafe_
    );
}

/// An integer beyond an `int4` is an `int8` to the server, not a `numeric`: of two functions it
/// would take the one that the types of its literals fit exactly.
#[test]
fn m15_a_large_integer_does_not_hide_the_function_that_takes_it() {
    let taking = |schema: &str, oid: u32, argument: u32| Function {
        schema: schema.to_owned(),
        oid,
        args: 1,
        volatility: b'i',
        kind: b'f',
        return_type: argument,
        arg_types: vec![argument],
        ..Function::default()
    };
    let mut catalog = catalog();
    let functions = vec![
        taking("pg_catalog", 1_730, 1_700),
        taking("public", 90_002, 20),
    ];
    catalog.functions.insert("sqrt".to_owned(), functions);
    let found = |sql: &str| shorten(&one_in(&catalog, &namespace(), sql));
    assert_eq!(found("select sqrt(4.5)"), "-> sqrt<");
    for large in ["3000000000", "9223372036854775807"] {
        assert_eq!(
            found(&format!("select sqrt({large})")),
            "fn:public.sqrt! -> sqrt<"
        );
    }
    assert_eq!(found("select sqrt(9223372036854775808)"), "-> sqrt<");
}

#[test]
fn a_parameter_of_type_void_is_no_argument() {
    let analyzed = |types: &[u32]| {
        let types = types.to_vec();
        let found = run_on_big_stack(move || {
            let mut parsed = split("select * from upper($1, $2) as result").expect("parses");
            parsed[0].declare(&types);
            crate::sql::analyze(&parsed[0], &catalog(), &namespace())
        });
        shorten(&found.expect("no panic"))
    };
    assert_eq!(analyzed(&[VOID, 25]), "-> result<");
    assert!(
        analyzed(&[25, 25]).starts_with("42883"),
        "{}",
        analyzed(&[])
    );
    assert!(short("prepare p (void) as select upper($1, 'x')").starts_with("unsupported"));
}

#[test]
fn f2_what_cannot_be_read_in_full_is_refused() {
    for (sql, kind) in [
        ("select from where", "syntax"),
        ("select 'x", "syntax"),
        ("select $1abc from orders where x = $", "syntax"),
        ("select 1\0", "limit"),
    ] {
        assert!(short(sql).starts_with(kind), "{sql}: {}", short(sql));
    }
    let deep = format!("select {}1{}", "(select ".repeat(600), ")".repeat(600));
    assert!(short(&deep).starts_with("limit"), "{}", short(&deep));
    let chain = format!("select 1{}", " + 1".repeat(20_000));
    assert!(short(&chain).starts_with("limit"), "{}", short(&chain));
    let parentheses = format!("select {}1{}", "(".repeat(10_000), ")".repeat(10_000));
    let found = short(&parentheses);
    assert!(
        found.starts_with("limit") || found.starts_with("->"),
        "{found}"
    );
    let wide = format!(
        "select id from orders where id in ({}0)",
        "1, ".repeat(20_000)
    );
    assert_eq!(short(&wide), "orders:S(id=of) -> id=orders.id");
    let many = format!(
        "select id from orders where {}",
        vec!["id = 1"; 2_000].join(" or ")
    );
    assert_eq!(short(&many), "orders:S(id=of) -> id=orders.id");
    let chain = format!("select 1{}", " + 1".repeat(300));
    assert_eq!(short(&chain), "-> ?column?<");
}

#[test]
fn nested_recursion_is_bounded() {
    let mut sql = "select ssn as x from customers".to_owned();
    for level in 0..24 {
        sql = format!(
            "with recursive r{level}(x) as ({sql} union all select r{level}.x || 'a' from r{level}) select x from r{level}"
        );
    }
    let found = short(&sql);
    assert!(
        found.starts_with("limit") || found == "customers:S(ssn=d) -> x<customers.ssn",
        "{found}"
    );
}

#[test]
fn f6_stacked_statements_are_split_and_each_is_decided() {
    for (sql, count) in [
        ("select 1; drop table customers", 2),
        ("select 1 end; drop table customers", 2),
        ("copy orders from stdin; drop table customers", 2),
        ("/* x */ select 1; commit; -- y\n delete from orders;", 3),
        ("select ';'; select $$;$$; select 1 /* ; */", 3),
        (
            "create function f() returns int begin atomic select 1; select 2; end; select 3",
            2,
        ),
    ] {
        let found = run_on_big_stack(|| split(sql).map(|all| all.len())).expect("no panic");
        assert_eq!(found, Ok(count), "{sql}");
    }
}

#[test]
fn set_and_reset_change_settings() {
    let settings = |sql: &str| {
        let statement = one(sql).expect("understood");
        assert_eq!(statement.kind, StatementKind::Set, "{sql}");
        statement.settings
    };
    let to = |value: &str| SettingValue::To(value.to_owned());
    for (sql, name, value, local) in [
        (
            "set local Search_Path = a, \"B\"",
            "search_path",
            to("a, B"),
            true,
        ),
        ("set role none", "role", to("none"), false),
        (
            "set session authorization bob",
            "session_authorization",
            to("bob"),
            false,
        ),
        ("set names 'latin1'", "client_encoding", to("latin1"), false),
        ("set x.y to default", "x.y", SettingValue::Default, false),
        ("reset all", "all", SettingValue::Default, false),
        (
            "set constraints all deferred",
            "constraints",
            SettingValue::Default,
            true,
        ),
        (
            "set transaction read write",
            "transaction",
            to("transaction_read_only=0"),
            true,
        ),
    ] {
        let change = SettingChange {
            name: name.to_owned(),
            value,
            local,
        };
        assert_eq!(settings(sql), [change], "{sql}");
    }
}

#[test]
fn a_plain_call_of_set_config_is_the_set_that_it_is() {
    let changes = |sql: &str| -> Vec<(String, Option<String>, bool)> {
        let statement = one(sql).expect("understood");
        assert_eq!(statement.kind, StatementKind::Select, "{sql}");
        let classes: Vec<_> = statement.functions.iter().map(|used| used.class).collect();
        assert_eq!(
            classes,
            [if statement.settings.is_empty() {
                FunctionClass::Other
            } else {
                FunctionClass::Catalog
            }],
            "{sql}"
        );
        let changes = statement.settings.into_iter().map(|change| {
            let value = match change.value {
                SettingValue::To(value) => Some(value),
                SettingValue::Default => None,
                SettingValue::Parameter(_) => Some("$".to_owned()),
            };
            (change.name, value, change.local)
        });
        changes.collect()
    };
    let change = |name: &str, value: Option<&str>, local| {
        (name.to_owned(), value.map(ToOwned::to_owned), local)
    };
    assert_eq!(
        changes("select pg_catalog.set_config('Search_Path', '', false)"),
        [change("search_path", Some(""), false)]
    );
    assert_eq!(
        changes("select set_config('a.b', 'c', true) as one, set_config('d.e', NULL, false)"),
        [change("a.b", Some("c"), true), change("d.e", None, false)]
    );
    assert_eq!(
        changes("select set_config('a.b', $1, true)"),
        [change("a.b", Some("$"), true)]
    );
    assert_eq!(
        changes("select set_config('a.b', $1::text, true)"),
        [change("a.b", Some("$"), true)]
    );
    // As pg_dump writes it.
    assert_eq!(
        changes("select set_config(name, 'x', false) from pg_settings where name = 'A.b'"),
        [change("a.b", Some("x"), false)]
    );
    // Anywhere else, or with anything computed, it is a function with effects.
    for sql in [
        "select set_config($1, 'c', true)",
        "select set_config('a.b', 'c', $1)",
        "select set_config('a.' || 'b', 'c', true)",
        "select set_config('a.b'::varchar(1), 'c', true)",
        "select set_config('a.b', $1::varchar(3), true)",
        "select set_config(name, 'c', true)",
        "select set_config(name, 'c', true) from pg_settings",
        "select set_config(name, 'c', true) from pg_settings where name <> 'a.b'",
        "select set_config(name, 'c', true) from pg_settings where name = $1",
        "select set_config(name, 'c', true) from pg_settings where name = 'a.b' or true",
        "select set_config(name, 'c', true) from pg_settings where setting = 'a.b'",
        "select set_config(setting, 'c', true) from pg_settings where name = 'a.b'",
        "select set_config(name, 'c', true) from pg_settings x (setting, name) where name = 'a.b'",
        "select set_config(name, 'c', true) from (select 'role' as name) pg_settings where name = 'a.b'",
        "with pg_settings as (select 'role' as name) select set_config(name, 'c', true) from pg_settings where name = 'a.b'",
        "select set_config('a.b', 'c' || 'd', true)",
        "select set_config('a.b', 'c', true) || 'x'",
        "select set_config('a.b', set_config('c.d', 'e', true), true)",
        "select set_config('a.b', 'c', true) from orders",
        "select set_config('a.b', 'c', true) from generate_series(1, 2)",
        "select set_config('a.b', 'c', true) where true",
        "select set_config('a.b', 'c', true) limit 1",
        "select set_config('a.b', 'c', true) order by 1",
        "select 'x' union select set_config('a.b', 'c', true)",
        "select (select set_config('a.b', 'c', true))",
        "with x as (select set_config('a.b', 'c', true)) select 1",
        "select 1 where set_config('a.b', 'c', true) = 'c'",
        "values (set_config('a.b', 'c', true))",
        "select set_config(variadic array['a.b', 'c', 'true'])",
    ] {
        let Ok(statement) = one(sql) else { continue };
        assert!(statement.settings.is_empty(), "{sql}");
        assert!(
            statement
                .functions
                .iter()
                .any(|used| used.name == "set_config" && used.class == FunctionClass::Other),
            "{sql}"
        );
    }
}

#[test]
fn a_set_config_behind_a_view_is_a_function_with_effects() {
    let mut catalog = catalog();
    view(
        &mut catalog,
        "sets",
        &[("x", 25)],
        "SELECT set_config('search_path', 'y', false) AS x",
    );
    let statement = one_in(&catalog, &namespace(), "select * from sets").expect("understood");
    assert!(statement.settings.is_empty());
    assert!(
        statement
            .functions
            .iter()
            .any(|used| used.name == "set_config" && used.class == FunctionClass::Other)
    );
}

#[test]
fn what_a_statement_is_follows_its_tree() {
    let kind = |sql: &str| one(sql).map(|statement| statement.kind);
    assert_eq!(
        kind("begin isolation level serializable"),
        Ok(StatementKind::Transaction(TransactionControl::Begin))
    );
    assert_eq!(
        kind("end"),
        Ok(StatementKind::Transaction(TransactionControl::Commit))
    );
    assert_eq!(
        kind("abort"),
        Ok(StatementKind::Transaction(TransactionControl::Rollback))
    );
    assert_eq!(
        kind("rollback to x"),
        Ok(StatementKind::Transaction(TransactionControl::RollbackTo))
    );
    assert_eq!(kind("select 1 into x"), Ok(StatementKind::Ddl));
    assert_eq!(
        kind("explain (analyze, verbose) select 1"),
        Ok(StatementKind::Explain { analyze: true })
    );
    assert_eq!(
        kind("explain (analyze false) select 1"),
        Ok(StatementKind::Explain { analyze: false })
    );
    assert_eq!(
        kind("prepare \"as\" (int, text) as /* as */ select id from orders where id = $1"),
        Ok(StatementKind::Prepare {
            name: "as".to_owned(),
            body: "/* as */ select id from orders where id = $1".to_owned()
        })
    );
    assert_eq!(
        kind("copy orders (id, note) to stdout with (format binary)"),
        Ok(StatementKind::CopyOut {
            not_text: true,
            options: Some(vec![("format".to_owned(), "binary".to_owned())]),
            source: Some("SELECT \"id\", \"note\" FROM ONLY \"public\".\"orders\"".to_owned()),
        })
    );
    assert_eq!(
        kind("copy (select 1) to stdout csv header"),
        Ok(StatementKind::CopyOut {
            not_text: true,
            options: Some(vec![
                ("format".to_owned(), "csv".to_owned()),
                ("header".to_owned(), "true".to_owned()),
            ]),
            source: Some("select 1".to_owned()),
        })
    );
    assert_eq!(
        kind("declare c cursor with hold for select 1"),
        Ok(StatementKind::DeclareCursor {
            name: "c".to_owned(),
            hold: true
        })
    );
    assert_eq!(
        kind("fetch all from c"),
        Ok(StatementKind::Fetch {
            name: "c".to_owned(),
            moves: false
        })
    );
    assert_eq!(
        kind("close all"),
        Ok(StatementKind::CloseCursor { name: None })
    );
    assert_eq!(kind("do $$ begin end $$"), Ok(StatementKind::Procedural));
    assert_eq!(
        kind("alter table orders owner to bob"),
        Ok(StatementKind::Privilege)
    );
    assert_eq!(kind("drop owned by bob"), Ok(StatementKind::Privilege));
}

#[test]
fn an_unknown_name_is_told_in_the_servers_words_and_place() {
    let error = one("select 'é', nothing from customers").expect_err("refused");
    assert_eq!(
        error,
        NotUnderstood::UnknownName {
            sqlstate: "42703",
            message: "column \"nothing\" does not exist".to_owned(),
            position: Some(13),
        }
    );
    let positions = run_on_big_stack(|| {
        let parsed = split("select 1; /* ü */ select * from nowhere").expect("parses");
        parsed
            .iter()
            .map(|parsed| crate::sql::analyze(parsed, &catalog(), &namespace()))
            .collect::<Vec<_>>()
    })
    .expect("no panic");
    assert_eq!(
        positions.last().cloned().and_then(Result::err),
        Some(NotUnderstood::UnknownName {
            sqlstate: "42P01",
            message: "relation \"nowhere\" does not exist".to_owned(),
            position: Some(33),
        })
    );
}

#[test]
fn f10_a_long_text_is_decided_on_all_of_it() {
    let padding = "x".repeat(100_000);
    let found = short(&format!(
        "select '{padding}', id from orders where note = '{padding}' or exists (select ssn from customers)"
    ));
    assert!(found.contains("customers:S(ssn=n)"), "{found}");
}

#[test]
fn m15_a_partition_knows_its_ancestors() {
    let ancestors = catalog().ancestors("public", "customers_2024");
    assert_eq!(
        ancestors.into_iter().collect::<Vec<_>>(),
        [("public".to_owned(), "customers".to_owned())]
    );
}

#[test]
fn columns_that_are_only_named_are_reported() {
    // The server asks for the right to read every column that a text names.
    check(&[
        (
            "select x from (select ssn as x, c.* from customers c) s",
            "customers:S(country=n,email=n,id=n,ssn=o) -> x=customers.ssn",
        ),
        (
            "select 1 where exists (select * from orders where id = 1)",
            "orders:S(customer_id=n,id=f,note=n,status=n) -> ?column?<",
        ),
        (
            "with a as (select ssn, xmin from customers) select 1 from a",
            "customers:S(ssn=n,xmin=n) -> ?column?<",
        ),
        (
            "select id from customers c where exists (select c.ssn)",
            "customers:S(id=o,ssn=n) -> id=customers.id",
        ),
    ]);
}

#[test]
fn m3_what_a_sub_select_computes_is_a_filter_wherever_it_stands() {
    // An expression that nobody takes can still be made to fail, depending on the value.
    check(&[
        (
            "select x.id from ((select id, 1 / length(ssn) y from customers) s join orders o using (id)) as x",
            "customers:S(id=of,ssn=f) orders:S(id=of) -> id~customers.id+orders.id",
        ),
        (
            "update orders set note = 'x' from (select id, 1 / length(ssn) y from customers) s where s.id = orders.id",
            "customers:S(id=f,ssn=f) orders:SU(id=f,note=w)",
        ),
        (
            "delete from orders using (select id, 1 / length(ssn) y from customers) s where s.id = orders.id",
            "customers:S(id=f,ssn=f) order_items:D() orders:SD(id=f)",
        ),
    ]);
}

#[test]
fn columns_that_are_written_and_named_are_both() {
    check(&[
        (
            "insert into orders (id, note) values (1, 'x') on conflict (id) do update set note = excluded.note",
            "orders:SIU(id=fw,note=wn)",
        ),
        (
            "insert into orders (id) values (1) on conflict on constraint orders_pkey do nothing",
            "orders:SI(customer_id=n,id=wn,note=n,status=n)",
        ),
        (
            "with a as (insert into orders (id, note) values (1, 'x') returning note) select 1",
            "orders:SI(id=w,note=wn) -> ?column?<",
        ),
        (
            "copy orders (id, note) from stdin where note = 'x'",
            "orders:SI(id=w,note=wn)",
        ),
        (
            "merge into orders using (select 1) s on true when matched then do nothing",
            "orders:S()",
        ),
        (
            "create table copied (like orders)",
            "orders:S(customer_id=n,id=n,note=n,status=n) ddl:Create table public.copied",
        ),
    ]);
}

#[test]
fn a_schema_is_made_with_its_objects_and_they_see_each_other() {
    check(&[
        (
            "create schema films create view winners as select r.name, c.ssn from releases r, customers c create table releases (name text primary key, owner int references orders (id)) create index on releases (name)",
            "customers:S(ssn=o) orders:S(id=f) ddl:Create schema films.films ddl:Create table films.releases ddl:Create view films.winners ddl:Create index films. on releases",
        ),
        (
            "create schema authorization joe create table joe.t (id int) create table u (like t, t_id int references t (id))",
            "ddl:Create schema joe.joe ddl:Create table joe.t ddl:Create table joe.u",
        ),
        (
            "create schema x create view v as select nofunction(ssn) from customers",
            "42883: function nofunction(character varying) does not exist",
        ),
    ]);
    let grant = one("create schema x create table t (id int) grant select on t to joe");
    assert_eq!(
        grant.expect("understood").kind,
        StatementKind::Privilege,
        "as a GRANT by itself"
    );
}

#[test]
fn columns_of_the_definition_itself_can_be_named_in_it() {
    check(&[
        (
            "create table p partition of customers (country not null default 'x', check (length(country) > 1)) for values in ('b')",
            "ddl:Alter table public.customers ddl:Create table public.p",
        ),
        (
            "create table c (id int, twice int generated always as (id * 2) stored) inherits (orders)",
            "ddl:Alter table public.orders ddl:Create table public.c",
        ),
        (
            "create table t (a int, b bool generated always as (tableoid = 1::oid) stored)",
            "ddl:Create table public.t",
        ),
        (
            "alter table orders add column c int default 42, add column x int generated always as (c * id) stored",
            "orders:S(id=f) ddl:Alter table public.orders",
        ),
        (
            "comment on constraint short on domain code is 'x'",
            "ddl:Alter domain public.code",
        ),
        (
            "alter domain code rename constraint short to shorter",
            "ddl:Alter domain public.code",
        ),
    ]);
}

#[test]
fn a_row_that_is_not_matched_has_no_columns_of_the_target() {
    check(&[(
        "merge into orders t using (select id, ssn as note from customers) s on t.id = s.id when not matched then insert (id, note) values (id, note)",
        "customers:S(id=fs,ssn=s) orders:SI(id=fw,note=w)",
    )]);
}

#[test]
fn locking_a_view_locks_what_is_behind_it() {
    check(&[
        (
            "lock contacts_again",
            "contacts:SL() contacts_again:L() customers:SL(country=f)",
        ),
        (
            "truncate orders cascade",
            "order_items:T() orders:T() unlimited",
        ),
    ]);
}

#[test]
fn m15_a_write_does_what_rewrite_rules_make_of_it() {
    check(&[
        (
            "insert into mailing (id, mail) select customer_id, note from orders",
            "audited:I(id=w) customers:S(email=w,id=w) customers:I(email=w,id=w) mailing:I(id=w,mail=w) orders:S(customer_id=s,note=s) fn:public.write_audit!",
        ),
        (
            "update mailing set mail = 'x' where id = 1",
            "customers:SU(email=fsw,id=f) mailing:SU(id=f,mail=fsw) orders:SU(customer_id=f,note=w)",
        ),
        (
            "delete from mailing where id = 1",
            "customers:S(id=f) mailing:SD(id=f) orders:U(note=w) unlimited",
        ),
        (
            "insert into mailing values (1) returning id",
            "unsupported: RETURNING from public.mailing, whose rewrite rules say what is returned",
        ),
    ]);
}

#[test]
fn f2_long_chains_and_lists_are_read() {
    let repeated = |head: &str, part: &str, count: usize| format!("{head}{}", part.repeat(count));
    for (sql, expected) in [
        (
            repeated("select id from orders where id = 0", " or id = 1", 5000),
            "orders:S(id=of) -> id=orders.id",
        ),
        (
            repeated("select id from orders where id > 0", " and id <> 1", 5000),
            "orders:S(id=of) -> id=orders.id",
        ),
        (
            repeated("select id from orders where id in (0", ", 1", 20_000) + ")",
            "orders:S(id=of) -> id=orders.id",
        ),
        (
            repeated("select 'a'", " || note", 4000) + " from orders",
            "orders:S(note=d) -> ?column?<orders.note",
        ),
        (
            repeated("select id", " + 1", 4000) + " from orders",
            "orders:S(id=d) -> ?column?<orders.id",
        ),
        (
            repeated(
                "select id from orders",
                " union all select id from orders",
                1000,
            ),
            "orders:S(id=o) -> id=orders.id",
        ),
        (repeated("values (0)", ", (1)", 5000), "-> column1<"),
        (
            repeated("select 1 from orders", " cross join orders", 400),
            "orders:S() -> ?column?<",
        ),
    ] {
        let found = short(&sql);
        assert_eq!(found, expected, "{}", sql.get(..60).unwrap_or_default());
    }
    // A deep tree may be dropped on a stack of any size.
    let deep = repeated("select 1", " + 1", 4000);
    let parsed = run_on_big_stack(move || split(&deep))
        .expect("no panic")
        .expect("parses");
    std::thread::Builder::new()
        .stack_size(64 * 1024)
        .spawn(move || drop(parsed))
        .expect("starts")
        .join()
        .expect("dropped");
}
