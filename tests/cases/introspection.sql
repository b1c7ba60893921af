-- What clients ask of the system catalog, in the manner of psql, pg_dump, drivers and ORMs. All
-- of it must be understood, and none of it touches anything but system relations.
SELECT n.nspname AS "Schema", c.relname AS "Name",
    CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'p' THEN 'partitioned table' END AS "Type",
    pg_catalog.pg_get_userbyid(c.relowner) AS "Owner"
FROM pg_catalog.pg_class c
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
WHERE c.relkind IN ('r', 'p', '') AND n.nspname !~ '^pg_toast' AND pg_catalog.pg_table_is_visible(c.oid)
ORDER BY 1, 2;
SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname OPERATOR(pg_catalog.~) '^(orders)$' COLLATE pg_catalog.default
    AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 2, 3;
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
    (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d
        WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef),
    (SELECT c.collname FROM pg_catalog.pg_collation c, pg_catalog.pg_type t
        WHERE c.oid = a.attcollation AND t.oid = a.atttypid AND a.attcollation <> t.typcollation) AS attcollation,
    a.attnotnull, a.attidentity, a.attgenerated
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = '16384' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;
SELECT c.oid::pg_catalog.regclass, c.relkind, inhdetachpending, pg_catalog.pg_get_expr(c.relpartbound, c.oid)
FROM pg_catalog.pg_class c, pg_catalog.pg_inherits i
WHERE c.oid = i.inhrelid AND i.inhparent = '16384'
ORDER BY pg_catalog.pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT', c.oid::pg_catalog.regclass::pg_catalog.text;
SELECT pol.polname, pol.polpermissive,
    CASE WHEN pol.polroles = '{0}' THEN NULL ELSE pg_catalog.array_to_string(ARRAY(
        SELECT rolname FROM pg_catalog.pg_roles WHERE oid = ANY (pol.polroles) ORDER BY 1), ',') END
FROM pg_catalog.pg_policy pol WHERE pol.polrelid = '16384' ORDER BY 1;
SELECT r.rolname, r.rolsuper, ARRAY(SELECT b.rolname FROM pg_catalog.pg_auth_members m
    JOIN pg_catalog.pg_roles b ON (m.roleid = b.oid) WHERE m.member = r.oid) AS memberof
FROM pg_catalog.pg_roles r WHERE r.rolname !~ '^pg_' ORDER BY 1;
SELECT d.datname, pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate,
    pg_catalog.array_to_string(d.datacl, E'\n') AS "Access privileges",
    CASE WHEN pg_catalog.has_database_privilege(d.datname, 'CONNECT')
        THEN pg_catalog.pg_size_pretty(pg_catalog.pg_database_size(d.datname)) ELSE 'No Access' END
FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON d.dattablespace = t.oid ORDER BY 1;
SELECT n.nspname, p.proname, pg_catalog.pg_get_function_result(p.oid), pg_catalog.pg_get_function_arguments(p.oid),
    CASE p.prokind WHEN 'a' THEN 'agg' WHEN 'w' THEN 'window' WHEN 'p' THEN 'proc' ELSE 'func' END
FROM pg_catalog.pg_proc p LEFT JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE pg_catalog.pg_function_is_visible(p.oid) AND n.nspname <> 'information_schema' ORDER BY 1, 2, 4;
SELECT acl.grantee, acl.privilege_type FROM pg_catalog.pg_class c,
    LATERAL pg_catalog.aclexplode(COALESCE(c.relacl, pg_catalog.acldefault('r', c.relowner))) AS acl
WHERE c.oid = 'pg_catalog.pg_class'::pg_catalog.regclass;
SELECT s.nspname, pg_catalog.unnest(s.nspacl) FROM pg_catalog.pg_namespace s;
WITH RECURSIVE kinds (oid, elem, depth) AS (
    SELECT t.oid, t.typelem, 0 FROM pg_type t WHERE t.oid = ANY ($1::oid[])
    UNION ALL
    SELECT t.oid, t.typelem, k.depth + 1 FROM pg_type t, kinds k
        WHERE (k.elem IS NOT NULL AND t.oid = k.elem) OR (t.oid = ANY (ARRAY[k.oid]))
)
SELECT DISTINCT *, k.oid::regtype::text FROM kinds k ORDER BY depth DESC;
SELECT t.typname, t.oid, t.typarray, t.oid::regtype::text, t.typdelim FROM pg_type t
WHERE t.oid = to_regtype($1) ORDER BY t.oid;
SELECT e.enumlabel FROM pg_catalog.pg_enum e WHERE e.enumtypid = $1::regtype ORDER BY e.enumsortorder;
SELECT con.conname, array_agg(a.attname ORDER BY ord.n) AS columns, pg_get_constraintdef(con.oid, true)
FROM (SELECT c.oid, c.conname, c.conrelid, unnest(c.conkey) AS attnum, generate_subscripts(c.conkey, 1) AS n
    FROM pg_catalog.pg_constraint c WHERE c.contype = 'p') AS ord
    JOIN pg_catalog.pg_constraint con ON con.oid = ord.oid
    JOIN pg_catalog.pg_attribute a ON a.attnum = ord.attnum AND a.attrelid = ord.conrelid
GROUP BY con.oid, con.conname;
SELECT c.conname, ARRAY(SELECT attname FROM unnest(c.conkey) WITH ORDINALITY cols (colid, arridx)
    JOIN pg_attribute AS ca ON cols.colid = ca.attnum WHERE ca.attrelid = c.conrelid ORDER BY cols.arridx),
    c.contype, cl.reloptions
FROM pg_constraint AS c JOIN pg_class AS cl ON c.conrelid = cl.oid
WHERE cl.relname = $1 AND pg_catalog.pg_table_is_visible(cl.oid);
SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_name = $1;
SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog');
SELECT kc.column_name FROM information_schema.table_constraints tc
    JOIN information_schema.key_column_usage kc USING (constraint_schema, constraint_name) WHERE tc.table_name = 'x';
SELECT pg_catalog.version(), current_schema(), current_database(), pg_backend_pid(), pg_is_in_recovery();
SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new;
SELECT x.oid, x.extname, n.nspname, x.tableoid FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace;
SELECT classid, objid, refobjid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e';
SELECT pg_catalog.pg_get_viewdef('pg_catalog.pg_roles'::pg_catalog.oid), obj_description(1259, 'pg_class');
SELECT typname, typlen, typtype, typelem::regtype, 'a'::name, '1 2'::oidvector FROM pg_type WHERE typname LIKE 'int%';
SHOW transaction_isolation;
SHOW standard_conforming_strings;
SET extra_float_digits TO 3;
SET DATESTYLE = ISO;
