-- The schema that the statements in this folder are about.
CREATE SCHEMA private;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN email_address AS text CHECK (VALUE LIKE '%@%');
CREATE TYPE address AS (street text, city text);
CREATE TABLE customers (
    id integer PRIMARY KEY,
    email email_address,
    ssn varchar,
    country text,
    home address,
    mood mood
);
CREATE TABLE orders (
    id serial PRIMARY KEY,
    customer_id integer REFERENCES customers (id),
    status text DEFAULT 'new',
    note text,
    total numeric,
    placed timestamptz DEFAULT now()
);
CREATE TABLE order_items (
    order_id integer REFERENCES orders (id) ON DELETE CASCADE,
    sku text,
    quantity integer DEFAULT 1,
    tags text[],
    details jsonb
);
CREATE INDEX order_items_sku ON order_items (sku);
CREATE TABLE measurements (at date NOT NULL, value numeric) PARTITION BY RANGE (at);
CREATE TABLE measurements_2024 PARTITION OF measurements FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE private.orders (id integer, secret text);
CREATE VIEW contacts AS SELECT id, email AS address, upper(ssn) AS shout FROM customers WHERE country = 'de';
CREATE VIEW contacts_again AS SELECT c.id, c.address AS mail, o.note FROM contacts c JOIN orders o ON o.customer_id = c.id;
CREATE MATERIALIZED VIEW totals AS SELECT customer_id, sum(total) AS total FROM orders GROUP BY customer_id;
CREATE FUNCTION order_total(integer) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT total FROM orders WHERE id = $1';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER touch BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
