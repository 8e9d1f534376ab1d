//! The grammar of before 2018, of all its releases.

use super::{ADDRESSES, DELAYS, DOMAINS, HOSTS, NETWORKS, PATHS, TEXTS, Writing, words};
use crate::rng::Rng;

const PKI: &[&str] = &["a.example", "mx0", "mx.example.org", "*"];
const INTERFACES: &[&str] = &["lo0", "192.0.2.1", "::1", "pcn0", "all", "host"];
const URLS: &[&str] = &[
    "mx.example.org",
    "smtp://192.0.2.1:26",
    "smtp+tls://mx.example.org",
    "tls://mx.example.org",
    "smtps://[::1]",
    "lmtp://localhost",
    "lmtp://localhost:24",
    "secure://mx.example.org",
    "ssl://mx.example.org:465",
    "backup://mx.example.org",
    "tls+backup://mx.example.org",
];
const LABELLED: &[&str] =
    &["tls+auth://label@mx.example.org:587", "smtps+auth://l@mx.example.org", "ssl+auth://l@mx0"];
const ALIASES: &[&str] = &["joe", "ann, joe@example.org", "root, bob+x@b.example"];

struct Legacy<'r> {
    to: Writing<'r>,
    pki: Vec<&'static str>,
    ca: Vec<&'static str>,
    lists: Vec<String>,
    maps: Vec<String>,
}

/// A configuration of before 2018.
#[must_use]
pub fn configuration(rng: &mut Rng) -> String {
    let to = Writing::new(rng);
    let mut legacy =
        Legacy { to, pki: Vec::new(), ca: Vec::new(), lists: Vec::new(), maps: Vec::new() };
    for _ in 0..3 + legacy.to.rng.below(20) {
        match legacy.to.rng.below(12) {
            0 => legacy.global(),
            1 => legacy.certificate(),
            2 | 3 => legacy.table(),
            4..7 => legacy.listen(),
            _ => legacy.rule(),
        }
    }
    legacy.rule();
    // Where a certificate is found by a name it must be somewhere.
    let key = ["pki", "*", "certificate", "/c", "key", "/k"].map(str::to_owned);
    if !legacy.pki.is_empty() {
        legacy.to.line(&key.map(|word| if word == "*" { "\"*\"".to_owned() } else { word }));
    }
    legacy.to.text
}

impl Legacy<'_> {
    fn global(&mut self) {
        let number = (1 + self.to.rng.below(300)).to_string();
        let delay = self.to.pick(DELAYS);
        let fixed = [
            "queue compression",
            "queue encryption key stdin",
            "queue encryption",
            "limit mta inet4",
            "limit mta for domain host inet6 session-mail-max 7",
            "limit session max-rcpt 10 max-mails 4",
            "bounce-warn 1h , 6h",
            "bounce-warn",
            "max-message-size 1.5M",
            "curve auto",
            "resolver 192.0.2.53 port 54",
            "enqueuer filter f",
            "filter f chain a b",
        ];
        let line = match self.to.rng.below(9) {
            0..3 => words(self.to.pick(&fixed)),
            3 => words(&format!("limit mda max-session {number}")),
            4 => words(&format!("limit scheduler max-inflight {number}")),
            5 => words(&format!("max-mta-deferred {number}")),
            6 => words(&format!("expire {delay}")),
            7 => [words("subaddressing-delimiter"), vec![self.to.any(&["+", "-", "\\"])]].concat(),
            _ => {
                let path = self.to.any(PATHS);
                let first = self.to.pick(&["queue directory", "control socket", "daemon user"]);
                [words(first), vec![path]].concat()
            }
        };
        self.to.line(&line);
    }

    fn certificate(&mut self) {
        let name = self.to.pick(PKI);
        let (word, path) = (self.to.string(name), self.to.any(PATHS));
        if self.to.sometimes(3) {
            self.ca.push(name);
            return self.to.line(&["ca".into(), word, "certificate".into(), path]);
        }
        self.pki.push(name);
        let key = self.to.any(PATHS);
        let mut line = ["pki".into(), word, "certificate".into(), path, "key".into(), key].to_vec();
        for option in ["ca", "dhparams"] {
            if self.to.sometimes(3) {
                line.extend([option.to_owned(), self.to.any(PATHS)]);
            }
        }
        self.to.line(&line);
    }

    fn table(&mut self) {
        let name = self.to.name();
        let used = format!("<{name}>");
        let content = match self.to.rng.below(4) {
            0 => {
                self.maps.push(used);
                self.to.quoted("file:/aliases")
            }
            1 => {
                self.maps.push(used);
                self.to.map(&["joe", "joe@example.org", "@", "a"], ALIASES)
            }
            _ => {
                let of = self.to.pick(&[DOMAINS, NETWORKS, ADDRESSES, TEXTS]);
                let elements: Vec<String> = (0..2).map(|_| self.to.any(of)).collect();
                self.lists.push(used);
                self.to.braces(&elements)
            }
        };
        self.to.line(&["table".to_owned(), name, content]);
    }

    fn list(&mut self, of: &[&str]) -> String {
        let lists = self.lists.clone();
        if !lists.is_empty() && self.to.sometimes(3) {
            return self.to.pick(&lists);
        }
        self.to.list(of)
    }

    fn map(&mut self) -> String {
        let maps = self.maps.clone();
        if !maps.is_empty() && self.to.sometimes(2) {
            return self.to.pick(&maps);
        }
        self.to.map(&["joe", "a", "@b.example"], ALIASES)
    }

    fn listen(&mut self) {
        let mut options: Vec<Vec<String>> = Vec::new();
        let tls =
            ["tls", "tls-require", "tls-require verify", "smtps", "smtps verify", "secure", "ssl"];
        let word = self.to.pick(&tls);
        let mut has_tls = self.to.sometimes(2);
        let found = !self.pki.is_empty();
        if has_tls {
            options.push(words(word));
        }
        if found && self.to.sometimes(2) {
            let name = self.to.pick(&self.pki.clone());
            options.push(vec!["pki".into(), self.to.string(name)]);
        } else if self.to.sometimes(2) {
            options.push(vec![
                "certificate".into(),
                self.to.any(&["mx0", "Other", "a b", "192.0.2.7"]),
            ]);
        } else if has_tls && !found && !self.pki.is_empty() {
            has_tls = false;
            options.clear();
        }
        if has_tls && self.to.sometimes(2) {
            let word = self.to.pick(&["auth", "auth-optional"]);
            let table = if self.to.sometimes(2) { vec![self.map()] } else { Vec::new() };
            options.push([vec![word.to_owned()], table].concat());
        }
        if let Some(name) = self.ca.last().copied()
            && self.to.sometimes(3)
        {
            options.push(vec!["ca".into(), self.to.string(name)]);
        }
        let senders =
            [vec!["senders".into(), self.map()], words(self.to.pick(&["", "masquerade"]))];
        let mut more = vec![
            vec!["tag".into(), self.to.any(TEXTS)],
            vec!["hostname".into(), self.to.any(HOSTS)],
            vec!["hostnames".into(), self.map()],
            senders.concat(),
            words(self.to.pick(&["no-dsn", "dsn-notify disable"])),
        ];
        if !matches!(word, "secure" | "ssl") {
            more.push(words(self.to.pick(&["port 2525", "port \"26\"", "port submission"])));
        }
        for word in [
            "mask-source",
            "received-auth",
            "dsn-ret headers",
            "filter f",
            "stray-newline normalize",
            "inet4",
        ] {
            more.push(words(word));
        }
        for option in more {
            if self.to.sometimes(5) {
                let at = self.to.rng.below(options.len() + 1);
                options.insert(at, option);
            }
        }
        let on = self.to.any(INTERFACES);
        self.to.line(&[words("listen on"), vec![on], options.concat()].concat());
    }

    /// `WORD [!] TABLE`
    fn condition(&mut self, word: &str, of: &[&str]) -> Vec<String> {
        let not = if self.to.sometimes(4) { words("!") } else { Vec::new() };
        [words(word), not, vec![self.list(of)]].concat()
    }

    fn rule(&mut self) {
        let mut parts: Vec<Vec<String>> = Vec::new();
        let not = self.to.pick(&["", "", "! "]);
        let from = match self.to.rng.below(6) {
            0 => words("from any"),
            1 | 2 => words(&format!("from {not}local")),
            3 => [words(&format!("from {not}source")), vec![self.list(NETWORKS)]].concat(),
            4 => [words("from"), vec![self.list(NETWORKS)]].concat(),
            _ => Vec::new(),
        };
        parts.push(from);
        let to = match self.to.rng.below(5) {
            0 | 1 => words("for any"),
            2 => words(&format!("for {not}local")),
            3 => [words(&format!("for {not}domain")), vec![self.list(DOMAINS)]].concat(),
            _ => Vec::new(),
        };
        parts.push(to);
        let recipient = self.to.sometimes(4);
        for (word, of) in [("tagged", TEXTS), ("sender", ADDRESSES)] {
            if self.to.sometimes(4) {
                parts.push(self.condition(word, of));
            }
        }
        if recipient {
            parts.push(self.condition("recipient", ADDRESSES));
        }
        if self.to.sometimes(5) {
            parts.push(words(self.to.pick(&["authenticated", "! authenticated"])));
        }
        if self.to.sometimes(5) {
            let line: Vec<String> = [words("reject"), parts.concat()].concat();
            return self.to.line(&line);
        }
        if self.to.sometimes(3) {
            parts.push(words(&format!("expire {}", self.to.pick(DELAYS))));
        }
        match self.to.rng.below(8) {
            0..4 => self.deliver(&mut parts),
            4..7 => self.relay(&mut parts, recipient),
            _ if self.to.sometimes(2) => parts.push(words("forward-only")),
            _ => {}
        }
        // In any order, as since 5.4.1.
        let mut line = words("accept");
        while !parts.is_empty() {
            let at = self.to.rng.below(parts.len());
            line.extend(parts.remove(at));
        }
        self.to.line(&line);
    }

    fn deliver(&mut self, parts: &mut Vec<Vec<String>>) {
        let path = self.to.quoted("/mail/%{dest.user:lowercase}/it's \\ \"here\"");
        let user =
            if self.to.sometimes(2) { vec!["as".into(), self.to.any(TEXTS)] } else { Vec::new() };
        let rcpt_to = if self.to.sometimes(2) { words("rcpt-to") } else { Vec::new() };
        parts.push(match self.to.rng.below(5) {
            0 => words("deliver to mbox"),
            1 => words("deliver to maildir"),
            2 => [words("deliver to maildir"), vec![path]].concat(),
            3 => [
                words("deliver to lmtp"),
                vec![self.to.any(&["localhost:24", "/var/run/l m"])],
                rcpt_to,
                user,
            ]
            .concat(),
            _ => [
                words("deliver to mda"),
                vec![self.to.any(&["/bin/cat", "p -f \"%{sender}\" | 'q'"])],
                user,
            ]
            .concat(),
        });
        if self.to.sometimes(2) {
            let word = self.to.pick(&["alias", "virtual"]);
            parts.push(vec![word.into(), self.map()]);
        }
        if self.to.sometimes(4) {
            let users = self.to.map(&["joe", "ann"], &["1000:100:/home/joe", "0:0:/a b"]);
            parts.push(vec!["userbase".into(), users]);
        }
    }

    fn relay(&mut self, parts: &mut Vec<Vec<String>>, recipient: bool) {
        let mut line = words("relay");
        let via = self.to.sometimes(2);
        let mut options: Vec<Vec<String>> = Vec::new();
        if via && self.to.sometimes(2) {
            line.extend(["via".into(), self.to.any(LABELLED)]);
            options.push(vec!["auth".into(), self.map()]);
            options.push(words(self.to.pick(&["", "verify"])));
        } else if via {
            line.extend(["via".into(), self.to.any(URLS)]);
            if self.to.sometimes(3) {
                options.push(vec!["auth".into(), self.map()]);
            }
        } else {
            options.push(words(self.to.pick(&["", "tls", "tls verify"])));
            if self.to.sometimes(3) {
                options.push(vec!["backup".into(), self.to.any(HOSTS)]);
            }
        }
        let helo = self.to.pick(&["helo", "hostnames"]);
        let mut more = vec![
            vec!["as".into(), self.to.any(&["joe", "@b.example", "joe@b.example"])],
            vec!["source".into(), self.to.list(&["192.0.2.1", "2001:db8::1"])],
            vec![helo.into(), self.to.map(&["192.0.2.1", "[::1]"], HOSTS)],
            vec!["hostname".into(), self.to.any(HOSTS)],
            vec!["certificate".into(), self.to.any(&["mx0", "client", "a b"])],
        ];
        if let Some(name) = self.ca.last().copied() {
            more.push(vec!["ca".into(), self.to.string(name)]);
        }
        for option in more {
            if self.to.sometimes(5) {
                let at = self.to.rng.below(options.len() + 1);
                options.insert(at, option);
            }
        }
        line.extend(options.concat());
        parts.push(line);
        if !recipient && self.to.sometimes(5) {
            parts.push(vec!["virtual".into(), self.map()]);
        }
    }
}
