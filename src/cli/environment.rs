//! Removes `PGOPTIONS` from the environment where the embedded Postgres is used.
//!
//! The driver takes its defaults from libpq's variables. `embedded_postgres` overrides all but `PGOPTIONS`, which the
//! driver sends to the server in any case. So the program executes itself again without the variable, as the same
//! process.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;

/// Parameters that libpq sends at the start of each session.
const OPTIONS: &str = "PGOPTIONS";

/// Returns if the variable is not set; else the program starts again. To be called before anything else is started.
///
/// # Errors
/// The program's file can't be executed.
pub(super) fn drop_libpq_options() -> anyhow::Result<()> {
    if env::var_os(OPTIONS).is_none() {
        return Ok(());
    }
    let program = env::current_exe().context("cannot start again without PGOPTIONS")?;
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let error = command.args(arguments).env_remove(OPTIONS).exec();
    Err(error).context("cannot start again without PGOPTIONS")
}
