//! A catalog kept in a file, so that statements can be understood without their database.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::catalog::{Catalog, Namespace};
use super::snapshot::{CATALOG_QUERIES, NAMESPACE_SQL, Row, SnapshotError, query_name};

const FORMAT: &str = "cordon-catalog";
const VERSION: u32 = 1;

/// What the queries of a catalog gave, and where and when. Holds names and definitions of a
/// database, never the values of its tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedCatalog {
    format: String,
    version: u32,
    /// Digest of the queries: rows of other queries would be misread.
    queries: String,
    /// The database, as the policy or the server names it.
    pub database: String,
    /// The server's version.
    pub server: String,
    /// When it was read, RFC 3339.
    pub read: String,
    namespace: Row,
    rows: BTreeMap<String, Vec<Row>>,
}

/// Why a saved catalog cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SavedCatalogError {
    /// Something else.
    #[error("this is no catalog saved by `cordon policy catalog --save`: {0}")]
    Other(String),
    /// Saved by a version that asks for other things.
    #[error(
        "it was saved by another version of Cordon, which reads catalogs differently; save it again with `cordon policy catalog --save`"
    )]
    Version,
    /// Rows that make no sense.
    #[error(transparent)]
    Rows(#[from] SnapshotError),
}

impl SavedCatalog {
    /// Keeps the row of [`NAMESPACE_SQL`] and the rows of each of [`CATALOG_QUERIES`]. Rows are
    /// put in order, so that the same catalog gives the same file.
    pub fn new(
        database: String,
        server: String,
        read: String,
        namespace: Row,
        results: Vec<Vec<Row>>,
    ) -> Result<Self, SavedCatalogError> {
        let rows = results
            .into_iter()
            .enumerate()
            .map(|(index, mut rows)| {
                rows.sort();
                (query_name(index).to_owned(), rows)
            })
            .collect();
        let saved = Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            queries: queries(),
            database,
            server,
            read,
            namespace,
            rows,
        };
        saved.open()?;
        Ok(saved)
    }

    /// Reads the text of a file.
    pub fn parse(text: &str) -> Result<Self, SavedCatalogError> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
            queries: String,
        }
        let other = |error: serde_json::Error| SavedCatalogError::Other(error.to_string());
        let head: Head = serde_json::from_str(text).map_err(other)?;
        if head.format != FORMAT {
            return Err(SavedCatalogError::Other(format!(
                "its format is {:?}",
                head.format
            )));
        }
        if head.version != VERSION || head.queries != queries() {
            return Err(SavedCatalogError::Version);
        }
        serde_json::from_str(text).map_err(other)
    }

    /// The text of its file: JSON, a row a line.
    pub fn to_text(&self) -> Result<String, SavedCatalogError> {
        let Self {
            format,
            version,
            queries,
            database,
            server,
            read,
            namespace,
            rows,
        } = self;
        let mut text = String::from("{\n");
        for (key, value) in [
            ("format", json(format)?),
            ("version", json(version)?),
            ("queries", json(queries)?),
            ("database", json(database)?),
            ("server", json(server)?),
            ("read", json(read)?),
            ("namespace", json(namespace)?),
        ] {
            text.extend(["\"", key, "\": ", &value, ",\n"]);
        }
        let mut lists = Vec::new();
        for (name, rows) in rows {
            let rows: Vec<String> = rows.iter().map(json).collect::<Result<_, _>>()?;
            lists.push(format!("{}: [\n{}]", json(name)?, rows.join(",\n")));
        }
        Ok(text + "\"rows\": {\n" + &lists.join(",\n") + "}\n}\n")
    }

    /// The catalog, and what the connection that read it took names to mean.
    pub fn open(&self) -> Result<(Catalog, Namespace), SavedCatalogError> {
        let results: Vec<Vec<Row>> = (0..CATALOG_QUERIES.len())
            .map(|index| {
                let name = query_name(index);
                self.rows.get(name).cloned().ok_or_else(|| {
                    SavedCatalogError::Other(format!("the rows of `{name}` are missing"))
                })
            })
            .collect::<Result<_, _>>()?;
        Ok((
            Catalog::from_rows(&results)?,
            Namespace::from_row(&self.namespace)?,
        ))
    }
}

fn json<T: Serialize>(value: &T) -> Result<String, SavedCatalogError> {
    serde_json::to_string(value).map_err(|error| SavedCatalogError::Other(error.to_string()))
}

/// What tells apart the versions of the queries.
fn queries() -> String {
    let mut text = NAMESPACE_SQL.to_owned();
    for query in CATALOG_QUERIES {
        text.push('\0');
        text.push_str(query);
    }
    let digest = digest(&SHA256, text.as_bytes());
    let bytes = digest.as_ref().first_chunk::<8>().copied();
    format!("{:016x}", u64::from_be_bytes(bytes.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Row {
        cells.iter().map(|cell| Some((*cell).to_owned())).collect()
    }

    fn saved() -> SavedCatalog {
        let mut results = vec![Vec::new(); CATALOG_QUERIES.len()];
        results[0] = vec![row(&[r#"["pg_catalog","public"]"#])];
        results[7] = vec![
            row(&["25", "23", "9", "e", "true"]),
            row(&["23", "25", "8", "i", "true"]),
        ];
        let namespace = row(&[r#"["pg_catalog","public"]"#, "agent", "shop", "[10]"]);
        SavedCatalog::new(
            "shop".to_owned(),
            "15.1".to_owned(),
            "2026-01-02T03:04:05Z".to_owned(),
            namespace,
            results,
        )
        .expect("it opens")
    }

    #[test]
    fn what_is_saved_reads_back_the_same() {
        let saved = saved();
        let text = saved.to_text().expect("JSON");
        let again = SavedCatalog::parse(&text).expect("reads back");
        assert_eq!(again, saved);
        assert_eq!(again.to_text().expect("JSON"), text);
        let (catalog, namespace) = again.open().expect("opens");
        assert_eq!(catalog.search_path, ["pg_catalog", "public"]);
        assert_eq!(namespace.user, "agent");
        assert_eq!(catalog.casts[0].source, 23, "rows are in order");
    }

    #[test]
    fn rows_of_other_queries_are_refused() {
        let text = saved().to_text().expect("JSON");
        let other = text.replace(&queries(), "0123456789abcdef");
        assert_eq!(
            SavedCatalog::parse(&other).expect_err("refused"),
            SavedCatalogError::Version
        );
        let newer = text.replace("\"version\": 1", "\"version\": 2");
        assert_eq!(
            SavedCatalog::parse(&newer).expect_err("refused"),
            SavedCatalogError::Version
        );
        for wrong in ["", "{}", "[]", &text.replace(FORMAT, "something")] {
            assert!(matches!(
                SavedCatalog::parse(wrong),
                Err(SavedCatalogError::Other(_))
            ));
        }
        let cut = text.replace("\"casts\"", "\"cats\"");
        assert!(SavedCatalog::parse(&cut).expect("JSON").open().is_err());
    }
}
