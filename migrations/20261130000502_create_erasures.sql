-- What answers must not show after users were erased. Rows go when no notification from before the erasure is left.

create table erased_devices (
  device_id   bigint primary key,
  app_id      smallint not null,
  user_digest bytea not null,
  erased_at   timestamptz not null default now()
);
comment on table erased_devices is 'One row per device that was deleted because its user was erased.';
create index erased_devices_user on erased_devices (app_id, user_digest, device_id);
create index erased_devices_age on erased_devices (erased_at);

create table erased_users (
  app_id      smallint not null,
  user_digest bytea not null,
  erased_at   timestamptz not null default now(),
  primary key (app_id, user_digest)
);
comment on table erased_users is 'One row per erased user. Notifications accepted before erased_at do not show the user.';
create index erased_users_age on erased_users (erased_at);

-- Stands for a user without naming it. The key of the installation keeps outsiders from trying names.
create function user_digest(app smallint, name text) returns bytea language sql stable as $$
  select substr(sha256(key || int2send(app) || convert_to(name, 'UTF8')), 1, 16) from installation
$$;
