-- What a hash costs to compare with: its algorithm and parameters, which stand before its salt. A
-- failed sign-in costs one of each that is stored; the index finds them without reading all hashes.
CREATE FUNCTION directoire.kind_of(password_hash text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT substring(
        password_hash COLLATE "C" FROM '^[$](?:2[aby][$][0-9]{2}|argon2id[$](?:v=[0-9]+[$])?[^$]+)'
    )
$$;
CREATE INDEX credentials_kind ON directoire.credentials (directoire.kind_of(password_hash));
