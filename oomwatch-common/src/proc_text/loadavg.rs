//! `/proc/loadavg`: three averages, runnable and all tasks, the last pid given out.

use serde::{Deserialize, Serialize};

use super::{
    Malformed,
    lines::{number, whole_lines, words},
};

/// Load averages, and what else the file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Tasks running or in uninterruptible sleep, averaged over a minute.
    pub avg1: f64,
    /// Over five minutes.
    pub avg5: f64,
    /// Over fifteen minutes.
    pub avg15: f64,
    /// Tasks running or waiting for a CPU now.
    pub runnable: u32,
    /// Threads on the node.
    pub tasks: u32,
    /// The line as the kernel wrote it.
    pub text: String,
}

/// Reads the text.
///
/// # Errors
/// It is not one whole line of the five fields.
pub fn loadavg(text: &[u8]) -> Result<Load, Malformed> {
    let line = whole_lines(text).next().ok_or(Malformed)?;
    let mut fields = words(line);
    let mut average = || number(fields.next().ok_or(Malformed)?);
    let (avg1, avg5, avg15) = (average()?, average()?, average()?);
    let tasks = fields.next().ok_or(Malformed)?;
    let slash = tasks.iter().position(|&byte| byte == b'/').ok_or(Malformed)?;
    let (runnable, all) = (tasks.get(..slash).ok_or(Malformed)?, tasks.get(slash + 1..).ok_or(Malformed)?);
    number::<u32>(fields.next().ok_or(Malformed)?)?;
    Ok(Load {
        avg1,
        avg5,
        avg15,
        runnable: number(runnable)?,
        tasks: number(all)?,
        text: String::from_utf8(line.to_vec()).map_err(|_| Malformed)?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Load, loadavg};

    #[test]
    fn a_real_loadavg_is_read() {
        let text = include_bytes!("../../../tests/fixtures/proc/6.18-v1/loadavg");
        let expected = Load {
            avg1: 3.0,
            avg5: 2.79,
            avg15: 1.63,
            runnable: 2,
            tasks: 97,
            text: "3.00 2.79 1.63 2/97 29382".into(),
        };
        assert_eq!(loadavg(text), Ok(expected));
        for end in 0..text.len() {
            assert!(loadavg(&text[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn what_is_no_loadavg_is_malformed() {
        for text in
            ["\n", "0.1 0.2 0.3 1 5\n", "0.1 0.2 inf 1/2 5\n", "a b c 1/2 5\n", "0.1 0.2 0.3 1/2 \u{1b}\n"]
        {
            assert!(loadavg(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
