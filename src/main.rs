//! The program: parses the command line, runs it, and turns the result into an exit code.

use std::process::ExitCode;

use passback::{
    app,
    surfaces::cli::{self, note},
};

fn main() -> ExitCode {
    let cli = cli::parse();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(app::execute(cli)),
        Err(error) => {
            note(&format!("error: the system gives no threads: {error}"));
            ExitCode::FAILURE
        }
    }
}
