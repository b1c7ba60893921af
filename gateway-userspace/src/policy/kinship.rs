//! What rules need to know of a catalog: inheritance and partition families, so that a rule on a
//! table also holds for its parts; and views, whose columns are those of the tables behind them.

use std::collections::{HashMap, HashSet};

use crate::sql::{Catalog, RelationRef};

/// For every relation with parents or children: all its ancestors and descendants. Reading a
/// parent returns its children's rows and reading a child returns rows of its parent, so deny,
/// approve and mask rules on one of them count for the others. And for every view its columns.
#[derive(Clone, Debug, Default)]
pub struct Kinship {
    kin: ByName<Vec<(String, String)>>,
    views: ByName<Vec<String>>,
}

/// By schema, then name.
type ByName<T> = HashMap<String, HashMap<String, T>>;

type Name<'a> = (&'a str, &'a str);

impl Kinship {
    /// No families.
    pub fn none() -> Self {
        Self::default()
    }

    /// The families of a catalog; make it once for each catalog version.
    pub fn of(catalog: &Catalog) -> Self {
        let relations = catalog.relations.iter().flat_map(|(schema, relations)| {
            relations
                .iter()
                .map(move |(name, relation)| ((schema.as_str(), name.as_str()), relation))
        });
        let mut family = Self::from_children(relations.flat_map(|(parent, relation)| {
            let children = relation.children.iter();
            children.map(move |(schema, name)| (parent, (schema.as_str(), name.as_str())))
        }));
        for (schema, relations) in &catalog.relations {
            for (name, relation) in relations {
                if matches!(relation.kind, b'v' | b'm') {
                    let columns = relation.columns.iter().map(|column| column.name.clone());
                    family.add_view(schema, name, columns.collect());
                }
            }
        }
        family
    }

    pub(super) fn add_view(&mut self, schema: &str, name: &str, columns: Vec<String>) {
        self.views
            .entry(schema.to_owned())
            .or_default()
            .insert(name.to_owned(), columns);
    }

    /// The columns of a view; `None` for what is none. The analysis leads a view's columns back
    /// to tables, so that a rule on a column of the view itself cannot be weighed.
    pub(super) fn view_columns(&self, relation: &RelationRef) -> Option<&[String]> {
        self.views
            .get(&relation.schema)?
            .get(&relation.name)
            .map(Vec::as_slice)
    }

    /// The families that these pairs of a parent and one of its children make.
    pub(super) fn from_children<'a>(pairs: impl Iterator<Item = (Name<'a>, Name<'a>)>) -> Self {
        let mut children: HashMap<Name<'_>, Vec<Name<'_>>> = HashMap::new();
        for (parent, child) in pairs {
            children.entry(parent).or_default().push(child);
        }
        let mut family = Self::default();
        for parent in children.keys().copied() {
            for descendant in descendants(&children, parent) {
                family.add(parent, descendant);
                family.add(descendant, parent);
            }
        }
        family
    }

    /// The other relations, by schema and name, whose deny, approve and mask rules also count
    /// for `relation`.
    pub fn of_relation(&self, relation: &RelationRef) -> &[(String, String)] {
        self.kin
            .get(&relation.schema)
            .and_then(|names| names.get(&relation.name))
            .map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, one: Name<'_>, other: Name<'_>) {
        let kin = self
            .kin
            .entry(one.0.to_owned())
            .or_default()
            .entry(one.1.to_owned())
            .or_default();
        if !kin
            .iter()
            .any(|(schema, name)| (schema.as_str(), name.as_str()) == other)
        {
            kin.push((other.0.to_owned(), other.1.to_owned()));
        }
    }
}

fn descendants<'a>(children: &HashMap<Name<'a>, Vec<Name<'a>>>, of: Name<'a>) -> Vec<Name<'a>> {
    let mut seen = HashSet::from([of]);
    let mut found = Vec::new();
    let mut open = vec![of];
    while let Some(next) = open.pop() {
        for child in children.get(&next).into_iter().flatten() {
            if seen.insert(*child) {
                found.push(*child);
                open.push(*child);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kin(pairs: &[(&'static str, &'static str)], of: &str) -> Vec<String> {
        let pairs = pairs
            .iter()
            .map(|(parent, child)| (("s", *parent), ("s", *child)));
        let family = Kinship::from_children(pairs);
        let relation = RelationRef {
            schema: "s".to_owned(),
            name: of.to_owned(),
            oid: 1,
        };
        let mut names: Vec<String> = family
            .of_relation(&relation)
            .iter()
            .map(|(_, name)| name.clone())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn ancestors_and_descendants_are_kin_and_siblings_are_not() {
        let pairs = [("top", "a"), ("top", "b"), ("a", "a1")];
        assert_eq!(kin(&pairs, "top"), ["a", "a1", "b"]);
        assert_eq!(kin(&pairs, "a"), ["a1", "top"]);
        assert_eq!(kin(&pairs, "a1"), ["a", "top"]);
        assert_eq!(kin(&pairs, "b"), ["top"]);
        assert!(kin(&pairs, "alone").is_empty());
    }

    #[test]
    fn a_cycle_that_no_server_could_have_does_not_hang() {
        assert_eq!(kin(&[("a", "b"), ("b", "a")], "a"), ["b"]);
    }
}
