//! WITH clauses and statements that give rows.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pg_query::NodeEnum;
use pg_query::protobuf::{CommonTableExpr, SelectStmt, SetOperation, WithClause};

use super::from::names_of;
use super::scope::{Cte, CteList, CteState, Scope};
use super::value::{Col, Value};
use super::{Result, Walk, inner};

/// Where a recursive CTE's columns go while it is being read.
pub(super) struct Publish<'s, 'a> {
    list: &'s CteList<'a>,
    index: usize,
}

impl<'a> Publish<'_, 'a> {
    /// Lets the recursive arm see these columns.
    pub fn columns(&self, walk: &mut Walk<'a>, columns: &[Col<'a>]) -> Result<()> {
        let Some(cte) = self.list.entries.get(self.index) else {
            return Ok(());
        };
        // What a round takes must not count as taken by the query around it.
        let fresh = columns
            .iter()
            .map(|col| Col::new(col.name.clone(), col.value.clone()));
        let named = walk.cte_named(cte.node, fresh.collect())?;
        *cte.state.borrow_mut() = CteState::Reading(Some(Rc::new(named)));
        cte.referred.set(false);
        Ok(())
    }

    /// True if the recursive arm referred to the CTE since.
    pub fn was_read(&self) -> bool {
        self.list
            .entries
            .get(self.index)
            .is_some_and(|cte| cte.referred.get())
    }
}

impl<'a> Walk<'a> {
    /// Runs `body` with the names of a WITH clause in scope.
    pub fn with<T>(
        &mut self,
        parent: Option<&Scope<'_, 'a>>,
        clause: Option<&'a WithClause>,
        body: impl FnOnce(&mut Self, Option<&Scope<'_, 'a>>) -> Result<T>,
    ) -> Result<T> {
        let Some(WithClause {
            ctes,
            recursive,
            location: _,
        }) = clause
        else {
            return body(self, parent);
        };
        let mut entries: Vec<Cte<'a>> = Vec::with_capacity(ctes.len());
        for cte in ctes {
            let Some(NodeEnum::CommonTableExpr(node)) = inner(Some(cte)) else {
                return Err(self.unsupported("a WITH item of another kind"));
            };
            if entries
                .iter()
                .any(|other| other.node.ctename == node.ctename)
            {
                return Err(self.unknown(
                    "42712",
                    node.location,
                    format!(
                        "WITH query name \"{}\" specified more than once",
                        node.ctename
                    ),
                ));
            }
            entries.push(Cte {
                node,
                state: RefCell::new(CteState::Unread),
                referred: Cell::default(),
            });
        }
        let count = entries.len();
        let list = CteList {
            entries,
            visible: Cell::new(if *recursive { count } else { 0 }),
        };
        let mut scope = Scope::child(parent);
        scope.ctes = Some(&list);
        for index in 0..count {
            self.read_cte(&scope, &list, index, *recursive)?;
            if !*recursive {
                list.visible.set(index + 1);
            }
        }
        let result = body(self, Some(&scope))?;
        for cte in &list.entries {
            if let CteState::Read(Some(columns)) = &*cte.state.borrow() {
                self.mark_unused(columns);
            }
        }
        Ok(result)
    }

    /// The columns of the CTE of that name, if one is in scope.
    pub fn cte_columns(
        &mut self,
        scope: &Scope<'_, 'a>,
        name: &str,
    ) -> Result<Option<Rc<Vec<Col<'a>>>>> {
        let Some((level, list, index)) = scope.cte(name) else {
            return Ok(None);
        };
        let Some(cte) = list.entries.get(index) else {
            return Ok(None);
        };
        let unread = matches!(&*cte.state.borrow(), CteState::Unread);
        if unread {
            // WITH RECURSIVE may refer to what comes later.
            self.read_cte(level, list, index, true)?;
        }
        cte.referred.set(true);
        match &*cte.state.borrow() {
            CteState::Read(Some(columns)) | CteState::Reading(Some(columns)) => {
                Ok(Some(Rc::clone(columns)))
            }
            CteState::Read(None) => Err(self.unknown(
                "0A000",
                cte.node.location,
                format!("WITH query \"{name}\" does not have a RETURNING clause"),
            )),
            CteState::Unread | CteState::Reading(None) => Err(self.unsupported(format!(
                "the recursive reference to query \"{name}\" is not in the second arm of a UNION"
            ))),
        }
    }

    fn read_cte(
        &mut self,
        scope: &Scope<'_, 'a>,
        list: &CteList<'a>,
        index: usize,
        recursive: bool,
    ) -> Result<()> {
        let Some(cte) = list.entries.get(index) else {
            return Ok(());
        };
        if !matches!(&*cte.state.borrow(), CteState::Unread) {
            return Ok(());
        }
        *cte.state.borrow_mut() = CteState::Reading(None);
        let Some(query) = cte
            .node
            .ctequery
            .as_ref()
            .and_then(|node| node.node.as_ref())
        else {
            return Err(self.unsupported("a WITH item without query"));
        };
        let columns = match query {
            NodeEnum::SelectStmt(select) if recursive && is_union(select) => {
                let publish = Publish { list, index };
                let columns = self
                    .nested(|walk| walk.select_publishing(Some(scope), select, Some(&publish)))?;
                Some(columns)
            }
            query => self.query(Some(scope), query)?,
        };
        let columns = match columns {
            Some(columns) => Some(Rc::new(self.cte_named(cte.node, columns)?)),
            None => None,
        };
        *cte.state.borrow_mut() = CteState::Read(columns);
        Ok(())
    }

    /// Gives a CTE's columns their names, and adds those of SEARCH and CYCLE.
    fn cte_named(
        &mut self,
        node: &'a CommonTableExpr,
        mut columns: Vec<Col<'a>>,
    ) -> Result<Vec<Col<'a>>> {
        let names = names_of(&node.aliascolnames);
        if names.len() > columns.len() {
            return Err(self.unknown(
                "42P10",
                node.location,
                format!(
                    "WITH query \"{}\" has {} columns available but {} columns specified",
                    node.ctename,
                    columns.len(),
                    names.len()
                ),
            ));
        }
        for (column, name) in columns.iter_mut().zip(names) {
            column.name = name.into();
        }
        let all = Value::combine(
            &columns
                .iter()
                .map(|column| column.value.clone())
                .collect::<Vec<_>>(),
        );
        if let Some(search) = &node.search_clause {
            columns.push(Col::new(search.search_seq_column.as_str(), all.clone()));
        }
        if let Some(cycle) = &node.cycle_clause {
            columns.push(Col::new(cycle.cycle_mark_column.as_str(), all.clone()));
            columns.push(Col::new(cycle.cycle_path_column.as_str(), all));
        }
        Ok(columns)
    }

    /// A query of any kind; `None` if it returns nothing.
    pub fn query(
        &mut self,
        scope: Option<&Scope<'_, 'a>>,
        query: &'a NodeEnum,
    ) -> Result<Option<Vec<Col<'a>>>> {
        match query {
            NodeEnum::SelectStmt(select) => self.select(scope, select).map(Some),
            NodeEnum::InsertStmt(insert) => self.nested(|walk| walk.insert(scope, insert)),
            NodeEnum::UpdateStmt(update) => self.nested(|walk| walk.update(scope, update)),
            NodeEnum::DeleteStmt(delete) => self.nested(|walk| walk.delete(scope, delete)),
            NodeEnum::MergeStmt(merge) => self.nested(|walk| walk.merge(scope, merge)),
            other => Err(self.unsupported(format!(
                "{} as a query is not understood",
                crate::sql::nodes::kind_name(other)
            ))),
        }
    }
}

fn is_union(select: &SelectStmt) -> bool {
    matches!(
        SetOperation::try_from(select.op),
        Ok(SetOperation::SetopUnion)
    )
}
