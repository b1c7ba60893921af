//! Catalog relations that carry values of user tables, other sessions' SQL or secrets. The rest
//! of the catalog may be read by every job: drivers and tools cannot work without it.

/// What of a system relation needs a grant that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guarded {
    /// Nothing.
    No,
    /// These columns.
    Columns(&'static [&'static str]),
    /// All of it.
    Whole,
}

/// True if an extension's view of this name shows other sessions' SQL, whatever its schema.
pub(super) fn shows_statements(name: &str) -> bool {
    matches!(name, "pg_stat_statements" | "pg_stat_monitor")
}

/// How a relation of `pg_catalog`, `information_schema` or a toast schema is guarded.
pub(super) fn guarded(schema: &str, name: &str) -> Guarded {
    match schema {
        "pg_catalog" => match name {
            // Samples and histograms of column values; large objects; SQL of other sessions;
            // server files with credentials or rules.
            "pg_statistic"
            | "pg_statistic_ext_data"
            | "pg_stats"
            | "pg_stats_ext"
            | "pg_stats_ext_exprs"
            | "pg_largeobject"
            | "pg_stat_activity"
            | "pg_hba_file_rules"
            | "pg_ident_file_mappings"
            | "pg_file_settings"
            | "pg_user_mapping" => Guarded::Whole,
            // Options of servers, wrappers and foreign tables are for everybody to see; what is
            // secret belongs into user mappings.
            "pg_user_mappings" => Guarded::Columns(&["umoptions"]),
            "pg_authid" => Guarded::Columns(&["rolpassword"]),
            "pg_shadow" => Guarded::Columns(&["passwd"]),
            "pg_subscription" => Guarded::Columns(&["subconninfo"]),
            "pg_stat_wal_receiver" => Guarded::Columns(&["conninfo"]),
            name if shows_statements(name) => Guarded::Whole,
            _ => Guarded::No,
        },
        "information_schema" => match name {
            "user_mapping_options" | "_pg_user_mappings" => Guarded::Whole,
            _ => Guarded::No,
        },
        // Toast tables hold the values themselves; any other schema marked as system is unknown.
        _ => Guarded::Whole,
    }
}
