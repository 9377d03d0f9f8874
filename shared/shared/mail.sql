-- queue
INSERT INTO directoire.mails (recipient, subject, body) VALUES ($1, $2, $3);
