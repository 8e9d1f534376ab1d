//! Maps against the cdb2 crate, and against damage.

use std::io::Cursor;

use super::*;

/// A map made by us.
fn map(records: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Cursor::new(Vec::new())).unwrap();
    for (key, value) in records {
        writer.add(key, value).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// Numbers that look random, the same in each run.
fn numbers() -> impl FnMut() -> u32 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    }
}

fn many(count: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    let record = |n: u32| (format!("user{n}@d{}.example", n % 7), vec![b'v'; (n % 300) as usize]);
    (0..count).map(record).map(|(key, value)| (key.into_bytes(), value)).collect()
}

fn lent(records: &[(Vec<u8>, Vec<u8>)]) -> Vec<(&[u8], &[u8])> {
    records.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).collect()
}

#[test]
fn what_is_written_is_found() {
    let records = many(2_000);
    let reader = Reader::open(map(&lent(&records))).unwrap();
    for (key, value) in &records {
        assert_eq!(reader.get(key).unwrap().as_deref(), Some(value.as_slice()));
    }
    assert_eq!(reader.get(b"nobody").unwrap(), None);
    let mut walked = Vec::new();
    let walk = |key: &[u8], value: &[u8]| {
        walked.push((key.to_vec(), value.to_vec()));
        Ok::<(), Error>(())
    };
    reader.walk(walk).unwrap();
    assert_eq!(walked, records);
    let empty = Reader::open(map(&[])).unwrap();
    assert_eq!(empty.get(b"").unwrap(), None);
    let twice = Reader::open(map(&[(b"k", b"first"), (b"k", b"second")])).unwrap();
    assert_eq!(twice.get(b"k").unwrap().as_deref(), Some(b"first".as_slice()));
}

/// The oracle reads what we write, and we read what it writes.
#[test]
fn cdb2_agrees() {
    let records = many(1_500);
    let directory = std::env::temp_dir().join(format!("smtpd-cdb-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (ours, theirs) = (directory.join("ours"), directory.join("theirs"));
    std::fs::write(&ours, map(&lent(&records))).unwrap();
    let mut writer = cdb2::CDBWriter::create(&theirs).unwrap();
    for (key, value) in &records {
        writer.add(key, value).unwrap();
    }
    writer.finish().unwrap();
    let oracle = cdb2::CDB::open(&ours).unwrap();
    let reader = Reader::open(std::fs::read(&theirs).unwrap()).unwrap();
    for (key, value) in &records {
        let found: Vec<Vec<u8>> = oracle.find(key).map(Result::unwrap).collect();
        assert_eq!(found, std::slice::from_ref(value));
        assert_eq!(reader.get(key).unwrap().as_ref(), Some(value));
    }
    assert_eq!(oracle.find(b"nobody").count(), 0);
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Whatever is done to a map, asking it ends, and no answer is longer than the map.
#[test]
fn damage_is_an_error() {
    let records = many(60);
    let good = map(&lent(&records));
    let mut next = numbers();
    let mut damaged = 0;
    for _ in 0..4_000 {
        let mut octets = good.clone();
        if next().is_multiple_of(4) {
            octets.truncate(next() as usize % good.len());
        } else {
            for _ in 0..=next() % 6 {
                // Half of the harm in the header and tables, where it is worst.
                let at = next() as usize % octets.len();
                let at = if next().is_multiple_of(2) { at % HEADER as usize } else { at };
                octets[at] = if next().is_multiple_of(2) { 0xff } else { next() as u8 };
            }
        }
        let Ok(reader) = Reader::open(octets) else {
            damaged += 1;
            continue;
        };
        for (key, _) in &records {
            match reader.get(key) {
                Ok(value) => assert!(value.is_none_or(|value| value.len() < good.len())),
                Err(Error::Damaged(_)) => damaged += 1,
                Err(Error::Io(error)) => panic!("{error}"),
            }
        }
        let mut records = 0;
        let walked = reader.walk(|_, _| {
            records += 1;
            Ok::<(), Error>(())
        });
        damaged += u32::from(walked.is_err());
        assert!(records <= good.len() / 8);
    }
    assert!(damaged > 1_000, "{damaged}");
}

/// A table all of whose slots are taken by other keys of the same hash.
#[test]
fn a_search_ends() {
    let mut octets = vec![0; HEADER as usize];
    let key = b"key";
    let hash = hash(key);
    // One record, which is another key, and half a million slots that point at it.
    octets.extend([3_u32.to_le_bytes(), 0_u32.to_le_bytes()].concat());
    octets.extend(b"yek");
    let table = octets.len() as u32;
    let slots = 8 * PROBES;
    for place in octets[..HEADER as usize].chunks_exact_mut(8) {
        place[..4].copy_from_slice(&table.to_le_bytes());
    }
    let at = (hash & 255) as usize * 8 + 4;
    octets[at..at + 4].copy_from_slice(&slots.to_le_bytes());
    for _ in 0..slots {
        octets.extend([hash.to_le_bytes(), (HEADER as u32).to_le_bytes()].concat());
    }
    let reader = Reader::open(octets).unwrap();
    assert!(matches!(reader.get(key), Err(Error::Damaged("a search does not end"))));
}

/// A file that is cut off while it is open.
#[test]
fn a_file_that_shrinks_is_damaged() {
    let path = std::env::temp_dir().join(format!("smtpd-cdb-shrinks-{}", std::process::id()));
    let records = many(500);
    std::fs::write(&path, map(&lent(&records))).unwrap();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let reader = Reader::open(file.try_clone().unwrap()).unwrap();
    file.set_len(HEADER + 100).unwrap();
    assert!(records.iter().any(|(key, _)| matches!(reader.get(key), Err(Error::Damaged(_)))));
    std::fs::remove_file(&path).unwrap();
}
