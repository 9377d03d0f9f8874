-- lease_note
-- What the relay noted about the lease; ages in seconds. Where nobody ever led, none was granted.
SELECT lease_run AS run,
       coalesce(extract(epoch FROM clock_timestamp() - lease_since), 'Infinity')::float8 AS noted,
       coalesce(extract(epoch FROM clock_timestamp() - until), 'Infinity')::float8 AS lapsed
  FROM directoire.relay
