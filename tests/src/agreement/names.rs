//! What names mean to the session under judgement: its namespace and catalog, read again when they
//! may have changed.

use std::collections::HashMap;

use anyhow::{Context, Result};
use cordon::sql::{CATALOG_QUERIES, Catalog, NAMESPACE_SQL, Namespace};

use super::wire::{Row, Wire};

/// The first oid of objects that are not the server's own.
pub const FIRST_USER_OID: u32 = 16_384;
/// Queries whose rows are mostly the server's own: place in [`CATALOG_QUERIES`], number of columns,
/// and which one is the oid.
const LARGE: [(usize, usize, usize); 3] = [(1, 11, 3), (4, 15, 3), (6, 8, 3)];

/// A relation as the server names it.
#[derive(Clone, Debug)]
pub struct Named {
    /// `schema.name`.
    pub name: String,
    /// `pg_class.relkind`.
    pub kind: u8,
}

/// Names of one session.
#[derive(Debug)]
pub struct Names {
    /// The catalog.
    pub catalog: Catalog,
    /// The namespace.
    pub namespace: Namespace,
    /// Relations by oid.
    pub relations: HashMap<u32, Named>,
    /// The catalog may have changed.
    pub catalog_stale: bool,
    /// The namespace may have changed.
    pub namespace_stale: bool,
    /// Rows of the server's own objects, by place; they do not change.
    system: HashMap<usize, Vec<Row>>,
    /// How often the catalog was read.
    pub reads: u64,
}

impl Names {
    /// Reads everything for the first time.
    pub fn read(wire: &mut Wire) -> Result<Self> {
        let mut system = HashMap::new();
        for (place, columns, oid) in LARGE {
            let sql = filtered(place, columns, oid, "<")?;
            system.insert(place, wire.rows(&sql)?);
        }
        let mut names = Self {
            catalog: Catalog::empty(),
            namespace: namespace(wire)?,
            relations: HashMap::new(),
            catalog_stale: true,
            namespace_stale: false,
            system,
            reads: 0,
        };
        names.refresh(wire)?;
        Ok(names)
    }

    /// Reads again what may have changed; `true` if anything was read.
    pub fn refresh(&mut self, wire: &mut Wire) -> Result<bool> {
        let stale = self.catalog_stale || self.namespace_stale;
        if self.namespace_stale || self.catalog_stale {
            self.namespace = namespace(wire)?;
            self.namespace_stale = false;
        }
        if self.catalog_stale {
            self.read_catalog(wire)?;
            self.catalog_stale = false;
        }
        Ok(stale)
    }

    fn read_catalog(&mut self, wire: &mut Wire) -> Result<()> {
        self.reads += 1;
        let mut results = Vec::with_capacity(CATALOG_QUERIES.len());
        for (place, sql) in CATALOG_QUERIES.iter().enumerate() {
            let large = LARGE.iter().find(|(large, ..)| *large == place);
            let rows = match large {
                None => wire.rows(sql)?,
                Some((_, columns, oid)) => {
                    let mut rows = self.system.get(&place).cloned().unwrap_or_default();
                    rows.extend(wire.rows(&filtered(place, *columns, *oid, ">=")?)?);
                    rows
                }
            };
            results.push(rows);
        }
        self.relations.clear();
        for row in results.get(1).into_iter().flatten() {
            let cell = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
            let named = Named {
                name: format!("{}.{}", cell(0), cell(1)),
                kind: cell(3).bytes().next().unwrap_or_default(),
            };
            self.relations
                .insert(cell(2).parse().context("an oid")?, named);
        }
        self.catalog = Catalog::from_rows(&results)?;
        Ok(())
    }
}

fn namespace(wire: &mut Wire) -> Result<Namespace> {
    let rows = wire.rows(NAMESPACE_SQL)?;
    let row = rows.first().context("no row for the namespace")?;
    Ok(Namespace::from_row(row)?)
}

/// A query's rows of the server's own objects (`<`), or of the others (`>=`).
fn filtered(place: usize, columns: usize, oid: usize, side: &str) -> Result<String> {
    let query = CATALOG_QUERIES
        .get(place)
        .context("no such catalog query")?;
    let names: Vec<String> = (1..=columns).map(|at| format!("c{at}")).collect();
    let names = names.join(", ");
    Ok(format!(
        "SELECT * FROM ({query}) AS q ({names}) WHERE c{oid}::pg_catalog.oid {side} {FIRST_USER_OID}"
    ))
}
