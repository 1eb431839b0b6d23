//! The `volume-daemon` binary.

use std::io::IsTerminal;
use std::process::ExitCode;

use anstream::AutoStream;
use volume_daemon::cli::{self, Exit, Io};

fn main() -> ExitCode {
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Where this cannot be said, nothing can.
            let _ = error.print();
            let asked_for = !error.use_stderr();
            return if asked_for { Exit::Fine } else { Exit::Invalid }.into();
        }
    };
    let mut out = AutoStream::new(std::io::stdout(), cli.color());
    let mut err = AutoStream::new(std::io::stderr(), cli.color());
    let mut io = Io {
        out: &mut out,
        err: &mut err,
        live: std::io::stderr().is_terminal(),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return cli::fail(&error.into(), io.err).into(),
    };
    let done = runtime.block_on(cli::run(cli, &mut io));
    // An answer that was interrupted must not wait for work that cannot be.
    runtime.shutdown_background();
    done.unwrap_or_else(|error| cli::fail(&error, io.err).into())
}
