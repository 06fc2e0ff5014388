//! The system calls of a program and its children, by strace.

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};

use crate::programs::Program;

/// Bytes of a buffer that are listed; longer ones are marked.
const BUFFER_BYTES_MAX: usize = 4 << 20;

/// Which calls are listed, and in which file.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Made anew at each start.
    pub file: PathBuf,
    /// As strace's `-e trace=` takes them.
    pub calls: &'static str,
}

/// What a file of strace tells.
#[derive(Debug)]
pub struct Listing {
    /// In the order in which they began.
    pub calls: Vec<Call>,
    /// Exit status of the program itself; `None` if a signal ended it, or the listing ends before.
    pub exit_status: Option<u8>,
}

/// One system call.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    /// `openat`
    pub name: String,
    /// What stood between the brackets.
    pub arguments: String,
    /// What it returned; `None` if it did not return, or no decimal number.
    pub result: Option<i64>,
}

/// Whom a socket is told to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// By IP, version 4 or 6.
    Internet(SocketAddr),
    /// A path of the file system.
    Local(String),
}

impl Trace {
    /// What stands before the command line of the program.
    pub fn words(&self) -> Result<Vec<OsString>> {
        // With a file for its output strace lets the signals that end a program pass to the program.
        let mut words: Vec<OsString> = vec![
            Program::Strace.path()?.into(),
            "-f".into(),
            "-xx".into(),
            format!("-s{BUFFER_BYTES_MAX}").into(),
            "-o".into(),
            self.file.clone().into(),
        ];
        let mut calls = self.calls.to_owned();
        if !rustix::process::geteuid().is_root() {
            // The kernel shows the memory of a program that is not dumpable to root alone, so that no argument in
            // memory could be listed. So strace answers in its place, which needs that it is listed too.
            calls += ",prctl";
            words.push("-einject=prctl:retval=0".into());
        }
        words.push(format!("-etrace={calls}").into());
        Ok(words)
    }

    /// What was listed; the program has ended.
    pub fn read(&self) -> Result<Listing> {
        let text = std::fs::read_to_string(&self.file)
            .with_context(|| format!("failed to read {}", self.file.display()))?;
        let mut listing = Listing::parse(&text)?;
        let asked = self.calls.contains("prctl");
        listing.calls.retain(|call| asked || call.name != "prctl");
        Ok(listing)
    }
}

impl Listing {
    /// Reads strace's own format; a line that is not understood is an error, so that nothing is missed.
    fn parse(text: &str) -> Result<Self> {
        let mut listing = Self {
            calls: Vec::new(),
            exit_status: None,
        };
        // Of each thread, the call that has not returned yet.
        let mut open = HashMap::new();
        let mut program = None;
        for line in text.lines() {
            let understood = listing.line(line, &mut open, &mut program);
            understood.with_context(|| {
                let start: String = line.chars().take(200).collect();
                format!("failed to understand a line of strace: {start}")
            })?;
        }
        Ok(listing)
    }

    fn line<'a>(
        &mut self,
        line: &'a str,
        open: &mut HashMap<&'a str, usize>,
        program: &mut Option<&'a str>,
    ) -> Result<()> {
        let (thread, event) = line.split_once(' ').context("no thread")?;
        ensure!(thread.parse::<u32>().is_ok(), "no thread");
        let program = *program.get_or_insert(thread);
        let event = event.trim();
        if let Some(end) = event.strip_prefix("+++ ") {
            open.remove(thread);
            let status = end.strip_prefix("exited with ");
            if let Some(status) = status.filter(|_| thread == program) {
                self.exit_status = Some(status.trim_end_matches(" +++").parse()?);
            }
            return Ok(());
        }
        if event.starts_with("--- ") {
            return Ok(());
        }
        let (call, rest) = if let Some(event) = event.strip_prefix("<... ") {
            let (name, rest) = event.split_once(" resumed>").context("no resumed call")?;
            let call = open
                .remove(thread)
                .context("resumes what was not interrupted")?;
            ensure!(self.calls[call].name == name, "resumes another call");
            (call, rest)
        } else {
            let (name, rest) = event.split_once('(').context("no call")?;
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            ensure!(!name.is_empty() && name.chars().all(plain), "no call");
            self.calls.push(Call {
                name: name.to_owned(),
                arguments: String::new(),
                result: None,
            });
            (self.calls.len() - 1, rest)
        };
        let now = &mut self.calls[call];
        if let Some(start) = rest.strip_suffix("<unfinished ...>") {
            now.arguments += start.trim_end();
            open.insert(thread, call);
            return Ok(());
        }
        let (rest, result) = rest.rsplit_once(" = ").context("no result")?;
        now.arguments += rest.trim_end().strip_suffix(')').context("no end")?;
        now.result = result.split(' ').next().and_then(|word| word.parse().ok());
        Ok(())
    }
}

impl Call {
    /// The file descriptor that it is about.
    pub fn descriptor(&self) -> Result<u32> {
        let first = self.arguments.split(',').next().unwrap_or_default();
        first
            .parse()
            .with_context(|| format!("no file descriptor: {self}"))
    }

    /// The bytes of all its buffers, one after the other; an error if one is not listed whole.
    pub fn buffers(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut rest = self.arguments.as_str();
        while let Some((_, text)) = rest.split_once('"') {
            let (text, after) = text.split_once('"').context("an open string")?;
            ensure!(
                !after.starts_with("..."),
                "a buffer of {} that was cut",
                self.name
            );
            bytes.extend(unquote(text)?);
            rest = after;
        }
        Ok(bytes)
    }

    /// The peer of a `connect`.
    pub fn peer(&self) -> Result<Peer> {
        let field = |name: &str| {
            let (_, value) = self.arguments.split_once(name)?;
            value.split([')', ',', '}']).next()
        };
        let quoted = || String::from_utf8(self.buffers()?).context("no text");
        let no_peer = || format!("no peer: {self}");
        match field("sa_family=").with_context(no_peer)? {
            "AF_UNIX" => Ok(Peer::Local(quoted()?)),
            "AF_INET" => {
                let port = field("sin_port=htons(").with_context(no_peer)?.parse()?;
                Ok(Peer::Internet((quoted()?.parse::<IpAddr>()?, port).into()))
            }
            "AF_INET6" => {
                let port = field("sin6_port=htons(").with_context(no_peer)?.parse()?;
                Ok(Peer::Internet((quoted()?.parse::<IpAddr>()?, port).into()))
            }
            _ => bail!(no_peer()),
        }
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let arguments: String = self.arguments.chars().take(200).collect();
        write!(f, "{}({arguments}) = {:?}", self.name, self.result)
    }
}

/// A string as `-xx` writes it, or one of printable characters.
fn unquote(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (byte, after) = match rest.strip_prefix("\\x") {
            Some(digits) => {
                let (digits, after) = digits.split_at_checked(2).context("half a byte")?;
                (u8::from_str_radix(digits, 16)?, after)
            }
            None => {
                ensure!(
                    (' '..='~').contains(&first) && first != '\\',
                    "a string in another form: {text}"
                );
                (u8::try_from(first)?, &rest[1..])
            }
        };
        bytes.push(byte);
        rest = after;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"7 execve("\x2f\x78", ["\x78"], 0x7ffc /* 39 vars */) = 0
8  connect(9, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("\x31\x2e\x32\x2e\x33\x2e\x34")}, 16 <unfinished ...>
7  close(3)                          = 0
9  write(1, "\x22\x29\x20\x3d\x20\x61", 6 <unfinished ...>
8  <... connect resumed>)            = -1 EINPROGRESS (Operation now in progress)
7  writev(2, [{iov_base="\x61", iov_len=1}, {iov_base="\x62\x63", iov_len=2}], 2) = 3
8  connect(4, {sa_family=AF_INET6, sin6_port=htons(5), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "\x3a\x3a\x31", &sin6_addr), sin6_scope_id=0}, 28) = 0
8  connect(5, {sa_family=AF_UNIX, sun_path="/var/run/x"}, 110) = -1 ENOENT (No such file or directory)
8  connect(6, 0x7ffc0, 16) = 0
7  --- SIGTERM {si_signo=SIGTERM, si_code=SI_USER, si_pid=1, si_uid=0} ---
9  <... write resumed>)              = ?
9  +++ exited with 3 +++
7  +++ exited with 0 +++
"#;

    #[test]
    fn calls_of_several_threads_are_told_apart() {
        let listing = Listing::parse(TEXT).unwrap();
        let calls: Vec<_> = listing
            .calls
            .iter()
            .map(|call| (call.name.as_str(), call.result))
            .collect();
        let connect = |result| ("connect", Some(result));
        assert_eq!(
            calls,
            [
                ("execve", Some(0)),
                connect(-1),
                ("close", Some(0)),
                ("write", None),
                ("writev", Some(3)),
                connect(0),
                connect(-1),
                connect(0),
            ]
        );
        assert_eq!(listing.exit_status, Some(0));
    }

    #[test]
    fn peers_and_buffers_are_read() {
        let calls = Listing::parse(TEXT).unwrap().calls;
        let internet = |text: &str| Peer::Internet(text.parse().unwrap());
        assert_eq!(calls[1].peer().unwrap(), internet("1.2.3.4:80"));
        assert_eq!(calls[5].peer().unwrap(), internet("[::1]:5"));
        assert_eq!(calls[6].peer().unwrap(), Peer::Local("/var/run/x".into()));
        assert!(calls[7].peer().is_err());
        assert_eq!(calls[3].buffers().unwrap(), b"\") = a");
        assert_eq!(calls[4].buffers().unwrap(), b"abc");
        assert_eq!(
            (
                calls[1].descriptor().unwrap(),
                calls[4].descriptor().unwrap()
            ),
            (9, 2)
        );
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in [
            "strace: Process 7 attached",
            "7 <... write resumed>) = 1",
            "7 write(1, \"\"",
            "7 a b",
        ] {
            assert!(Listing::parse(text).is_err(), "{text}");
        }
        let cut = Listing::parse("7 write(1, \"\\x61\"..., 2) = 2").unwrap();
        assert!(cut.calls[0].buffers().is_err());
    }
}
