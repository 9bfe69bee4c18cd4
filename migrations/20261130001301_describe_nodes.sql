-- What operators are told of a node: its program, its role, its last heartbeat and how it ended.

alter table nodes
  add column version       text not null default 'unknown',
  add column role          text not null default 'all' check (role in ('all', 'api', 'worker')),
  add column beat_at       timestamptz not null default now(),
  add column is_draining   boolean not null default false,
  add column ended_orderly boolean not null default false;
comment on column nodes.version is 'The version of the program.';
comment on column nodes.role is 'What the node does: all, api or worker.';
comment on column nodes.beat_at is 'When the last heartbeat was counted. For people only: nodes judge each other by beat.';
comment on column nodes.is_draining is 'The node shuts down: it takes nothing new and finishes what is in flight.';
comment on column nodes.ended_orderly is
  'The node removed itself at its shutdown, or the next process with its embedded database took its place.';
