use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::disk::fault::FaultDisk;
use crate::encode::tests::message;
use crate::envelope::{Outcome, Verdict};
use crate::facts::Facts;
use crate::group::{Group, Stowed};
use crate::record::{HEADER, Header, Kind};
use crate::spool::INLINE;
use crate::wire::tests::Noise;

const GENERATION: u64 = 99;

pub(super) fn key(letter: char) -> Key {
    Key::parse(&letter.to_string().repeat(Key::OCTETS)).unwrap()
}

pub(super) fn codec(compress: bool, keys: &[char]) -> Codec {
    let keys = keys.iter().copied().map(key).collect();
    Codec::new(Options { compress, encrypt: true, keys }, &[7; 32])
}

/// Every way to write.
pub(super) fn codecs() -> [Codec; 4] {
    [(false, ""), (true, ""), (false, "k"), (true, "k")]
        .map(|(compress, keys)| codec(compress, &keys.chars().collect::<Vec<_>>()))
}

/// A message's record.
fn record(codec: &Codec, content: &[u8]) -> Vec<u8> {
    let mut group = Group::new(codec.clone());
    let stowed = Stowed { flags: 0, inline: content, file: None };
    group.message(&message(5, 3), &[], &[], stowed).unwrap();
    group.complete(GENERATION, 1).to_vec()
}

/// What a record holds, if it is whole.
fn read(keys: &Keys, octets: &[u8]) -> Result<(Facts, Vec<u8>), Malformed> {
    let header = Header::decode(octets, GENERATION)?;
    let (facts, content) = header.body(&octets[HEADER..])?;
    let facts = Facts::take(&header.open_facts(keys, facts)?)?;
    let content = header.open_content(keys, facts.message.id, content)?.into_owned();
    Ok((facts, content))
}

/// Gives a record whose octets were changed the checksums that fit.
pub(super) fn with_fitting_sums(octets: &mut [u8]) {
    let length = |at: usize| u32::from_le_bytes(octets[at..at + 4].try_into().unwrap()) as usize;
    let (facts, content) = (length(4), length(32));
    let body = &octets[HEADER..];
    let sums = [crc32c::crc32c(&body[..facts]), crc32c::crc32c(&body[facts..facts + content])];
    octets[40..44].copy_from_slice(&sums[0].to_le_bytes());
    octets[44..48].copy_from_slice(&sums[1].to_le_bytes());
    let sum = crc32c::crc32c(&octets[4..HEADER]);
    octets[..4].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn records_of_every_size_come_back() {
    let mut noise = Noise::new(1);
    for codec in codecs() {
        for size in [0, 1, 15, 16, 100, SHORT - 1, SHORT, 5000, INLINE - 1, INLINE] {
            let text = b"a line of text\r\n".iter().copied().cycle().take(size).collect();
            for content in [text, noise.octets(size)] {
                let octets = record(&codec, &content);
                let (facts, read) = read(codec.keys(), &octets).unwrap();
                assert_eq!((facts.message, facts.inline), (message(5, 3), Some(size as u64)));
                assert_eq!(read, content, "{size} octets, {codec:?}");
            }
        }
    }
}

#[test]
fn what_does_not_become_smaller_is_not_compressed() {
    let [plain, small, ..] = codecs();
    let noise = Noise::new(2).octets(9000);
    assert!(record(&small, &noise).len() <= record(&plain, &noise).len());
    let text = b"a line of text\r\n".repeat(500);
    assert!(record(&small, &text).len() < 1000);
}

#[test]
fn nothing_of_an_encrypted_record_can_be_read() {
    let codec = codec(false, &['k']);
    let octets = record(&codec, b"a most secret text");
    for word in [&b"secret"[..], b"example.org", b"client", b"jo"] {
        assert!(!octets.windows(word.len()).any(|octets| octets == word), "{word:?}");
    }
    assert_ne!(octets, record(&codec, b"a most secret text"), "another nonce");
}

#[test]
fn an_outcome_is_sealed_too() {
    for codec in codecs() {
        let mut group = Group::new(codec.clone());
        let error = "550 5.1.1 no such user here ".repeat(20);
        let verdict = Verdict::Held { tries: 1, error };
        let outcome = Outcome {
            envelope: message(5, 3).envelopes[1].id,
            lease: Default::default(),
            at: 7,
            verdict,
        };
        group.outcome(&outcome);
        let octets = group.complete(GENERATION, 1);
        let header = Header::decode(octets, GENERATION).unwrap();
        let (facts, _) = header.body(&octets[HEADER..]).unwrap();
        let facts = header.open_facts(codec.keys(), facts).unwrap();
        assert_eq!(crate::encode::take_outcome(&mut Take(&facts)), Ok(outcome));
        let shown = octets.windows(8).any(|octets| octets == b"no such ");
        assert!(!shown || codec.key_id() == 0);
    }
}

#[test]
fn a_flipped_bit_is_noticed_even_under_checksums_that_fit() {
    let codec = codec(true, &['k']);
    let content = b"a line of text\r\n".repeat(30);
    let whole = record(&codec, &content);
    assert!(read(codec.keys(), &whole).is_ok());
    // Generation, number and place in the group are the segment's business.
    let fields = (28..29).chain(30..32).chain(36..40).chain(HEADER..whole.len());
    let used = Header::decode(&whole, GENERATION).map(|h| HEADER + (h.facts + h.content) as usize);
    for at in fields.filter(|at| *at < used.unwrap()) {
        for bit in 0..8 {
            let mut octets = whole.clone();
            octets[at] ^= 1 << bit;
            assert_eq!(read(codec.keys(), &octets).err(), Some(Malformed), "octet {at}");
            with_fitting_sums(&mut octets);
            assert_eq!(read(codec.keys(), &octets).err(), Some(Malformed), "octet {at}");
        }
    }
}

#[test]
fn facts_are_not_content_and_content_is_that_of_its_message() {
    let codec = codec(false, &['k']);
    let keys = codec.keys();
    let mut octets = b"some text".to_vec();
    codec.seal(&mut octets, 0, Part::Content(message(5, 1).id));
    let open = |part| keys.open(codec.key_id(), false, part, &octets, 100);
    assert!(open(Part::Content(message(5, 1).id)).is_ok());
    assert_eq!(open(Part::Content(message(6, 1).id)), Err(Malformed));
    let kind = Kind::Message as u8;
    assert_eq!(open(Part::Facts { kind, flags: 0 }), Err(Malformed));
    assert_eq!(
        keys.open(codec.key_id(), true, Part::Content(message(5, 1).id), &octets, 100),
        Err(Malformed)
    );
    assert_eq!(keys.open(0, false, Part::Content(message(5, 1).id), &octets, 8), Err(Malformed));
}

#[test]
fn the_first_key_writes_and_all_read() {
    let [old, new] = ['a', 'b'].map(|letter| codec(true, &[letter]));
    let both = codec(true, &['b', 'a']);
    let text = b"text".repeat(100);
    for written in [&old, &new] {
        assert_eq!(read(both.keys(), &record(written, &text)).unwrap().1, text);
    }
    assert_eq!(read(new.keys(), &record(&both, &text)).unwrap().1, text);
    assert_eq!(read(old.keys(), &record(&both, &text)).err(), Some(Malformed));
    assert_eq!(read(&Keys::default(), &record(&both, &text)).err(), Some(Malformed));
    assert_eq!(read(both.keys(), &record(&Codec::default(), &text)).unwrap().1, text);
    let none = Options { compress: false, encrypt: false, keys: vec![key('b')] };
    let none = Codec::new(none, &[7; 32]);
    assert_eq!(
        (none.key_id(), record(&none, b"secret")),
        (0, record(&Codec::default(), b"secret"))
    );
    assert_eq!(read(none.keys(), &record(&both, &text)).unwrap().1, text);
    assert!(both.keys().has(old.key_id()) && both.keys().has(0));
    assert!(!new.keys().has(old.key_id()));
}

#[test]
fn noise_is_malformed_and_never_larger_than_it_may_be() {
    let mut noise = Noise::new(5);
    let codec = codec(true, &['k']);
    let part = Part::Content(message(5, 1).id);
    for round in 0..20_000 {
        let octets = noise.octets(round % 120);
        for id in [codec.key_id(), 77] {
            assert!(codec.keys().open(id, round % 2 == 0, part, &octets, 500).is_err());
        }
        if let Ok(opened) = codec.keys().open(0, true, part, &octets, 500) {
            assert!(opened.len() <= 500);
        }
    }
    let mut lie = vec![0xff; 100];
    lie[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(codec.keys().open(0, true, part, &lie, usize::MAX), Err(Malformed));
}

#[test]
fn the_keys_of_a_queue_are_known_without_it_being_opened() {
    let (disk, root) = (FaultDisk::new(Path::new("/spool")), Path::new("/spool"));
    let open = |codec: &Codec| {
        let options =
            crate::commit::Options { codec: codec.clone(), ..crate::commit::Options::new(1) };
        crate::commit::Commit::open(Arc::new(disk.clone()), root, &options).map(drop)
    };
    let [old, new] = ['a', 'b'].map(|letter| codec(true, &[letter]));
    open(&old).unwrap();
    assert_eq!(key_ids(&disk, root).unwrap(), [old.key_id()].into());
    let before = disk.list(&root.join("journal")).unwrap();
    let error = open(&new).unwrap_err();
    assert!(error.get_ref().is_some_and(|error| error.is::<MissingKey>()), "{error}");
    assert_eq!(disk.list(&root.join("journal")).unwrap(), before, "nothing was touched");
    open(&codec(true, &['b', 'a'])).unwrap();
    assert_eq!(key_ids(&disk, root).unwrap(), [old.key_id(), new.key_id()].into());
}
