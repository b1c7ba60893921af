#!/bin/sh
# Every way of dumping what a reader was granted.
set -e
for options in "--schema=store -s" "--schema=store -a" "--schema=store --inserts --no-comments" "--table=store.products --table=store.categories" \
    "--table=public.orders -a --column-inserts" "--schema=store -s --clean --if-exists --create" "--schema=store --section=pre-data" \
    "--schema=store --exclude-table=store.events* --rows-per-insert=10 --inserts" "-s" ; do
    # shellcheck disable=SC2086
    pg_dump $options --enable-row-security --no-publications --no-owner --no-tablespaces --exclude-table=store.remote | grep -v -e '^-- Dumped' -e '^\\.*restrict'
done
pg_dump -Fc --schema=store --enable-row-security --exclude-table=store.remote | pg_restore -l | grep -c TABLE
pg_dump -Fd -j 2 --schema=store --enable-row-security --exclude-table=store.remote -f "$HOME/dump-$$"
rm -r "$HOME/dump-$$"
