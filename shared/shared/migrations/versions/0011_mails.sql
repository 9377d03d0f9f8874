-- Mails that belong to committed changes and are not sent yet (shared/mail.py). settings-service
-- takes from it and deletes what it has sent.
CREATE TABLE directoire.mails (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recipient text NOT NULL,
    subject text NOT NULL,
    body text NOT NULL,
    queued_at timestamptz NOT NULL DEFAULT now(),
    due timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0,
    fault text
);
CREATE INDEX mails_due ON directoire.mails (due);
