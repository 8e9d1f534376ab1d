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

/// A block that is being changed.
struct Block {
    name: Vec<u8>,
    keys: Vec<Vec<u8>>,
    end: End,
}

/// What is known of where the next block begins. Most blocks get one key, for which nothing need
/// be known.
enum End {
    Unknown,
    Never,
    At(Vec<u8>),
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
        let mut writes = Changes::new();
        let mut open: Option<Block> = None;
        for (key, here) in changes {
            let has_place = match &mut open {
                Some(block) => block.has_place_for(&key, &self.map)?,
                None => false,
            };
            if !has_place {
                let before = open.replace(Block::open(&key, &self.map)?);
                before.into_iter().for_each(|block| block.write(&mut writes));
            }
            let block = open.as_mut().expect("opened just now at the latest");
            match (block.keys.binary_search(&key), here) {
                (Err(at), true) => block.keys.insert(at, key),
                (Ok(at), false) => drop(block.keys.remove(at)),
                _ => {}
            }
        }
        open.into_iter().for_each(|block| block.write(&mut writes));
        self.map.apply(writes)
    }

    /// Shows the keys from `from` to before `to`, in order, until `each` says false.
    pub fn walk(
        &self,
        from: &[u8],
        to: &[u8],
        each: &mut dyn FnMut(&[u8]) -> bool,
    ) -> io::Result<()> {
        let first = self.map.floor(from)?.map_or_else(|| from.to_owned(), |(name, _)| name);
        let mut damaged = None;
        self.map.walk(&first, to, &mut |_, octets| {
            let mut keys = Keys::of(octets);
            loop {
                match keys.next() {
                    Ok(Some(key)) if key < from => {}
                    Ok(Some(key)) if key < to && each(key) => {}
                    Ok(Some(_)) => return false,
                    Ok(None) => return true,
                    Err(error) => {
                        damaged = Some(error);
                        return false;
                    }
                }
            }
        })?;
        damaged.map_or(Ok(()), Err)
    }
}

impl Block {
    /// The block in which `key` has its place.
    fn open(key: &[u8], map: &impl Ordered) -> io::Result<Self> {
        let (name, keys) = match map.floor(key)? {
            Some((name, octets)) => (name, decode(&octets)?),
            None => (key.to_vec(), Vec::new()),
        };
        Ok(Self { name, keys, end: End::Unknown })
    }

    /// Whether a key behind all those before it has its place here, too.
    fn has_place_for(&mut self, key: &[u8], map: &impl Ordered) -> io::Result<bool> {
        if let End::Unknown = self.end {
            self.end = End::Never;
            let behind = [&self.name, &[0][..]].concat();
            map.walk(&behind, &[u8::MAX], &mut |name, _| {
                self.end = End::At(name.to_vec());
                false
            })?;
        }
        Ok(match &self.end {
            End::At(end) => key < end.as_slice(),
            _ => true,
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
                assert_eq!(first.as_ref(), model.range(from..b"2".to_vec()).next());
            }
            assert!(blocks.map.len() <= 1 + model.len());
        }
        assert!(blocks.map.is_empty(), "empty blocks are removed");
    }

    #[test]
    fn damage_is_an_error() {
        let mut map = Memory::new();
        map.insert(b"a".to_vec(), vec![9, 1, 7]);
        let blocks = Blocks::new(map);
        let error = blocks.walk(b"", b"z", &mut |_| true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}
