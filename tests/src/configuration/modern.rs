//! Today's grammar.

use super::{ADDRESSES, DELAYS, DOMAINS, HOSTS, NETWORKS, PATHS, TEXTS, Writing, words};
use crate::rng::Rng;

/// What has been declared so far, as it is referred to.
struct Modern<'r> {
    to: Writing<'r>,
    lists: Vec<String>,
    maps: Vec<String>,
    pki: Vec<&'static str>,
    ca: Vec<&'static str>,
    filters: Vec<String>,
    wrappers: Vec<String>,
    actions: Vec<String>,
    srs: bool,
}

const PKI: &[&str] = &["a.example", "mx0", "*"];
const URLS: &[&str] = &[
    "mx.example.org",
    "smtp://192.0.2.1:26",
    "smtp+tls://mx.example.org",
    "smtps://mx.example.org:465",
    "smtp+notls://[::1]:25",
    "lmtp://localhost:24",
];
const LABELLED: &[&str] = &["smtp+tls://label@mx.example.org:587", "smtps://l@mx.example.org"];
const NAMED_TABLES: &[&str] =
    &["<getpwnam>", "<\"<localnames>\">", "<\"<anyhost>\">", "<\"<anydestination>\">"];
const ALIASES: &[&str] = &["joe", "ann, joe@example.org", "root, bob+x@b.example"];

/// A configuration of today's grammar.
#[must_use]
pub fn configuration(rng: &mut Rng) -> String {
    let mut modern = Modern {
        to: Writing::new(rng),
        lists: Vec::new(),
        maps: Vec::new(),
        pki: Vec::new(),
        ca: Vec::new(),
        filters: Vec::new(),
        wrappers: Vec::new(),
        actions: Vec::new(),
        srs: false,
    };
    for _ in 0..4 + modern.to.rng.below(24) {
        modern.statement();
    }
    modern.action();
    modern.rule();
    modern.to.text
}

impl Modern<'_> {
    fn statement(&mut self) {
        match self.to.rng.below(12) {
            0 => self.global(),
            1 => self.certificate(),
            2..4 => self.table(),
            4 => self.filter(),
            5 | 6 => self.listen(),
            7 | 8 => self.action(),
            _ => self.rule(),
        }
    }

    fn global(&mut self) {
        let number = (1 + self.to.rng.below(300)).to_string();
        let delay = (self.to.pick(DELAYS)).to_owned();
        let fixed = [
            "queue compression",
            "queue encryption stdin",
            "mta limit inet4",
            "smtp ciphers HIGH",
            "mta limit for domain b.example inet6 session-mail-max 7",
            "bounce warn-interval 1h , 6h , 2d",
            "smtp max-message-size 1.5M",
            "resolver 192.0.2.53",
            "resolver 2001:db8::53 port 5353",
        ];
        let line = match self.to.rng.below(14) {
            0 => words(self.to.pick(&fixed)),
            1 => [words("smtp limit max-rcpt"), vec![number]].concat(),
            2 => [
                words("smtp limit max-mails"),
                vec![number.clone()],
                words("max-conn-per-src"),
                vec![number],
            ]
            .concat(),
            3 => [words("mda limit max-session"), vec![number]].concat(),
            4 => [words("scheduler limit max-inflight"), vec![number]].concat(),
            5 => [words("mta max-deferred"), vec![number]].concat(),
            6 => [words("mta limit conn-delay-route"), vec![number]].concat(),
            7 => {
                [words("mta limit for domain example.org max-conn-per-host"), vec![number]].concat()
            }
            8 => [words("queue ttl"), vec![delay]].concat(),
            9 => {
                let path = self.to.any(PATHS);
                [words(self.to.pick(&["queue directory", "control socket"])), vec![path]].concat()
            }
            10 => [words("daemon user"), vec![self.to.any(TEXTS)]].concat(),
            11 => {
                [words("admd"), vec![self.to.any(&["example.org", "say \"hi\"", "x \\"])]].concat()
            }
            12 => [words("smtp sub-addr-delim"), vec![self.to.any(&["+", "-", "+-", "\"", "\\"])]]
                .concat(),
            _ => {
                self.srs = true;
                let key = self.to.any(TEXTS);
                self.to.line(&[words("srs key"), vec![key]].concat());
                if self.to.sometimes(2) {
                    return;
                }
                let key = self.to.any(TEXTS);
                let more = [words("srs key backup"), vec![key]].concat();
                if self.to.sometimes(2) { more } else { words("srs ttl 9d") }
            }
        };
        self.to.line(&line);
    }

    fn certificate(&mut self) {
        let name = self.to.pick(PKI);
        let (word, path) = (self.to.string(name), self.to.any(PATHS));
        if self.to.sometimes(3) {
            self.ca.push(name);
            return self.to.line(&["ca".into(), word, "cert".into(), path]);
        }
        self.pki.push(name);
        let key = self.to.any(PATHS);
        self.to.line(&["pki".into(), word, "cert".into(), path, "key".into(), key]);
    }

    fn table(&mut self) {
        let name = self.to.name();
        let words = |content: String| ["table".to_owned(), name.clone(), content];
        let used = format!("<{name}>");
        if self.to.sometimes(2) {
            let all = [DOMAINS, NETWORKS, ADDRESSES, TEXTS];
            let of = self.to.pick(&all);
            let elements = self.to.list(of);
            // A text alone would be a file.
            let elements =
                if elements.starts_with('{') { elements } else { format!("{{ {elements} }}") };
            self.to.line(&words(elements));
            self.lists.push(used);
        } else if self.to.sometimes(4) {
            let source = self.to.pick(&["file:/aliases", "/aliases", "ldap:/x y", "sqlite"]);
            // Its name goes to the process in a line of fields.
            let plain = !name.contains(['|', '\t']);
            let source = self.to.quoted(if plain { source } else { "/aliases" });
            self.to.line(&words(source));
            self.maps.push(used);
        } else {
            let content = self.to.map(&["joe", "joe@example.org", "@", "a"], ALIASES);
            self.to.line(&words(content));
            self.maps.push(used);
        }
    }

    fn filter(&mut self) {
        let name = self.to.name();
        let command = self.to.any(TEXTS);
        let reply = self.to.quoted("550 go away # \"x");
        let line: Vec<String> = match self.to.rng.below(5) {
            0 => {
                let process = self.to.name();
                let user = self.to.any(TEXTS);
                self.to.line(&["proc".into(), process.clone(), command, "user".into(), user]);
                vec!["filter".into(), name.clone(), "proc".into(), process]
            }
            1 => vec!["filter".into(), name.clone(), "proc-exec".into(), command],
            2 if !self.filters.is_empty() => {
                // A chain of chains is refused, so it is of the first, which is none.
                let chain = format!("{{ {} }}", self.filters[0]);
                self.to.line(&["filter".into(), name, "chain".into(), chain]);
                return;
            }
            3 => {
                let wrapper = self.to.quoted("nice %{mda}");
                self.to.line(&["mda".into(), "wrapper".into(), name.clone(), wrapper]);
                self.wrappers.push(name);
                return;
            }
            _ => {
                let phase = (self.to.pick(&["connect", "helo", "rcpt-to", "data"])).to_owned();
                let mut line =
                    vec!["filter".into(), name.clone(), "phase".into(), phase, "match".into()];
                if self.to.sometimes(2) {
                    line.push("!".into());
                }
                match self.to.rng.below(3) {
                    0 => line.push("fcrdns".into()),
                    1 => line.extend(["rdns".into(), self.to.list(DOMAINS)]),
                    _ => line.extend(["src".into(), self.to.list(NETWORKS)]),
                }
                match self.to.rng.below(4) {
                    0 => line.push("junk".into()),
                    1 => line.extend(["rewrite".into(), command]),
                    2 => line.extend(["disconnect".into(), reply]),
                    _ => line.extend(["reject".into(), reply]),
                }
                line
            }
        };
        self.to.line(&line);
        self.filters.push(name);
    }

    fn filter_use(&mut self) -> Option<String> {
        let name = self.filters.first()?.clone();
        Some(if self.to.sometimes(2) { format!("{{ {name} }}") } else { name })
    }

    fn map(&mut self) -> String {
        if let Some(name) = self.maps.first().cloned()
            && self.to.sometimes(2)
        {
            return name;
        }
        self.to.map(&["joe", "a", "@b.example"], ALIASES)
    }

    fn pattern(&mut self, of: &[&str]) -> Vec<String> {
        match self.to.rng.below(8) {
            0 => vec!["regex".into(), self.to.list(&["^a.*b$", "(?i)x", "example"])],
            1 => vec![(self.to.pick(NAMED_TABLES)).to_owned()],
            2 | 3 if !self.lists.is_empty() => {
                let lists = self.lists.clone();
                vec![self.to.pick(&lists)]
            }
            _ => vec![self.to.list(of)],
        }
    }

    fn listen(&mut self) {
        let on = self.to.any(&["lo", "192.0.2.1", "localhost", "socket", "all", "::1"]);
        let mut line = [words("listen on"), vec![on]].concat();
        let mut options: Vec<Vec<String>> = Vec::new();
        let tls = ["tls", "tls-require", "tls-require verify", "smtps", "smtps verify"];
        if let Some(name) = self.pki.last().copied() {
            options.push(words(self.to.pick(&tls)));
            options.push(vec!["pki".into(), self.to.string(name)]);
            if self.to.sometimes(2) {
                let word = self.to.pick(&["auth", "auth-optional"]);
                let table = if self.to.sometimes(2) { vec![self.map()] } else { Vec::new() };
                options.push([vec![word.to_owned()], table].concat());
            }
            options.push(
                words("protocols TLSv1.2,TLSv1.3")
                    .iter()
                    .map(|w| w.replace("TLSv1.2,TLSv1.3", "\"TLSv1.2,TLSv1.3\""))
                    .collect(),
            );
            options.push(words("ciphers HIGH"));
            options.push(words("groups X25519"));
        }
        if let Some(name) = self.ca.last().copied() {
            options.push(vec!["ca".into(), self.to.string(name)]);
        }
        if let Some(filter) = self.filter_use() {
            options.push(vec!["filter".into(), filter]);
        }
        options.push(vec!["tag".into(), self.to.any(TEXTS)]);
        options.push(vec!["hostname".into(), self.to.any(HOSTS)]);
        options.push(vec!["hostnames".into(), self.map()]);
        options.push(
            [vec!["senders".into(), self.map()], words(self.to.pick(&["", "masquerade"]))].concat(),
        );
        let port = self.to.pick(&["port 2525", "port \"26\"", "port submission", "port smtps"]);
        options.push(words(port));
        for word in
            ["mask-src", "received-auth", "no-dsn", "proxy-v2", "stray-newline normalize", "inet4"]
        {
            options.push(words(word));
        }
        // TLS, certificate and AUTH need one another.
        let needed = if self.pki.is_empty() { 0 } else { 3.min(options.len()) };
        let mut kept: Vec<Vec<String>> = Vec::new();
        for (nth, option) in options.into_iter().enumerate() {
            if nth < needed || self.to.sometimes(4) {
                let at = self.to.rng.below(kept.len() + 1);
                kept.insert(at, option);
            }
        }
        line.extend(kept.into_iter().flatten());
        self.to.line(&line);
    }

    fn action(&mut self) {
        let name = self.to.name();
        let mut line = vec!["action".into(), name.clone()];
        if self.to.sometimes(2) {
            self.local(&mut line)
        } else {
            self.relay(&mut line)
        }
        if self.to.sometimes(3) {
            line.extend(["ttl".into(), (self.to.pick(DELAYS)).to_owned()]);
            if self.to.sometimes(2) {
                line.push("fixed".into());
            }
        }
        self.to.line(&line);
        self.actions.push(name);
    }

    fn local(&mut self, line: &mut Vec<String>) {
        let any = self.to.quoted("/mail/%{dest.user:lowercase}/it's \\ \"here\"");
        let method: Vec<String> = match self.to.rng.below(7) {
            0 => words("mbox"),
            1 => words("maildir"),
            2 => [words("maildir"), vec![any.clone()], words("junk")].concat(),
            3 => [
                words("lmtp"),
                vec![self.to.any(&["localhost:24", "/var/run/l m"])],
                words("rcpt-to"),
            ]
            .concat(),
            4 => [words("mda"), vec![self.to.any(&["/bin/cat", "p -f \"%{sender}\" | 'q'"])]]
                .concat(),
            5 => words("forward-only"),
            _ => words("expand-only"),
        };
        let with_user = matches!(method[0].as_str(), "maildir" | "lmtp" | "mda");
        line.extend(method.clone());
        if method.len() == 3 && self.to.sometimes(3) && method[0] == "maildir" {
            return line.extend(words("userbase any"));
        }
        let mut options: Vec<Vec<String>> = Vec::new();
        if with_user {
            options.push(vec!["user".into(), self.to.any(TEXTS)]);
        }
        if let Some(name) = self.wrappers.last().cloned().filter(|_| method[0] != "mbox") {
            options.push(vec!["wrapper".into(), name]);
        }
        let word = self.to.pick(&["alias", "virtual"]);
        options.push(vec![word.into(), self.map()]);
        let users = self.to.map(&["joe", "ann"], &["1000:100:/home/joe", "0:0:/a b"]);
        options.push(vec!["userbase".into(), users]);
        options.push(words("userbase <getpwnam>"));
        let keep = self.to.rng.below(options.len() - 1);
        line.extend(options.into_iter().take(keep).flatten());
    }

    fn relay(&mut self, line: &mut Vec<String>) {
        line.push("relay".into());
        match self.to.rng.below(6) {
            0 => {}
            1 => line.push("backup".into()),
            2 => line.extend(["backup".into(), "mx".into(), self.to.any(HOSTS)]),
            3 => line.extend(["domain".into(), self.to.map(DOMAINS, URLS)]),
            4 => {
                line.extend(["host".into(), self.to.list(LABELLED), "auth".into(), self.map()]);
                line.extend(words(self.to.pick(&["", "tls", "tls no-verify"])));
            }
            _ => line.extend(["host".into(), self.to.list(URLS)]),
        }
        if line.get(3).is_none_or(|word| word != "host") {
            line.extend(words(self.to.pick(&["", "tls", "tls no-verify", "tls never"])));
        }
        let mut options: Vec<Vec<String>> = vec![
            vec!["helo".into(), self.to.any(HOSTS)],
            vec!["helo-src".into(), self.to.map(&["192.0.2.1", "[::1]"], HOSTS)],
            vec!["src".into(), self.to.list(&["192.0.2.1", "2001:db8::1"])],
            vec!["mail-from".into(), self.to.any(&["joe", "@b.example", "joe@b.example"])],
            words("ciphers HIGH"),
            vec!["protocols".into(), self.to.quoted("TLSv1.3")],
            words("groups P-384"),
        ];
        if let Some(name) = self.pki.last().copied() {
            options.push(vec!["pki".into(), self.to.string(name)]);
        }
        if let Some(name) = self.ca.last().copied() {
            options.push(vec!["ca".into(), self.to.string(name)]);
        }
        if let Some(filter) = self.filter_use() {
            options.push(vec!["filter".into(), filter]);
        }
        if self.srs {
            options.push(words("srs"));
        }
        for option in options {
            if self.to.sometimes(4) {
                line.extend(option);
            }
        }
    }

    fn rule(&mut self) {
        let mut conditions: Vec<Vec<String>> = Vec::new();
        let from = self.to.rng.below(8);
        conditions.push(match from {
            0 => words("from local"),
            1 => words("from socket"),
            2 => words("from any"),
            3 => words("from rdns"),
            4 => [words("from rdns"), self.pattern(DOMAINS)].concat(),
            5 => [
                words("from auth"),
                if self.to.sometimes(2) { self.pattern(TEXTS) } else { Vec::new() },
            ]
            .concat(),
            6 => [words("from mail-from"), self.pattern(ADDRESSES)].concat(),
            _ => [words("from src"), self.pattern(NETWORKS)].concat(),
        });
        let to = self.to.rng.below(4);
        conditions.push(match to {
            0 => words("for local"),
            1 => words("for any"),
            2 => [words("for rcpt-to"), self.pattern(ADDRESSES)].concat(),
            _ => [words("for domain"), self.pattern(DOMAINS)].concat(),
        });
        conditions.push([words("tag"), self.pattern(TEXTS)].concat());
        conditions.push([words("helo"), self.pattern(HOSTS)].concat());
        conditions.push(words("tls"));
        if from != 5 {
            conditions.push(
                [
                    words("auth"),
                    if self.to.sometimes(2) { self.pattern(TEXTS) } else { Vec::new() },
                ]
                .concat(),
            );
        }
        if from != 6 {
            conditions.push([words("mail-from"), self.pattern(ADDRESSES)].concat());
        }
        if to != 2 {
            conditions.push([words("rcpt-to"), self.pattern(ADDRESSES)].concat());
        }
        let mut line = words("match");
        while !conditions.is_empty() {
            let at = self.to.rng.below(conditions.len());
            let condition = conditions.remove(at);
            if self.to.sometimes(2) {
                if self.to.sometimes(4) {
                    line.push("!".into());
                }
                line.extend(condition);
            }
        }
        if self.actions.is_empty() || self.to.sometimes(4) {
            line.push("reject".into());
        } else {
            let actions = self.actions.clone();
            line.extend(["action".into(), self.to.pick(&actions)]);
        }
        self.to.line(&line);
    }
}
