-- directoire.status_column_of(table): the column that holds a row's status (0, 1, 2): the one named in
-- directus_tables, else `active` if it is a whole number; null without.
CREATE FUNCTION directoire.status_column_of(tbl regclass) RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.attname
      FROM pg_attribute a
      JOIN pg_class c ON c.oid = a.attrelid
      LEFT JOIN public.directus_tables t ON t.table_name = c.relname
     WHERE a.attrelid = tbl AND a.attnum > 0 AND NOT a.attisdropped
       AND a.attname = coalesce(nullif(t.status_column, ''), 'active')
       AND a.atttypid = ANY ('{int2,int4,int8}'::regtype[])
$$;

-- directoire.manage(table, hidden): adopts a table: activity, TRUNCATE and count triggers, an index on
-- (status, key), and its rows counted under a lock. Does nothing when all that is there already; puts
-- it right after key, status column or `hidden` (columns never shown in entries) have changed.
-- `hidden` NULL keeps what was said before. Returns whether anything was done.
-- Raises 42809 when it is no table, 55000 when it has no primary key of one column.
CREATE FUNCTION directoire.manage(tbl regclass, hidden text[] DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kind "char" := (SELECT c.relkind FROM pg_class c WHERE c.oid = tbl);
    key_name name := directoire.key_column(tbl);
    status_name name := directoire.status_column_of(tbl);
    known directoire.managed;
    secret text[];
    row_arguments text;
    status_argument text;
    trigger_name name;
BEGIN
    IF kind IS DISTINCT FROM 'r' AND kind IS DISTINCT FROM 'p' THEN
        RAISE EXCEPTION '% is not a table', tbl USING ERRCODE = 'wrong_object_type';
    END IF;
    IF tbl = 'public.directus_activity'::regclass THEN
        RAISE EXCEPTION 'the activity records itself' USING ERRCODE = 'wrong_object_type';
    END IF;
    IF key_name IS NULL THEN
        RAISE EXCEPTION '% has no primary key of one column', tbl
        USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT m.* INTO known FROM directoire.managed m WHERE m.tbl = manage.tbl;
    secret := nullif(coalesce(hidden, known.hidden), '{}');
    IF (known.key_column, known.hidden, known.status_column)
        IS NOT DISTINCT FROM (key_name, secret, status_name)
        AND (SELECT count(*) FROM pg_trigger t
              WHERE t.tgrelid = tbl AND t.tgenabled = 'A' AND NOT t.tgisinternal
                AND t.tgname LIKE 'directoire\_%')
            = (CASE WHEN status_name IS NULL OR kind = 'p' THEN 4 ELSE 5 END)
    THEN
        RETURN false;
    END IF;

    -- writers wait here, so that the count below misses nobody's rows
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', tbl);
    PERFORM directoire.unmanage(tbl);

    row_arguments := quote_literal(key_name);
    IF secret IS NOT NULL OR kind = 'p' THEN
        row_arguments := row_arguments || ', ' || quote_literal(coalesce(secret, '{}'));
    END IF;
    IF kind = 'p' THEN
        row_arguments := row_arguments || ', ''partitioned''';
    END IF;
    status_argument := quote_literal(coalesce(status_name, ''));

    EXECUTE format('CREATE TRIGGER directoire_activity AFTER INSERT OR UPDATE OR DELETE ON %s '
        'FOR EACH ROW EXECUTE FUNCTION directoire.record(%s)', tbl, row_arguments);
    EXECUTE format('CREATE TRIGGER directoire_truncate AFTER TRUNCATE ON %s '
        'FOR EACH STATEMENT EXECUTE FUNCTION directoire.after_truncate()', tbl);
    IF kind = 'p' THEN
        EXECUTE format('CREATE TRIGGER directoire_counts_insert AFTER INSERT ON %s FOR EACH ROW '
            'EXECUTE FUNCTION directoire.count_row(%s, ''partitioned'')', tbl, status_argument);
        EXECUTE format('CREATE TRIGGER directoire_counts_change AFTER UPDATE OR DELETE ON %s '
            'FOR EACH ROW EXECUTE FUNCTION directoire.count_row(%s, ''partitioned'')',
            tbl, status_argument);
    ELSE
        EXECUTE format('CREATE TRIGGER directoire_counts_insert AFTER INSERT ON %s '
            'REFERENCING NEW TABLE AS changed FOR EACH STATEMENT '
            'EXECUTE FUNCTION directoire.count_statement(%s)', tbl, status_argument);
        EXECUTE format('CREATE TRIGGER directoire_counts_delete AFTER DELETE ON %s '
            'REFERENCING OLD TABLE AS changed FOR EACH STATEMENT '
            'EXECUTE FUNCTION directoire.count_statement(%s)', tbl, status_argument);
        -- without OF: a BEFORE trigger may set the status in an update that does not name it
        IF status_name IS NOT NULL THEN
            EXECUTE format('CREATE TRIGGER directoire_counts_update AFTER UPDATE ON %s '
                'FOR EACH ROW WHEN (OLD.%I IS DISTINCT FROM NEW.%I) '
                'EXECUTE FUNCTION directoire.count_row(%s)',
                tbl, status_name, status_name, status_argument);
        END IF;
    END IF;
    FOR trigger_name IN SELECT t.tgname FROM pg_trigger t
                         WHERE t.tgrelid = tbl AND t.tgname LIKE 'directoire\_%' LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', tbl, trigger_name);
    END LOOP;

    IF status_name IS NOT NULL AND status_name <> key_name AND NOT EXISTS (
        SELECT FROM pg_index i
          JOIN pg_attribute s ON s.attrelid = i.indrelid AND s.attnum = i.indkey[0]
          JOIN pg_attribute k ON k.attrelid = i.indrelid AND k.attnum = i.indkey[1]
         WHERE i.indrelid = tbl AND i.indisvalid AND i.indpred IS NULL
           AND s.attname = status_name AND k.attname = key_name)
    THEN
        EXECUTE format('CREATE INDEX ON %s (%I, %I)', tbl, status_name, key_name);
    END IF;

    IF status_name IS NULL THEN
        EXECUTE format('INSERT INTO directoire.counts SELECT $1, '''', count(*) FROM %s', tbl)
        USING tbl;
    ELSE
        EXECUTE format('INSERT INTO directoire.counts '
            'SELECT $1, coalesce(r.%I::text, ''''), count(*) FROM %s r GROUP BY 2',
            status_name, tbl)
        USING tbl;
    END IF;
    INSERT INTO directoire.managed VALUES (tbl, key_name, secret, status_name);
    RETURN true;
END $$;

-- directoire.unmanage(table): takes its triggers and counts away (before DROP TABLE, or to leave
-- Directoire); rows, index and activity stay. To drop or retype a status column: unmanage, alter, manage,
-- in one transaction; a trigger condition names it. Returns whether there was anything to take away.
CREATE FUNCTION directoire.unmanage(tbl regclass) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    trigger_name name;
    was_managed boolean;
BEGIN
    FOR trigger_name IN SELECT t.tgname FROM pg_trigger t
                         WHERE t.tgrelid = tbl AND NOT t.tgisinternal AND t.tgparentid = 0
                           AND t.tgname LIKE 'directoire\_%' LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', trigger_name, tbl);
    END LOOP;
    DELETE FROM directoire.counts c WHERE c.tbl = unmanage.tbl;
    DELETE FROM directoire.count_deltas d WHERE d.tbl = unmanage.tbl;
    DELETE FROM directoire.managed m WHERE m.tbl = unmanage.tbl;
    was_managed := FOUND;
    RETURN was_managed OR trigger_name IS NOT NULL;
END $$;

SELECT directoire.manage(t::regclass)
  FROM unnest(ARRAY[
    'public.directus_groups', 'public.directus_users', 'public.directus_privileges',
    'public.directus_tables', 'public.directus_columns', 'public.directus_settings',
    'public.directus_files', 'public.directus_preferences', 'public.directus_bookmarks',
    'public.directus_messages', 'public.directus_messages_recipients']) t;
