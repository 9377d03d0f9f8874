-- register
-- Names a storage key ($1) of a user ($2) before its first byte is written.
INSERT INTO directoire.uploads (storage_key, user_id)
VALUES ($1::text::uuid, $2);

-- lock_registration
-- A registration ($1) nobody is consuming at this moment; locked until the end of the transaction.
SELECT storage_key
  FROM directoire.uploads
 WHERE storage_key = $1::text::uuid
   FOR UPDATE SKIP LOCKED;

-- is_registered
-- Bytes ($1) of a user ($2) that wait for their record.
SELECT storage_key
  FROM directoire.uploads
 WHERE storage_key = $1::text::uuid
   AND user_id = $2;

-- forget
-- Drops a registration ($1) whose bytes are gone.
DELETE FROM directoire.uploads
 WHERE storage_key = $1::text::uuid;

-- touch
-- The writer of a registration ($1) is alive; no row comes back when it was cleared.
UPDATE directoire.uploads
   SET created_at = now()
 WHERE storage_key = $1::text::uuid
RETURNING storage_key;

-- keep_info
-- What is known ($2, JSON) of bytes ($1) that wait for their record.
UPDATE directoire.uploads
   SET info = $2::text::jsonb
 WHERE storage_key = $1::text::uuid;

-- info
-- The same, of a user's own upload ($1, $2).
SELECT info::text
  FROM directoire.uploads
 WHERE storage_key = $1::text::uuid
   AND user_id = $2
   AND info IS NOT NULL;

-- replace
-- Other bytes ($2) for a file ($1), in the transaction that consumes their registration. The stored
-- name keeps its stem and takes the extension ($8) of the new bytes.
WITH consumed AS (
    DELETE FROM directoire.uploads
     WHERE storage_key = $2::text::uuid
    RETURNING storage_key
), noted AS (
    INSERT INTO directoire.replaced_bytes (storage_key)
    SELECT storage_key FROM consumed
), named AS (
    SELECT id, coalesce(regexp_replace(name, '[.][^.]*$', ''), lpad(id::text, 11, '0')) AS stem
      FROM public.directus_files
     WHERE id = $1
)
UPDATE public.directus_files AS file
   SET storage_key = $2, sha256 = $3, size = $4, type = $5, charset = $6, width = $7,
       height = $9,
       name = CASE WHEN EXISTS (
                        SELECT FROM public.directus_files AS other
                         WHERE other.name = named.stem || $8 AND other.id <> named.id)
                   THEN named.stem || '-' || left(gen_random_uuid()::text, 8) || $8
                   ELSE named.stem || $8
              END
  FROM named
 WHERE file.id = named.id
   AND EXISTS (SELECT FROM consumed)
RETURNING file.id;

-- abandoned
-- Registrations that no upload will consume any more: older than $1 (an interval).
SELECT storage_key::text AS storage_key
  FROM directoire.uploads
 WHERE created_at < now() - $1::interval
 ORDER BY created_at
 LIMIT 100;

-- stored_under
-- What is served under a stored name ($1).
SELECT file.id, file.storage_key, file.name, file.type, file.size, file.sha256,
       coalesce(other.at, file.date_uploaded, 'epoch') AS modified
  FROM public.directus_files AS file
  LEFT JOIN directoire.replaced_bytes AS other ON other.storage_key = file.storage_key::uuid
 WHERE file.name = $1
   AND file.storage_key IS NOT NULL
 LIMIT 1;

-- stored_as
-- The same by id ($1).
SELECT file.id, file.storage_key, file.name, file.type, file.size, file.sha256,
       coalesce(other.at, file.date_uploaded, 'epoch') AS modified
  FROM public.directus_files AS file
  LEFT JOIN directoire.replaced_bytes AS other ON other.storage_key = file.storage_key::uuid
 WHERE file.id = $1
   AND file.storage_key IS NOT NULL;

-- address_key
SELECT secret
  FROM directoire.address_key;

-- kept_thumbnail
-- A variant ($2) of a picture ($1).
SELECT storage_key::text AS storage_key, type, size, sha256
  FROM directoire.thumbnails
 WHERE source = $1::text::uuid
   AND variant = $2;

-- keep_thumbnail
-- A thumbnail's bytes ($3) belong to a picture ($1) from now on; the lock keeps the picture's record
-- from going meanwhile. No row comes back when it is gone, or has this variant already.
WITH source AS (
    SELECT storage_key::uuid AS storage_key
      FROM public.directus_files
     WHERE storage_key = $1
       FOR KEY SHARE
), kept AS (
    INSERT INTO directoire.thumbnails (source, variant, storage_key, type, size, sha256)
    SELECT storage_key, $2, $3::text::uuid, $4, $5, $6
      FROM source
    ON CONFLICT DO NOTHING
    RETURNING storage_key
)
DELETE FROM directoire.uploads AS upload
 USING kept
 WHERE upload.storage_key = kept.storage_key
RETURNING upload.storage_key;

-- needed
-- Which of these keys ($1) a record, a thumbnail or a registration names.
SELECT asked.key
  FROM unnest($1::text[]) AS asked(key)
 WHERE EXISTS (SELECT FROM public.directus_files WHERE storage_key = asked.key)
    OR EXISTS (SELECT FROM directoire.thumbnails WHERE storage_key = asked.key::uuid)
    OR EXISTS (SELECT FROM directoire.uploads WHERE storage_key = asked.key::uuid);

-- recorded
-- Keys that records and thumbnails name, behind $1.
SELECT key
  FROM (SELECT storage_key::text AS key
          FROM public.directus_files
         WHERE storage_key > $1
        UNION ALL
        SELECT storage_key::text
          FROM directoire.thumbnails
         WHERE storage_key::text > $1) AS named
 ORDER BY key
 LIMIT 1000;
