//! Who takes the mail out of the Maildirs below a folder, and notes when it came.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

/// How often it looks.
const LOOK: Duration = Duration::from_millis(2);

/// Takes mail until it is told to stop.
pub struct Sink {
    mail: PathBuf,
    stop: AtomicBool,
    taken: AtomicUsize,
}

impl Sink {
    pub fn new(mail: &Path) -> Sink {
        Sink { mail: mail.to_owned(), stop: AtomicBool::new(false), taken: AtomicUsize::new(0) }
    }

    /// How many messages were taken so far.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Lets [`Sink::run`] end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Empties all Maildirs but that of `left`, again and again. Gives when the messages were
    /// first seen of which `note` wants to know, by the name of their file.
    pub fn run(&self, left: &str, note: impl Fn(&str) -> bool) -> HashMap<String, SystemTime> {
        let mut seen = HashMap::new();
        while !self.stop.load(Ordering::Relaxed) {
            let before = self.taken();
            for user in names(&self.mail).into_iter().filter(|user| user != left) {
                let new = self.mail.join(user).join("new");
                for name in names(&new) {
                    if fs::remove_file(new.join(&name)).is_err() {
                        continue;
                    }
                    self.taken.fetch_add(1, Ordering::Relaxed);
                    if note(&name) {
                        seen.insert(name, SystemTime::now());
                    }
                }
            }
            if self.taken() == before {
                thread::sleep(LOOK);
            }
        }
        seen
    }

    /// Waits until so many messages were taken.
    pub fn wait(&self, wanted: usize, patience: Duration) -> Result<(), String> {
        let begun = SystemTime::now();
        while self.taken() < wanted {
            if begun.elapsed().unwrap_or_default() > patience {
                return Err(format!("{} of {wanted} messages were delivered", self.taken()));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// What is in a folder; nothing when it is not there.
pub fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
