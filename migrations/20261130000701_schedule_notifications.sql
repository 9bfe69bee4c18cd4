-- Notifications that are sent later.

alter table fan_outs add column is_scheduled boolean not null default false;
comment on column fan_outs.is_scheduled is
  'The audience is stored as the request named it. It is resolved when it is due; then what is found page by page is left.';
comment on column fan_outs.due_at is 'When its devices are looked for: send_at, or the time of acceptance.';

-- For the duty that ends fan-outs after their time to live: it must not read all that are due later.
create index fan_outs_expiring on fan_outs (expires_at);

-- For the retention of days: a notification that was scheduled long ago may have ended today, and without a receipt.
create index notifications_scheduled on notifications (coalesce(cancelled_at, due_at)) where send_at is not null;
