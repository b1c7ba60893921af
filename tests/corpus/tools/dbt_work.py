"""dbt: seed, run (table, view, incremental), test, snapshot, docs."""

import os
import pathlib
import subprocess
import sys
import tempfile

folder = pathlib.Path(tempfile.mkdtemp())
files = {
    "dbt_project.yml": "name: corpus\nversion: '1.0'\nprofile: corpus\nmodel-paths: [models]\nseed-paths: [seeds]\nsnapshot-paths: [snapshots]\nflags: {send_anonymous_usage_stats: false}\n",
    "profiles.yml": "corpus:\n  target: dev\n  outputs:\n    dev: {type: postgres, host: '%(PGHOST)s', port: %(PGPORT)s, user: '%(PGUSER)s', password: '%(PGPASSWORD)s', dbname: '%(PGDATABASE)s', schema: dbt_corpus, threads: 1}\n" % os.environ,
    "models/cheap.sql": "select id, title, price from store.products where price < 10\n",
    "models/totals.sql": "{{ config(materialized='table', indexes=[{'columns': ['category_id']}]) }}\nselect category_id, sum(price) as total from store.products group by 1\n",
    "models/growing.sql": "{{ config(materialized='incremental', unique_key='id') }}\nselect id, title from store.products {% if is_incremental() %} where id > (select max(id) from {{ this }}) {% endif %}\n",
    "models/schema.yml": "version: 2\nmodels:\n  - name: totals\n    columns:\n      - name: category_id\n        data_tests: [unique, not_null]\n",
    "seeds/colors.csv": "id,name\n1,red\n2,green\n",
    "snapshots/s.sql": "{% snapshot s %}{{ config(target_schema='dbt_corpus', unique_key='id', strategy='check', check_cols=['name']) }}select * from {{ ref('colors') }}{% endsnapshot %}\n",
}
for name, text in files.items():
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
program = pathlib.Path(sys.executable).parent / "dbt"
for command in (["seed"], ["run"], ["run"], ["test"], ["snapshot"], ["snapshot"], ["run", "--full-refresh"], ["docs", "generate"]):
    run = subprocess.run([program, *command, "--project-dir", folder, "--profiles-dir", folder], capture_output=True, text=True, cwd=folder, env=os.environ | {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "HOME": str(folder)})
    print(" ".join(command), run.returncode)
    if run.returncode:
        sys.stderr.write(run.stdout)
        raise SystemExit(1)
