//! A line of `dmesg`, of a syslog file or of `journalctl`, with whatever each puts before the kernel's own text.
//!
//! Such text can be forged: what a user logs may look the same, and a name may hold a line end. Only `/dev/kmsg` tells
//! who wrote a record, so the agent reads that; this is for logs that people hand over.

use memchr::memchr_iter;

use super::text::{leading, rsplit, split};

/// A line's time, as far as it has any, and the kernel's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainLine<'a> {
    /// The printk clock in microseconds: `[   12.345678]`.
    pub micros: Option<u64>,
    /// Any other time, as it is written.
    pub wall: Option<&'a [u8]>,
    /// The machine.
    pub host: Option<&'a [u8]>,
    /// What the kernel printed.
    pub text: &'a [u8],
}

/// The tag of the kernel in a syslog file.
const TAG: &str = " kernel: ";
/// Time, host and tag are not longer than this.
const LONGEST_HEAD: usize = 160;

impl<'a> PlainLine<'a> {
    /// Takes off what stands before the text. `None` for a line that something other than the kernel logged.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut read = Self { micros: None, wall: None, host: None, text: line };
        read.level()?;
        if read.talos()? {
            return Some(read);
        }
        read.text = after_facility(read.text);
        if let Some(rest) = read.text.strip_prefix(b"1 ") {
            return read.rfc5424(rest);
        }
        // Host and tag stand behind the time, and behind the tag there may be the kernel's own time.
        if !read.clock() {
            read.date();
        }
        read.tag()?;
        read.clock();
        read.console();
        Some(read)
    }

    /// A console that somebody recorded puts its own words before the kernel's clock.
    fn console(&mut self) {
        if self.micros.is_some() || self.host.is_some() {
            return;
        }
        let head = self.text.get(..LONGEST_HEAD).unwrap_or(self.text);
        for at in memchr_iter(b'[', head).take(4) {
            let mut behind = Self { text: self.text.get(at..).unwrap_or_default(), ..self.clone() };
            if behind.clock() {
                *self = behind;
                return;
            }
        }
    }

    /// `1 2026-11-21T12:00:00.123456+00:00 node-a kernel - - - text`, RFC 5424, behind its `<4>`.
    fn rfc5424(mut self, rest: &'a [u8]) -> Option<Self> {
        let (wall, rest) = split(rest, " ")?;
        let (host, rest) = split(rest, " ")?;
        let rest = rest.strip_prefix(b"kernel ")?;
        let (_, rest) = split(rest, " ")?;
        let (_, rest) = split(rest, " ")?;
        // Structured data: none, or in brackets.
        let rest = rest.strip_prefix(b"-").or_else(|| split(rest, "]").map(|(_, rest)| rest))?;
        let rest = after_space(rest);
        self.text = rest.strip_prefix("\u{feff}".as_bytes()).unwrap_or(rest);
        self.clock();
        (self.wall, self.host) = (Some(wall).filter(|wall| is_date(wall)), Some(host));
        Some(self)
    }

    /// `10.0.0.1: kern: warning: [2026-11-21T12:00:00.123456789Z]: text`, as `talosctl dmesg` prints it; of one node
    /// without its name. `None`: another facility than the kernel's.
    fn talos(&mut self) -> Option<bool> {
        let read = || {
            let head = self.text.get(..LONGEST_HEAD).unwrap_or(self.text);
            let (before, _) = split(head, ": [")?;
            let (time, text) = split(self.text.get(before.len() + 3..)?, "]: ")?;
            let (named, level) = rsplit(before, ": ")?;
            let (host, facility) =
                rsplit(named, ": ").map_or((None, named), |(host, rest)| (Some(host), rest));
            let is_word = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_lowercase);
            let is_one = is_date(time) && is_word(facility.trim_ascii()) && is_word(level.trim_ascii());
            is_one.then(|| (host.map(<[u8]>::trim_ascii), facility.trim_ascii(), time, text))
        };
        let Some((host, facility, time, text)) = read() else { return Some(false) };
        (self.host, self.wall, self.text) = (host, Some(time), text);
        (facility == b"kern").then_some(true)
    }

    /// `<4>`, with `dmesg --raw`: a facility of 1 or more is not the kernel's.
    fn level(&mut self) -> Option<()> {
        if let Some((level, rest)) = self.text.strip_prefix(b"<").and_then(leading::<u32>)
            && let Some(rest) = rest.strip_prefix(b">")
        {
            self.text = Some(rest).filter(|_| level < 8)?;
        }
        Some(())
    }

    /// `[   12.345678]`, perhaps `[   12.345678][  T97]`, with `dmesg -d` `[   12.345678 <    0.000001>]`.
    fn clock(&mut self) -> bool {
        let read = || {
            let inside = self.text.strip_prefix(b"[")?.trim_ascii_start();
            let (seconds, rest) = leading::<u64>(inside)?;
            let rest = rest.strip_prefix(b".")?;
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (fraction, _) = leading::<u64>(rest)?;
            let scale = 10_u64.checked_pow(6_usize.checked_sub(digits)?.try_into().ok()?)?;
            let rest = after_caller(after_delta(rest.get(digits..)?).strip_prefix(b"]")?);
            let micros = seconds.checked_mul(1_000_000)?.checked_add(fraction.checked_mul(scale)?)?;
            Some((micros, rest.strip_prefix(b" ").unwrap_or(rest)))
        };
        let Some((micros, rest)) = read() else { return false };
        (self.micros, self.text) = (Some(micros), rest);
        true
    }

    /// `[Mon Nov 21 12:00:00 2026]`, `2026-11-21T12:00:00,123456+00:00`, `Nov 21 12:00:00`,
    /// `Fri 2026-11-21 12:00:00 UTC`.
    fn date(&mut self) {
        if let Some((inside, rest)) = self.text.strip_prefix(b"[").and_then(|text| split(text, "]"))
            && (is_date(inside) || inside.trim_ascii_start().first() == Some(&b'+'))
        {
            (self.wall, self.text) = (Some(inside), after_space(after_caller(rest)));
            return;
        }
        let (whole, mut end) = (self.text, 0);
        for word in self.text.get(..LONGEST_HEAD).unwrap_or(self.text).split(|&byte| byte == b' ').take(5) {
            end += word.len() + 1;
            let (Some(date), Some(rest)) = (self.text.get(..end - 1), self.text.get(end..)) else { return };
            if has_time(word) && is_date(date) || end == word.len() + 1 && is_seconds(word) {
                (self.wall, self.text) = (Some(date), rest);
                // A zone behind the time, and then a host.
                if let Some((zone, behind)) = split(rest, " ")
                    && (2..=5).contains(&zone.len())
                    && zone.iter().all(u8::is_ascii_uppercase)
                    && split(behind, TAG).is_some_and(|(host, _)| !host.contains(&b' '))
                {
                    (self.wall, self.text) = (whole.get(..end + zone.len()), behind);
                }
                return;
            }
        }
    }

    /// `host kernel: `, behind a time. `None` where something else than the kernel has its tag there.
    fn tag(&mut self) -> Option<()> {
        let head = self.text.get(..LONGEST_HEAD).unwrap_or(self.text);
        if let Some(rest) = self.text.strip_prefix(b"kernel: ") {
            self.text = rest;
            return Some(());
        }
        let is_word = |text: &[u8]| !text.is_empty() && !text.contains(&b' ') && !text.contains(&b':');
        if (self.wall.is_some() || self.micros.is_some())
            && let Some((host, _)) = split(head, TAG)
            && is_word(host)
        {
            (self.host, self.text) = (Some(host), self.text.get(host.len() + TAG.len()..)?);
            return Some(());
        }
        // `host sshd[1]: …`: syslog's form, but not the kernel's tag.
        let behind_host = split(head, " ").map(|(_, rest)| rest);
        let is_foreign = self.wall.is_some()
            && behind_host
                .and_then(|rest| split(rest, ": "))
                .is_some_and(|(tag, _)| is_word(tag) && tag.ends_with(b"]") && tag.contains(&b'['));
        (!is_foreign).then_some(())
    }
}

/// `kern  :err   : `, with `dmesg --decode`.
fn after_facility(text: &[u8]) -> &[u8] {
    let decoded = || {
        let (facility, rest) = split(text, ":")?;
        let (level, rest) = split(rest, ": ")?;
        (facility.trim_ascii() == b"kern" && level.trim_ascii().iter().all(u8::is_ascii_lowercase))
            .then_some(rest)
    };
    decoded().unwrap_or(text)
}

/// `[  T97]` or `[  C1]`: the thread or CPU (`CONFIG_PRINTK_CALLER`).
fn after_caller(text: &[u8]) -> &[u8] {
    let caller = || {
        let (inside, rest) = split(after_space(text).strip_prefix(b"[")?, "]")?;
        let (kind, number) = inside.trim_ascii_start().split_first()?;
        let is_one =
            matches!(kind, b'T' | b'C') && !number.is_empty() && number.iter().all(u8::is_ascii_digit);
        is_one.then_some(rest)
    };
    caller().unwrap_or(text)
}

/// ` <    0.000001>`: the time since the line before.
fn after_delta(text: &[u8]) -> &[u8] {
    text.strip_prefix(b" <").and_then(|rest| split(rest, ">")).map_or(text, |(_, rest)| rest)
}

fn after_space(text: &[u8]) -> &[u8] {
    text.strip_prefix(b" ").unwrap_or(text)
}

/// `12:00:00` somewhere in it.
fn has_time(text: &[u8]) -> bool {
    text.windows(5).any(
        |five| matches!(five, [a, b, b':', c, d] if [a, b, c, d].iter().all(|byte| byte.is_ascii_digit())),
    )
}

/// `1732190400.123456` (`journalctl -o short-unix`).
fn is_seconds(text: &[u8]) -> bool {
    matches!(split(text, "."), Some((seconds, micros)) if seconds.len() >= 9 && micros.len() == 6
        && seconds.iter().chain(micros).all(u8::is_ascii_digit))
}

/// A time, and nothing that no date has.
fn is_date(text: &[u8]) -> bool {
    // Days and months in any language.
    let is_of_date = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || b" :.,+-".contains(byte);
    (has_time(text) || text.len() <= 12 && text.contains(&b':')) && text.iter().all(is_of_date)
}

#[cfg(test)]
mod tests {
    use super::PlainLine;

    const TEXT: &str = "Memory cgroup out of memory: Killed process 97 (hog) total-vm:1kB";

    #[test]
    fn every_log_puts_something_else_before_the_line() {
        for (head, micros, wall) in [
            ("", None, None),
            ("[   12.345678] ", Some(12_345_678), None),
            ("[12.34] ", Some(12_340_000), None),
            ("[    0.000001][   T97] ", Some(1), None),
            ("[   12.345678 <    0.000001>] ", Some(12_345_678), None),
            ("[   12.345678] [  T97] ", Some(12_345_678), None),
            ("<3>[    8.999588] ", Some(8_999_588), None),
            ("kern  :err   : [   12.345678] ", Some(12_345_678), None),
            ("[Sat Nov 21 12:00:00 2026] ", None, Some("Sat Nov 21 12:00:00 2026")),
            ("[Nov21 12:00] ", None, Some("Nov21 12:00")),
            ("[  +0.000012] ", None, None),
            ("2026-11-21T12:00:00,123456+00:00 ", None, Some("2026-11-21T12:00:00,123456+00:00")),
            ("Nov 21 12:00:00 node-a kernel: ", None, Some("Nov 21 12:00:00")),
            ("Nov  1 12:00:00 node-a kernel: [   12.345678] ", Some(12_345_678), Some("Nov  1 12:00:00")),
            ("Nov 21 12:00:00.123456 node-a kernel: ", None, Some("Nov 21 12:00:00.123456")),
            ("2026-11-21T12:00:00+0000 node-a.example kernel: ", None, Some("2026-11-21T12:00:00+0000")),
            (
                "2026-11-21T12:00:00.1+00:00 a kernel: [ 1.000000] ",
                Some(1_000_000),
                Some("2026-11-21T12:00:00.1+00:00"),
            ),
            ("Sat 2026-11-21 12:00:00 UTC node-a kernel: ", None, Some("Sat 2026-11-21 12:00:00 UTC")),
            ("Sat 2026-11-21 12:00:00 CET node-a kernel: ", None, Some("Sat 2026-11-21 12:00:00 CET")),
            ("1795262400.123456 node-a kernel: ", None, Some("1795262400.123456")),
            ("7月 12 12:11:16 node-a kernel: ", None, Some("7月 12 12:11:16")),
            ("[日 5月 11 15:41:12 2025] ", None, Some("日 5月 11 15:41:12 2025")),
            (
                "<4>1 2026-11-21T12:00:00.123456+00:00 node-a kernel - - - ",
                None,
                Some("2026-11-21T12:00:00.123456+00:00"),
            ),
            (
                "<4>1 2026-11-21T12:00:00Z node-a kernel - - [x@1 y=\"z\"] [    1.5] ",
                Some(1_500_000),
                Some("2026-11-21T12:00:00Z"),
            ),
            (
                "10.0.0.1: kern: warning: [2026-11-21T12:00:00.123456789Z]: ",
                None,
                Some("2026-11-21T12:00:00.123456789Z"),
            ),
            (" kern:    info: [2026-11-21T12:00:00.1Z]: ", None, Some("2026-11-21T12:00:00.1Z")),
            ("[    5.000001] node-a kernel: ", Some(5_000_001), None),
            ("kernel: ", None, None),
            (
                "2026-11-21T12:00:00.103Z In(05) vcpu-5 - Guest: <4>[39261021.091603] ",
                Some(39_261_021_091_603),
                Some("2026-11-21T12:00:00.103Z"),
            ),
            ("node-a login: [   12.345678] ", Some(12_345_678), None),
            ("ttyS0| [   12.345678] ", Some(12_345_678), None),
        ] {
            let line = format!("{head}{TEXT}");
            let read = PlainLine::parse(line.as_bytes()).expect(head);
            assert_eq!(String::from_utf8_lossy(read.text), TEXT, "{head}");
            assert_eq!(read.micros, micros, "{head}");
            if wall.is_some() {
                assert_eq!(read.wall.map(|wall| str::from_utf8(wall).unwrap()), wall, "{head}");
            }
        }
    }

    #[test]
    fn what_others_logged_is_not_the_kernels() {
        for head in [
            "Nov 21 12:00:00 node-a sshd[17]: ",
            "<14>[   12.345678] ",
            "10.0.0.1: user: warning: [2026-11-21T12:00:00.123456789Z]: ",
            "2026-11-21T12:00:00+00:00 a app[1]: ",
        ] {
            let line = format!("{head}{TEXT}");
            assert_eq!(PlainLine::parse(line.as_bytes()), None, "{head}");
        }
        // Without a pid the tag cannot be told from the kernel's own text, but then the line begins with it.
        let line = format!("Nov 21 12:00:00 node-a app: {TEXT}");
        assert!(PlainLine::parse(line.as_bytes()).is_none_or(|read| !read.text.starts_with(b"Memory")));
    }

    #[test]
    fn a_row_of_the_table_is_no_time() {
        let row = b"[     97]     0    97     8461     8279   102400        0             0 hog";
        assert_eq!(
            PlainLine::parse(row).unwrap(),
            PlainLine { micros: None, wall: None, host: None, text: row }
        );
        let line = [b"[   12.000000] ", &row[..]].concat();
        assert_eq!(PlainLine::parse(&line).unwrap().text, row);
        for text in [&b" dump_stack+0x6b/0x83"[..], b"memory: usage 1kB, limit 2kB, failcnt 3", b"", b"x"] {
            assert_eq!(PlainLine::parse(text).unwrap().text, text);
        }
    }
}
