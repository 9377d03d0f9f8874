-- The feed: committed entries of the activity in consecutive positions 1, 2, 3 …, cut by one leading
-- relay. A cursor over transaction ids would order rows wrongly and stop behind any open writer.

CREATE TABLE directoire.feed (
    position bigint PRIMARY KEY,
    id bigint NOT NULL UNIQUE,
    at timestamptz NOT NULL
);

CREATE TABLE directoire.relay (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    token bigint NOT NULL DEFAULT 0,
    holder text,
    until timestamptz,
    position bigint NOT NULL DEFAULT 0,
    confirmed bigint NOT NULL DEFAULT 0,
    floor bigint NOT NULL DEFAULT 0,
    floor_next bigint,
    floor_xid xid8,
    lease_run text,
    lease_since timestamptz,
    fingerprint text,
    feed_epoch uuid NOT NULL DEFAULT gen_random_uuid()
) WITH (fillfactor = 10);
INSERT INTO directoire.relay DEFAULT VALUES;

-- directoire.lead(holder, seconds): takes or renews the lead for so long. Returns the fencing token, or
-- null while somebody else leads. `holder` must be unique per process start: a reused name would
-- keep the token of its dead namesake.
CREATE FUNCTION directoire.lead(holder text, seconds double precision) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    UPDATE directoire.relay r
       SET token = CASE WHEN r.holder = lead.holder THEN r.token ELSE r.token + 1 END,
           holder = lead.holder,
           until = clock_timestamp() + make_interval(secs => lead.seconds)
     WHERE r.holder = lead.holder OR r.until IS NULL OR r.until < clock_timestamp()
    RETURNING r.token
$$;

-- directoire.resign(token): gives the lead up at once; nothing happens when it is lost already.
CREATE FUNCTION directoire.resign(token bigint) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    UPDATE directoire.relay r
       SET holder = NULL, token = r.token + 1, until = least(r.until, clock_timestamp())
     WHERE r.token = resign.token
$$;

-- directoire.pending(): whether entries wait for positions. Takes no transaction id: ask this first.
CREATE FUNCTION directoire.pending() RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM directoire.outbox
                    WHERE id > (SELECT r.floor FROM directoire.relay r))
$$;

-- directoire.take_positions(token, batch): moves up to so many committed entries from the outbox to
-- the feed. Returns how many; null when the token does not lead any more. Call it in a transaction of
-- its own, READ COMMITTED: every statement below needs its own snapshot.
-- The ids of one row are in the order of its changes (see activity_id), and one snapshot in which a
-- later one is visible shows the earlier one too: so take them by id, and never SKIP LOCKED.
--
-- The floor spares the scan the deleted entries that an old snapshot keeps. An id is past for good once
-- every transaction has ended that may have drawn it. Step 1: read the sequence. Step 2, in a transaction
-- that began after step 1 committed: note its id, which is above all that drew so far. Step 3: when
-- all transactions up to that id have ended before a batch that empties the outbox, raise the floor.
CREATE FUNCTION directoire.take_positions(token bigint, batch integer) RETURNS integer
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
        RETURNING id, at),
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

-- directoire.confirm(position): everything up to here reached the bus. Not fenced: a confirm is a fact,
-- whoever reports it; fenced, two relays could take over from each other for ever.
CREATE FUNCTION directoire.confirm("position" bigint) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    UPDATE directoire.relay r SET confirmed = confirm."position"
     WHERE r.confirmed < confirm."position"
$$;
