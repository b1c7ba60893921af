//! No leak: unique values in protected columns of every type, every path of EVASIONS' lists M and P
//! on which a value can travel, and a search through every byte that the client received.

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use cordon_tests::{Stand, raw};
use serde_json::{Value, json};

/// A protected column: its type, its value as SQL, and the bytes that give it away in any format.
struct Planted {
    column: &'static str,
    of: &'static str,
    value: &'static str,
    needles: &'static [&'static [u8]],
}

const fn planted(
    column: &'static str,
    of: &'static str,
    value: &'static str,
    needles: &'static [&'static [u8]],
) -> Planted {
    Planted {
        column,
        of,
        value,
        needles,
    }
}

#[rustfmt::skip]
const PLANTED: &[Planted] = &[
    planted("c_text", "text", "'mrkText-qv7'", &[b"mrkText", b"MRKTEXT", b"txeTkrm", b"6d726b54657874", b"bXJrVGV4d"]),
    planted("c_varchar", "varchar(40)", "'mrkVarch-zk2'", &[b"mrkVarch"]),
    planted("c_char", "char(20)", "'mrkChar-wp9'", &[b"mrkChar"]),
    planted("c_name", "name", "'mrkName-jd5'", &[b"mrkName"]),
    planted("c_citext", "public.citext", "'mrkCit-tb4'", &[b"mrkCit"]),
    planted("c_xml", "xml", "'<m>mrkXml-bn6</m>'", &[b"mrkXml"]),
    planted("c_json", "json", r#"'{"a":"mrkJson-hy3","n":7361940285}'"#, &[b"mrkJson", b"7361940285"]),
    planted("c_jsonb", "jsonb", r#"'{"a":["mrkJsb-kc1"],"n":7361940286}'"#, &[b"mrkJsb", b"7361940286"]),
    planted("c_hstore", "public.hstore", "'k=>mrkHst-lf8'", &[b"mrkHst"]),
    planted("c_bytea", "bytea", "'mrkBytea'", &[b"6d726b4279746561", b"mrkBytea"]),
    planted("c_uuid", "uuid", "'5eed7e57-4eaf-4c0d-91a7-e5c0ffee1234'", &[b"5eed7e57", b"\x5e\xed\x7e\x57\x4e\xaf"]),
    planted("c_int2", "smallint", "23117", &[b"23117"]),
    planted("c_int4", "integer", "1837465029", &[b"1837465029", &1_837_465_029_i32.to_be_bytes()]),
    planted("c_int8", "bigint", "918273645546372819", &[b"918273645546372819", &918_273_645_546_372_819_i64.to_be_bytes()]),
    planted("c_numeric", "numeric(20, 4)", "90817263.5544", &[b"90817263", b"\x23\x79\x1c\x5f\x15\xa8"]),
    planted("c_float4", "real", "73519.28", &[b"73519.2", &73_519.28_f32.to_be_bytes()]),
    planted("c_float8", "double precision", "83519.28461", &[b"83519.2", &83_519.284_61_f64.to_be_bytes()]),
    planted("c_date", "date", "'1907-11-23'", &[b"1907-11-23", &(-33_642_i32).to_be_bytes()]),
    planted("c_stamp", "timestamp", "'1907-12-24 04:17:39.512'", &[b"04:17:39.512", b"1907-12-24"]),
    planted("c_stamptz", "timestamptz", "'1907-12-25 05:18:40.613+00'", &[b"05:18:40.613", b"1907-12-25"]),
    planted("c_time", "time", "'17:39:41.377'", &[b"17:39:41.377", &63_581_377_000_i64.to_be_bytes()]),
    planted("c_timetz", "timetz", "'18:39:41.378+00'", &[b"18:39:41.378", &67_181_378_000_i64.to_be_bytes()]),
    planted("c_interval", "interval", "'917 days 05:06:07.891'", &[b"917 days", b"05:06:07.891", &18_367_891_000_i64.to_be_bytes()]),
    planted("c_inet", "inet", "'203.0.113.77'", &[b"203.0.113.77", b"\xcb\x00\x71\x4d"]),
    planted("c_cidr", "cidr", "'198.51.100.64/26'", &[b"198.51.100.64", b"\xc6\x33\x64\x40"]),
    planted("c_mac", "macaddr", "'9c:4a:7b:e1:d2:33'", &[b"9c:4a:7b", b"\x9c\x4a\x7b\xe1\xd2\x33"]),
    planted("c_texts", "text[]", r#"'{mrkArr-gx1,"mrkArs gx2"}'"#, &[b"mrkArr", b"mrkArs"]),
    planted("c_ints", "integer[]", "'{1928374655,1029384756}'", &[b"1928374655", b"1029384756", &1_928_374_655_i32.to_be_bytes()]),
    planted("c_pair", "public.pair", "ROW('mrkPair-dm2', 1746352819)", &[b"mrkPair", b"1746352819", &1_746_352_819_i32.to_be_bytes()]),
    planted("c_pairs", "public.pair[]", "ARRAY[ROW('mrkPbir-dm3', 1746352818)]::public.pair[]", &[b"mrkPbir", b"1746352818", &1_746_352_818_i32.to_be_bytes()]),
    planted("c_range", "int4range", "'[1647382910,1647382999)'", &[b"1647382910", b"1647382999", &1_647_382_910_i32.to_be_bytes()]),
    planted("c_multi", "int4multirange", "'{[1547382910,1547382999)}'", &[b"1547382910", &1_547_382_910_i32.to_be_bytes()]),
    planted("c_enum", "public.mark", "'mrkEnum'", &[b"mrkEnum"]),
    planted("c_domain", "public.coded", "'mrkDom-pp0'", &[b"mrkDom"]),
    planted("c_bits", "varbit", "B'1011001110001111'", &[b"1011001110001111", b"\x00\x10\xb3\x8f"]),
    planted("c_point", "point", "'(48213.75,91827.5)'", &[b"48213.75", &48_213.75_f64.to_be_bytes()]),
    planted("c_tsv", "tsvector", "'mrktsv'", &[b"mrktsv"]),
    planted("c_money", "money", "6473.52", &[b"6,473.52", &647_352_i64.to_be_bytes()]),
    planted("c_oid", "oid", "3765432109", &[b"3765432109", &3_765_432_109_u32.to_be_bytes()]),
];

/// One table for each mask.
const MASKS: &[(&str, &str)] = &[
    ("vault", "redact"),
    ("vault_null", "null"),
    ("vault_partial", "partial"),
    ("vault_email", "email"),
    ("vault_last4", "last4"),
    ("vault_token", "token"),
    ("vault_digits", "digits keep 2"),
    ("vault_step", "bucket 1000"),
    ("vault_year", "bucket year"),
];

const TYPES: &str = "
CREATE EXTENSION citext;
CREATE EXTENSION hstore;
CREATE TYPE public.pair AS (word text, number integer);
CREATE TYPE public.mark AS ENUM ('plain', 'mrkEnum');
CREATE DOMAIN public.coded AS text;
";

const REST: &str = "
CREATE VIEW public.vault_view AS SELECT id, touched, COLUMNS FROM public.vault;
ALTER TABLE public.vault ADD UNIQUE (c_text), ADD CHECK (touched < 1000);
CREATE FUNCTION public.tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE NOTICE 'was %', OLD; PERFORM pg_notify('told', OLD.c_text); RETURN NEW; END $$;
CREATE TRIGGER tell BEFORE UPDATE ON public.vault FOR EACH ROW EXECUTE FUNCTION public.tell();
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO agent_rw;
ANALYZE;
";

/// What can be written around a column `@`. What shows a value masks it, the rest is refused.
#[rustfmt::skip]
const AROUND_A_COLUMN: &[&str] = &[
    "SELECT @ FROM public.vault",
    "SELECT @ AS harmless FROM public.vault_view",
    "SELECT @::text FROM public.vault",
    "SELECT concat('x', @), @ || '' FROM public.vault",
    "SELECT (SELECT @ FROM public.vault LIMIT 1)",
    "WITH w AS (SELECT @ AS x FROM public.vault) SELECT x FROM w",
    "SELECT 'a'::text UNION ALL SELECT @::text FROM public.vault",
    "SELECT @ FROM public.vault UNION ALL SELECT @ FROM public.vault",
    "SELECT array_agg(@), min(@::text), string_agg(@::text, ',') FROM public.vault",
    "SELECT to_jsonb(@), json_build_object('k', @) FROM public.vault",
    "SELECT @ FROM public.vault ORDER BY @",
    "SELECT DISTINCT @ FROM public.vault",
    "SELECT count(*) FROM public.vault GROUP BY @",
    "SELECT 1 / (CASE WHEN @ IS NULL THEN 1 ELSE 0 END) FROM public.vault",
    "SELECT (@::text)::date FROM public.vault",
    "SELECT @::text::integer FROM public.vault",
    "SELECT first_value(@) OVER () FROM public.vault",
    "SELECT v.@, w.@ FROM public.vault v CROSS JOIN LATERAL (SELECT v.@ FROM public.vault) w",
    "COPY public.vault (@) TO STDOUT",
    "COPY public.vault (@) TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE *)",
    "COPY public.vault (@) TO STDOUT (FORMAT binary)",
    "COPY (SELECT @ AS x, id FROM public.vault_view) TO STDOUT (FORMAT csv, DELIMITER '|', NULL 'n')",
    "EXPLAIN (ANALYZE, VERBOSE) SELECT @ FROM public.vault WHERE @ IS NOT NULL",
    "UPDATE public.vault SET touched = touched + 1 WHERE id = 1 RETURNING @",
    "SELECT most_common_vals::text, histogram_bounds::text FROM pg_stats WHERE attname = '@'",
];

/// Paths of their own.
#[rustfmt::skip]
const PATHS: &[&[&str]] = &[
    &["SELECT * FROM public.vault"],
    &["TABLE public.vault"],
    &["SELECT * FROM public.vault_view"],
    &["SELECT v FROM public.vault v"],
    &["SELECT (v).* FROM public.vault v"],
    &["SELECT ROW(v.*), v::text FROM public.vault v"],
    &["SELECT row_to_json(v), to_jsonb(v), json_agg(v) FROM public.vault v GROUP BY v"],
    &["SELECT e.* FROM public.vault v, jsonb_each_text(to_jsonb(v)) e"],
    &["SELECT hstore(v) FROM public.vault v"],
    &["BEGIN", "DECLARE k SCROLL CURSOR FOR SELECT * FROM public.vault", "FETCH ALL FROM k", "FETCH FIRST FROM k", "MOVE FIRST FROM k", "FETCH 1 FROM k", "COMMIT"],
    &["BEGIN", "DECLARE k BINARY CURSOR FOR SELECT * FROM public.vault", "FETCH ALL FROM k", "COMMIT"],
    &["BEGIN", "DECLARE k CURSOR WITH HOLD FOR SELECT * FROM public.vault", "COMMIT", "FETCH ALL FROM k", "CLOSE ALL"],
    &["PREPARE q AS SELECT * FROM public.vault", "EXECUTE q", "SELECT 1", "EXECUTE q", "DEALLOCATE q"],
    &["SELECT 1; SELECT * FROM public.vault; SELECT c_text FROM public.vault"],
    &["COPY public.vault TO STDOUT"],
    &["COPY public.vault TO STDOUT (FORMAT csv)"],
    &["COPY public.vault TO STDOUT (FORMAT binary)"],
    &["COPY (TABLE public.vault_view) TO STDOUT (FORMAT binary)"],
    &["LISTEN told", "UPDATE public.vault SET touched = touched + 1 WHERE id = 1", "SELECT 1", "UNLISTEN told"],
    &["UPDATE public.vault SET touched = touched + 1 WHERE id = 1 RETURNING *"],
    &["UPDATE public.vault SET touched = 5000 WHERE id = 1"],
    &["UPDATE public.vault SET id = NULL WHERE id = 1"],
    &["INSERT INTO public.vault (id, c_text) VALUES (1, 'mrkOther')"],
    &["INSERT INTO public.vault (id, touched) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET touched = 1 RETURNING *"],
    &["WITH u AS (UPDATE public.vault SET touched = 1 WHERE id = 1 RETURNING *) SELECT * FROM u"],
    &["MERGE INTO public.vault v USING (VALUES (1)) n (i) ON v.id = n.i WHEN MATCHED THEN UPDATE SET touched = 1"],
    &["CREATE TEMP TABLE stolen AS SELECT * FROM public.vault", "SELECT * FROM stolen", "DROP TABLE stolen"],
    &["SELECT * INTO TEMP stolen FROM public.vault", "SELECT * FROM stolen", "DROP TABLE stolen"],
    &["SELECT * FROM pg_stats WHERE tablename = 'vault'"],
    &["SELECT * FROM pg_statistic"],
    &["SELECT query FROM pg_stat_activity"],
    &["SELECT query_to_xml('SELECT * FROM public.vault', true, false, '')"],
    &["SELECT table_to_xml('public.vault', true, false, '')"],
    &["SELECT set_config('my.x', c_text, false) FROM public.vault", "SHOW my.x"],
    &["SELECT pg_notify('told', c_text) FROM public.vault"],
    &["DO $$ BEGIN RAISE NOTICE '%', (SELECT v FROM public.vault v); END $$"],
    &["SELECT lo_from_bytea(0, c_bytea) FROM public.vault"],
    &["EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM public.vault"],
    &["SELECT * FROM public.vault NATURAL JOIN public.vault_view"],
    &["SELECT x.* FROM public.vault v, LATERAL (SELECT v.*) x"],
    &["SELECT * FROM (VALUES (1)) n (i) LEFT JOIN public.vault ON true"],
    &["SELECT * FROM public.vault TABLESAMPLE SYSTEM (100)"],
    &["SELECT * FROM ONLY public.vault FOR UPDATE"],
];

fn policy() -> String {
    let mut policy = String::from(
        "version: 1\ngrants:\n  - name: agent-vault\n    why: Works beside a vault.\n    who: { issuer: test, assurance: oidc-verified, claims: { repository_id: \"123456\" } }\n    database: shop\n    role: { login: agent_rw }\n    allow:\n      - select: \"public.vault*\"\n      - insert: public.vault\n      - update: public.vault (id, touched)\n    mask:\n",
    );
    for (table, mask) in MASKS {
        policy += &format!("      - {{ column: \"public.{table}.c_*\", with: {mask} }}\n");
    }
    policy
}

fn plant(stand: &Stand) -> Result<()> {
    let columns: Vec<String> = PLANTED
        .iter()
        .map(|planted| format!("{} {}", planted.column, planted.of))
        .collect();
    let names: Vec<&str> = PLANTED.iter().map(|planted| planted.column).collect();
    let values: Vec<&str> = PLANTED.iter().map(|planted| planted.value).collect();
    let mut sql = TYPES.to_owned();
    for (table, _) in MASKS {
        sql += &format!(
            "CREATE TABLE public.{table} (id integer PRIMARY KEY, touched integer DEFAULT 0, {});\nINSERT INTO public.{table} VALUES (1, 0, {values}), (2, 0, {values});\n",
            columns.join(", "),
            values = values.join(", "),
        );
    }
    // Two rows, so that portals can stop between them; what is unique differs.
    sql += "UPDATE public.vault SET c_text = 'mrkText-qv8' WHERE id = 2;\n";
    sql += &REST.replace("COLUMNS", &names.join(", "));
    stand.cluster.admin(&sql)?;
    Ok(())
}

fn streams(stand: &Stand, paths: &[(String, Vec<String>)]) -> Result<Vec<(Value, Vec<u8>)>> {
    let list: Vec<Value> = paths
        .iter()
        .map(|(id, steps)| json!({ "id": id, "steps": steps }))
        .collect();
    let file = stand
        .daemon
        .scratch()
        .share("paths.json", serde_json::to_string(&list)?.as_bytes())?;
    let result = raw::run(&stand.job(), raw::STREAMS, &[&file.display().to_string()])?;
    result
        .as_array()
        .context("no streams")?
        .iter()
        .map(|stream| {
            let bytes = stream["bytes"].as_str().context("no bytes")?;
            Ok((stream.clone(), STANDARD.decode(bytes)?))
        })
        .collect()
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// The columns whose value stands in these bytes.
fn found(bytes: &[u8]) -> Vec<&'static str> {
    PLANTED
        .iter()
        .filter(|planted| planted.needles.iter().any(|needle| contains(bytes, needle)))
        .map(|planted| planted.column)
        .collect()
}

fn all_paths() -> Vec<(String, Vec<String>)> {
    let own = PATHS.iter().map(|steps| {
        let steps: Vec<String> = steps.iter().map(|step| (*step).to_owned()).collect();
        (steps.join("; "), steps)
    });
    let around = AROUND_A_COLUMN.iter().flat_map(|text| {
        PLANTED.iter().map(move |planted| {
            let sql = text.replace('@', planted.column);
            (sql.clone(), vec![sql])
        })
    });
    let by_mask = MASKS.iter().flat_map(|(table, _)| {
        [
            format!("SELECT * FROM public.{table}"),
            format!("COPY public.{table} TO STDOUT"),
            format!("COPY public.{table} TO STDOUT (FORMAT csv)"),
            format!("COPY public.{table} TO STDOUT (FORMAT binary)"),
        ]
        .map(|sql| (sql.clone(), vec![sql]))
    });
    own.chain(around).chain(by_mask).collect()
}

#[test]
fn no_byte_that_a_client_receives_gives_a_protected_value_away() -> Result<()> {
    let stand = Stand::with_policy(&policy())?;
    plant(&stand)?;
    let streams = streams(&stand, &all_paths())?;
    let (mut total, mut shown, mut refused) = (0, 0, 0);
    let mut leaks = Vec::new();
    for (stream, bytes) in &streams {
        total += bytes.len();
        let codes = stream["codes"].as_array().context("no codes")?;
        refused += usize::from(codes.iter().any(|code| code == "42501" || code == "0A000"));
        shown += usize::from(stream["rows"].as_u64().unwrap_or_default() > 0);
        let columns = found(bytes);
        if !columns.is_empty() {
            leaks.push(format!(
                "{columns:?} in {} {} turn {}",
                stream["id"], stream["way"], stream["turn"]
            ));
        }
        ensure!(stream["lost"] == false, "the connection was lost: {stream}");
    }
    println!(
        "{} byte streams searched ({total} bytes; {shown} with rows, {refused} refused) for {} values of {} types",
        streams.len(),
        PLANTED
            .iter()
            .map(|planted| planted.needles.len())
            .sum::<usize>(),
        PLANTED.len(),
    );
    ensure!(
        leaks.is_empty(),
        "{} leaks:\n{}",
        leaks.len(),
        leaks.join("\n")
    );
    // Neither is everything refused: plain columns come, masked.
    for planted in PLANTED {
        for way in ["simple", "extended-binary", "prepared-text"] {
            let sql = format!("SELECT {} FROM public.vault", planted.column);
            let came = streams.iter().any(|(stream, _)| {
                stream["id"] == sql.as_str() && stream["way"] == way && stream["rows"] == 2
            });
            ensure!(came, "{sql} did not come as {way}");
        }
    }
    for sql in [
        "COPY public.vault TO STDOUT",
        "COPY public.vault TO STDOUT (FORMAT binary)",
    ] {
        // A portal that a COPY has used up cannot be executed again.
        let came = |way| {
            streams.iter().any(|(stream, _)| {
                stream["id"] == sql && stream["way"] == way && stream["codes"] == json!([])
            })
        };
        for way in ["simple", "extended-text", "extended-binary"] {
            let ends = || {
                let same = streams
                    .iter()
                    .filter(|(stream, _)| stream["id"] == sql && stream["way"] == way);
                same.map(|(stream, _)| stream["codes"].to_string()).collect::<Vec<_>>()
            };
            ensure!(came(way), "{sql} did not come as {way}: {:?}", ends());
        }
    }
    Ok(())
}

/// The search finds what it looks for where nothing is masked.
#[test]
fn the_same_search_finds_every_value_where_nothing_hides_it() -> Result<()> {
    let stand = Stand::with_policy(cordon_tests::policies::ALLOW_ALL)?;
    plant(&stand)?;
    let paths: Vec<(String, Vec<String>)> = PLANTED
        .iter()
        .map(|planted| format!("SELECT {} FROM public.vault", planted.column))
        .map(|sql| (sql.clone(), vec![sql]))
        .collect();
    let streams = streams(&stand, &paths)?;
    for planted in PLANTED {
        let sql = format!("SELECT {} FROM public.vault", planted.column);
        for way in ["simple", "extended-text", "prepared-text"] {
            let seen = streams.iter().any(|(stream, bytes)| {
                stream["id"] == sql.as_str()
                    && stream["way"] == way
                    && contains(bytes, planted.needles.first().copied().unwrap_or_default())
            });
            ensure!(seen, "{sql} does not show its value as {way}");
        }
        let binary = streams.iter().any(|(stream, bytes)| {
            stream["id"] == sql.as_str()
                && stream["way"] == "prepared-binary"
                && planted.needles.iter().any(|needle| contains(bytes, needle))
        });
        // Two bytes prove nothing, and of two times only the text is searched for.
        let untold = ["c_int2", "c_stamp", "c_stamptz"].contains(&planted.column);
        ensure!(binary || untold, "{sql} does not show its value in binary");
    }
    Ok(())
}
