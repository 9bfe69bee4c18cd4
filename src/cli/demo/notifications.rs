//! The bodies that the demo posts: most to one user, some to many users, one silent, one with a time to live of zero.

use serde_json::{Value, json};

use super::fleet::{Behaviour, DemoUser, Fleet};

/// Users of a notification to many users.
const MANY_USERS: usize = 300;
/// One notification in this many goes to many users.
const MANY_EVERY: usize = 125;
/// Time to live of a notification to a device that always answers 503: enough for two or three attempts.
const SHORT_TTL: &str = "4s";

/// The bodies of `count` notifications, in the order in which they are posted.
pub(super) fn compose(fleet: &Fleet, count: u32) -> Vec<Value> {
    let count = count as usize;
    let of = |user: &DemoUser, is: fn(Behaviour) -> bool| {
        user.devices.iter().any(|it| is(fleet.devices[*it].behaviour))
    };
    let users: Vec<&DemoUser> = fleet.users.iter().filter(|user| !of(user, Behaviour::is_separate)).collect();
    let faulty: Vec<&DemoUser> =
        users.iter().copied().filter(|user| of(user, |it| it != Behaviour::Fine)).collect();
    // In a short run, the special notifications must leave room for ordinary ones.
    let mut short_lived = short_lived(fleet);
    short_lived.truncate(count / 4);
    // Last, because the connection that ends carries the answers to other requests.
    let mut cut_off = cut_off(fleet);
    cut_off.truncate(count / 4);
    let count = count - short_lived.len() - cut_off.len();
    let mut posts = vec![silent(&users)];
    posts.retain(|post| *post != Value::Null);
    posts.truncate(count / 2);
    let mut number = 0;
    while posts.len() < count {
        number += 1;
        posts.push(if users.is_empty() || (fleet.devices.len() > 1 && number % 20 == 0) {
            to_device(fleet, number)
        } else if number % MANY_EVERY == 1 {
            to_many(&users, number)
        } else if number % 4 == 0 && !faulty.is_empty() {
            to_one(faulty[number / 4 % faulty.len()], number)
        } else {
            to_one(users[number * 7 % users.len()], number)
        });
    }
    for (number, post) in short_lived.into_iter().enumerate() {
        posts.insert(posts.len().min(10 + 12 * number), post);
    }
    posts.extend(cut_off);
    posts
}

/// One body for the steady stream, to a user with devices that accept everything; none in a fleet without such a user.
pub(super) fn plain(fleet: &Fleet, number: usize) -> Option<Value> {
    let is_fine =
        |user: &&DemoUser| user.devices.iter().all(|it| fleet.devices[*it].behaviour == Behaviour::Fine);
    let fine: Vec<&DemoUser> = fleet.users.iter().filter(is_fine).take(1000).collect();
    Some(to_one(fine.get(number % fine.len().max(1))?, number))
}

/// One body to a token that nothing is known of yet.
pub(super) fn to_dead_token(token: &str) -> Value {
    json!({"to": {"tokens": [{"platform": "fcm", "token": token}]}, "title": "We miss you", "ttl": "1h"})
}

fn to_one(user: &DemoUser, number: usize) -> Value {
    let priority = match number % 10 {
        0 | 1 => "high",
        2 | 3 => "low",
        _ => "normal",
    };
    json!({
        "to": {"users": [user.id]},
        "title": "Order shipped",
        "body": format!("Your order #{number} has been dispatched."),
        "data": {"order_id": number.to_string()},
        "priority": priority,
        "ttl": "1h",
    })
}

fn to_many(users: &[&DemoUser], number: usize) -> Value {
    let few = users.len().min(MANY_USERS);
    let ids: Vec<&str> =
        users.iter().cycle().skip(number * 13 % users.len()).take(few).map(|it| &*it.id).collect();
    json!({
        "to": {"users": ids},
        "title": "Sale",
        "body": "Everything at half its price until Sunday.",
        "priority": "low",
        "collapse_key": "sale",
        "ttl": "1d",
    })
}

fn to_device(fleet: &Fleet, number: usize) -> Value {
    let ids: Vec<&str> =
        fleet.devices.iter().filter(|it| !it.behaviour.is_separate()).map(|it| &*it.id).collect();
    let Some(id) = ids.get(number * 17 % ids.len().max(1)) else { return Value::Null };
    json!({"to": {"devices": [id]}, "title": "Is this you?", "body": "A new device signed in.", "priority": "high"})
}

fn silent(users: &[&DemoUser]) -> Value {
    let ids: Vec<&str> = users.iter().take(20).map(|it| &*it.id).collect();
    match ids.is_empty() {
        true => Value::Null,
        false => json!({"to": {"users": ids}, "silent": true, "data": {"sync": "inbox"}, "ttl": "10m"}),
    }
}

fn without_ttl(fleet: &Fleet) -> Value {
    let is_meant = |behaviour| matches!(behaviour, Behaviour::AlwaysCutOff | Behaviour::Fine);
    let is_cut_off = |behaviour| behaviour == Behaviour::AlwaysCutOff;
    let chosen = |is: &dyn Fn(Behaviour) -> bool, count| -> Vec<&str> {
        fleet.devices.iter().filter(|it| is(it.behaviour)).take(count).map(|it| &*it.id).collect()
    };
    let mut ids = chosen(&is_cut_off, 2);
    ids.extend(chosen(&|behaviour| is_meant(behaviour) && !is_cut_off(behaviour), 5));
    match ids.is_empty() {
        true => Value::Null,
        false => json!({"to": {"devices": ids}, "title": "Incoming call", "priority": "high", "ttl": 0}),
    }
}

fn cut_off(fleet: &Fleet) -> Vec<Value> {
    let once = fleet.devices.iter().filter(|it| it.behaviour == Behaviour::CutOff);
    let post = |id: &str| json!({"to": {"devices": [id]}, "title": "You have mail", "ttl": "1h"});
    let mut posts: Vec<Value> = once.map(|it| post(&it.id)).collect();
    posts.push(without_ttl(fleet));
    posts.retain(|post| *post != Value::Null);
    posts
}

fn short_lived(fleet: &Fleet) -> Vec<Value> {
    let never_up = fleet.devices.iter().filter(|it| it.behaviour == Behaviour::NeverUp);
    let post = |id: &str| json!({"to": {"devices": [id]}, "title": "Your code is 4711", "ttl": SHORT_TTL});
    never_up.map(|it| post(&it.id)).collect()
}
