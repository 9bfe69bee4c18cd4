//! A bar on a terminal, and nothing elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const BAR: &str = "{bar:30} {percent:>3} % {bytes_per_sec} {eta:>4} left  {msg}";
const SPINNER: &str = "{spinner} {elapsed:>4}  {msg}";
/// So often a spinner turns.
const TURN: Duration = Duration::from_millis(200);

/// Of so many bytes, or of nobody knows how much. `is_shown`: stderr may have it.
pub(super) fn bar(length: Option<u64>, is_shown: bool) -> ProgressBar {
    let target = match is_shown && std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(length, target);
    let template = if length.is_some() { BAR } else { SPINNER };
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    if length.is_none() && !bar.is_hidden() {
        bar.enable_steady_tick(TURN);
    }
    bar
}
