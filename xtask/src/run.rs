//! Running other programs, so that a failure always names the command.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::say;

/// How often a long quiet step says that it is still alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
const LINES_SHOWN_ON_FAILURE: usize = 25;

/// Runs a command whose output belongs to the user.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = command_line(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs a command and returns what it writes to stdout, without the last newline.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let line = command_line(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed ({}): {}", output.status, reason.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Runs a command whose output is of interest only when it fails. It goes to `log`; the user sees `what`, a sign of
/// life now and then, and how long it took.
pub(crate) fn run_logged(what: &str, log: &Path, command: &mut Command) -> Result<()> {
    say::progress(&format!("  {what} …"));
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    let other = file.try_clone().context("cannot share the log file")?;
    let line = command_line(command);
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(other)
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let mut next_sign = HEARTBEAT;
    let status = loop {
        if let Some(status) = child.try_wait().with_context(|| format!("cannot wait for `{line}`"))? {
            break status;
        }
        if started.elapsed() >= next_sign {
            say::progress(&format!("    {what}: still at it, {} s", started.elapsed().as_secs()));
            next_sign += HEARTBEAT;
        }
        thread::sleep(Duration::from_millis(50));
    };
    if !status.success() {
        say::progress(&last_lines(log, LINES_SHOWN_ON_FAILURE));
        bail!("`{line}` failed ({status}); its output is in {}", log.display());
    }
    say::progress(&format!("    {what}: done, {:.0} s", started.elapsed().as_secs_f64()));
    Ok(())
}

/// The same command, which whatever else runs on this machine comes before.
pub(crate) fn at_leisure(command: &Command) -> Command {
    let mut nice = Command::new("nice");
    nice.args(["-n", "10"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => nice.env(name, value),
            None => nice.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        nice.current_dir(folder);
    }
    nice
}

/// The end of a text file, for showing to the user; empty when it cannot be read.
pub(crate) fn last_lines(file: &Path, count: usize) -> String {
    let bytes = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines.split_at(lines.len().saturating_sub(count)).1.join("\n")
}

/// The first executable of that name on PATH.
pub(crate) fn on_path(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Root's PATH has the sbin folders; a user's has not, though the programs in them are of use without root.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

fn command_line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_carries_what_it_said() {
        let error = read(Command::new("sh").args(["-c", "echo broken >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c echo broken >&2; exit 3` failed (exit status: 3): broken");
    }

    #[test]
    fn at_leisure_it_is_the_same_command() {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $(nice) $PWD $ONE $HOME"])
            .current_dir("/")
            .env("ONE", "1")
            .env_remove("HOME");
        let before: i32 = read(&mut Command::new("nice")).unwrap().parse().unwrap();
        assert_eq!(read(&mut at_leisure(&command)).unwrap(), format!("{} / 1", (before + 10).min(19)));
    }

    #[test]
    fn a_command_that_does_not_exist_is_named() {
        let error = run(&mut Command::new("/nonexistent/tool")).unwrap_err();
        assert_eq!(error.to_string(), "cannot start `/nonexistent/tool`");
    }
}
