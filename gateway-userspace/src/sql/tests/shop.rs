//! A shop's catalog, built by hand, and a short way to write what a statement does.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::sql::{
    Access, Catalog, Column, ColumnUse, ForeignKey, Function, FunctionClass, FunctionUse,
    Namespace, NotUnderstood, Operator, Relation, RelationUse, RewriteRule, RowPolicy, Runs,
    Statement, Trigger, TypeInfo, WriteCode, analyze, run_on_big_stack, split,
};

const INT4: u32 = 23;
const TEXT: u32 = 25;
const VARCHAR: u32 = 1043;
/// A domain.
const CODE: u32 = 90_000;
/// A base type with code of its own.
const SHAPE: u32 = 90_001;

fn relation(catalog: &mut Catalog, schema: &str, name: &str, kind: u8, columns: &[(&str, u32)]) {
    let oid = 16_384
        + u32::try_from(
            catalog
                .relations
                .values()
                .map(std::collections::HashMap::len)
                .sum::<usize>(),
        )
        .expect("few")
            * 10;
    let relation = Relation {
        oid,
        kind,
        row_type: oid + 1,
        columns: columns
            .iter()
            .enumerate()
            .map(|(index, (name, type_oid))| Column {
                name: (*name).to_owned(),
                attnum: i16::try_from(index + 1).expect("few"),
                type_oid: *type_oid,
                ..Column::default()
            })
            .collect(),
        ..Relation::default()
    };
    catalog.type_info.insert(
        oid + 1,
        TypeInfo {
            schema: schema.to_owned(),
            name: name.to_owned(),
            kind: b'c',
            fields: columns
                .iter()
                .map(|(name, oid)| ((*name).to_owned(), *oid))
                .collect(),
            ..TypeInfo::default()
        },
    );
    catalog
        .types
        .entry(name.to_owned())
        .or_default()
        .push((schema.to_owned(), oid + 1));
    catalog
        .relations
        .entry(schema.to_owned())
        .or_default()
        .insert(name.to_owned(), relation);
}

/// Adds a view to `public`.
pub fn view(catalog: &mut Catalog, name: &str, columns: &[(&str, u32)], definition: &str) {
    relation(catalog, "public", name, b'v', columns);
    find(catalog, name).definition = Some(definition.to_owned());
}

fn find<'c>(catalog: &'c mut Catalog, name: &str) -> &'c mut Relation {
    catalog
        .relations
        .get_mut("public")
        .and_then(|all| all.get_mut(name))
        .expect("exists")
}

fn function(
    catalog: &mut Catalog,
    schema: &str,
    name: &str,
    args: usize,
    volatility: u8,
    returns: u32,
) -> u32 {
    let oid = 1_000
        + u32::try_from(catalog.functions.values().map(Vec::len).sum::<usize>()).expect("few");
    catalog
        .functions
        .entry(name.to_owned())
        .or_default()
        .push(Function {
            schema: schema.to_owned(),
            oid,
            args,
            volatility,
            kind: b'f',
            return_type: returns,
            compiled: schema == "pg_catalog",
            arg_types: Vec::new(),
            ..Function::default()
        });
    oid
}

/// The catalog: customers with protected columns, orders without, and things that get at them.
pub fn catalog() -> Catalog {
    let mut catalog = Catalog::empty();
    catalog.search_path = vec!["pg_catalog".to_owned(), "public".to_owned()];
    for (name, oid, element) in [
        ("int4", INT4, 0),
        ("int8", 20, 0),
        ("text", TEXT, 0),
        ("void", crate::sql::VOID, 0),
        ("varchar", VARCHAR, 0),
        ("bool", 16, 0),
        ("numeric", 1700, 0),
        ("date", 1082, 0),
        ("json", 114, 0),
        ("jsonb", 3802, 0),
        ("bytea", 17, 0),
        ("name", 19, 0),
        ("oid", 26, 0),
        ("interval", 1186, 0),
        ("timestamp", 1114, 0),
        ("timestamptz", 1184, 0),
        ("regclass", 2205, 0),
        ("record", 2249, 0),
        ("_int4", 1007, INT4),
        ("_text", 1009, TEXT),
    ] {
        catalog.builtin_types.insert(name.to_owned(), oid);
        catalog.type_info.insert(
            oid,
            TypeInfo {
                schema: "pg_catalog".to_owned(),
                name: name.to_owned(),
                kind: b'b',
                element,
                ..TypeInfo::default()
            },
        );
    }
    relation(
        &mut catalog,
        "public",
        "people",
        b'r',
        &[("ssn", TEXT), ("shown", TEXT)],
    );
    let shown = find(&mut catalog, "people")
        .columns
        .get_mut(1)
        .expect("exists");
    shown.generated = true;
    shown.generated_from = vec![1];
    let customers = [
        ("id", INT4),
        ("email", TEXT),
        ("ssn", VARCHAR),
        ("country", TEXT),
    ];
    relation(&mut catalog, "public", "customers", b'r', &customers);
    relation(
        &mut catalog,
        "public",
        "orders",
        b'r',
        &[
            ("id", INT4),
            ("customer_id", INT4),
            ("status", TEXT),
            ("note", TEXT),
        ],
    );
    relation(
        &mut catalog,
        "public",
        "order_items",
        b'r',
        &[("order_id", INT4), ("sku", TEXT), ("tags", 1009)],
    );
    relation(&mut catalog, "public", "customers_2024", b'r', &customers);
    find(&mut catalog, "customers")
        .children
        .push(("public".to_owned(), "customers_2024".to_owned()));
    relation(&mut catalog, "public", "audited", b'r', &[("id", INT4)]);
    relation(&mut catalog, "public", "ruled", b'r', &[("id", INT4)]);
    find(&mut catalog, "ruled").has_rules = true;
    view(
        &mut catalog,
        "mailing",
        &[("id", INT4), ("mail", TEXT)],
        "SELECT customers.id, customers.email AS mail FROM customers",
    );
    let mailing = find(&mut catalog, "mailing");
    mailing.has_rules = true;
    mailing.rules = [
        (b'3', true, "CREATE RULE a AS ON INSERT TO public.mailing DO INSTEAD ( INSERT INTO customers (id, email) VALUES (new.id, lower(new.mail)); INSERT INTO audited (id) VALUES (new.id););"),
        (b'2', false, "CREATE RULE b AS ON UPDATE TO public.mailing WHERE (old.mail <> new.mail) DO UPDATE orders SET note = new.mail WHERE (orders.customer_id = old.id);"),
        (b'4', true, "CREATE RULE c AS ON DELETE TO public.mailing DO INSTEAD UPDATE orders SET note = NULL;"),
    ]
    .map(|(event, instead, definition)| RewriteRule {
        event,
        instead,
        definition: definition.to_owned(),
        ..RewriteRule::default()
    })
    .into();
    relation(
        &mut catalog,
        "private",
        "orders",
        b'r',
        &[("id", INT4), ("secret", TEXT)],
    );
    relation(
        &mut catalog,
        "pg_catalog",
        "pg_class",
        b'r',
        &[("oid", 26), ("relname", 19)],
    );
    relation(
        &mut catalog,
        "pg_catalog",
        "pg_settings",
        b'v',
        &[("name", TEXT), ("setting", TEXT)],
    );
    view(
        &mut catalog,
        "contacts",
        &[("id", INT4), ("address", TEXT), ("shout", TEXT)],
        "SELECT customers.id, customers.email AS address, upper(customers.email) AS shout FROM customers WHERE customers.country = 'de'::text",
    );
    view(
        &mut catalog,
        "contacts_again",
        &[("id", INT4), ("mail", TEXT)],
        "SELECT contacts.id, contacts.address AS mail FROM contacts",
    );
    for (name, args, volatility, returns) in [
        ("lower", 1, b'i', TEXT),
        ("upper", 1, b'i', TEXT),
        ("count", 0, b'i', 20),
        ("count", 1, b'i', 20),
        ("max", 1, b'i', TEXT),
        ("min", 1, b'i', TEXT),
        ("sum", 1, b'i', 20),
        ("now", 0, b's', 1184),
        ("row_to_json", 1, b's', 114),
        ("to_jsonb", 1, b's', 3802),
        ("array_agg", 1, b'i', 2277),
        ("string_agg", 2, b'i', TEXT),
        ("query_to_xml", 4, b'v', 142),
        ("pg_read_file", 1, b'v', TEXT),
        ("set_config", 3, b'v', TEXT),
        ("nextval", 1, b'v', 20),
        ("pg_sleep", 1, b'v', 2278),
        ("generate_series", 2, b'i', INT4),
        ("generate_series", 2, b'i', 20),
        ("unnest", 1, b'i', 2283),
        ("row_number", 0, b'i', 20),
        ("rank", 0, b'i', 20),
        ("encode", 2, b'i', TEXT),
        ("reverse", 1, b'i', TEXT),
        ("translate", 3, b'i', TEXT),
        ("substring", 3, b'i', TEXT),
        ("length", 1, b'i', INT4),
        ("current_setting", 1, b's', TEXT),
        ("pg_table_is_visible", 1, b's', 16),
        ("random", 0, b'v', 701),
        ("json_each", 1, b'i', 2249),
        ("bernoulli", 1, b'v', 3310),
        ("percentile_disc", 2, b'i', 2283),
        ("string_to_array", 2, b'i', 1009),
        ("int4", 1, b'i', INT4),
        ("concat", 1, b's', TEXT),
        ("abs", 1, b'i', INT4),
    ] {
        function(&mut catalog, "pg_catalog", name, args, volatility, returns);
    }
    let unnest = catalog
        .functions
        .get_mut("unnest")
        .and_then(|list| list.first_mut())
        .expect("exists");
    unnest.returns_set = true;
    let each = catalog
        .functions
        .get_mut("json_each")
        .and_then(|list| list.first_mut())
        .expect("exists");
    each.out_columns = vec!["key".to_owned(), "value".to_owned()];
    each.out_types = vec![TEXT, 114];
    function(&mut catalog, "public", "order_total", 1, b's', 1700);
    function(&mut catalog, "public", "peek", 1, b'v', TEXT);
    function(&mut catalog, "hidden", "lower", 1, b'v', TEXT);
    let audit = function(&mut catalog, "public", "write_audit", 0, b'v', 2279);
    let audited = find(&mut catalog, "audited");
    audited.has_triggers = true;
    audited.triggers.push(Trigger {
        kind: 4 | 8,
        function_oid: audit,
    });
    let evil = function(&mut catalog, "public", "evil_eq", 2, b'v', 16);
    catalog
        .operators
        .entry("===".to_owned())
        .or_default()
        .push(Operator {
            schema: "public".to_owned(),
            function_oid: evil,
        });
    catalog.foreign_keys.push(ForeignKey {
        from: ("public".to_owned(), "order_items".to_owned()),
        to: ("public".to_owned(), "orders".to_owned()),
        to_columns: vec![1],
        on_delete: b'c',
        on_update: b'a',
    });
    // Rows of tenants: the policy asks who is a member, and who is a member is secured itself.
    let tenant = function(&mut catalog, "public", "tenant", 0, b's', INT4);
    let checked = function(&mut catalog, "public", "is_code", 1, b'i', 16);
    relation(
        &mut catalog,
        "public",
        "tickets",
        b'r',
        &[("id", INT4), ("tenant_id", INT4), ("code", CODE)],
    );
    relation(
        &mut catalog,
        "public",
        "members",
        b'r',
        &[("login", TEXT), ("tenant_id", INT4)],
    );
    relation(&mut catalog, "public", "tickets_id_seq", b'S', &[]);
    catalog
        .types
        .insert("code".to_owned(), vec![("public".to_owned(), CODE)]);
    catalog
        .types
        .insert("shape".to_owned(), vec![("public".to_owned(), SHAPE)]);
    catalog.type_info.insert(
        SHAPE,
        TypeInfo {
            schema: "public".to_owned(),
            name: "shape".to_owned(),
            kind: b'b',
            ..TypeInfo::default()
        },
    );
    catalog.type_info.insert(
        CODE,
        TypeInfo {
            schema: "public".to_owned(),
            name: "code".to_owned(),
            kind: b'd',
            base: TEXT,
            code: vec![Runs::Function(checked)],
            ..TypeInfo::default()
        },
    );
    let policy = |command, query: &str| RowPolicy {
        command,
        query: query.to_owned(),
        ..RowPolicy::default()
    };
    let tickets = find(&mut catalog, "tickets");
    tickets.policies = vec![
        policy(
            b'*',
            "SELECT FROM ONLY public.tickets WHERE (EXISTS ( SELECT FROM members m WHERE ((m.tenant_id = tickets.tenant_id) AND (m.login = CURRENT_USER))))",
        ),
        policy(
            b'd',
            "SELECT FROM ONLY public.tickets WHERE (id IN ( SELECT orders.id FROM orders))",
        ),
    ];
    tickets.code = vec![WriteCode {
        column: 1,
        runs: Runs::Sequence("public".to_owned(), "tickets_id_seq".to_owned()),
    }];
    let members = find(&mut catalog, "members");
    members.policies = vec![policy(
        b'r',
        "SELECT FROM ONLY public.members WHERE (tenant_id = tenant())",
    )];
    members.code = vec![WriteCode {
        column: 0,
        runs: Runs::Function(tenant),
    }];
    catalog
}

/// A catalog in which `public.lower(varchar)` shadows the built-in one.
pub fn shadowed() -> Catalog {
    let mut catalog = catalog();
    function(&mut catalog, "public", "lower", 1, b'v', TEXT);
    catalog
}

pub fn namespace() -> Namespace {
    Namespace {
        search_path: vec!["pg_catalog".to_owned(), "public".to_owned()],
        user: "agent".to_owned(),
        database: "shop".to_owned(),
        roles: Vec::new(),
    }
}

/// Analyses one statement.
pub fn one_in(
    catalog: &Catalog,
    namespace: &Namespace,
    sql: &str,
) -> Result<Statement, NotUnderstood> {
    run_on_big_stack(|| {
        let parsed = split(sql)?;
        match parsed.as_slice() {
            [parsed] => analyze(parsed, catalog, namespace),
            other => Err(NotUnderstood::Unsupported(format!(
                "{} statements",
                other.len()
            ))),
        }
    })
    .expect("no panic")
}

pub fn one(sql: &str) -> Result<Statement, NotUnderstood> {
    one_in(&catalog(), &namespace(), sql)
}

/// What a statement does, in short: `orders:SIU(id=FO) ... | fn:public.peek! | out:id<orders.id`.
pub fn short(sql: &str) -> String {
    shorten(&one(sql))
}

pub fn shorten(result: &Result<Statement, NotUnderstood>) -> String {
    let statement = match result {
        Ok(statement) => statement,
        Err(NotUnderstood::Syntax { message, .. }) => return format!("syntax: {message}"),
        Err(NotUnderstood::Limit(why)) => return format!("limit: {why}"),
        Err(NotUnderstood::Unsupported(why)) => return format!("unsupported: {why}"),
        Err(NotUnderstood::UnknownName {
            sqlstate, message, ..
        }) => return format!("{sqlstate}: {message}"),
    };
    let mut text = String::new();
    relations(&mut text, &statement.relations, "");
    functions(&mut text, &statement.functions, "");
    relations(&mut text, &statement.implied.relations, "implied ");
    functions(&mut text, &statement.implied.functions, "implied ");
    for effect in &statement.ddl {
        let _ = write!(
            text,
            "ddl:{:?} {} {}.{}{}{}{} ",
            effect.action,
            effect.object_kind,
            effect.schema,
            effect.name,
            effect
                .on
                .as_ref()
                .map(|on| format!(" on {}", on.name))
                .unwrap_or_default(),
            if effect.cascade { " cascade" } else { "" },
            if effect.temporary { " temp" } else { "" },
        );
    }
    if statement.unlimited {
        text.push_str("unlimited ");
    }
    if let Some(name) = &statement.executes {
        let _ = write!(text, "executes {name} ");
    }
    if let Some(output) = &statement.output {
        text.push_str("->");
        for column in output {
            let origins: Vec<String> = column
                .origins
                .iter()
                .map(|origin| {
                    format!(
                        "{}{}.{}",
                        schema(&origin.relation.schema),
                        origin.relation.name,
                        origin.column
                    )
                })
                .collect();
            let how = if column.direct {
                "="
            } else if column.merged {
                "~"
            } else {
                "<"
            };
            let _ = write!(text, " {}{how}{}", column.name, origins.join("+"));
        }
    }
    text.trim_end().to_owned()
}

fn schema(name: &str) -> String {
    if name == "public" {
        String::new()
    } else {
        format!("{name}.")
    }
}

fn relations(text: &mut String, relations: &[RelationUse], prefix: &str) {
    let mut relations: Vec<_> = relations.iter().collect();
    relations.sort_by(|a, b| a.relation.cmp(&b.relation));
    for used in relations {
        let access: String = used
            .access
            .iter()
            .map(|access| match access {
                Access::Select => 'S',
                Access::Insert => 'I',
                Access::Update => 'U',
                Access::Delete => 'D',
                Access::Truncate => 'T',
                Access::Lock => 'L',
            })
            .collect();
        let _ = write!(
            text,
            "{prefix}{}{}:{access}",
            schema(&used.relation.schema),
            used.relation.name
        );
        let columns: Vec<String> = used
            .columns
            .iter()
            .map(|(column, uses)| format!("{}={}", column.column, letters(uses)))
            .collect();
        let _ = write!(text, "({}) ", columns.join(","));
    }
}

fn functions(text: &mut String, functions: &[FunctionUse], prefix: &str) {
    for function in functions {
        let mark = match function.class {
            FunctionClass::Pure => continue,
            FunctionClass::Catalog => "",
            FunctionClass::Other => "!",
        };
        let _ = write!(
            text,
            "{prefix}fn:{}.{}{mark} ",
            function.schema, function.name
        );
    }
}

fn letters(uses: &BTreeSet<ColumnUse>) -> String {
    let letters: BTreeSet<char> = uses
        .iter()
        .map(|how| match how {
            ColumnUse::Output => 'o',
            ColumnUse::Derived => 'd',
            ColumnUse::Filter | ColumnUse::Equality => 'f',
            ColumnUse::Source => 's',
            ColumnUse::Inserted | ColumnUse::Updated => 'w',
            ColumnUse::Named => 'n',
        })
        .collect();
    "odfswn".chars().filter(|c| letters.contains(c)).collect()
}
