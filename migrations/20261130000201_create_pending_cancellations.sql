-- What is left to do of cancellations.

create table pending_cancellations (
  notification_id uuid primary key
);
comment on table pending_cancellations is
  'One row per cancelled notification that may still have jobs. The leader ends the jobs that wait, and deletes the row '
  'when no job is left.';
