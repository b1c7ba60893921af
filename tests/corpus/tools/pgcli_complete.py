"""pgcli: what its completer reads, and its backslash commands."""

import os

from pgcli.completion_refresher import CompletionRefresher
from pgcli.pgexecute import PGExecute
from pgspecial.main import PGSpecial

e = os.environ
execute = PGExecute(e["PGDATABASE"], e["PGUSER"], e["PGPASSWORD"], e["PGHOST"], e["PGPORT"])
special = PGSpecial()
refresher = CompletionRefresher()
done = []
refresher._bg_refresh(execute, special, lambda completer: done.append(completer), None, {"keyword_casing": "auto"})
print(len(done))
for command in ["\\l", "\\d", "\\d store.products", "\\dt store.*", "\\dv store.*", "\\di store.*", "\\ds store.*", "\\df store.*", "\\dn", "\\du", "\\dT store.*", "\\dD store.*",
                "\\dp store.*", "\\dm store.*", "\\dx", "\\sf store.add", "\\dF", "\\ddp", "\\db", "\\dE store.*", "\\d+ store.products"]:
    for title, rows, headers, status, *_ in execute.run(command, special, lambda error: False):
        print(command, status and status[:20])
print(execute.view_definition("store.cheap")[:20], execute.function_definition("store.add")[:20])
