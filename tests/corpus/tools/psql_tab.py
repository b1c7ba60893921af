"""What psql asks the server when someone presses Tab: it runs in a terminal of its own."""

import os
import pty
import select
import sys
import time

LINES = [
    "\\d store.", "\\dt ", "\\df st", "\\dn ", "\\dT st", "\\du ", "\\dx ", "\\dv st", "\\di st", "\\ds st", "\\da ",
    "\\dD st", "\\dp st", "\\des ", "\\dew ", "\\dF ", "\\dA ", "\\db ", "\\l ", "\\c ", "\\sf st", "\\sv st", "\\ev st",
    "\\dy ", "\\dRp ", "\\dL ", "\\dP st", "\\encoding ",
    "SELECT * FROM ", "SELECT * FROM st", "SELECT * FROM store.", "SELECT * FROM store.pr", "SELECT * FROM store.products WHERE ",
    "SELECT ", "INSERT INTO st", "INSERT INTO store.products (", "UPDATE store.", "UPDATE store.products SET ",
    "DELETE FROM st", "TRUNCATE st", "COPY st", "LOCK TABLE st", "VACUUM st", "ANALYZE st", "REINDEX TABLE st", "REINDEX INDEX st",
    "CLUSTER st", "ALTER TABLE st", "ALTER TABLE store.products ", "ALTER TABLE store.products ADD ",
    "ALTER TABLE store.products ALTER COLUMN ", "ALTER TABLE store.products DROP CONSTRAINT ", "ALTER TABLE store.products RENAME COLUMN ",
    "ALTER TABLE store.products OWNER TO ", "ALTER TABLE store.products ALTER COLUMN price TYPE ", "ALTER TABLE store.products DISABLE TRIGGER ",
    "ALTER TABLE store.events DETACH PARTITION ", "ALTER TABLE store.events ATTACH PARTITION ",
    "ALTER INDEX st", "ALTER VIEW st", "ALTER MATERIALIZED VIEW st", "ALTER SEQUENCE st", "ALTER TYPE st", "ALTER TYPE store.mood RENAME VALUE ",
    "ALTER DOMAIN st", "ALTER DOMAIN store.percentage DROP CONSTRAINT ", "ALTER FUNCTION st", "ALTER SCHEMA st", "ALTER ROLE ", "ALTER DATABASE ",
    "ALTER EXTENSION ", "ALTER EXTENSION hstore UPDATE TO ", "ALTER FOREIGN TABLE st", "ALTER PUBLICATION ", "ALTER SYSTEM SET ",
    "ALTER TRIGGER ", "ALTER TRIGGER products_touch ON ", "ALTER POLICY ", "ALTER POLICY own ON ", "ALTER RULE ",
    "COMMENT ON TABLE ", "COMMENT ON COLUMN st", "COMMENT ON CONSTRAINT ", "CREATE INDEX ON ", "CREATE INDEX ON store.products (", "CREATE TRIGGER x BEFORE INSERT ON ",
    "CREATE TABLE x PARTITION OF ", "CREATE EXTENSION ", "CREATE SCHEMA ", "CREATE POLICY x ON ", "CREATE STATISTICS x ON price FROM ",
    "DROP TABLE st", "DROP INDEX st", "DROP VIEW st", "DROP FUNCTION st", "DROP TRIGGER ", "DROP TRIGGER products_touch ON ",
    "DROP SCHEMA ", "DROP TYPE st", "DROP EXTENSION ", "DROP MATERIALIZED VIEW st", "DROP FOREIGN TABLE st",
    "GRANT ", "GRANT SELECT ON ", "GRANT SELECT ON store.products TO ", "GRANT USAGE ON SCHEMA ", "GRANT EXECUTE ON FUNCTION st", "REVOKE SELECT ON st",
    "REFRESH MATERIALIZED VIEW st", "SET ", "SET work_mem TO ", "SET search_path TO ", "SET ROLE ", "SET timezone TO ", "SET DateStyle TO ", "SHOW ", "RESET ",
    "EXPLAIN SELECT * FROM st", "TABLE st", "LISTEN ", "NOTIFY ", "PREPARE x AS SELECT * FROM st", "EXECUTE ", "DEALLOCATE ",
    "FETCH ", "CLOSE ", "DECLARE c CURSOR FOR SELECT * FROM st", "CALL st", "SECURITY LABEL ON TABLE st", "IMPORT FOREIGN SCHEMA x FROM SERVER ",
    "MERGE INTO st", "MERGE INTO store.products USING st", "REASSIGN OWNED BY ", "CREATE SERVER x FOREIGN DATA WRAPPER ", "CREATE USER MAPPING FOR ",
]


def main():
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm"
        os.environ["PSQL_PAGER"] = "cat"
        os.execvp("psql", ["psql", "-X", "-q"])
    until(terminal, b"=> ")
    for line in LINES:
        os.write(terminal, line.encode() + b"\t\t")
        quiet(terminal)
        # A list that is too long asks first; then the line is thrown away.
        os.write(terminal, b"n\x15")
        quiet(terminal)
        os.write(terminal, b"\x15\\echo ok-marker\n")
        until(terminal, b"\rok-marker\r\n")
    os.write(terminal, b"\\q\n")
    _, status = os.waitpid(child, 0)
    print(len(LINES), "completions")
    sys.exit(os.waitstatus_to_exitcode(status))


def quiet(terminal):
    """Reads until nothing has come for a moment: the end of a completion has no mark."""
    while select.select([terminal], [], [], 0.08)[0]:
        os.read(terminal, 65536)


def until(terminal, mark):
    seen = b""
    end = time.monotonic() + 20
    while mark not in seen:
        left = end - time.monotonic()
        if left <= 0 or not select.select([terminal], [], [], left)[0]:
            raise SystemExit(f"no {mark!r} in {seen[-500:]!r}")
        seen += os.read(terminal, 65536)


main()
