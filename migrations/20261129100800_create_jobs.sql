-- Jobs: the queue. A job is a list of devices of one lane that are tried together.

create table jobs (
  job_id                  bigint generated always as identity primary key,
  notification_id         uuid not null,
  lane_id                 int not null,
  priority                smallint not null check (priority in (1, 5, 10)),
  class                   smallint not null default 0 check (class between 0 and 2),
  due_at                  timestamptz not null,
  expires_at              timestamptz not null,
  attempt                 smallint not null default 1 check (attempt >= 1),
  unanswered              smallint not null default 0 check (unanswered >= 0),
  node_deaths             smallint not null default 0 check (node_deaths >= 0),
  in_doubt                boolean not null default false,
  node_id                 int,
  version                 int not null default 0,
  device_count            smallint not null check (device_count between 1 and 500),
  last_reason             text,
  devices                 bigint[] not null,
  done                    bit varying(500),
  environment_probe_since timestamptz
) with (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_delay = 0);
comment on table jobs is 'One row per list of devices that waits or is leased to a node. A finished job is deleted.';
comment on column jobs.priority is '10 high, 5 normal, 1 low.';
comment on column jobs.class is '0 direct, 1 retry, 2 bulk: each is its own range of the claim index.';
comment on column jobs.expires_at is 'When no attempt may begin any more. With a ttl of 0: 30 s after acceptance.';
comment on column jobs.attempt is 'Which attempt of its devices this job is.';
comment on column jobs.unanswered is 'How many of the attempts before may have been sent without an answer.';
comment on column jobs.node_deaths is 'How often its node died without anything of it going on record.';
comment on column jobs.in_doubt is
  'The present attempt may have been made: a dead node held the job and did not give it back.';
comment on column jobs.node_id is 'The node to which the job is leased; null: it waits.';
comment on column jobs.version is 'Fence: rises with each claim, release and partial record.';
comment on column jobs.device_count is 'Number of devices in devices, done or not.';
comment on column jobs.last_reason is 'The last reason given about its devices.';
comment on column jobs.devices is 'Ascending.';
comment on column jobs.done is 'Bit i: devices[i] has left this job; null: none has.';
comment on column jobs.environment_probe_since is
  'Not null: this attempt tries tokens that another APNs environment called bad, in an attempt that began then.';

create index jobs_waiting      on jobs (lane_id, class, priority, due_at, job_id) where node_id is null;
create index jobs_leased       on jobs (node_id, job_id) where node_id is not null;
create index jobs_notification on jobs (notification_id);
create index jobs_expiring     on jobs (expires_at) where node_id is null;
create index jobs_probes       on jobs (due_at) where node_id is null and environment_probe_since is not null;
