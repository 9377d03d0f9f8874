-- inbox
-- Threads of one user, the one with the newest message first. $4: only threads with an unread
-- message of a higher id; null for all.
SELECT m.id
  FROM public.directus_messages_recipients r
  JOIN public.directus_messages m ON m.id = r.message_id AND m.response_to IS NULL
 CROSS JOIN LATERAL (
       SELECT max(own.message_id) AS newest,
              max(own.message_id) FILTER (WHERE own.read = 0) AS newest_unread
         FROM public.directus_messages_recipients own
        WHERE own.recipient = r.recipient
          AND (own.message_id = m.id
               OR own.message_id IN (SELECT reply.id FROM public.directus_messages reply
                                      WHERE reply.response_to = m.id))) thread
 WHERE r.recipient = $1
   AND r.archived = 0
   AND ($4::bigint IS NULL OR thread.newest_unread > $4)
 ORDER BY thread.newest DESC
 LIMIT $2 OFFSET $3;

-- counts
-- Messages a user has received and not archived.
SELECT count(*) FILTER (WHERE read = 1) AS read,
       count(*) FILTER (WHERE read = 0) AS unread,
       count(*) AS total,
       coalesce(max(message_id), 0) AS max_id
  FROM public.directus_messages_recipients
 WHERE recipient = $1 AND archived = 0;

-- messages
-- These messages ($2) and their replies, as far as this user ($1) sent or received them.
SELECT m.id, m."from", m.subject, m.message,
       to_char(m.datetime AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS datetime,
       coalesce(m.attachment, '') AS attachment, m.response_to, m.comment_metadata,
       coalesce(own.read, 1) AS read,
       coalesce((SELECT string_agg(r.recipient::text, ',' ORDER BY r.recipient)
                   FROM public.directus_messages_recipients r
                  WHERE r.message_id = m.id), '') AS recipients,
       coalesce((SELECT string_agg(r.recipient::text, ',' ORDER BY r.recipient)
                   FROM public.directus_messages_recipients r
                  WHERE r.message_id = m.id AND r.read = 1), '') AS reads
  FROM public.directus_messages m
  LEFT JOIN public.directus_messages_recipients own
    ON own.message_id = m.id AND own.recipient = $1
 WHERE (m.id = ANY ($2::int[]) OR m.response_to = ANY ($2::int[]))
   AND (own.id IS NOT NULL OR m."from" = $1)
 ORDER BY m.id;

-- root
-- The message a thread begins with; no row when this user ($1) neither sent nor received $2.
SELECT coalesce(m.response_to, m.id) AS id, root.subject
  FROM public.directus_messages m
  JOIN public.directus_messages root ON root.id = coalesce(m.response_to, m.id)
 WHERE m.id = $2
   AND (m."from" = $1
        OR EXISTS (SELECT FROM public.directus_messages_recipients r
                    WHERE r.message_id = m.id AND r.recipient = $1));

-- participants
SELECT r.recipient AS id
  FROM public.directus_messages_recipients r
  JOIN public.directus_users u ON u.id = r.recipient AND u.active = 1
 WHERE r.message_id = $1;

-- receivers
-- Active users among $1, or members of the groups $2.
SELECT id, email, email_messages, "group",
       trim(concat_ws(' ', first_name, last_name)) AS name
  FROM public.directus_users
 WHERE active = 1 AND (id = ANY ($1::int[]) OR "group" = ANY ($2::int[]))
 ORDER BY id;

-- add_message
INSERT INTO public.directus_messages
       ("from", subject, message, attachment, response_to, comment_metadata)
VALUES ($1, $2, $3, $4, $5, $6)
RETURNING id;

-- add_recipients
-- $2 the users, $3 the group each was addressed by or null; the sender ($4) has read what he wrote.
INSERT INTO public.directus_messages_recipients (message_id, recipient, read, "group")
SELECT $1, given.id, (given.id = $4)::int, given."group"
  FROM unnest($2::int[], $3::int[]) AS given (id, "group")
 ORDER BY given.id
    ON CONFLICT (message_id, recipient) DO NOTHING;

-- bring_back
-- A thread with a new message is in the inbox again of whoever had archived it.
UPDATE public.directus_messages_recipients
   SET archived = 0
 WHERE message_id = $1 AND recipient = ANY ($2::int[]) AND archived = 1;

-- mark
-- A message and its replies as read (1) or unread (0) by one user.
UPDATE public.directus_messages_recipients r
   SET read = $3
  FROM public.directus_messages m
 WHERE m.id = r.message_id
   AND (m.id = $2 OR m.response_to = $2)
   AND r.recipient = $1
   AND r.read <> $3;

-- archive
-- Messages and their replies leave the inbox of one user; returns which of those named were in it.
WITH found AS (
    SELECT r.id, m.id AS message
      FROM public.directus_messages_recipients r
      JOIN public.directus_messages m ON m.id = r.message_id
     WHERE r.recipient = $1 AND (m.id = ANY ($2::int[]) OR m.response_to = ANY ($2::int[]))
     ORDER BY r.id
       FOR UPDATE OF r
),
archived AS (
    UPDATE public.directus_messages_recipients
       SET archived = 1, read = 1
     WHERE id IN (SELECT id FROM found)
)
SELECT message FROM found WHERE message = ANY ($2::int[]) ORDER BY message;
