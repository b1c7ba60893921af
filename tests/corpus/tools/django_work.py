"""Django: migrate with its own applications, schema changes, inspectdb, the ORM."""

import io
import os
import pathlib
import sys
import tempfile

folder = pathlib.Path(tempfile.mkdtemp())
(folder / "shopapp/migrations").mkdir(parents=True)
(folder / "shopapp/__init__.py").write_text("")
(folder / "shopapp/migrations/__init__.py").write_text("")
(folder / "shopapp/models.py").write_text("""
from django.contrib.postgres.fields import ArrayField
from django.db import models
class Tag(models.Model):
    name = models.CharField(max_length=30, unique=True)
class Item(models.Model):
    title = models.CharField(max_length=100, db_index=True)
    slug = models.SlugField()
    price = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    data = models.JSONField(default=dict)
    words = ArrayField(models.CharField(max_length=10), default=list)
    added = models.DateTimeField(auto_now_add=True)
    uid = models.UUIDField(null=True)
    parent = models.ForeignKey("self", null=True, on_delete=models.CASCADE, related_name="children")
    tags = models.ManyToManyField(Tag)
    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(price__gte=0), name="positive"),
                       models.UniqueConstraint(fields=["slug"], condition=models.Q(parent=None), name="top_slug")]
        indexes = [models.Index(fields=["-price", "title"])]
""")
sys.path.insert(0, str(folder))
import django
from django.conf import settings

e = os.environ
settings.configure(
    SECRET_KEY="x",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", "django.contrib.admin", "django.contrib.messages", "django.contrib.postgres", "shopapp"],
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": e["PGDATABASE"], "USER": e["PGUSER"], "PASSWORD": e["PGPASSWORD"], "HOST": e["PGHOST"], "PORT": e["PGPORT"]}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField", USE_TZ=True, PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
)
django.setup()
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import Avg, Count, Exists, F, Max, OuterRef, Prefetch, Q, Sum, Value, Window
from django.db.models.functions import Coalesce, Concat, Lower, RowNumber, TruncDate

call_command("makemigrations", "shopapp", verbosity=0)
call_command("migrate", verbosity=0)
call_command("showmigrations", stdout=io.StringIO())
(folder / "shopapp/migrations/0002_more.py").write_text("""
from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = [("shopapp", "0001_initial")]
    operations = [
        migrations.AddField("item", "rank", models.IntegerField(default=1, db_index=True)),
        migrations.AlterField("item", "title", models.TextField(null=True)),
        migrations.RenameField("item", "rank", "place"),
        migrations.AlterUniqueTogether("item", {("slug", "place")}),
        migrations.RunSQL("UPDATE shopapp_item SET place = place + 1", "SELECT 1"),
        migrations.RenameModel("Tag", "Label"),
    ]
""")
call_command("migrate", "shopapp", verbosity=0)
call_command("migrate", "shopapp", "0001", verbosity=0)
call_command("check", database="default") if False else None
out = io.StringIO()
call_command("inspectdb", include_partitions=True, include_views=True, stdout=out)
print(len(out.getvalue()) > 1000)
call_command("sqlsequencereset", "shopapp", stdout=out)

from shopapp.models import Item, Tag

tags = [Tag.objects.create(name=f"tag {n}") for n in range(3)]
parent = Item.objects.create(title="Top", slug="top", price=5, data={"a": {"b": [1, 2]}}, words=["x", "y"])
Item.objects.bulk_create([Item(title=f"Item {n}", slug=f"i{n}", price=n, parent=parent) for n in range(10)])
parent.tags.set(tags)
print(Item.objects.filter(price__gt=3, title__icontains="item").exclude(slug="i9").order_by("price").values_list("title", flat=True)[:3])
print(Item.objects.filter(Q(data__a__b__0=1) | Q(words__contains=["x"]) | Q(words__len=7)).count())
print(Item.objects.aggregate(Avg("price"), Max("id"), Sum("price")))
print(list(Item.objects.annotate(n=Count("children"), low=Lower("title"), r=Window(RowNumber(), order_by=F("price").desc()), full=Concat("title", Value("/"), "title")).values_list("n", "low", "r", "full").order_by("id")[:2]))
print(Item.objects.filter(Exists(Item.objects.filter(parent=OuterRef("pk")))).select_related("parent").prefetch_related("tags", Prefetch("children", Item.objects.order_by("id")))[0].title)
Item.objects.filter(slug__in=["i1", "i2"]).update(price=F("price") + 1)
print(Item.objects.get_or_create(slug="new", defaults={"title": "New"})[1], Item.objects.update_or_create(slug="new", defaults={"title": "Newer"})[1])
Item.objects.bulk_update([parent], ["title", "price"])
Item.objects.bulk_create([Item(id=parent.id, title="Upsert", slug="top")], update_conflicts=True, unique_fields=["id"], update_fields=["title"])
print(Item.objects.dates("added", "year").count(), Item.objects.annotate(d=TruncDate("added")).values("d").annotate(c=Count("id"))[0]["c"])
with transaction.atomic():
    locked = Item.objects.select_for_update().get(pk=parent.pk)
    try:
        with transaction.atomic():
            Tag.objects.create(name="tag 1")
    except django.db.IntegrityError:
        print("integrity")
print(Item.objects.filter(id__in=list(range(1500))).count(), (Item.objects.filter(price=1) | Item.objects.filter(price=2)).union(Item.objects.filter(price=3)).count())
print([i.title for i in Item.objects.order_by("id").iterator(chunk_size=4)][:2])
print(Item.objects.filter(title__search="item").count(), Item.objects.filter(title__regex="^I.*").explain()[:3])
user = User.objects.create_user("u", password="p")
group = Group.objects.create(name="g")
group.permissions.set(Permission.objects.filter(content_type__app_label="shopapp"))
user.groups.add(group)
print(User.objects.get(pk=user.pk).has_perm("shopapp.add_item"))
session = SessionStore()
session["k"] = 1
session.save()
parent.delete()
print(Item.objects.raw("SELECT * FROM shopapp_item ORDER BY id")[:1])
print(sorted(connection.introspection.table_names())[:3], connection.introspection.get_sequences(connection.cursor(), "shopapp_item")[0]["column"], len(connection.introspection.get_constraints(connection.cursor(), "shopapp_item")))
call_command("flush", verbosity=0, interactive=False)
call_command("migrate", "shopapp", "zero", verbosity=0)
