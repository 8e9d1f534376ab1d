//! What relaying costs with TLS, with the DNS, and with the names of clients: one server of ours
//! between clients and a sink, all in loopback, each way beside the plain one.
//!
//! ```text
//! cargo build --release -p smtpd --bins
//! cargo run --release -p smtpd-tests --example relay-bench -- [MESSAGES [RUNS]]
//! ```
//!
//! Throughput is from the first connection to the sink's last final dot, with ten clients at once;
//! latency from a client's connect to the sink's final dot, one message at a time. The ways take
//! turns, and the medians of the runs are printed. By MX needs port 25 of other addresses of
//! 127.0.0.0/8 than the first: root, and Linux. The same from client to sink without a server
//! between them says what the clients and the sink can do.

mod sink;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use smtpd_tests::program::{Client, Options, Server, TempDir};
use smtpd_tests::zone::{Nameserver, Zone};

/// Clients at once.
const CLIENTS: usize = 10;

/// Messages sent one at a time, for the latency.
const SINGLY: usize = 300;

/// Domains that mail goes to by MX: few, as idle connections of one hold up another of the same
/// mail host until they end.
const DOMAINS: usize = 4;

/// Client addresses with names.
const NAMED: usize = 200;

/// The mail host of the domains.
const MAIL_HOST: Ipv4Addr = Ipv4Addr::new(127, 88, 0, 1);

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Without a server of ours between.
    Direct,
    /// To a smarthost, sessions kept.
    Plain,
    /// The same under TLS.
    Tls,
    /// To domains, whose mail host a nameserver knows.
    Mx,
    /// To a smarthost, a connection for each message, from 127.0.0.1.
    Connections,
    /// The same from addresses whose names a nameserver knows, asked for each time.
    Names,
}

impl Way {
    const ALL: [Way; 6] =
        [Way::Direct, Way::Plain, Way::Tls, Way::Mx, Way::Connections, Way::Names];

    fn keeps_sessions(self) -> bool {
        !matches!(self, Way::Connections | Way::Names)
    }

    fn recipient(self, nth: usize) -> String {
        match self {
            Way::Mx => format!("u@d{}.example", nth % DOMAINS),
            _ => "u@relay.example".to_owned(),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Figures {
    /// Messages a second.
    rate: f64,
    /// Microseconds of processor time for each message.
    cpu: f64,
    /// Milliseconds.
    p50: f64,
    p99: f64,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual| arguments.next().map_or(usual, |text| text.parse().expect("a number"));
    let (messages, runs) = (number(10_000), number(3));
    println!("{:12} {:>8} {:>8} {:>8} {:>8}", "way", "msg/s", "CPU us", "p50 ms", "p99 ms");
    let mut all = vec![Vec::new(); Way::ALL.len()];
    for _ in 0..runs {
        for (way, figures) in Way::ALL.into_iter().zip(&mut all) {
            figures.extend(measure(way, messages));
        }
    }
    for (way, figures) in Way::ALL.into_iter().zip(&all) {
        if figures.is_empty() {
            println!("{:12} SKIPPED: {MAIL_HOST} port 25 cannot be bound", format!("{way:?}"));
            continue;
        }
        let median = |of: fn(&Figures) -> f64| {
            let mut values: Vec<f64> = figures.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let (rate, cpu) = (median(|one| one.rate), median(|one| one.cpu));
        let (p50, p99) = (median(|one| one.p50), median(|one| one.p99));
        println!("{:12} {rate:8.0} {cpu:8.0} {p50:8.2} {p99:8.2}", format!("{way:?}"));
    }
}

/// A server on a fresh queue, warmed up, and what it does. None where the machine does not allow it.
fn measure(way: Way, messages: usize) -> Option<Figures> {
    let at = match way {
        Way::Mx => SocketAddr::from((MAIL_HOST, 25)),
        _ => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    };
    let (sink, dots) = sink::start(at, (way == Way::Tls).then(sink::tls)).ok()?;
    let names = Nameserver::new(zone());
    let dir = TempDir::new();
    let server = (way != Way::Direct).then(|| start(way, &dir, &names, sink));
    let to = server.as_ref().map_or(sink, |server| server.address);
    send(way, to, CLIENTS);
    wait(&dots, CLIENTS);
    let cpu = || server.as_ref().map_or(0, |server| ticks(server.id()));
    let (cpu_before, begun) = (cpu(), Instant::now());
    send(way, to, messages);
    wait(&dots, messages);
    let rate = messages as f64 / begun.elapsed().as_secs_f64();
    // Hundredths of a second, as Linux has them.
    let cpu = (cpu() - cpu_before) as f64 * 10_000.0 / messages as f64;
    let mut delays: Vec<Duration> = (0..SINGLY)
        .map(|nth| {
            let begun = Instant::now();
            let mut client = client(way, to, nth);
            message(&mut client, &way.recipient(nth));
            wait(&dots, 1).saturating_duration_since(begun)
        })
        .collect();
    delays.sort();
    let at = |part: usize| delays[SINGLY * part / 100].as_secs_f64() * 1e3;
    Some(Figures { rate, cpu, p50: at(50), p99: at(99) })
}

fn zone() -> Zone {
    let mut zone = Zone::default().address("mx.example", &MAIL_HOST.to_string());
    // What is asked for is asked every time.
    zone.ttl = 0;
    zone =
        (0..DOMAINS).fold(zone, |zone, nth| zone.mx(&format!("d{nth}.example"), 1, "mx.example"));
    (0..NAMED).fold(zone, |zone, nth| {
        let (name, ip) = (format!("c{nth}.example"), named(nth).to_string());
        zone.pointer(&ip, &name).address(&name, &ip)
    })
}

fn named(nth: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 89, 0, 1 + (nth % NAMED) as u8)
}

fn start(way: Way, dir: &TempDir, names: &Nameserver, sink: SocketAddr) -> Server {
    let action = match way {
        Way::Mx => "relay".to_owned(),
        Way::Tls => format!("relay host smtp+tls://{sink} tls no-verify"),
        _ => format!("relay host smtp+notls://{sink}"),
    };
    let text = format!(
        "queue directory $dir/spool\ncontrol socket $dir/smtpd.sock\ndaemon user root\n\
         resolver {} port {}\nsmtp limit max-mails 1000000\n\
         listen on 127.0.0.1 port $port hostname mx.bench.test\n\
         action \"out\" {action} helo mx.bench.test\nmatch from any for any action \"out\"\n",
        names.address().ip(),
        names.address().port()
    );
    let config = dir.path().join("bench.conf");
    fs::write(&config, text).expect("a configuration");
    Server::start(Options { config: Some(config), lines: Some(1000), ..Options::default() })
}

/// Sends so many messages, by all clients.
fn send(way: Way, to: SocketAddr, messages: usize) {
    let next = AtomicUsize::new(0);
    let next = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|nth| *nth < messages);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut open = None;
                while let Some(nth) = next() {
                    let mut client = open.take().unwrap_or_else(|| client(way, to, nth));
                    message(&mut client, &way.recipient(nth));
                    open = way.keeps_sessions().then_some(client);
                }
            });
        }
    });
}

fn client(way: Way, to: SocketAddr, nth: usize) -> Client {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    if way == Way::Names {
        bind(&socket, &SocketAddr::from((named(nth), 0))).expect("an address of loopback");
    }
    connect(&socket, &to).expect("the server accepts");
    let mut client = Client::new(TcpStream::from(socket));
    assert!(client.reply().starts_with("220"), "a banner");
    client.expect("EHLO client.example", "250");
    client
}

/// One kilobyte, in two flights.
fn message(client: &mut Client, to: &str) {
    let flight = format!("MAIL FROM:<a@bench.test>\r\nRCPT TO:<{to}>\r\nDATA\r\n");
    client.send(flight.as_bytes()).expect("it is taken");
    for code in ["250", "250", "354"] {
        let reply = client.reply();
        assert!(reply.starts_with(code), "{reply}");
    }
    let line = format!("{:.<62}\r\n", "");
    let content = format!("Subject: x\r\n\r\n{}.\r\n", line.repeat(16));
    client.send(content.as_bytes()).expect("it is taken");
    let reply = client.reply();
    assert!(reply.starts_with("250"), "{reply}");
}

/// Waits for so many final dots; the moment of the last one.
fn wait(dots: &Receiver<Instant>, many: usize) -> Instant {
    let next = || dots.recv_timeout(Duration::from_secs(60)).expect("the mail arrives");
    for _ in 1..many {
        next();
    }
    next()
}

/// The processor time of a process.
fn ticks(id: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("it runs");
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let words: Vec<&str> = behind.split_whitespace().collect();
    let get = |nth: usize| words.get(nth).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    get(11) + get(12)
}
