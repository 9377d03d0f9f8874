-- When bytes took the place of others: `date_uploaded` does not change then, Last-Modified does.
CREATE TABLE directoire.replaced_bytes (
    storage_key uuid PRIMARY KEY,
    at timestamptz(0) NOT NULL DEFAULT now()
);

CREATE OR REPLACE FUNCTION directoire.give_up_bytes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM directoire.replaced_bytes
     WHERE storage_key = OLD.storage_key::uuid;
    WITH gone AS (
        DELETE FROM directoire.thumbnails
         WHERE source = OLD.storage_key::uuid
        RETURNING storage_key
    )
    INSERT INTO directoire.uploads (storage_key, created_at)
    SELECT storage_key, '-infinity'::timestamptz FROM gone
    UNION ALL
    SELECT OLD.storage_key::uuid, '-infinity'::timestamptz
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
