//! The reviewed table of `PostgreSQL`'s own functions, and what is safe beyond it.
//!
//! Volatility comes from the live catalog: an immutable or stable built-in function is
//! [`FunctionClass::Pure`] unless it is named below; of the volatile ones only the named clocks,
//! random numbers and keys are. Whatever is not in `pg_catalog` is [`FunctionClass::Other`].

use super::catalog::Function;
use super::statement::FunctionClass;

/// Volatile, but computes from the clock or from randomness only.
const VOLATILE_PURE: &[&str] = &[
    "bernoulli",
    "clock_timestamp",
    "gen_random_uuid",
    "random",
    "random_normal",
    "setseed",
    "system",
    "timeofday",
    "uuidv4",
    "uuidv7",
];

/// Reads the system catalog or facts about the server and this session; no other session's
/// data, no files, no user data.
const CATALOG: &[&str] = &[
    "acldefault",
    "aclexplode",
    "col_description",
    "current_schema",
    "current_schemas",
    // What SHOW shows, and pg_settings and pg_db_role_setting.
    "current_setting",
    "format_type",
    "getdatabaseencoding",
    "has_any_column_privilege",
    "has_column_privilege",
    "has_database_privilege",
    "has_foreign_data_wrapper_privilege",
    "has_function_privilege",
    "has_language_privilege",
    "has_largeobject_privilege",
    "has_parameter_privilege",
    "has_schema_privilege",
    "has_sequence_privilege",
    "has_server_privilege",
    "has_table_privilege",
    "has_tablespace_privilege",
    "has_type_privilege",
    "inet_client_addr",
    "inet_client_port",
    "inet_server_addr",
    "inet_server_port",
    "obj_description",
    "oidvectortypes",
    "pg_advisory_unlock_all",
    "pg_available_extension_versions",
    "pg_available_extensions",
    "pg_backend_pid",
    "pg_basetype",
    "pg_blocking_pids",
    "pg_char_to_encoding",
    "pg_client_encoding",
    "pg_collation_actual_version",
    "pg_collation_for",
    "pg_collation_is_visible",
    "pg_column_is_updatable",
    "pg_column_size",
    "pg_conf_load_time",
    "pg_conversion_is_visible",
    "pg_current_snapshot",
    "pg_current_xact_id_if_assigned",
    "pg_database_collation_actual_version",
    "pg_database_size",
    "pg_describe_object",
    "pg_encoding_max_length",
    "pg_encoding_to_char",
    // Lets other sessions see the rows that this one sees, each with its own rights.
    "pg_export_snapshot",
    "pg_extension_update_paths",
    "pg_filenode_relation",
    "pg_function_is_visible",
    "pg_get_catalog_foreign_keys",
    "pg_get_constraintdef",
    "pg_get_expr",
    "pg_get_function_arg_default",
    "pg_get_function_arguments",
    "pg_get_function_identity_arguments",
    "pg_get_function_result",
    "pg_get_function_sqlbody",
    "pg_get_functiondef",
    "pg_get_indexdef",
    "pg_get_keywords",
    "pg_get_object_address",
    "pg_get_partition_constraintdef",
    "pg_get_partkeydef",
    "pg_get_publication_tables",
    "pg_get_replica_identity_index",
    "pg_get_ruledef",
    "pg_get_serial_sequence",
    "pg_get_statisticsobjdef",
    "pg_get_statisticsobjdef_columns",
    "pg_get_statisticsobjdef_expressions",
    "pg_get_triggerdef",
    "pg_get_userbyid",
    "pg_get_viewdef",
    "pg_has_role",
    "pg_identify_object",
    "pg_identify_object_as_address",
    "pg_index_column_has_property",
    "pg_index_has_property",
    "pg_indexam_has_property",
    "pg_indexes_size",
    "pg_is_in_recovery",
    "pg_is_other_temp_schema",
    "pg_is_wal_replay_paused",
    "pg_jit_available",
    "pg_listening_channels",
    "pg_my_temp_schema",
    "pg_opclass_is_visible",
    "pg_operator_is_visible",
    "pg_opfamily_is_visible",
    "pg_options_to_table",
    "pg_partition_ancestors",
    "pg_partition_root",
    "pg_partition_tree",
    "pg_postmaster_start_time",
    "pg_relation_filenode",
    "pg_relation_filepath",
    "pg_relation_is_publishable",
    "pg_relation_is_updatable",
    "pg_relation_size",
    "pg_settings_get_flags",
    "pg_stat_get_analyze_count",
    "pg_stat_get_autoanalyze_count",
    "pg_stat_get_autovacuum_count",
    "pg_stat_get_blocks_fetched",
    "pg_stat_get_blocks_hit",
    "pg_stat_get_dead_tuples",
    "pg_stat_get_ins_since_vacuum",
    "pg_stat_get_last_analyze_time",
    "pg_stat_get_last_autoanalyze_time",
    "pg_stat_get_last_autovacuum_time",
    "pg_stat_get_last_vacuum_time",
    "pg_stat_get_live_tuples",
    "pg_stat_get_mod_since_analyze",
    "pg_stat_get_numscans",
    "pg_stat_get_tuples_deleted",
    "pg_stat_get_tuples_fetched",
    "pg_stat_get_tuples_hot_updated",
    "pg_stat_get_tuples_inserted",
    "pg_stat_get_tuples_returned",
    "pg_stat_get_tuples_updated",
    "pg_stat_get_vacuum_count",
    "pg_statistics_obj_is_visible",
    "pg_table_is_visible",
    "pg_table_size",
    "pg_tablespace_databases",
    "pg_tablespace_location",
    "pg_tablespace_size",
    "pg_timezone_abbrevs",
    "pg_timezone_names",
    "pg_total_relation_size",
    "pg_trigger_depth",
    "pg_ts_config_is_visible",
    "pg_ts_dict_is_visible",
    "pg_ts_parser_is_visible",
    "pg_ts_template_is_visible",
    "pg_type_is_visible",
    "row_security_active",
    "shobj_description",
    "to_regclass",
    "to_regcollation",
    "to_regnamespace",
    "to_regoper",
    "to_regoperator",
    "to_regproc",
    "to_regprocedure",
    "to_regrole",
    "to_regtype",
    "to_regtypemod",
    "txid_current_if_assigned",
    "txid_current_snapshot",
    "version",
];

/// Stable or immutable built-in functions that only compute, although their names start like
/// those of the system's own.
const PURE_PREFIXED: &[&str] = &[
    "pg_lsn",
    "pg_size_bytes",
    "pg_size_pretty",
    "pg_snapshot_xip",
    "pg_snapshot_xmax",
    "pg_snapshot_xmin",
    "pg_typeof",
    "pg_input_is_valid",
    "pg_input_error_info",
    "pg_visible_in_snapshot",
    "pg_wal_lsn_diff",
];

/// Stable or immutable built-in functions that are not pure: they run text, read other data
/// than their arguments, read settings, change the transaction, or run the input function of
/// whatever type they are given by number.
const NOT_PURE: &[&str] = &[
    "array_in",
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "database_to_xml",
    "database_to_xml_and_xmlschema",
    "database_to_xmlschema",
    "domain_in",
    "fmgr_c_validator",
    "fmgr_internal_validator",
    "fmgr_sql_validator",
    "multirange_in",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "query_to_xmlschema",
    "querytree",
    "range_in",
    "record_in",
    "satisfies_hash_partition",
    "schema_to_xml",
    "schema_to_xml_and_xmlschema",
    "schema_to_xmlschema",
    "table_to_xml",
    "table_to_xml_and_xmlschema",
    "table_to_xmlschema",
    "ts_stat",
    "txid_current",
];

/// Settings that a driver may change through `set_config` while it connects: they change how
/// much a statement costs or how long it may take, not what it means or shows.
const HARMLESS: &[&str] = &[
    "application_name",
    "extra_float_digits",
    "jit",
    "lock_timeout",
    "statement_timeout",
];

/// Extensions whose operators and base types are well known, written in C and without effects
/// beyond their arguments. Their functions still need a grant when they are called by name.
const KNOWN_EXTENSIONS: &[&str] = &[
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "hstore",
    "intarray",
    "isn",
    "ltree",
    "pg_trgm",
    "postgis",
    "seg",
    "unaccent",
    "vector",
];

/// The class of one function of the catalog. `literal` is its first argument if that is a
/// string constant.
pub(super) fn classify(name: &str, function: &Function, literal: Option<&str>) -> FunctionClass {
    // What the views of the information schema are made of; JDBC calls one by name.
    if function.schema == "information_schema"
        && name.starts_with("_pg_")
        && function.volatility == b'i'
    {
        return FunctionClass::Pure;
    }
    if function.schema != "pg_catalog" || function.kind == b'p' {
        return FunctionClass::Other;
    }
    if CATALOG.binary_search(&name).is_ok() {
        return FunctionClass::Catalog;
    }
    if name == "set_config" && literal.is_some_and(|name| HARMLESS.contains(&name)) {
        return FunctionClass::Catalog;
    }
    let pure = match function.volatility {
        b'i' | b's' => {
            NOT_PURE.binary_search(&name).is_err()
                && (!name.starts_with("pg_") || PURE_PREFIXED.contains(&name))
        }
        _ => VOLATILE_PURE.contains(&name),
    };
    if pure {
        FunctionClass::Pure
    } else {
        FunctionClass::Other
    }
}

/// True if an operator or cast function may run without being named in a grant.
pub(super) fn is_known_code(function: &Function) -> bool {
    function.schema == "pg_catalog"
        || (function.compiled
            && function.volatility != b'v'
            && function
                .extension
                .as_deref()
                .is_some_and(is_known_extension))
}

/// True for the extensions in the reviewed list.
pub(super) fn is_known_extension(name: &str) -> bool {
    KNOWN_EXTENSIONS.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builtin(name: &str, volatility: u8) -> FunctionClass {
        let function = Function {
            schema: "pg_catalog".to_owned(),
            volatility,
            kind: b'f',
            ..Function::default()
        };
        classify(name, &function, None)
    }

    #[test]
    fn the_tables_are_sorted_so_that_they_can_be_searched() {
        for table in [CATALOG, NOT_PURE, KNOWN_EXTENSIONS] {
            assert!(table.is_sorted(), "{table:?}");
        }
    }

    #[test]
    fn dangerous_functions_are_never_pure() {
        for (name, volatility) in [
            ("query_to_xml", b'v'),
            ("database_to_xml", b's'),
            ("table_to_xml", b's'),
            ("cursor_to_xml", b'v'),
            ("table_to_xmlschema", b's'),
            ("table_to_xml_and_xmlschema", b's'),
            ("schema_to_xml", b's'),
            ("cursor_to_xmlschema", b's'),
            ("currtid2", b'v'),
            ("currval", b'v'),
            ("pg_sequence_last_value", b'v'),
            ("pg_sequence_parameters", b's'),
            ("pg_mcv_list_items", b's'),
            ("pg_extension_config_dump", b'v'),
            ("brin_summarize_new_values", b'v'),
            ("gin_clean_pending_list", b'v'),
            ("satisfies_hash_partition", b'i'),
            ("domain_in", b's'),
            ("array_in", b's'),
            ("record_in", b's'),
            ("range_in", b's'),
            ("multirange_in", b's'),
            ("ts_stat", b'v'),
            ("ts_rewrite", b'v'),
            ("lo_import", b'v'),
            ("lo_get", b'v'),
            ("pg_read_file", b'v'),
            ("pg_ls_dir", b'v'),
            ("set_config", b'v'),
            ("nextval", b'v'),
            ("setval", b'v'),
            ("pg_notify", b'v'),
            ("pg_advisory_lock", b'v'),
            ("pg_sleep", b'v'),
            ("pg_terminate_backend", b'v'),
            ("pg_stat_get_activity", b's'),
            ("pg_show_all_settings", b's'),
            ("pg_config", b's'),
            ("pg_walfile_name", b'i'),
            ("some_new_volatile_function", b'v'),
            ("pg_some_new_stable_function", b's'),
        ] {
            assert_eq!(builtin(name, volatility), FunctionClass::Other, "{name}");
        }
        assert_eq!(builtin("lower", b'i'), FunctionClass::Pure);
        assert_eq!(builtin("now", b's'), FunctionClass::Pure);
        assert_eq!(builtin("ts_rewrite", b'i'), FunctionClass::Pure);
        assert_eq!(builtin("random", b'v'), FunctionClass::Pure);
        assert_eq!(builtin("pg_get_viewdef", b's'), FunctionClass::Catalog);
    }

    #[test]
    fn the_information_schemas_own_functions_only_compute() {
        let function = |schema: &str| Function {
            schema: schema.to_owned(),
            volatility: b'i',
            kind: b'f',
            ..Function::default()
        };
        let class = |schema, name| classify(name, &function(schema), None);
        assert_eq!(
            class("information_schema", "_pg_expandarray"),
            FunctionClass::Pure
        );
        assert_eq!(class("public", "_pg_expandarray"), FunctionClass::Other);
        assert_eq!(class("information_schema", "other"), FunctionClass::Other);
    }

    #[test]
    fn settings_are_read_as_show_reads_them_and_a_few_are_set_anywhere() {
        let function = Function {
            schema: "pg_catalog".to_owned(),
            volatility: b'v',
            kind: b'f',
            ..Function::default()
        };
        let read = |literal| classify("current_setting", &function, literal);
        assert_eq!(read(Some("app.tenant")), FunctionClass::Catalog);
        assert_eq!(read(None), FunctionClass::Catalog);
        let set = |literal| classify("set_config", &function, literal);
        assert_eq!(set(Some("jit")), FunctionClass::Catalog);
        assert_eq!(set(Some("search_path")), FunctionClass::Other);
        assert_eq!(set(None), FunctionClass::Other);
    }
}
