//! Asks for a secret on the terminal.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

/// Octets of a line that is read at the most.
const LINE: usize = 1024;
/// What control-C sends.
const INTERRUPT: u8 = 3;

/// Shows `prompt` on the terminal of this process and reads a line, which is not shown.
///
/// # Errors
/// The system's, when the process has no terminal; `UnexpectedEof` and `Interrupted` when no
/// line is given.
pub fn ask(prompt: &str) -> io::Result<Zeroizing<String>> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let quiet = Quiet::new(&terminal)?;
    write!(terminal, "{prompt}")?;
    let line = read_line(&terminal);
    drop(quiet);
    writeln!(terminal)?;
    line
}

/// Reads a line, octet by octet: what is behind it stays there for others, and nothing of it
/// stays behind in a buffer.
///
/// # Errors
/// The system's; `UnexpectedEof` when there is no line, `Interrupted` when there is a control-C in
/// it, `InvalidData` when it is too long or no text.
pub fn read_line(from: impl AsFd) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(Vec::with_capacity(LINE));
    loop {
        let mut octet = Zeroizing::new([0]);
        match rustix::io::read(&from, &mut *octet) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(0) if line.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => break,
            Ok(_) if octet[0] == b'\n' => break,
            Ok(_) if octet[0] == INTERRUPT => return Err(io::ErrorKind::Interrupted.into()),
            Ok(_) if line.len() == LINE => return Err(io::ErrorKind::InvalidData.into()),
            Ok(_) => line.push(octet[0]),
        }
    }
    let line = std::str::from_utf8(&line).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

/// A terminal that does not show what is typed, until this goes.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn new(terminal: &File) -> io::Result<Quiet> {
        let terminal = terminal.try_clone()?;
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        // Control-C ends the line and not the process, which would leave the terminal mute.
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
        Ok(Quiet { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Whoever sits there can say reset(1) if this fails.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}
