//! Ways round that were found in, or reported against, real gateways. Rows stay. Each goes through
//! the real wire in four forms: as a simple query, through the unnamed statement, as a prepared
//! statement with binary results, and prepared in SQL; what can be executed twice is.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use cordon_tests::{
    Setup, Stand, canary, policies,
    raw::{self, Seen},
};
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// The last step is refused and was not run.
    Refused,
    /// Refused or masked, as the policy has it; nothing protected shows.
    NoLeak,
    /// Served: nothing protected shows, and there are rows.
    Served,
}
use Want::{NoLeak, Refused, Served};

struct Row {
    id: &'static str,
    steps: &'static [&'static str],
    want: Want,
}

const fn row(id: &'static str, want: Want, steps: &'static [&'static str]) -> Row {
    Row { id, steps, want }
}

/// Codes of a refusal: not permitted, not understood, and what the grammar itself refuses.
const REFUSALS: &[&str] = &[
    "42501", "0A000", "42601", "22021", "54000", "54001", "22P05", "08P01",
];

// One row a line, however long: it is a table.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    // M1: by lineage, not by name
    row("M1-alias", NoLeak, &["SELECT email AS id, ssn AS name FROM public.customers"]),
    row("M1-concat", NoLeak, &["SELECT email || '' FROM public.customers"]),
    row("M1-cast", NoLeak, &["SELECT email::varchar, CAST(ssn AS text) FROM public.customers"]),
    row("M1-function", NoLeak, &["SELECT upper(email), left(ssn, 9), md5(email) FROM public.customers"]),
    row("M1-case", NoLeak, &["SELECT CASE WHEN true THEN email END FROM public.customers"]),
    row("M1-coalesce", NoLeak, &["SELECT coalesce(NULL, email) FROM public.customers"]),
    row("M1-array", NoLeak, &["SELECT ARRAY[email, ssn] FROM public.customers"]),
    row("M1-format", NoLeak, &["SELECT format('%s', email) FROM public.customers"]),
    row("M1-aggregate", NoLeak, &["SELECT string_agg(email, ','), max(ssn), array_agg(email) FROM public.customers"]),
    row("M1-quoted-alias", NoLeak, &["SELECT c.\"email\" AS \"x y\" FROM public.customers AS c"]),
    row("M1-column-aliases", NoLeak, &["SELECT a, b FROM public.customers AS c (i, n, a, b)"]),
    // M2: every shape of a derived table
    row("M2-derived", NoLeak, &["SELECT x FROM (SELECT email AS x FROM public.customers) s"]),
    row("M2-cte", NoLeak, &["WITH w (z) AS (SELECT email FROM public.customers) SELECT z FROM w"]),
    row("M2-cte-recursive", NoLeak, &["WITH RECURSIVE w (n, e) AS (SELECT 1, email FROM public.customers UNION ALL SELECT n + 1, e FROM w WHERE n < 2) SELECT e FROM w"]),
    row("M2-unnest", NoLeak, &["SELECT u FROM public.customers c, unnest(ARRAY[c.email, c.ssn]) u"]),
    row("M2-scalar-subquery", NoLeak, &["SELECT (SELECT ssn FROM public.customers WHERE id = 1)"]),
    row("M2-union-second-arm", NoLeak, &["SELECT 'x' UNION ALL SELECT email FROM public.customers"]),
    row("M2-union-first-arm", NoLeak, &["SELECT ssn FROM public.customers UNION ALL SELECT 'x'"]),
    row("M2-except", NoLeak, &["SELECT email FROM public.customers EXCEPT SELECT 'x'"]),
    row("M2-lateral", NoLeak, &["SELECT l.v FROM public.customers c CROSS JOIN LATERAL (SELECT c.email AS v) l"]),
    row("M2-lateral-values", NoLeak, &["SELECT v FROM public.customers c, LATERAL (VALUES (c.email), (c.ssn)) t (v)"]),
    row("M2-using", NoLeak, &["SELECT email FROM public.customers a JOIN public.customers b USING (email)"]),
    row("M2-natural", NoLeak, &["SELECT * FROM public.customers a NATURAL JOIN public.customers b"]),
    row("M2-full-using", NoLeak, &["SELECT email FROM public.customers a FULL JOIN (SELECT 'q' AS email) b USING (email)"]),
    row("M2-table", NoLeak, &["TABLE public.customers"]),
    row("M2-values", NoLeak, &["VALUES ((SELECT email FROM public.customers WHERE id = 1))"]),
    row("M2-union-table", NoLeak, &["SELECT 1, 'n', 'e', 's', 'c', 'p', '{}'::jsonb UNION TABLE public.customers"]),
    row("M2-in-select-list", NoLeak, &["SELECT id, ARRAY(SELECT email FROM public.customers) FROM public.orders"]),
    row("M2-join-alias", NoLeak, &["SELECT j.email FROM (public.customers c JOIN public.orders o ON o.customer_id = c.id) j"]),
    // M3, M4: oracles
    row("M3-like", Refused, &["SELECT id FROM public.customers WHERE ssn LIKE '078-05-110%'"]),
    row("M3-between", Refused, &["SELECT id FROM public.customers WHERE email BETWEEN 'a' AND 'b'"]),
    row("M3-case", Refused, &["SELECT CASE WHEN email < 'b' THEN 1 ELSE 0 END FROM public.customers"]),
    row("M3-join", Refused, &["SELECT c.id FROM public.customers c JOIN (VALUES ('078-05-1101')) v (s) ON v.s = c.ssn"]),
    row("M3-filter", Refused, &["SELECT count(*) FILTER (WHERE ssn > '078-05-1102') FROM public.customers"]),
    row("M3-boolean", Refused, &["SELECT ssn = '078-05-1101' FROM public.customers"]),
    row("M3-exists", Refused, &["SELECT id FROM public.orders o WHERE EXISTS (SELECT 1 FROM public.customers c WHERE c.id = o.customer_id AND c.email LIKE 'a%')"]),
    row("M3-is-distinct", Refused, &["SELECT id FROM public.customers WHERE email IS DISTINCT FROM 'x'"]),
    row("M3-update-where", Refused, &["UPDATE public.orders SET note = 'y' FROM public.customers c WHERE c.id = customer_id AND c.ssn < '078-05-1103'"]),
    row("M4-group", Refused, &["SELECT count(*) FROM public.customers GROUP BY email"]),
    row("M4-order", Refused, &["SELECT id FROM public.customers ORDER BY ssn"]),
    row("M4-order-position", Refused, &["SELECT email, id FROM public.customers ORDER BY 1"]),
    row("M4-distinct", Refused, &["SELECT DISTINCT email FROM public.customers"]),
    row("M4-distinct-on", Refused, &["SELECT DISTINCT ON (ssn) id FROM public.customers"]),
    row("M4-window", Refused, &["SELECT id, rank() OVER (ORDER BY email) FROM public.customers"]),
    row("M4-having", Refused, &["SELECT country FROM public.customers GROUP BY country HAVING max(ssn) > '078-05-1102'"]),
    row("M4-limit", Refused, &["SELECT id FROM public.orders LIMIT (SELECT length(email) FROM public.customers WHERE id = 1)"]),
    // M7: whole rows
    row("M7-star", NoLeak, &["SELECT * FROM public.customers"]),
    row("M7-qualified-star", NoLeak, &["SELECT c.*, o.id FROM public.customers c JOIN public.orders o ON o.customer_id = c.id"]),
    row("M7-row", NoLeak, &["SELECT c FROM public.customers c"]),
    row("M7-parenthesised", NoLeak, &["SELECT (c) FROM public.customers c"]),
    row("M7-expanded", NoLeak, &["SELECT (c).* FROM public.customers c"]),
    row("M7-field", NoLeak, &["SELECT (c).email FROM public.customers c"]),
    row("M7-row-to-json", NoLeak, &["SELECT row_to_json(c) FROM public.customers c"]),
    row("M7-to-jsonb", NoLeak, &["SELECT to_jsonb(c), to_json(c.*) FROM public.customers c"]),
    row("M7-array-agg", NoLeak, &["SELECT array_agg(c), json_agg(c) FROM public.customers c"]),
    row("M7-text", NoLeak, &["SELECT c::text FROM public.customers c"]),
    row("M7-record", NoLeak, &["SELECT ROW(c.*), ROW(c.email) FROM public.customers c"]),
    row("M7-functional", NoLeak, &["SELECT email(c), c.email FROM public.customers c"]),
    row("M7-row-compare", Refused, &["SELECT c.id FROM public.customers c WHERE c < ROW(1, 'B', 'c', 'd', 'e', 'f', '{}'::jsonb)::public.customers"]),
    row("M7-each", NoLeak, &["SELECT e.value FROM public.customers c, jsonb_each_text(to_jsonb(c)) e"]),
    row("M7-view-row", NoLeak, &["SELECT v FROM public.customer_contacts v"]),
    // M8: SQL inside text
    row("M8-query-to-xml", Refused, &["SELECT query_to_xml('SELECT ssn FROM public.customers', true, false, '')"]),
    row("M8-table-to-xml", Refused, &["SELECT table_to_xml('public.customers', true, false, '')"]),
    row("M8-database-to-xml", Refused, &["SELECT database_to_xml(true, false, '')"]),
    row("M8-cursor-to-xml", Refused, &["BEGIN", "DECLARE k CURSOR FOR SELECT email FROM public.customers", "SELECT cursor_to_xml('k', 9, true, false, '')"]),
    row("M8-ts-stat", Refused, &["SELECT * FROM ts_stat('SELECT to_tsvector(email) FROM public.customers')"]),
    row("M8-crosstab", Refused, &["SELECT * FROM public.crosstab('SELECT id, name, ssn::text FROM public.customers') AS t (a int, b text)"]),
    row("M8-dblink", Refused, &["SELECT * FROM public.dblink('dbname=shop', 'SELECT ssn FROM public.customers') AS t (s text)"]),
    row("M8-run-text", Refused, &["SELECT public.run_text('SELECT ssn::text FROM public.customers')"]),
    row("M8-do", Refused, &["DO $$ BEGIN RAISE NOTICE '%', (SELECT ssn FROM public.customers LIMIT 1); END $$"]),
    // M9: copy, then read
    row("M9-ctas", Refused, &["CREATE TABLE public.stolen AS SELECT email FROM public.customers"]),
    row("M9-temp", Refused, &["CREATE TEMP TABLE stolen AS SELECT email FROM public.customers"]),
    row("M9-select-into", Refused, &["SELECT email INTO public.stolen FROM public.customers"]),
    row("M9-select-into-temp", Refused, &["SELECT email INTO TEMP stolen FROM public.customers"]),
    row("M9-insert-select", Refused, &["INSERT INTO public.order_notes (order_id, body) SELECT 1, email FROM public.customers"]),
    row("M9-update-from", Refused, &["UPDATE public.orders SET note = c.email FROM public.customers c WHERE c.id = customer_id"]),
    row("M9-update-subquery", Refused, &["UPDATE public.orders SET (note, status) = (SELECT ssn, 'paid'::public.order_status FROM public.customers WHERE id = 1) WHERE id = 1"]),
    row("M9-on-conflict", Refused, &["INSERT INTO public.imports (sku, quantity) VALUES ('A-1', 1) ON CONFLICT (sku) DO UPDATE SET sku = (SELECT email FROM public.customers WHERE id = 1)"]),
    row("M9-returning", NoLeak, &["UPDATE public.orders SET note = note FROM public.customers c WHERE c.id = customer_id RETURNING c.email"]),
    row("M9-large-object", Refused, &["SELECT lo_from_bytea(0, convert_to(email, 'UTF8')) FROM public.customers"]),
    row("M9-matview", Refused, &["CREATE MATERIALIZED VIEW public.stolen AS SELECT email FROM public.customers"]),
    row("M9-read-matview", Refused, &["SELECT address FROM public.customer_snapshot"]),
    row("M9-create-view", Refused, &["CREATE VIEW public.stolen AS SELECT email AS x FROM public.customers"]),
    row("M9-setting", Refused, &["SELECT set_config('my.value', email, false) FROM public.customers"]),
    row("M9-notify", Refused, &["SELECT pg_notify('c', email) FROM public.customers"]),
    // M10: COPY, cursors
    row("M10-copy", NoLeak, &["COPY public.customers TO STDOUT"]),
    row("M10-copy-query", NoLeak, &["COPY (SELECT email FROM public.customers) TO STDOUT (FORMAT csv)"]),
    row("M10-copy-binary", NoLeak, &["COPY public.customers (ssn) TO STDOUT (FORMAT binary)"]),
    row("M10-copy-view", NoLeak, &["COPY (TABLE public.customer_contacts) TO STDOUT"]),
    row("M10-cursor", NoLeak, &["BEGIN", "DECLARE k SCROLL CURSOR FOR SELECT email, ssn FROM public.customers", "FETCH ALL FROM k", "FETCH FIRST FROM k"]),
    row("M10-cursor-hold", NoLeak, &["BEGIN", "DECLARE k CURSOR WITH HOLD FOR SELECT email FROM public.customers", "COMMIT", "FETCH ALL FROM k", "CLOSE ALL"]),
    row("M10-several-results", NoLeak, &["SELECT 1; SELECT email FROM public.customers; SELECT ssn FROM public.customers"]),
    // M13: how the text is read
    row("M13-unicode-identifier", NoLeak, &["SELECT U&\"\\0073sn\" FROM public.customers"]),
    row("M13-unicode-escape", NoLeak, &["SELECT U&\"!0065mail\" UESCAPE '!' FROM public.customers"]),
    row("M13-conforming", Refused, &["SET standard_conforming_strings = off"]),
    row("M13-encoding", Refused, &["SET client_encoding = 'SJIS'"]),
    row("M13-set-names", Refused, &["SET NAMES 'LATIN1'"]),
    row("M13-set-config", Refused, &["SELECT set_config('standard_conforming_strings', 'off', false)"]),
    row("M13-case-folding", NoLeak, &["SELECT EMAIL, Ssn FROM PUBLIC.CUSTOMERS"]),
    row("M13-backslash-quote", Refused, &["SET backslash_quote = on"]),
    row("M13-role", Refused, &["SET ROLE postgres"]),
    row("M13-authorization", Refused, &["SET SESSION AUTHORIZATION app"]),
    row("M13-replication-role", Refused, &["SET session_replication_role = replica"]),
    row("M13-xmloption-update", Refused, &["UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'"]),
    // M14: names move
    row("M14-search-path", NoLeak, &["SET search_path = public, pg_catalog", "SELECT email FROM customers", "RESET search_path"]),
    row("M14-shadow", NoLeak, &["CREATE TEMP TABLE customers (email text)", "INSERT INTO customers SELECT email FROM public.customers", "SELECT email FROM customers", "DROP TABLE customers"]),
    row("M14-view-twice", NoLeak, &["BEGIN", "CREATE TEMP VIEW v AS SELECT note AS x FROM public.orders", "SELECT x FROM v", "CREATE OR REPLACE TEMP VIEW v AS SELECT email AS x FROM public.customers", "SELECT x FROM v", "COMMIT", "SELECT x FROM v", "DROP VIEW v"]),
    row("M14-alter-path", Refused, &["ALTER ROLE agent_rw SET search_path = pg_temp"]),
    // M15: through the catalog
    row("M15-view", NoLeak, &["SELECT contact, reference FROM public.customer_contacts"]),
    row("M15-view-star", NoLeak, &["SELECT * FROM public.customer_contacts"]),
    row("M15-function-body", Refused, &["SELECT public.email_of(1)"]),
    row("M15-function-shadow", NoLeak, &["SELECT lower(ssn) FROM public.customers"]),
    row("M15-function-shadow-2", NoLeak, &["SELECT lower('x'::varchar)"]),
    row("M15-operator", Refused, &["SELECT 1 <#> 2"]),
    row("M15-operator-spelled", Refused, &["SELECT 1 OPERATOR(public.<#>) 2"]),
    row("M15-child", Refused, &["SELECT email FROM public.customers_archive"]),
    row("M15-child-only", NoLeak, &["SELECT email FROM ONLY public.customers"]),
    row("M15-child-star", NoLeak, &["SELECT email FROM public.customers*"]),
    // M16: values and other sessions in system columns
    row("M16-pg-stats", NoLeak, &["SELECT * FROM pg_stats WHERE tablename = 'customers'"]),
    row("M16-pg-statistic", Refused, &["SELECT stavalues1::text FROM pg_statistic"]),
    row("M16-activity", Refused, &["SELECT query FROM pg_stat_activity"]),
    row("M16-authid", Refused, &["SELECT rolpassword FROM pg_authid"]),
    row("M16-explain-analyze", NoLeak, &["EXPLAIN (ANALYZE, VERBOSE) SELECT email FROM public.customers WHERE id = 1"]),
    row("M16-explain-oracle", Refused, &["EXPLAIN ANALYZE SELECT 1 FROM public.customers WHERE ssn LIKE '078-05-1101'"]),
    // M20
    row("M20-sql-prepare", NoLeak, &["PREPARE q AS SELECT email FROM public.customers", "EXECUTE q", "SELECT 1", "EXECUTE q", "DEALLOCATE q"]),
    row("M20-explain-execute", NoLeak, &["PREPARE q AS SELECT ssn FROM public.customers", "EXPLAIN ANALYZE EXECUTE q", "DEALLOCATE q"]),
    row("M20-ctas-execute", Refused, &["PREPARE q2 AS SELECT ssn FROM public.customers", "CREATE TABLE public.stolen AS EXECUTE q2"]),
    // F1: spellings of a name
    row("F1-upper", Refused, &["SELECT * FROM PUBLIC.SECRETS"]),
    row("F1-quoted", Refused, &["SELECT * FROM \"public\".\"secrets\""]),
    row("F1-unicode", Refused, &["SELECT * FROM U&\"\\0073ecrets\""]),
    row("F1-unqualified", Refused, &["SELECT * FROM secrets"]),
    row("F1-only", Refused, &["SELECT * FROM ONLY public.secrets"]),
    row("F1-only-parenthesised", Refused, &["SELECT * FROM ONLY (public.secrets)"]),
    row("F1-star", Refused, &["SELECT * FROM public.secrets *"]),
    row("F1-database", Refused, &["SELECT * FROM shop.public.secrets"]),
    row("F1-table", Refused, &["TABLE secrets"]),
    // F2: not to be understood
    row("F2-unparseable", Refused, &["SELECT FROM WHERE (("]),
    row("F2-not-utf8", Refused, &["SELECT '<FF>' FROM public.orders"]),
    row("F2-unterminated", Refused, &["SELECT 'x FROM public.orders"]),
    row("F2-deep", Refused, &["SELECT @DEEP@"]),
    row("F2-operators", Refused, &["SELECT 1 @OPERATORS@ 1"]),
    row("F2-long", Refused, &["SELECT '@LONG@' FROM public.secrets"]),
    // F3: everywhere a table can hide
    row("F3-cte", Refused, &["WITH s AS (SELECT value FROM public.secrets) SELECT 1"]),
    row("F3-from-function", Refused, &["SELECT * FROM generate_series(1, (SELECT length(value) FROM public.secrets LIMIT 1))"]),
    row("F3-returning", Refused, &["UPDATE public.orders SET note = note WHERE id = 1 RETURNING (SELECT value FROM public.secrets LIMIT 1)"]),
    row("F3-aggregate-filter", Refused, &["SELECT count(*) FILTER (WHERE EXISTS (SELECT 1 FROM public.secrets)) FROM public.orders"]),
    row("F3-limit", Refused, &["SELECT id FROM public.orders LIMIT (SELECT count(*) FROM public.secrets)"]),
    row("F3-offset", Refused, &["SELECT id FROM public.orders OFFSET (SELECT count(*) FROM public.secrets)"]),
    row("F3-order", Refused, &["SELECT id FROM public.orders ORDER BY (SELECT value FROM public.secrets LIMIT 1)"]),
    row("F3-on-conflict", Refused, &["INSERT INTO public.imports VALUES ('A-1', 1) ON CONFLICT (sku) DO UPDATE SET quantity = (SELECT count(*) FROM public.secrets)"]),
    row("F3-on-conflict-where", Refused, &["INSERT INTO public.imports VALUES ('A-1', 1) ON CONFLICT (sku) DO UPDATE SET quantity = 1 WHERE EXISTS (SELECT FROM public.secrets)"]),
    row("F3-merge", Refused, &["MERGE INTO public.imports i USING public.secrets s ON s.name = i.sku WHEN MATCHED THEN DO NOTHING"]),
    row("F3-merge-condition", Refused, &["MERGE INTO public.imports i USING (VALUES ('A-1')) v (s) ON i.sku = v.s WHEN MATCHED AND EXISTS (SELECT FROM public.secrets) THEN DELETE"]),
    row("F3-window-frame", Refused, &["SELECT sum(id) OVER (ORDER BY id ROWS (SELECT 1 FROM public.secrets LIMIT 1) PRECEDING) FROM public.orders"]),
    row("F3-cursor", Refused, &["BEGIN", "DECLARE k CURSOR FOR SELECT value FROM public.secrets"]),
    row("F3-prepare", Refused, &["PREPARE q3 AS SELECT value FROM public.secrets"]),
    row("F3-rows-from", Refused, &["SELECT * FROM ROWS FROM (generate_series(1, 2), pg_ls_dir('.')) AS t (a, b)"]),
    row("F3-tablesample", Refused, &["SELECT * FROM public.secrets TABLESAMPLE system (100)"]),
    row("F3-tablesample-argument", Refused, &["SELECT id FROM public.orders TABLESAMPLE bernoulli ((SELECT count(*) FROM public.secrets))"]),
    row("F3-multi-assign", Refused, &["UPDATE public.orders SET (note, status) = (SELECT value, 'paid'::public.order_status FROM public.secrets LIMIT 1)"]),
    row("F3-in", Refused, &["SELECT id FROM public.orders WHERE note IN (SELECT value FROM public.secrets)"]),
    row("F3-any-array", Refused, &["SELECT id FROM public.orders WHERE note = ANY (ARRAY(SELECT value FROM public.secrets))"]),
    row("F3-values", Refused, &["INSERT INTO public.order_notes (order_id, body) VALUES (1, (SELECT value FROM public.secrets LIMIT 1))"]),
    row("F3-group", Refused, &["SELECT count(*) FROM public.orders GROUP BY GROUPING SETS ((), ((SELECT value FROM public.secrets LIMIT 1)))"]),
    row("F3-whole-row-exists", Refused, &["SELECT EXISTS (TABLE public.secrets)"]),
    // F4
    row("F4-cte-shadows", Served, &["WITH secrets AS (SELECT id FROM public.orders) SELECT * FROM secrets"]),
    row("F4-qualified-past-cte", Refused, &["WITH secrets AS (SELECT 1) SELECT * FROM public.secrets"]),
    row("F4-own-definition", Refused, &["WITH secrets AS (SELECT * FROM secrets) SELECT * FROM secrets"]),
    row("F4-inner-scope", Refused, &["SELECT (WITH secrets AS (SELECT 1) SELECT 1), (SELECT value FROM secrets LIMIT 1)"]),
    row("F4-insert-target", Refused, &["WITH secrets AS (SELECT 1) INSERT INTO secrets VALUES ('a', 'b')"]),
    // F5: effects, not the first word
    row("F5-modifying-cte", Refused, &["WITH d AS (DELETE FROM public.order_notes RETURNING *) SELECT count(*) FROM d"]),
    row("F5-explain-analyze", Refused, &["EXPLAIN ANALYZE DELETE FROM public.order_notes"]),
    row("F5-copy-delete", Refused, &["COPY (DELETE FROM public.order_notes RETURNING id) TO STDOUT"]),
    row("F5-merge-delete", Refused, &["MERGE INTO public.order_notes n USING (VALUES (1)) v (i) ON n.id = v.i WHEN MATCHED THEN DELETE"]),
    row("F5-select-into", Refused, &["SELECT id INTO public.copied FROM public.orders"]),
    row("F5-for-update", Refused, &["SELECT order_id FROM public.order_items FOR UPDATE"]),
    row("F5-lock", Refused, &["LOCK TABLE public.customers IN ACCESS EXCLUSIVE MODE"]),
    row("F5-values-cte", Refused, &["WITH d AS (UPDATE public.order_items SET price = 0 RETURNING 1) VALUES (1)"]),
    // F6: several statements
    row("F6-stacked", Refused, &["SELECT 1; DROP TABLE public.order_notes"]),
    row("F6-commit-first", Refused, &["COMMIT; DELETE FROM public.order_notes"]),
    row("F6-comment-first", Refused, &["/* SELECT */ -- 1\nDELETE FROM public.order_notes"]),
    row("F6-end", Refused, &["SELECT 1 end; DROP TABLE public.order_notes"]),
    row("F6-read-write", Refused, &["BEGIN READ ONLY", "SET TRANSACTION READ WRITE", "DELETE FROM public.order_notes"]),
    row("F6-empty-first", Refused, &[";;; DELETE FROM public.order_notes"]),
    row("F6-copy-hides", Refused, &["COPY public.imports FROM STDIN; DROP TABLE public.order_notes"]),
    // F7: the server's lexing
    row("F7-dollar-tag", Refused, &["SELECT $€$ FROM public.orders -- $€$ , value FROM public.secrets"]),
    row("F7-operator-comment", Refused, &["SELECT 1 #/* x FROM public.orders --*/ 2, value FROM public.secrets"]),
    row("F7-nested-comment", Refused, &["SELECT /* /* */ 1 -- */ value FROM public.secrets"]),
    row("F7-comment-cr", Refused, &["SELECT 1 -- x\r , value FROM public.secrets"]),
    row("F7-form-feed", Refused, &["SELECT\u{c}value\u{c}FROM\u{c}public.secrets"]),
    row("F7-escape-string", Refused, &["SELECT E'\\'' , value FROM public.secrets -- '"]),
    row("F7-continued-string", Refused, &["SELECT E'a'\n'\\' FROM public.orders --' , value FROM public.secrets"]),
    row("F7-backslash", Refused, &["SELECT '\\' , value FROM public.secrets -- '"]),
    row("F7-alias-keyword", Refused, &["SELECT value and FROM public.secrets"]),
    row("F7-bare-label", NoLeak, &["SELECT ssn and FROM public.customers"]),
    row("F7-dollar-identifier", Refused, &["SELECT 1 AS a$$b, value AS c$$ FROM public.secrets"]),
    row("F7-kelvin", Refused, &["SELECT value FROM public.secrets AS \u{212a}"]),
    row("F7-long-name", Refused, &["SELECT value FROM public.secrets AS aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]),
    // F8: side effects inside SELECT
    row("F8-read-file", Refused, &["SELECT pg_read_file('/etc/passwd')"]),
    row("F8-ls-dir", Refused, &["SELECT * FROM pg_ls_dir('/')"]),
    row("F8-lo-import", Refused, &["SELECT lo_import('/etc/passwd')"]),
    row("F8-lo-export", Refused, &["SELECT lo_export(1, '/tmp/x')"]),
    row("F8-terminate", Refused, &["SELECT pg_terminate_backend(1)"]),
    row("F8-cancel", Refused, &["SELECT pg_cancel_backend(pid) FROM pg_stat_activity"]),
    row("F8-set-config", Refused, &["SELECT set_config('role', 'postgres', false)"]),
    row("F8-setval", Refused, &["SELECT setval('public.invoice_number', 1)"]),
    row("F8-nextval", Refused, &["SELECT nextval('public.invoice_number')"]),
    row("F8-advisory", Refused, &["SELECT pg_advisory_lock(1)"]),
    row("F8-sleep", Refused, &["SELECT pg_sleep(0.01)"]),
    row("F8-slot", Refused, &["SELECT pg_create_physical_replication_slot('x')"]),
    row("F8-reload", Refused, &["SELECT pg_reload_conf()"]),
    row("F8-dblink-connect", Refused, &["SELECT public.dblink_connect('host=127.0.0.1')"]),
    row("F8-qualified", Refused, &["SELECT pg_catalog.pg_read_file('/etc/passwd')"]),
    row("F8-quoted", Refused, &["SELECT \"pg_catalog\".\"pg_sleep\"(0.01)"]),
    row("F8-from", Refused, &["SELECT * FROM pg_sleep(0.01)"]),
    row("F8-default-argument", Refused, &["SELECT count(*) FROM public.orders WHERE id = (SELECT 1 FROM pg_sleep(0.01))"]),
    row("F8-call", Refused, &["CALL public.wipe()"]),
    row("F8-copy-file", Refused, &["COPY public.orders TO '/tmp/cordon-test-copy'"]),
    row("F8-copy-from-file", Refused, &["COPY public.imports FROM '/etc/passwd'"]),
    row("F8-load", Refused, &["LOAD 'auto_explain'"]),
    // P6
    row("P6-copy-program", Refused, &["COPY public.imports FROM PROGRAM 'id'"]),
    row("P6-copy-to-program", Refused, &["COPY public.orders TO PROGRAM 'cat'"]),
    row("P6-copy-query-program", Refused, &["COPY (SELECT 1) TO PROGRAM 'cat'"]),
    // F11: destructive by shape
    row("F11-where-true", Refused, &["DELETE FROM public.order_notes WHERE true"]),
    row("F11-no-where", Refused, &["UPDATE public.order_items SET quantity = 0"]),
    row("F11-truncate-cascade", Refused, &["TRUNCATE public.orders CASCADE"]),
    row("F11-truncate-restart", Refused, &["TRUNCATE public.order_notes RESTART IDENTITY"]),
    row("F11-alter-drop", Refused, &["ALTER TABLE public.owned_plain DROP COLUMN label"]),
    row("F11-drop-owned", Refused, &["DROP OWNED BY agent_rw"]),
    row("F11-rename-swap", Refused, &["ALTER TABLE public.owned_plain RENAME TO owned_swapped"]),
    row("F11-inherit", Refused, &["ALTER TABLE public.owned_plain INHERIT public.owned_other"]),
    row("F11-disable-trigger", Refused, &["ALTER TABLE public.owned_plain DISABLE TRIGGER ALL"]),
    row("F11-row-security", Refused, &["ALTER TABLE public.owned_plain DISABLE ROW LEVEL SECURITY"]),
    row("F11-grant", Refused, &["GRANT ALL ON public.owned_plain TO PUBLIC"]),
    row("F11-owner", Refused, &["ALTER TABLE public.owned_plain OWNER TO reader"]),
    row("F11-reassign", Refused, &["REASSIGN OWNED BY agent_rw TO reader"]),
    row("F11-drop-schema", Refused, &["DROP SCHEMA public CASCADE"]),
    row("F11-create-function", Refused, &["CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'"]),
    row("F11-create-rule", Refused, &["CREATE RULE r AS ON INSERT TO public.owned_plain DO INSTEAD NOTHING"]),
    row("F11-create-trigger", Refused, &["CREATE TRIGGER t BEFORE DELETE ON public.owned_plain EXECUTE FUNCTION suppress_redundant_updates_trigger()"]),
    row("F11-alter-role", Refused, &["ALTER ROLE agent_rw PASSWORD 'x'"]),
    row("F11-alter-system", Refused, &["ALTER SYSTEM SET log_statement = 'none'"]),
    row("F11-create-extension", Refused, &["CREATE EXTENSION adminpack"]),
    row("F11-comment", Refused, &["COMMENT ON TABLE public.owned_plain IS 'x'"]),
    row("F11-vacuum-full", Refused, &["VACUUM FULL public.owned_plain"]),
    row("F11-security-label", Refused, &["SECURITY LABEL ON TABLE public.owned_plain IS 'x'"]),
    // F13: must pass
    row("F13-plain", Served, &["SELECT id, status, note FROM public.orders"]),
    row("F13-verb-columns", Served, &["SELECT id AS delete, note AS \"drop\", status AS update FROM public.orders"]),
    row("F13-verb-text", Served, &["SELECT 'DELETE FROM public.secrets; DROP TABLE x' AS text"]),
    row("F13-catalog", Served, &["SELECT c.relname, pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c WHERE pg_catalog.pg_table_is_visible(c.oid) LIMIT 3"]),
    row("F13-information-schema", Served, &["SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'orders'"]),
    row("F13-version", Served, &["SELECT version(), current_database(), current_schema(), current_user"]),
    row("F13-show", Served, &["SHOW transaction_isolation"]),
    row("F13-aggregate", Served, &["SELECT status, count(*), sum(total), max(placed_at) FROM public.orders GROUP BY status ORDER BY 2 DESC, 1"]),
    row("F13-unmasked", Served, &["SELECT id, lower(name), country, profile->>'tier' FROM public.customers WHERE country IN ('GB', 'DE') ORDER BY name"]),
    row("F13-transaction", Served, &["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SAVEPOINT a", "RELEASE a", "SELECT 1"]),
    row("F13-granted-function", Served, &["SELECT public.order_total(3)"]),
    row("F13-window", Served, &["SELECT id, rank() OVER (PARTITION BY status ORDER BY total DESC) FROM public.orders"]),
    row("F13-recursive", Served, &["WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n"]),
    row("F13-values", Served, &["VALUES (1, 'a'), (2, 'b')"]),
    row("F13-json", Served, &["SELECT jsonb_build_object('id', id, 'total', total) FROM public.orders"]),
    row("F13-now", Served, &["SELECT now(), clock_timestamp(), random(), gen_random_uuid()"]),
    row("F13-explain", Served, &["EXPLAIN SELECT id FROM public.orders"]),
];

fn text_of(step: &str) -> String {
    step.replace(
        "@DEEP@",
        &format!("{}1{}", "(".repeat(20_000), ")".repeat(20_000)),
    )
    .replace("@OPERATORS@", &"+-".repeat(40_000))
    .replace("@LONG@", &"x".repeat(8 << 20))
}

/// What a superuser sees of everything that a refused statement could have changed.
fn state(stand: &Stand) -> Result<String> {
    let mut parts = Vec::new();
    for table in [
        "customers",
        "orders",
        "order_items",
        "order_notes",
        "imports",
        "secrets",
        "owned_plain",
        "owned_other",
    ] {
        parts.push(stand.cluster.admin(&format!(
            "SELECT '{table}', md5(string_agg(t::text, '|' ORDER BY t::text)) FROM public.{table} t"
        ))?);
    }
    for sql in [
        "SELECT string_agg(relname::text || relkind::text || relowner::text || coalesce(relacl::text, '') || relrowsecurity::text, ',' ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace",
        "SELECT string_agg(rolname || rolsuper || rolcreaterole, ',' ORDER BY rolname) FROM pg_authid",
        "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
        "SELECT count(*) FROM pg_rewrite",
        "SELECT count(*) FROM pg_trigger",
        "SELECT count(*) FROM pg_largeobject_metadata",
        "SELECT last_value, is_called FROM public.invoice_number",
        "SELECT count(*) FROM pg_replication_slots",
        "SELECT count(*) FROM pg_db_role_setting",
    ] {
        parts.push(stand.cluster.admin(sql)?);
    }
    Ok(parts.join("\n"))
}

fn run(stand: &Stand, rows: &[Row], form: &str) -> Result<BTreeMap<String, Value>> {
    let list: Vec<Value> = rows
        .iter()
        .map(|row| {
            let steps: Vec<String> = row.steps.iter().map(|step| text_of(step)).collect();
            json!({ "id": row.id, "steps": steps })
        })
        .collect();
    let file = stand
        .daemon
        .scratch()
        .share("rows.json", serde_json::to_string(&list)?.as_bytes())?;
    let result = raw::run(
        &stand.job(),
        raw::ROWS,
        &[&file.display().to_string(), form],
    )?;
    ensure!(
        Seen(&result["last"]).rows() == [[Some("1")]],
        "the session did not survive: {}",
        result["last"]
    );
    let shown = result["rows"].as_array().context("no rows")?.iter();
    Ok(shown
        .map(|row| {
            (
                row["id"].as_str().unwrap_or_default().to_owned(),
                row["shown"].clone(),
            )
        })
        .collect())
}

/// The server ran the last step: its log has the mark. Of several statements in one text, the
/// first carries the mark and may be allowed; there the state of the database tells.
fn was_run(row: &Row, statements: &[String]) -> bool {
    let mark = format!("/*ev:{}.{}*/", row.id, row.steps.len() - 1);
    let several = row.steps.last().is_some_and(|step| step.contains(';'));
    !several && statements.iter().any(|sql| sql.contains(&mark))
}

fn judge(row: &Row, shown: &Value, statements: &[String]) -> Result<()> {
    let steps = shown.as_array().context("no steps")?;
    canary::none_in("it", &shown.to_string())?;
    ensure!(steps.iter().all(|step| !Seen(step).timed_out()), "it hung");
    let last = steps
        .get(row.steps.len() - 1)
        .map(Seen)
        .context("the connection was lost before the last step")?;
    let codes = last.sqlstates();
    match row.want {
        Refused => {
            let code = codes.first().copied().unwrap_or_default();
            ensure!(REFUSALS.contains(&code), "not refused");
            // The server refuses some of these itself; that is luck, not a decision.
            ensure!(
                !matches!(code, "42501" | "0A000") || last.field("M")?.contains("(ref "),
                "not refused by Cordon"
            );
            ensure!(!was_run(row, statements), "it was run");
        }
        NoLeak => ensure!(!last.closed(), "the connection was lost"),
        Served => {
            ensure!(codes.is_empty() && !last.rows().is_empty(), "not served");
        }
    }
    Ok(())
}

fn none_succeeds(stand: &Stand, rows: &[Row], form: &str) -> Result<()> {
    let before = state(stand)?;
    let shown = run(stand, rows, form)?;
    let statements = stand.cluster.statements()?;
    let mut wrong = Vec::new();
    for row in rows {
        let shown = shown
            .get(row.id)
            .with_context(|| format!("{} was not run", row.id))?;
        if let Err(error) = judge(row, shown, &statements) {
            wrong.push(format!(
                "{} {:?} {:.200?}: {error:.200}\n    {shown:.700}",
                row.id, row.want, row.steps
            ));
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} of {} rows:\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n")
    );
    let after = state(stand)?;
    ensure!(
        before == after,
        "the database was changed:\n{before}\n---\n{after}"
    );
    Ok(())
}

#[test]
fn no_row_succeeds_as_a_simple_query() -> Result<()> {
    let stand = Stand::with_policy(policies::NO_APPROVALS)?;
    none_succeeds(&stand, ROWS, "simple")
}

#[test]
fn no_row_succeeds_through_the_unnamed_statement() -> Result<()> {
    let stand = Stand::with_policy(policies::NO_APPROVALS)?;
    none_succeeds(&stand, ROWS, "extended")
}

#[test]
fn no_row_succeeds_as_a_prepared_statement_with_binary_results() -> Result<()> {
    let stand = Stand::with_policy(policies::NO_APPROVALS)?;
    none_succeeds(&stand, ROWS, "prepared")
}

#[test]
fn no_row_succeeds_as_a_statement_prepared_in_sql() -> Result<()> {
    let stand = Stand::with_policy(policies::NO_APPROVALS)?;
    none_succeeds(&stand, ROWS, "sql")
}

#[test]
fn every_row_has_an_id_of_its_own() {
    let mut ids: Vec<&str> = ROWS.iter().chain(HELD).map(|row| row.id).collect();
    ids.sort_unstable();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

/// Each changes something where a policy holds every change: it waits, nobody answers, it is
/// given up. What the policy does not even hold is refused at once.
#[rustfmt::skip]
const HELD: &[Row] = &[
    row("H-modifying-cte", Refused, &["WITH d AS (DELETE FROM public.order_notes RETURNING *) SELECT count(*) FROM d"]),
    row("H-explain-analyze", Refused, &["EXPLAIN ANALYZE DELETE FROM public.order_notes"]),
    row("H-merge-delete", Refused, &["MERGE INTO public.order_notes n USING (VALUES (1)) v (i) ON n.id = v.i WHEN MATCHED THEN DELETE"]),
    row("H-stacked", Refused, &["SELECT 1; DELETE FROM public.order_notes"]),
    row("H-truncate", Refused, &["TRUNCATE public.order_notes"]),
    row("H-drop", Refused, &["DROP TABLE public.owned_plain"]),
    row("H-alter-drop", Refused, &["ALTER TABLE public.owned_plain DROP COLUMN label"]),
    row("H-prepared", Refused, &["PREPARE h AS DELETE FROM public.order_notes", "EXECUTE h"]),
    row("H-upsert", Refused, &["INSERT INTO public.order_notes (id, order_id, body) VALUES (1, 1, 'x') ON CONFLICT (id) DO UPDATE SET body = 'x'"]),
];

/// F5, F11: the shape of a destructive statement does not get it past the hold.
#[test]
fn a_destructive_statement_in_any_shape_is_held_and_given_up() -> Result<()> {
    let stand = Stand::start(&Setup {
        policy: policies::SHORT_HOLD.to_owned(),
        ..Setup::default()
    })?;
    let before = state(&stand)?;
    let shown = run(&stand, HELD, "simple")?;
    let statements = stand.cluster.statements()?;
    for row in HELD {
        let steps = shown
            .get(row.id)
            .with_context(|| format!("{} was not run", row.id))?;
        let last = Seen(&steps[row.steps.len() - 1]);
        let codes = last.sqlstates();
        ensure!(
            codes
                .first()
                .is_some_and(|code| ["57014", "42501", "0A000"].contains(code)),
            "{}: {steps}",
            row.id
        );
        ensure!(!was_run(row, &statements), "{} was run", row.id);
    }
    ensure!(before == state(&stand)?, "the database was changed");
    let held = shown
        .values()
        .flat_map(|steps| steps.as_array().into_iter().flatten());
    let expired = held
        .filter(|step| Seen(step).sqlstates().first() == Some(&"57014"))
        .count();
    ensure!(expired >= 5, "only {expired} statements were held at all");
    Ok(())
}
