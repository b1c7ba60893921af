//! Inheritance and partition families, so that a rule on a table also holds for its parts.

use std::collections::{HashMap, HashSet};

use crate::sql::{Catalog, RelationRef};

/// For every relation with parents or children: all its ancestors and descendants. Reading a
/// parent returns its children's rows and reading a child returns rows of its parent, so deny,
/// approve and mask rules on one of them count for the others.
#[derive(Clone, Debug, Default)]
pub struct Kinship {
    kin: HashMap<String, HashMap<String, Vec<(String, String)>>>,
}

type Name<'a> = (&'a str, &'a str);

impl Kinship {
    /// No families.
    pub fn none() -> Self {
        Self::default()
    }

    /// The families of a catalog; make it once for each catalog version.
    pub fn of(catalog: &Catalog) -> Self {
        let mut children: HashMap<Name<'_>, Vec<Name<'_>>> = HashMap::new();
        for (schema, relations) in &catalog.relations {
            for (name, relation) in relations {
                for (child_schema, child_name) in &relation.children {
                    children
                        .entry((schema, name))
                        .or_default()
                        .push((child_schema, child_name));
                }
            }
        }
        let mut family = Self::default();
        let parents: Vec<Name<'_>> = children.keys().copied().collect();
        for parent in parents {
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
    use crate::sql::Relation;

    fn relation(children: &[&str]) -> Relation {
        Relation {
            oid: 1,
            kind: b'r',
            columns: Vec::new(),
            definition: None,
            has_rules: false,
            has_triggers: false,
            row_type: 0,
            temporary: false,
            children: children
                .iter()
                .map(|name| ("s".to_owned(), (*name).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn ancestors_and_descendants_are_kin_and_siblings_are_not() {
        let mut catalog = Catalog::default();
        let names = [
            ("top", vec!["a", "b"]),
            ("a", vec!["a1"]),
            ("b", vec![]),
            ("a1", vec!["top"]),
            ("alone", vec![]),
        ];
        let relations = names
            .iter()
            .map(|(name, children)| ((*name).to_owned(), relation(children)))
            .collect::<HashMap<_, _>>();
        catalog.relations.insert("s".to_owned(), relations);
        // The cycle (a1 names top as its child) cannot exist in a server; it must not hang us.
        let family = Kinship::of(&catalog);
        let kin = |name: &str| {
            let relation = RelationRef {
                schema: "s".to_owned(),
                name: name.to_owned(),
                oid: 1,
            };
            let mut names: Vec<String> = family
                .of_relation(&relation)
                .iter()
                .map(|(_, name)| name.clone())
                .collect();
            names.sort();
            names
        };
        assert_eq!(kin("b"), ["a", "a1", "top"]);
        assert!(kin("alone").is_empty());
        let Some(relations) = catalog.relations.get_mut("s") else {
            panic!("the schema is there")
        };
        relations.insert("a1".to_owned(), relation(&[]));
        let family = Kinship::of(&catalog);
        let kin = |name: &str| {
            family
                .of_relation(&RelationRef {
                    schema: "s".to_owned(),
                    name: name.to_owned(),
                    oid: 1,
                })
                .len()
        };
        assert_eq!((kin("top"), kin("a"), kin("a1"), kin("b")), (3, 2, 2, 1));
    }
}
