-- Within a priority, scheduled notifications that are due are resolved before the pages of fan-outs.

drop index fan_outs_waiting;
create index fan_outs_waiting on fan_outs (priority, is_scheduled, due_at);
