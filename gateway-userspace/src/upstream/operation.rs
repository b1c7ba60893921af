//! What is done to roles, as SQL: see `roles.sql`.

use std::fmt::Write as _;

use super::{AdminError, admin::AdminClient};

const SQL: &str = include_str!("roles.sql");
/// Schema of the procedures.
const SCHEMA: &str = "cordon";

/// An operation, with its arguments.
#[derive(Clone, Debug)]
pub(super) enum Operation<'a> {
    Hold {
        role: &'a str,
        privileges: &'a str,
    },
    Make {
        role: &'a str,
        verifier: &'a str,
        seconds: u64,
        connections: u32,
        holds: &'a str,
    },
    Change {
        role: &'a str,
        holds: &'a str,
    },
    End {
        role: &'a str,
    },
    Remove {
        role: &'a str,
    },
}

impl Operation<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Hold { .. } => "make_grant_role",
            Self::Make { .. } => "make_job_role",
            Self::Change { .. } => "change_job_role",
            Self::End { .. } => "end_job_role",
            Self::Remove { .. } => "drop_role",
        }
    }

    fn doing(&self) -> &'static str {
        match self {
            Self::Hold { .. } => "giving a role the privileges of the grant",
            Self::Make { .. } => "making the job's role",
            Self::Change { .. } => "changing the privileges of a job's role",
            Self::End { .. } => "ending the sessions of a job's role",
            Self::Remove { .. } => "removing a role",
        }
    }

    fn arguments(&self) -> Vec<String> {
        match self {
            Self::Hold { role, privileges } => {
                vec![(*role).to_owned(), (*privileges).to_owned()]
            }
            Self::Make {
                role,
                verifier,
                seconds,
                connections,
                holds,
            } => vec![
                (*role).to_owned(),
                (*verifier).to_owned(),
                seconds.to_string(),
                connections.to_string(),
                (*holds).to_owned(),
            ],
            Self::Change { role, holds } => vec![(*role).to_owned(), (*holds).to_owned()],
            Self::End { role } | Self::Remove { role } => vec![(*role).to_owned()],
        }
    }

    /// Runs it in a transaction of its own. `procedures`: by those that are kept in the database.
    /// Its answer, which is empty where it has none.
    pub(super) async fn run(
        &self,
        client: &AdminClient,
        procedures: bool,
    ) -> Result<String, AdminError> {
        let failed = |error| AdminError::new(self.doing(), error);
        let arguments = self.arguments();
        let arguments: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = arguments
            .iter()
            .map(|argument| argument as &(dyn tokio_postgres::types::ToSql + Sync))
            .collect();
        let listed = |each: &dyn Fn(usize) -> String| {
            let all: Vec<String> = (0..arguments.len()).map(each).collect();
            all.join(", ")
        };
        client
            .batch_execute("SELECT set_config('cordon.answer', '', false)")
            .await
            .map_err(failed)?;
        if procedures {
            let list = listed(&|at| format!("${}", at + 1));
            let call = format!("SELECT {SCHEMA}.{}({list})", self.name());
            client.execute(&call, &arguments).await.map_err(failed)?;
        } else if let Some(block) = blocks().find(|block| block.name == self.name()) {
            // A DO block takes no parameters.
            let list = listed(&|at| {
                let name = block.parameters.get(at).copied().unwrap_or_default();
                format!("set_config('cordon.{name}', ${}, false)", at + 1)
            });
            client
                .execute(&format!("SELECT {list}"), &arguments)
                .await
                .map_err(failed)?;
            let body = block.body(|name| format!("current_setting('cordon.{name}')"));
            client
                .batch_execute(&format!("DO $cordon${body}$cordon$"))
                .await
                .map_err(failed)?;
        }
        let row = client
            .query_one(
                "SELECT coalesce(current_setting('cordon.answer', true), '')",
                &[],
            )
            .await
            .map_err(failed)?;
        row.try_get(0).map_err(failed)
    }
}

struct Block {
    name: &'static str,
    parameters: Vec<&'static str>,
    text: &'static str,
}

impl Block {
    fn body(&self, argument: impl Fn(&str) -> String) -> String {
        let mut body = self.text.to_owned();
        for name in &self.parameters {
            body = body.replace(&format!("${name}"), &argument(name));
        }
        body
    }
}

fn blocks() -> impl Iterator<Item = Block> {
    SQL.split("-- operation ").skip(1).filter_map(|part| {
        let (head, text) = part.split_once('\n')?;
        let (name, parameters) = head.trim_end_matches(')').split_once('(')?;
        let parameters = parameters
            .split(", ")
            .filter_map(|parameter| parameter.strip_suffix(" text"))
            .collect();
        Some(Block {
            name,
            parameters,
            text,
        })
    })
}

/// The SQL that a database administrator runs once, so that Cordon's admin needs no right to make
/// roles: the operations as functions that run with the rights of a role without login.
///
/// `admin` may call them. `definer` owns them; it is made if it is not there. `owners` are the roles
/// that own what jobs may be given privileges on.
pub fn prepare_sql(admin: &str, definer: &str, owners: &[String]) -> String {
    let (admin, definer_name) = (ident(admin), literal(definer));
    let definer = ident(definer);
    let mut sql = format!(
        "-- Run by a superuser, in the database that jobs are to use.\n\
         BEGIN;\n\
         SET LOCAL search_path = pg_catalog, pg_temp;\n\n\
         -- Owns the procedures. It has no login: only they use its rights. Before PostgreSQL 16\n\
         -- CREATEROLE is close to superuser, which is why Cordon's admin does not have it.\n\
         DO $$ BEGIN\n  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {definer_name}) THEN\n    \
         CREATE ROLE {definer} NOLOGIN CREATEROLE;\n  END IF;\nEND $$;\n"
    );
    for owner in owners {
        let _ = writeln!(
            sql,
            "-- To grant privileges on what it owns.\nGRANT {} TO {definer};",
            ident(owner)
        );
    }
    let _ = write!(
        sql,
        "-- To let roles connect to this database.\n\
         DO $$ BEGIN EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I WITH GRANT OPTION', current_database(), {definer_name}); END $$;\n\n\
         CREATE SCHEMA IF NOT EXISTS {SCHEMA};\n\
         ALTER SCHEMA {SCHEMA} OWNER TO {definer};\n\
         REVOKE ALL ON SCHEMA {SCHEMA} FROM PUBLIC;\n\
         GRANT USAGE ON SCHEMA {SCHEMA} TO {admin};\n"
    );
    for block in blocks() {
        let parameters: Vec<String> = block
            .parameters
            .iter()
            .map(|name| format!("p_{name} text"))
            .collect();
        let types = vec!["text"; block.parameters.len()].join(", ");
        let name = format!("{SCHEMA}.{}", block.name);
        let body = block.body(|name| format!("p_{name}"));
        let _ = write!(
            sql,
            "\nCREATE OR REPLACE FUNCTION {name}({}) RETURNS void LANGUAGE plpgsql SECURITY DEFINER\n  \
             SET search_path = pg_catalog, pg_temp\n  AS $cordon$\n{}\n$cordon$;\n\
             ALTER FUNCTION {name}({types}) OWNER TO {definer};\n\
             REVOKE ALL ON FUNCTION {name}({types}) FROM PUBLIC;\n\
             GRANT EXECUTE ON FUNCTION {name}({types}) TO {admin};\n",
            parameters.join(", "),
            body.trim_end(),
        );
    }
    let _ = write!(
        sql,
        "\nCOMMENT ON SCHEMA {SCHEMA} IS 'Cordon: makes and removes the roles of jobs';\nCOMMIT;\n"
    );
    sql
}

fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_block_with_the_arguments_that_it_is_given() {
        let operations = [
            Operation::Hold {
                role: "r",
                privileges: "[]",
            },
            Operation::Make {
                role: "r",
                verifier: "v",
                seconds: 1,
                connections: 1,
                holds: "h",
            },
            Operation::Change {
                role: "r",
                holds: "h",
            },
            Operation::End { role: "r" },
            Operation::Remove { role: "r" },
        ];
        assert_eq!(blocks().count(), operations.len());
        for operation in &operations {
            let block = blocks()
                .find(|block| block.name == operation.name())
                .unwrap();
            assert_eq!(block.parameters.len(), operation.arguments().len());
            for name in &block.parameters {
                assert!(block.text.contains(&format!("${name}")), "{name}");
            }
            let body = block.body(|name| format!("p_{name}"));
            assert!(
                !body.contains("$role") && !body.contains("$holds"),
                "{body}"
            );
        }
    }

    #[test]
    fn names_in_the_prepared_text_are_quoted() {
        let sql = prepare_sql("ad\"min", "de'finer", &["o w".to_owned()]);
        assert!(sql.contains("TO \"ad\"\"min\";"));
        assert!(sql.contains("rolname = 'de''finer'"));
        assert!(sql.contains("GRANT \"o w\" TO \"de'finer\";"));
    }
}
