"""Yoyo migrations: apply, roll back, apply again."""

import os
import pathlib
import tempfile

from yoyo import get_backend, read_migrations

folder = pathlib.Path(tempfile.mkdtemp())
(folder / "0001.sql").write_text("CREATE TABLE yo_one (id serial PRIMARY KEY, name text NOT NULL);\nCREATE INDEX yo_one_name ON yo_one (name);\n")
(folder / "0001.rollback.sql").write_text("DROP TABLE yo_one;\n")
(folder / "0002.sql").write_text("-- depends: 0001\nALTER TABLE yo_one ADD COLUMN at timestamptz DEFAULT now();\nINSERT INTO yo_one (name) VALUES ('a');\n")
(folder / "0002.rollback.sql").write_text("ALTER TABLE yo_one DROP COLUMN at;\n")
backend = get_backend("postgresql+psycopg://{PGUSER}:{PGPASSWORD}@{PGHOST}:{PGPORT}/{PGDATABASE}".format(**os.environ))
migrations = read_migrations(str(folder))
with backend.lock():
    backend.apply_migrations(backend.to_apply(migrations))
    backend.rollback_migrations(backend.to_rollback(migrations))
    backend.apply_migrations(backend.to_apply(migrations))
print([m.id for m in backend.to_apply(migrations)])
