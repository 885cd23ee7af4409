//! The `oomwatch` binary: parses what it is asked for and hands over.

use std::{env, ffi::OsString, io::Write as _, process::ExitCode};

use oomwatch_agent::{
    attach::Ahead,
    check,
    config::{self, Command, Parsed},
    events, explain,
    refusal::Refusal,
    replay, run,
};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let ahead = config::is_run(&arguments).then(Ahead::begin);
    let result = match config::parse(arguments, env::vars_os().map(|(name, _)| name)) {
        Ok(Parsed::Print(text)) => print(&text).map(|()| ExitCode::SUCCESS),
        Ok(Parsed::Command(cli)) => match cli.command {
            Command::Run(options) => run::run(&options, ahead).map(|()| ExitCode::SUCCESS),
            Command::Check(options) => check::check(&options),
            Command::Events(options) => events::events(&options).map(|()| ExitCode::SUCCESS),
            Command::Explain(options) => explain::explain(&options),
            Command::Replay(options) => replay::replay(&options).map(|()| ExitCode::SUCCESS),
        },
        Err(refusal) => Err(refusal),
    };
    match result {
        Ok(code) => code,
        Err(refusal) => {
            // stderr may be closed, and there is nowhere else to say so; the exit code still tells.
            drop(writeln!(std::io::stderr(), "oomwatch: {refusal}"));
            refusal.exit_code()
        }
    }
}

/// A closed stdout is no failure: whoever read it has seen enough.
fn print(text: &str) -> Result<(), Refusal> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Refusal::failed(format!("writing to stdout: {error}")))
        }
        _ => Ok(()),
    }
}
