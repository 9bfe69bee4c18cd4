//! Services that are compared run at the same time and are played by turns: a machine that is slow for a minute is slow for all
//! of them. What the others do meanwhile, which is next to nothing, is in each figure.

use super::median;

/// Turns with single notifications for one with a broadcast, which takes longer.
const TURNS_PER_BROADCAST: u32 = 3;

/// Number of turns that have a broadcast.
pub(super) fn broadcasts(turns: u32) -> u32 {
    turns / TURNS_PER_BROADCAST
}

/// Plays each of `players` so many times. Returns what came of it, by player. Each is first in turn.
pub(super) async fn by_turns<P, R>(
    players: &mut [P],
    turns: u32,
    mut play: impl AsyncFnMut(&mut P) -> anyhow::Result<R>,
) -> anyhow::Result<Vec<Vec<R>>> {
    let count = players.len();
    let mut played: Vec<Vec<R>> = players.iter().map(|_| Vec::new()).collect();
    for turn in 0..usize::try_from(turns)? {
        for place in 0..count {
            let player = (turn + place) % count;
            played[player].push(play(&mut players[player]).await?);
        }
    }
    Ok(played)
}

/// A figure of two services: the median of each.
pub(super) struct Compared {
    pub(super) plain: f64,
    pub(super) other: f64,
    /// The median of the ratios of each turn: other by plain.
    pub(super) ratio: f64,
}

pub(super) fn compare<R>(plain: &[R], other: &[R], of: impl Fn(&R) -> f64) -> Compared {
    Compared {
        plain: median(plain.iter().map(&of)),
        other: median(other.iter().map(&of)),
        ratio: median(plain.iter().zip(other).map(|(plain, other)| of(other) / of(plain))),
    }
}
