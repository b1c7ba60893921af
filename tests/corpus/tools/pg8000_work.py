"""pg8000: the pure-Python driver."""

import os

import pg8000.dbapi
import pg8000.native

e = os.environ
words = {"user": e["PGUSER"], "host": e["PGHOST"], "port": int(e["PGPORT"]), "database": e["PGDATABASE"], "password": e["PGPASSWORD"], "application_name": "corpus"}
conn = pg8000.native.Connection(**words)
print(conn.run("SELECT id, title, price, tags, attributes, code FROM store.products WHERE id = :id", id=1))
conn.run("START TRANSACTION")
conn.run("INSERT INTO store.categories (parent_id, name) VALUES (:p, :n)", p=1, n="native")
conn.run("ROLLBACK")
statement = conn.prepare("SELECT :v")
print(statement.run(v="x"), conn.columns)
statement.close()
conn.close()
conn = pg8000.dbapi.connect(**words)
cur = conn.cursor()
cur.execute("SELECT title FROM store.products WHERE price > %s ORDER BY id", (1,))
print(cur.fetchall())
cur.executemany("INSERT INTO store.categories (parent_id, name) VALUES (%s, %s)", [(1, "a"), (1, "b")])
conn.commit()
conn.close()
