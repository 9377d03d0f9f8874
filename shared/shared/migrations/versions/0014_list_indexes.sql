-- The indexes that keep lists as fast on ten million rows as on ten thousand: one for the default
-- order, one for each way in: the owner of rows, the rows that a relation leads to.

-- directoire.order_of(table): the default order of its lists as index columns, the status first; as
-- shared.rows.plan and compile.sort_key have it. Null for a key that no index can be made for.
CREATE FUNCTION directoire.order_of(tbl regclass) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH columns AS (
        SELECT a.attname, a.attnotnull, a.atttypid, c.ui, t.sort_column, c.sort, a.attnum
          FROM pg_attribute a
          JOIN pg_class r ON r.oid = a.attrelid
          LEFT JOIN public.directus_tables t ON t.table_name = r.relname
          LEFT JOIN public.directus_columns c
                 ON c.table_name = r.relname AND c.column_name = a.attname
         WHERE a.attrelid = tbl AND a.attnum > 0 AND NOT a.attisdropped
    ),
    sorting AS (
        SELECT attname, format('%I', attname)
               || CASE WHEN attnotnull THEN '' ELSE ' NULLS FIRST' END AS part
          FROM columns
         WHERE atttypid = ANY ('{int2,int4,int8,float4,float8}'::regtype[])
           AND (ui = 'sort' OR attname = 'sort' OR attname = sort_column)
         ORDER BY (ui = 'sort') IS TRUE DESC, attname = 'sort' DESC, sort, attnum
         LIMIT 1
    ),
    key AS (
        SELECT attname, CASE
                   WHEN atttypid = ANY ('{text,varchar,bpchar}'::regtype[])
                   THEN format('lower(%I)', attname)
                   WHEN atttypid = ANY ('{int2,int4,int8,numeric,uuid,date,timestamp}'::regtype[])
                   THEN format('%I', attname) END AS part
          FROM columns
         WHERE attname = directoire.key_column(tbl)
    )
    SELECT CASE WHEN k.part IS NOT NULL THEN
               array_remove(ARRAY[
                   CASE WHEN s.name <> k.attname THEN format('%I', s.name) END,
                   CASE WHEN o.attname IS DISTINCT FROM s.name
                         AND o.attname <> k.attname THEN o.part END,
                   k.part], NULL)
           END
      FROM key k
      LEFT JOIN sorting o ON true
     CROSS JOIN (SELECT directoire.status_column_of(tbl)) s (name)
$$;

-- directoire.index_lists(table): makes the indexes that lists of an adopted table want and it lacks,
-- and takes away those of this function that are wanted no more. An index of others that begins
-- with the same columns will do. Writers wait while one is made. Tables of the system have theirs.
CREATE FUNCTION directoire.index_lists(tbl regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own_name text := (SELECT c.relname FROM pg_class c WHERE c.oid = tbl);
    ordered text[] := directoire.order_of(tbl);
    way text;
    wanted text[];
    definition text;
    made name;
    kept name[] := '{}';
BEGIN
    IF own_name LIKE 'directus\_%' OR ordered IS NULL
       OR NOT EXISTS (SELECT FROM directoire.managed m WHERE m.tbl = index_lists.tbl)
    THEN
        RETURN;
    END IF;
    FOR way IN
        SELECT NULL
         UNION
        SELECT format('%I', a.attname)
          FROM pg_attribute a
         WHERE a.attrelid = tbl AND a.attnum > 0 AND NOT a.attisdropped
           AND a.attname <> directoire.key_column(tbl)
           AND a.atttypid = ANY ('{int2,int4,int8,uuid,text,varchar,bpchar}'::regtype[])
           AND a.attname IN (
               SELECT t.user_create_column FROM public.directus_tables t
                WHERE t.table_name = own_name
                UNION ALL
               SELECT c.junction_key_right FROM public.directus_columns c
                WHERE c.relationship_type = 'ONETOMANY' AND c.related_table = own_name
                UNION ALL
               SELECT c.junction_key_left FROM public.directus_columns c
                WHERE c.relationship_type = 'MANYTOMANY'
                  AND c.junction_table = own_name)
    LOOP
        wanted := CASE WHEN way IS NULL THEN ordered
                       ELSE way || array_remove(ordered, way) END;
        definition := array_to_string(wanted, ', ');
        made := 'directoire_' || md5(own_name || ' ' || definition);
        -- pg_get_indexdef shows a column without its order
        IF EXISTS (
            SELECT FROM pg_index i
              JOIN pg_class c ON c.oid = i.indexrelid
             WHERE i.indrelid = tbl AND i.indisvalid AND i.indpred IS NULL AND c.relname <> made
               AND (SELECT array_agg(pg_get_indexdef(i.indexrelid, n, true)
                                     || CASE WHEN i.indoption[n - 1] = 2 THEN ' NULLS FIRST'
                                             ELSE '' END ORDER BY n)
                      FROM generate_series(1, cardinality(wanted)) n
                     WHERE n <= i.indnkeyatts) = wanted)
        THEN
            CONTINUE;
        END IF;
        EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %s (%s)', made, tbl, definition);
        kept := kept || made;
    END LOOP;
    FOR made IN SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                 WHERE i.indrelid = tbl AND c.relname ~ '^directoire_[0-9a-f]{32}$'
                   AND c.relname <> ALL (kept) LOOP
        EXECUTE format('DROP INDEX %I.%I',
                       (SELECT n.nspname FROM pg_class c JOIN pg_namespace n
                            ON n.oid = c.relnamespace WHERE c.oid = tbl), made);
    END LOOP;
END $$;

-- What is said of a table or column may change the order of lists and the ways into them.
CREATE FUNCTION directoire.index_again() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    concerned text;
BEGIN
    IF TG_TABLE_NAME = 'directus_tables' THEN
        PERFORM directoire.index_lists(to_regclass(format('public.%I', NEW.table_name)));
        RETURN NULL;
    END IF;
    FOR concerned IN
        SELECT DISTINCT name FROM unnest(ARRAY[
            NEW.table_name,
            CASE NEW.relationship_type WHEN 'ONETOMANY' THEN NEW.related_table
                                       WHEN 'MANYTOMANY' THEN NEW.junction_table END]) name
         WHERE name <> ''
    LOOP
        PERFORM directoire.index_lists(to_regclass(format('public.%I', concerned)));
    END LOOP;
    RETURN NULL;
END $$;

CREATE TRIGGER index_lists
    AFTER UPDATE OF sort_column, status_column, user_create_column ON public.directus_tables
    FOR EACH ROW
    WHEN ((OLD.sort_column, OLD.status_column, OLD.user_create_column)
          IS DISTINCT FROM (NEW.sort_column, NEW.status_column, NEW.user_create_column))
    EXECUTE FUNCTION directoire.index_again();

CREATE TRIGGER index_lists_of_new
    AFTER INSERT ON public.directus_columns
    FOR EACH ROW
    WHEN (NEW.ui = 'sort' OR NEW.column_name = 'sort'
          OR NEW.relationship_type IN ('ONETOMANY', 'MANYTOMANY'))
    EXECUTE FUNCTION directoire.index_again();

CREATE TRIGGER index_lists
    AFTER UPDATE ON public.directus_columns
    FOR EACH ROW
    WHEN ((OLD.ui = 'sort', OLD.relationship_type, OLD.related_table, OLD.junction_table,
           OLD.junction_key_left, OLD.junction_key_right)
          IS DISTINCT FROM
          (NEW.ui = 'sort', NEW.relationship_type, NEW.related_table, NEW.junction_table,
           NEW.junction_key_left, NEW.junction_key_right))
    EXECUTE FUNCTION directoire.index_again();
