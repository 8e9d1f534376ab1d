//! Every bound of the program, with its reason.
//!
//! The other crates read theirs from here too, so that one page answers "how much can
//! somebody outside make us hold, and for how long?". Sections without a number are
//! those of RFC 5321. What an administrator may set is a field of
//! [`server::Params`](crate::server::Params) or [`client::Params`](crate::client::Params);
//! its default is here.

use core::time::Duration;

// What a session may send.

/// Octets of a command line without its CR LF. Section 4.5.3.1.4 asks for 512 with CR
/// LF, the extensions offered add some 700 (ORCPT alone 500); upstream takes 2,047.
pub const COMMAND_LINE: usize = 2047;
/// Octets of one line of mail data without its CR LF. Section 4.5.3.1.6 asks for 998;
/// longer ones exist and pass unchanged up to upstream's bound.
pub const TEXT_LINE: usize = 65_535;
/// Octets of a local part. Section 4.5.3.1.1 asks for 64; VERP and SRS need more.
pub const LOCAL_PART: usize = 255;
/// Octets of a domain (section 4.5.3.1.2).
pub const DOMAIN: usize = 255;
/// Octets of a label of a domain (RFC 1035 section 2.3.4).
pub const LABEL: usize = 63;
/// Octets of ENVID (RFC 3461 section 4.4).
pub const ENVID: usize = 100;
/// Octets of ORCPT, type and address (RFC 3461 section 4.2).
pub const ORCPT: usize = 500;
/// Octets of a decoded AUTH response; upstream's bound. What does not fit a command
/// line cannot be sent (RFC 4954 section 4.1 leaves the length to the mechanism).
pub const AUTH_RESPONSE: usize = 1023;
/// Octets of a user name in AUTH; upstream's bound.
pub const AUTH_USER: usize = 255;
/// Octets of a message unless configured: upstream's 35 MiB, announced by SIZE.
pub const MESSAGE: u64 = 36_700_160;
/// What the BDAT chunks of one message may declare beyond the size limit and still be
/// swallowed for the sake of a proper reply; above it the session ends.
pub const BDAT_EXCESS: u64 = 1024 * 1024;
/// Recipients of a transaction unless configured; section 4.5.3.1.8 asks for 100.
pub const RECIPIENTS: u32 = 1000;
/// Transactions of a session unless configured; upstream's default.
pub const MAILS: u32 = 100;
/// Replies 4yz and 5yz in a row without progress (an accepted recipient, a message,
/// AUTH, TLS, the first greeting) after which the session ends with 421. Guessing of
/// passwords and of recipients costs a connection for each handful.
pub const FAILURES: u32 = 10;
/// Received fields of a message that is taken for a loop (section 6.3).
pub const HOPS: u32 = 100;
/// Octets of a header field that is held back until it is known what becomes of it;
/// a longer one passes unchanged. Upstream's bound of an unfolded value.
pub const HEADER_FIELD: usize = 65_535;

// What a session may make us hold.

/// Octets of replies not yet taken by the peer, from which on its commands wait.
pub const OUTPUT: usize = 4096;
/// Octets of the text of a reply line: section 4.5.3.1.5 gives 512 for the line, with
/// code, enhanced code and CR LF.
pub const REPLY_TEXT: usize = 490;
/// Octets of a connection's input buffer: a command line and its CR LF must fit, and
/// large runs of mail data make few events.
pub const INPUT_BUFFER: usize = 64 * 1024;
const _: () = assert!(INPUT_BUFFER >= 2 * (COMMAND_LINE + 2));
/// Octets of content that all arriving messages together may keep in memory.
pub const CONTENT_MEMORY: usize = 64 * 1024 * 1024;

// How long a session may take.

/// For the next command, and for a command line from its first octet to its end
/// (section 4.5.3.2.7). The second clock is not set anew by each octet, or one octet a
/// minute would hold a connection for a day.
pub const COMMAND_TIME: Duration = Duration::from_secs(300);
/// The same, and the span of the next, while connections are short.
pub const PRESSED_TIME: Duration = Duration::from_secs(30);
/// The span over which the pace of mail data is judged.
pub const DATA_TIME: Duration = Duration::from_secs(300);
/// Octets a second of mail data at the least, over [`DATA_TIME`].
pub const DATA_PACE: u64 = 100;
/// Silence after which a message with a stray CR, LF or NUL is refused before its end:
/// a client that ends lines with LF alone waits for a reply that its final dot, which
/// is none, will never get.
pub const CONDEMNED_TIME: Duration = Duration::from_secs(10);
/// For the answer to a question, below the two minutes that a client waits for the
/// reply to DATA (section 4.5.3.2.4). The end of the data has no such clock.
pub const ANSWER_TIME: Duration = Duration::from_secs(100);

// What a next hop may send, and make us hold.

/// Octets of one line of a next hop's reply without its end. Section 4.5.3.1.5 asks for
/// 512; upstream's bound.
pub const HOP_LINE: usize = 2047;
/// Octets of a whole reply of a next hop, which stay in the input buffer until it is
/// complete. EHLO's is the longest there is: some tens of short lines.
pub const HOP_REPLY: usize = 16 * 1024;
const _: () = assert!(INPUT_BUFFER >= 2 * HOP_REPLY && HOP_REPLY > 2 * (HOP_LINE + 2));
/// Octets of a next hop's reply as one line, for log lines and reports; upstream's bound.
pub const HOP_STATUS: usize = 2047;
const _: () = assert!(HOP_STATUS >= HOP_LINE);
/// Octets not yet sent, from which on no more content is taken: a large message goes out
/// in few writes, a small one with its final dot in one.
pub const BODY_OUTPUT: usize = 64 * 1024;
/// Recipients refused in a row by one session, after which it says no more than QUIT;
/// upstream's `max-failures-per-session`. A next hop must not take us for somebody who
/// tries names.
pub const REFUSALS: u32 = 25;

// How long a next hop may take (section 4.5.3.2), from the end of what it answers, or from
// the reply before it, to the end of its own reply. One octet does not set a clock anew.

/// For the banner, and the replies to EHLO, STARTTLS, AUTH, RSET, MAIL and RCPT (sections
/// 4.5.3.2.1 to 4.5.3.2.3).
pub const HOP_TIME: Duration = Duration::from_secs(300);
/// For the reply to DATA (section 4.5.3.2.4).
pub const HOP_DATA_TIME: Duration = Duration::from_secs(120);
/// Between two runs of content that the next hop takes (section 4.5.3.2.5).
pub const HOP_BLOCK_TIME: Duration = Duration::from_secs(180);
/// For the reply to the final dot, and for each one of LMTP (section 4.5.3.2.6): who hangs
/// up before it gets the message twice.
pub const HOP_END_TIME: Duration = Duration::from_secs(600);
/// For the reply to QUIT. Nothing depends on it.
pub const HOP_QUIT_TIME: Duration = Duration::from_secs(10);
