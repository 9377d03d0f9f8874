-- lease_note
-- What the relay noted about the lease; ages in seconds.
SELECT lease_run AS run,
       coalesce(extract(epoch FROM clock_timestamp() - lease_since), 0)::float8 AS noted,
       coalesce(extract(epoch FROM clock_timestamp() - until), 0)::float8 AS lapsed
  FROM directoire.relay
