-- Sessions of auth/login, links that mails carry, guesses that are slowed, keys that sign.

-- A family of refresh tokens: one is good, those spent before it end the family when they come back.
CREATE TABLE directoire.sessions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id integer NOT NULL REFERENCES public.directus_users (id) ON DELETE CASCADE,
    refresh bytea NOT NULL UNIQUE CHECK (octet_length(refresh) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX sessions_user ON directoire.sessions (user_id);
CREATE TABLE directoire.spent_refreshes (
    sha256 bytea PRIMARY KEY,
    session_id bigint NOT NULL REFERENCES directoire.sessions (id) ON DELETE CASCADE
);
CREATE INDEX spent_refreshes_session ON directoire.spent_refreshes (session_id);
-- An access token ends with its session.
ALTER TABLE directoire.tokens
    ADD COLUMN session_id bigint REFERENCES directoire.sessions (id) ON DELETE CASCADE;
CREATE INDEX tokens_session ON directoire.tokens (session_id) WHERE session_id IS NOT NULL;

-- Links in mails: to set a password. Each works once, for an hour; only its digest is here.
CREATE TABLE directoire.links (
    sha256 bytea PRIMARY KEY CHECK (octet_length(sha256) = 32),
    user_id integer NOT NULL REFERENCES public.directus_users (id) ON DELETE CASCADE,
    purpose text NOT NULL CHECK (purpose IN ('reset', 'invitation')),
    expires_at timestamptz NOT NULL
);
CREATE INDEX links_user ON directoire.links (user_id);

-- Guesses by address, account and both; they leak away with time. Of no worth after a crash.
CREATE UNLOGGED TABLE directoire.guesses (
    who bytea PRIMARY KEY,
    level double precision NOT NULL,
    at timestamptz NOT NULL
);
-- From where somebody has signed in: a stranger's guesses do not keep him out there.
CREATE TABLE directoire.known_addresses (
    user_id integer NOT NULL REFERENCES public.directus_users (id) ON DELETE CASCADE,
    address inet NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, address)
);

-- Keys that sign access tokens; the newest signs.
CREATE TABLE directoire.signing_keys (
    id text PRIMARY KEY,
    private_key text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Hashes of a Directus 6 database are good until their owner signs in.
ALTER TABLE directoire.credentials
    DROP CONSTRAINT credentials_password_hash_check,
    ADD CONSTRAINT credentials_password_hash_check
        CHECK (password_hash ~ '^[$](argon2id|2[aby])[$]');
