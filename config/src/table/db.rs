//! Maps made by makemap(8), as they are now (`db:` tables).
//!
//! Up to [`limits::MAP_IN_MEMORY`] octets a map is read into memory and answers as a file table
//! does. A larger one stays where it is: keys are looked up by positioned reads, and when it is
//! first asked for something that takes patterns or networks, one walk gathers these. A map is
//! never mapped into memory: one that is cut off in place would end the process.
//!
//! Before every answer the file's stamp is looked at, so a map that makemap has replaced is used
//! from the next look-up on. One that cannot be read or is damaged is a temporary failure until
//! there is a good one in its place.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::entries::Entries;
use super::patterns::Patterns;
use super::{LookupError, Query, Service, bounded, lower};
use crate::cdb;
use crate::limits;
use crate::surroundings::{Files, ReadAt, Stamp};

/// Why a map cannot be used.
#[derive(Debug, Clone)]
pub(crate) struct Unusable {
    /// In words for an administrator.
    pub what: String,
    /// It will not get better while the file is the same.
    lasting: bool,
}

impl From<cdb::Error> for Unusable {
    fn from(error: cdb::Error) -> Unusable {
        Unusable { what: error.to_string(), lasting: matches!(error, cdb::Error::Damaged(_)) }
    }
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Unusable {
        Unusable { what: error.to_string(), lasting: false }
    }
}

/// An open map.
pub(crate) enum Map {
    Memory(Entries),
    File { records: cdb::Reader<Box<dyn ReadAt>>, patterns: OnceLock<Patterns> },
}

impl Map {
    pub fn open(file: Box<dyn ReadAt>) -> Result<Map, Unusable> {
        let records = cdb::Reader::open(file)?;
        if records.size() > limits::MAP_IN_MEMORY {
            return Ok(Map::File { records, patterns: OnceLock::new() });
        }
        // One read instead of one for each number in it.
        let records = records.into_memory()?;
        let mut entries = Entries::default();
        // As in a map on disk, the first value of a key is the one that is found, and a key in
        // lower case is what others than logins are compared with: the last one counts here.
        for capitals in [true, false] {
            records.walk(|key, value| {
                let (key, value) = (text(key)?, text(value)?);
                let has_capitals = key.bytes().any(|octet| octet.is_ascii_uppercase());
                if has_capitals == capitals && !entries.is_written(key) {
                    entries.insert(key, value, 0);
                }
                Ok::<(), Unusable>(())
            })?;
        }
        Ok(Map::Memory(entries))
    }

    fn contains(&self, query: &Query<'_>, key: &str) -> Result<bool, Unusable> {
        let (records, patterns) = match self {
            Map::Memory(entries) => return Ok(entries.contains(query, key)),
            Map::File { records, patterns } => (records, patterns),
        };
        if query.service == Service::Regex {
            let what = "it is too large for regular expressions".to_owned();
            return Err(Unusable { what, lasting: true });
        }
        let mut unusable = None;
        let mut exact = |key: &str| match records.get(key.as_bytes()) {
            Ok(found) => found.is_some(),
            Err(error) => {
                unusable = Some(error);
                false
            }
        };
        let found = if query.service.has_patterns() {
            let patterns = match patterns.get() {
                Some(patterns) => patterns,
                None => patterns.get_or_init(gather(records)?),
            };
            patterns.match_key(query, key, exact)
        } else {
            exact(key)
        };
        unusable.map_or(Ok(found), |error| Err(error.into()))
    }

    fn keys(&self) -> Result<Vec<Box<str>>, Unusable> {
        match self {
            Map::Memory(entries) => {
                let all = entries.in_order().into_iter().take(limits::FETCHED);
                Ok(all.map(|(key, _)| key.into()).collect())
            }
            Map::File { .. } => {
                let what = "it is too large for a list of servers or addresses".to_owned();
                Err(Unusable { what, lasting: true })
            }
        }
    }

    fn value(&self, service: Service, key: &str) -> Result<Option<Box<str>>, Unusable> {
        let records = match self {
            Map::Memory(entries) => {
                return Ok(entries.find(service, key).map(|entry| entry.value.clone()));
            }
            Map::File { records, .. } => records,
        };
        let written = match service {
            Service::Credentials => records.get(key.as_bytes())?,
            _ => None,
        };
        let value = match written {
            None => records.get(lower(key).as_bytes())?,
            written => written,
        };
        value.map(|value| Ok(text(&value)?.into())).transpose()
    }
}

fn text(octets: &[u8]) -> Result<&str, Unusable> {
    // In maps of other programs keys and values may end with a NUL.
    let octets = octets.strip_suffix(b"\0").unwrap_or(octets);
    std::str::from_utf8(octets)
        .map_err(|_| Unusable { what: "an entry is not UTF-8".to_owned(), lasting: true })
}

/// The patterns of a map that stays on disk.
fn gather(records: &cdb::Reader<Box<dyn ReadAt>>) -> Result<impl FnOnce() -> Patterns, Unusable> {
    let mut patterns = Patterns::default();
    records.walk(|key, _| {
        patterns.insert(&lower(text(key)?));
        Ok::<(), Unusable>(())
    })?;
    Ok(|| patterns)
}

/// The maps of a configuration, opened when they are first asked.
pub struct Maps {
    files: Box<dyn Files + Send + Sync>,
    tell: fn(&Path, &str),
    maps: Mutex<HashMap<PathBuf, Arc<Mutex<Known>>>>,
}

/// What is known of the file of a map.
#[derive(Default)]
struct Known {
    stamp: Option<Stamp>,
    map: Option<Result<Arc<Map>, Unusable>>,
    /// What has been told of it.
    told: String,
}

impl Maps {
    /// Maps among these files. `tell` is told once of a map that cannot be used.
    pub fn new(files: Box<dyn Files + Send + Sync>, tell: fn(&Path, &str)) -> Maps {
        Maps { files, tell, maps: Mutex::default() }
    }

    /// Whether a map has a key. May wait for the disk.
    ///
    /// # Errors
    /// When it cannot be said.
    pub fn contains(&self, path: &Path, query: &Query<'_>) -> Result<bool, LookupError> {
        let key = query.lower()?;
        self.ask(path, |map| map.contains(query, &key))
    }

    /// The value of a key. May wait for the disk.
    ///
    /// # Errors
    /// When it cannot be said.
    pub fn value(
        &self,
        path: &Path,
        service: Service,
        key: &str,
    ) -> Result<Option<Box<str>>, LookupError> {
        bounded(key)?;
        self.ask(path, |map| map.value(service, key))
    }

    /// The keys of a map. May wait for the disk.
    ///
    /// # Errors
    /// When they cannot be said.
    pub fn keys(&self, path: &Path) -> Result<Vec<Box<str>>, LookupError> {
        self.ask(path, Map::keys)
    }

    fn ask<T>(
        &self,
        path: &Path,
        question: impl Fn(&Map) -> Result<T, Unusable>,
    ) -> Result<T, LookupError> {
        let known = {
            let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
            match maps.get(path) {
                Some(known) => Arc::clone(known),
                None => Arc::clone(maps.entry(path.to_owned()).or_default()),
            }
        };
        let now = || known.lock().unwrap_or_else(PoisonError::into_inner);
        let map = self.now(path, &mut now());
        let answer = map.and_then(|map| question(&map));
        answer.map_err(|Unusable { what, .. }| {
            let mut known = now();
            if known.told != what {
                (self.tell)(path, &what);
                known.told = what;
            }
            LookupError::Failed
        })
    }

    /// The map as it is now.
    fn now(&self, path: &Path, known: &mut Known) -> Result<Arc<Map>, Unusable> {
        if let Some(map) = &known.map
            && known.stamp == Some(self.files.stamp(path)?)
        {
            return map.clone();
        }
        let file = self.files.open_map(path)?;
        // Of the file that was opened: the name may be another one's by now.
        known.stamp = Some(file.stamp()?);
        let map = Map::open(file).map(Arc::new);
        let lasting = map.as_ref().err().is_none_or(|unusable| unusable.lasting);
        known.map = lasting.then(|| map.clone());
        if map.is_ok() {
            known.told.clear();
        }
        map
    }
}
