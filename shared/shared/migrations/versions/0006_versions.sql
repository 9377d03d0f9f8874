-- Versions of what processes remember, for the time without Redis: read in the same statement as the
-- rows, raised by whoever changes what they stand for.

CREATE TABLE directoire.versions (
    name text PRIMARY KEY CHECK (name IN ('schema', 'rights', 'settings')),
    version bigint NOT NULL DEFAULT 1
) WITH (fillfactor = 10);
INSERT INTO directoire.versions (name) VALUES ('schema'), ('rights'), ('settings');

-- directoire.bump(name): raises a version, once a transaction: many rows need not make many versions.
CREATE FUNCTION directoire.bump(name text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE directoire.versions v SET version = v.version + 1
     WHERE v.name = bump.name AND v.xmin <> pg_current_xact_id()::xid
$$;

CREATE FUNCTION directoire.bump_version() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM directoire.bump(TG_ARGV[0]);
    RETURN NULL;
END $$;

CREATE TRIGGER version_of_schema AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE
    ON public.directus_tables EXECUTE FUNCTION directoire.bump_version('schema');
CREATE TRIGGER version_of_schema AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE
    ON public.directus_columns EXECUTE FUNCTION directoire.bump_version('schema');
CREATE TRIGGER version_of_rights AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE
    ON public.directus_privileges EXECUTE FUNCTION directoire.bump_version('rights');
CREATE TRIGGER version_of_rights AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE
    ON public.directus_groups EXECUTE FUNCTION directoire.bump_version('rights');
CREATE TRIGGER version_of_rights AFTER INSERT OR DELETE OR TRUNCATE
    ON public.directus_users EXECUTE FUNCTION directoire.bump_version('rights');
CREATE TRIGGER version_of_rights_update AFTER UPDATE ON public.directus_users
    FOR EACH ROW WHEN ((OLD."group", OLD.active) IS DISTINCT FROM (NEW."group", NEW.active))
    EXECUTE FUNCTION directoire.bump_version('rights');
CREATE TRIGGER version_of_settings AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE
    ON public.directus_settings EXECUTE FUNCTION directoire.bump_version('settings');

DO $$
DECLARE
    found record;
BEGIN
    FOR found IN SELECT t.tgrelid::regclass AS tbl, t.tgname FROM pg_trigger t
                  WHERE t.tgname LIKE 'version\_of\_%' LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', found.tbl, found.tgname);
    END LOOP;
END $$;
