-- Work that outlives its request: imports in the background, and exports.

-- uploading → waiting → running → done; an export is `storing` while its bytes go into the library.
-- Whoever works on a job holds its claim and renews it; a claim that ran out is anybody's. What an
-- import stores is committed together with `done`, by the holder of the claim only.
CREATE TABLE directoire.jobs (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('import', 'export')),
    collection text NOT NULL,
    user_id integer NOT NULL REFERENCES public.directus_users (id) ON DELETE CASCADE,
    arguments jsonb NOT NULL,
    state text NOT NULL CHECK (
        state IN ('uploading', 'waiting', 'running', 'storing', 'done', 'failed', 'cancelled')),
    rows bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,  -- of the file, that were read or written
    size bigint,  -- of the whole file, where it is known
    result jsonb,
    message text,  -- why it failed
    faults jsonb,  -- the rows that kept an import from being made
    claim uuid,
    claimed_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz
);
CREATE INDEX jobs_open ON directoire.jobs (created_at)
    WHERE state IN ('uploading', 'waiting', 'running', 'storing');
CREATE INDEX jobs_user ON directoire.jobs (user_id, created_at);

-- The file of a job, in pieces: an import's until it is made, an export's until it is stored.
CREATE TABLE directoire.job_parts (
    job_id uuid NOT NULL REFERENCES directoire.jobs (id) ON DELETE CASCADE,
    n integer NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (job_id, n)
);
ALTER TABLE directoire.job_parts ALTER COLUMN data SET STORAGE EXTERNAL;

-- directoire.tell(user, subject, message): a message from a user's own job.
CREATE FUNCTION directoire.tell(told integer, subject text, message text) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    WITH sent AS (
        INSERT INTO public.directus_messages ("from", subject, message)
        VALUES (told, left(tell.subject, 255), tell.message)
        RETURNING id
    )
    INSERT INTO public.directus_messages_recipients (message_id, recipient, read)
    SELECT id, told, 0 FROM sent
$$;
