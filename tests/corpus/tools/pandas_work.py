"""pandas: read_sql, to_sql."""

import os

import pandas
from sqlalchemy import create_engine

engine = create_engine("postgresql+psycopg2://{PGUSER}:{PGPASSWORD}@{PGHOST}:{PGPORT}/{PGDATABASE}".format(**os.environ))
print(pandas.read_sql_query("SELECT id, title, price FROM store.products ORDER BY id", engine))
print(pandas.read_sql_table("categories", engine, schema="store"))
frame = pandas.DataFrame({"a": [1, 2, 3], "b": ["x", "y", None], "c": pandas.to_datetime(["2024-01-01"] * 3)})
frame.to_sql("pd_frame", engine, if_exists="replace", index=True, method="multi")
frame.to_sql("pd_frame", engine, if_exists="append", index=True)
frame.to_sql("pd_frame", engine, if_exists="replace", index=False)
print(pandas.read_sql("pd_frame", engine))
