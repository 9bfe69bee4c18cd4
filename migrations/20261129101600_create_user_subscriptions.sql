-- The subscriptions of users.

create table user_subscriptions (
  topic_id bigint not null references topics,
  app_id   smallint not null,
  user_id  text not null,
  primary key (topic_id, user_id)
);
comment on table user_subscriptions is 'One row per user and topic. It holds for every device that is bound to the user.';
comment on column user_subscriptions.app_id is 'The app of the topic.';
create index user_subscriptions_user on user_subscriptions (app_id, user_id);
