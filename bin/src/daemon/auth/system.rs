//! Users of the system: their passwords, which only root may look at.
//!
//! A daemon that gives up root's privileges leaves a process behind that keeps them, and that can do
//! nothing but say whether a password is somebody's: user and password go in, yes or no comes out,
//! one at a time, with the number of the question, as a late answer is that of no other. It ends
//! with the daemon.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::sys;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who knows.
pub trait System: Send + Sync {
    /// Whether that is the user's password.
    ///
    /// # Errors
    /// When it cannot be said.
    fn check(&self, user: &str, password: &[u8]) -> io::Result<bool>;

    /// Has `act` called, once, when nobody can be asked any more.
    fn when_gone(&self, _act: WhenGone) {}
}

/// What is done when nobody can be asked any more, with the reason.
pub type WhenGone = Box<dyn FnOnce(&io::Error) + Send>;

/// This process, which may look by itself, or may not.
pub struct Here;

impl System for Here {
    fn check(&self, user: &str, password: &[u8]) -> io::Result<bool> {
        here::check(user, password)
    }
}

/// Another process, which may.
pub struct There(Mutex<Way>, Mutex<Option<WhenGone>>);

/// The way there.
struct Way {
    stream: UnixStream,
    /// The number of the last question.
    number: u32,
}

impl There {
    /// Starts it. Only while this process has one thread, and before it opens what the other must
    /// not have.
    ///
    /// # Errors
    /// The system's.
    pub fn start() -> io::Result<There> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(PATIENCE))?;
        ours.set_write_timeout(Some(PATIENCE))?;
        let ours = sys::leave_behind((ours, theirs), |(ours, theirs)| {
            // With it open here, the end of the daemon would never be seen.
            drop(ours);
            // Whatever ends it, there is nobody to tell.
            let _ = serve(theirs, here::check);
        })?
        .0;
        Ok(There::at(ours))
    }
}

impl There {
    fn at(stream: UnixStream) -> There {
        There(Mutex::new(Way { stream, number: 0 }), Mutex::default())
    }
}

impl System for There {
    fn check(&self, user: &str, password: &[u8]) -> io::Result<bool> {
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner).ask(user, password);
        if let Err(error) = &answer
            && matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
            )
            && let Some(act) = self.1.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            act(error);
        }
        answer
    }

    fn when_gone(&self, act: WhenGone) {
        *self.1.lock().unwrap_or_else(PoisonError::into_inner) = Some(act);
    }
}

const YES: u8 = b'y';
const NO: u8 = b'n';

/// Octets of a number.
const NUMBER: usize = 4;

impl Way {
    fn ask(&mut self, user: &str, password: &[u8]) -> io::Result<bool> {
        self.number = self.number.wrapping_add(1);
        let number = self.number.to_be_bytes();
        let length = |text: &[u8]| u16::try_from(text.len()).map_err(io::Error::other);
        let lengths = [length(user.as_bytes())?, length(password)?].map(u16::to_be_bytes);
        let parts = [&number[..], &lengths.concat(), user.as_bytes(), password];
        self.stream.write_all(&Zeroizing::new(parts.concat()))?;
        let answer = loop {
            let mut said = [0; NUMBER + 1];
            self.stream.read_exact(&mut said)?;
            if said[..NUMBER] == number {
                break said[NUMBER];
            }
        };
        match answer {
            YES => Ok(true),
            NO => Ok(false),
            _ => Err(io::Error::other("the password file cannot be asked")),
        }
    }
}

/// Answers until the other end is closed.
fn serve(
    mut stream: UnixStream,
    check: impl Fn(&str, &[u8]) -> io::Result<bool>,
) -> io::Result<()> {
    loop {
        let mut head = [0; NUMBER + 4];
        stream.read_exact(&mut head)?;
        let [number @ .., a, b, c, d] = head;
        let room = |length| Zeroizing::new(vec![0; u16::from_be_bytes(length).into()]);
        let (mut user, mut password) = (room([a, b]), room([c, d]));
        stream.read_exact(&mut user)?;
        stream.read_exact(&mut password)?;
        // What one brings to light must not keep all others out.
        let checked = catch_unwind(AssertUnwindSafe(|| {
            std::str::from_utf8(&user).map(|user| check(user, &password))
        }));
        let answer = match checked {
            Ok(Ok(Ok(true))) => YES,
            Ok(Ok(Ok(false))) => NO,
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => 0,
        };
        let mut said = [answer; NUMBER + 1];
        said[..NUMBER].copy_from_slice(&number);
        stream.write_all(&said)?;
    }
}

#[cfg(target_os = "openbsd")]
mod here {
    use crate::sys;
    use std::io;

    /// By the styles of login.conf(5), as upstream: type `auth-smtp`.
    pub fn check(user: &str, password: &[u8]) -> io::Result<bool> {
        // Login programs would take it for an option.
        if user.starts_with('-') { Ok(false) } else { sys::bsd_auth(user, password) }
    }
}

#[cfg(not(target_os = "openbsd"))]
mod here {
    use crate::password;
    use crate::sys;
    use std::io;
    use zeroize::Zeroizing;

    /// The hash of a password that nobody has, of the scheme that new users get.
    const NOBODY: &str = "$6$rounds=5000$n0b0dyn0b0dyn0b0$\
        YiR6NSM0LQXmu7vAhkMXfkdYk7qtFouVx1Mdr3HmzXspT8kONjlpU3CsV7ezCB62uXJoAdaagsH4ck7/tB9js.";

    /// By shadow(5). Whoever is locked, has no password or an account that is over cannot log in,
    /// and does not notice sooner than others.
    pub fn check(user: &str, password: &[u8]) -> io::Result<bool> {
        let hash = sys::shadow(user)?.map(Zeroizing::new);
        let usable = hash.as_deref().filter(|hash| hash.starts_with('$') || hash.len() == 13);
        match usable.map(|hash| password::check(password, hash)) {
            Some(Ok(is_right)) => Ok(is_right),
            Some(Err(_)) | None => {
                let _ = password::check(password, NOBODY);
                Ok(false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_those_of_their_questions() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let serving = std::thread::spawn(move || {
            serve(theirs, |user, password| match user {
                // Not panic!, which takes long to tell where.
                "panic" => std::panic::resume_unwind(Box::new(())),
                "broken" => Err(io::Error::other("x")),
                "slow" => {
                    std::thread::sleep(Duration::from_millis(200));
                    Ok(true)
                }
                _ => Ok(user.as_bytes() == password),
            })
        });
        let there = There::at(ours);
        assert!(there.check("joe", b"joe").unwrap());
        assert!(!there.check("joe", b"ann").unwrap());
        assert!(there.check("", b"").unwrap());
        assert!(there.check(&"u".repeat(255), &[b'u'; 255]).unwrap());
        assert!(there.check("broken", b"x").is_err());
        assert!(there.check("panic", b"x").is_err());
        assert!(there.check("joe", b"joe").unwrap(), "it goes on");
        // A late yes is not that of the next question.
        assert!(there.check("slow", b"x").is_err());
        let next = (0..100).find_map(|_| there.check("joe", b"ann").ok());
        assert_eq!(next, Some(false));
        drop(there);
        assert!(serving.join().unwrap().is_err(), "it ends with its user");
    }

    #[test]
    fn that_nobody_is_there_any_more_is_told_once() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let there = There::at(ours);
        let (tell, told) = std::sync::mpsc::channel();
        there.when_gone(Box::new(move |error| tell.send(error.kind()).unwrap()));
        drop(theirs);
        assert!(there.check("joe", b"x").is_err() && there.check("joe", b"x").is_err());
        assert_eq!(told.iter().count(), 1);
    }
}
