-- What the tools of the corpus look at, on top of the shop: one object of every kind that they
-- ask the catalog about. Run by a superuser after fixtures/shop.sql.

-- Made to deceive a gateway; they would have every lower(varchar) refused.
DROP OPERATOR public.<#> (integer, integer);
DROP FUNCTION public.lower(character varying);

CREATE EXTENSION hstore;
CREATE EXTENSION citext;
CREATE EXTENSION postgres_fdw;

CREATE SCHEMA store;
COMMENT ON SCHEMA store IS 'The corpus''s own';

CREATE TYPE store.mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE store.address AS (street text, city text, zip varchar(10));
CREATE TYPE store.floatrange AS RANGE (subtype = double precision, subtype_diff = float8mi);
CREATE DOMAIN store.percentage AS numeric(5, 2) DEFAULT 0 CHECK (VALUE BETWEEN 0 AND 100);
CREATE COLLATION store.german FROM "C";
CREATE SEQUENCE store.ticket_number START 100 INCREMENT 5 MAXVALUE 100000 CYCLE;

CREATE TABLE store.categories (
    id serial PRIMARY KEY,
    parent_id integer REFERENCES store.categories (id),
    name varchar(80) NOT NULL,
    slug public.citext UNIQUE
);
CREATE TABLE store.products (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    category_id integer NOT NULL REFERENCES store.categories (id) ON UPDATE CASCADE ON DELETE RESTRICT,
    sku char(8) NOT NULL,
    title varchar(200) NOT NULL COLLATE "C",
    price numeric(12, 2) NOT NULL CHECK (price >= 0),
    discount store.percentage,
    net numeric(12, 2) GENERATED ALWAYS AS (price * 0.9) STORED,
    mood store.mood DEFAULT 'ok',
    origin store.address,
    tags text[] NOT NULL DEFAULT '{}',
    attributes jsonb,
    extra public.hstore,
    raw json,
    document xml,
    picture bytea,
    valid daterange,
    weight double precision,
    code uuid,
    source inet,
    active boolean NOT NULL DEFAULT true,
    created_at timestamp(3) with time zone NOT NULL DEFAULT now(),
    updated_at timestamp without time zone,
    opens time,
    lasts interval,
    CONSTRAINT products_sku_key UNIQUE (sku),
    CONSTRAINT products_valid_excl EXCLUDE USING gist (valid WITH &&) WHERE (active AND valid IS NOT NULL)
);
COMMENT ON TABLE store.products IS 'What is sold';
COMMENT ON COLUMN store.products.sku IS 'Stock keeping unit';
CREATE INDEX products_title_idx ON store.products (lower(title) text_pattern_ops, price DESC NULLS LAST) INCLUDE (sku);
CREATE INDEX products_active_idx ON store.products (category_id) WHERE active;
CREATE INDEX products_attributes_idx ON store.products USING gin (attributes);
CREATE STATISTICS store.products_stats (dependencies) ON category_id, price FROM store.products;

CREATE TABLE store.events (
    id bigint NOT NULL,
    at date NOT NULL,
    payload text,
    PRIMARY KEY (id, at)
) PARTITION BY RANGE (at);
CREATE TABLE store.events_2024 PARTITION OF store.events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE store.events_rest PARTITION OF store.events DEFAULT;

CREATE TABLE store."Mixed Case" ("Id" integer PRIMARY KEY, "select" text, "update" text, "delete" text);
CREATE TABLE store.product_categories (
    product_id bigint NOT NULL REFERENCES store.products (id) ON DELETE CASCADE,
    category_id integer NOT NULL REFERENCES store.categories (id) ON DELETE CASCADE,
    PRIMARY KEY (product_id, category_id)
);
CREATE TABLE store.guarded (id integer PRIMARY KEY, owner name NOT NULL DEFAULT CURRENT_USER, note text);
ALTER TABLE store.guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON store.guarded USING (owner = CURRENT_USER) WITH CHECK (owner = CURRENT_USER);
CREATE UNLOGGED TABLE store.scratch (id integer);

CREATE VIEW store.cheap AS SELECT id, title, price FROM store.products WHERE price < 10 WITH CHECK OPTION;
CREATE VIEW store.by_category AS
    SELECT c.name, count(p.id) AS products, avg(p.price) AS average
    FROM store.categories c LEFT JOIN store.products p ON p.category_id = c.id GROUP BY c.name;
CREATE MATERIALIZED VIEW store.totals AS SELECT category_id, sum(price) AS total FROM store.products GROUP BY category_id;
CREATE UNIQUE INDEX totals_key ON store.totals (category_id);

CREATE FUNCTION store.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();  -- ------------------------------------------------------------
    RETURN NEW;
END $$;
CREATE TRIGGER products_touch BEFORE UPDATE ON store.products FOR EACH ROW EXECUTE FUNCTION store.touch();
CREATE FUNCTION store.add(a integer, b integer DEFAULT 1) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT a + b';
CREATE PROCEDURE store.nothing() LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE store.total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0');
CREATE OPERATOR store.@@@ (LEFTARG = integer, RIGHTARG = integer, FUNCTION = store.add);
CREATE RULE nothing AS ON DELETE TO store.cheap DO INSTEAD NOTHING;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1');
CREATE FOREIGN TABLE store.remote (id integer, note text) SERVER elsewhere OPTIONS (table_name 'x');
CREATE PUBLICATION everything FOR TABLE store.products;
CREATE TEXT SEARCH CONFIGURATION store.plain (COPY = simple);

INSERT INTO store.categories (parent_id, name, slug) VALUES (NULL, 'Root', 'root'), (1, 'Cups', 'cups'), (1, 'Pots', 'pots');
INSERT INTO store.products (category_id, sku, title, price, origin, tags, attributes, extra, raw, picture, code, created_at) VALUES
    (2, 'CUP-0001', 'A cup', 4.50, ('Main 1', 'Ulm', '89073'), '{red,small}', '{"a": 1}', 'k=>v', '{"x": [1]}', '\x00ff', '00000000-0000-0000-0000-000000000001', '2024-01-01 00:00+00'),
    (3, 'POT-0001', 'A pot', 24.50, NULL, '{}', NULL, NULL, NULL, NULL, NULL, '2024-01-02 00:00+00');
INSERT INTO store.events VALUES (1, '2024-05-05', 'started'), (2, '2025-05-05', 'ended');
INSERT INTO store."Mixed Case" VALUES (1, 'a', 'b', 'c');
INSERT INTO store.product_categories VALUES (1, 1), (2, 1);
REFRESH MATERIALIZED VIEW store.totals;

-- The two logins, as a careful administrator would have them.
GRANT USAGE ON SCHEMA store TO reader, agent_rw;
GRANT SELECT ON ALL TABLES IN SCHEMA store TO reader;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA store TO reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO reader;
GRANT CREATE ON DATABASE shop TO agent_rw;
GRANT CREATE ON SCHEMA store TO agent_rw;
GRANT ALL ON ALL TABLES IN SCHEMA store TO agent_rw;
GRANT ALL ON ALL SEQUENCES IN SCHEMA store TO agent_rw;
ANALYZE;
