#!/bin/sh
exec "$CORPUS_TOOLS/py/bin/sqlacodegen" --schemas store,public "postgresql+psycopg2://$PGUSER:$PGPASSWORD@$PGHOST:$PGPORT/$PGDATABASE"
