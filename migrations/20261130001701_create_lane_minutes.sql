-- What became of the devices of each lane, minute by minute, for the charts of the dashboard.

create table lane_minutes (
  lane_id         int not null,
  minute          timestamptz not null,
  node_id         int not null,
  accepted        bigint not null check (accepted >= 0),
  failed          bigint not null check (failed >= 0),
  on_time         bigint not null check (on_time >= 0),
  late            bigint not null check (late >= 0),
  provider_counts bigint[] not null,
  waiting         bigint,
  primary key (lane_id, minute, node_id)
);
comment on table lane_minutes is
  'One row per lane, minute and node in which the lane had outcomes, or in which devices waited. Kept for a day.';
comment on column lane_minutes.minute is 'When the minute began, by Postgres''s clock.';
comment on column lane_minutes.accepted is 'Devices that the provider accepted, as this node committed.';
comment on column lane_minutes.failed is 'Devices that ended otherwise and were not cancelled, as this node committed.';
comment on column lane_minutes.on_time is
  'Devices of direct notifications of high or normal priority: their first attempt began within the objective.';
comment on column lane_minutes.late is 'As on_time, for first attempts that began later.';
comment on column lane_minutes.provider_counts is
  'Answers of the provider by the time that they took: a number for each bucket of pushpost_provider_seconds.';
comment on column lane_minutes.waiting is
  'Devices that were due at the end of the minute, as the leader had counted them; null: the leader had not counted.';

alter table lane_reports add column in_flight_max int;
comment on column lane_reports.in_flight_max is
  'Attempts that the node allows itself now; null: the node''s version does not report that.';
