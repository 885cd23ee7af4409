//! `/proc/PID/cmdline`: arguments, each ended by NUL. The process may have overwritten all of it.

/// The arguments. A last one without its NUL is kept: programs that set their own title leave it out. NULs at the end
/// are the padding of such a title, not empty arguments. Empty for a zombie and for a kernel thread.
pub fn cmdline(text: &[u8]) -> Vec<&[u8]> {
    let end = text.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let arguments = text.get(..end).unwrap_or_default();
    if arguments.is_empty() { Vec::new() } else { arguments.split(|&byte| byte == 0).collect() }
}

#[cfg(test)]
mod tests {
    use super::cmdline;

    #[test]
    fn arguments_end_in_nul_or_with_the_text() {
        let table: &[(&[u8], &[&[u8]])] = &[
            (b"", &[]),
            (b"\0\0\0", &[]),
            (b"java\0-Xmx1g\0", &[b"java", b"-Xmx1g"]),
            (b"java\0-Xmx1g", &[b"java", b"-Xmx1g"]),
            (b"sh\0-c\0\0x\0", &[b"sh", b"-c", b"", b"x"]),
            (b"nginx: worker process\0\0\0\0\0", &[b"nginx: worker process"]),
            (b"\xff\x1b[0m\0", &[b"\xff\x1b[0m"]),
        ];
        for (text, arguments) in table {
            assert_eq!(cmdline(text), *arguments, "{text:?}");
        }
    }
}
