#!/bin/sh
# The commands that fetch a definition for the editor.
set -e
EDITOR=true VISUAL=true PSQL_EDITOR=true
export EDITOR VISUAL PSQL_EDITOR
exec psql -X -q <<'END'
\ef store.add
\r
\ev store.cheap
\r
\copy (select id, title from store.products order by id) to stdout
\copy store.categories (id, name) to stdout csv header
select 1;
END
