-- record
-- A file's record, in the transaction that consumes its registration ($1, null without bytes); who
-- acts ($17, in request $18, quietly $19) is set by the statement, so that it may stand alone.
-- The name is the padded id or the wanted name ($2), with an extension ($3); one that is taken gets
-- a suffix of the key. No row comes back when the registration is gone.
WITH ctx AS (
    SELECT set_config('directoire.actor', $17, true), set_config('directoire.request', $18, true),
           set_config('directoire.quiet', $19, true)
), consumed AS (
    DELETE FROM directoire.uploads
     WHERE storage_key = $1::text::uuid
    RETURNING storage_key
), next AS (
    SELECT nextval(pg_get_serial_sequence('public.directus_files', 'id')) AS id
      FROM ctx
     WHERE $1::text IS NULL OR EXISTS (SELECT FROM consumed)
), named AS (
    SELECT id, coalesce($2::text, lpad(id::text, 11, '0')) AS stem
      FROM next
)
INSERT INTO public.directus_files (
       id, name, storage_key, sha256, size, type, charset, width, height, title, caption, tags,
       location, embed_id, active, "user", date_uploaded, storage_adapter)
SELECT named.id,
       CASE WHEN EXISTS (
                 SELECT FROM public.directus_files AS other WHERE other.name = named.stem || $3)
            THEN named.stem || '-' || left(gen_random_uuid()::text, 8) || $3
            ELSE named.stem || $3
       END,
       $1, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, now(), 'local'
  FROM named
RETURNING id;

-- lock_names
-- Two uploads that want one name decide one after the other.
SELECT pg_advisory_xact_lock(hashtext('directus_files.name'));

-- lock_quota
-- Who adds bytes to a group ($1) with a quota does so one after the other.
SELECT pg_advisory_xact_lock(hashtext('directus_files.quota'), $1);

-- bytes_of_group
-- How many bytes the files of a group's users have.
SELECT coalesce(sum(size), 0)::bigint
  FROM public.directus_files
 WHERE "user" IN (SELECT id FROM public.directus_users WHERE "group" = $1);
