-- Subscriptions that end when the device leaves its user.

alter table subscriptions add column is_bound boolean not null default false;
comment on column subscriptions.is_bound is
  'An app subscribed to a closed topic by a user token: the subscription ends when the device leaves its user.';
