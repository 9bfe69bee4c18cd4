//! Receivers that refuse one event for ever, are gone, or fail for too long.

use http::Method;
use pushpost::runtime::Role;
use pushpost_testkit::wait;
use pushpost_testkit::webhook_receiver::{PostedMessage, Reply, WebhookReceiver};
use serde_json::json;

use super::{command, done, event_ids, push, service, until_state, until_told, webhook, webhooks};

/// The receiver refuses every message with an event about this notification.
fn poison(receiver: &WebhookReceiver, notification: &str) {
    let notification = notification.to_owned();
    receiver.decide(move |message: &PostedMessage| {
        Reply::Status(if message.body.contains(&notification) { 500 } else { 200 })
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_event_is_set_aside_and_the_others_arrive() {
    let receiver = WebhookReceiver::start().await;
    receiver.reply(Reply::Close);
    let good = WebhookReceiver::start().await;
    let types = ", types=[\"notification.done\"]";
    let setting = webhooks(&[("picky", &receiver.url(), types), ("good", &good.url(), types)]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    service.expect_log("webhook fails");
    service.expect_log("events were set aside, because the receiver refuses them and takes others");
    for token in ["a", "b", "c", "d"] {
        push(&service, token).await;
    }
    good.until("all ends at the good one", |all| done(all).len() == 4).await;
    let ends = until_told(&service, "notification.done", 4).await;
    let [first, poisoned, third, last] =
        [0, 1, 2, 3].map(|place| ends[place]["data"]["notification"].as_str().unwrap().to_owned());
    poison(&receiver, &poisoned);
    let set_aside = wait::until_some("it is set aside", async || {
        let shown = webhook(&service, "picky").await;
        (shown["set_aside"] == 1 && shown["state"] == "active").then_some(shown)
    })
    .await;
    let taken = |all: &[PostedMessage]| -> Vec<PostedMessage> {
        all.iter().filter(|message| !message.body.contains(&poisoned)).cloned().collect()
    };
    receiver
        .until("the others", |all| [&first, &third, &last].iter().all(|id| done(&taken(all)).contains(*id)))
        .await;
    let path = format!("/v1/admin/webhooks/{}/set-aside", set_aside["id"].as_str().unwrap());
    let listed = service.by_admin(Method::GET, &path).await.body;
    let event = listed["items"][0]["event"].as_str().unwrap().to_owned();
    let log = service.get("/v1/events?type=notification.done").await.body;
    let ends = log["items"].as_array().unwrap();
    let refused = ends.iter().find(|end| end["data"]["notification"] == json!(poisoned)).unwrap();
    assert_eq!(refused["id"], json!(event), "{listed}");
    let told = until_told(&service, "webhook.set_aside", 1).await;
    assert_eq!(told[0]["data"]["event"], json!(event));
    let last = json!({"status": 500, "error": "status 500"});
    assert_eq!(told[0]["data"]["last"], last);
    let item = &listed["items"][0];
    assert_eq!((&item["status"], &item["error"]), (&last["status"], &last["error"]));

    // The receiver is mended: on command the event comes late, alone, with its id.
    receiver.reply(Reply::Status(200));
    let before = receiver.posted().len();
    let retried = service.by_admin(Method::POST, &format!("{path}/{event}/retry")).await;
    assert_eq!(retried.status, 202, "{}", retried.body);
    let all = receiver.until("the late event", |all| event_ids(&all[before..]).contains(&event)).await;
    let late =
        all[before..].iter().find(|message| event_ids(&[(*message).clone()]).contains(&event)).unwrap();
    assert_eq!((late.events().len(), &late.events()[0]["late"]), (1, &json!(true)));
    wait::until("nothing is set aside", async || webhook(&service, "picky").await["set_aside"] == 0).await;
    assert_eq!(service.by_admin(Method::POST, &format!("{path}/{event}/retry")).await.status, 404);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_before_a_refused_one_in_its_message_do_not_put_off_its_end() {
    let receiver = WebhookReceiver::start().await;
    let setting = webhooks(&[("picky", &receiver.url(), ", types=[\"notification.done\"]")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    service.expect_log("webhook fails");
    service.expect_log("events were set aside, because the receiver refuses them and takes others");
    command(&service, "picky", "pause").await;
    for token in ["a", "b", "c", "d", "e", "f"] {
        push(&service, token).await;
    }
    let ends = until_told(&service, "notification.done", 6).await;
    let poisoned = ends[4]["data"]["notification"].as_str().unwrap().to_owned();
    poison(&receiver, &poisoned);
    command(&service, "picky", "resume").await;
    wait::until("it is set aside", async || webhook(&service, "picky").await["set_aside"] == 1).await;
    let all = receiver.posted();
    let refused: Vec<_> = all.iter().filter(|message| message.body.contains(&poisoned)).collect();
    assert_eq!(refused[0].events().len(), 6, "all in one message at first");
    assert_eq!(refused.len(), 12, "four with the others, eight alone");
    assert_eq!(done(&all).len(), 6);
    service.stop().await;
}

/// Nothing follows the event, so nothing shows whether the event or the receiver is at fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_event_at_the_end_of_the_log_fails_until_a_later_one_is_taken() {
    let receiver = WebhookReceiver::start().await;
    receiver.reply(Reply::Status(500));
    let setting = webhooks(&[("backend", &receiver.url(), ", types=[\"notification.done\"]")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    service.expect_log("webhook fails");
    service.expect_log("events were set aside, because the receiver refuses them and takes others");
    let refused = push(&service, "a").await;
    let first = until_state(&service, "backend", "failing").await;
    wait::until("it is tried again and again", async || {
        let now = webhook(&service, "backend").await;
        for member in ["state", "why", "since", "failing_since", "disables_at", "set_aside", "cursor"] {
            assert_eq!(now[member], first[member], "{member}: {now}");
        }
        receiver.posted().len() >= 40
    })
    .await;
    let told = until_told(&service, "webhook.*", 1).await;
    assert_eq!(told.len(), 1, "it is told once: {told:?}");
    let all = receiver.posted();
    assert!(all.iter().all(|message| message.id() == all[0].id()), "the message is the same");

    poison(&receiver, &refused);
    let later = push(&service, "b").await;
    receiver.until("the later event", |all| done(&all[40..]).contains(&later)).await;
    let active = until_state(&service, "backend", "active").await;
    assert_eq!((&active["set_aside"], &active["failing_since"]), (&json!(1), &json!(null)));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_down_loses_its_place_to_no_probe() {
    let receiver = WebhookReceiver::start().await;
    receiver.reply(Reply::Status(500));
    let setting = webhooks(&[("backend", &receiver.url(), ", types=[\"notification.done\"], batch_max=2")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    service.expect_log("webhook fails");
    let mut sent = Vec::new();
    for token in ["a", "b", "c", "d", "e"] {
        sent.push(push(&service, token).await);
    }
    // Long enough for the message to be cut, and for several events to be tried ahead.
    receiver.until("events ahead are tried", |all| done(all).len() >= 4).await;
    let shown = webhook(&service, "backend").await;
    assert_eq!((&shown["set_aside"], &shown["state"]), (&json!(0), &json!("failing")));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_410_disables_and_a_resume_goes_on_where_it_stopped() {
    let receiver = WebhookReceiver::start().await;
    receiver.reply(Reply::Status(410));
    let setting = webhooks(&[("backend", &receiver.url(), "")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    service.expect_log("webhook is disabled");
    let id = push(&service, "a").await;
    let disabled = until_state(&service, "backend", "disabled").await;
    assert_eq!(disabled["why"], "status 410");
    assert_eq!(receiver.posted().len(), 1, "one answer is enough");
    receiver.reply(Reply::Status(200));
    assert_eq!(command(&service, "backend", "resume").await.status, 200);
    receiver.until("the end", |all| done(all).contains(&id) && all.len() > 1).await;
    until_state(&service, "backend", "active").await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_tell_what_came_of_them() {
    let receiver = WebhookReceiver::start().await;
    receiver.reply(Reply::Bytes("HTTP/1.1 503 Busy\r\ncontent-length: 9\r\n\r\ntry later".to_owned()));
    let setting = webhooks(&[("backend", &receiver.url(), "")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    service.expect_log("webhook fails");
    push(&service, "a").await;
    until_state(&service, "backend", "failing").await;
    receiver.reply(Reply::Status(200));
    until_state(&service, "backend", "active").await;
    let path =
        format!("/v1/admin/webhooks/{}/attempts", webhook(&service, "backend").await["id"].as_str().unwrap());
    let failed = service.by_admin(Method::GET, &format!("{path}?result=failed&limit=2")).await.body;
    let attempt = &failed["items"][0];
    assert_eq!(
        (&attempt["status"], &attempt["error"], &attempt["response"]),
        (&json!(503), &json!("status 503"), &json!("try later"))
    );
    let next = failed["next_cursor"].as_str().unwrap();
    let rest = service.by_admin(Method::GET, &format!("{path}?result=failed&cursor={next}")).await.body;
    assert_eq!(rest["items"].as_array().unwrap().last().unwrap()["attempt"], 1);
    let succeeded = service.by_admin(Method::GET, &format!("{path}?result=succeeded")).await.body;
    assert_eq!(succeeded["items"][0]["error"], json!(null));
    let all = service.by_admin(Method::GET, &path).await.body;
    assert!(all["items"].as_array().unwrap().len() >= 4);
    assert_eq!(service.by_admin(Method::GET, &format!("{path}?result=x")).await.status, 400);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_fails_for_too_long_is_disabled_and_a_resume_gives_it_as_long_again() {
    let receiver = WebhookReceiver::start().await;
    receiver.reply(Reply::Status(503));
    let setting = webhooks(&[("backend", &receiver.url(), "")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    service.expect_log("webhook fails");
    service.expect_log("webhook is disabled");
    let id = push(&service, "a").await;
    let failing = until_state(&service, "backend", "failing").await;
    assert_eq!(failing["why"], "status 503");
    // Five days, and a minute, later.
    let later = "update webhooks set failing_since = failing_since - interval '5 days 1 minute' where node_id is null";
    wait::until("no attempt is under way", async || service.database.execute(later).await > 0).await;
    until_state(&service, "backend", "disabled").await;
    let refused = receiver.posted().len();
    let told = until_told(&service, "webhook.*", 2).await;
    assert_eq!(told[1]["type"], "webhook.disabled");
    let last = &told[1]["data"]["last"];
    assert_eq!((&last["status"], &last["error"]), (&json!(503), &json!("status 503")));

    assert_eq!(command(&service, "backend", "resume").await.body["state"], "active");
    receiver.until("it is tried again, and again", |all| all.len() >= refused + 4).await;
    until_state(&service, "backend", "failing").await;
    receiver.reply(Reply::Status(200));
    until_state(&service, "backend", "active").await;
    receiver.until("the end", |all| done(&all[refused..]).contains(&id)).await;
    service.stop().await;
}

/// The log keeps seven days, and the receiver was away for ten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_the_log_has_dropped_are_told_by_a_gap_and_the_others_arrive() {
    let receiver = WebhookReceiver::start().await;
    let setting = webhooks(&[("backend", &receiver.url(), ", types=[\"notification.done\"]")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    service.expect_log("events of a webhook were dropped before they were delivered");
    push(&service, "a").await;
    receiver.until("the first end", |all| done(all).len() == 1).await;
    until_state(&service, "backend", "active").await;
    command(&service, "backend", "pause").await;
    service.database.until_count("select count(*) from webhooks where node_id is not null", 0).await;
    let before = receiver.posted().len();
    let waiting = push(&service, "b").await;
    until_told(&service, "notification.done", 2).await;
    service.database.execute("update webhooks set cursor_day = cursor_day - 10").await;
    let first_day = "select min(to_date(right(relname, 8), 'YYYYMMDD'))::text from pg_inherits
                     join pg_class c on c.oid = inhrelid where inhparent = 'event_log'::regclass";
    let first_day: String = sqlx::query_scalar(first_day).fetch_one(&service.database.pool).await.unwrap();
    // The first try to tell the gap fails, so it comes again.
    receiver.reply(Reply::Close);
    command(&service, "backend", "resume").await;
    receiver.until("the gap is told in vain", |all| all.len() > before).await;
    receiver.reply(Reply::Status(200));
    let all = receiver.until("what is kept", |all| done(&all[before..]).contains(&waiting)).await;
    let gap = &all[before];
    let event = &gap.events()[0];
    assert_eq!((gap.events().len(), &event["type"]), (1, &json!("webhook.gap")));
    assert_eq!(event["data"]["lost_to"], format!("{first_day}T00:00:00.000Z"));
    assert!(event["data"]["lost_from"].as_str().unwrap() < first_day.as_str(), "{event}");
    let gaps = all[before..].iter().filter(|message| message.body.contains("webhook.gap"));
    assert!(gaps.into_iter().all(|again| (again.id(), &again.body) == (gap.id(), &gap.body)));
    let (last, gone) = (all.last().unwrap(), &all[..all.len() - 1]);
    assert!(last.body.contains(&waiting) && !done(&gone[before..]).contains(&waiting));
    let cursor = webhook(&service, "backend").await;
    assert_eq!((&cursor["state"], &cursor["set_aside"]), (&json!("active"), &json!(0)));
    service.stop().await;
}

/// What was set aside is kept as long as its day of the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_aside_event_that_the_log_has_dropped_is_told_by_a_gap() {
    let receiver = WebhookReceiver::start().await;
    let setting = webhooks(&[("backend", &receiver.url(), ", types=[\"notification.done\"]")]);
    let service = service().config("APPS__SHOP__WEBHOOKS", &setting).node(Role::All).build().await;
    push(&service, "a").await;
    receiver.until("the first end", |all| done(all).len() == 1).await;
    let lost = "insert into webhook_set_aside (webhook_id, position, index, day)
                select webhook_id, 0, 0, (now() at time zone 'UTC')::date - 10 from webhooks";
    service.database.execute(lost).await;
    let mut conn = service.database.pool.acquire().await.unwrap();
    let first_day = pushpost::store::events::first_day(&mut conn).await.unwrap();
    assert_eq!(pushpost::store::webhooks::drop_lost(&mut conn, first_day).await.unwrap(), 1);
    drop(conn);
    let is_gap = |message: &PostedMessage| message.events()[0]["type"] == "webhook.gap";
    let all = receiver.until("the gap", |all| all.iter().any(is_gap)).await;
    let gap = all.iter().find(|message| is_gap(message)).unwrap().events().remove(0);
    let span = "select to_char(now() at time zone 'UTC' - interval '10 days', 'YYYY-MM-DD'),
                       to_char(now() at time zone 'UTC' - interval '9 days', 'YYYY-MM-DD')";
    let (from, to): (String, String) = sqlx::query_as(span).fetch_one(&service.database.pool).await.unwrap();
    assert_eq!(gap["data"]["lost_from"], format!("{from}T00:00:00.000Z"));
    assert_eq!(gap["data"]["lost_to"], format!("{to}T00:00:00.000Z"));
    assert_eq!(webhook(&service, "backend").await["set_aside"], 0);
    service.stop().await;
}
