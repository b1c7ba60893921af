//! What there is in a database that privileges can be given on.

use serde::Deserialize;

use super::{AdminError, admin::AdminClient};

/// A relation or sequence.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Relation {
    pub schema: String,
    pub name: String,
    pub oid: u32,
    pub sequence: bool,
    /// Names of its columns, in order.
    pub columns: Vec<String>,
    /// Oids of the sequences that defaults of its columns take values from.
    pub defaults: Vec<u32>,
}

/// A function or procedure.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Routine {
    pub schema: String,
    pub name: String,
    pub oid: u32,
}

/// A schema.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Schema {
    pub name: String,
    pub oid: u32,
}

/// The objects of a database, but for the server's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Objects {
    pub relations: Vec<Relation>,
    pub routines: Vec<Routine>,
    pub schemas: Vec<Schema>,
}

/// One JSON document. Identity columns need no right to their sequence, so that only sequences of
/// `DEFAULT nextval(..)` are told.
const OBJECTS: &str = "WITH n AS (SELECT n.oid, n.nspname FROM pg_namespace AS n \
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'cordon') AND n.nspname !~ '^pg_(toast_)?temp_') \
SELECT json_build_object(\
'relations', coalesce((SELECT json_agg(json_build_object('schema', n.nspname, 'name', c.relname, 'oid', c.oid::int8, 'sequence', c.relkind = 'S', \
'columns', coalesce((SELECT json_agg(a.attname ORDER BY a.attnum) FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind <> 'S'), '[]'), \
'defaults', coalesce((SELECT json_agg(DISTINCT s.oid::int8) FROM pg_attrdef AS f \
JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass \
JOIN pg_class AS s ON s.oid = d.refobjid AND s.relkind = 'S' WHERE f.adrelid = c.oid), '[]')) ORDER BY n.nspname, c.relname) \
FROM pg_class AS c JOIN n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')), '[]'), \
'routines', coalesce((SELECT json_agg(json_build_object('schema', n.nspname, 'name', p.proname, 'oid', p.oid::int8) ORDER BY n.nspname, p.proname, p.oid) \
FROM pg_proc AS p JOIN n ON n.oid = p.pronamespace), '[]'), \
'schemas', coalesce((SELECT json_agg(json_build_object('name', n.nspname, 'oid', n.oid::int8) ORDER BY n.nspname) FROM n), '[]'))::text";

impl Objects {
    /// Reads them.
    pub(super) async fn read(client: &AdminClient) -> Result<Self, AdminError> {
        const DOING: &str = "reading what there is in the database";
        let row = client
            .query_one(OBJECTS, &[])
            .await
            .map_err(|error| AdminError::new(DOING, error))?;
        let text: &str = row
            .try_get(0)
            .map_err(|error| AdminError::new(DOING, error))?;
        serde_json::from_str(text).map_err(|error| AdminError::Refused {
            doing: DOING,
            code: String::new(),
            message: format!("the answer is not what was asked for: {error}"),
        })
    }
}
