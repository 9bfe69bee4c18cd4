-- The installation: its secret key, and the server that its identity numbers come from.
--
-- Rules for all tables:
-- * Every stored time is Postgres's own (now()). Nodes use their clocks for durations only.
-- * A transaction that locks rows of several tables takes them in this order: fan_outs, notifications, jobs (by id),
--   devices (by id), the rest.

create table installation (
  singleton  boolean primary key default true check (singleton),
  key        bytea not null check (length(key) = 32),
  created_at timestamptz not null default now(),
  timeline   text
);
comment on table installation is 'One row: what distinguishes this installation from every other one.';
comment on column installation.key is 'Secret from which public device ids and apns-ids are derived. It must survive upgrades.';
comment on column installation.timeline is
  'The server and timeline for which the identity numbers were last skipped ahead; null where the server does not tell it.';

-- The name of the server's history: its system identifier and its timeline. The timeline changes with each promotion of a
-- standby and each recovery to a point in time. Null where a managed service does not tell it. Fails on a standby.
create function server_timeline() returns text language plpgsql as $$
begin
  return (select system_identifier::text from pg_control_system())
         || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8);
exception when insufficient_privilege or feature_not_supported or undefined_function then
  return null;
end $$;

-- Moves every identity number ahead, by more than a promoted standby can lag behind: a billion where there is room for it, a
-- million for 32 bits, ten for 16 bits (apps, which are few). Returns the number of identity columns.
--
-- After a failover to a server that lagged, the identities begin where that server stood. Numbers that were given to callers
-- and are kept in the memory of nodes would come again and mean something else. So each new connection compares
-- server_timeline() with installation.timeline and calls this function where they differ.
create function skip_identities() returns int language plpgsql as $$
declare
  identity record;
  skipped  int := 0;
begin
  for identity in
    select pg_get_serial_sequence(attrelid::regclass::text, attname) as sequence, atttypid
    from pg_attribute join pg_class c on c.oid = attrelid
    where attidentity <> '' and not attisdropped and not relispartition and relnamespace = current_schema()::regnamespace
  loop
    perform setval(identity.sequence, case identity.atttypid
      when 'bigint'::regtype then least(nextval(identity.sequence) + 1000000000, 9223372036854775807)
      when 'integer'::regtype then least(nextval(identity.sequence) + 1000000, 2147483647)
      else least(nextval(identity.sequence) + 10, 32767) end);
    skipped := skipped + 1;
  end loop;
  return skipped;
end $$;

-- gen_random_uuid() draws 122 bits from the system's secure source. Four of them, hashed, are a 256-bit key.
insert into installation (key, timeline)
select sha256(convert_to(string_agg(gen_random_uuid()::text, ''), 'UTF8')), server_timeline()
from generate_series(1, 4);
