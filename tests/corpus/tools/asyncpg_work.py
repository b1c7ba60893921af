"""asyncpg: the introspection of types that it does by itself, prepared statements, cursors, copies."""

import asyncio
import io

import asyncpg


async def main():
    conn = await asyncpg.connect(ssl=False)
    print(await conn.fetch("SELECT id, title, price, origin, tags, attributes, mood, valid, weight, code, source, lasts FROM store.products ORDER BY id"))
    print(await conn.fetch("SELECT extra FROM store.products WHERE id = $1", 2))
    await conn.set_builtin_type_codec("hstore", codec_name="pg_contrib.hstore")
    print(await conn.fetch("SELECT extra FROM store.products ORDER BY id"))
    await conn.set_type_codec("mood", schema="store", encoder=str, decoder=str)
    await conn.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=str)
    print(await conn.fetchval("SELECT $1::store.mood[]", ["ok", "sad"]))
    print(await conn.fetchval("SELECT $1::store.percentage", 10))
    print(await conn.fetchval("SELECT store.floatrange(1, 2)"))
    print(await conn.fetchval("SELECT ARRAY[ROW('a', 'b', 'c')::store.address]"))
    async with conn.transaction(isolation="repeatable_read"):
        await conn.execute("INSERT INTO store.categories (parent_id, name) VALUES ($1, $2)", 1, "Async")
        await conn.executemany("INSERT INTO store.categories (parent_id, name) VALUES ($1, $2)", [(1, "m1"), (1, "m2")])
        try:
            async with conn.transaction():
                await conn.execute("INSERT INTO store.categories (id, name) VALUES (1, 'again')")
        except asyncpg.UniqueViolationError as error:
            print(error.sqlstate)
        async for row in conn.cursor("SELECT id FROM store.categories ORDER BY id", prefetch=2):
            print(row)
    statement = await conn.prepare("SELECT id, title FROM store.products WHERE id = ANY($1::bigint[])")
    print(statement.get_parameters(), [a.name for a in statement.get_attributes()], await statement.fetch([1, 2]))
    await conn.copy_records_to_table("categories", schema_name="store", records=[(1, "copied")], columns=["parent_id", "name"])
    out = io.BytesIO()
    await conn.copy_from_query("SELECT name FROM store.categories ORDER BY id", output=out, format="csv")
    await conn.copy_from_table("categories", schema_name="store", output=out, columns=["name"])
    print(len(out.getvalue()))
    await conn.execute("SELECT 1; SELECT 2")
    await conn.reload_schema_state()
    await conn.add_listener("news", lambda *args: None)
    await conn.reset()
    await conn.close()
    async with asyncpg.create_pool(min_size=1, max_size=2, ssl=False) as pool:
        print(await pool.fetchval("SELECT count(*) FROM store.products"))


asyncio.run(main())
