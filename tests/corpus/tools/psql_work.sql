\set ON_ERROR_STOP on
BEGIN;
INSERT INTO store.categories (parent_id, name, slug) VALUES (1, 'Lids', 'lids') RETURNING id;
INSERT INTO store.products (category_id, sku, title, price) SELECT id, 'LID-' || lpad(id::text, 4, '0'), name, 2.50 FROM store.categories WHERE slug = 'lids';
SAVEPOINT a;
UPDATE store.products SET price = price * 1.1, tags = array_append(tags, 'new') WHERE sku LIKE 'LID%';
ROLLBACK TO a;
RELEASE a;
DELETE FROM store.product_categories WHERE product_id = 2;
COMMIT;
CREATE TEMP TABLE picked AS SELECT id, title FROM store.products;
\copy picked to stdout
CREATE INDEX ON picked (id);
ANALYZE picked;
INSERT INTO store.events (id, at, payload) VALUES (3, '2024-06-06', 'x') ON CONFLICT (id, at) DO UPDATE SET payload = excluded.payload;
MERGE INTO store.categories c USING (VALUES ('Cups'), ('Jugs')) v(name) ON c.name = v.name
WHEN MATCHED THEN UPDATE SET name = upper(v.name) WHEN NOT MATCHED THEN INSERT (parent_id, name) VALUES (1, v.name);
\copy store.categories (name) from stdin
Copied one
Copied two
\.
WITH gone AS (DELETE FROM store.events WHERE id = 3 RETURNING *) SELECT count(*) FROM gone;
BEGIN;
LOCK TABLE store.products IN ACCESS SHARE MODE;
COMMIT;
DECLARE c CURSOR WITH HOLD FOR SELECT id FROM store.products ORDER BY id;
FETCH 1 FROM c;
CLOSE c;
SELECT nextval('store.ticket_number'), currval('store.ticket_number');
SELECT set_config('myapp.user', 'somebody', false), current_setting('myapp.user', true);
SET myapp.tenant = '7';
SHOW myapp.tenant;
RESET myapp.tenant;
PREPARE q (int) AS SELECT title FROM store.products WHERE id = $1;
EXECUTE q(1);
DEALLOCATE q;
EXPLAIN (COSTS OFF) SELECT * FROM store.products WHERE id = 1;
TRUNCATE store.scratch;
SELECT '------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------' AS line;
-- ------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------
SELECT 1 /* ====================================================================================================================================================================================================================================================================================================== */;
