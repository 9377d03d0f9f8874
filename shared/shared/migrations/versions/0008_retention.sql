-- How long the activity is kept, and whose entries stand in the background.

-- Tables whose entries are quiet, as those written with `skip_activity_log=1` are: left out of
-- `GET activity` unless asked for, never missing from the feed. By name: entries outlive tables.
CREATE TABLE directoire.quiet_tables (table_name text PRIMARY KEY);
INSERT INTO directoire.quiet_tables
VALUES ('directus_preferences'), ('directus_messages_recipients');

-- How many entries retention has dropped: positions given, less these, are the entries there are.
ALTER TABLE directoire.relay ADD COLUMN retained bigint NOT NULL DEFAULT 0;

-- directoire.retain(before): drops the months of the activity that ended by then, whole partitions,
-- as far as the bus has confirmed them; returns how many entries went. A month with an entry that
-- has no position yet, or is not confirmed, stays: dropped, it would be a hole in the feed.
-- Positions go up to the first entry that stays; the few above it that were dropped keep theirs.
-- Waits for the lock on the activity, behind which writers wait, two seconds at most.
CREATE FUNCTION directoire.retain(before timestamptz) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
SET lock_timeout = '2s' AS $$
DECLARE
    month record;
    dropped bigint := 0;
    here bigint;
BEGIN
    FOR month IN
        SELECT c.relname AS name,
               to_timestamp(right(c.relname, 7), 'YYYY_MM') AS first,
               to_timestamp(right(c.relname, 7), 'YYYY_MM') + interval '1 month' AS ended
          FROM pg_inherits i
          JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'public.directus_activity'::regclass
           AND c.relname ~ '^activity_[0-9]{4}_[0-9]{2}$'
         ORDER BY 1
    LOOP
        EXIT WHEN month.ended > before;
        -- the last of them that has no position, or an unconfirmed one
        EXIT WHEN EXISTS (SELECT FROM directoire.outbox o WHERE o.at < month.ended)
               OR EXISTS (SELECT FROM directoire.feed f, directoire.relay r
                           WHERE f.position > r.confirmed AND f.at < month.ended);
        EXECUTE format('SELECT count(*) FROM directoire.%I', month.name) INTO here;
        EXECUTE format('DROP TABLE directoire.%I', month.name);
        dropped := dropped + here;
    END LOOP;
    IF dropped > 0 THEN
        UPDATE directoire.relay SET retained = retained + dropped;
        DELETE FROM directoire.feed f
         WHERE f.position < coalesce(
            (SELECT min(k.position) FROM directoire.feed k
               JOIN public.directus_activity a ON a.id = k.id AND a."datetime" = k.at),
            (SELECT r.confirmed FROM directoire.relay r) + 1);
    END IF;
    RETURN dropped;
END $$;
