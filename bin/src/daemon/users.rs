//! The system's users, remembered for a while, so that a reactor never asks for one.
//!
//! A reactor gets what is remembered or `Later`; the look-up thread asks the system, which may go
//! to a network, and remembers the answer. The lock is held for a look into the map, never over a
//! question to the system.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smtpd_config::{Lookup, User, Users};

use crate::log::topic::{self, Topic};
use crate::log::vis::vis;
use crate::sys;

/// How long a user that exists is believed in without asking again.
const FOUND: Duration = Duration::from_secs(60);

/// How long a user that does not exist is. Shorter: whoever adds a user tries at once.
const MISSING: Duration = Duration::from_secs(5);

/// Answers remembered. Peers choose the names, so it has a bound; reaching it forgets all, which
/// costs one look-up for each user that is really used.
const REMEMBERED: usize = 10_000;

/// What the system said of a name, and when.
type Answers = HashMap<Box<str>, (Instant, Option<Arc<User>>)>;

/// The memory, shared by reactors, look-up and delivery threads.
#[derive(Clone, Default)]
pub struct Remembered(Arc<Mutex<Answers>>);

impl Remembered {
    fn map(&self) -> MutexGuard<'_, Answers> {
        // Nothing that can panic leaves the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recall(&self, name: &str) -> Option<Option<Arc<User>>> {
        let map = self.map();
        let (since, user) = map.get(name)?;
        let fresh = since.elapsed() < if user.is_some() { FOUND } else { MISSING };
        fresh.then(|| user.clone())
    }

    fn remember(&self, name: &str, user: Option<Arc<User>>) {
        let mut map = self.map();
        if map.len() >= REMEMBERED {
            map.clear();
        }
        map.insert(name.into(), (Instant::now(), user));
    }
}

/// What a reactor asks: it never waits.
impl Users for Remembered {
    fn user(&self, name: &str) -> Lookup {
        match self.recall(name) {
            Some(Some(user)) => Lookup::Found(user),
            Some(None) => Lookup::None,
            None => Lookup::Later,
        }
    }
}

/// What threads that may wait ask: the memory first, then the system.
#[derive(Clone, Default)]
pub struct System(pub Remembered);

impl Users for System {
    fn user(&self, name: &str) -> Lookup {
        let known = self.0.user(name);
        if known != Lookup::Later {
            return known;
        }
        match sys::user_by_name(name) {
            Ok(found) => {
                let found = found.map(|sys::User { name, uid, gid, home }| {
                    Arc::new(User { name: name.into(), uid, gid, home })
                });
                let answer = if found.is_some() { "found" } else { "none" };
                let text = format_args!("lookup: user {} -> {answer}", vis(name.as_bytes()));
                topic::trace(Topic::Lookup, text);
                self.0.remember(name, found.clone());
                found.map_or(Lookup::None, Lookup::Found)
            }
            Err(error) => {
                log::warn!("warn: user database: {name:?}: {error}");
                Lookup::Error
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reactor_asks_later_until_somebody_has_waited() {
        let memory = Remembered::default();
        assert_eq!(memory.user("root"), Lookup::Later);
        let system = System(memory.clone());
        let Lookup::Found(root) = system.user("root") else { panic!("no root") };
        assert_eq!((&*root.name, root.uid), ("root", 0));
        assert_eq!(memory.user("root"), Lookup::Found(root));
        assert_eq!(system.user("no-such-user-here"), Lookup::None);
        assert_eq!(memory.user("no-such-user-here"), Lookup::None);
    }

    #[test]
    fn the_memory_has_a_bound() {
        let memory = Remembered::default();
        for n in 0..=REMEMBERED {
            memory.remember(&n.to_string(), None);
        }
        assert_eq!(memory.map().len(), 1);
    }
}
