-- What a change adds to the counts travels in its outbox row: the triggers of their own that wrote
-- deltas cost a single INSERT or DELETE as much as everything else that is recorded of it.
-- Kept are counters, outbox rows without position, and what the relay has moved from there to the
-- deltas and folds: one statement sees each change once, because every move is one transaction.

-- A counter is one adoption of a table. Adopted anew it gets another, so that what still stands in
-- the outbox of the old one counts nowhere.
ALTER TABLE directoire.managed ADD COLUMN counter integer GENERATED ALWAYS AS IDENTITY UNIQUE;

-- removed, added: the status that has one row less, one row more; '' for a row or table without one.
-- counter: whose; null when the counts stay as they are. No index for it: every writer would pay, and
-- what lies above the floor is what was committed within the last hundredths of a second.
ALTER TABLE directoire.outbox
    ADD COLUMN counter integer, ADD COLUMN removed text, ADD COLUMN added text;

-- No writer is between two forms: the old triggers go first, under locks that are kept to the end.
DO $$
DECLARE
    old record;
BEGIN
    FOR old IN SELECT t.tgrelid::regclass AS tbl, t.tgname
                 FROM pg_trigger t JOIN directoire.managed m ON m.tbl = t.tgrelid
                WHERE t.tgname LIKE 'directoire\_counts\_%' ORDER BY 1 LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', old.tgname, old.tbl);
    END LOOP;
    WHILE directoire.fold_counts(100000) > 0 LOOP END LOOP;
END $$;
DROP FUNCTION directoire.count_statement(), directoire.count_row();

ALTER TABLE directoire.counts ADD COLUMN counter integer;
UPDATE directoire.counts c SET counter = m.counter FROM directoire.managed m WHERE m.tbl = c.tbl;
DELETE FROM directoire.counts WHERE counter IS NULL;
ALTER TABLE directoire.counts DROP COLUMN tbl, ADD PRIMARY KEY (counter, status);
ALTER TABLE directoire.count_deltas DROP COLUMN tbl, ADD COLUMN counter integer NOT NULL;
CREATE INDEX count_deltas_counter ON directoire.count_deltas (counter);

-- directoire.table_counts(table): its rows by status; '' where a row or the table has none.
-- A status without rows is left out.
CREATE OR REPLACE FUNCTION directoire.table_counts(tbl oid) RETURNS TABLE (status text, n bigint)
LANGUAGE sql STABLE AS $$
    SELECT x.status, sum(x.n)::bigint
      FROM directoire.managed m
     CROSS JOIN LATERAL (
            SELECT c.status, c.n FROM directoire.counts c WHERE c.counter = m.counter
            UNION ALL
            SELECT d.status, d.n FROM directoire.count_deltas d WHERE d.counter = m.counter
            UNION ALL
            SELECT s.status, s.n
              FROM directoire.outbox o
             CROSS JOIN LATERAL (VALUES (o.added, 1), (o.removed, -1)) s (status, n)
             WHERE o.counter = m.counter AND o.id > (SELECT r.floor FROM directoire.relay r)
               AND s.status IS NOT NULL) x
     WHERE m.tbl = table_counts.tbl
     GROUP BY x.status
    HAVING sum(x.n) <> 0
$$;

-- directoire.fold_counts(batch): moves up to so many deltas into the counters; returns how many.
-- Those of a counter that is gone are dropped.
CREATE OR REPLACE FUNCTION directoire.fold_counts(batch integer DEFAULT 5000) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    folded integer;
BEGIN
    WITH taken AS (
        DELETE FROM directoire.count_deltas
         WHERE ctid = ANY (ARRAY(SELECT ctid FROM directoire.count_deltas LIMIT batch))
        RETURNING counter, status, n),
    put AS (
        INSERT INTO directoire.counts AS c (counter, status, n)
        SELECT t.counter, t.status, sum(t.n)
          FROM taken t JOIN directoire.managed m ON m.counter = t.counter
         GROUP BY t.counter, t.status ORDER BY t.counter, t.status
        ON CONFLICT (counter, status) DO UPDATE SET n = c.n + excluded.n)
    SELECT count(*) INTO folded FROM taken;
    RETURN folded;
END $$;

-- directoire.take_positions(token, batch): as before; what the entries add to the counts goes to the
-- deltas. Only inserts: whoever holds a row of the counters must not hold up the feed.
CREATE OR REPLACE FUNCTION directoire.take_positions(token bigint, batch integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fresh boolean := pg_current_xact_id_if_assigned() IS NULL;
    seen_next bigint := (SELECT r.floor_next FROM directoire.relay r);
    lead directoire.relay;
    ended boolean;
    taken_count integer;
BEGIN
    SELECT r.* INTO lead FROM directoire.relay r
     WHERE r.token = take_positions.token AND r.until IS NOT NULL FOR UPDATE;
    IF NOT FOUND THEN RETURN NULL; END IF;

    ended := coalesce(pg_snapshot_xmin(pg_current_snapshot()) > lead.floor_xid, false);
    WITH taken AS (
        DELETE FROM directoire.outbox
         WHERE id = ANY (ARRAY(
            SELECT o.id FROM directoire.outbox o WHERE o.id > lead.floor ORDER BY o.id LIMIT batch))
        RETURNING id, at, counter, removed, added),
    counted AS (
        INSERT INTO directoire.count_deltas (counter, status, n)
        SELECT t.counter, s.status, sum(s.n)
          FROM taken t, LATERAL (VALUES (t.added, 1), (t.removed, -1)) s (status, n)
         WHERE t.counter IS NOT NULL AND s.status IS NOT NULL
         GROUP BY 1, 2 HAVING sum(s.n) <> 0),
    put AS (
        INSERT INTO directoire.feed (position, id, at)
        SELECT lead.position + row_number() OVER (ORDER BY t.id), t.id, t.at FROM taken t)
    SELECT count(*) INTO taken_count FROM taken;

    IF ended AND taken_count < batch THEN
        lead.floor := lead.floor_next;
        lead.floor_next := NULL;
        lead.floor_xid := NULL;
    ELSIF lead.floor_next IS NULL THEN
        lead.floor_next := (SELECT s.last_value FROM directoire.activity_id s);
    ELSIF lead.floor_xid IS NULL AND fresh AND seen_next = lead.floor_next THEN
        lead.floor_xid := pg_current_xact_id();
    END IF;
    UPDATE directoire.relay r
       SET position = lead.position + taken_count,
           floor = lead.floor, floor_next = lead.floor_next, floor_xid = lead.floor_xid;
    RETURN taken_count;
END $$;

-- directoire.image(table, row): the row as jsonb, whatever the session's settings that shape text are,
-- and whatever it holds.
CREATE FUNCTION directoire.image(tbl oid, image anyelement) RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET bytea_output = 'hex'
SET intervalstyle = 'postgres' SET extra_float_digits = 1 AS $$
BEGIN
    RETURN to_jsonb(image);
EXCEPTION WHEN OTHERS THEN
    RETURN directoire.portable(tbl, image);
END $$;

-- directoire.record(): the row trigger of every managed table.
-- TG_ARGV[0] the key column, [1] the counter, [2] the status column, '' without one, [3] columns
-- never shown, an array literal, [4] present for a partitioned table. The two last are absent when
-- not needed.
-- `after` is the row as it is now (not for DELETE), `before` the row as it was (DELETE) or its
-- changed columns (UPDATE). An entry must not depend on the session that caused it: its settings
-- are either those of image(), or image() is asked. When plain SQL has renamed the status column,
-- rows are counted without status until the table is managed anew; their sum stays right.
--
-- Written for its cost. Each expression of PL/pgSQL is made ready anew in every transaction, which
-- a single row pays in full: so there are few, and what can be is part of the two INSERTs. A query or
-- a helper function per row would cost more than all the rest; changed columns are found without.
CREATE OR REPLACE FUNCTION directoire.record() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    o jsonb;
    n jsonb;
    changed jsonb;
    column_names jsonb;
    column_name text;
    relation text;
    key text;
    removed text;
    added text;
    who text;
BEGIN
    IF current_setting('TimeZone') = 'UTC' AND current_setting('bytea_output') = 'hex'
        AND current_setting('IntervalStyle') = 'postgres'
        AND current_setting('extra_float_digits') = '1'
    THEN
        BEGIN
            IF TG_OP = 'INSERT' THEN
                n := to_jsonb(NEW);
            ELSE
                o := to_jsonb(OLD);
                IF TG_OP = 'UPDATE' THEN n := to_jsonb(NEW); END IF;
            END IF;
        EXCEPTION WHEN OTHERS THEN
            -- a value that jsonb cannot hold must not fail the user's write
            IF TG_OP <> 'INSERT' THEN o := directoire.portable(TG_RELID, OLD); END IF;
            IF TG_OP <> 'DELETE' THEN n := directoire.portable(TG_RELID, NEW); END IF;
        END;
    ELSE
        IF TG_OP <> 'INSERT' THEN o := directoire.image(TG_RELID, OLD); END IF;
        IF TG_OP <> 'DELETE' THEN n := directoire.image(TG_RELID, NEW); END IF;
    END IF;
    key := coalesce(n, o) ->> TG_ARGV[0];
    IF key IS NULL THEN  -- the key column was renamed
        key := coalesce(n, o) ->> directoire.key_column(TG_RELID)::text;
    END IF;
    IF TG_NARGS > 3 THEN
        o := o - TG_ARGV[3]::text[];
        n := n - TG_ARGV[3]::text[];
        IF TG_NARGS > 4 THEN  -- a leaf speaks for the table it is a part of
            relation := (SELECT c.relname FROM pg_class c
                          WHERE c.oid = coalesce(pg_partition_root(TG_RELID), TG_RELID));
        END IF;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        changed := '{}';
        column_names := jsonb_path_query_array(o, '$.keyvalue().key');
        FOR number IN 0 .. jsonb_array_length(column_names) - 1 LOOP
            column_name := column_names ->> number;
            -- equal numbers may still be written differently: 1.1 and 1.10
            IF o -> column_name IS DISTINCT FROM n -> column_name
                OR jsonb_typeof(o -> column_name) = 'number'
                AND (o -> column_name)::text <> (n -> column_name)::text
            THEN
                changed := changed || jsonb_build_object(column_name, o -> column_name);
            END IF;
        END LOOP;
        o := changed;
        IF o ? TG_ARGV[2] THEN
            removed := coalesce(o ->> TG_ARGV[2], '');
            added := coalesce(n ->> TG_ARGV[2], '');
        END IF;
    ELSIF TG_OP = 'INSERT' THEN
        added := coalesce(n ->> TG_ARGV[2], '');
    ELSE
        removed := coalesce(o ->> TG_ARGV[2], '');
    END IF;
    IF pg_column_size(n) > 4194304 OR pg_column_size(o) > 4194304 THEN
        IF pg_column_size(n) > 4194304 THEN n := directoire.shortened(n); END IF;
        IF pg_column_size(o) > 4194304 THEN o := directoire.shortened(o); END IF;
    END IF;
    -- whoever may speak plain SQL may also set these: they count for the service's role only
    who := CASE WHEN pg_has_role(session_user, current_user, 'member')
                THEN coalesce(current_setting('directoire.actor', true), '') END;
    INSERT INTO public.directus_activity
        (table_name, row_id, action, actor, "user", request_id, quiet, before, after)
    VALUES (
        coalesce(relation, TG_TABLE_NAME), key, CASE TG_OP WHEN 'INSERT' THEN 'ADD' ELSE TG_OP END,
        coalesce(nullif(who, ''), 'db:' || session_user),
        CASE WHEN who ~ '^[0-9]{1,9}$' THEN who::integer END,
        CASE WHEN who IS NOT NULL
             THEN nullif(current_setting('directoire.request', true), '') END,
        who IS NOT NULL AND current_setting('directoire.quiet', true) IS NOT DISTINCT FROM 't',
        o, n);
    -- the line above has drawn the number; an update that leaves the status counts nothing
    INSERT INTO directoire.outbox (id, at, counter, removed, added)
    VALUES (
        currval('directoire.activity_id'), now(),
        CASE WHEN coalesce(added, removed) IS NOT NULL THEN TG_ARGV[1]::integer END,
        removed, added);
    RETURN NULL;
END $$;

-- directoire.after_truncate(): the TRUNCATE trigger: one entry without rows, and counts of zero.
CREATE OR REPLACE FUNCTION directoire.after_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM directoire.record_entry(TG_TABLE_NAME, NULL, 'TRUNCATE', NULL, NULL);
    INSERT INTO directoire.count_deltas (counter, status, n)
    SELECT m.counter, c.status, -c.n
      FROM directoire.managed m, directoire.table_counts(TG_RELID) c
     WHERE m.tbl = TG_RELID;
    RETURN NULL;
END $$;

-- directoire.manage(table, hidden): as before; two triggers, the counter said to the first.
CREATE OR REPLACE FUNCTION directoire.manage(tbl regclass, hidden text[] DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kind "char" := (SELECT c.relkind FROM pg_class c WHERE c.oid = tbl);
    key_name name := directoire.key_column(tbl);
    status_name name := directoire.status_column_of(tbl);
    known directoire.managed;
    secret text[];
    counter integer;
    row_arguments text;
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
    IF status_name = ANY (secret) THEN status_name := NULL; END IF;  -- nothing is told by counts
    IF (known.key_column, known.hidden, known.status_column)
        IS NOT DISTINCT FROM (key_name, secret, status_name)
        AND (SELECT count(*) FROM pg_trigger t
              WHERE t.tgrelid = tbl AND t.tgenabled = 'A' AND NOT t.tgisinternal
                AND t.tgname LIKE 'directoire\_%') = 2
    THEN
        RETURN false;
    END IF;

    -- writers wait here, so that the count below misses nobody's rows
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', tbl);
    PERFORM directoire.unmanage(tbl);

    INSERT INTO directoire.managed (tbl, key_column, hidden, status_column)
    VALUES (tbl, key_name, secret, status_name)
    RETURNING managed.counter INTO counter;
    row_arguments := concat_ws(', ',
        quote_literal(key_name), quote_literal(counter), quote_literal(coalesce(status_name, '')));
    IF secret IS NOT NULL OR kind = 'p' THEN
        row_arguments := row_arguments || ', ' || quote_literal(coalesce(secret, '{}'));
    END IF;
    IF kind = 'p' THEN
        row_arguments := row_arguments || ', ''partitioned''';
    END IF;
    EXECUTE format('CREATE TRIGGER directoire_activity AFTER INSERT OR UPDATE OR DELETE ON %s '
        'FOR EACH ROW EXECUTE FUNCTION directoire.record(%s)', tbl, row_arguments);
    EXECUTE format('CREATE TRIGGER directoire_truncate AFTER TRUNCATE ON %s '
        'FOR EACH STATEMENT EXECUTE FUNCTION directoire.after_truncate()', tbl);
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
        EXECUTE format('INSERT INTO directoire.counts (counter, status, n) '
            'SELECT $1, '''', count(*) FROM %s', tbl)
        USING counter;
    ELSE
        EXECUTE format('INSERT INTO directoire.counts (counter, status, n) '
            'SELECT $1, coalesce(r.%I::text, ''''), count(*) FROM %s r GROUP BY 2',
            status_name, tbl)
        USING counter;
    END IF;
    RETURN true;
END $$;

-- directoire.unmanage(table): takes its triggers and counts away (before DROP TABLE, or to leave
-- Directoire); rows, index and activity stay. Returns whether there was anything to take away.
CREATE OR REPLACE FUNCTION directoire.unmanage(tbl regclass) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    trigger_name name;
    was_managed boolean := EXISTS (SELECT FROM directoire.managed m WHERE m.tbl = unmanage.tbl);
BEGIN
    FOR trigger_name IN SELECT t.tgname FROM pg_trigger t
                         WHERE t.tgrelid = tbl AND NOT t.tgisinternal AND t.tgparentid = 0
                           AND t.tgname LIKE 'directoire\_%' LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', trigger_name, tbl);
    END LOOP;
    WITH gone AS (DELETE FROM directoire.managed m WHERE m.tbl = unmanage.tbl RETURNING m.counter)
    DELETE FROM directoire.counts c USING gone WHERE c.counter = gone.counter;
    RETURN was_managed OR trigger_name IS NOT NULL;
END $$;

-- The managed tables under the new trigger. What is counted stays: nobody wrote meanwhile.
DO $$
DECLARE
    m directoire.managed;
    partitioned boolean;
BEGIN
    FOR m IN SELECT * FROM directoire.managed ORDER BY tbl LOOP
        partitioned := (SELECT c.relkind = 'p' FROM pg_class c WHERE c.oid = m.tbl);
        EXECUTE format('DROP TRIGGER directoire_activity ON %s', m.tbl);
        EXECUTE format('CREATE TRIGGER directoire_activity AFTER INSERT OR UPDATE OR DELETE ON %s '
            'FOR EACH ROW EXECUTE FUNCTION directoire.record(%s)', m.tbl, concat_ws(', ',
                quote_literal(m.key_column), quote_literal(m.counter),
                quote_literal(coalesce(m.status_column, '')),
                CASE WHEN m.hidden IS NOT NULL OR partitioned
                     THEN quote_literal(coalesce(m.hidden, '{}')) END,
                CASE WHEN partitioned THEN '''partitioned''' END));
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER directoire_activity', m.tbl);
    END LOOP;
END $$;
