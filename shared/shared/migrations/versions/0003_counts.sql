-- How many rows a table has by status: insert-only deltas, folded by the relay. Counters plus deltas
-- in one statement are exact in every snapshot, because folding moves both in one transaction.

-- What directoire.manage() did to a table. The type regclass survives a dump: it is written as a name.
CREATE TABLE directoire.managed (
    tbl regclass PRIMARY KEY,
    key_column name NOT NULL,
    hidden text[],
    status_column name
);

CREATE TABLE directoire.counts (
    tbl regclass NOT NULL,
    status text NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (tbl, status)
) WITH (fillfactor = 50);

CREATE TABLE directoire.count_deltas (
    tbl regclass NOT NULL,
    status text NOT NULL,
    n bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX count_deltas_table ON directoire.count_deltas (tbl);

-- directoire.table_counts(table): its rows by status; '' where a row or the table has none.
-- A status without rows is left out.
CREATE FUNCTION directoire.table_counts(tbl oid) RETURNS TABLE (status text, n bigint)
LANGUAGE sql STABLE AS $$
    SELECT x.status, sum(x.n)::bigint
      FROM (SELECT c.status, c.n FROM directoire.counts c WHERE c.tbl = table_counts.tbl
            UNION ALL
            SELECT d.status, d.n FROM directoire.count_deltas d WHERE d.tbl = table_counts.tbl) x
     GROUP BY x.status
    HAVING sum(x.n) <> 0
$$;

-- directoire.fold_counts(batch): moves up to so many deltas into the counters; returns how many.
CREATE FUNCTION directoire.fold_counts(batch integer DEFAULT 5000) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    folded integer;
BEGIN
    WITH taken AS (
        DELETE FROM directoire.count_deltas
         WHERE ctid = ANY (ARRAY(SELECT ctid FROM directoire.count_deltas LIMIT batch))
        RETURNING tbl, status, n),
    put AS (
        INSERT INTO directoire.counts AS c
        SELECT t.tbl, t.status, sum(t.n) FROM taken t GROUP BY t.tbl, t.status ORDER BY t.tbl, t.status
        ON CONFLICT (tbl, status) DO UPDATE SET n = c.n + excluded.n)
    SELECT count(*) INTO folded FROM taken;
    RETURN folded;
END $$;

-- directoire.count_statement(): the statement trigger of INSERT and DELETE; the rows are `changed`.
-- TG_ARGV[0] the status column, '' without one. When plain SQL has renamed or dropped that column,
-- rows are counted without status until the table is managed anew; their sum stays right.
-- The name that nearly every table uses is written out: EXECUTE plans anew each time.
CREATE FUNCTION directoire.count_statement() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    sign integer := CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END;
BEGIN
    IF TG_ARGV[0] = '' OR NOT EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = TG_RELID AND a.attname = TG_ARGV[0])
    THEN
        INSERT INTO directoire.count_deltas
        SELECT TG_RELID, '', sign * count(*) FROM changed HAVING count(*) > 0;
    ELSIF TG_ARGV[0] = 'active' THEN
        INSERT INTO directoire.count_deltas
        SELECT TG_RELID, coalesce(r.active::text, ''), sign * count(*) FROM changed r GROUP BY 2;
    ELSE
        EXECUTE format(
            'INSERT INTO directoire.count_deltas '
            'SELECT $1, coalesce(r.%I::text, ''''), $2 * count(*) FROM changed r GROUP BY 2',
            TG_ARGV[0])
        USING TG_RELID, sign;
    END IF;
    RETURN NULL;
END $$;

-- directoire.count_row(): the row trigger of a changed status, and of every change of a partitioned
-- table (TG_ARGV[1] present), whose leaves may be written directly or swap rows.
CREATE FUNCTION directoire.count_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    counted oid := TG_RELID;
    old_status text;
    new_status text;
BEGIN
    IF TG_NARGS > 1 THEN counted := coalesce(pg_partition_root(TG_RELID), TG_RELID); END IF;
    IF TG_OP <> 'INSERT' THEN old_status := ''; END IF;
    IF TG_OP <> 'DELETE' THEN new_status := ''; END IF;
    IF NOT EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = TG_RELID AND a.attname = TG_ARGV[0])
    THEN
        NULL;  -- counted without status
    ELSIF TG_ARGV[0] = 'active' THEN
        IF TG_OP <> 'INSERT' THEN old_status := coalesce(OLD.active::text, ''); END IF;
        IF TG_OP <> 'DELETE' THEN new_status := coalesce(NEW.active::text, ''); END IF;
    ELSE
        IF TG_OP <> 'INSERT' THEN
            EXECUTE format('SELECT coalesce(($1).%I::text, '''')', TG_ARGV[0])
            INTO old_status USING OLD;
        END IF;
        IF TG_OP <> 'DELETE' THEN
            EXECUTE format('SELECT coalesce(($1).%I::text, '''')', TG_ARGV[0])
            INTO new_status USING NEW;
        END IF;
    END IF;
    IF old_status IS NOT DISTINCT FROM new_status THEN RETURN NULL; END IF;
    INSERT INTO directoire.count_deltas
    SELECT counted, s.status, s.n FROM (VALUES (old_status, -1), (new_status, 1)) s (status, n)
     WHERE s.status IS NOT NULL;
    RETURN NULL;
END $$;

-- directoire.after_truncate(): the TRUNCATE trigger: one entry without rows, and counts of zero.
CREATE FUNCTION directoire.after_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM directoire.record_entry(TG_TABLE_NAME, NULL, 'TRUNCATE', NULL, NULL);
    INSERT INTO directoire.count_deltas
    SELECT TG_RELID, c.status, -c.n FROM directoire.table_counts(TG_RELID) c;
    RETURN NULL;
END $$;
