-- API keys.

create table api_keys (
  key_id        uuid primary key,
  app_id        smallint not null references apps,
  name          text,
  secret_digest bytea not null unique check (length(secret_digest) = 32),
  scopes        smallint not null check (scopes > 0),
  created_at    timestamptz not null default now(),
  revoked_at    timestamptz
);
comment on table api_keys is 'One row per API key. The secret itself is stored nowhere.';
comment on column api_keys.name is 'A name to recognise the key by.';
comment on column api_keys.secret_digest is 'SHA-256 of the secret, which is 256 random bits.';
comment on column api_keys.scopes is 'Sum of: 1 send, 2 read, 4 devices, 8 register, 16 admin.';
