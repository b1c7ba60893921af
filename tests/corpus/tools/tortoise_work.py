"""Tortoise ORM over asyncpg."""

import os

from tortoise import Tortoise, fields, run_async
from tortoise.expressions import F, Q
from tortoise.functions import Count
from tortoise.models import Model


class Event(Model):
    id = fields.IntField(primary_key=True)
    name = fields.CharField(80, db_index=True)
    data = fields.JSONField(null=True)
    at = fields.DatetimeField(auto_now_add=True)
    teams = fields.ManyToManyField("models.Team", related_name="events")

    class Meta:
        table_description = "Events"


class Team(Model):
    id = fields.IntField(primary_key=True)
    name = fields.CharField(80, unique=True)


async def main():
    e = os.environ
    await Tortoise.init(config={
        "connections": {"default": {"engine": "tortoise.backends.asyncpg", "credentials": {"host": e["PGHOST"], "port": int(e["PGPORT"]), "user": e["PGUSER"], "password": e["PGPASSWORD"], "database": e["PGDATABASE"]}}},
        "apps": {"models": {"models": ["__main__"], "default_connection": "default"}}})
    await Tortoise.generate_schemas(safe=True)
    team = await Team.create(name="t")
    event = await Event.create(name="e", data={"a": 1})
    await event.teams.add(team)
    await Team.bulk_create([Team(name=f"t{n}") for n in range(5)])
    print(await Event.filter(Q(name="e") | Q(name__icontains="x")).prefetch_related("teams").values("name"))
    print(await Team.annotate(n=Count("events")).order_by("id").values_list("name", "n"))
    print(await Team.filter(id__in=[1, 2, 3]).update(name=F("name")) if False else await Team.filter(id=2).update(name="u"))
    print(await Team.get_or_create(name="t"))
    await event.delete()


run_async(main())
