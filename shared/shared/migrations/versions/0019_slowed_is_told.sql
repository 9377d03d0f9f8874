-- When an entry last told that attempts are refused unseen: one a minute is enough.
ALTER TABLE directoire.guesses ADD COLUMN told_at timestamptz;
