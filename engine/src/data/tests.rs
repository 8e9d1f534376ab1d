use super::*;

const LIMIT: u64 = 1 << 20;

/// What came of some octets: content, end reached and octets behind it, fault, stray.
#[derive(PartialEq, Eq, Debug, Default)]
struct Outcome {
    content: Vec<u8>,
    rest: Option<Vec<u8>>,
    fault: Option<Fault>,
    stray: Option<(u8, u64)>,
    octets: u64,
}

/// Shows `octets` in steps of `cut`, with at most what waits kept in front.
fn dotted(octets: &[u8], cut: usize, mut content: Content) -> Outcome {
    let mut outcome = Outcome::default();
    let (mut from, mut to) = (0, 0);
    loop {
        let mut input = &octets[from..to];
        match content.dotted(&mut input) {
            Piece::Run(run) => {
                assert!(!run.is_empty());
                outcome.content.extend_from_slice(run);
            }
            Piece::Stray { octet, offset } => {
                assert_eq!(outcome.stray, None, "told twice");
                outcome.stray = Some((octet, offset));
            }
            Piece::More if to == octets.len() => break,
            Piece::More => {
                assert!(input.len() <= 2, "{} octets wait", input.len());
                from = to - input.len();
                to = (to + cut).min(octets.len());
                continue;
            }
            Piece::End => {
                outcome.rest = Some([input, &octets[to..]].concat());
                break;
            }
        }
        from = to - input.len();
    }
    outcome.fault = content.fault();
    outcome.octets = content.octets();
    outcome
}

/// The same, whole and at every cut of up to five octets.
fn all_cuts(octets: &[u8], normalize: bool, limit: u64) -> Outcome {
    let whole = dotted(octets, octets.len().max(1), Content::new(limit, normalize));
    for cut in 1..6 {
        assert_eq!(dotted(octets, cut, Content::new(limit, normalize)), whole, "cut at {cut}");
    }
    assert_eq!(whole.octets, whole.content.len() as u64);
    whole
}

fn reject(octets: &[u8]) -> Outcome {
    all_cuts(octets, false, LIMIT)
}

#[test]
fn ends_at_a_dot_on_a_line_by_itself() {
    let one = reject(b"a\r\nb\r\n.\r\nQUIT\r\n");
    assert_eq!(one.content, b"a\r\nb\r\n");
    assert_eq!(one.rest.as_deref(), Some(&b"QUIT\r\n"[..]));
    assert_eq!(one.fault, None);
    let empty = reject(b".\r\n");
    assert_eq!((empty.content, empty.rest), (vec![], Some(vec![])));
}

#[test]
fn takes_out_the_dots_of_transparency() {
    let one = reject(b"..\r\n.a\r\n...\r\na.\r\n.b.\r\n..c\r\n.\r\n");
    assert_eq!(one.content, b".\r\na\r\n..\r\na.\r\nb.\r\n.c\r\n");
    assert_eq!((one.fault, one.rest), (None, Some(vec![])));
}

#[test]
fn lends_whole_buffers() {
    let octets = b"0123456789\r\n".repeat(5000);
    let mut input = &octets[..];
    let mut content = Content::new(LIMIT, false);
    assert_eq!(content.dotted(&mut input), Piece::Run(&octets[..]));
    assert_eq!(content.dotted(&mut input), Piece::More);
    let mut left = 60_000;
    let mut input = &octets[..];
    assert_eq!(content.chunk(&mut input, &mut left), Piece::Run(&octets[..]));
    assert_eq!((content.chunk(&mut input, &mut left), left), (Piece::End, 0));
}

#[test]
fn no_trick_ends_the_data() {
    for (trick, octet, offset) in [
        (&b"a\n.\n"[..], LF, 1),
        (b"a\n.\r\n", LF, 1),
        (b"a\r\n.\n", LF, 3),
        (b"a\r.\r", CR, 1),
        (b"a\r.\r\n", CR, 1),
        (b"a\r\n.\r\r\n", CR, 3),
        (b"a\r\n\0.\r\n", NUL, 3),
        (b"a\r\n.\0\r\n", NUL, 3),
        (b"a\r\r\n", CR, 1),
        (b"a\n\r\n", LF, 1),
    ] {
        let octets =
            [trick, b"MAIL FROM:<evil@example.net>\r\nRCPT TO:<v@example.org>\r\nDATA\r\n"]
                .concat();
        let open = reject(&octets);
        assert_eq!(open.rest, None, "{trick:?} ended the data");
        let closed = reject(&[&octets[..], b"x\r\n.\r\nQUIT\r\n"].concat());
        assert_eq!(closed.rest.as_deref(), Some(&b"QUIT\r\n"[..]), "{trick:?}");
        assert_eq!(closed.fault, Some(Fault::Stray));
        assert_eq!(closed.stray, Some((octet, offset)), "{trick:?}");
        assert_eq!(closed.content, &b"a\r\n"[..offset as usize]);
    }
}

#[test]
fn normalizing_makes_line_breaks_but_no_ends() {
    let one = all_cuts(b"a\nb\rc\n\r\nd\r\r\n.\r\n", true, LIMIT);
    assert_eq!(one.content, b"a\r\nb\r\nc\r\n\r\nd\r\n\r\n");
    assert_eq!((one.fault, one.stray), (None, Some((LF, 1))));
    let dots = all_cuts(b"a\n..b\n.\nc\n.\r\nd\r\n.\ne\r\n.\r\n", true, LIMIT);
    assert_eq!(dots.content, b"a\r\n.b\r\n\r\nc\r\n\r\nd\r\n\r\ne\r\n");
    assert_eq!(dots.rest, Some(vec![]));
    let nul = all_cuts(b"a\nb\0\r\n.\r\n", true, LIMIT);
    assert_eq!((nul.fault, nul.content), (Some(Fault::Stray), b"a\r\nb".to_vec()));
}

#[test]
fn many_stray_octets_are_linear() {
    let mut octets = vec![CR; 200_000];
    octets.extend_from_slice(b"\n.\r\n");
    let one = dotted(&octets, octets.len(), Content::new(LIMIT, true));
    assert_eq!(one.content.len(), 400_000);
    assert_eq!(one.rest, Some(vec![]));
}

#[test]
fn long_lines_pass_to_the_bound() {
    for (length, fault) in [(999, None), (65_535, None), (65_536, Some(Fault::Line))] {
        let line = vec![b'x'; length];
        let octets = [&line[..], b"\r\ny\r\n.\r\nz"].concat();
        for cut in [1, 1000, 65_535, 65_536, 65_537, 65_538, 100_000] {
            let one = dotted(&octets, cut, Content::new(LIMIT, false));
            assert_eq!(one.fault, fault, "{length} cut at {cut}");
            assert_eq!(one.rest.as_deref(), Some(&b"z"[..]));
            let lent = if fault.is_some() { 65_535 } else { length + 5 };
            assert_eq!(one.content.len(), lent, "{length} cut at {cut}");
        }
    }
}

#[test]
fn the_size_limit_is_exact() {
    let octets = b"abcdef\r\nghi\r\n.\r\nz";
    for limit in 0..16 {
        let one = all_cuts(octets, false, limit);
        let lent = match limit {
            // The line ends are not cut in two.
            7 => 6,
            12 => 11,
            _ => limit.min(13),
        };
        assert_eq!(one.content.len() as u64, lent);
        assert_eq!(one.fault, (limit < 13).then_some(Fault::Size), "{limit}");
        assert_eq!(one.rest.as_deref(), Some(&b"z"[..]));
    }
}

/// Sends `octets` in chunks of `chunk` octets, shown `cut` at a time.
fn chunks(octets: &[u8], chunk: usize, cut: usize, mut content: Content) -> Outcome {
    let mut outcome = Outcome::default();
    for part in octets.chunks(chunk) {
        let mut left = part.len() as u64;
        let (mut from, mut to) = (0, 0);
        loop {
            let mut input = &part[from..to];
            let piece = content.chunk(&mut input, &mut left);
            from = to - input.len();
            assert_eq!(left, (part.len() - from) as u64);
            match piece {
                Piece::Run(run) => outcome.content.extend_from_slice(run),
                Piece::Stray { octet, offset } => outcome.stray = Some((octet, offset)),
                Piece::More => {
                    assert!(to < part.len(), "a chunk that is all there has an end");
                    to = (to + cut).min(part.len());
                }
                Piece::End => break,
            }
        }
        assert_eq!(left, 0);
    }
    loop {
        match content.finish() {
            Piece::Run(run) => outcome.content.extend_from_slice(run),
            Piece::Stray { octet, offset } => outcome.stray = Some((octet, offset)),
            Piece::More => unreachable!(),
            Piece::End => break,
        }
    }
    outcome.fault = content.fault();
    outcome.octets = content.octets();
    outcome
}

fn all_chunks(octets: &[u8], normalize: bool, limit: u64) -> Outcome {
    let make = || Content::new(limit, normalize);
    let whole = chunks(octets, octets.len().max(1), octets.len().max(1), make());
    for chunk in 1..=octets.len() {
        for cut in 1..=chunk {
            assert_eq!(chunks(octets, chunk, cut, make()), whole, "chunks of {chunk} cut at {cut}");
        }
    }
    whole
}

#[test]
fn chunks_have_no_dots_and_share_their_lines() {
    let one = all_chunks(b"a\r\n.\r\n..b\r\n", false, LIMIT);
    assert_eq!(one.content, b"a\r\n.\r\n..b\r\n");
    assert_eq!(one.fault, None);
}

#[test]
fn the_last_chunk_gets_its_line_end() {
    assert_eq!(all_chunks(b"a\r\nb", false, LIMIT).content, b"a\r\nb\r\n");
    assert_eq!(all_chunks(b"", false, LIMIT).content, b"");
    assert_eq!(all_chunks(b"a\r\nb\r", true, LIMIT).content, b"a\r\nb\r\n");
    let cr = all_chunks(b"a\r\nb\r", false, LIMIT);
    assert_eq!((cr.fault, cr.stray), (Some(Fault::Stray), Some((CR, 4))));
    assert_eq!(all_chunks(b"abc", false, 4).fault, Some(Fault::Size));
}

#[test]
fn strays_in_chunks() {
    for (octets, stray) in
        [(&b"a\nb"[..], (LF, 1)), (b"a\rb", (CR, 1)), (b"a\r\r\n", (CR, 1)), (b"\0", (NUL, 0))]
    {
        let one = all_chunks(octets, false, LIMIT);
        assert_eq!((one.fault, one.stray), (Some(Fault::Stray), Some(stray)), "{octets:?}");
    }
    assert_eq!(all_chunks(b"a\nb\rc\r\r\nd\r\n", true, LIMIT).content, b"a\r\nb\r\nc\r\n\r\nd\r\n");
}

#[test]
fn chunks_and_the_size_limit() {
    for limit in 0..16 {
        let one = all_chunks(b"abcdef\r\nghi\r\n", false, limit);
        assert_eq!(one.fault, (limit < 13).then_some(Fault::Size), "{limit}");
    }
}
