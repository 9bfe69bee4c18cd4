//! The notifications of the demo: mostly to one user, some to many, one silent, one that is now or never.

use serde_json::{Value, json};

use super::crowd::{Crowd, Fate, User};

/// Users of a notification to many.
const MANY: usize = 300;
/// A notification to many comes once in so many.
const MANY_EVERY: usize = 125;
/// Some seconds are enough to see a device out of order twice or thrice, and no more.
const SHORT: &str = "4s";

/// So many bodies of `POST /v1/notifications`, in the order in which they are sent.
pub(super) fn compose(crowd: &Crowd, count: u32) -> Vec<Value> {
    let count = count as usize;
    let of = |user: &User, is: fn(Fate) -> bool| user.devices.iter().any(|it| is(crowd.devices[*it].fate));
    let some: Vec<&User> = crowd.users.iter().filter(|user| !of(user, Fate::is_apart)).collect();
    let odd: Vec<&User> = some.iter().copied().filter(|user| of(user, |it| it != Fate::Fine)).collect();
    // What is special must leave room for what is usual.
    let mut short_lived = short_lived(crowd);
    short_lived.truncate(count / 4);
    // Last, since it takes others along whose answers are on their way in the same connection.
    let mut cut_off = cut_off(crowd);
    cut_off.truncate(count / 4);
    let count = count - short_lived.len() - cut_off.len();
    let mut posts = vec![silent(&some)];
    posts.retain(|post| *post != Value::Null);
    posts.truncate(count / 2);
    let mut number = 0;
    while posts.len() < count {
        number += 1;
        posts.push(if some.is_empty() || (crowd.devices.len() > 1 && number % 20 == 0) {
            to_device(crowd, number)
        } else if number % MANY_EVERY == 1 {
            to_many(&some, number)
        } else if number % 4 == 0 && !odd.is_empty() {
            to_one(odd[number / 4 % odd.len()], number)
        } else {
            to_one(some[number * 7 % some.len()], number)
        });
    }
    for (number, post) in short_lived.into_iter().enumerate() {
        posts.insert(posts.len().min(10 + 12 * number), post);
    }
    posts.extend(cut_off);
    posts
}

/// One for an endless stream.
pub(super) fn gentle(crowd: &Crowd, number: usize) -> Option<Value> {
    let is_fine = |user: &&User| user.devices.iter().all(|it| crowd.devices[*it].fate == Fate::Fine);
    let fine: Vec<&User> = crowd.users.iter().filter(is_fine).take(1000).collect();
    Some(to_one(fine.get(number % fine.len().max(1))?, number))
}

fn to_one(user: &User, number: usize) -> Value {
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

fn to_many(users: &[&User], number: usize) -> Value {
    let few = users.len().min(MANY);
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

fn to_device(crowd: &Crowd, number: usize) -> Value {
    let hopeful: Vec<&str> =
        crowd.devices.iter().filter(|it| !it.fate.is_apart()).map(|it| &*it.id).collect();
    let Some(id) = hopeful.get(number * 17 % hopeful.len().max(1)) else { return Value::Null };
    json!({"to": {"devices": [id]}, "title": "Is this you?", "body": "Somebody signed in.", "priority": "high"})
}

fn silent(users: &[&User]) -> Value {
    let ids: Vec<&str> = users.iter().take(20).map(|it| &*it.id).collect();
    match ids.is_empty() {
        true => Value::Null,
        false => json!({"to": {"users": ids}, "silent": true, "data": {"sync": "inbox"}, "ttl": "10m"}),
    }
}

fn now_or_never(crowd: &Crowd) -> Value {
    let is_meant = |fate| matches!(fate, Fate::AlwaysCutOff | Fate::Fine);
    let is_cut_off = |fate| fate == Fate::AlwaysCutOff;
    let chosen = |is: &dyn Fn(Fate) -> bool, count| -> Vec<&str> {
        crowd.devices.iter().filter(|it| is(it.fate)).take(count).map(|it| &*it.id).collect()
    };
    let mut ids = chosen(&is_cut_off, 2);
    ids.extend(chosen(&|fate| is_meant(fate) && !is_cut_off(fate), 5));
    match ids.is_empty() {
        true => Value::Null,
        false => json!({"to": {"devices": ids}, "title": "Incoming call", "priority": "high", "ttl": 0}),
    }
}

fn cut_off(crowd: &Crowd) -> Vec<Value> {
    let once = crowd.devices.iter().filter(|it| it.fate == Fate::CutOff);
    let post = |id: &str| json!({"to": {"devices": [id]}, "title": "You have mail", "ttl": "1h"});
    let mut posts: Vec<Value> = once.map(|it| post(&it.id)).collect();
    posts.push(now_or_never(crowd));
    posts.retain(|post| *post != Value::Null);
    posts
}

fn short_lived(crowd: &Crowd) -> Vec<Value> {
    let never_up = crowd.devices.iter().filter(|it| it.fate == Fate::NeverUp);
    let post = |id: &str| json!({"to": {"devices": [id]}, "title": "Your code is 4711", "ttl": SHORT});
    never_up.map(|it| post(&it.id)).collect()
}
