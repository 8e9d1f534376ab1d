//! Mail data (RFC 5321 sections 2.3.8, 4.1.1.4 and 4.5.2; RFC 3030).
//!
//! Runs are lent from the caller's buffer, as long as there is nothing to take out of
//! them; nothing is copied, and each octet is looked at once, by a search that takes many
//! at a time. Only CR LF ends a line here and only CR LF . CR LF the data, so no other
//! reader can see a second message in the same octets. What cannot be passed on is a
//! [`Fault`]: from there to the true end the content is taken and lent no more. At most
//! two octets (a dot, a CR) are left waiting for what follows them.
//!
//! What is lent depends on the octets alone, and not on how they were cut: a fault shows
//! at the same octet however it comes.

use memchr::{memchr_iter, memchr3_iter};

use crate::limits;

const CR: u8 = b'\r';
const LF: u8 = b'\n';
const NUL: u8 = b'\0';
const DOT: u8 = b'.';

/// Why a message will be refused at its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// A bare CR, a bare LF or NUL.
    Stray,
    /// A line longer than [`limits::TEXT_LINE`].
    Line,
    /// More octets than the limit.
    Size,
}

/// What the next octets of the input are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Piece<'i> {
    /// Content; not empty.
    Run(&'i [u8]),
    /// The first octet that is no content; told once. Nothing was taken.
    Stray { octet: u8, offset: u64 },
    /// More octets are needed.
    More,
    /// The end of the data, or of the chunk, was taken.
    End,
}

/// The content of one message on its way in.
#[derive(Debug)]
pub(crate) struct Content {
    place: Place,
    /// Octets of the line so far; at most [`limits::TEXT_LINE`].
    line: u32,
    /// The last chunk ended in a CR, and what it is part of is in the next.
    carried: bool,
    normalize: bool,
    told: bool,
    fault: Option<Fault>,
    octets: u64,
    limit: u64,
}

/// Where the next octet stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// At the beginning of the content, or behind a CR LF.
    Line,
    /// Behind a stray CR or LF that was taken for a line break. A dot is taken out here
    /// as well, since who writes such lines stuffs them; but it ends nothing.
    Broken,
    Middle,
}

/// What ends a run.
enum Stop {
    /// The octets, or a CR that may be followed by LF.
    Edge,
    /// A dot at the beginning of a line.
    Dot,
    Stray(u8),
    Line,
}

impl Content {
    /// No content yet, and at most `limit` octets of it.
    pub(crate) fn new(limit: u64, normalize: bool) -> Self {
        Self {
            place: Place::Line,
            line: 0,
            carried: false,
            normalize,
            told: false,
            fault: None,
            octets: 0,
            limit,
        }
    }

    /// Octets lent.
    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    /// Why it cannot be accepted, if so.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// The next piece of data that ends with CR LF . CR LF.
    pub(crate) fn dotted<'i>(&mut self, input: &mut &'i [u8]) -> Piece<'i> {
        loop {
            match **input {
                [] => return Piece::More,
                [DOT] | [DOT, CR] if self.place != Place::Middle => return Piece::More,
                [DOT, CR, LF, ..] if self.place == Place::Line => {
                    *input = &input[3..];
                    return Piece::End;
                }
                [DOT, ..] if self.place != Place::Middle => {
                    *input = &input[1..];
                    self.place = Place::Middle;
                }
                _ if self.fault.is_some() => {
                    let taken = self.swallow(input);
                    if taken == 0 {
                        return Piece::More;
                    }
                    *input = &input[taken..];
                }
                _ => {
                    if let Some(piece) = self.lend(input, input.len(), true) {
                        return piece;
                    }
                }
            }
        }
    }

    /// The next piece of a chunk of which `left` octets have not been taken.
    pub(crate) fn chunk<'i>(&mut self, input: &mut &'i [u8], left: &mut u64) -> Piece<'i> {
        loop {
            let shown = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
            let before = input.len();
            let piece = match &input[..shown] {
                _ if *left == 0 => Some(Piece::End),
                [] => Some(Piece::More),
                _ if self.fault.is_some() => {
                    *input = &input[shown..];
                    None
                }
                [LF, ..] if self.carried => {
                    self.carried = false;
                    match self.line_break(Place::Line) {
                        Some(run) => {
                            *input = &input[1..];
                            Some(Piece::Run(run))
                        }
                        None => None,
                    }
                }
                _ if self.carried => self.carried_stray(),
                [CR] if *left == 1 => {
                    self.carried = true;
                    *input = &input[1..];
                    None
                }
                _ => self.lend(input, shown, false),
            };
            *left -= (before - input.len()) as u64;
            if let Some(piece) = piece {
                return piece;
            }
        }
    }

    /// What is to be lent behind the last chunk, then [`Piece::End`]: content whose last
    /// line has no CR LF gets one, or nobody could send it on after DATA.
    pub(crate) fn finish(&mut self) -> Piece<'static> {
        loop {
            let piece = match self.fault {
                Some(_) => Some(Piece::End),
                None if self.carried => self.carried_stray(),
                None if self.place == Place::Middle => self.line_break(Place::Line).map(Piece::Run),
                None => Some(Piece::End),
            };
            if let Some(piece) = piece {
                return piece;
            }
        }
    }

    /// Takes and lends what it can of the first `shown` octets; `None` when the next look
    /// at the input is another one.
    fn lend<'i>(&mut self, input: &mut &'i [u8], shown: usize, dots: bool) -> Option<Piece<'i>> {
        let window = &input[..shown];
        let (mut run, line, stop) = self.scan(window, dots);
        let room = self.limit - self.octets;
        if run.len() as u64 > room {
            self.fault = Some(Fault::Size);
            run = &run[..room as usize];
            // The two octets of a line end stay together: the search for the true end
            // goes on behind what was taken.
            if window.get(run.len()) == Some(&LF) {
                run = run.strip_suffix(b"\r").unwrap_or(run);
            }
        }
        if let Some(last) = run.last() {
            self.place = if *last == LF { Place::Line } else { Place::Middle };
            self.line = line;
            self.octets += run.len() as u64;
            *input = &input[run.len()..];
            return Some(Piece::Run(run));
        }
        match stop {
            _ if self.fault.is_some() => {}
            Stop::Edge => return Some(Piece::More),
            Stop::Line => self.fault = Some(Fault::Line),
            Stop::Stray(octet) => {
                if let Some(stray) = self.stray(octet) {
                    return Some(stray);
                }
                if self.fault.is_none()
                    && let Some(run) = self.line_break(Place::Broken)
                {
                    *input = &input[1..];
                    return Some(Piece::Run(run));
                }
            }
            // The run before a dot holds at least the line end.
            Stop::Dot => {}
        }
        None
    }

    /// The run that `window` begins with, the octets of the line that it leaves open, and
    /// what ends it.
    fn scan<'i>(&self, window: &'i [u8], dots: bool) -> (&'i [u8], u32, Stop) {
        let (mut begin, mut before) = (0, self.line as usize);
        let mut end = window.len();
        let mut stop = Stop::Edge;
        let mut hits = memchr3_iter(CR, LF, NUL, window);
        while let Some(at) = hits.next() {
            if before + (at - begin) > limits::TEXT_LINE {
                break;
            }
            match window[at..] {
                [CR, LF, ..] => {
                    hits.next();
                    (begin, before) = (at + 2, 0);
                    if dots && window.get(begin) == Some(&DOT) {
                        (end, stop) = (begin, Stop::Dot);
                        break;
                    }
                    continue;
                }
                [CR] => end = at,
                _ => (end, stop) = (at, Stop::Stray(window[at])),
            }
            break;
        }
        if before + (end - begin) > limits::TEXT_LINE {
            (end, stop) = (begin + limits::TEXT_LINE - before, Stop::Line);
        }
        (&window[..end], (before + end - begin) as u32, stop)
    }

    /// A stray octet stands next. Tells it if it is the first.
    fn stray(&mut self, octet: u8) -> Option<Piece<'static>> {
        if !self.normalize || octet == NUL {
            self.fault = Some(Fault::Stray);
        }
        let first = !self.told;
        self.told = true;
        first.then_some(Piece::Stray { octet, offset: self.octets })
    }

    /// The CR of the last chunk was none of a CR LF.
    fn carried_stray(&mut self) -> Option<Piece<'static>> {
        if let Some(stray) = self.stray(CR) {
            return Some(stray);
        }
        self.carried = false;
        if self.fault.is_some() {
            return None;
        }
        self.line_break(Place::Broken).map(Piece::Run)
    }

    /// A CR LF that is not in the input as such, if there is room for it.
    fn line_break(&mut self, place: Place) -> Option<&'static [u8]> {
        if self.limit - self.octets < 2 {
            self.fault = Some(Fault::Size);
            return None;
        }
        (self.place, self.line) = (place, 0);
        self.octets += 2;
        Some(b"\r\n")
    }

    /// How many octets of a refused message go by before its end can come; zero when more
    /// must be seen.
    fn swallow(&mut self, input: &[u8]) -> usize {
        for at in memchr_iter(LF, input) {
            if at > 0 && input[at - 1] == CR && input.get(at + 1).is_none_or(|&c| c == DOT) {
                self.place = Place::Line;
                return at + 1;
            }
        }
        self.place = Place::Middle;
        input.strip_suffix(b"\r").unwrap_or(input).len()
    }
}

#[cfg(test)]
mod tests;
