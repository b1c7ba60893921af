"""SQLAlchemy: everything that its inspector can ask, in several dialects."""

import asyncio
import os
import sys

from sqlalchemy import MetaData, create_engine, inspect
from sqlalchemy.ext.asyncio import create_async_engine

driver = sys.argv[1]
url = "postgresql+{}://{PGUSER}:{PGPASSWORD}@{PGHOST}:{PGPORT}/{PGDATABASE}".format(driver, **os.environ)


def reflect(conn):
    inspector = inspect(conn)
    print(inspector.default_schema_name, sorted(inspector.get_schema_names()))
    for schema in (None, "store"):
        print(sorted(inspector.get_table_names(schema)), sorted(inspector.get_view_names(schema)), sorted(inspector.get_sequence_names(schema)))
        print(sorted(inspector.get_materialized_view_names(schema)), sorted(inspector.get_temp_table_names()))
        print(inspector.get_sorted_table_and_fkc_names(schema)[:2])
        for many in ("columns", "pk_constraint", "foreign_keys", "indexes", "unique_constraints", "check_constraints", "table_comment", "table_options"):
            print(many, len(getattr(inspector, f"get_multi_{many}")(schema=schema, kind=__import__("sqlalchemy").engine.reflection.ObjectKind.ANY)))
        for table in sorted(inspector.get_table_names(schema)):
            print(table, [(c["name"], str(c["type"])) for c in inspector.get_columns(table, schema)], inspector.has_table(table, schema))
            inspector.get_pk_constraint(table, schema), inspector.get_foreign_keys(table, schema), inspector.get_indexes(table, schema)
            inspector.get_unique_constraints(table, schema), inspector.get_check_constraints(table, schema), inspector.get_table_comment(table, schema)
        for view in inspector.get_view_names(schema):
            print(view, len(inspector.get_view_definition(view, schema)))
        print(inspector.get_enums(schema), inspector.get_domains(schema))
        print(inspector.has_sequence("ticket_number", schema), inspector.has_schema("store"), inspector.get_foreign_table_names(schema))
    metadata = MetaData()
    metadata.reflect(conn, schema="store", views=True)
    print(sorted(metadata.tables))


if driver == "asyncpg":

    async def main():
        engine = create_async_engine(url)
        async with engine.connect() as conn:
            await conn.run_sync(reflect)
        await engine.dispose()

    asyncio.run(main())
else:
    with create_engine(url).connect() as conn:
        reflect(conn)
