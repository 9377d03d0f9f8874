-- Lists of activity are remembered: who drops some of it changes them. No entry tells of that, so
-- all that is remembered is void, as after a change of the schema: the relay sees it within a second.
ALTER FUNCTION directoire.retain(timestamptz) RENAME TO drop_months;

CREATE FUNCTION directoire.retain(before timestamptz) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    dropped bigint := directoire.drop_months(before);
BEGIN
    IF dropped > 0 THEN
        PERFORM directoire.bump('schema');
    END IF;
    RETURN dropped;
END $$;
