-- Webhooks: how far each has read the event log, what came of its last attempts, and the events that it was not able to take.

create table webhooks (
  webhook_id        bigint generated always as identity primary key,
  app_id            smallint not null,
  name              text not null,
  source            smallint not null check (source in (1, 2)),
  seen_at           timestamptz not null default now(),
  url               text,
  types             text[],
  devices           text check (devices in ('all', 'failed', 'none')),
  batch_max         smallint,
  secrets           bytea[] not null default '{}',
  secrets_expire_at timestamptz[] not null default '{}',
  cursor_position   bigint not null,
  cursor_index      bigint not null,
  cursor_day        date not null,
  replays           int not null default 0,
  message_position  bigint,
  message_index     bigint,
  message_day       date,
  gap_from          timestamptz,
  gap_to            timestamptz,
  focus             smallint not null default 0 check (focus between 0 and 2),
  ahead             int not null default 0,
  failures          int not null default 0,
  step              int not null default 0,
  refusals          int not null default 0,
  probed            int not null default 0,
  failing_since     timestamptz,
  paused_at         timestamptz,
  disabled_at       timestamptz,
  state_since       timestamptz not null default now(),
  why               text,
  next_attempt_at   timestamptz not null default now(),
  last_success_at   timestamptz,
  node_id           int,
  version           int not null default 0,
  unique (app_id, name),
  constraint webhooks_message check (num_nulls(message_position, message_index, message_day) in (0, 3)),
  constraint webhooks_gap check (num_nulls(gap_from, gap_to) in (0, 2)),
  constraint webhooks_made check (source = 1 or num_nulls(url, types, devices, batch_max) = 0)
) with (fillfactor = 50);
comment on table webhooks is
  'One row per webhook. It is leased to a node like a job, by node_id and version, and never locked while a message is under way.';
comment on column webhooks.source is '1 the configuration, which has the settings; 2 the API, which has stored them here.';
comment on column webhooks.seen_at is 'When a node last had it in its configuration.';
comment on column webhooks.devices is 'Which devices the events of deliveries name.';
comment on column webhooks.secrets is 'Of source 2, the newest first.';
comment on column webhooks.secrets_expire_at is 'From when on each of the secrets signs no more; null: it signs on.';
comment on column webhooks.cursor_position is 'All events up to this place of the log are delivered, set aside, or not wanted.';
comment on column webhooks.cursor_index is 'The number of the event within the row of the log.';
comment on column webhooks.cursor_day is 'The day of the row of the log.';
comment on column webhooks.replays is 'How often the cursor was wound back. It is part of the ids of messages.';
comment on column webhooks.message_position is 'The last event of the message under way; null: no message is.';
comment on column webhooks.gap_from is 'Events from then to gap_to were dropped before they were delivered, which is to be told.';
comment on column webhooks.focus is 'What the next message has: 0 as many events as fit, 1 the first one, 2 the one so many places ahead.';
comment on column webhooks.ahead is 'Of focus 2, how many places.';
comment on column webhooks.failures is 'Failed attempts since the last success.';
comment on column webhooks.step is 'Failed attempts since the back-off began.';
comment on column webhooks.refusals is 'Of focus 0, refusing answers in a row; of focus 1, failures.';
comment on column webhooks.probed is 'How many places ahead events were tried since the last success.';
comment on column webhooks.failing_since is 'The first failure after the last success.';
comment on column webhooks.why is 'What came of the last failed attempt; null: the last one succeeded.';
comment on column webhooks.node_id is 'The node that it is leased to; null: to none.';
comment on column webhooks.version is 'Rises with each lease, and with each change that makes the lease void.';
create index webhooks_node on webhooks (node_id) where node_id is not null;

create table webhook_attempts (
  webhook_id bigint not null references webhooks on delete cascade,
  succeeded  boolean not null,
  attempt_id bigint generated always as identity,
  at         timestamptz not null default now(),
  message    text not null,
  events     smallint not null,
  attempt    int not null,
  status     smallint,
  error      text,
  elapsed_ms int not null,
  response   text not null,
  node_name  text not null,
  primary key (webhook_id, succeeded, attempt_id)
);
comment on table webhook_attempts is
  'The last attempts of each webhook: 800 that failed and 200 that succeeded, none older than retention.events.';
comment on column webhook_attempts.message is 'The id of the message.';
comment on column webhook_attempts.attempt is 'Counts attempts since the last success before it, from 1.';
comment on column webhook_attempts.response is 'The first printable characters of the answer.';
create index webhook_attempts_at on webhook_attempts (at);

create table webhook_set_aside (
  webhook_id      bigint not null references webhooks on delete cascade,
  position        bigint not null,
  index           bigint not null,
  day             date not null,
  set_aside_at    timestamptz not null default now(),
  attempts        int not null default 0,
  next_attempt_at timestamptz,
  status          smallint,
  error           text,
  primary key (webhook_id, position, index)
);
comment on table webhook_set_aside is 'Events that a webhook refused while it took a later one.';
comment on column webhook_set_aside.attempts is 'Attempts since it was set aside.';
comment on column webhook_set_aside.next_attempt_at is 'When it is sent again; null: only on command.';
create index webhook_set_aside_due on webhook_set_aside (webhook_id, next_attempt_at) where next_attempt_at is not null;
