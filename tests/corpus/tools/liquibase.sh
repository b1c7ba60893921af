#!/bin/sh
# Liquibase: update, status, snapshot, generated changelog, rollback.
set -e
cd "$HOME"
cat > changelog.sql <<'END'
--liquibase formatted sql
--changeset corpus:1
CREATE TABLE lb_one (id serial PRIMARY KEY, name varchar(40) NOT NULL);
--rollback DROP TABLE lb_one;
--changeset corpus:2 splitStatements:false
CREATE FUNCTION lb_f() RETURNS integer LANGUAGE sql AS 'SELECT 1; SELECT 2';
--rollback DROP FUNCTION lb_f();
END
cat > changelog.xml <<'END'
<databaseChangeLog xmlns="http://www.liquibase.org/xml/ns/dbchangelog" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://www.liquibase.org/xml/ns/dbchangelog http://www.liquibase.org/xml/ns/dbchangelog/dbchangelog-latest.xsd">
  <include file="changelog.sql"/>
  <changeSet id="3" author="corpus">
    <preConditions onFail="MARK_RAN"><not><tableExists tableName="lb_two"/></not></preConditions>
    <createTable tableName="lb_two"><column name="id" type="bigint" autoIncrement="true"><constraints primaryKey="true"/></column><column name="one_id" type="int"/><column name="at" type="timestamp" defaultValueComputed="CURRENT_TIMESTAMP"/></createTable>
    <addForeignKeyConstraint baseTableName="lb_two" baseColumnNames="one_id" constraintName="lb_fk" referencedTableName="lb_one" referencedColumnNames="id"/>
    <createIndex tableName="lb_two" indexName="lb_i"><column name="at"/></createIndex>
    <addColumn tableName="lb_one"><column name="more" type="text" defaultValue="x"><constraints nullable="false"/></column></addColumn>
    <insert tableName="lb_one"><column name="name" value="a"/></insert>
    <update tableName="lb_one"><column name="more" value="y"/><where>name = 'a'</where></update>
    <createView viewName="lb_v">SELECT name FROM lb_one</createView>
    <renameColumn tableName="lb_one" oldColumnName="more" newColumnName="extra" columnDataType="text"/>
    <createSequence sequenceName="lb_s"/>
    <rollback><dropSequence sequenceName="lb_s"/><dropView viewName="lb_v"/><dropTable tableName="lb_two"/><dropColumn tableName="lb_one" columnName="extra"/></rollback>
  </changeSet>
</databaseChangeLog>
END
run() {
    java -Duser.home="$HOME" -jar "$NODE_PATH/liquibase/dist/liquibase/internal/lib/liquibase-core.jar" --log-level=off --show-banner=false \
        --url="jdbc:postgresql://$PGHOST:$PGPORT/$PGDATABASE?sslmode=disable" --username="$PGUSER" --password="$PGPASSWORD" --changelog-file=changelog.xml "$@"
}
export LIQUIBASE_HOME="$NODE_PATH/liquibase/dist/liquibase"
run update
run status
run tag --tag=one
run rollback-count --count=1
run update
run --schemas=public snapshot | grep -c '^ *lb_'
run generate-changelog --schemas=public --overwrite-output-file=true --changelog-file=generated.xml
run validate
run rollback-count --count=3
echo done
