-- Finds the notifications of a label: to list them, and to cancel them together.
create index notifications_label on notifications (app_id, label, notification_id) where label is not null;
