-- What each node says of its lanes, for operators, and so that whoever pauses a lane can see when every node has stopped.
create table lane_reports (
  lane_id       int not null,
  node_id       int not null,
  state         smallint not null,                -- 0 running, 1 throttled, 2 broken, 3 suspended, 4 paused
  why           text,                             -- the provider's word: printable ASCII
  since         timestamptz not null,
  in_flight     int not null,
  rate          real not null,                    -- answers a second since the report before
  connections   int not null,
  credential    bytea not null,                   -- fingerprint of the one in use
  credential_ok boolean,                          -- what the provider last said of it; null: nothing yet
  checked_at    timestamptz,                      -- when it said so
  reported_at   timestamptz not null,
  primary key (lane_id, node_id)
) with (fillfactor = 50);

-- An operator wants a lane that waits tried now.
alter table lanes add column tried_at timestamptz;
