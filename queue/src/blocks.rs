//! A sorted set of short keys, kept in blocks of several dozen under an ordered map.
//!
//! Whatever the map is, an entry of it costs far more than the twenty octets of a key: sled keeps
//! a page and its bookkeeping for every sixteen entries, a `BTreeMap` of vectors a hundred octets
//! for each. In blocks, where a key is written as what it does not share with the one before, a
//! million keys are some 25,000 entries of a few hundred octets.
//!
//! A block stands under a *name*: no key in it is smaller, and none is as large as the name of
//! the next block.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use crate::ordered::{Changes, Ordered};

/// Keys of a block at the most. Changing one key writes its block.
const MOST: usize = 64;
/// Keys of the blocks into which a larger one is split: keys often come in their order.
const SPLIT: usize = 48;

/// See the module.
#[derive(Debug)]
pub struct Blocks<M> {
    map: M,
}

/// Changes on their way into a set, key by key in their order. A block is looked up once, written
/// once, and known to the looks between the changes.
pub struct Batch<'a, M> {
    map: &'a M,
    writes: Changes,
    open: Option<Block>,
}

/// A block that is being changed.
struct Block {
    name: Vec<u8>,
    keys: Vec<Vec<u8>>,
    /// Keys up to this one have their place here, if they are behind the name.
    known: Vec<u8>,
    end: End,
    changed: bool,
}

/// What is known of where the next block begins. Most blocks get one key, for which nothing need
/// be known; finding the block of the next one is then no work in vain.
enum End {
    Unknown,
    /// A key behind all that were known had its place here, too.
    Later,
    Never,
    At(Vec<u8>),
}

/// Where a key has its place.
enum Home {
    /// In the block that is open.
    Here,
    /// In another one, which may have been looked for already.
    Elsewhere(Option<Block>),
}

impl<M: Ordered> Blocks<M> {
    /// The set that is in `map`.
    pub fn new(map: M) -> Self {
        Self { map }
    }

    /// The map, to be put away.
    pub fn into_map(self) -> M {
        self.map
    }

    /// Puts keys in (true) or takes them out.
    pub fn apply(&mut self, changes: BTreeMap<Vec<u8>, bool>) -> io::Result<()> {
        let mut batch = self.batch();
        for (key, here) in changes {
            batch.set(key, here)?;
        }
        let writes = batch.finish();
        self.write(writes)
    }

    /// Begins changes.
    pub fn batch(&self) -> Batch<'_, M> {
        Batch { map: &self.map, writes: Changes::new(), open: None }
    }

    /// Makes the changes of a batch.
    pub fn write(&mut self, writes: Changes) -> io::Result<()> {
        self.map.apply(writes)
    }

    /// The first key that begins with `prefix`; no key has the octet 255 behind it.
    pub fn first(&self, prefix: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.batch().first(prefix)
    }

    /// Shows the keys from `from` to before `to`, in order, until `each` says false.
    pub fn walk(
        &self,
        from: &[u8],
        to: &[u8],
        each: &mut dyn FnMut(&[u8]) -> bool,
    ) -> io::Result<()> {
        walk(&self.map, from, to, each)
    }
}

fn walk(
    map: &impl Ordered,
    from: &[u8],
    to: &[u8],
    each: &mut dyn FnMut(&[u8]) -> bool,
) -> io::Result<()> {
    let first = map.floor(from)?.map_or_else(|| from.to_owned(), |(name, _)| name);
    let mut damaged = None;
    map.walk(&first, to, &mut |_, octets| {
        show(octets, from, to, each).unwrap_or_else(|error| {
            damaged = Some(error);
            false
        })
    })?;
    damaged.map_or(Ok(()), Err)
}

/// Shows the keys of a block from `from` to before `to`, and says whether to go on behind it.
fn show(
    octets: &[u8],
    from: &[u8],
    to: &[u8],
    each: &mut dyn FnMut(&[u8]) -> bool,
) -> io::Result<bool> {
    let mut keys = Keys::of(octets);
    while let Some(key) = keys.next()? {
        if key >= to || key >= from && !each(key) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl<M: Ordered> Batch<'_, M> {
    /// Puts a key in (true) or takes it out. It is behind those of earlier calls.
    pub fn set(&mut self, key: Vec<u8>, here: bool) -> io::Result<()> {
        let home = self.home_of(&key)?;
        let block = match home {
            Home::Here => self.open.as_mut(),
            Home::Elsewhere(found) => {
                let block = found.map_or_else(|| Block::open(&key, &key, self.map), Ok)?;
                Some(self.turn_to(block))
            }
        };
        let block = block.expect("a key is here only when a block is open");
        match (block.keys.binary_search(&key), here) {
            (Err(at), true) => block.keys.insert(at, key),
            (Ok(at), false) => drop(block.keys.remove(at)),
            _ => return Ok(()),
        }
        block.changed = true;
        Ok(())
    }

    /// The first key that begins with `prefix`, which is behind all that was changed before; no
    /// key has the octet 255 behind it.
    pub fn first(&mut self, prefix: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let behind = [prefix, &[u8::MAX]].concat();
        let block = match self.home_of(&behind)? {
            Home::Here => self.open.as_mut(),
            Home::Elsewhere(found) => {
                let block = found.map_or_else(|| Block::open(&behind, prefix, self.map), Ok)?;
                if block.name.starts_with(prefix) {
                    // There may be one in the block before.
                    return first_of_map(self.map, prefix, &behind);
                }
                Some(self.turn_to(block))
            }
        };
        let block = block.expect("a key is here only when a block is open");
        let at = block.keys.partition_point(|key| key.as_slice() < prefix);
        Ok(block.keys.get(at).filter(|key| key.starts_with(prefix)).cloned())
    }

    /// What is to be written.
    pub fn finish(mut self) -> Changes {
        self.close();
        self.writes
    }

    fn home_of(&mut self, key: &[u8]) -> io::Result<Home> {
        match &mut self.open {
            Some(block) => block.home_of(key, self.map),
            None => Ok(Home::Elsewhere(None)),
        }
    }

    fn turn_to(&mut self, block: Block) -> &mut Block {
        self.close();
        self.open.insert(block)
    }

    fn close(&mut self) {
        if let Some(block) = self.open.take().filter(|block| block.changed) {
            block.write(&mut self.writes);
        }
    }
}

/// The first key from `from` to before `to`.
fn first_of_map(map: &impl Ordered, from: &[u8], to: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut first = None;
    walk(map, from, to, &mut |key| {
        first = Some(key.to_vec());
        false
    })?;
    Ok(first)
}

impl Block {
    /// The block in which `key` has its place, or a new one of that name.
    fn open(key: &[u8], name: &[u8], map: &impl Ordered) -> io::Result<Self> {
        match map.floor(key)? {
            Some((name, octets)) => Self::of(name, &octets, key),
            None => Self::of(name.to_vec(), &[], key),
        }
    }

    /// A block of the map in which `key` has its place.
    fn of(name: Vec<u8>, octets: &[u8], key: &[u8]) -> io::Result<Self> {
        let keys = decode(octets)?;
        let known = keys.last().map_or(key, |last| key.max(last)).to_vec();
        Ok(Self { name, keys, known, end: End::Unknown, changed: false })
    }

    /// Where a key has its place that is not before the block.
    fn home_of(&mut self, key: &[u8], map: &impl Ordered) -> io::Result<Home> {
        if key <= self.known.as_slice() {
            return Ok(Home::Here);
        }
        match self.end {
            End::Unknown => match map.floor(key)? {
                Some((name, octets)) if name > self.name => {
                    return Ok(Home::Elsewhere(Some(Self::of(name, &octets, key)?)));
                }
                // This one may not be in the map yet.
                _ => {
                    self.known = key.to_vec();
                    self.end = End::Later;
                    return Ok(Home::Here);
                }
            },
            End::Later => {
                self.end = End::Never;
                let behind = [&self.name, &[0][..]].concat();
                map.walk(&behind, &[u8::MAX], &mut |name, _| {
                    self.end = End::At(name.to_vec());
                    false
                })?;
            }
            End::Never | End::At(_) => {}
        }
        Ok(match &self.end {
            End::At(end) if key >= end.as_slice() => Home::Elsewhere(None),
            _ => Home::Here,
        })
    }

    fn write(self, writes: &mut Changes) {
        let Self { name, keys, .. } = self;
        match keys.len() {
            0 => writes.push((name, None)),
            1..=MOST => writes.push((name, Some(encode(&keys)))),
            _ => {
                for (nth, keys) in keys.chunks(SPLIT).enumerate() {
                    let name = if nth == 0 { &name } else { &keys[0] };
                    writes.push((name.clone(), Some(encode(keys))));
                }
            }
        }
    }
}

/// For each key how much it shares with the one before, how much is left, and that.
fn encode(keys: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut last: &[u8] = &[];
    for key in keys {
        let shared = key.iter().zip(last).take_while(|(one, other)| one == other).count();
        let rest = &key[shared..];
        octets.push(u8::try_from(shared).expect("keys are short"));
        octets.push(u8::try_from(rest.len()).expect("keys are short"));
        octets.extend_from_slice(rest);
        last = key;
    }
    octets
}

fn decode(octets: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let mut all = Vec::with_capacity(MOST + 1);
    let mut keys = Keys::of(octets);
    while let Some(key) = keys.next()? {
        all.push(key.to_vec());
    }
    Ok(all)
}

/// The keys of a block, one after the other.
struct Keys<'a> {
    octets: &'a [u8],
    /// The last one.
    key: Vec<u8>,
}

impl<'a> Keys<'a> {
    fn of(octets: &'a [u8]) -> Self {
        Self { octets, key: Vec::new() }
    }

    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        if self.octets.is_empty() {
            return Ok(None);
        }
        let damaged = || io::Error::new(ErrorKind::InvalidData, "index: no block");
        let [shared, length] = *self.octets.first_chunk().ok_or_else(damaged)?;
        let rest = self.octets[2..].split_at_checked(length.into());
        let (rest, behind) =
            rest.filter(|_| usize::from(shared) <= self.key.len()).ok_or_else(damaged)?;
        self.key.truncate(shared.into());
        self.key.extend_from_slice(rest);
        self.octets = behind;
        Ok(Some(&self.key))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::ordered::Memory;

    #[test]
    fn it_is_a_set() {
        let mut seed = 3_u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let mut blocks = Blocks::new(Memory::new());
        let mut model = BTreeSet::new();
        for round in 0..3000 {
            // It grows, and shrinks to nothing.
            let grows = round % 1000 < 500;
            let mut changes = BTreeMap::new();
            for _ in 0..random(40) {
                let here = if grows { random(4) > 0 } else { random(8) == 0 };
                let near = model.iter().nth(random(1 + model.len() as u64) as usize).cloned();
                let any = || format!("{}/{:04}", round % 3, round % 7919).into_bytes();
                let key = match (near, here) {
                    (Some(near), false) => near,
                    _ => [any(), random(5000).to_be_bytes()[6..].to_vec()].concat(),
                };
                changes.insert(key, here);
            }
            if round == 2999 {
                changes = model.iter().map(|key: &Vec<u8>| (key.clone(), false)).collect();
            }
            for (key, here) in &changes {
                if *here {
                    model.insert(key.clone())
                } else {
                    model.remove(key)
                };
            }
            blocks.apply(changes).unwrap();
            if round % 10 == 0 || round > 2990 {
                let mut all = Vec::new();
                let mut each = |key: &[u8]| {
                    all.push(key.to_vec());
                    true
                };
                blocks.walk(b"", b"~", &mut each).unwrap();
                assert!(all.iter().eq(&model), "round {round}");
                let from = format!("1/{:04}", random(3000)).into_bytes();
                let mut first = None;
                let mut each = |key: &[u8]| {
                    first = Some(key.to_vec());
                    false
                };
                blocks.walk(&from, b"2", &mut each).unwrap();
                assert_eq!(first.as_ref(), model.range(from.clone()..b"2".to_vec()).next());
                let behind = [&from[..], &[u8::MAX]].concat();
                let first = blocks.first(&from).unwrap();
                assert_eq!(first.as_ref(), model.range(from..behind).next());
            }
            assert!(blocks.map.len() <= 1 + model.len());
        }
        assert!(blocks.map.is_empty(), "empty blocks are removed");
    }

    /// A map kept as keys: what it maps to stands behind a prefix.
    #[test]
    fn a_batch_looks_before_it_changes() {
        let mut seed = 5_u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let mut blocks = Blocks::new(Memory::new());
        let mut model = BTreeMap::new();
        for round in 0..20_000 {
            // Sometimes few enough for one block, sometimes for several.
            let many = if round % 2000 < 1000 { 6 } else { 250 };
            let mut changes = BTreeMap::new();
            for _ in 0..random(5) {
                let new = random(3) as u8;
                changes.insert(random(many) as u8, (new > 0).then_some(new));
            }
            let mut batch = blocks.batch();
            for (id, new) in changes {
                let key = |value| vec![b'e', id, value];
                let old = batch.first(&[b'e', id]).unwrap();
                assert_eq!(old, model.get(&id).copied().map(key), "round {round}");
                let old = old.map(|key| (key, false));
                let mut keys: Vec<_> = old.into_iter().chain(new.map(|v| (key(v), true))).collect();
                keys.sort();
                keys.into_iter().for_each(|(key, here)| batch.set(key, here).unwrap());
                match new {
                    Some(new) => model.insert(id, new),
                    None => model.remove(&id),
                };
            }
            let writes = batch.finish();
            blocks.write(writes).unwrap();
        }
        assert!(blocks.map.len() > 2, "{}", blocks.map.len());
    }

    #[test]
    fn damage_is_an_error() {
        let mut map = Memory::new();
        map.insert(b"a".to_vec(), vec![9, 1, 7]);
        let blocks = Blocks::new(map);
        let error = blocks.walk(b"", b"z", &mut |_| true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert_eq!(blocks.first(b"b").unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
