-- What the relay asks fifty times a second, in PL/pgSQL: a function of SQL that cannot be inlined is
-- planned with every call, which costs ten times what it does. See 0005 for what they promise.

CREATE OR REPLACE FUNCTION directoire.lead(holder text, seconds double precision) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fencing bigint;
BEGIN
    UPDATE directoire.relay r
       SET token = CASE WHEN r.holder = lead.holder THEN r.token ELSE r.token + 1 END,
           holder = lead.holder,
           until = clock_timestamp() + make_interval(secs => lead.seconds)
     WHERE r.holder = lead.holder OR r.until IS NULL OR r.until < clock_timestamp()
    RETURNING r.token INTO fencing;
    RETURN fencing;
END $$;

CREATE OR REPLACE FUNCTION directoire.pending() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM directoire.outbox
                    WHERE id > (SELECT r.floor FROM directoire.relay r));
END $$;

CREATE OR REPLACE FUNCTION directoire.confirm("position" bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE directoire.relay r SET confirmed = confirm."position"
     WHERE r.confirmed < confirm."position";
END $$;
