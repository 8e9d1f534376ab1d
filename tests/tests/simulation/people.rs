//! Who is there: the configuration, and the users of the machine.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use smtpd_config::table::{LookupError, Query, Service, Table};
use smtpd_config::{Config, Files, Forward, Host, Lookup, Outside, User, Users, load};
use smtpd_tests::rng::Rng;

/// The name of the server.
pub const HOST: &str = "mx.example.org";

/// Octets that the server takes. More than may wait for a content writer, so that sessions are
/// held back.
pub const MAX_SIZE: usize = 800 << 10;

/// The uid that everybody has, and in whose name mail is delivered.
pub const UID: u32 = 1000;

/// Those who have a Maildir.
pub const USERS: [&str; 4] = ["ann", "bob", "carol", "dave"];

/// What they are reached by, and what is refused; see [`reaches`].
pub const RECIPIENTS: [&str; 8] = [
    "ann@example.org",
    "bob@example.org",
    "carol@example.org",
    "dave@example.org",
    "team@example.org",
    "all@example.org",
    "nobody@example.org",
    "ann@elsewhere.example",
];

/// A sender who is here and stays: reports reach him.
pub const TOLD: &str = "ann@example.org";

/// A user who may leave. His mail goes back then.
const LEAVES: &str = "dave";

/// The users behind a recipient.
pub fn reaches(recipient: &str) -> &'static [&'static str] {
    match recipient {
        "ann@example.org" => &USERS[..1],
        "bob@example.org" => &USERS[1..2],
        "carol@example.org" => &USERS[2..3],
        "dave@example.org" => &USERS[3..],
        "team@example.org" => &USERS[..2],
        "all@example.org" => &USERS,
        _ => &[],
    }
}

/// Where a user's mail is.
pub fn maildir(user: &str) -> PathBuf {
    Path::new("/home").join(user).join("Maildir")
}

/// A listener, which decides what becomes of content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gate {
    /// Port 25.
    Relay,
    /// Port 587: headers are completed (RFC 6409).
    Submission,
    /// A stray CR or LF is taken for a line break.
    Normalizing,
}

impl Gate {
    /// All, in the order of the configuration.
    pub const ALL: [Gate; 3] = [Gate::Relay, Gate::Submission, Gate::Normalizing];
}

struct OneFile(String);

impl Files for OneFile {
    fn open(&self, _path: &Path) -> io::Result<Box<dyn io::Read + '_>> {
        Ok(Box::new(self.0.as_bytes()))
    }
}

/// The configuration, with a time to live in hours.
pub fn config(ttl: u32) -> Arc<Config> {
    let text = format!(
        "smtp max-message-size {MAX_SIZE}\n\
         queue ttl {ttl}h\n\
         table aliases {{ team = \"ann, bob\", all = \"team, carol, dave, ann\" }}\n\
         listen on 192.0.2.25 port 25\n\
         listen on 192.0.2.25 port 587\n\
         listen on 192.0.2.26 port 25 stray-newline normalize\n\
         action \"local\" maildir alias <aliases>\n\
         match from any for domain \"example.org\" action \"local\"\n"
    );
    let host = Host { name: HOST.into(), addresses: Vec::new() };
    let loaded = load("smtpd.conf", &[], host, &OneFile(text));
    Arc::new(loaded.unwrap_or_else(|mistakes| panic!("{mistakes:?}")).0)
}

/// The users of the machine, of whom a database tells that may be slow or broken.
#[derive(Clone)]
pub struct People {
    whims: Rc<Whims>,
    /// Whoever asks may wait.
    waits: bool,
}

/// What the user database does today.
pub struct Whims {
    rng: RefCell<Rng>,
    calm: Cell<bool>,
    left: Cell<bool>,
}

impl Whims {
    /// A database with moods.
    pub fn new(seed: u64) -> Rc<Self> {
        Rc::new(Self {
            rng: RefCell::new(Rng::new(seed)),
            calm: Cell::new(false),
            left: Cell::new(false),
        })
    }

    /// One user is removed.
    pub fn leave(&self) {
        self.left.set(true);
    }

    /// From now on it answers.
    pub fn end(&self) {
        self.calm.set(true);
    }
}

impl People {
    /// As a reactor asks, or one who waits.
    pub fn new(whims: &Rc<Whims>, waits: bool) -> Self {
        Self { whims: whims.clone(), waits }
    }
}

impl Users for People {
    fn user(&self, name: &str) -> Lookup {
        let odds = if self.waits { 15 } else { 3 };
        if !self.whims.calm.get() && self.whims.rng.borrow_mut().one_in(odds) {
            return if self.waits { Lookup::Error } else { Lookup::Later };
        }
        if !USERS.contains(&name) || (name == LEAVES && self.whims.left.get()) {
            return Lookup::None;
        }
        let home = Path::new("/home").join(name);
        Lookup::Found(Arc::new(User { name: name.into(), uid: UID, gid: UID, home }))
    }
}

/// Nothing is outside of the configuration.
impl Outside for People {
    fn contains(&self, _: &Table, _: &Query<'_>) -> Result<bool, LookupError> {
        Err(LookupError::Failed)
    }

    fn value(&self, _: &Table, _: Service, _: &str) -> Result<Option<Box<str>>, LookupError> {
        Err(LookupError::Failed)
    }

    fn include(&self, _: &str) -> Result<Vec<u8>, LookupError> {
        Err(LookupError::Failed)
    }

    fn forward(&self, _: &User) -> Forward {
        Forward::None
    }
}
