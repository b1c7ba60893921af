// pgjdbc: every call of DatabaseMetaData, and ordinary work. Run as a source file.
import java.lang.reflect.*;
import java.sql.*;
import java.util.*;

class JdbcWork {
    static Connection connect(String... more) throws SQLException {
        Map<String, String> e = System.getenv();
        Properties words = new Properties();
        words.put("user", e.get("PGUSER"));
        words.put("password", e.get("PGPASSWORD"));
        words.put("sslmode", "disable");
        for (int i = 0; i < more.length; i += 2) words.put(more[i], more[i + 1]);
        return DriverManager.getConnection("jdbc:postgresql://" + e.get("PGHOST") + ":" + e.get("PGPORT") + "/" + e.get("PGDATABASE"), words);
    }

    static int count(ResultSet rows) throws SQLException {
        int n = 0;
        try (rows) { while (rows.next()) n++; }
        return n;
    }

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "metadata" -> metadata();
            case "work" -> { work("extended"); work("simple"); work("extendedForPrepared"); }
            case "hibernate" -> hibernate();
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    static void metadata() throws Exception {
        try (Connection c = connect()) {
            DatabaseMetaData m = c.getMetaData();
            String[] plain = { "getCatalogs", "getSchemas", "getTableTypes", "getTypeInfo", "getClientInfoProperties", "getSQLKeywords", "getNumericFunctions", "getMaxColumnNameLength", "getMaxColumnsInIndex", "getUserName", "getDatabaseProductVersion", "getDefaultTransactionIsolation" };
            for (String name : plain) {
                Object out = DatabaseMetaData.class.getMethod(name).invoke(m);
                System.out.println(name + " " + (out instanceof ResultSet rows ? "" + count(rows) : ""));
            }
            for (String schema : new String[] { null, "store", "public", "st%" }) for (String table : new String[] { "%", "products", "Mixed Case" }) {
                System.out.println(schema + "." + table);
                System.out.println(count(m.getTables(null, schema, table, null)) + " " + count(m.getTables("shop", schema, table, new String[] { "TABLE", "VIEW", "PARTITIONED TABLE", "MATERIALIZED VIEW", "FOREIGN TABLE", "SEQUENCE", "SYSTEM TABLE", "TEMPORARY TABLE" })));
                System.out.println(count(m.getColumns(null, schema, table, "%")) + " " + count(m.getColumns("shop", schema, table, "id")));
                System.out.println(count(m.getPrimaryKeys(null, schema, table)) + " " + count(m.getImportedKeys(null, schema, table)) + " " + count(m.getExportedKeys(null, schema, table)));
                System.out.println(count(m.getIndexInfo(null, schema, table, false, true)) + " " + count(m.getIndexInfo(null, schema, table, true, false)) + " " + count(m.getBestRowIdentifier(null, schema, table, DatabaseMetaData.bestRowSession, true)));
                System.out.println(count(m.getVersionColumns(null, schema, table)) + " " + count(m.getTablePrivileges(null, schema, table)) + " " + count(m.getColumnPrivileges(null, schema, table, "%")));
            }
            System.out.println(count(m.getCrossReference(null, "store", "categories", null, "store", "products")));
            System.out.println(count(m.getProcedures(null, "store", "%")) + " " + count(m.getProcedureColumns(null, "store", "%", "%")) + " " + count(m.getFunctions(null, "store", "%")) + " " + count(m.getFunctionColumns(null, "store", "%", "%")));
            System.out.println(count(m.getUDTs(null, "store", "%", null)) + " " + count(m.getSchemas(null, "st%")));
            for (String name : new String[] { "getSuperTables", "getSuperTypes" }) try { DatabaseMetaData.class.getMethod(name, String.class, String.class, String.class).invoke(m, null, "store", "%"); } catch (InvocationTargetException e) { System.out.println(name + " " + e.getCause().getClass().getSimpleName()); }
            System.out.println(c.getSchema() + " " + c.getTransactionIsolation() + " " + c.isReadOnly() + " " + c.isValid(5));
        }
        try (Connection c = connect("assumeMinServerVersion", "9.0", "currentSchema", "store", "ApplicationName", "tool", "databaseMetadataCacheFields", "0", "readOnly", "true")) {
            try (PreparedStatement s = c.prepareStatement("SELECT * FROM products WHERE id = ?")) {
                ResultSetMetaData m = s.getMetaData();
                for (int i = 1; i <= m.getColumnCount(); i++) System.out.println(m.getColumnName(i) + " " + m.getTableName(i) + " " + m.getSchemaName(i) + " " + m.isAutoIncrement(i) + " " + m.isNullable(i) + " " + m.getColumnTypeName(i));
                System.out.println(s.getParameterMetaData().getParameterTypeName(1));
            }
        }
    }

    static void work(String mode) throws Exception {
        try (Connection c = connect("preferQueryMode", mode, "prepareThreshold", "2", "reWriteBatchedInserts", "true", "defaultRowFetchSize", "2")) {
            c.setAutoCommit(false);
            c.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
            try (PreparedStatement s = c.prepareStatement("INSERT INTO store.categories (parent_id, name) VALUES (?, ?)", Statement.RETURN_GENERATED_KEYS)) {
                for (int i = 0; i < 3; i++) { s.setInt(1, 1); s.setString(2, "jdbc " + i); s.addBatch(); }
                s.executeBatch();
                System.out.println(count(s.getGeneratedKeys()));
            }
            Savepoint p = c.setSavepoint("p");
            try (PreparedStatement s = c.prepareStatement("UPDATE store.categories SET name = upper(name) WHERE name LIKE ? OR id = ANY(?)")) {
                s.setString(1, "jdbc%"); s.setArray(2, c.createArrayOf("int4", new Integer[] { 1, 2 }));
                System.out.println(s.executeUpdate());
            }
            c.rollback(p);
            try (PreparedStatement s = c.prepareStatement("SELECT id, title, price, created_at, tags, attributes, code, origin, mood, valid, lasts FROM store.products WHERE price > ? ORDER BY id")) {
                for (int i = 0; i < 6; i++) {
                    s.setBigDecimal(1, new java.math.BigDecimal(1));
                    try (ResultSet rows = s.executeQuery()) { while (rows.next()) for (int n = 1; n <= 11; n++) if (i == 5) System.out.print(rows.getString(n) + (n == 11 ? "\n" : "|")); }
                }
            }
            try (Statement s = c.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE)) {
                s.setQueryTimeout(30);
                ResultSet rows = s.executeQuery("SELECT id, name FROM store.categories ORDER BY id");
                rows.last(); rows.updateString("name", "Updated"); rows.updateRow();
                rows.moveToInsertRow(); rows.updateInt("id", 900); rows.updateString("name", "Inserted"); rows.insertRow();
                System.out.println(s.execute("SELECT 1; SELECT 2") + " " + s.getMoreResults());
            }
            if (!mode.equals("simple")) try (CallableStatement s = c.prepareCall("{? = call upper(?)}")) { s.registerOutParameter(1, Types.VARCHAR); s.setString(2, "x"); s.execute(); System.out.println(s.getString(1)); }
            c.unwrap(org.postgresql.PGConnection.class).getCopyAPI().copyIn("COPY store.categories (name) FROM STDIN", new java.io.StringReader("copied\n"));
            c.unwrap(org.postgresql.PGConnection.class).getCopyAPI().copyOut("COPY (SELECT name FROM store.categories ORDER BY id) TO STDOUT", System.out);
            c.rollback();
            c.setReadOnly(true); c.setAutoCommit(true); c.setSchema("store"); c.setNetworkTimeout(Runnable::run, 0);
            System.out.println(count(c.createStatement().executeQuery("SELECT {fn ucase(title)} FROM products")));
            c.setClientInfo("ApplicationName", "other");
        }
    }

    /** What Hibernate's schema tool and its information extractor send (validate, update). */
    static void hibernate() throws Exception {
        try (Connection c = connect()) {
            DatabaseMetaData m = c.getMetaData();
            m.getSQLKeywords();
            Statement s = c.createStatement();
            System.out.println(count(s.executeQuery("select * from information_schema.sequences")));
            for (String schema : new String[] { "store", "public" }) {
                System.out.println(count(m.getTables(null, schema, "%", new String[] { "TABLE", "VIEW", "PARTITIONED TABLE" })));
                System.out.println(count(m.getColumns(null, schema, "%", "%")));
                for (String table : new String[] { "products", "categories", "orders" }) {
                    count(m.getTables(null, schema, table, new String[] { "TABLE" })); count(m.getColumns(null, schema, table, null)); count(m.getPrimaryKeys(null, schema, table));
                    count(m.getImportedKeys(null, schema, table)); count(m.getIndexInfo(null, schema, table, false, true));
                    count(s.executeQuery("select tc.constraint_name as FK_NAME, ccu.column_name from information_schema.table_constraints tc join information_schema.constraint_column_usage ccu using (constraint_schema, constraint_name) where tc.table_name = '" + table + "' and tc.constraint_type = 'UNIQUE'"));
                }
            }
            System.out.println(count(s.executeQuery("select current_schema()")) + " " + count(s.executeQuery("select nextval ('store.ticket_number')")));
            System.out.println(count(s.executeQuery("select p1_0.id,p1_0.title,c1_0.id,c1_0.name from store.products p1_0 left join store.categories c1_0 on c1_0.id=p1_0.category_id where p1_0.price>1 order by p1_0.id offset 0 rows fetch first 10 rows only")));
            System.out.println(count(s.executeQuery("select p1_0.id from store.products p1_0 where p1_0.id=1 for no key update skip locked")));
        }
    }
}
