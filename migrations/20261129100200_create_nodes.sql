-- Nodes (processes that serve or send), and the node that leads them.

create table nodes (
  node_id    int generated always as identity primary key,
  name       text not null,
  started_at timestamptz not null default now(),
  beat       bigint not null default 0 check (beat >= 0),
  dead_at    timestamptz
) with (fillfactor = 50);
comment on table nodes is 'One row per start of a process. A job is leased to a node for as long as the node lives.';
comment on column nodes.beat is
  'Heartbeat counter. Other nodes judge it by watching whether it rises, never by comparing clocks.';
comment on column nodes.dead_at is
  'When the node was declared dead. The row stays for a day, and the jobs leased to the node are swept all that time.';

-- A leader that is dead in `nodes` leads no more, so leadership ends by the same rule as the leases of jobs. No session
-- holds it: a process that hangs keeps its sessions, but its heartbeat stops.
create table leader (
  singleton boolean primary key default true check (singleton),
  node_id   int not null,
  since     timestamptz not null default now()
);
comment on table leader is 'At most one row: the node that runs the periodic duties.';
