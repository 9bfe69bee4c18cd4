-- Topics and the subscriptions of devices.

-- 64-bit numbers: each name that is ever used takes one, and they must not run out.
create table topics (
  topic_id bigint generated always as identity primary key,
  app_id   smallint not null,
  name     text not null,
  unique (app_id, name)
);
comment on table topics is 'One row per topic that has a subscriber. It comes with the first one and goes with the last one.';

create table subscriptions (
  topic_id  bigint not null references topics,
  device_id bigint not null,
  primary key (topic_id, device_id)
);
comment on table subscriptions is 'One row per device and topic.';
create index subscriptions_device on subscriptions (device_id);
