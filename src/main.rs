//! The program: parses the command line, runs it, and turns the result into an exit code.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use passback::{
    app,
    surfaces::cli::{self, note},
};

/// A job is many small pieces that live on one thread and die on another. The allocator of the C library spends a
/// quarter of the worker's time on them, this one a tenth.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    if let Err(error) = app::shut_off() {
        note(&format!("warning: this process cannot be shut off from others on this machine: {error}"));
    }
    let cli = cli::parse();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(app::execute(cli)),
        Err(error) => {
            note(&format!("error: the system gives no threads: {error}"));
            ExitCode::FAILURE
        }
    }
}
