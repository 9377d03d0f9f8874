-- What an Idempotency-Key has done already: the answer of a success, kept in the transaction of the
-- change; or, for what takes long, who is at it.

CREATE TABLE directoire.idempotency (
    user_id integer NOT NULL,
    key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint bytea NOT NULL,             -- SHA-256 of the request
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    holder uuid,                            -- who is at it, until leased_until
    leased_until timestamptz,
    body bytea,                             -- the answer, without secrets
    headers jsonb,                          -- of the answer, name -> value
    topics text[],                          -- what the change raised
    rights text,                            -- directoire.rights_digest of the caller's group then
    PRIMARY KEY (user_id, key),
    CHECK ((body IS NULL) = (rights IS NULL)),
    CHECK (body IS NOT NULL OR holder IS NOT NULL)
);
CREATE INDEX idempotency_created_at ON directoire.idempotency (created_at);

-- directoire.rights_digest(group): differs when the rights of the group do, and for another group.
CREATE FUNCTION directoire.rights_digest(group_id integer) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT md5(concat_ws('|', rights_digest.group_id, string_agg(p::text, '|' ORDER BY p.id)))
      FROM public.directus_privileges p WHERE p.group_id = rights_digest.group_id
$$;

-- A table may demand that whoever changes a row says which version of it he has seen (If-Match).
ALTER TABLE public.directus_tables ADD COLUMN require_if_match smallint NOT NULL DEFAULT 0 CHECK (require_if_match IN (0, 1));
