//! What is going on, on stderr: the table alone is on stdout.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A line that is redrawn on a terminal; plain lines elsewhere.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn start() -> Self {
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{spinner} {elapsed_precise} {wide_msg}");
        bar.set_style(style.expect("the template is well formed"));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// Something that may take a while.
    pub(crate) fn begin(&self, what: &str) {
        match self.bar.is_hidden() {
            true => eprintln!("{what} …"),
            false => self.bar.set_message(what.to_owned()),
        }
    }

    /// Something worth keeping on the screen.
    pub(crate) fn tell(&self, what: &str) {
        match self.bar.is_hidden() {
            true => eprintln!("{what}"),
            false => self.bar.println(what),
        }
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
