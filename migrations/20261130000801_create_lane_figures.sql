-- What waits in each lane, as the leader last counted it. Every node shows it to operators, so that no page counts jobs.

create table lane_figures (
  lane_id           int not null,
  priority          smallint not null check (priority in (1, 5, 10)),
  due_devices       bigint not null check (due_devices >= 0),
  oldest_due_at     timestamptz,
  scheduled_devices bigint not null check (scheduled_devices >= 0),
  backoff_devices   bigint not null check (backoff_devices >= 0),
  is_estimated      boolean not null,
  read_at           timestamptz not null,
  primary key (lane_id, priority)
) with (fillfactor = 50);
comment on table lane_figures is 'One row per lane and priority, which the leader writes every 15 s, and every minute while they stay the same.';
comment on column lane_figures.due_devices is 'Devices that were due and had no outcome, in leased jobs too.';
comment on column lane_figures.oldest_due_at is 'When the oldest of them fell due; null: none was due.';
comment on column lane_figures.scheduled_devices is 'Devices that were due later and waited for their first attempt.';
comment on column lane_figures.backoff_devices is 'Devices that were due later because an attempt failed.';
comment on column lane_figures.is_estimated is 'The numbers of devices are estimates, because too many jobs waited. The time is exact.';
comment on column lane_figures.read_at is 'When the leader counted. Old figures mean that no node leads, or that Postgres is too slow.';
