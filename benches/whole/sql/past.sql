-- Deliveries :deliveries: of the seven days before today, as broadcasts and single notifications leave them.
do $$
begin
  for days_ago in 1..7 loop
    call create_day((now() at time zone 'UTC')::date - days_ago);
  end loop;
end $$;

-- A notification's id of a moment of some day, and of its number.
create function pg_temp.id_of(days_ago int, number bigint) returns uuid language sql as $$
  select (lpad(to_hex((extract(epoch from (now() at time zone 'UTC')::date - days_ago) * 1000)::bigint
                      + 1000 + number % 86000000), 12, '0')
          || '7' || substr(md5('notification ' || days_ago || ' ' || number), 1, 3)
          || '8' || substr(md5('notification ' || days_ago || ' ' || number), 4, 15))::uuid
$$;

-- Broadcasts: ninety-two in a hundred of all deliveries, in receipts of 500 devices that stand one after the other. The
-- last one reaches as many as are left.
create temp table broadcasts as
select number, 1 + number % 7 as days_ago, pg_temp.id_of((1 + number % 7)::int, number) as id,
       least(:devices: / 500, :deliveries: * 92 / 100 / 500 - number * (:devices: / 500)) as lists
from generate_series(0, (:deliveries: * 92 / 100 / 500 - 1) / (:devices: / 500)) number;

insert into notifications (notification_id, app_id, priority, created_at, due_at, expires_at, target_count, content)
select id, :app:, 5, now() - make_interval(days => days_ago::int), now() - make_interval(days => days_ago::int),
       now() + interval '21 days', lists * 500,
       convert_to('{"title":"To everyone","body":"A broadcast of last week.","sound":"default"}', 'UTF8')
from broadcasts;

insert into receipts (notification_id, job_id, lane_id, recorded_at, began_at, attempt, accepted, shape, first_device,
                      last_device, devices, outcomes)
select id, 1 + number * (:devices: / 500) + list, :lane:, now() - make_interval(days => days_ago::int),
       now() - make_interval(days => days_ago::int), 1, 500, shape_of(first, first + 499, 500), first, first + 499,
       array(select generate_series(first, first + 499)), decode(repeat('01', 500), 'hex')
from broadcasts, generate_series(0, lists - 1) list, lateral (select 1 + list::bigint * 500 as first) f;

-- Lists of users: four in a hundred, in receipts of 500 devices that stand far from each other.
create temp table lists as
select number, 1 + number % 7 as days_ago, pg_temp.id_of((1 + number % 7)::int, 1000000 + number) as id
from generate_series(1, :deliveries: * 4 / 100 / 500) number;

insert into notifications (notification_id, app_id, priority, created_at, due_at, expires_at, target_count, content)
select id, :app:, 5, now() - make_interval(days => days_ago::int), now() - make_interval(days => days_ago::int),
       now() + interval '21 days', 500,
       convert_to('{"title":"To some","body":"A list of last week.","sound":"default"}', 'UTF8')
from lists;

insert into receipts (notification_id, job_id, lane_id, recorded_at, began_at, attempt, accepted, shape, first_device,
                      last_device, devices, outcomes)
select id, 100000000 + number, :lane:, now() - make_interval(days => days_ago::int),
       now() - make_interval(days => days_ago::int), 1, 500, shape_of(devices[1], devices[500], 500), devices[1],
       devices[500], devices, decode(repeat('01', 500), 'hex')
from lists,
     lateral (select array(select 1 + place * (:devices: / 500) + (number * 7919 + place * 104729) % (:devices: / 500)
                           from generate_series(0, 499) place) as devices) d;

-- Single notifications: four in a hundred.
create temp table singles as
select number, 1 + number % 7 as days_ago, pg_temp.id_of((1 + number % 7)::int, 2000000 + number) as id,
       1 + (number * 7919) % :devices: as device
from generate_series(1, :deliveries: * 4 / 100) number;

insert into notifications (notification_id, app_id, priority, created_at, due_at, expires_at, target_count, content)
select id, :app:, 10, now() - make_interval(days => days_ago::int), now() - make_interval(days => days_ago::int),
       now() + interval '21 days', 1,
       convert_to('{"title":"Order shipped","body":"Your order #' || number || ' has been dispatched.","sound":"default"}', 'UTF8')
from singles;

insert into receipts (notification_id, job_id, lane_id, recorded_at, began_at, attempt, accepted, shape, first_device,
                      last_device, devices, outcomes)
select id, 200000000 + number, :lane:, now() - make_interval(days => days_ago::int),
       now() - make_interval(days => days_ago::int), 1, 1, '1', device, device, array[device], decode('01', 'hex')
from singles;
