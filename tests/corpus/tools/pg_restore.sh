#!/bin/sh
# A dump is made, everything in it renamed, and loaded again as a migration would.
set -e
dump="$HOME/dump-$$"
pg_dump --schema=store --enable-row-security --no-owner --no-privileges --no-publications --exclude-table=store.remote --exclude-table=store.guarded \
    | sed -e 's/\bstore\./copied./g' -e 's/\bSCHEMA store\b/SCHEMA copied/' > "$dump.sql"
psql -X -q -v ON_ERROR_STOP=1 -f "$dump.sql"
psql -X -c "SELECT count(*) FROM copied.products"
pg_dump -Fc --schema=copied --no-owner --no-privileges -f "$dump.dump"
psql -X -q -c "DROP SCHEMA copied CASCADE"
pg_restore -d "$PGDATABASE" --no-owner --no-privileges --exit-on-error "$dump.dump"
psql -X -c "SELECT count(*) FROM copied.products"
psql -X -q -c "DROP TABLE copied.events"
pg_dump -Fc --schema=copied --no-owner --no-privileges -f "$dump.dump"
pg_restore -d "$PGDATABASE" --no-owner --no-privileges --clean --if-exists --exit-on-error "$dump.dump"
psql -X -c "SELECT count(*) FROM copied.products"
rm "$dump.sql" "$dump.dump"
