"""Alembic: revisions by hand and by autogenerate, up and down."""

import os
import pathlib
import tempfile
import textwrap

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

folder = pathlib.Path(tempfile.mkdtemp())
url = "postgresql+psycopg://{PGUSER}:{PGPASSWORD}@{PGHOST}:{PGPORT}/{PGDATABASE}".format(**os.environ)
config = Config(str(folder / "alembic.ini"))
config.set_main_option("script_location", str(folder / "m"))
config.set_main_option("sqlalchemy.url", url)
command.init(config, str(folder / "m"))
(folder / "m/env.py").write_text(textwrap.dedent("""
    from alembic import context
    import sqlalchemy as sa
    metadata = sa.MetaData()
    sa.Table("al_team", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(40), nullable=False, unique=True))
    sa.Table("al_member", metadata, sa.Column("id", sa.BigInteger, primary_key=True), sa.Column("team_id", sa.ForeignKey("al_team.id"), index=True),
             sa.Column("joined", sa.DateTime(timezone=True), server_default=sa.func.now()), sa.Column("kind", sa.Enum("a", "b", name="al_kind")),
             sa.CheckConstraint("team_id > 0", name="al_positive"), comment="Members")
    def only_ours(object, name, type_, reflected, compare_to):
        return type_ != "table" or name.startswith("al_")
    engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url"))
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, include_object=only_ours, compare_type=True, compare_server_default=True, include_schemas=False)
        with context.begin_transaction():
            context.run_migrations()
"""))
command.revision(config, "first", autogenerate=True, rev_id="0001")
command.upgrade(config, "head")
command.revision(config, "second", rev_id="0002")
file = next((folder / "m/versions").glob("0002*.py"))
file.write_text(file.read_text().replace("    pass", textwrap.indent(textwrap.dedent("""
    op.add_column("al_team", sa.Column("city", sa.Text(), server_default="nowhere", nullable=False))
    op.alter_column("al_team", "name", type_=sa.String(80), existing_type=sa.String(40))
    op.alter_column("al_team", "city", new_column_name="town")
    op.create_index("al_town", "al_team", ["town"], unique=False)
    op.create_check_constraint("al_named", "al_team", "name <> ''")
    op.create_unique_constraint("al_unique", "al_member", ["team_id", "joined"])
    op.bulk_insert(sa.table("al_team", sa.column("name", sa.String)), [{"name": "one"}, {"name": "two"}])
    op.execute("UPDATE al_team SET town = 'here' WHERE name = 'one'")
    op.rename_table("al_member", "al_members")
    op.create_table_comment("al_team", "Teams")
    """), "    "), 1).replace("    pass", textwrap.indent(textwrap.dedent("""
    op.rename_table("al_members", "al_member")
    op.execute("DELETE FROM al_team")
    op.drop_constraint("al_unique", "al_member")
    op.drop_constraint("al_named", "al_team")
    op.drop_index("al_town")
    op.drop_column("al_team", "town")
    """), "    "), 1))
command.upgrade(config, "head")
command.current(config, verbose=True)
command.history(config)
command.downgrade(config, "-1")
command.check(config) if False else None
command.upgrade(config, "head")
command.downgrade(config, "base")
with sa.create_engine(url).connect() as conn:
    print(conn.scalar(sa.text("SELECT count(*) FROM alembic_version")))
