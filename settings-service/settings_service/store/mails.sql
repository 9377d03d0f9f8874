-- is_due
-- Asked often: it takes no transaction number.
SELECT EXISTS (SELECT FROM directoire.mails WHERE due <= now());

-- claim
-- A few mails for one sender; if it dies they are due again after five minutes.
UPDATE directoire.mails
   SET due = now() + interval '5 minutes', attempts = attempts + 1
 WHERE id = ANY (ARRAY(SELECT id FROM directoire.mails
                        WHERE due <= now()
                        ORDER BY due
                        LIMIT $1
                          FOR UPDATE SKIP LOCKED))
RETURNING id, recipient, subject, body, attempts, queued_at;

-- done
DELETE FROM directoire.mails WHERE id = $1;

-- later
-- Not sent this time: again after so many seconds.
UPDATE directoire.mails
   SET due = now() + make_interval(secs => $2), fault = $3
 WHERE id = $1;

-- expire
-- What could not be sent within so many seconds is given up.
DELETE FROM directoire.mails
 WHERE queued_at < now() - make_interval(secs => $1)
RETURNING id, attempts, fault;
