//! `cordon database`: what a database needs before jobs can have roles of their own there.

use clap::{Args, Subcommand};

use super::{catalog, client};
use crate::upstream::prepare_sql;

/// Prepare databases for the roles of jobs.
#[derive(Args, Debug)]
pub struct DatabaseArgs {
    #[command(subcommand)]
    command: DatabaseCommand,
}

#[derive(Subcommand, Debug)]
enum DatabaseCommand {
    /// Print the SQL of the procedures with which Cordon's admin makes and removes roles of jobs.
    ///
    /// A superuser runs it once in each database that jobs use; the admin itself then needs no
    /// right but to call them (`admin: { procedures: true }` in the configuration). Before
    /// PostgreSQL 16 that is the way: a login that may make roles is close to a superuser there.
    Prepare {
        /// The login that the configuration names as `admin`. It must be there already.
        #[arg(long)]
        admin: String,
        /// A role that owns tables, views, functions or schemas that jobs may use; once for each.
        #[arg(long, value_name = "ROLE")]
        owner: Vec<String>,
        /// The role that will own the procedures. It is made if it is not there, without a login.
        #[arg(long, value_name = "ROLE", default_value = "cordon_definer")]
        definer: String,
        /// Run it at postgres://user@host:port/database?sslmode=.. instead of printing it; the
        /// password comes from PGPASSWORD or ~/.pgpass.
        #[arg(long, value_name = "URL")]
        install: Option<String>,
    },
}

/// Runs `cordon database`.
///
/// # Errors
/// If the database cannot be reached or refuses.
pub fn run(args: &DatabaseArgs) -> anyhow::Result<()> {
    let DatabaseCommand::Prepare {
        admin,
        owner,
        definer,
        install,
    } = &args.command;
    let sql = prepare_sql(admin, definer, owner);
    let Some(url) = install else {
        print!("{sql}");
        return Ok(());
    };
    client::runtime()?.block_on(async {
        let client = catalog::admin(url).await?.connect().await?;
        client.batch_execute(&sql).await.map_err(|error| {
            // The library's own text is only `db error`.
            match error.as_db_error() {
                Some(said) => anyhow::anyhow!("the database refuses: {}", said.message()),
                None => anyhow::Error::new(error),
            }
        })?;
        eprintln!("The procedures are installed in the schema cordon; {admin} may call them.");
        Ok(())
    })
}
