-- Closed topics that do not go over to a device that replaces this one by a user token.

alter table subscriptions add column is_former boolean not null default false check (not (is_bound and is_former));
comment on column subscriptions.is_former is
  'A backend subscribed the device to a closed topic before an app took the device from its user.';
