-- Idempotency keys of requests that were accepted.
--
-- Not partitioned: a unique index of a partitioned table holds within a partition only, so a key would be free again at
-- midnight.

create table idempotency_keys (
  app_id          smallint not null,
  key_digest      bytea not null,
  request_digest  bytea not null,
  notification_id uuid not null,
  answer          bytea not null,
  created_at      timestamptz not null default now(),
  primary key (app_id, key_digest)
);
comment on table idempotency_keys is
  'One row per accepted request with an idempotency key, written in the transaction of its notification.';
comment on column idempotency_keys.key_digest is 'The first 16 bytes of the SHA-256 of the key.';
comment on column idempotency_keys.request_digest is
  'The first 16 bytes of a SHA-256 over the JSON of the request. Spaces and the order of members do not change it.';
comment on column idempotency_keys.notification_id is 'The notification of the first request with the key.';
comment on column idempotency_keys.answer is 'The body of the first answer. A repeat gets the same bytes.';
create index idempotency_keys_age on idempotency_keys (created_at);

-- No plan depends on how often a digest or an answer occurs.
alter table idempotency_keys
  alter column key_digest      set statistics 10,
  alter column request_digest  set statistics 0,
  alter column notification_id set statistics 0,
  alter column answer          set statistics 0;
