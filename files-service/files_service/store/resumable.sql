-- create
-- A resumable upload ($1) of a user ($2) of so many bytes ($3, null: told later) that lives for $5.
INSERT INTO directoire.resumable (id, user_id, length, metadata, expires_at)
VALUES ($1::text::uuid, $2, $3, $4, now() + $5::interval);

-- look
-- A user's own upload ($1, $2).
SELECT length, received, metadata, file_id, expires_at
  FROM directoire.resumable
 WHERE id = $1::text::uuid
   AND user_id = $2
   AND expires_at > now();

-- take
-- Who writes at an offset ($3) takes the next fence; whoever held the one before cannot move the
-- offset any more. A length ($4) that was not known is set now.
UPDATE directoire.resumable
   SET fence = fence + 1,
       length = coalesce(length, $4),
       expires_at = now() + $5::interval
 WHERE id = $1::text::uuid
   AND user_id = $2
   AND received = $3
   AND file_id IS NULL
   AND expires_at > now()
RETURNING fence, length;

-- add_part
-- The part written under a fence ($2) at an offset ($3), so many bytes ($4), becomes part of the
-- upload, and the writer gets the next fence; no row comes back when another one has taken over.
WITH moved AS (
    UPDATE directoire.resumable
       SET received = received + $4,
           fence = fence + 1,
           expires_at = now() + $5::interval
     WHERE id = $1::text::uuid
       AND fence = $2
       AND received = $3
       AND file_id IS NULL
    RETURNING id, fence
), kept AS (
    INSERT INTO directoire.resumable_parts (upload_id, start, size, fence)
    SELECT id, $3, $4, $2
      FROM moved
)
SELECT fence
  FROM moved;

-- parts
-- The fences of the parts, in their order.
SELECT fence
  FROM directoire.resumable_parts
 WHERE upload_id = $1::text::uuid
 ORDER BY start;

-- finish
-- The upload has become a file ($3), in the transaction that makes its record. No row comes back
-- when another writer has taken over from the one with this fence ($2).
UPDATE directoire.resumable
   SET received = length,
       file_id = $3
 WHERE id = $1::text::uuid
   AND fence = $2
   AND file_id IS NULL
RETURNING id;

-- forget_parts
DELETE FROM directoire.resumable_parts
 WHERE upload_id = $1::text::uuid;

-- fence
-- The newest fence: no object of this upload has a higher one.
SELECT fence
  FROM directoire.resumable
 WHERE id = $1::text::uuid;

-- give_up
-- From here on nobody writes to a user's own upload ($1, $2); the sweep takes what is left.
UPDATE directoire.resumable
   SET expires_at = '-infinity',
       fence = fence + 1
 WHERE id = $1::text::uuid
   AND user_id = $2
   AND expires_at > now()
RETURNING id;

-- expired
SELECT id::text AS id, fence
  FROM directoire.resumable
 WHERE expires_at < now()
 ORDER BY expires_at
 LIMIT 100;

-- forget
-- An upload ($1) whose objects are gone, unless it moved on ($2 is its fence).
DELETE FROM directoire.resumable
 WHERE id = $1::text::uuid
   AND fence = $2
   AND expires_at < now();

-- live_parts
-- Which of these objects ($1 uploads, $2 fences) belong to an upload that goes on: its parts, and
-- the one that is being written.
SELECT asked.id::text || '.' || asked.fence::text AS key
  FROM unnest($1::text[]::uuid[], $2::bigint[]) AS asked(id, fence)
  JOIN directoire.resumable AS upload USING (id)
 WHERE upload.file_id IS NULL
   AND upload.expires_at > now()
   AND (asked.fence = upload.fence OR EXISTS (
            SELECT FROM directoire.resumable_parts AS part
             WHERE part.upload_id = asked.id AND part.fence = asked.fence));
