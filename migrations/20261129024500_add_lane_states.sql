-- Since when a lane has been in its state: nodes come and go, and what they find again after a start is no change.
alter table lanes
  add column state       smallint,                -- the worst that living nodes said; null: no node has said anything yet
  add column state_since timestamptz;
