//! The seeds of tests that draw: always the same, so that what passed once passes again; others only where they are asked for.

/// `fixed`; or the one seed that `PUSHPOST_TEST_SEED` names, or a random one if that says `random`.
pub fn seeds(fixed: &[u64]) -> Vec<u64> {
    match std::env::var("PUSHPOST_TEST_SEED") {
        Ok(word) if word == "random" => vec![rand::random()],
        Ok(seed) => vec![seed.parse().expect("PUSHPOST_TEST_SEED is a number or `random`")],
        Err(_) => fixed.to_vec(),
    }
}
