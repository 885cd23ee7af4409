//! `oomwatch explain`: what happened, from a kernel log that somebody saved, or from reports.
//!
//! It needs no privilege and no kernel: all that is known is in the files. They are read once, in bounded memory.

mod compressed;
mod input;
mod pods;
mod print;
mod utf16;

use std::{
    io::{self, ErrorKind, IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use oomwatch_common::{
    diagnose::{Reason, cause_text},
    escape::escape,
    saved_log::{LOOKED_FOR, Scanner},
};

use self::{input::Input, pods::Pods, print::Printer};
use crate::{
    config::{ExplainOptions, LogLevel},
    log,
    refusal::Refusal,
};

/// Where stdin is meant.
const STDIN: &str = "-";

/// Prints what it finds.
///
/// # Errors
/// Nothing can be read, or nothing is found.
pub fn explain(options: &ExplainOptions) -> Result<ExitCode, Refusal> {
    log::init(LogLevel::Warn);
    if let Some(name) = &options.cause {
        return print::write(&cause(name)?).map(|()| ExitCode::SUCCESS);
    }
    let mut files = options.files.clone();
    if files.is_empty() {
        files.push(PathBuf::from(STDIN));
        if io::stdin().is_terminal() {
            return Err(Refusal::usage(
                "nothing to read: name a log, or pipe one in, as in `dmesg | oomwatch explain` \
                 (see `oomwatch explain --help`)",
            ));
        }
    }
    let pods = options.pods.as_deref().map(Pods::read).transpose()?.unwrap_or_default();
    let mut printer = Printer::new(options, pods);
    let (mut scanner, mut lines, mut unread) = (Scanner::default(), 0, 0);
    for file in &files {
        match read(file, &mut scanner, &mut printer) {
            Ok(found_in) => lines += found_in,
            Err(error) => {
                unread += 1;
                tell(&format!("{}: {error}", name(file)));
            }
        }
        if printer.is_closed() {
            return Ok(ExitCode::SUCCESS);
        }
    }
    printer.end()?;
    if printer.found() == 0 && unread < files.len() {
        let within: Vec<_> = files.iter().take(3).map(|file| name(file)).collect();
        let more = if files.len() > 3 { ", …" } else { "" };
        return Err(Refusal::failed(format!(
            "no OOM kill in {}{more}: {lines} line{} searched for {LOOKED_FOR}",
            within.join(", "),
            if lines == 1 { " was" } else { "s were" },
        )));
    }
    if printer.found() > 1 {
        tell(&printer.sum());
    }
    Ok(if unread == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What there is to say of a cause, or which there are.
fn cause(name: &str) -> Result<String, Refusal> {
    let names: Vec<_> = Reason::all().map(Reason::name).collect();
    if name == "help" {
        return Ok(names.join("\n") + "\n");
    }
    let unknown = || format!("no cause is named {}: there are {}", escape(name.as_bytes()), names.join(", "));
    cause_text(name).map(|text| format!("{text}\n")).ok_or_else(|| Refusal::usage(unknown()))
}

fn read(file: &Path, scanner: &mut Scanner, printer: &mut Printer) -> io::Result<u64> {
    let mut input = if file == Path::new(STDIN) { Input::stdin()? } else { Input::open(file)? };
    let mut outcome = Ok(());
    while !printer.is_closed() {
        if input.is_quiet() {
            scanner.pause(&mut |found| printer.take(found));
            printer.flush();
            continue;
        }
        match input.read(scanner.room()) {
            Ok(0) => break,
            Ok(length) => scanner.filled(length, &mut |found| printer.take(found)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    let lines = scanner.end(&mut |found| printer.take(found));
    outcome.map(|()| lines)
}

fn name(file: &Path) -> String {
    if file == Path::new(STDIN) { "stdin".to_owned() } else { file.display().to_string() }
}

/// Says something that is no incident.
fn tell(text: &str) {
    // stderr may be closed, and there is nowhere else to say so.
    writeln!(io::stderr(), "oomwatch: {text}").unwrap_or_default();
}
