//! The owner of a session in a transcript: what answers its questions.

use smtpd_engine::reply::{self, Reply};
use smtpd_engine::server::{Answer, Asked, Event, Peer};

use super::driver::{Question, Verdict};
use super::{Act, Expected, Scripted, Wanted, words};

/// Answers questions as the act's `A:` lines say, and accepts everything else.
pub(super) struct Script<'a> {
    questions: Vec<&'a Expected>,
    next: usize,
    hostname: &'a str,
    peer: Peer,
    messages: &'a mut u32,
}

impl<'a> Script<'a> {
    /// For the questions of `act`. `messages` counts those accepted, for their ids.
    pub(super) fn new(act: &'a Act, hostname: &'a str, peer: Peer, messages: &'a mut u32) -> Self {
        let asks = |expected: &&Expected| matches!(expected.what, Wanted::Question { .. });
        let questions = act.expected.iter().filter(asks).collect();
        Self { questions, next: 0, hostname, peer, messages }
    }

    /// What is said to `question`.
    pub(super) fn answer(&mut self, question: &Question<'_>) -> Verdict {
        let scripted_one = self.questions.get(self.next);
        self.next += 1;
        if let Some(Expected { what: Wanted::Question { text, answer: Some(answer) }, .. }) =
            scripted_one
            && words::agree(text, question.words)
        {
            return scripted(answer).map_or(Verdict::Later, Verdict::Now);
        }
        Verdict::Now(default_answer(question, self.hostname, &self.peer, self.messages).into())
    }
}

/// What an owner says who accepts everything, in the daemon's words.
fn default_answer(
    question: &Question<'_>,
    hostname: &str,
    peer: &Peer,
    messages: &mut u32,
) -> Reply<'static> {
    match question.event {
        Event::Connected { .. } => reply::banner(hostname),
        Event::Hello { name, .. } => reply::hello(hostname, name, peer),
        Event::Auth { .. } => reply::AUTHENTICATED,
        Event::Rcpt { .. } => reply::RCPT_OK,
        Event::Data { .. } => reply::SEND_DATA,
        Event::EndOfData { .. } if question.is_loop => reply::LOOP,
        Event::EndOfData { .. } => {
            *messages += 1;
            let text = format!("{:08x} Message accepted for delivery", *messages);
            Reply::new(250, Some((0, 0)), text)
        }
        Event::Command { command: Asked::Quit, .. } => reply::BYE,
        _ => reply::OK,
    }
}

/// The answer of an `A:` line; none for `later`.
pub(super) fn scripted(answer: &Scripted) -> Option<Answer> {
    let Scripted::Now { reply, close } = answer else { return None };
    let reply = Reply::parse(reply).expect("was parsed before").into_owned();
    Some(Answer { close: *close, ..reply.into() })
}
