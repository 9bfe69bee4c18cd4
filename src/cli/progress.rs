//! Progress bars of commands: shown on a terminal only.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::timeout;

const BAR: &str = "{bar:30} {percent:>3} % {bytes_per_sec} {eta:>4} left  {msg}";
const PARTS: &str = "{bar:30} {percent:>3} % {elapsed:>4}  {msg}";
const SPINNER: &str = "{spinner} {elapsed:>4}  {msg}";
/// Between two redraws of a spinner.
const REDRAW: Duration = Duration::from_millis(200);
/// A wait is shown after this time.
const SHOWN_AFTER: Duration = Duration::from_secs(2);

/// Waits for `work`. A wait of more than two seconds is shown by a spinner with the words `what`, on a terminal only.
pub(super) async fn watched<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    if let Ok(done) = timeout(SHOWN_AFTER, &mut work).await {
        return done;
    }
    let spinner = bar(None, true);
    spinner.set_message(what.to_owned());
    let done = work.await;
    spinner.finish_and_clear();
    done
}

/// A bar for `length` bytes, or a spinner if the length is unknown. Hidden if `is_shown` is false, or stderr is no
/// terminal.
pub(super) fn bar(length: Option<u64>, is_shown: bool) -> ProgressBar {
    let bar = styled(length, if length.is_some() { BAR } else { SPINNER }, is_shown);
    if length.is_none() && !bar.is_hidden() {
        bar.enable_steady_tick(REDRAW);
    }
    bar
}

/// A bar for `parts` of a work with an unknown duration.
pub(super) fn bar_of_parts(parts: u64) -> ProgressBar {
    styled(Some(parts), PARTS, true)
}

fn styled(length: Option<u64>, template: &str, is_shown: bool) -> ProgressBar {
    let target = match is_shown && std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(length, target);
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
