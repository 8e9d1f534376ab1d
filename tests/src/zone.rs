//! A nameserver for the tests: a table of what it says, and a thread that says it on loopback.
//!
//! The messages are put together here octet by octet, by another hand than the resolver's. A
//! [`Zone`] by itself is a pure function from a question to datagrams; [`Nameserver`] serves one by
//! UDP and TCP. Besides records a name can have a way of its own to misbehave.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// An address of IPv4 (RFC 1035 section 3.2.2, as the others where nothing else is said).
pub const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const PTR: u16 = 12;
/// A mail host.
pub const MX: u16 = 15;
/// An address of IPv6 (RFC 3596 section 2.1).
pub const AAAA: u16 = 28;

/// The code of a reply: something went wrong over there.
pub const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

/// What a nameserver says.
#[derive(Clone, Debug)]
pub struct Zone {
    records: BTreeMap<String, Vec<Record>>,
    ways: BTreeMap<String, Way>,
    /// Seconds that records last.
    pub ttl: u32,
    /// Seconds that it lasts that there is nothing; without, no SOA goes with it.
    pub negative: Option<u32>,
}

#[derive(Clone, Debug)]
struct Record {
    rtype: u16,
    /// Octets of the data.
    data: Vec<u8>,
    /// What an alias leads to.
    target: Option<String>,
}

/// How a nameserver answers what it is asked of one name, whatever it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Not at all.
    Silent,
    /// With this code and nothing else.
    Code(u8),
    /// With this code, and without the question.
    Bare(u8),
    /// Over UDP only that it is too long.
    Truncated,
    /// First as a stranger would who guesses: another number, another question, another kind,
    /// a question instead of an answer; each with an address of the stranger's. Then rightly.
    Poisoned,
    /// Rightly, with records of other names before and behind it that nobody asked for.
    Chatty,
    /// With who would know instead of an answer.
    Referral,
    /// With an alias, and without what it leads to.
    Incomplete,
    /// With a message that ends in the middle.
    Cut,
}

/// The stranger's address: no answer may ever hold it.
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);

impl Default for Zone {
    fn default() -> Zone {
        Zone { records: BTreeMap::new(), ways: BTreeMap::new(), ttl: 300, negative: Some(60) }
    }
}

impl Zone {
    /// A name has an address.
    #[must_use]
    pub fn address(self, name: &str, ip: &str) -> Zone {
        match ip.parse().expect("an address") {
            IpAddr::V4(v4) => self.add(name, A, v4.octets().to_vec(), None),
            IpAddr::V6(v6) => self.add(name, AAAA, v6.octets().to_vec(), None),
        }
    }

    /// A domain has a mail host; `.` is none.
    #[must_use]
    pub fn mx(self, domain: &str, preference: u16, host: &str) -> Zone {
        let mut data = preference.to_be_bytes().to_vec();
        put_name(&mut data, host);
        self.add(domain, MX, data, None)
    }

    /// A name is an alias.
    #[must_use]
    pub fn alias(self, name: &str, target: &str) -> Zone {
        let mut data = Vec::new();
        put_name(&mut data, target);
        self.add(name, CNAME, data, Some(target.to_ascii_lowercase()))
    }

    /// An address has a name.
    #[must_use]
    pub fn pointer(self, ip: &str, name: &str) -> Zone {
        let mut data = Vec::new();
        put_name(&mut data, name);
        self.add(&reverse(ip.parse().expect("an address")), PTR, data, None)
    }

    /// A name of no records: it is there, that is all.
    #[must_use]
    pub fn empty(mut self, name: &str) -> Zone {
        self.records.entry(name.to_ascii_lowercase()).or_default();
        self
    }

    /// What is asked of a name is answered in that way.
    #[must_use]
    pub fn way(mut self, name: &str, way: Way) -> Zone {
        self.ways.insert(name.to_ascii_lowercase(), way);
        self
    }

    fn add(mut self, name: &str, rtype: u16, data: Vec<u8>, target: Option<String>) -> Zone {
        let records = self.records.entry(name.to_ascii_lowercase()).or_default();
        records.push(Record { rtype, data, target });
        self
    }

    /// The messages that answer one, in the order in which they are sent.
    #[must_use]
    pub fn replies(&self, question: &[u8], udp: bool) -> Vec<Vec<u8>> {
        let Some((name, rtype)) = asked(question) else {
            return Vec::new();
        };
        let id = u16::from_be_bytes([question[0], question[1]]);
        let right = self.answer(id, &name, rtype);
        match self.ways.get(&name) {
            None => vec![right],
            Some(Way::Silent) => Vec::new(),
            Some(Way::Code(code)) => vec![Message::new(id, *code).question(&name, rtype).end()],
            Some(Way::Bare(code)) => vec![Message::new(id, *code).end()],
            Some(Way::Truncated) if udp => {
                let mut message = Message::new(id, 0).question(&name, rtype);
                message.octets[2] |= 0x02;
                vec![message.end()]
            }
            Some(Way::Truncated) => vec![right],
            Some(Way::Poisoned) => {
                let data = STRANGER.octets();
                let lie = |id, name: &str, rtype| {
                    let message = Message::new(id, 0).question(name, rtype);
                    message.answer(name, A, 9999, &data)
                };
                let mut echo = lie(id, &name, rtype);
                echo.octets[2] &= 0x7f;
                let lies = [
                    lie(id.wrapping_add(1), &name, rtype),
                    lie(id, "stranger.example", rtype),
                    lie(id, &name, if rtype == A { AAAA } else { A }),
                    echo,
                ];
                lies.into_iter().map(Message::end).chain([right]).collect()
            }
            Some(Way::Chatty) => {
                let data = STRANGER.octets();
                let mut message = Message::new(id, 0).question(&name, rtype);
                message = message.answer("stranger.example", rtype, 9999, &data);
                message = self.records_of(message, &name, rtype);
                message = message.answer("elsewhere.example", A, 9999, &data);
                vec![message.additional("mx.example.org", A, 9999, &data).end()]
            }
            Some(Way::Referral) => {
                let mut data = Vec::new();
                put_name(&mut data, "ns.example");
                let message = Message::new(id, 0).question(&name, rtype);
                vec![message.authority("example", NS, 300, &data).end()]
            }
            Some(Way::Incomplete) => {
                let message = Message::new(id, 0).question(&name, rtype);
                vec![self.records_of(message, &name, CNAME).end()]
            }
            Some(Way::Cut) => vec![right[..right.len() - 1].to_vec()],
        }
    }

    fn answer(&self, id: u16, name: &str, rtype: u16) -> Vec<u8> {
        let mut message = Message::new(id, 0).question(name, rtype);
        let mut name = name.to_owned();
        // As often as a nameserver would, and no more: a circle of aliases ends somewhere.
        for _ in 0..16 {
            message = self.records_of(message, &name, rtype);
            let records = self.records.get(&name);
            let alias = records.into_iter().flatten().find_map(|record| record.target.clone());
            let is_done = message.answers > 0 && alias.is_none();
            match (alias, records) {
                (Some(target), _) if rtype != CNAME => {
                    message = self.records_of(message, &name, CNAME);
                    name = target;
                }
                (_, None) => {
                    message.octets[3] |= NXDOMAIN;
                    return self.nothing(message).end();
                }
                _ if is_done && self.has(&name, rtype) => break,
                _ => return self.nothing(message).end(),
            }
        }
        message.end()
    }

    fn has(&self, name: &str, rtype: u16) -> bool {
        self.records.get(name).is_some_and(|all| all.iter().any(|record| record.rtype == rtype))
    }

    fn records_of(&self, mut message: Message, name: &str, rtype: u16) -> Message {
        for record in self.records.get(name).into_iter().flatten() {
            if record.rtype == rtype {
                message = message.answer(name, rtype, self.ttl, &record.data);
            }
        }
        message
    }

    fn nothing(&self, message: Message) -> Message {
        let Some(minimum) = self.negative else {
            return message;
        };
        // Of the root: above every name.
        let mut data = vec![0, 0];
        for number in [1, 2, 3, 4, minimum] {
            data.extend_from_slice(&u32::to_be_bytes(number));
        }
        message.authority(".", SOA, 86_400, &data)
    }
}

struct Message {
    octets: Vec<u8>,
    answers: u16,
    authorities: u16,
    additionals: u16,
}

impl Message {
    fn new(id: u16, code: u8) -> Message {
        let [high, low] = id.to_be_bytes();
        let octets = vec![high, low, 0x81, 0x80 | code, 0, 0, 0, 0, 0, 0, 0, 0];
        Message { octets, answers: 0, authorities: 0, additionals: 0 }
    }

    fn question(mut self, name: &str, rtype: u16) -> Message {
        self.octets[5] = 1;
        put_name(&mut self.octets, name);
        self.octets.extend_from_slice(&rtype.to_be_bytes());
        self.octets.extend_from_slice(&[0, 1]);
        self
    }

    fn answer(mut self, name: &str, rtype: u16, ttl: u32, data: &[u8]) -> Message {
        self.answers += 1;
        self.record(name, rtype, ttl, data)
    }

    fn authority(mut self, name: &str, rtype: u16, ttl: u32, data: &[u8]) -> Message {
        self.authorities += 1;
        self.record(name, rtype, ttl, data)
    }

    fn additional(mut self, name: &str, rtype: u16, ttl: u32, data: &[u8]) -> Message {
        self.additionals += 1;
        self.record(name, rtype, ttl, data)
    }

    fn record(mut self, name: &str, rtype: u16, ttl: u32, data: &[u8]) -> Message {
        put_name(&mut self.octets, name);
        self.octets.extend_from_slice(&rtype.to_be_bytes());
        self.octets.extend_from_slice(&[0, 1]);
        self.octets.extend_from_slice(&ttl.to_be_bytes());
        self.octets.extend_from_slice(&(data.len() as u16).to_be_bytes());
        self.octets.extend_from_slice(data);
        self
    }

    fn end(mut self) -> Vec<u8> {
        for (nth, count) in [self.answers, self.authorities, self.additionals].iter().enumerate() {
            self.octets[6 + 2 * nth..8 + 2 * nth].copy_from_slice(&count.to_be_bytes());
        }
        self.octets
    }
}

fn put_name(octets: &mut Vec<u8>, name: &str) {
    for label in name.split('.').filter(|label| !label.is_empty()) {
        octets.push(label.len() as u8);
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
}

/// The name, in lower case, and the type that a question asks for.
fn asked(question: &[u8]) -> Option<(String, u16)> {
    let mut name = String::new();
    let mut rest = question.get(12..)?;
    loop {
        let (length, behind) = rest.split_first()?;
        if *length == 0 {
            return Some((name, u16::from_be_bytes(*behind.first_chunk()?)));
        }
        let (label, behind) = behind.split_at_checked((*length).into())?;
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(&std::str::from_utf8(label).ok()?.to_ascii_lowercase());
        rest = behind;
    }
}

/// The name that an address is looked up by.
#[must_use]
pub fn reverse(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => {
            let parts: Vec<_> = v4.octets().iter().rev().map(ToString::to_string).collect();
            format!("{}.in-addr.arpa", parts.join("."))
        }
        IpAddr::V6(v6) => {
            let digits = format!("{:032x}", v6.to_bits());
            let parts: Vec<_> = digits.chars().rev().map(String::from).collect();
            format!("{}.ip6.arpa", parts.join("."))
        }
    }
}

/// A zone, served on a port of loopback until it is dropped.
pub struct Nameserver {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    zone: Mutex<Zone>,
    questions: Mutex<Vec<(String, u16)>>,
    over: AtomicBool,
}

/// How long the threads wait before they look whether it is over.
const LOOK: Duration = Duration::from_millis(20);

impl Nameserver {
    /// Serves a zone.
    ///
    /// # Panics
    /// When there is no port for it.
    #[must_use]
    pub fn new(zone: Zone) -> Nameserver {
        // The same port for both: another process may have one of them.
        let (udp, tcp) = (0..100)
            .find_map(|_| {
                let udp = UdpSocket::bind("127.0.0.1:0").ok()?;
                let tcp = TcpListener::bind(udp.local_addr().ok()?).ok()?;
                Some((udp, tcp))
            })
            .expect("a free port");
        let address = udp.local_addr().expect("it is bound");
        let shared = Arc::new(Shared { zone: Mutex::new(zone), ..Shared::default() });
        udp.set_read_timeout(Some(LOOK)).expect("a time-out");
        tcp.set_nonblocking(true).expect("nonblocking");
        let (one, two) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            thread::spawn(move || one.serve_datagrams(&udp)),
            thread::spawn(move || two.serve_streams(&tcp)),
        ];
        Nameserver { address, shared, threads }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A `resolv.conf` that names it alone.
    #[must_use]
    pub fn resolv_conf(&self) -> String {
        let SocketAddr::V4(address) = self.address else { unreachable!("it was bound to IPv4") };
        format!("nameserver [{}]:{}\noptions timeout:1\n", address.ip(), address.port())
    }

    /// Says something else from now on.
    pub fn set(&self, zone: Zone) {
        *lock(&self.shared.zone) = zone;
    }

    /// What it was asked, in order: names in lower case, and types.
    #[must_use]
    pub fn questions(&self) -> Vec<(String, u16)> {
        lock(&self.shared.questions).clone()
    }
}

impl Drop for Nameserver {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic over there has been printed.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn replies(&self, question: &[u8], udp: bool) -> Vec<Vec<u8>> {
        lock(&self.questions).extend(asked(question));
        lock(&self.zone).replies(question, udp)
    }

    fn serve_datagrams(&self, socket: &UdpSocket) {
        let mut octets = [0; 512];
        while !self.is_over() {
            let Ok((length, from)) = socket.recv_from(&mut octets) else { continue };
            for reply in self.replies(&octets[..length], true) {
                // Who asked may have gone.
                let _ = socket.send_to(&reply, from);
            }
        }
    }

    fn serve_streams(&self, listener: &TcpListener) {
        while !self.is_over() {
            match listener.accept() {
                Ok((stream, _)) => drop(self.serve_stream(stream)),
                Err(_) => thread::sleep(LOOK / 10),
            }
        }
    }

    fn serve_stream(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut question = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut question)?;
        for reply in self.replies(&question, false) {
            // In two writes: streams have no bounds of messages.
            stream.write_all(&(reply.len() as u16).to_be_bytes())?;
            stream.write_all(&reply)?;
        }
        Ok(())
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
