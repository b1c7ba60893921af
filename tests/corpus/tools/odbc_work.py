"""psqlODBC by way of pyodbc: the catalog functions, parameters, updates."""

import os

import pyodbc

e = os.environ
conn = pyodbc.connect("Driver={{PostgreSQL Unicode}};Server={PGHOST};Port={PGPORT};Database={PGDATABASE};UID={PGUSER};PWD={PGPASSWORD};SSLmode=disable".format(**e))
cur = conn.cursor()
print(len(cur.tables(schema="store").fetchall()), len(cur.tables(tableType="VIEW").fetchall()), len(cur.columns(table="products", schema="store").fetchall()), len(cur.primaryKeys("products", schema="store").fetchall()))
print(len(cur.foreignKeys(table="products", schema="store").fetchall()), len(cur.foreignKeys(foreignTable="products", foreignSchema="store").fetchall()), len(cur.statistics("products", schema="store").fetchall()))
print(len(cur.rowIdColumns("products", schema="store").fetchall()), len(cur.procedures(schema="store").fetchall()), len(cur.procedureColumns(schema="store").fetchall()), len(cur.getTypeInfo().fetchall()))
cur.execute("SELECT id, title, price FROM store.products WHERE id = ?", 1)
print(cur.fetchall())
cur.executemany("INSERT INTO store.categories (parent_id, name) VALUES (?, ?)", [(1, "a"), (1, "b")])
conn.commit()
cur.execute("UPDATE store.categories SET name = ? WHERE name = ?", "c", "a")
print(cur.rowcount)
conn.rollback()
conn.close()
