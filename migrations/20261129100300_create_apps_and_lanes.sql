-- Apps, and the lanes over which their notifications are sent.

create table apps (
  app_id      smallint generated always as identity primary key,
  name        text not null unique,
  topic_count int not null default 0 check (topic_count >= 0)
);
comment on table apps is 'One row per app that a configuration has ever named.';
comment on column apps.topic_count is
  'Number of topics of the app, which is limited. Transactions that make or delete topics lock the app''s row and change it.';

-- Circuit breaker, throttling and concurrency limit of a lane are each node's own and stay in memory. This table has what
-- all nodes must agree on.
create table lanes (
  lane_id               int generated always as identity primary key,
  app_id                smallint not null references apps,
  platform              smallint not null check (platform > 0),
  environment           smallint not null check (environment >= 0),
  paused_at             timestamptz,
  suspended_at          timestamptz,
  suspended_fingerprint bytea,
  suspended_reason      text,
  guard_engaged_at      timestamptz,
  guard_reason          text,
  guard_covers_certain  boolean not null default false,
  guard_confirmed_at    timestamptz,
  retry_requested_at    timestamptz,
  state                 smallint check (state between 0 and 4),
  state_since           timestamptz,
  state_reason          text,
  unique (app_id, platform, environment),
  constraint lanes_suspended check (
    (suspended_at is null) = (suspended_fingerprint is null)
    and (suspended_reason is null or suspended_at is not null)),
  constraint lanes_guard check (
    (guard_engaged_at is null) = (guard_reason is null)
    and (guard_engaged_at is not null or not guard_covers_certain and guard_confirmed_at is null)),
  constraint lanes_state check (state is null or state_since is not null)
);
comment on table lanes is 'One row per lane (app, platform, environment) with what operators decided and nodes agreed on.';
comment on column lanes.platform is 'Code of the provider: 1 APNs, 2 FCM.';
comment on column lanes.environment is '0 none (FCM), 1 production, 2 sandbox.';
comment on column lanes.paused_at is 'When an operator paused the lane; null: not paused.';
comment on column lanes.suspended_fingerprint is
  'Fingerprint of the credential that the provider rejected. Only nodes that hold this credential stop.';
comment on column lanes.suspended_reason is 'The provider''s reason for rejecting the credential.';
comment on column lanes.guard_engaged_at is
  'When the pruning guard was engaged: no more devices of the lane are quarantined on the provider''s verdict.';
comment on column lanes.guard_reason is 'The provider''s reason that came too often.';
comment on column lanes.guard_covers_certain is 'The guard also holds back verdicts that leave no doubt.';
comment on column lanes.guard_confirmed_at is 'When a node last found too many verdicts. The guard ends ten minutes later.';
comment on column lanes.retry_requested_at is 'When an operator last asked for an immediate attempt.';
comment on column lanes.state is
  'The worst state that living nodes reported: 0 running, 1 throttled, 2 broken, 3 suspended, 4 paused; null: none reported.';
comment on column lanes.state_since is
  'Since when the lane has been in that state. Stored here because nodes come and go, and what a node finds again after its '
  'start is no change.';
comment on column lanes.state_reason is 'The provider''s reason for that state: printable ASCII.';

create table lane_reports (
  lane_id            int not null,
  node_id            int not null,
  state              smallint not null check (state between -1 and 4),
  reason             text,
  since              timestamptz not null,
  in_flight          int not null,
  answers_per_second real not null,
  connections        int not null,
  credential         bytea not null,
  credential_ok      boolean,
  checked_at         timestamptz,
  reported_at        timestamptz not null,
  primary key (lane_id, node_id)
) with (fillfactor = 50);
comment on table lane_reports is
  'The latest report of each node about each of its lanes: for operators, and so that a pause is answered once every node has '
  'stopped.';
comment on column lane_reports.state is '0 running, 1 throttled, 2 broken, 3 suspended, 4 paused, -1 not known yet.';
comment on column lane_reports.reason is 'The provider''s reason for the state: printable ASCII.';
comment on column lane_reports.since is 'Since when the node has seen the lane in this state.';
comment on column lane_reports.in_flight is 'Attempts under way.';
comment on column lane_reports.answers_per_second is 'Measured since the report before.';
comment on column lane_reports.credential is 'Fingerprint of the credential in use.';
comment on column lane_reports.credential_ok is 'The provider''s last answer about the credential; null: none yet.';
comment on column lane_reports.checked_at is 'When the provider gave that answer.';
