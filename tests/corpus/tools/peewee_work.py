"""Peewee: models, introspection, migrations."""

import os

from peewee import SQL, CharField, ForeignKeyField, IntegerField, fn
from playhouse.migrate import PostgresqlMigrator, migrate
from playhouse.postgres_ext import ArrayField, BinaryJSONField, PostgresqlExtDatabase
from playhouse.reflection import Introspector, generate_models
from peewee import Model

e = os.environ
db = PostgresqlExtDatabase(e["PGDATABASE"], user=e["PGUSER"], host=e["PGHOST"], port=int(e["PGPORT"]), password=e["PGPASSWORD"])


class Base(Model):
    class Meta:
        database = db


class Person(Base):
    name = CharField(unique=True)
    data = BinaryJSONField(null=True)
    tags = ArrayField(CharField, null=True)


class Pet(Base):
    owner = ForeignKeyField(Person, backref="pets", on_delete="CASCADE")
    name = CharField(index=True)


db.connect()
db.create_tables([Person, Pet])
with db.atomic():
    person = Person.create(name="p", data={"a": 1}, tags=["x"])
    Pet.insert_many([{"owner": person, "name": f"n{n}"} for n in range(3)]).execute()
print(Person.select(Person, fn.COUNT(Pet.id).alias("n")).join(Pet).group_by(Person.id).get().n)
Person.insert(name="p").on_conflict(conflict_target=[Person.name], update={Person.data: None}).execute()
print(Person.update(name="q").where(Person.name == "p").returning(Person.id).execute().__class__.__name__)
for schema in ("public", "store"):
    introspector = Introspector.from_database(db, schema=schema)
    print(len(introspector.introspect().columns))
print(sorted(db.get_tables())[:2], db.get_columns("pet")[0].name, db.get_foreign_keys("pet")[0].dest_table, db.get_views()[0].name, len(db.get_indexes("person")), db.sequence_exists("person_id_seq"))
migrator = PostgresqlMigrator(db)
migrate(migrator.add_column("pet", "age", IntegerField(null=True)), migrator.rename_column("pet", "age", "years"), migrator.add_index("pet", ("years",)), migrator.drop_column("pet", "years"), migrator.add_not_null("person", "name"))
Pet.delete().where(Pet.name == "n1").execute()
db.drop_tables([Person, Pet])
