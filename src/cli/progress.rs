//! The progress bar of an import or export: shown on a terminal only.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const BAR: &str = "{bar:30} {percent:>3} % {bytes_per_sec} {eta:>4} left  {msg}";
const SPINNER: &str = "{spinner} {elapsed:>4}  {msg}";
/// Between two redraws of a spinner.
const REDRAW: Duration = Duration::from_millis(200);

/// A bar for `length` bytes, or a spinner if the length is unknown. Hidden if `is_shown` is false, or stderr is no
/// terminal.
pub(super) fn bar(length: Option<u64>, is_shown: bool) -> ProgressBar {
    let target = match is_shown && std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(length, target);
    let template = if length.is_some() { BAR } else { SPINNER };
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    if length.is_none() && !bar.is_hidden() {
        bar.enable_steady_tick(REDRAW);
    }
    bar
}
