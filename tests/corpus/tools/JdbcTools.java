// The kinds of statements that Flyway, Metabase and DBeaver send over JDBC, worded anew: the
// programs themselves cannot be fetched in a closed build.
import java.sql.*;
import java.util.*;

class JdbcTools {
    static Connection c;

    static int rows(String sql, Object... values) throws SQLException {
        try (PreparedStatement s = c.prepareStatement(sql)) {
            for (int i = 0; i < values.length; i++) s.setObject(i + 1, values[i]);
            if (!s.execute()) return s.getUpdateCount();
            int n = 0;
            try (ResultSet r = s.getResultSet()) { while (r.next()) n++; }
            return n;
        }
    }

    static void plain(String sql) throws SQLException { try (Statement s = c.createStatement()) { s.execute(sql); } }

    public static void main(String[] args) throws Exception {
        Map<String, String> e = System.getenv();
        c = DriverManager.getConnection("jdbc:postgresql://" + e.get("PGHOST") + ":" + e.get("PGPORT") + "/" + e.get("PGDATABASE") + "?sslmode=disable&ApplicationName=" + args[0], e.get("PGUSER"), e.get("PGPASSWORD"));
        switch (args[0]) {
            case "flyway" -> flyway(e.get("PGUSER"));
            case "metabase" -> metabase();
            case "dbeaver" -> dbeaver();
            default -> throw new IllegalArgumentException(args[0]);
        }
        c.close();
    }

    static void flyway(String login) throws SQLException {
        rows("SELECT current_user"); rows("SHOW search_path"); rows("SELECT version()"); rows("SHOW server_version_num");
        rows("SELECT count(*) FROM pg_namespace WHERE nspname = ?", "public");
        rows("SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_depend d ON d.objid = c.oid AND d.deptype = 'e' WHERE n.nspname = ? AND d.objid IS NULL AND c.relkind IN ('r', 'v', 'S', 't'))", "fly");
        plain("CREATE SCHEMA IF NOT EXISTS \"fly\"");
        rows("SELECT set_config('search_path', ?, false)", "\"fly\",public");
        plain("SET search_path TO \"fly\", public");
        rows("SELECT EXISTS (SELECT 1 FROM information_schema.tables WHERE table_schema = ? AND table_name = ?)", "fly", "flyway_schema_history");
        rows("SELECT pg_try_advisory_lock(77431708279161)");
        c.setAutoCommit(false);
        plain("CREATE TABLE \"fly\".\"flyway_schema_history\" (\n    \"installed_rank\" INT NOT NULL,\n    \"version\" VARCHAR(50),\n    \"description\" VARCHAR(200) NOT NULL,\n    \"type\" VARCHAR(20) NOT NULL,\n    \"script\" VARCHAR(1000) NOT NULL,\n    \"checksum\" INTEGER,\n    \"installed_by\" VARCHAR(100) NOT NULL,\n    \"installed_on\" TIMESTAMP NOT NULL DEFAULT now(),\n    \"execution_time\" INTEGER NOT NULL,\n    \"success\" BOOLEAN NOT NULL\n)\nWITH (OIDS = FALSE)".replace("\nWITH (OIDS = FALSE)", ""));
        plain("ALTER TABLE \"fly\".\"flyway_schema_history\" ADD CONSTRAINT \"flyway_schema_history_pk\" PRIMARY KEY (\"installed_rank\")");
        plain("CREATE INDEX \"flyway_schema_history_s_idx\" ON \"fly\".\"flyway_schema_history\" (\"success\")");
        c.commit();
        String[] scripts = {
            "-- " + "-".repeat(300) + "\n-- First\n" + "CREATE TABLE t1 (id serial PRIMARY KEY, name text)",
            "CREATE TABLE t2 (id bigserial PRIMARY KEY, t1 integer REFERENCES t1 ON DELETE CASCADE, at timestamptz DEFAULT now())",
            "CREATE OR REPLACE FUNCTION bump() RETURNS trigger AS $body$\nBEGIN\n    NEW.at := now();\n    RETURN NEW;\nEND;\n$body$ LANGUAGE plpgsql",
            "CREATE TRIGGER bump BEFORE UPDATE ON t2 FOR EACH ROW EXECUTE PROCEDURE bump()",
            "CREATE OR REPLACE VIEW v AS SELECT t1.name, count(t2.id) AS n FROM t1 LEFT JOIN t2 ON t2.t1 = t1.id GROUP BY 1",
            "CREATE TYPE color AS ENUM ('red', 'green')", "ALTER TABLE t1 ADD COLUMN color color DEFAULT 'red', ADD COLUMN IF NOT EXISTS extra jsonb",
            "INSERT INTO t1 (name, color) VALUES ('a', 'red'), ('b', 'green')", "UPDATE t1 SET extra = jsonb_build_object('n', name) WHERE extra IS NULL",
            "COMMENT ON TABLE t1 IS 'One'", "DROP VIEW IF EXISTS v", "ALTER TABLE t1 ALTER COLUMN name SET NOT NULL, ALTER COLUMN name TYPE varchar(50) USING name::varchar(50)",
            "CREATE UNIQUE INDEX IF NOT EXISTS t1_name ON t1 (lower(name))", "ALTER TABLE t2 RENAME COLUMN at TO changed_at", "DROP TRIGGER bump ON t2", "DROP FUNCTION bump()",
            "DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_type WHERE typname = 'size') THEN CREATE TYPE size AS ENUM ('s', 'l'); END IF; END $$",
            "CREATE MATERIALIZED VIEW mv AS SELECT name FROM t1", "REFRESH MATERIALIZED VIEW mv", "CREATE SEQUENCE s OWNED BY t1.id", "ALTER SEQUENCE s RESTART WITH 10", "TRUNCATE t2",
            "ALTER TABLE t1 ADD CONSTRAINT positive CHECK (id > 0) NOT VALID", "ALTER TABLE t1 VALIDATE CONSTRAINT positive", "CREATE TABLE p (id int, d date) PARTITION BY RANGE (d)", "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
            "ALTER TABLE p DETACH PARTITION p1", "CREATE DOMAIN positive AS integer CHECK (VALUE > 0)", "ALTER TYPE color RENAME VALUE 'red' TO 'crimson'", "DROP TABLE p, p1 CASCADE",
        };
        int rank = 0;
        for (String script : scripts) {
            rows("SELECT \"installed_rank\",\"version\",\"description\",\"type\",\"script\",\"checksum\",\"installed_on\",\"installed_by\",\"execution_time\",\"success\" FROM \"fly\".\"flyway_schema_history\" WHERE \"installed_rank\" > ? ORDER BY \"installed_rank\"", rank);
            plain(script);
            rows("INSERT INTO \"fly\".\"flyway_schema_history\" (\"installed_rank\", \"version\", \"description\", \"type\", \"script\", \"checksum\", \"installed_by\", \"execution_time\", \"success\") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", ++rank, "" + rank, "d", "SQL", "V" + rank, 1, login, 1, true);
            rows("SET ROLE '" + login + "'"); 
            c.commit();
        }
        c.setAutoCommit(true);
        plain("CREATE INDEX CONCURRENTLY t1_extra ON t1 USING gin (extra)");
        plain("RESET ROLE");
        rows("SELECT pg_advisory_unlock(77431708279161)");
        for (String sql : new String[] { "SELECT relname FROM pg_catalog.pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'm' AND n.nspname = ?", "SELECT t.table_name FROM information_schema.tables t LEFT JOIN pg_depend dep ON dep.objid = (quote_ident(t.table_schema) || '.' || quote_ident(t.table_name))::regclass::oid AND dep.deptype = 'e' WHERE table_schema = ? AND table_type = 'BASE TABLE' AND dep.objid IS NULL",
            "SELECT typname, typcategory FROM pg_catalog.pg_type t LEFT JOIN pg_depend dep ON dep.objid = t.oid AND dep.deptype = 'e' WHERE (t.typrelid = 0 OR (SELECT c.relkind = 'c' FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid)) AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_type el WHERE el.oid = t.typelem AND el.typarray = t.oid) AND t.typnamespace IN (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = ?) AND dep.objid IS NULL AND t.typtype <> 'd'",
            "SELECT proname, oidvectortypes(proargtypes) AS args, pg_get_function_identity_arguments(p.oid), p.prokind FROM pg_proc p INNER JOIN pg_namespace ns ON p.pronamespace = ns.oid LEFT JOIN pg_depend dep ON dep.objid = p.oid AND dep.deptype = 'e' WHERE ns.nspname = ? AND dep.objid IS NULL", "SELECT sequence_name FROM information_schema.sequences WHERE sequence_schema = ?", "SELECT t.typname FROM pg_catalog.pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.typtype = 'd' AND n.nspname = ?" })
            System.out.println(rows(sql, "fly"));
        plain("DROP TABLE IF EXISTS \"fly\".\"t2\" CASCADE"); plain("DROP SCHEMA \"fly\" CASCADE");
    }

    static void metabase() throws SQLException {
        c.setReadOnly(true);
        plain("SET SESSION TIMEZONE TO 'Europe/Berlin'");
        rows("SELECT current_setting('TIMEZONE')"); rows("show timezone"); rows("SELECT 1");
        System.out.println(rows("SELECT n.nspname AS \"schema\", c.relname AS \"name\", CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'p' THEN 'PARTITIONED TABLE' WHEN 'v' THEN 'VIEW' WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'm' THEN 'MATERIALIZED VIEW' END AS \"type\", d.description, stat.n_live_tup AS estimated_row_count FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON c.relnamespace = n.oid LEFT JOIN pg_catalog.pg_description d ON c.oid = d.objoid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass LEFT JOIN pg_stat_user_tables stat ON n.nspname = stat.schemaname AND c.relname = stat.relname WHERE c.relnamespace = n.oid AND n.nspname !~ '^information_schema|catalog_history|pg_' AND c.relkind IN ('r', 'p', 'v', 'f', 'm') AND n.nspname IN (?, ?) ORDER BY 3, 1, 2", "store", "public"));
        System.out.println(rows("WITH table_privileges AS (SELECT NULL AS role, t.schemaname AS schema, t.objectname AS table, pg_catalog.has_any_column_privilege(current_user, '\"' || replace(t.schemaname, '\"', '\"\"') || '\"' || '.' || '\"' || replace(t.objectname, '\"', '\"\"') || '\"', 'update') AS update, pg_catalog.has_any_column_privilege(current_user, '\"' || replace(t.schemaname, '\"', '\"\"') || '\"' || '.' || '\"' || replace(t.objectname, '\"', '\"\"') || '\"', 'select') AS select, pg_catalog.has_table_privilege(current_user, '\"' || replace(t.schemaname, '\"', '\"\"') || '\"' || '.' || '\"' || replace(t.objectname, '\"', '\"\"') || '\"', 'delete') AS delete FROM (SELECT schemaname, tablename AS objectname FROM pg_catalog.pg_tables UNION SELECT schemaname, viewname FROM pg_catalog.pg_views UNION SELECT schemaname, matviewname FROM pg_catalog.pg_matviews) t WHERE t.schemaname !~ '^pg_' AND t.schemaname <> 'information_schema' AND pg_catalog.has_schema_privilege(current_user, t.schemaname, 'usage')) SELECT t.* FROM table_privileges t"));
        System.out.println(rows("SELECT c.column_name AS name, CASE WHEN c.udt_schema IN ('public', 'pg_catalog') THEN format('%s', c.udt_name) ELSE format('\"%s\".\"%s\"', c.udt_schema, c.udt_name) END AS \"database-type\", c.ordinal_position - 1 AS pos, c.table_schema, c.table_name, pk.column_name IS NOT NULL AS \"pk?\", col_description(CAST(CAST(format('%I.%I', CAST(c.table_schema AS TEXT), CAST(c.table_name AS TEXT)) AS REGCLASS) AS OID), c.ordinal_position) AS \"field-comment\", ((column_default IS NULL OR lower(column_default) = 'null') AND is_nullable = 'NO' AND NOT ((column_default IS NOT NULL AND column_default LIKE '%nextval(%') OR is_identity <> 'NO')) AS required FROM information_schema.columns c LEFT JOIN (SELECT tc.table_schema, tc.table_name, kc.column_name FROM information_schema.table_constraints tc JOIN information_schema.key_column_usage kc ON tc.constraint_name = kc.constraint_name AND tc.table_schema = kc.table_schema AND tc.table_name = kc.table_name WHERE tc.constraint_type = 'PRIMARY KEY') pk ON c.table_schema = pk.table_schema AND c.table_name = pk.table_name AND c.column_name = pk.column_name WHERE c.table_schema !~ '^information_schema|catalog_history|pg_' AND c.table_schema IN ('store') UNION ALL SELECT pa.attname, CASE WHEN ptn.nspname IN ('public', 'pg_catalog') THEN format('%s', pt.typname) ELSE format('\"%s\".\"%s\"', ptn.nspname, pt.typname) END, pa.attnum - 1, pn.nspname, pc.relname, FALSE, NULL, FALSE FROM pg_catalog.pg_class pc JOIN pg_catalog.pg_namespace pn ON pn.oid = pc.relnamespace JOIN pg_catalog.pg_attribute pa ON pa.attrelid = pc.oid JOIN pg_catalog.pg_type pt ON pt.oid = pa.atttypid JOIN pg_catalog.pg_namespace ptn ON ptn.oid = pt.typnamespace WHERE pc.relkind = 'm' AND pa.attnum >= 1 AND pn.nspname IN ('store') ORDER BY 4, 5, 3"));
        System.out.println(rows("SELECT fk_ns.nspname AS \"fk-table-schema\", fk_table.relname, fk_column.attname, pk_ns.nspname, pk_table.relname, pk_column.attname FROM pg_constraint c JOIN pg_class fk_table ON c.conrelid = fk_table.oid JOIN pg_namespace fk_ns ON c.connamespace = fk_ns.oid JOIN pg_attribute fk_column ON c.conrelid = fk_column.attrelid JOIN pg_class pk_table ON c.confrelid = pk_table.oid JOIN pg_namespace pk_ns ON pk_table.relnamespace = pk_ns.oid JOIN pg_attribute pk_column ON c.confrelid = pk_column.attrelid WHERE fk_ns.nspname !~ '^information_schema|catalog_history|pg_' AND c.contype = 'f' AND fk_column.attnum = ANY(c.conkey) AND pk_column.attnum = ANY(c.confkey) ORDER BY 1, 2"));
        System.out.println(rows("SELECT tmp.\"table-schema\", tmp.\"table-name\", trim(both '\"' FROM pg_catalog.pg_get_indexdef(tmp.ci_oid, tmp.pos, false)) AS \"field-name\" FROM (SELECT n.nspname AS \"table-schema\", ct.relname AS \"table-name\", ci.oid AS ci_oid, (information_schema._pg_expandarray(i.indkey)).n AS pos FROM pg_catalog.pg_class ct JOIN pg_catalog.pg_namespace n ON ct.relnamespace = n.oid JOIN pg_catalog.pg_index i ON ct.oid = i.indrelid JOIN pg_catalog.pg_class ci ON ci.oid = i.indexrelid WHERE pg_catalog.pg_get_expr(i.indpred, i.indrelid) IS NULL AND n.nspname !~ '^information_schema|catalog_history|pg_') tmp WHERE tmp.pos = 1"));
        System.out.println(rows("SELECT nspname, typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid IN (SELECT DISTINCT e.enumtypid FROM pg_enum e)"));
        System.out.println(rows("-- Metabase:: userID: 1 queryType: MBQL queryHash: 0\nSELECT CAST(date_trunc('month', \"store\".\"products\".\"created_at\") AS timestamptz) AS \"created_at\", COUNT(*) AS \"count\", AVG(\"store\".\"products\".\"price\") AS \"avg\" FROM \"store\".\"products\" LEFT JOIN \"store\".\"categories\" AS \"Categories\" ON \"store\".\"products\".\"category_id\" = \"Categories\".\"id\" WHERE (\"store\".\"products\".\"created_at\" >= CAST((CAST(now() AS timestamp) + (INTERVAL '-30 year')) AS date)) AND (lower(\"Categories\".\"name\") LIKE ?) GROUP BY CAST(date_trunc('month', \"store\".\"products\".\"created_at\") AS timestamptz) ORDER BY 1 ASC LIMIT 2000", "%c%"));
        System.out.println(rows("SELECT COUNT(*) AS \"count\", COUNT(distinct \"store\".\"products\".\"title\"), SUBSTRING(\"store\".\"products\".\"title\", 1, 1234) AS \"substring\" FROM \"store\".\"products\" GROUP BY 3 LIMIT 10000"));
        System.out.println(rows("SELECT FLOOR(((\"source\".\"price\" - 0.0) / 10.0)) * 10.0 AS \"price\", percentile_cont(0.5) within group (order by \"source\".\"price\") AS \"median\", extract(dow from \"source\".\"created_at\") + 1 FROM (SELECT * FROM \"store\".\"products\") AS \"source\" GROUP BY 1, 3 ORDER BY 1"));
        System.out.println(rows("SELECT (\"store\".\"products\".\"attributes\"#>> array[?]::text[])::bigint AS \"a\" FROM \"store\".\"products\" LIMIT 1", "a"));
    }

    static void dbeaver() throws SQLException {
        for (String sql : new String[] { "SET application_name = 'DBeaver 24.2.0 - Main <shop>'", "SELECT current_database()", "SELECT current_schema(), session_user", "SHOW search_path", "SELECT version()", "SELECT * FROM pg_catalog.pg_settings WHERE name = 'standard_conforming_strings'", "SELECT string_agg(word, ',' ) from pg_catalog.pg_get_keywords() where word <> ALL ('{a,abs}'::text[])",
            "SELECT db.oid, db.* FROM pg_catalog.pg_database db WHERE 1 = 1 AND datallowconn AND NOT datistemplate OR db.datname = 'shop' ORDER BY db.datname", "SELECT * FROM pg_catalog.pg_roles ORDER BY rolname", "SELECT n.oid, n.*, d.description FROM pg_catalog.pg_namespace n LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = n.oid AND d.objsubid = 0 AND d.classoid = 'pg_namespace'::regclass ORDER BY nspname",
            "SELECT t.oid, t.*, c.relkind, format_type(nullif(t.typbasetype, 0), t.typtypmod) AS base_type_name, d.description FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid = t.typelem LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid = t.typrelid LEFT OUTER JOIN pg_catalog.pg_description d ON t.oid = d.objoid WHERE t.typname IS NOT NULL AND (c.relkind IS NULL OR c.relkind = 'c') AND (et.typcategory IS NULL OR et.typcategory <> 'C')",
            "SELECT c.oid, c.*, d.description, pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS partition_expr, pg_catalog.pg_get_partkeydef(c.oid) AS partition_key FROM pg_catalog.pg_class c INNER JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass WHERE n.nspname = 'store' AND c.relkind NOT IN ('i', 'I', 'c')",
            "SELECT c.relname, a.*, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) AS def_value, dsc.description, dep.objid FROM pg_catalog.pg_attribute a INNER JOIN pg_catalog.pg_class c ON (a.attrelid = c.oid) LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON (a.attrelid = ad.adrelid AND a.attnum = ad.adnum) LEFT OUTER JOIN pg_catalog.pg_description dsc ON (c.oid = dsc.objoid AND a.attnum = dsc.objsubid) LEFT OUTER JOIN pg_depend dep ON dep.refobjid = a.attrelid AND dep.deptype = 'i' AND dep.refobjsubid = a.attnum AND dep.classid = dep.refclassid WHERE NOT a.attisdropped AND c.relkind NOT IN ('i', 'I', 'c') AND c.oid = 'store.products'::regclass ORDER BY a.attnum",
            "SELECT c.oid, c.*, t.relname AS tabrelname, rt.relnamespace AS refnamespace, d.description, CASE WHEN c.contype = 'c' THEN \"substring\"(pg_catalog.pg_get_constraintdef(c.oid), 7) ELSE NULL END consrc_copy FROM pg_catalog.pg_constraint c INNER JOIN pg_catalog.pg_class t ON t.oid = c.conrelid LEFT OUTER JOIN pg_catalog.pg_class rt ON rt.oid = c.confrelid LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_constraint'::regclass WHERE c.conrelid = 'store.products'::regclass ORDER BY c.oid",
            "SELECT i.*, i.indkey AS keys, c.relname, c.relnamespace, c.relam, c.reltablespace, tc.relname AS tabrelname, dsc.description, pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS pred_expr, pg_catalog.pg_get_expr(i.indexprs, i.indrelid, true) AS expr, pg_catalog.pg_relation_size(i.indexrelid) AS index_rel_size, pg_catalog.pg_stat_get_numscans(i.indexrelid) AS index_num_scans FROM pg_catalog.pg_index i INNER JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid INNER JOIN pg_catalog.pg_class tc ON tc.oid = i.indrelid LEFT OUTER JOIN pg_catalog.pg_description dsc ON i.indexrelid = dsc.objoid WHERE i.indrelid = 'store.products'::regclass ORDER BY tabrelname, c.relname",
            "SELECT x.oid, x.*, p.relname AS tabrelname, pg_catalog.pg_get_triggerdef(x.oid) FROM pg_catalog.pg_trigger x JOIN pg_catalog.pg_class p ON p.oid = x.tgrelid WHERE NOT x.tgisinternal", "SELECT p.oid, p.*, pg_catalog.pg_get_expr(p.proargdefaults, 0) AS arg_defaults, d.description FROM pg_catalog.pg_proc p LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass WHERE p.pronamespace = 'store'::regnamespace ORDER BY p.proname", "SELECT pg_catalog.pg_get_functiondef('store.touch'::regproc)", "SELECT pg_catalog.pg_get_viewdef('store.cheap'::regclass, true)",
            "SELECT c.oid, c.relname, pg_catalog.pg_total_relation_size(c.oid) AS total_rel_size, pg_catalog.pg_relation_size(c.oid) AS rel_size FROM pg_class c WHERE c.relnamespace = 'store'::regnamespace", "SELECT a.oid, a.*, pd.description FROM pg_catalog.pg_roles a LEFT JOIN pg_catalog.pg_shdescription pd ON a.oid = pd.objoid ORDER BY a.rolname", "SELECT e.oid, cfg.tbls, n.nspname AS schema_name, e.* FROM pg_catalog.pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace LEFT JOIN (SELECT ARRAY_AGG(ns.nspname || '.' || cls.relname) tbls, oid_ext FROM (SELECT unnest(e1.extconfig) oid, e1.oid oid_ext FROM pg_catalog.pg_extension e1) c JOIN pg_catalog.pg_class cls ON cls.oid = c.oid JOIN pg_catalog.pg_namespace ns ON ns.oid = cls.relnamespace GROUP BY oid_ext) cfg ON cfg.oid_ext = e.oid ORDER BY e.oid",
            "SELECT * FROM information_schema.table_privileges WHERE table_schema = 'store' AND table_name = 'products'", "SELECT t.oid, t.*, pg_tablespace_location(t.oid) loc FROM pg_catalog.pg_tablespace t ORDER BY t.oid", "SELECT x.* FROM store.products x WHERE 1 = 1 ORDER BY x.id LIMIT 200", "SELECT x.* FROM store.by_category x", "SELECT count(*) FROM store.products", "SELECT relname, n_live_tup FROM pg_stat_user_tables", "SELECT tn.nspname, t.relname, sd.* FROM pg_catalog.pg_sequences sd JOIN pg_class t ON t.relname = sd.sequencename JOIN pg_namespace tn ON tn.oid = t.relnamespace", "SELECT last_value, is_called FROM store.ticket_number", "SELECT DISTINCT dep.deptype, dep.classid, dep.objid, cl.relkind, attr.attname, pg_get_expr(ad.adbin, ad.adrelid) adefval FROM pg_depend dep LEFT JOIN pg_class cl ON dep.objid = cl.oid LEFT JOIN pg_attribute attr ON dep.objid = attr.attrelid AND dep.objsubid = attr.attnum LEFT JOIN pg_attrdef ad ON ad.oid = dep.objid WHERE dep.refobjid = 'store.products'::regclass", "EXPLAIN (FORMAT XML) SELECT * FROM store.products", "SELECT pc.oid, pc.*, pg_catalog.pg_get_ruledef(pc.oid) FROM pg_catalog.pg_rewrite pc WHERE pc.ev_class = 'store.cheap'::regclass", "SELECT pol.polname, pg_get_expr(pol.polqual, pol.polrelid) FROM pg_policy pol", "SELECT * FROM pg_catalog.pg_foreign_data_wrapper", "SELECT e.* FROM pg_catalog.pg_enum e ORDER BY e.enumsortorder", "SELECT a.*, pg_get_expr(a.polwithcheck, a.polrelid) FROM pg_policy a", "SELECT acl.grantee, acl.privilege_type FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) acl WHERE c.oid = 'store.products'::regclass" })
            System.out.println(rows(sql));
    }
}
