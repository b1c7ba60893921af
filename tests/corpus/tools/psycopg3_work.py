"""psycopg 3: every form of execution, and the types that it asks the catalog about."""

import datetime
import decimal
import sys

import psycopg
from psycopg.rows import dict_row
from psycopg.types import TypeInfo
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.hstore import register_hstore
from psycopg.types.json import Jsonb
from psycopg.types.multirange import MultirangeInfo
from psycopg.types.range import RangeInfo

with psycopg.connect(autocommit=True) as conn:
    for kind, name in [(TypeInfo, "hstore"), (CompositeInfo, "store.address"), (EnumInfo, "store.mood"), (RangeInfo, "store.floatrange"),
                       (MultirangeInfo, "store.floatmultirange"), (TypeInfo, "no_such_type")]:
        info = kind.fetch(conn, name)
        print(name, info and info.name)
        if kind is CompositeInfo:
            register_composite(info, conn)
        if kind is EnumInfo:
            register_enum(info, conn)
        if name == "hstore":
            register_hstore(info, conn)
    with conn.transaction(), conn.cursor(row_factory=dict_row) as cur:
        print(cur.execute("SELECT id, title, price, origin, tags, attributes, extra, mood FROM store.products ORDER BY id").fetchall())
        cur.execute("INSERT INTO store.categories (parent_id, name, slug) VALUES (%s, %s, %s) RETURNING id", (1, "Lids", "lids"))
        category = cur.fetchone()["id"]
        cur.executemany(
            "INSERT INTO store.products (category_id, sku, title, price, attributes, valid) VALUES (%s, %s, %s, %s, %s, %s)",
            [(category, f"LID-{n:04}", f"Lid {n}", decimal.Decimal(n), Jsonb({"n": n}), None) for n in range(5)],
        )
        cur.execute("UPDATE store.products SET active = %s WHERE sku = ANY(%s)", (False, ["LID-0001", "LID-0002"]))
        print(cur.rowcount)
        with conn.transaction(force_rollback=True):
            cur.execute("DELETE FROM store.products WHERE category_id = %s", (category,))
    with conn.transaction(), conn.cursor(name="server_side") as cur:
        cur.execute("SELECT id, title FROM store.products ORDER BY id")
        print(cur.fetchmany(2), cur.fetchall())
    with conn.pipeline(), conn.cursor() as cur:
        cur.execute("SELECT %s::int", (1,))
        cur.execute("SELECT at FROM store.events WHERE at = %s", (datetime.date(2024, 5, 5),))
        print(cur.fetchall())
    with conn.cursor(binary=True) as cur:
        for _ in range(7):
            print(cur.execute("SELECT price, created_at, tags, code, source FROM store.products WHERE id = %s", (1,), prepare=True).fetchone())
    with conn.cursor() as cur:
        with cur.copy("COPY store.categories (parent_id, name) FROM STDIN") as copy:
            copy.write_row((1, "Copied"))
        with cur.copy("COPY (SELECT name FROM store.categories ORDER BY id) TO STDOUT (FORMAT binary)") as copy:
            print(sum(len(block) for block in copy))
        cur.execute("SELECT * FROM store.categories WHERE false")
        print([column.name for column in cur.description])
    print(conn.execute("SELECT * FROM store.by_category ORDER BY 1").fetchall())
    conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    conn.read_only = True
    with conn.transaction():
        print(conn.execute("SHOW transaction_isolation").fetchone())
    print(conn.execute("SELECT 1; SELECT 2").nextset())
sys.exit(0)
