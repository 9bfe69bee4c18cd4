-- Clean-up runs, which quarantine devices of apps that were not opened for long, and the schedules that start them.

create table cleanup_runs (
  run_id               bigint generated always as identity primary key,
  app_id               smallint not null,
  status               smallint not null default 0 check (status between 0 and 5),
  dry_run              boolean not null,
  inactive_days        int not null check (inactive_days between 1 and 3650),
  platforms            text[],
  environments         text[],
  app_version_below    text,
  max_share_millionths int not null check (max_share_millionths between 0 and 1000000),
  schedule             text,
  created_at           timestamptz not null default now(),
  counted_at           timestamptz,
  done_at              timestamptz,
  last_device_id       bigint not null,
  reached_device_id    bigint not null default 0,
  scanned              bigint not null default 0,
  matched              bigint not null default 0,
  recently_quarantined bigint not null default 0,
  quarantined          bigint not null default 0,
  restored             bigint not null default 0,
  deleted              bigint not null default 0,
  sample               bigint[] not null default '{}',
  problem              smallint check (problem = 1),
  constraint cleanup_runs_done check ((done_at is null) = (status in (0, 4)))
) with (fillfactor = 50);
comment on table cleanup_runs is
  'One row per clean-up run. A batch of a run is one transaction with the row locked, so a run needs no lease.';
comment on column cleanup_runs.status is '0 running, 1 done, 2 failed, 3 cancelled, 4 restoring, 5 restored.';
comment on column cleanup_runs.dry_run is 'The run counts and quarantines nothing.';
comment on column cleanup_runs.inactive_days is
  'Devices that were last registered at least so many days before created_at match.';
comment on column cleanup_runs.platforms is 'Only devices of these providers are in question; null: of all.';
comment on column cleanup_runs.environments is 'Only devices of these environments are in question; null: of all.';
comment on column cleanup_runs.app_version_below is 'Only devices with a lower app version match; null: with any or none.';
comment on column cleanup_runs.max_share_millionths is 'The largest share of the devices in question that a run may quarantine.';
comment on column cleanup_runs.schedule is 'The schedule that started the run; null: a request or a command did.';
comment on column cleanup_runs.counted_at is
  'When every device was counted, after which devices are quarantined; null: devices are being counted.';
comment on column cleanup_runs.done_at is 'When the run, or its restoration, ended.';
comment on column cleanup_runs.last_device_id is 'Devices above it did not exist when the run began.';
comment on column cleanup_runs.reached_device_id is
  'All devices up to this one have been counted, quarantined or restored, whichever is under way.';
comment on column cleanup_runs.scanned is 'Active devices in question that were counted.';
comment on column cleanup_runs.matched is 'Devices among them that matched.';
comment on column cleanup_runs.recently_quarantined is
  'Devices in question that other runs quarantined in the 30 days before and that are still quarantined by them.';
comment on column cleanup_runs.deleted is
  'Devices of the run that were deleted after retention.quarantine, which count towards the share of later runs.';
comment on column cleanup_runs.sample is 'The first devices that matched.';
comment on column cleanup_runs.problem is '1 the share of devices was above the limit; null: none.';

-- At most one run of an app is under way, whichever node starts it.
create unique index cleanup_runs_active on cleanup_runs (app_id) where status in (0, 4);
create index cleanup_runs_app on cleanup_runs (app_id, run_id);

create table cleanup_schedules (
  app_id             smallint not null,
  name               text not null,
  last_occurrence_at timestamptz not null,
  primary key (app_id, name)
) with (fillfactor = 50);
comment on table cleanup_schedules is
  'One row per schedule of clean-up runs that has ever come due, so that no two leaders start an occurrence.';
comment on column cleanup_schedules.last_occurrence_at is 'The latest occurrence that started a run or was skipped.';

-- Compares versions of whole numbers and dots number by number: 5.10 is above 5.9, and 5.2.0 equals 5.2. Null and any other
-- version is below none. The bound has the form.
create function is_version_below(version text, bound text) returns boolean immutable parallel safe language sql as $$
  select case
    when version ~ '^[0-9]+(\.[0-9]+)*$'
      then string_to_array(regexp_replace(version, '(\.0+)+$', ''), '.')::numeric[]
           < string_to_array(regexp_replace(bound, '(\.0+)+$', ''), '.')::numeric[]
    else false end
$$;
