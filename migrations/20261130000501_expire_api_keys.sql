-- Keys that end by themselves, and when each was last used.

alter table api_keys
  add column expires_at   timestamptz,
  add column last_used_at timestamptz;
comment on column api_keys.expires_at is 'From this time on the key is refused like a revoked one; null: it does not expire.';
comment on column api_keys.last_used_at is 'The hour in which the key was last used; null: never.';
