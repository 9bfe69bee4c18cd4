-- The node that does the periodic duties. It leads while its node lives: a leader that is dead in `nodes` leads no more,
-- so leadership ends by the same rule as the leases of jobs (docs/queue.md 3). No session holds it.
create table leader (
  one     boolean primary key default true check (one),
  node_id int not null,
  since   timestamptz not null default now()
);
