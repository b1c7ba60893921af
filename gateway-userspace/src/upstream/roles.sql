-- What an administrator's connection does to roles of jobs and of grants. Each block is the body
-- of one operation: run as a DO block by a login that may make roles itself, or kept in the
-- database as a SECURITY DEFINER function (`cordon database prepare`), whose owner may.
--
-- `$role` and its like are the operation's arguments. Names are checked first: these operations
-- reach no role but Cordon's own.

-- operation make_grant_role(role text, privileges text)
-- A role without login that holds exactly these privileges.
DECLARE
  item jsonb;
  relation regclass;
  privilege text;
  columns text;
  missing bigint;
BEGIN
  IF $role !~ '^cordon_grant_[0-9a-f]{8}_[0-9a-f]{16}_[0-9a-f]{8}$' THEN
    RAISE EXCEPTION 'cordon: % is not the name of a grant''s role', $role USING ERRCODE = '22023';
  END IF;
  -- Two that change the privileges of one object at once would fail.
  PERFORM pg_advisory_xact_lock(hashtext('cordon: privileges'));
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = $role) THEN
    IF EXISTS (SELECT FROM pg_shdepend AS d WHERE d.refclassid = 'pg_authid'::regclass
        AND d.refobjid = (SELECT oid FROM pg_roles WHERE rolname = $role) AND d.deptype = 'o') THEN
      RAISE EXCEPTION 'cordon: the role % owns objects', $role
        USING HINT = format('see what they are, then: REASSIGN OWNED BY %I TO ..; DROP ROLE %1$I', $role);
    END IF;
    EXECUTE format('DROP OWNED BY %I', $role);
  ELSE
    EXECUTE format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', $role);
    EXECUTE format('GRANT %I TO CURRENT_USER', $role)
      || CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT TRUE, SET FALSE' ELSE '' END;
    EXECUTE format('COMMENT ON ROLE %I IS %L', $role, 'Cordon: privileges of a grant, since ' || transaction_timestamp()::timestamptz(0));
  END IF;
  FOR item IN SELECT value FROM jsonb_array_elements($privileges::jsonb) LOOP
    privilege := item ->> 'privilege';
    CASE item ->> 'on'
    WHEN 'database' THEN
      EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), $role);
      missing := count(*) FILTER (WHERE NOT has_database_privilege($role, current_database(), 'CONNECT'));
    WHEN 'schema' THEN
      EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', (item ->> 'oid')::oid::regnamespace, $role);
      missing := count(*) FILTER (WHERE NOT has_schema_privilege($role, (item ->> 'oid')::oid, 'USAGE'));
    WHEN 'routine' THEN
      IF NOT EXISTS (SELECT FROM pg_proc WHERE oid = (item ->> 'oid')::oid
          AND pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)) THEN
        RAISE EXCEPTION 'cordon: % is no routine that may be granted', item ->> 'oid' USING ERRCODE = '22023';
      END IF;
      EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', (item ->> 'oid')::oid::regprocedure, $role);
      missing := count(*) FILTER (WHERE NOT has_function_privilege($role, (item ->> 'oid')::oid, 'EXECUTE'));
    WHEN 'sequence', 'table' THEN
      relation := (SELECT c.oid FROM pg_class AS c WHERE c.oid = (item ->> 'oid')::oid
        AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        AND (c.relkind = 'S') = (item ->> 'on' = 'sequence') AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S'));
      IF relation IS NULL OR privilege IS NULL
          OR privilege NOT IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'USAGE') THEN
        RAISE EXCEPTION 'cordon: % on % may not be granted', privilege, item ->> 'oid' USING ERRCODE = '22023';
      END IF;
      columns := (SELECT '(' || string_agg(quote_ident(name), ', ') || ')' FROM jsonb_array_elements_text(
        CASE WHEN jsonb_typeof(item -> 'columns') = 'array' THEN item -> 'columns' END) AS name);
      EXECUTE format('GRANT %s %s ON %s %s TO %I', privilege, columns,
        CASE item ->> 'on' WHEN 'sequence' THEN 'SEQUENCE' ELSE 'TABLE' END, relation, $role);
      IF columns IS NOT NULL THEN
        missing := (SELECT count(*) FROM jsonb_array_elements_text(item -> 'columns') AS name
          WHERE NOT has_column_privilege($role, relation, name, privilege));
      ELSIF item ->> 'on' = 'sequence' THEN
        missing := count(*) FILTER (WHERE NOT has_sequence_privilege($role, relation, privilege));
      ELSE
        missing := count(*) FILTER (WHERE NOT has_table_privilege($role, relation, privilege));
      END IF;
    ELSE
      RAISE EXCEPTION 'cordon: unknown kind of object %', item ->> 'on' USING ERRCODE = '22023';
    END CASE;
    IF missing > 0 THEN
      RAISE EXCEPTION 'cordon: % may not grant % on %', CURRENT_USER, coalesce(privilege, 'access'),
          coalesce(relation::text, item ->> 'on')
        USING ERRCODE = '42501', HINT = format('GRANT its owner TO %I, or grant it the privilege WITH GRANT OPTION', CURRENT_USER);
    END IF;
  END LOOP;
END

-- operation make_job_role(role text, verifier text, seconds text, connections text, holds text)
-- A role with login for one job, which holds what a grant's role holds.
DECLARE
  options text := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT TRUE, SET FALSE' ELSE '' END;
BEGIN
  IF $role !~ '^cordon_job_[0-9a-f]{8}_[0-9a-f]{16}_[0-9a-f]{8}$' OR $holds !~ '^cordon_grant_[0-9a-f]{8}_[0-9a-f]{16}_[0-9a-f]{8}$' THEN
    RAISE EXCEPTION 'cordon: % is not the name of a job''s role, or % not that of a grant''s', $role, $holds USING ERRCODE = '22023';
  END IF;
  -- A password in clear would end up in logs.
  IF $verifier !~ '^SCRAM-SHA-256\$[0-9]{4,7}:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]{44}:[A-Za-z0-9+/=]{44}$' THEN
    RAISE EXCEPTION 'cordon: this is no SCRAM-SHA-256 verifier' USING ERRCODE = '22023';
  END IF;
  IF $seconds::int NOT BETWEEN 1 AND 2764800 OR $connections::int NOT BETWEEN 1 AND 10000 THEN
    RAISE EXCEPTION 'cordon: % s or % connections are out of range', $seconds, $connections USING ERRCODE = '22023';
  END IF;
  EXECUTE format('CREATE ROLE %I LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT %s PASSWORD %L VALID UNTIL %L',
    $role, $connections::int, $verifier, clock_timestamp() + make_interval(secs => $seconds::int));
  EXECUTE format('GRANT %I TO %I', $holds, $role) || options;
  EXECUTE format('GRANT %I TO CURRENT_USER', $role) || options;
  EXECUTE format('COMMENT ON ROLE %I IS %L', $role, 'Cordon: a job''s role, made ' || clock_timestamp()::timestamptz(0));
END

-- operation change_job_role(role text, holds text)
-- The job's role holds what this grant's role holds, and nothing else.
DECLARE
  other name;
BEGIN
  IF $role !~ '^cordon_job_[0-9a-f]{8}_[0-9a-f]{16}_[0-9a-f]{8}$' OR $holds !~ '^cordon_grant_[0-9a-f]{8}_[0-9a-f]{16}_[0-9a-f]{8}$' THEN
    RAISE EXCEPTION 'cordon: % is not the name of a job''s role, or % not that of a grant''s', $role, $holds USING ERRCODE = '22023';
  END IF;
  EXECUTE format('GRANT %I TO %I', $holds, $role)
    || CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT TRUE, SET FALSE' ELSE '' END;
  FOR other IN SELECT p.rolname FROM pg_auth_members AS m JOIN pg_roles AS p ON p.oid = m.roleid
      JOIN pg_roles AS r ON r.oid = m.member WHERE r.rolname = $role AND p.rolname <> $holds LOOP
    EXECUTE format('REVOKE %I FROM %I', other, $role);
  END LOOP;
END

-- operation end_job_role(role text)
-- Nobody logs in as it any more; its sessions are ended. Answers how many there were: once it
-- has committed, and then found none, there are none.
DECLARE
  found_sessions bigint := 0;
  session_pid integer;
BEGIN
  IF $role !~ '^cordon_job_[0-9a-f]{8}_[0-9a-f]{16}_[0-9a-f]{8}$' THEN
    RAISE EXCEPTION 'cordon: % is not the name of a job''s role', $role USING ERRCODE = '22023';
  END IF;
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = $role) THEN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = $role AND rolcanlogin) THEN
      EXECUTE format('ALTER ROLE %I NOLOGIN', $role);
    END IF;
    -- One by one: as a condition of the query it could be asked of every session of the server.
    FOR session_pid IN SELECT s.pid FROM pg_stat_activity AS s WHERE s.usename = $role LOOP
      PERFORM pg_terminate_backend(session_pid);
      found_sessions := found_sessions + 1;
    END LOOP;
  END IF;
  PERFORM set_config('cordon.answer', found_sessions::text, false);
END

-- operation drop_role(role text)
-- Answers `dropped`; or `left` where it owns objects: nothing is destroyed, and nothing handed on
-- to somebody else, with whose rights its code would run then. It has no rights and no login.
DECLARE
  other name;
  self oid := (SELECT oid FROM pg_roles WHERE rolname = $role);
BEGIN
  IF $role !~ '^cordon_(job|grant)_[0-9a-f]{8}_[0-9a-f]{16}_[0-9a-f]{8}$' THEN
    RAISE EXCEPTION 'cordon: % is not the name of a role of Cordon''s', $role USING ERRCODE = '22023';
  END IF;
  PERFORM set_config('cordon.answer', 'dropped', false);
  IF self IS NULL THEN
    RETURN;
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('cordon: privileges'));
  IF NOT EXISTS (SELECT FROM pg_shdepend AS d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = self AND d.deptype = 'o') THEN
    BEGIN
      EXECUTE format('DROP OWNED BY %I', $role);
      EXECUTE format('DROP ROLE %I', $role);
      RETURN;
    EXCEPTION WHEN dependent_objects_still_exist THEN
      NULL;
    END;
  END IF;
  FOR other IN SELECT p.rolname FROM pg_auth_members AS m JOIN pg_roles AS p ON p.oid = m.roleid WHERE m.member = self LOOP
    EXECUTE format('REVOKE %I FROM %I', other, $role);
  END LOOP;
  EXECUTE format('ALTER ROLE %I NOLOGIN PASSWORD NULL', $role);
  PERFORM set_config('cordon.answer', 'left', false);
END
