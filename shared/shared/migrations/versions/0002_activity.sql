-- Who changed what: written by triggers in the transaction of the change. No code path can forget
-- it; a rolled-back change leaves nothing.

-- CACHE 1: whoever holds a row's lock takes the next number, so the ids of one row are in order.
CREATE SEQUENCE directoire.activity_id CACHE 1;

CREATE TABLE public.directus_activity (
    id bigint NOT NULL DEFAULT nextval('directoire.activity_id'),
    "datetime" timestamptz NOT NULL DEFAULT now(),
    table_name text NOT NULL,
    row_id text,
    action text NOT NULL,  -- ADD, UPDATE, DELETE, TRUNCATE, LOGIN, REPLY; a CHECK costs each writer
    actor text NOT NULL,
    "user" integer,
    request_id text,
    quiet boolean NOT NULL DEFAULT false,
    before jsonb,
    after jsonb,
    txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (id, "datetime")
) PARTITION BY RANGE ("datetime");
CREATE INDEX directus_activity_row ON public.directus_activity (table_name, row_id, id);

-- lz4 packs images three times as fast as the default, where the server was built with it.
DO $$
BEGIN
    IF (SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression')
    THEN
        ALTER TABLE public.directus_activity ALTER COLUMN before SET COMPRESSION lz4;
        ALTER TABLE public.directus_activity ALTER COLUMN after SET COMPRESSION lz4;
    END IF;
END $$;

-- Takes what no month was made for, so that a missing month never fails a write.
CREATE TABLE directoire.activity_default
    (LIKE public.directus_activity INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMPRESSION);
ALTER TABLE public.directus_activity ATTACH PARTITION directoire.activity_default DEFAULT;

-- directoire.make_partitions(months): the partitions of this month and the months ahead.
-- Returns how many were made. A table is made, checked and attached: `CREATE … PARTITION OF` would
-- lock out every writer. Rows that the default partition took for that month move over.
CREATE FUNCTION directoire.make_partitions(months integer DEFAULT 3) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    first_day timestamptz := date_trunc('month', now());
    from_day timestamptz;
    to_day timestamptz;
    name text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('directoire.make_partitions'));
    FOR ahead IN 0 .. months LOOP
        from_day := first_day + make_interval(months => ahead);
        to_day := from_day + interval '1 month';
        name := 'activity_' || to_char(from_day, 'YYYY_MM');
        CONTINUE WHEN to_regclass('directoire.' || name) IS NOT NULL;
        EXECUTE format(
            'CREATE TABLE directoire.%I (LIKE public.directus_activity '
            'INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMPRESSION, '
            'CONSTRAINT in_month CHECK ("datetime" >= %L AND "datetime" < %L))',
            name, from_day, to_day);
        IF EXISTS (SELECT FROM directoire.activity_default d
                    WHERE d."datetime" >= from_day AND d."datetime" < to_day) THEN
            LOCK TABLE directoire.activity_default IN ACCESS EXCLUSIVE MODE;
            EXECUTE format(
                'WITH moved AS (DELETE FROM directoire.activity_default '
                'WHERE "datetime" >= %L AND "datetime" < %L RETURNING *) '
                'INSERT INTO directoire.%I SELECT * FROM moved', from_day, to_day, name);
        END IF;
        EXECUTE format(
            'ALTER TABLE public.directus_activity ATTACH PARTITION directoire.%I '
            'FOR VALUES FROM (%L) TO (%L)', name, from_day, to_day);
        EXECUTE format('ALTER TABLE directoire.%I DROP CONSTRAINT in_month', name);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

SELECT directoire.make_partitions();

-- Entries that have no position in the feed yet; the relay empties it.
CREATE TABLE directoire.outbox (
    id bigint PRIMARY KEY,
    at timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- directoire.portable(table, row): a row's image without what jsonb cannot hold (a NUL escape in a
-- json column, a number beyond numeric, a value of some hundred megabytes). Such a value becomes
-- {"omitted": true, "length": characters, "sha256": hash}, or just omitted where even its text is
-- too long. Column by column: the functions that take json apart stumble over the same things.
CREATE FUNCTION directoire.portable(tbl oid, image anyelement) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    whole jsonb := '{}';
    column_name name;
    kept jsonb;
BEGIN
    FOR column_name IN SELECT a.attname FROM pg_attribute a
                        WHERE a.attrelid = tbl AND a.attnum > 0 AND NOT a.attisdropped LOOP
        BEGIN
            EXECUTE format('SELECT to_jsonb(($1).%I)', column_name) INTO kept USING image;
        EXCEPTION WHEN OTHERS THEN
            BEGIN
                EXECUTE format(
                    'SELECT jsonb_build_object(''omitted'', true, ''length'', length(t), '
                    '''sha256'', encode(sha256(convert_to(t, ''UTF8'')), ''hex'')) '
                    'FROM CAST(($1).%I AS text) t', column_name)
                INTO kept USING image;
            EXCEPTION WHEN OTHERS THEN
                kept := '{"omitted": true}';
            END;
        END;
        whole := whole || jsonb_build_object(column_name, kept);
    END LOOP;
    RETURN whole;
END $$;

-- directoire.shortened(image): the image with values of more than 64 kB replaced by length and
-- hash. Events travel in one message; a row of tens of megabytes is no event.
CREATE FUNCTION directoire.shortened(image jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_object_agg(key, CASE WHEN pg_column_size(value) <= 65536 THEN value
               ELSE jsonb_build_object(
                   'omitted', true,
                   'length', length(value::text),
                   'sha256', encode(sha256(convert_to(value::text, 'UTF8')), 'hex')) END)
      FROM jsonb_each(image)
$$;

-- directoire.key_column(table): the name of its single-column primary key, else null.
CREATE FUNCTION directoire.key_column(tbl regclass) RETURNS name
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.attname
      FROM pg_index i
      JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
     WHERE i.indrelid = tbl AND i.indisprimary AND i.indnkeyatts = 1
$$;

-- directoire.record(): the row trigger of every managed table.
-- TG_ARGV[0] the key column, TG_ARGV[1] columns never shown, an array literal, TG_ARGV[2] present
-- for a partitioned table. The two last are absent when not needed.
-- `after` is the row as it is now (not for DELETE), `before` the row as it was (DELETE) or its
-- changed columns (UPDATE). The settings that shape text are pinned: an entry must not depend on
-- the session that caused it.
-- Everything is written inline: a helper function per row would cost more than all the rest.
CREATE FUNCTION directoire.record() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET bytea_output = 'hex'
SET intervalstyle = 'postgres' SET extra_float_digits = 1 AS $$
DECLARE
    o jsonb;
    n jsonb;
    relation text := TG_TABLE_NAME;
    key text;
    who text;
    entry bigint;
    trusted boolean := pg_has_role(session_user, current_user, 'member');
BEGIN
    BEGIN
        IF TG_OP <> 'INSERT' THEN o := to_jsonb(OLD); END IF;
        IF TG_OP <> 'DELETE' THEN n := to_jsonb(NEW); END IF;
    EXCEPTION WHEN OTHERS THEN
        -- a value that jsonb cannot hold must not fail the user's write
        IF TG_OP <> 'INSERT' THEN o := directoire.portable(TG_RELID, OLD); END IF;
        IF TG_OP <> 'DELETE' THEN n := directoire.portable(TG_RELID, NEW); END IF;
    END;
    key := coalesce(n, o) ->> TG_ARGV[0];
    IF key IS NULL THEN  -- the key column was renamed
        key := coalesce(n, o) ->> directoire.key_column(TG_RELID)::text;
    END IF;
    IF TG_NARGS > 1 THEN
        o := o - TG_ARGV[1]::text[];
        n := n - TG_ARGV[1]::text[];
        IF TG_NARGS > 2 THEN  -- a leaf speaks for the table it is a part of
            relation := (SELECT c.relname FROM pg_class c
                          WHERE c.oid = coalesce(pg_partition_root(TG_RELID), TG_RELID));
        END IF;
    END IF;
    IF TG_OP = 'UPDATE' THEN  -- equal numbers may still be written differently: 1.1 and 1.10
        o := (SELECT coalesce(jsonb_object_agg(c.key, c.value), '{}')
                FROM jsonb_each(o) c
               WHERE c.value IS DISTINCT FROM n -> c.key
                  OR jsonb_typeof(c.value) = 'number' AND c.value::text <> (n -> c.key)::text);
    END IF;
    IF pg_column_size(n) > 4194304 THEN n := directoire.shortened(n); END IF;
    IF pg_column_size(o) > 4194304 THEN o := directoire.shortened(o); END IF;
    -- whoever may speak plain SQL may also set these: they count for the service's role only
    IF trusted THEN who := nullif(current_setting('directoire.actor', true), ''); END IF;
    entry := nextval('directoire.activity_id');
    INSERT INTO public.directus_activity
        (id, table_name, row_id, action, actor, "user", request_id, quiet, before, after)
    VALUES (
        entry, relation, key, CASE TG_OP WHEN 'INSERT' THEN 'ADD' ELSE TG_OP END,
        coalesce(who, 'db:' || session_user),
        CASE WHEN who ~ '^[0-9]{1,9}$' THEN who::integer END,
        CASE WHEN trusted THEN nullif(current_setting('directoire.request', true), '') END,
        trusted AND current_setting('directoire.quiet', true) IS NOT DISTINCT FROM 't',
        o, n);
    INSERT INTO directoire.outbox VALUES (entry, now());
    RETURN NULL;
END $$;

-- directoire.record_entry(…): an entry that no row of a managed table stands for.
CREATE FUNCTION directoire.record_entry(
    relation text, key text, action text, before jsonb, after jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    who text;
    entry bigint;
    trusted boolean := pg_has_role(session_user, current_user, 'member');
BEGIN
    IF trusted THEN who := nullif(current_setting('directoire.actor', true), ''); END IF;
    entry := nextval('directoire.activity_id');
    INSERT INTO public.directus_activity
        (id, table_name, row_id, action, actor, "user", request_id, quiet, before, after)
    VALUES (
        entry, relation, key, action,
        coalesce(who, 'db:' || session_user),
        CASE WHEN who ~ '^[0-9]{1,9}$' THEN who::integer END,
        CASE WHEN trusted THEN nullif(current_setting('directoire.request', true), '') END,
        trusted AND current_setting('directoire.quiet', true) IS NOT DISTINCT FROM 't',
        record_entry.before, record_entry.after);
    INSERT INTO directoire.outbox VALUES (entry, now());
END $$;
REVOKE ALL ON FUNCTION directoire.record_entry(text, text, text, jsonb, jsonb) FROM PUBLIC;

-- directoire.record_token(): a token that no longer holds what it held is a change of its user, so
-- that whoever remembers the principal forgets it. A new token voids nothing.
CREATE FUNCTION directoire.record_token() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM public.directus_users u WHERE u.id = OLD.user_id) THEN
        PERFORM directoire.record_entry('directus_users', OLD.user_id::text, 'UPDATE',
            '{}', jsonb_build_object('id', OLD.user_id));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER directoire_activity AFTER DELETE ON directoire.tokens
    FOR EACH ROW EXECUTE FUNCTION directoire.record_token();
ALTER TABLE directoire.tokens ENABLE ALWAYS TRIGGER directoire_activity;
CREATE TRIGGER directoire_activity_update AFTER UPDATE ON directoire.tokens
    FOR EACH ROW WHEN ((OLD.user_id, OLD.sha256, OLD.scope, OLD.expires_at)
        IS DISTINCT FROM (NEW.user_id, NEW.sha256, NEW.scope, NEW.expires_at))
    EXECUTE FUNCTION directoire.record_token();
ALTER TABLE directoire.tokens ENABLE ALWAYS TRIGGER directoire_activity_update;
