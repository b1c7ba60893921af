"""psycopg 2: its own type look-ups, cursors, copies and sessions."""

import io

import psycopg2
import psycopg2.extensions
import psycopg2.extras

conn = psycopg2.connect("")
psycopg2.extras.register_hstore(conn)
psycopg2.extras.register_composite("store.address", conn)
psycopg2.extras.register_default_jsonb(conn)
psycopg2.extras.register_uuid(conn_or_curs=conn)
cur = conn.cursor(cursor_factory=psycopg2.extras.RealDictCursor)
cur.execute("SELECT id, title, price, origin, tags, attributes, extra, code FROM store.products ORDER BY id")
print([dict(row) for row in cur.fetchall()])
psycopg2.extras.execute_values(cur, "INSERT INTO store.categories (parent_id, name) VALUES %s RETURNING id", [(1, f"Many {n}") for n in range(3)])
print(cur.fetchall())
psycopg2.extras.execute_batch(cur, "UPDATE store.categories SET name = %s WHERE id = %s", [("a", 4), ("b", 5)])
conn.commit()
named = conn.cursor("named")
named.execute("SELECT id FROM store.products ORDER BY id")
print(named.fetchmany(1), named.fetchall())
named.close()
conn.rollback()
cur.copy_expert("COPY store.categories (name) FROM STDIN WITH CSV", io.StringIO("x\ny\n"))
out = io.StringIO()
cur.copy_expert("COPY (SELECT name FROM store.categories ORDER BY id) TO STDOUT", out)
print(out.getvalue())
conn.commit()
conn.set_session(isolation_level="SERIALIZABLE", readonly=True, deferrable=True)
cur.execute("SELECT count(*) AS n FROM store.products")
print(dict(cur.fetchone()))
conn.rollback()
conn.set_session(autocommit=True, readonly=False)
conn.set_client_encoding("UTF8")
cur.callproc("store.add", (1, 2)) if False else None
cur.execute("SELECT %s::text[], %s, %s", (["a", "b"], None, True))
print(cur.fetchone())
conn.reset()
conn.close()
