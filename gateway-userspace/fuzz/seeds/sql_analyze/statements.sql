SELECT email AS id, ssn AS name FROM public.customers
;
SELECT email || '' FROM public.customers
;
SELECT email::varchar, CAST(ssn AS text) FROM public.customers
;
SELECT upper(email), left(ssn, 9), md5(email) FROM public.customers
;
SELECT CASE WHEN true THEN email END FROM public.customers
;
SELECT coalesce(NULL, email) FROM public.customers
;
SELECT ARRAY[email, ssn] FROM public.customers
;
SELECT format('%s', email) FROM public.customers
;
SELECT string_agg(email, ','), max(ssn), array_agg(email) FROM public.customers
;
SELECT c."email" AS "x y" FROM public.customers AS c
;
SELECT a, b FROM public.customers AS c (i, n, a, b)
;
SELECT x FROM (SELECT email AS x FROM public.customers) s
;
WITH w (z) AS (SELECT email FROM public.customers) SELECT z FROM w
;
WITH RECURSIVE w (n, e) AS (SELECT 1, email FROM public.customers UNION ALL SELECT n + 1, e FROM w WHERE n < 2) SELECT e FROM w
;
SELECT u FROM public.customers c, unnest(ARRAY[c.email, c.ssn]) u
;
SELECT (SELECT ssn FROM public.customers WHERE id = 1)
;
SELECT 'x' UNION ALL SELECT email FROM public.customers
;
SELECT ssn FROM public.customers UNION ALL SELECT 'x'
;
SELECT email FROM public.customers EXCEPT SELECT 'x'
;
SELECT l.v FROM public.customers c CROSS JOIN LATERAL (SELECT c.email AS v) l
;
SELECT v FROM public.customers c, LATERAL (VALUES (c.email), (c.ssn)) t (v)
;
SELECT email FROM public.customers a JOIN public.customers b USING (email)
;
SELECT * FROM public.customers a NATURAL JOIN public.customers b
;
SELECT email FROM public.customers a FULL JOIN (SELECT 'q' AS email) b USING (email)
;
TABLE public.customers
;
VALUES ((SELECT email FROM public.customers WHERE id = 1))
;
SELECT 1, 'n', 'e', 's', 'c', 'p', '{}'::jsonb UNION TABLE public.customers
;
SELECT id, ARRAY(SELECT email FROM public.customers) FROM public.orders
;
SELECT j.email FROM (public.customers c JOIN public.orders o ON o.customer_id = c.id) j
;
SELECT id FROM public.customers WHERE ssn LIKE '078-05-110%'
;
SELECT id FROM public.customers WHERE email BETWEEN 'a' AND 'b'
;
SELECT CASE WHEN email < 'b' THEN 1 ELSE 0 END FROM public.customers
;
SELECT c.id FROM public.customers c JOIN (VALUES ('078-05-1101')) v (s) ON v.s = c.ssn
;
SELECT count(*) FILTER (WHERE ssn > '078-05-1102') FROM public.customers
;
SELECT ssn = '078-05-1101' FROM public.customers
;
SELECT id FROM public.orders o WHERE EXISTS (SELECT 1 FROM public.customers c WHERE c.id = o.customer_id AND c.email LIKE 'a%')
;
SELECT id FROM public.customers WHERE email IS DISTINCT FROM 'x'
;
UPDATE public.orders SET note = 'y' FROM public.customers c WHERE c.id = customer_id AND c.ssn < '078-05-1103'
;
SELECT count(*) FROM public.customers GROUP BY email
;
SELECT id FROM public.customers ORDER BY ssn
;
SELECT email, id FROM public.customers ORDER BY 1
;
SELECT DISTINCT email FROM public.customers
;
SELECT DISTINCT ON (ssn) id FROM public.customers
;
SELECT id, rank() OVER (ORDER BY email) FROM public.customers
;
SELECT country FROM public.customers GROUP BY country HAVING max(ssn) > '078-05-1102'
;
SELECT id FROM public.orders LIMIT (SELECT length(email) FROM public.customers WHERE id = 1)
;
SELECT * FROM public.customers
;
SELECT c.*, o.id FROM public.customers c JOIN public.orders o ON o.customer_id = c.id
;
SELECT c FROM public.customers c
;
SELECT (c) FROM public.customers c
;
SELECT (c).* FROM public.customers c
;
SELECT (c).email FROM public.customers c
;
SELECT row_to_json(c) FROM public.customers c
;
SELECT to_jsonb(c), to_json(c.*) FROM public.customers c
;
SELECT array_agg(c), json_agg(c) FROM public.customers c
;
SELECT c::text FROM public.customers c
;
SELECT ROW(c.*), ROW(c.email) FROM public.customers c
;
SELECT email(c), c.email FROM public.customers c
;
SELECT c.id FROM public.customers c WHERE c < ROW(1, 'B', 'c', 'd', 'e', 'f', '{}'::jsonb)::public.customers
;
SELECT e.value FROM public.customers c, jsonb_each_text(to_jsonb(c)) e
;
SELECT v FROM public.customer_contacts v
;
SELECT query_to_xml('SELECT ssn FROM public.customers', true, false, '')
;
SELECT table_to_xml('public.customers', true, false, '')
;
SELECT database_to_xml(true, false, '')
;
BEGIN
;
DECLARE k CURSOR FOR SELECT email FROM public.customers
;
SELECT cursor_to_xml('k', 9, true, false, '')
;
SELECT * FROM ts_stat('SELECT to_tsvector(email) FROM public.customers')
;
SELECT * FROM public.crosstab('SELECT id, name, ssn::text FROM public.customers') AS t (a int, b text)
;
SELECT * FROM public.dblink('dbname=shop', 'SELECT ssn FROM public.customers') AS t (s text)
;
SELECT public.run_text('SELECT ssn::text FROM public.customers')
;
DO $$ BEGIN RAISE NOTICE '%', (SELECT ssn FROM public.customers LIMIT 1); END $$
;
CREATE TABLE public.stolen AS SELECT email FROM public.customers
;
CREATE TEMP TABLE stolen AS SELECT email FROM public.customers
;
SELECT email INTO public.stolen FROM public.customers
;
SELECT email INTO TEMP stolen FROM public.customers
;
INSERT INTO public.order_notes (order_id, body) SELECT 1, email FROM public.customers
;
UPDATE public.orders SET note = c.email FROM public.customers c WHERE c.id = customer_id
;
UPDATE public.orders SET (note, status) = (SELECT ssn, 'paid'::public.order_status FROM public.customers WHERE id = 1) WHERE id = 1
;
INSERT INTO public.imports (sku, quantity) VALUES ('A-1', 1) ON CONFLICT (sku) DO UPDATE SET sku = (SELECT email FROM public.customers WHERE id = 1)
;
UPDATE public.orders SET note = note FROM public.customers c WHERE c.id = customer_id RETURNING c.email
;
SELECT lo_from_bytea(0, convert_to(email, 'UTF8')) FROM public.customers
;
CREATE MATERIALIZED VIEW public.stolen AS SELECT email FROM public.customers
;
SELECT address FROM public.customer_snapshot
;
CREATE VIEW public.stolen AS SELECT email AS x FROM public.customers
;
SELECT set_config('my.value', email, false) FROM public.customers
;
SELECT pg_notify('c', email) FROM public.customers
;
COPY public.customers TO STDOUT
;
COPY (SELECT email FROM public.customers) TO STDOUT (FORMAT csv)
;
COPY public.customers (ssn) TO STDOUT (FORMAT binary)
;
COPY (TABLE public.customer_contacts) TO STDOUT
;
DECLARE k SCROLL CURSOR FOR SELECT email, ssn FROM public.customers
;
FETCH ALL FROM k
;
FETCH FIRST FROM k
;
DECLARE k CURSOR WITH HOLD FOR SELECT email FROM public.customers
;
COMMIT
;
CLOSE ALL
;
SELECT 1; SELECT email FROM public.customers; SELECT ssn FROM public.customers
;
SELECT U&"\0073sn" FROM public.customers
;
SELECT U&"!0065mail" UESCAPE '!' FROM public.customers
;
SET standard_conforming_strings = off
;
SET client_encoding = 'SJIS'
;
SET NAMES 'LATIN1'
;
SELECT set_config('standard_conforming_strings', 'off', false)
;
SELECT EMAIL, Ssn FROM PUBLIC.CUSTOMERS
;
SET backslash_quote = on
;
SET ROLE postgres
;
SET SESSION AUTHORIZATION app
;
SET session_replication_role = replica
;
UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'
;
SET search_path = public, pg_catalog
;
SELECT email FROM customers
;
RESET search_path
;
CREATE TEMP TABLE customers (email text)
;
INSERT INTO customers SELECT email FROM public.customers
;
DROP TABLE customers
;
CREATE TEMP VIEW v AS SELECT note AS x FROM public.orders
;
SELECT x FROM v
;
CREATE OR REPLACE TEMP VIEW v AS SELECT email AS x FROM public.customers
;
DROP VIEW v
;
ALTER ROLE agent_rw SET search_path = pg_temp
;
SELECT contact, reference FROM public.customer_contacts
;
SELECT * FROM public.customer_contacts
;
SELECT public.email_of(1)
;
SELECT lower(ssn) FROM public.customers
;
SELECT lower('x'::varchar)
;
SELECT 1 <#> 2
;
SELECT 1 OPERATOR(public.<#>) 2
;
SELECT email FROM public.customers_archive
;
SELECT email FROM ONLY public.customers
;
SELECT email FROM public.customers*
;
SELECT * FROM pg_stats WHERE tablename = 'customers'
;
SELECT stavalues1::text FROM pg_statistic
;
SELECT query FROM pg_stat_activity
;
SELECT rolpassword FROM pg_authid
;
EXPLAIN (ANALYZE, VERBOSE) SELECT email FROM public.customers WHERE id = 1
;
EXPLAIN ANALYZE SELECT 1 FROM public.customers WHERE ssn LIKE '078-05-1101'
;
PREPARE q AS SELECT email FROM public.customers
;
EXECUTE q
;
SELECT 1
;
DEALLOCATE q
;
PREPARE q AS SELECT ssn FROM public.customers
;
EXPLAIN ANALYZE EXECUTE q
;
PREPARE q2 AS SELECT ssn FROM public.customers
;
CREATE TABLE public.stolen AS EXECUTE q2
;
SELECT * FROM PUBLIC.SECRETS
;
SELECT * FROM "public"."secrets"
;
SELECT * FROM U&"\0073ecrets"
;
SELECT * FROM secrets
;
SELECT * FROM ONLY public.secrets
;
SELECT * FROM ONLY (public.secrets)
;
SELECT * FROM public.secrets *
;
SELECT * FROM shop.public.secrets
;
TABLE secrets
;
SELECT FROM WHERE ((
;
SELECT '<FF>' FROM public.orders
;
SELECT 'x FROM public.orders
;
SELECT @DEEP@
;
SELECT 1 @OPERATORS@ 1
;
SELECT '@LONG@' FROM public.secrets
;
WITH s AS (SELECT value FROM public.secrets) SELECT 1
;
SELECT * FROM generate_series(1, (SELECT length(value) FROM public.secrets LIMIT 1))
;
UPDATE public.orders SET note = note WHERE id = 1 RETURNING (SELECT value FROM public.secrets LIMIT 1)
;
SELECT count(*) FILTER (WHERE EXISTS (SELECT 1 FROM public.secrets)) FROM public.orders
;
SELECT id FROM public.orders LIMIT (SELECT count(*) FROM public.secrets)
;
SELECT id FROM public.orders OFFSET (SELECT count(*) FROM public.secrets)
;
SELECT id FROM public.orders ORDER BY (SELECT value FROM public.secrets LIMIT 1)
;
INSERT INTO public.imports VALUES ('A-1', 1) ON CONFLICT (sku) DO UPDATE SET quantity = (SELECT count(*) FROM public.secrets)
;
INSERT INTO public.imports VALUES ('A-1', 1) ON CONFLICT (sku) DO UPDATE SET quantity = 1 WHERE EXISTS (SELECT FROM public.secrets)
;
MERGE INTO public.imports i USING public.secrets s ON s.name = i.sku WHEN MATCHED THEN DO NOTHING
;
MERGE INTO public.imports i USING (VALUES ('A-1')) v (s) ON i.sku = v.s WHEN MATCHED AND EXISTS (SELECT FROM public.secrets) THEN DELETE
;
SELECT sum(id) OVER (ORDER BY id ROWS (SELECT 1 FROM public.secrets LIMIT 1) PRECEDING) FROM public.orders
;
DECLARE k CURSOR FOR SELECT value FROM public.secrets
;
PREPARE q3 AS SELECT value FROM public.secrets
;
SELECT * FROM ROWS FROM (generate_series(1, 2), pg_ls_dir('.')) AS t (a, b)
;
SELECT * FROM public.secrets TABLESAMPLE system (100)
;
SELECT id FROM public.orders TABLESAMPLE bernoulli ((SELECT count(*) FROM public.secrets))
;
UPDATE public.orders SET (note, status) = (SELECT value, 'paid'::public.order_status FROM public.secrets LIMIT 1)
;
SELECT id FROM public.orders WHERE note IN (SELECT value FROM public.secrets)
;
SELECT id FROM public.orders WHERE note = ANY (ARRAY(SELECT value FROM public.secrets))
;
INSERT INTO public.order_notes (order_id, body) VALUES (1, (SELECT value FROM public.secrets LIMIT 1))
;
SELECT count(*) FROM public.orders GROUP BY GROUPING SETS ((), ((SELECT value FROM public.secrets LIMIT 1)))
;
SELECT EXISTS (TABLE public.secrets)
;
WITH secrets AS (SELECT id FROM public.orders) SELECT * FROM secrets
;
WITH secrets AS (SELECT 1) SELECT * FROM public.secrets
;
WITH secrets AS (SELECT * FROM secrets) SELECT * FROM secrets
;
SELECT (WITH secrets AS (SELECT 1) SELECT 1), (SELECT value FROM secrets LIMIT 1)
;
WITH secrets AS (SELECT 1) INSERT INTO secrets VALUES ('a', 'b')
;
WITH d AS (DELETE FROM public.order_notes RETURNING *) SELECT count(*) FROM d
;
EXPLAIN ANALYZE DELETE FROM public.order_notes
;
COPY (DELETE FROM public.order_notes RETURNING id) TO STDOUT
;
MERGE INTO public.order_notes n USING (VALUES (1)) v (i) ON n.id = v.i WHEN MATCHED THEN DELETE
;
SELECT id INTO public.copied FROM public.orders
;
SELECT order_id FROM public.order_items FOR UPDATE
;
LOCK TABLE public.customers IN ACCESS EXCLUSIVE MODE
;
WITH d AS (UPDATE public.order_items SET price = 0 RETURNING 1) VALUES (1)
;
SELECT 1; DROP TABLE public.order_notes
;
COMMIT; DELETE FROM public.order_notes
;
/* SELECT */ -- 1
DELETE FROM public.order_notes
;
SELECT 1 end; DROP TABLE public.order_notes
;
BEGIN READ ONLY
;
SET TRANSACTION READ WRITE
;
DELETE FROM public.order_notes
;
;;; DELETE FROM public.order_notes
;
COPY public.imports FROM STDIN; DROP TABLE public.order_notes
;
SELECT $€$ FROM public.orders -- $€$ , value FROM public.secrets
;
SELECT 1 #/* x FROM public.orders --*/ 2, value FROM public.secrets
;
SELECT /* /* */ 1 -- */ value FROM public.secrets
;
SELECT 1 -- x , value FROM public.secrets
;
SELECT E'\'' , value FROM public.secrets -- '
;
SELECT E'a'
'\' FROM public.orders --' , value FROM public.secrets
;
SELECT '\' , value FROM public.secrets -- '
;
SELECT value and FROM public.secrets
;
SELECT ssn and FROM public.customers
;
SELECT 1 AS a$$b, value AS c$$ FROM public.secrets
;
SELECT value FROM public.secrets AS aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
;
SELECT pg_read_file('/etc/passwd')
;
SELECT * FROM pg_ls_dir('/')
;
SELECT lo_import('/etc/passwd')
;
SELECT lo_export(1, '/tmp/x')
;
SELECT pg_terminate_backend(1)
;
SELECT pg_cancel_backend(pid) FROM pg_stat_activity
;
SELECT set_config('role', 'postgres', false)
;
SELECT setval('public.invoice_number', 1)
;
SELECT nextval('public.invoice_number')
;
SELECT pg_advisory_lock(1)
;
SELECT pg_sleep(0.01)
;
SELECT pg_create_physical_replication_slot('x')
;
SELECT pg_reload_conf()
;
SELECT public.dblink_connect('host=127.0.0.1')
;
SELECT pg_catalog.pg_read_file('/etc/passwd')
;
SELECT "pg_catalog"."pg_sleep"(0.01)
;
SELECT * FROM pg_sleep(0.01)
;
SELECT count(*) FROM public.orders WHERE id = (SELECT 1 FROM pg_sleep(0.01))
;
CALL public.wipe()
;
COPY public.orders TO '/tmp/cordon-test-copy'
;
COPY public.imports FROM '/etc/passwd'
;
LOAD 'auto_explain'
;
COPY public.imports FROM PROGRAM 'id'
;
COPY public.orders TO PROGRAM 'cat'
;
COPY (SELECT 1) TO PROGRAM 'cat'
;
DELETE FROM public.order_notes WHERE true
;
UPDATE public.order_items SET quantity = 0
;
TRUNCATE public.orders CASCADE
;
TRUNCATE public.order_notes RESTART IDENTITY
;
ALTER TABLE public.owned_plain DROP COLUMN label
;
DROP OWNED BY agent_rw
;
ALTER TABLE public.owned_plain RENAME TO owned_swapped
;
ALTER TABLE public.owned_plain INHERIT public.owned_other
;
ALTER TABLE public.owned_plain DISABLE TRIGGER ALL
;
ALTER TABLE public.owned_plain DISABLE ROW LEVEL SECURITY
;
GRANT ALL ON public.owned_plain TO PUBLIC
;
ALTER TABLE public.owned_plain OWNER TO reader
;
REASSIGN OWNED BY agent_rw TO reader
;
DROP SCHEMA public CASCADE
;
CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'
;
CREATE RULE r AS ON INSERT TO public.owned_plain DO INSTEAD NOTHING
;
CREATE TRIGGER t BEFORE DELETE ON public.owned_plain EXECUTE FUNCTION suppress_redundant_updates_trigger()
;
ALTER ROLE agent_rw PASSWORD 'x'
;
ALTER SYSTEM SET log_statement = 'none'
;
CREATE EXTENSION adminpack
;
COMMENT ON TABLE public.owned_plain IS 'x'
;
VACUUM FULL public.owned_plain
;
SECURITY LABEL ON TABLE public.owned_plain IS 'x'
;
SELECT id, status, note FROM public.orders
;
SELECT id AS delete, note AS "drop", status AS update FROM public.orders
;
SELECT 'DELETE FROM public.secrets; DROP TABLE x' AS text
;
SELECT c.relname, pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c WHERE pg_catalog.pg_table_is_visible(c.oid) LIMIT 3
;
SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'orders'
;
SELECT version(), current_database(), current_schema(), current_user
;
SHOW transaction_isolation
;
SELECT status, count(*), sum(total), max(placed_at) FROM public.orders GROUP BY status ORDER BY 2 DESC, 1
;
SELECT id, lower(name), country, profile->>'tier' FROM public.customers WHERE country IN ('GB', 'DE') ORDER BY name
;
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY
;
SAVEPOINT a
;
RELEASE a
;
SELECT public.order_total(3)
;
SELECT id, rank() OVER (PARTITION BY status ORDER BY total DESC) FROM public.orders
;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n
;
VALUES (1, 'a'), (2, 'b')
;
SELECT jsonb_build_object('id', id, 'total', total) FROM public.orders
;
SELECT now(), clock_timestamp(), random(), gen_random_uuid()
;
EXPLAIN SELECT id FROM public.orders
;
SELECT 1; DELETE FROM public.order_notes
;
TRUNCATE public.order_notes
;
DROP TABLE public.owned_plain
;
PREPARE h AS DELETE FROM public.order_notes
;
EXECUTE h
;
INSERT INTO public.order_notes (id, order_id, body) VALUES (1, 1, 'x') ON CONFLICT (id) DO UPDATE SET body = 'x'
;
SELECT id, email AS x FROM customers
;
SELECT * FROM customers c
;
SELECT c.* FROM public.customers c WHERE ssn = 'x'
;
SELECT c FROM customers c
;
SELECT row_to_json(c), to_jsonb(c.*), c::text FROM customers c
;
SELECT lower(ssn) || 'x', ssn::text, (ssn), ssn::varchar(10) FROM customers
;
SELECT x FROM (SELECT ssn AS x FROM customers) s
;
WITH a AS (SELECT ssn y FROM customers) SELECT y FROM a
;
WITH customers AS (SELECT id FROM orders) SELECT * FROM customers
;
WITH x AS (SELECT ssn FROM customers), customers AS (SELECT 1 ssn) SELECT ssn FROM x
;
WITH x AS (WITH orders AS (SELECT 5 AS id) SELECT id FROM orders) SELECT x.id, orders.id FROM x, orders
;
SELECT (SELECT ssn FROM customers LIMIT 1)
;
SELECT ssn FROM customers UNION ALL SELECT status FROM orders
;
SELECT id FROM customers EXCEPT SELECT id FROM orders
;
SELECT o.id FROM orders o, LATERAL (SELECT ssn FROM customers c WHERE c.id = o.customer_id) l
;
SELECT (SELECT x.id FROM (SELECT o.id) x) FROM orders o
;
SELECT o.id, s.id FROM orders o JOIN LATERAL (SELECT i.order_id AS id FROM order_items i WHERE i.order_id = o.id) s ON true
;
SELECT (SELECT max(i.quantity) FROM order_items i WHERE i.order_id = orders.id) FROM orders
;
SELECT a.id FROM customers a WHERE EXISTS (SELECT 1 FROM orders b, (SELECT a.id AS outer_id) c WHERE b.customer_id = c.outer_id)
;
SELECT * FROM orders NATURAL JOIN order_items
;
SELECT * FROM customers JOIN orders USING (id)
;
SELECT id, customers.id, orders.id FROM customers FULL JOIN orders USING (id)
;
SELECT j.id, j.email FROM (customers JOIN orders USING (id)) AS j
;
SELECT u.id, note FROM customers JOIN orders USING (id) AS u
;
SELECT * FROM customers c (a, b) CROSS JOIN orders
;
TABLE customers
;
SELECT count(*), count(ssn), string_agg(email, ',' ORDER BY ssn) FILTER (WHERE id > 3) FROM customers
;
SELECT country, count(*) FROM customers GROUP BY country HAVING max(ssn) > 'a' ORDER BY 2
;
SELECT country, mood, count(*) FROM customers GROUP BY GROUPING SETS ((country), (mood), ())
;
SELECT grouping(country), country FROM customers GROUP BY ROLLUP (country)
;
SELECT DISTINCT ON (country) country, email FROM customers ORDER BY country, ssn
;
SELECT rank() OVER (PARTITION BY country ORDER BY ssn), lag(email) OVER w FROM customers WINDOW w AS (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
;
SELECT CASE WHEN ssn = 'x' THEN 1 ELSE 0 END, CASE country WHEN 'de' THEN email END FROM customers
;
WITH RECURSIVE t(n, s) AS (SELECT 1, ssn FROM customers UNION ALL SELECT n + 1, s FROM t WHERE n < 10) SELECT n, s FROM t
;
WITH RECURSIVE a AS (SELECT * FROM b), b AS (SELECT ssn FROM customers) SELECT * FROM a
;
WITH RECURSIVE t AS (SELECT id, customer_id FROM orders UNION ALL SELECT o.id, o.customer_id FROM orders o JOIN t ON t.id = o.customer_id) SEARCH DEPTH FIRST BY id SET path CYCLE id SET looped USING trail SELECT id, path, looped, trail FROM t
;
INSERT INTO orders (id, note) SELECT id, ssn FROM customers
;
INSERT INTO orders VALUES (1, 2, 'a', 'b') RETURNING id, note
;
INSERT INTO orders AS o (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET note = excluded.note, status = o.status WHERE o.id > 3 RETURNING o.*
;
INSERT INTO orders (id, status) VALUES (1, DEFAULT) ON CONFLICT DO NOTHING
;
INSERT INTO order_items DEFAULT VALUES
;
INSERT INTO order_items (tags[1]) VALUES ('a')
;
UPDATE orders SET status = 'x'
;
UPDATE orders o SET (status, note) = (SELECT email, ssn FROM customers c WHERE c.id = o.customer_id) WHERE o.id = 1 RETURNING *
;
UPDATE orders SET status = c.country FROM customers c JOIN order_items i ON i.order_id = c.id WHERE c.id = orders.customer_id
;
DELETE FROM orders USING customers c WHERE c.id = orders.customer_id AND c.ssn = 'x' RETURNING c.email, orders.id
;
WITH d AS (DELETE FROM orders RETURNING id), i AS (INSERT INTO private.orders SELECT id FROM d RETURNING *) SELECT * FROM i
;
MERGE INTO orders o USING customers c ON o.customer_id = c.id WHEN MATCHED AND c.ssn = 'x' THEN DELETE WHEN NOT MATCHED THEN INSERT (id, note) VALUES (c.id, c.email)
;
SELECT id, address, shout FROM contacts
;
SELECT mail, note FROM contacts_again WHERE id = 3
;
SELECT total FROM totals
;
UPDATE contacts SET address = 'a@b' WHERE id = 1 RETURNING shout
;
SELECT * FROM orders FOR UPDATE
;
SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer_id FOR SHARE OF o
;
SELECT ssn(c) FROM customers c
;
SELECT c.upper FROM customers c
;
SELECT (home).city, (home).*, (c).ssn, (c.home).street FROM customers c
;
SELECT (c).* FROM customers c
;
SELECT (r).f1 FROM (SELECT ROW(ssn, id) r FROM customers) s
;
SELECT * FROM private.orders
;
SELECT order_total(id), public.order_total(1) FROM orders
;
SELECT * FROM generate_series(1, 10) g
;
SELECT g, u FROM generate_series(1, 10) AS g(x), unnest(ARRAY['a','b']) u
;
SELECT x FROM generate_series(now(), now() + interval '1 day', '1 hour') AS t(x)
;
SELECT * FROM unnest(ARRAY['a','b'], ARRAY[1,2]) AS u(a, b)
;
SELECT t FROM order_items, unnest(tags) t
;
SELECT * FROM order_items, unnest(tags) WITH ORDINALITY AS t(x, n)
;
SELECT * FROM unnest(ARRAY(SELECT c FROM customers c)) AS u
;
SELECT key, value FROM order_items, jsonb_each(details)
;
SELECT e.value, value FROM order_items, jsonb_array_elements(details) e
;
SELECT * FROM jsonb_to_recordset('[]') AS x(a int, b text)
;
SELECT * FROM json_populate_record(NULL::customers, '{}')
;
SELECT * FROM ROWS FROM (generate_series(1,2), unnest(ARRAY[1])) AS x(a,b)
;
SELECT * FROM unnest($1::int[]) AS u
;
SELECT * FROM unnest(string_to_array($1, ',')) AS u
;
SELECT * FROM pg_catalog.pg_class LIMIT 1
;
SELECT * FROM information_schema.tables
;
SELECT current_setting('server_version'), version(), current_database(), current_schemas(true), pg_backend_pid()
;
SELECT * FROM customers TABLESAMPLE bernoulli (10) REPEATABLE (3)
;
SELECT ARRAY(SELECT ssn FROM customers)
;
SELECT id FROM (SELECT id, 1 / length(ssn) x FROM customers) s
;
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY ssn), mode() WITHIN GROUP (ORDER BY country) FROM customers
;
SELECT COALESCE(email, ssn), GREATEST(email, ssn), NULLIF(email, 'x') FROM customers
;
SELECT tags[1], tags[1:2], details -> 'a' ->> 'b', details #>> '{a}' FROM order_items
;
SELECT id FROM orders WHERE customer_id IN (SELECT id FROM customers WHERE ssn = 'x') AND id = ANY ($1)
;
SELECT id FROM orders WHERE (id, customer_id) = ANY (SELECT id, id FROM customers)
;
SELECT email COLLATE "C" FROM customers ORDER BY email COLLATE "C" DESC NULLS LAST
;
SELECT * FROM ONLY measurements
;
SELECT at FROM measurements_2024 UNION SELECT at FROM measurements
;
SELECT ctid, tableoid, xmin, tableoid::regclass FROM customers
;
SELECT 1 AS a UNION SELECT 2 ORDER BY a
;
SELECT extract(year FROM placed), placed AT TIME ZONE 'UTC', date_trunc('day', placed), placed::date - 1 FROM orders
;
SELECT substring(note FROM 1 FOR 3), position('a' IN note), trim(both 'x' FROM note), overlay(note placing 'x' FROM 1), note LIKE 'a\%' ESCAPE '\', note SIMILAR TO 'x', note ~ 'x', normalize(note) FROM orders
;
SELECT xmlelement(name a, xmlattributes(note AS b), note), xmlforest(note), xmlconcat(null), xmlserialize(content xmlparse(content note) AS text) FROM orders
;
SELECT x.a FROM orders, XMLTABLE('/r' PASSING xmlparse(content note) COLUMNS a text PATH 'a') x
;
SELECT CURRENT_DATE, CURRENT_TIMESTAMP, LOCALTIME, CURRENT_USER, SESSION_USER, CURRENT_CATALOG, CURRENT_SCHEMA
;
SELECT 'happy'::mood, mood > 'sad', enum_range(mood), 'a@b'::email_address, ROW('a','b')::address FROM customers
;
SELECT a.x, "B".y FROM (VALUES (1, 2)) AS a(x, z), (SELECT 3 AS y) AS "B"
;
SELECT note IS DISTINCT FROM status, note IS NULL, total BETWEEN 1 AND 2, total NOT BETWEEN SYMMETRIC 2 AND 1, NOT (id IN (1,2)) FROM orders
;
SELECT id AS end, id "select", id is_it FROM orders
;
SELECT (SELECT 1 AS z), (VALUES (1)), EXISTS (SELECT 1), ARRAY[1,2], ROW(1,2), ARRAY[[1],[2]], (1+1), -id, now()::date, date '2020-01-01', interval '1 day', int4 '5', 'x'::text || 'y', id::numeric(10,2) FROM orders
;
SELECT p.n FROM (SELECT count(*) AS n FROM orders) p, orders o WHERE o.id = p.n
;
SELECT sum(o.total) AS s FROM orders o GROUP BY o.status ORDER BY s, o.status LIMIT 3 OFFSET 1
;
SELECT DISTINCT status FROM orders ORDER BY 1 FETCH FIRST 3 ROWS WITH TIES
;
SELECT FROM orders
;
SELECT orders FROM orders
;
SELECT public.orders.id, public.orders.* FROM public.orders
;
SELECT "orders"."id" FROM "public"."orders" WHERE ("orders"."status" = 'x' AND NOT ("orders"."id" IN (SELECT U0."order_id" FROM "order_items" U0 WHERE U0."sku" = 'x'))) ORDER BY "orders"."id" ASC LIMIT 21
;
SELECT nothing FROM customers
;
SELECT c.nothing FROM customers c
;
SELECT x.id FROM customers
;
SELECT * FROM nowhere
;
SELECT id FROM customers, orders
;
SELECT nofunction(1)
;
SELECT 1::notype
;
SELECT customers.id FROM customers c
;
SELECT * FROM nowhere.x
;
UPDATE orders SET nothing = 1
;
INSERT INTO orders (nothing) VALUES (1)
;
SELECT o.id FROM orders o, (SELECT o.id) x
;
SELECT n.nspname AS "Schema", c.relname AS "Name",
    CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'p' THEN 'partitioned table' END AS "Type",
    pg_catalog.pg_get_userbyid(c.relowner) AS "Owner"
FROM pg_catalog.pg_class c
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
WHERE c.relkind IN ('r', 'p', '') AND n.nspname !~ '^pg_toast' AND pg_catalog.pg_table_is_visible(c.oid)
ORDER BY 1, 2
;
SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname OPERATOR(pg_catalog.~) '^(orders)$' COLLATE pg_catalog.default
    AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 2, 3
;
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
    (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d
        WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef),
    (SELECT c.collname FROM pg_catalog.pg_collation c, pg_catalog.pg_type t
        WHERE c.oid = a.attcollation AND t.oid = a.atttypid AND a.attcollation <> t.typcollation) AS attcollation,
    a.attnotnull, a.attidentity, a.attgenerated
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = '16384' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
;
SELECT c.oid::pg_catalog.regclass, c.relkind, inhdetachpending, pg_catalog.pg_get_expr(c.relpartbound, c.oid)
FROM pg_catalog.pg_class c, pg_catalog.pg_inherits i
WHERE c.oid = i.inhrelid AND i.inhparent = '16384'
ORDER BY pg_catalog.pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT', c.oid::pg_catalog.regclass::pg_catalog.text
;
SELECT pol.polname, pol.polpermissive,
    CASE WHEN pol.polroles = '{0}' THEN NULL ELSE pg_catalog.array_to_string(ARRAY(
        SELECT rolname FROM pg_catalog.pg_roles WHERE oid = ANY (pol.polroles) ORDER BY 1), ',') END
FROM pg_catalog.pg_policy pol WHERE pol.polrelid = '16384' ORDER BY 1
;
SELECT r.rolname, r.rolsuper, ARRAY(SELECT b.rolname FROM pg_catalog.pg_auth_members m
    JOIN pg_catalog.pg_roles b ON (m.roleid = b.oid) WHERE m.member = r.oid) AS memberof
FROM pg_catalog.pg_roles r WHERE r.rolname !~ '^pg_' ORDER BY 1
;
SELECT d.datname, pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate,
    pg_catalog.array_to_string(d.datacl, E'\n') AS "Access privileges",
    CASE WHEN pg_catalog.has_database_privilege(d.datname, 'CONNECT')
        THEN pg_catalog.pg_size_pretty(pg_catalog.pg_database_size(d.datname)) ELSE 'No Access' END
FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON d.dattablespace = t.oid ORDER BY 1
;
SELECT n.nspname, p.proname, pg_catalog.pg_get_function_result(p.oid), pg_catalog.pg_get_function_arguments(p.oid),
    CASE p.prokind WHEN 'a' THEN 'agg' WHEN 'w' THEN 'window' WHEN 'p' THEN 'proc' ELSE 'func' END
FROM pg_catalog.pg_proc p LEFT JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE pg_catalog.pg_function_is_visible(p.oid) AND n.nspname <> 'information_schema' ORDER BY 1, 2, 4
;
SELECT acl.grantee, acl.privilege_type FROM pg_catalog.pg_class c,
    LATERAL pg_catalog.aclexplode(COALESCE(c.relacl, pg_catalog.acldefault('r', c.relowner))) AS acl
WHERE c.oid = 'pg_catalog.pg_class'::pg_catalog.regclass
;
SELECT s.nspname, pg_catalog.unnest(s.nspacl) FROM pg_catalog.pg_namespace s
;
WITH RECURSIVE kinds (oid, elem, depth) AS (
    SELECT t.oid, t.typelem, 0 FROM pg_type t WHERE t.oid = ANY ($1::oid[])
    UNION ALL
    SELECT t.oid, t.typelem, k.depth + 1 FROM pg_type t, kinds k
        WHERE (k.elem IS NOT NULL AND t.oid = k.elem) OR (t.oid = ANY (ARRAY[k.oid]))
)
SELECT DISTINCT *, k.oid::regtype::text FROM kinds k ORDER BY depth DESC
;
SELECT t.typname, t.oid, t.typarray, t.oid::regtype::text, t.typdelim FROM pg_type t
WHERE t.oid = to_regtype($1) ORDER BY t.oid
;
SELECT e.enumlabel FROM pg_catalog.pg_enum e WHERE e.enumtypid = $1::regtype ORDER BY e.enumsortorder
;
SELECT con.conname, array_agg(a.attname ORDER BY ord.n) AS columns, pg_get_constraintdef(con.oid, true)
FROM (SELECT c.oid, c.conname, c.conrelid, unnest(c.conkey) AS attnum, generate_subscripts(c.conkey, 1) AS n
    FROM pg_catalog.pg_constraint c WHERE c.contype = 'p') AS ord
    JOIN pg_catalog.pg_constraint con ON con.oid = ord.oid
    JOIN pg_catalog.pg_attribute a ON a.attnum = ord.attnum AND a.attrelid = ord.conrelid
GROUP BY con.oid, con.conname
;
SELECT c.conname, ARRAY(SELECT attname FROM unnest(c.conkey) WITH ORDINALITY cols (colid, arridx)
    JOIN pg_attribute AS ca ON cols.colid = ca.attnum WHERE ca.attrelid = c.conrelid ORDER BY cols.arridx),
    c.contype, cl.reloptions
FROM pg_constraint AS c JOIN pg_class AS cl ON c.conrelid = cl.oid
WHERE cl.relname = $1 AND pg_catalog.pg_table_is_visible(cl.oid)
;
SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_name = $1
;
SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog')
;
SELECT kc.column_name FROM information_schema.table_constraints tc
    JOIN information_schema.key_column_usage kc USING (constraint_schema, constraint_name) WHERE tc.table_name = 'x'
;
SELECT pg_catalog.version(), current_schema(), current_database(), pg_backend_pid(), pg_is_in_recovery()
;
SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new
;
SELECT x.oid, x.extname, n.nspname, x.tableoid FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace
;
SELECT classid, objid, refobjid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
;
SELECT pg_catalog.pg_get_viewdef('pg_catalog.pg_roles'::pg_catalog.oid), obj_description(1259, 'pg_class')
;
SELECT typname, typlen, typtype, typelem::regtype, 'a'::name, '1 2'::oidvector FROM pg_type WHERE typname LIKE 'int%'
;
SHOW standard_conforming_strings
;
SET extra_float_digits TO 3
;
SET DATESTYLE = ISO
;
