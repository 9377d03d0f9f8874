-- Bytes on their way in and out: resumable uploads, thumbnails, signed addresses.

-- What is known of bytes that were sent ahead of their record (POST upload).
ALTER TABLE directoire.uploads ADD COLUMN info jsonb;

-- Resumable uploads. Each accepted part is an object named <id>.<fence>; whoever writes takes the
-- next fence first, and the offset moves only for the holder of the newest one. So the fences up to
-- this row's name every object that an upload can ever have left.
CREATE TABLE directoire.resumable (
    id uuid PRIMARY KEY,
    user_id integer REFERENCES public.directus_users (id) ON DELETE SET NULL,
    length bigint CHECK (length >= 0),  -- null: not told yet
    received bigint NOT NULL DEFAULT 0 CHECK (received <= length),
    fence bigint NOT NULL DEFAULT 0,
    metadata text NOT NULL DEFAULT '',
    file_id integer,  -- of the finished upload
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX resumable_expires ON directoire.resumable (expires_at);
CREATE INDEX resumable_user ON directoire.resumable (user_id);

CREATE TABLE directoire.resumable_parts (
    upload_id uuid NOT NULL REFERENCES directoire.resumable (id) ON DELETE CASCADE,
    start bigint NOT NULL,
    size bigint NOT NULL,
    fence bigint NOT NULL,
    PRIMARY KEY (upload_id, start)
);

-- Pictures made of stored bytes, once for each variant, kept in the store like any other bytes.
CREATE TABLE directoire.thumbnails (
    source uuid NOT NULL,
    variant text NOT NULL,
    storage_key uuid NOT NULL UNIQUE,
    type text NOT NULL,
    size bigint NOT NULL,
    sha256 text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, variant)
);

-- Bytes that lose their record take their thumbnails along.
CREATE OR REPLACE FUNCTION directoire.give_up_bytes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
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

-- What signed addresses of private files are signed with: the same for all replicas.
CREATE TABLE directoire.address_key (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    secret bytea NOT NULL
);
INSERT INTO directoire.address_key (secret)
VALUES (sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text
                          || gen_random_uuid()::text, 'UTF8')));
