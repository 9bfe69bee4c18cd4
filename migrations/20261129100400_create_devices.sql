-- Devices: one token of one app at one provider, perhaps a user's.

create table devices (
  device_id          bigint generated always as identity primary key,
  app_id             smallint not null,
  platform           smallint not null check (platform > 0),
  environment        smallint not null check (environment >= 0),
  environment_proven boolean not null default false,
  kind               smallint not null default 0 check (kind >= 0),
  source             smallint not null default 0 check (source between 0 and 2),
  token              text not null check (length(token) between 1 and 4096),
  token_digest       bytea not null check (length(token_digest) = 16),
  user_id            text,
  locale             text,
  timezone           text,
  app_version        text,
  created_at         timestamptz not null default now(),
  registered_at      timestamptz,
  quarantined_at     timestamptz,
  quarantine_reason  text,
  evidence_at        timestamptz,
  quarantine_run     bigint,
  last_sent_on       date,
  replaces_id        bigint,
  replaces_at        timestamptz
) with (fillfactor = 90);
comment on table devices is 'One row per push token of an app.';
comment on column devices.platform is 'Code of the provider: 1 APNs, 2 FCM.';
comment on column devices.environment is '0 none (FCM), 1 production, 2 sandbox.';
comment on column devices.environment_proven is
  'The provider accepted the token in this environment: a registration no longer changes it.';
comment on column devices.kind is
  'What the token is for: 0 alert; of APNs also 1 voip, 2 liveactivity, 3 liveactivity-start, and so on.';
comment on column devices.source is 'How the device became known: 0 registered, 1 by a send to its token, 2 by an import.';
comment on column devices.token_digest is
  'The first 16 bytes of the token''s SHA-256. Tokens are looked up by it, because a token may be longer than an index entry can be.';
comment on column devices.registered_at is
  'When the app last handed over the token; null: never, so that any verdict applies.';
comment on column devices.quarantined_at is 'Since when nothing is sent to the device; null: it is in use.';
comment on column devices.quarantine_reason is 'The provider''s reason, or ours.';
comment on column devices.evidence_at is
  'The time that the verdict speaks of; null: quarantined_at. Only a later registration brings the device back.';
comment on column devices.quarantine_run is 'The clean-up run that quarantined the device, so that the run can be undone.';
comment on column devices.last_sent_on is 'Only for source 1: the day of the last send. The device is deleted 30 days later.';
comment on column devices.replaces_id is
  'The device that this one replaces once both have the same user. No foreign key: the old device may be deleted first.';
comment on column devices.replaces_at is 'When the app said so. The link ends 30 days later.';

-- Without the environment: a token has one environment, and which one it is may be found out later.
create unique index devices_token on devices (app_id, platform, token_digest);
create index devices_user on devices (app_id, user_id) where user_id is not null;
create index devices_live on devices (app_id, device_id) where quarantined_at is null and source <> 1;
-- The condition is always true. It keeps statements that do not repeat it from using this index: a plan that is made while
-- the table is empty would use it for device_id = any(...), and later read all of the index once for every id.
create index devices_app on devices (app_id, device_id) where app_id > 0;
-- Finds what was quarantined lately, to bring it back.
create index devices_quarantined on devices (app_id, quarantined_at) where quarantined_at is not null;
-- Finds what a clean-up run quarantined, to restore it. device_id + 0 keeps statements that do not repeat it from using this
-- index.
create index devices_cleanup on devices (quarantine_run, (device_id + 0)) where quarantine_run is not null;
-- Without last_sent_on: an index on it would make each update of that day more expensive.
create index devices_sent on devices (device_id) where source = 1;
