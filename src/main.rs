//! The `pushpost` binary: decides nothing, so that all of it can be tested in the library.

use std::process::ExitCode;

/// What an attempt allocates is freed by whichever thread ends it; with the system's allocator a fifth of the time that
/// a broadcast takes goes there (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pushpost::cli::main(std::env::args_os())
}
